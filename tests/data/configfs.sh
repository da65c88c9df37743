#!/bin/sh
# The part of the kernel's configfs that USB gadgets are made in, for a folder; called as mkdir, rmdir, modprobe, mount.
# Directories come with their attribute files and default groups, and go only when nothing hangs on them.
set -eu
PATH=/usr/bin:/bin
gadgets=$IVORIES_ROOT/sys/kernel/config/usb_gadget

echo "${0##*/}" >>"$IVORIES_ROOT/calls"
if [ "$(wc -l <"$IVORIES_ROOT/calls")" = "${FAIL_AT:-0}" ]; then echo interrupted >&2; exit 1; fi

refuse() {
  echo "${0##*/}: $1: Device or resource busy" >&2
  exit 1
}

# Set the attribute files and default groups of a directory.
know() {
  files=""
  groups=""
  case ${1#"$gadgets"/} in
    */functions/midi.*) files="buflen id in_ports index out_ports qlen" ;;
    */functions/ncm.*) files="dev_addr host_addr ifname qmult" ;;
    */configs/*/strings/0x409) files=configuration ;;
    */configs/*) files="MaxPower bmAttributes" groups=strings ;;
    */strings/0x409) files="manufacturer product serialnumber" ;;
    */*) refuse "$1" ;;
    *) files="bcdDevice bcdUSB bDeviceClass bDeviceProtocol bDeviceSubClass bMaxPacketSize0 idProduct idVendor UDC"
      groups="strings configs functions os_desc" ;;
  esac
}

make() {
  know "$1"
  mkdir "$1"
  cd "$1"
  for name in $groups; do mkdir "$name"; done
  for name in $files; do : >"$name"; done
  cd /
}

remove() {
  know "$1"
  for inside in "$1"/*; do
    case " $files $groups " in *" ${inside##*/} "*) ;; *) refuse "$1" ;; esac
  done
  for name in $groups; do rmdir "$1/$name" 2>/dev/null || refuse "$1"; done
  for link in "$1"/../../configs/*/*; do
    if [ -L "$link" ] && [ "$(readlink -f "$link")" = "$(readlink -f "$1")" ]; then refuse "$1"; fi
  done
  rm -r "$1"
}

case ${0##*/} in
  modprobe) [ "$1" = libcomposite ] && mkdir -p "$IVORIES_ROOT/sys/kernel/config" ;;
  mount) mkdir "$gadgets" ;;
  mkdir) for folder in "$@"; do make "$folder"; done ;;
  rmdir) remove "$(readlink -f "$1")" ;;
esac
