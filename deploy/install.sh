#!/bin/sh
# Prepare a Debian or Raspberry Pi OS system for Ivories, once; running it again changes nothing that is right.
#
#   sudo sh deploy/install.sh --signer FILE.pub     the public key whose releases this device will install
#
#   --root DIR   write files below DIR and only name the commands that would change the system itself
#   --dry-run    change nothing, name everything
#
# `make install HOST=pi@piano.local` copies this folder to the device and calls it there.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=""
dry=""
signer=""

usage() {
  echo "usage: install.sh [--signer FILE] [--root DIR] [--dry-run]" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=yes ;;
    --root) [ $# -ge 2 ] || usage; root=${2%/}; shift ;;
    --signer) [ $# -ge 2 ] || usage; signer=$2; shift ;;
    *) usage ;;
  esac
  shift
done

if [ -z "$root$dry" ] && [ "$(id -u)" != 0 ]; then
  echo "install.sh: call it with sudo, or look first with --dry-run" >&2
  exit 1
fi
if [ -n "$signer" ] && ! ssh-keygen -l -f "$signer" >/dev/null 2>&1; then
  echo "install.sh: $signer is no public key: make one with ssh-keygen -t ed25519" >&2
  exit 1
fi

# A command that changes the running system: left out below another root, and in a dry run.
system() {
  if [ -n "$root$dry" ]; then echo "would run: $*"; else "$@"; fi
}

# Put FILE (or standard input, "-") at TARGET with MODE, if it is not there already.
place() {
  part=$(mktemp)
  cat "$1" >"$part"
  if cmp -s "$part" "$root$2" && [ "$(stat -c %a "$root$2")" = "$3" ]; then
    rm "$part"
    return
  fi
  echo "writing $root$2"
  if [ -z "$dry" ]; then
    mkdir -p "$(dirname "$root$2")"
    install -m "$3" "$part" "$root$2.new"
    mv "$root$2.new" "$root$2"
  fi
  rm "$part"
}

folder() {
  [ -d "$root$1" ] && [ "$(stat -c %a "$root$1")" = "$2" ] && return
  echo "making $root$1"
  [ -n "$dry" ] || { mkdir -p "$root$1" && chmod "$2" "$root$1"; }
}

on_a_pi() {
  grep -qs "Raspberry Pi" "$root/proc/device-tree/model"
}

packages() {
  # ssh-keygen checks signatures; the tools bring ALSA's library; Picamera2 comes from Raspberry Pi only.
  wanted="python3 python3-venv python3-pip openssh-client sudo alsa-utils"
  if on_a_pi; then wanted="$wanted python3-picamera2"; fi
  lacking=""
  for package in $wanted; do
    if [ -n "$root" ] || ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
      lacking="$lacking $package"
    fi
  done
  [ -n "$lacking" ] || return 0
  system apt-get update -qq
  # shellcheck disable=SC2086  # several packages
  system apt-get install -y -qq --no-install-recommends $lacking
}

user() {
  if [ -n "$root" ] || ! getent passwd ivories >/dev/null; then
    system useradd --system --user-group --home-dir /var/lib/ivories --shell /usr/sbin/nologin ivories
  fi
  for group in audio video plugdev; do
    [ -n "$root" ] || getent group $group >/dev/null || system groupadd --system $group
    if [ -n "$root" ] || ! id -nG ivories 2>/dev/null | tr ' ' '\n' | grep -qx $group; then
      system usermod --append --groups $group ivories
    fi
  done
}

folders() {
  folder /opt/ivories 755
  folder /opt/ivories/releases 755
  folder /opt/ivories/store 755
  folder /etc/ivories 755
  folder /var/lib/ivories 750
  system chown ivories:ivories /var/lib/ivories
}

files() {
  for file in "$here"/device/*.py; do
    place "$file" "/usr/local/lib/ivories-release/$(basename "$file")" 644
  done
  printf '%s\n' '#!/bin/sh' 'exec /usr/bin/python3 -I /usr/local/lib/ivories-release "$@"' |
    place - /usr/local/sbin/ivories-release 755
  # For whoever is logged in; the service starts the program itself.
  printf '%s\n' '#!/bin/sh' 'exec /opt/ivories/current/venv/bin/ivories "$@"' | place - /usr/local/bin/ivories 755
  place "$here/gadget/ivories-gadget" /usr/local/sbin/ivories-gadget 755
  for file in "$here"/systemd/*; do
    place "$file" "/etc/systemd/system/$(basename "$file")" 644
  done
  for file in "$here"/udev/*.rules; do
    place "$file" "/etc/udev/rules.d/$(basename "$file")" 644
  done
  # The owner's settings stay.
  [ -e "$root/etc/ivories/ivories.toml" ] || place "$here/ivories.toml" /etc/ivories/ivories.toml 644
  # The sequencer for programs on this computer, the gadget for those at the other end of the cable.
  printf '%s\n' snd-seq libcomposite | place - /etc/modules-load.d/ivories.conf 644
  # The kernel hangs: the board's own watchdog starts it afresh. The Pi's counts to 15 s at most.
  printf '%s\n' '[Manager]' RuntimeWatchdogSec=14 RebootWatchdogSec=2min |
    place - /etc/systemd/system.conf.d/ivories.conf 644
}

trust() {
  signers=/etc/ivories/release-signers
  if [ -n "$signer" ]; then
    line="ivories-release namespaces=\"ivories-release\" $(cut -d ' ' -f 1,2 "$signer")"
    grep -qsxF "$line" "$root$signers" && return
    { cat "$root$signers" 2>/dev/null || true; echo "$line"; } | place - $signers 644
  elif [ ! -e "$root$signers" ]; then
    echo "note: no --signer given, so this device will refuse every release"
  fi
}

# The USB-C port (on a Zero: the inner port) as a device instead of a host, so that it can be a MIDI keyboard.
overlay() {
  on_a_pi || return 0
  for config in /boot/firmware/config.txt /boot/config.txt; do
    [ -f "$root$config" ] || continue
    if ! grep -q "^dtoverlay=dwc2,dr_mode=peripheral" "$root$config"; then
      { cat "$root$config"; printf '\n%s\n' '[all]' '# Ivories: a MIDI keyboard on the USB port' |
        sed '/^$/d'; echo "dtoverlay=dwc2,dr_mode=peripheral"; } | place - $config 755
      echo "note: the USB port changes its role at the next start: sudo reboot"
    fi
    return
  done
  echo "note: no config.txt found, so the USB port stays a host"
}

services() {
  system systemctl enable ivories.service ivories-gadget.service
  # An image in the making, or a container, has no systemd that runs.
  [ -n "$root$dry" ] || [ -d /run/systemd/system ] || return 0
  system systemctl daemon-reload
  system udevadm control --reload
  system udevadm trigger --subsystem-match=usb --subsystem-match=sound
  system systemctl start --no-block ivories-gadget.service
}

packages
user
folders
files
trust
overlay
services
echo "prepared; next: make deploy HOST=... on the workstation"
