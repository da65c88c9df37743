#!/bin/sh
# Stands in for ssh while an image is made: enter.sh ROOT [options of ssh] HOST COMMAND
# runs COMMAND as root in the system below ROOT, so that release.py prepares and installs there as on a device.
set -eu

root=$1
shift
while [ $# -gt 0 ]; do
  case $1 in
    -O) exit 0 ;; # the shared connection, of which there is none
    -o) shift 2 ;;
    -*) shift ;;
    *) break ;;
  esac
done
shift # the host
# It is root already, and sudo would want a terminal of its own.
# shellcheck disable=SC2016  # the inner shell expands
exec chroot "$root" /usr/bin/env -i ${QEMU_CPU:+"QEMU_CPU=$QEMU_CPU"} HOME=/root LANG=C.UTF-8 TMPDIR=/tmp \
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  sh -c 'sudo() { if [ "$1" = -n ]; then shift; fi; "$@"; }; cd; '"$*"
