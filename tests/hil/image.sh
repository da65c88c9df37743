#!/bin/sh
# Build the disk of a small Debian machine with a USB device port, a USB host at its other end, a sound card and a
# camera, all inside the kernel: image.sh FOLDER
#
# FOLDER gets disk.img, vmlinuz, initrd.img, and key, which opens the account pi. Nothing of Ivories is in it but
# the Debian packages that deploy/install.sh asks for: the machine has no network to fetch them from. A FOLDER
# that is complete and was made by the same recipe is left as it is. SUITE=trixie takes another Debian.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
install=$here/../../deploy/install.sh
folder=$1
suite=${SUITE:-bookworm}
asked=$(sed -n 's/^ *wanted="\([a-z0-9 .+-]*\)"$/\1/p' "$install")
[ -n "$asked" ] || { echo "image.sh: $install no longer says which packages it wants" >&2; exit 1; }

for program in mmdebstrap mkfs.ext4 ssh-keygen xz; do
  command -v $program >/dev/null || PATH=$PATH:/usr/sbin
  command -v $program >/dev/null || { echo "image.sh: $program is not installed" >&2; exit 1; }
done

recipe=$({ echo "$suite $asked"; cat "$0"; } | sha256sum | cut -c 1-16)
if [ "$(cat "$folder/recipe" 2>/dev/null)" = "$recipe" ]; then exit 0; fi
mkdir -p "$folder"
work=$(mktemp -d "$folder/building.XXXXXX")
trap 'rm -rf "$work"' EXIT
rm -f "$folder/recipe"
# Without root, a file's owner is remembered instead of set.
as_root=""
[ "$(id -u)" = 0 ] || as_root=fakeroot

ssh-keygen -q -t ed25519 -N "" -C ivories-hil -f "$work/key"

# Runs before the packages beyond the essential ones are there.
cat >"$work/early" <<'HOOK'
set -eu
cd "$1"
# An initial file system with what finds this disk, and no more.
mkdir -p etc/initramfs-tools/conf.d usr/share/initramfs-tools/modules.d
echo MODULES=list >etc/initramfs-tools/conf.d/ivories
printf '%s\n' virtio_pci virtio_blk ext4 >usr/share/initramfs-tools/modules.d/ivories
HOOK

cat >"$work/late" <<'HOOK'
set -eu
cd "$1"
echo piano >etc/hostname
echo "127.0.0.1 localhost piano" >etc/hosts
echo "/dev/vda / ext4 rw,relatime 0 1" >etc/fstab
printf '%s\n' '[Match]' 'Name=en*' '[Network]' Address=10.0.2.15/24 LinkLocalAddressing=no >etc/systemd/network/wire.network
# A network card on the cable that the gadget leads to gets no address, least of all this one.
printf '%s\n' '[Match]' 'Name=enx*' '[Link]' Unmanaged=yes >etc/systemd/network/cable.network
chroot . systemctl -q enable systemd-networkd
chroot . systemctl -q mask systemd-networkd-wait-online.service systemd-timesyncd.service apt-daily.timer \
  apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service \
  systemd-pstore.service systemd-rfkill.socket getty-static.service getty.target alsa-restore.service \
  proc-sys-fs-binfmt_misc.automount systemd-binfmt.service
chroot . systemctl -q set-default multi-user.target
# The board: a USB device port whose cable leads to a USB host of its own; a sound card that hears what it plays.
printf '%s\n' dummy_hcd snd-aloop >etc/modules-load.d/board.conf
echo 'options snd-aloop pcm_substreams=1' >etc/modprobe.d/board.conf
# A camera that sees what its other end is given, a node of its own; plugged in with `modprobe vivid`. Only then is it
# told its size and rate, so that nobody but root may open it before that is done.
echo 'options vivid node_types=0x101 vid_cap_nr=0 vid_out_nr=1 num_inputs=1 input_types=3 num_outputs=1' \
  'output_types=1 ccs_cap_mode=0 ccs_out_mode=0 no_error_inj=1' >>etc/modprobe.d/board.conf
mkdir -p usr/local/sbin
cat >usr/local/sbin/camera-mode <<'SCRIPT'
#!/bin/sh
# camera-mode NODE NAME: pictures of 768 x 576, 27 a second, and those of its other end instead of a test picture. The
# driver takes fewer pixels per second from neither end.
v4l2-ctl -d "$1" --set-dv-bt-timings cvt,width=768,height=576,fps=28
case $2 in
  *-cap) v4l2-ctl -d "$1" -c loop_video=1,osd_text_mode=2 ;;
  *) v4l2-ctl -d "$1" --set-fmt-video-out=pixelformat=YU12 ;;
esac
SCRIPT
chmod 755 usr/local/sbin/camera-mode
echo 'ACTION=="add", SUBSYSTEM=="video4linux", ATTR{name}=="vivid-000-vid-*", PROGRAM="/usr/local/sbin/camera-mode %N $attr{name}"' \
  >etc/udev/rules.d/90-camera.rules
# What an emulated processor says it has, and tests itself with at every start.
printf 'blacklist %s\n' aesni_intel ghash_clmulni_intel sha512_ssse3 crct10dif_pclmul crc32_pclmul \
  pcspkr edac_mce_amd kvm_amd >>etc/modprobe.d/board.conf
# The emulator does not gather as NumPy's code for newer processors wants it: without that code it neither crashes
# nor miscounts.
mkdir -p etc/systemd/system/ivories.service.d
printf '%s\n' '[Service]' Environment=NPY_DISABLE_CPU_FEATURES=X86_V3 >etc/systemd/system/ivories.service.d/emulated.conf
# The first account of a Pi: no password, and sudo.
chroot . useradd --create-home --shell /bin/bash pi
echo 'pi ALL=(ALL) NOPASSWD: ALL' >etc/sudoers.d/pi
mkdir -m 700 home/pi/.ssh
cp "$KEY" home/pi/.ssh/authorized_keys
chroot . chown -R pi:pi home/pi/.ssh
printf '%s\n' 'UseDNS no' 'PrintMotd no' >etc/ssh/sshd_config.d/board.conf
# Tells on the console when there is somebody to talk to.
cat >etc/systemd/system/answers.service <<'UNIT'
[Unit]
After=ssh.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo "ssh answers" >/dev/console'
[Install]
WantedBy=multi-user.target
UNIT
chroot . systemctl -q enable answers.service
# PAM's session modules cost a slow machine a second per call and give nothing here.
sed -i '/pam_systemd\|pam_motd\|pam_mail\|pam_lastlog/d' etc/pam.d/sshd etc/pam.d/common-session
HOOK

include="linux-image-amd64 systemd-sysv udev kmod openssh-server alsa-utils v4l-utils mosquitto mosquitto-clients procps $asked"
echo "building the machine's disk: Debian $suite with $(echo "$include" | wc -w) packages and what they need"
KEY=$work/key.pub mmdebstrap --quiet --variant=minbase \
  --include="$(echo "$include" | tr -s ' ' ,)" \
  --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --essential-hook="sh $work/early \"\$1\"" --customize-hook="sh $work/late \"\$1\"" \
  "$suite" "$work/root.tar"

truncate -s 6G "$work/disk.img"
# shellcheck disable=SC2016  # the inner shell expands
$as_root sh -eu -c 'mkdir "$0/root" && tar -C "$0/root" --exclude="./dev/*" -xf "$0/root.tar" &&
  mkfs.ext4 -q -F -d "$0/root" "$0/disk.img" && cp "$0"/root/boot/vmlinuz-* "$0/vmlinuz" &&
  cp "$0"/root/boot/initrd.img-* "$0/initrd.img"' "$work"
# QEMU starts an unpacked kernel, too, and an emulated processor takes long to unpack one.
packed=$(LC_ALL=C grep -obUaPm 1 '\xfd7zXZ\x00' "$work/vmlinuz" | head -n 1 | cut -d : -f 1)
if [ -n "$packed" ]; then
  # It complains of what follows the kernel in that file.
  tail -c "+$((packed + 1))" "$work/vmlinuz" | xz -dcq >"$work/vmlinux" 2>/dev/null || true
  if [ "$(head -c 4 "$work/vmlinux" | tail -c 3)" = ELF ]; then mv "$work/vmlinux" "$work/vmlinuz"; fi
fi

mv "$work/disk.img" "$work/vmlinuz" "$work/initrd.img" "$work/key" "$folder/"
echo "$recipe" >"$folder/recipe"
echo "built $folder: $(du -h "$folder/disk.img" | cut -f 1)B"
