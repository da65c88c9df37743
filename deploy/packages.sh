#!/bin/sh
# Debian packages by purpose: [ARCH=arm64] packages.sh [demo] [train] [test] [deploy] [hil] [card] [ci]
#
# As root it installs what is missing. Otherwise it names what is missing and goes on, unless nothing can work
# without it (a C compiler, Python's headers and venv). Elsewhere than on Debian and its kin it does nothing.
set -eu

wanted=""
needed=""
# Taken where the distribution has it; without it the tests that want it say so.
welcome=""
for purpose in "$@"; do
  case $purpose in
    demo)
      command -v cc >/dev/null || needed="$needed gcc libc6-dev"
      # Python built by hand brings its own headers and venv; Debian's comes in parts.
      python=${PYTHON:-python3}
      "$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        needed="$needed python3-dev"
      "$python" -c 'import ensurepip, venv' 2>/dev/null || needed="$needed python3-venv"
      ;;
    # Sampled pianos to learn from, the program that plays them, and people who talk meanwhile.
    train) wanted="$wanted fluidsynth fluid-soundfont-gm musescore-general-soundfont timgm6mb-soundfont espeak-ng" ;;
    # A real broker, a second architecture, headers of ALSA's library, the C formatter.
    test) wanted="$wanted mosquitto gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user libasound2-dev clang-format"
      # A browser without a screen, for the dashboard page.
      command -v chromium >/dev/null || welcome="chromium-headless-shell"
      ;;
    # Headers of ALSA's library: what hears on a device is compiled for it here.
    deploy) wanted="$wanted libasound2-dev" ;;
    # What nobody wants on a workstation only because of a test: an ssh server listens. And the shell's critic.
    ci) wanted="$wanted openssh-server shellcheck" ;;
    # A whole machine, built from Debian's packages and emulated.
    hil) wanted="$wanted mmdebstrap e2fsprogs fakeroot xz-utils qemu-system-x86 qemu-utils openssh-client" ;;
    # The disk of one as users get it, started by its own firmware; for another processor than this one's (ARCH=)
    # with its programs in an emulator, too, and a compiler for it.
    card)
      own=$(dpkg --print-architecture 2>/dev/null || true)
      wanted="$wanted mtools dosfstools fdisk util-linux"
      case ${ARCH:-$own} in
        arm64) machine="qemu-system-arm qemu-efi-aarch64" compiler="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
        *) machine="qemu-system-x86 ovmf" compiler="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;;
      esac
      wanted="$wanted $machine"
      [ "${ARCH:-$own}" = "$own" ] || wanted="$wanted qemu-user-static $compiler"
      ;;
    *) echo "packages.sh: unknown purpose $purpose" >&2; exit 2 ;;
  esac
done

command -v dpkg-query >/dev/null || exit 0
missing() {
  ! dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}
for package in $wanted; do
  if missing "$package"; then needed="$needed $package"; fi
done
if [ "$(id -u)" = 0 ]; then
  for package in $welcome; do
    if missing "$package" && { apt-cache show "$package" || { apt-get update && apt-cache show "$package"; }; } >/dev/null 2>&1; then
      needed="$needed $package"
    fi
  done
fi
[ -n "$needed" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  echo "installing$needed"
  # shellcheck disable=SC2086  # several packages
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $needed >/dev/null && exit 0
fi
echo "Please install these Debian packages: sudo apt-get install$needed" >&2
command -v cc >/dev/null || exit 1
