#!/bin/sh
# Make a disk or SD card of Debian with Ivories on it, ready for its first start:
#
#   sudo sh deploy/image/build.sh [--arch amd64|arm64] [--board uefi|pi] [--ssh-key FILE.pub] FILE.img
#
#   --arch      of the device; default: this computer's. Another one's programs run in qemu-user-static
#   --board     uefi: a PC, or an ARM board with UEFI (default); pi: Raspberry Pi 3, 4 and Zero 2, arm64 only
#   --ssh-key   opens the account pi; without it, write yours into user-data on the card's first partition
#   --key FILE  signs the release, as for make deploy; default: ~/.config/ivories/release
#   --models D  folder of the networks
#
# Ivories gets there as it gets onto any device: by release.py, which is told that this shell script is ssh.
# MIRROR is the Debian mirror, PYTHON the interpreter that builds the release, of the device's version: 3.11.
set -eu

# Mounts of its own: however this script ends, none stays.
if [ "$(id -u)" = 0 ] && [ -z "${IVORIES_MOUNTS:-}" ]; then
  IVORIES_MOUNTS=own exec unshare --mount sh "$0" "$@"
fi

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
suite=bookworm
arch=$(dpkg --print-architecture)
board=uefi
opener=""
owner=${SUDO_USER:-$(id -un)}
key=$(getent passwd "$owner" | cut -d : -f 6)/.config/ivories/release
models=$project/models
image=""
boot_mib=256

fail() {
  echo "build.sh: $1" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    --arch | --board | --ssh-key | --key | --models)
      [ $# -ge 2 ] || fail "$1 wants a value"
      case $1 in
        --arch) arch=$2 ;;
        --board) board=$2 ;;
        --ssh-key) opener=$2 ;;
        --key) key=$2 ;;
        --models) models=$2 ;;
      esac
      shift
      ;;
    -*) fail "there is no option $1: the first lines of this file tell of all" ;;
    *) image=$1 ;;
  esac
  shift
done

[ -n "$image" ] || fail "say which file to write: build.sh ivories.img"
key=$(realpath -m "$key") models=$(realpath -m "$models") # the hooks run elsewhere
[ -z "$opener" ] || ssh-keygen -l -f "$opener" >/dev/null 2>&1 || fail "$opener is no public key"
case $arch-$board in
  amd64-uefi) kernel=linux-image-amd64 loader=systemd-boot console=ttyS0 ;;
  arm64-uefi) kernel=linux-image-arm64 loader=systemd-boot console=ttyAMA0 ;;
  arm64-pi) kernel=linux-image-arm64 loader="raspi-firmware firmware-brcm80211" console=ttyS1 ;;
  *) fail "no image is made for $board on $arch" ;;
esac
case $board in
  uefi) mount=/boot/efi type=ef ;;
  # Debian's kernel has the USB-C port of a Pi 4 as a device port without an overlay, and its firmware brings none.
  pi) mount=/boot/firmware type=c ;;
esac
[ "$(id -u)" = 0 ] || fail "call it with sudo: it makes files of root's"
PATH=$PATH:/usr/sbin:/sbin
for program in mmdebstrap:mmdebstrap mkfs.ext4:e2fsprogs mkfs.vfat:dosfstools mcopy:mtools sfdisk:fdisk; do
  command -v "${program%:*}" >/dev/null || fail "${program%:*} is not installed: apt-get install ${program#*:}"
done
# The kernel hands another processor's programs to an emulator, which it opens at once (F), so that none need be in the
# device's own file system. It is told so here where nobody has done it: in a container, say.
foreign=""
[ "$arch" = "$(dpkg --print-architecture)" ] || foreign=$(echo "$arch" | sed 's/amd64/x86_64/; s/arm64/aarch64/')
[ "$foreign" != aarch64 ] || export QEMU_CPU=cortex-a72 # a Raspberry Pi 4's
if [ -n "$foreign" ]; then
  handlers=/proc/sys/fs/binfmt_misc
  [ -e $handlers/register ] || mount -t binfmt_misc none $handlers || fail "the kernel knows no binfmt_misc"
  if [ ! -e "$handlers/qemu-$foreign" ]; then
    grep -qs ':[A-Z]*F[A-Z]*$' "/usr/lib/binfmt.d/qemu-$foreign.conf" ||
      fail "qemu-user-static is not installed: apt-get install qemu-user-static"
    cat "/usr/lib/binfmt.d/qemu-$foreign.conf" >$handlers/register
  fi
  grep -q '^flags:.*F' "$handlers/qemu-$foreign" ||
    fail "$handlers/qemu-$foreign is not for other file systems: apt-get install qemu-user-static"
fi
python=${PYTHON:-$project/.venv/bin/python}
[ -x "$python" ] || fail "there is no $python: run make native"

# What install.sh asks for, so that it need not fetch anything.
asked=$(sed -n 's/^ *wanted="\([a-z0-9 .+-]*\)"$/\1/p' "$project/deploy/install.sh")
[ -n "$asked" ] || fail "install.sh no longer says which packages it wants"
include="$kernel $loader $asked systemd-sysv systemd-timesyncd udev kmod dbus procps openssh-server ca-certificates
  avahi-daemon netplan.io systemd-resolved wpasupplicant cloud-init cloud-guest-utils fdisk e2fsprogs zstd"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/ivories-image.XXXXXX")
# What mmdebstrap mounts below it goes when that ends, or is left alone: no rm may walk into /sys or /dev.
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Before the packages: what the kernel's and the boot loader's own scripts look for.
cat >"$work/early" <<'HOOK'
set -eu
cd "$1"
mkdir -p "./$MOUNT" etc/kernel
echo "root=LABEL=ivories-root rw quiet console=$CONSOLE console=tty0" >etc/kernel/cmdline
echo debian >etc/kernel/entry-token
[ -z "$FOREIGN" ] || sh "$HERE/lend.sh" "$1" "$WORK/lent"
# The initial file system is made once, at the end: several packages ask for it. What is in Python is compiled for
# another processor by this one.
for program in $LATER; do
  chroot . dpkg-divert --quiet --local --rename --add "/$program"
  ln -s /bin/true "$program"
done
# Seconds instead of minutes on a small board, whenever a kernel is updated there, for a few MB.
mkdir -p etc/initramfs-tools/conf.d
echo COMPRESSLEVEL=3 >etc/initramfs-tools/conf.d/ivories
HOOK

cat >"$work/late" <<'HOOK'
set -eu
root=$1
printf '%s\n' 'LABEL=ivories-root / ext4 rw,relatime 0 1' "LABEL=IVORIES $MOUNT vfat umask=0077,nofail 0 2" >"$root/etc/fstab"
echo piano >"$root/etc/hostname"
echo '127.0.0.1 localhost piano' >"$root/etc/hosts"
cp "$HERE/cloud.cfg" "$root/etc/cloud/cloud.cfg.d/90-ivories.cfg"
chroot "$root" systemctl -q enable systemd-networkd.service
# Nothing here waits for a network, and no cable may be there.
chroot "$root" systemctl -q mask systemd-networkd-wait-online.service
for program in $LATER; do
  rm "$root/$program"
  chroot "$root" dpkg-divert --quiet --local --rename --remove "/$program"
done
# What cannot be compiled is run as it is.
[ -z "$FOREIGN" ] || "$PYTHON" -m compileall -qq -s "$root" -p / "$root/usr/lib/python3/dist-packages" || true
[ -z "$FOREIGN" ] || sh "$HERE/lend.sh" "$root" "$WORK/lent"
chroot "$root" update-initramfs -c -k all >"$WORK/initramfs.log"
# The first partition, as what it will be: a file system of its own.
rm -rf "$root$MOUNT"
mkdir "$root$MOUNT" "$WORK/boot"
mount -t tmpfs none "$root$MOUNT"
trap 'umount "$root$MOUNT"' EXIT
if [ "$BOARD" = uefi ]; then
  export SYSTEMD_RELAX_ESP_CHECKS=1
  chroot "$root" bootctl install --esp-path="$MOUNT" --no-variables --make-entry-directory=yes >"$WORK/bootctl.log"
  rm -f "$root$MOUNT/loader/random-seed" # the same for all devices, it would be no seed
  for version in "$root"/lib/modules/*; do
    version=$(basename "$version")
    chroot "$root" kernel-install add "$version" "/boot/vmlinuz-$version"
  done
else
  echo 'ROOTPART="LABEL=ivories-root"' >>"$root/etc/default/raspi-firmware"
  chroot "$root" env DEB_MAINT_PARAMS=configure /etc/kernel/postinst.d/z50-raspi-firmware
fi
cp -r "$root$MOUNT/." "$WORK/boot"
[ -z "$FOREIGN" ] || sh "$HERE/lend.sh" "$root" "$WORK/lent" back
# The networks' runtime reads there what its processor is, and crashes over this computer's.
if [ "$FOREIGN" = aarch64 ]; then
  for number in $(seq 0 "$(($(nproc --all) - 1))"); do
    printf '%s\n' "processor : $number" 'Features : fp asimd evtstrm crc32 cpuid' 'CPU implementer : 0x41' \
      'CPU architecture: 8' 'CPU variant : 0x0' 'CPU part : 0xd08' 'CPU revision : 3' ''
  done >"$WORK/cpuinfo"
  mount --bind "$WORK/cpuinfo" "$root/proc/cpuinfo"
  trap 'umount "$root$MOUNT" "$root/proc/cpuinfo"' EXIT
fi
# As onto a device over ssh: prepare it, then deploy.
for command in install deploy; do
  "$PYTHON" "$PROJECT/deploy/release.py" "$command" image --ssh "sh $HERE/enter.sh $root" --key "$KEY" --models "$MODELS"
done
# What must be another on every device that gets this image.
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/etc/resolv.conf"
: >"$root/etc/machine-id"
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
HOOK

later=usr/sbin/update-initramfs
[ -z "$foreign" ] || later="$later usr/bin/py3compile"
echo "making Debian $suite for $arch, board $board"
env WORK="$work" HERE="$here" PROJECT="$project" PYTHON="$python" KEY="$key" MODELS="$models" BOARD="$board" MOUNT="$mount" \
  CONSOLE="$console" LATER="$later" FOREIGN="$foreign" \
  mmdebstrap --quiet --mode=root --variant=minbase --architectures="$arch" ${foreign:+--skip=check/qemu} \
  --components=main,non-free-firmware --include="$(echo "$include" | tr -s ' \n' ,)" \
  --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --essential-hook="sh $work/early \"\$1\"" --customize-hook="sh $work/late \"\$1\"" \
  "$suite" "$work/root" ${MIRROR:+"$MIRROR"}
for file in "$key" "$key.pub"; do [ ! -e "$file" ] || chown "$owner": "$file"; done

echo "writing $image"
cp "$here/user-data" "$here/network-config" "$work/boot/"
echo "instance-id: ivories-$(date +%s)" >"$work/boot/meta-data"
[ -z "$opener" ] || sed -i "s|^ssh_authorized_keys: \[\]$|ssh_authorized_keys: [\"$(cut -d ' ' -f 1,2 "$opener")\"]|" "$work/boot/user-data"

truncate -s "${boot_mib}M" "$work/boot.img"
mkfs.vfat -F 32 -n IVORIES "$work/boot.img" >/dev/null
find "$work/boot" -mindepth 1 -maxdepth 1 -exec mcopy -s -i "$work/boot.img" {} :: \;
# A quarter more than it holds; it grows to the whole card at the first start.
root_mib=$(($(du -sm "$work/root" | cut -f 1) * 5 / 4 + 256))
truncate -s "$((1 + boot_mib + root_mib + 1))M" "$work/disk.img"
printf '%s\n' 'label: dos' "start=2048, size=$((boot_mib * 2048)), type=$type, bootable" 'type=83' |
  sfdisk -q "$work/disk.img"
dd if="$work/boot.img" of="$work/disk.img" bs=1M seek=1 conv=notrunc,sparse status=none
mkfs.ext4 -q -F -L ivories-root -E "offset=$(((1 + boot_mib) << 20))" -d "$work/root" "$work/disk.img" "${root_mib}M"
cp --sparse=always "$work/disk.img" "$image"
chown "$owner": "$image"
echo "made $image: $(du -h --apparent-size "$image" | cut -f 1)B; write it with Raspberry Pi Imager, or dd"
