#!/bin/sh
# While an image for another processor is made: lend.sh ROOT FOLDER
# lets programs of this computer's stand in for those below ROOT that shell scripts call thousands of times, each of
# which would start an emulator first. FOLDER keeps what they displace. Called again, it lends what has come since;
# lend.sh ROOT FOLDER back puts everything back as it was.
set -eu

root=$1 folder=$2
mkdir -p "$folder/programs"

if [ "${3:-}" = back ]; then
  cp -a --remove-destination "$folder/programs/." "$root/usr/"
  while read -r library; do
    rm "$root$library"
    rmdir --ignore-fail-on-non-empty "$root$(dirname "$library")"
  done <"$folder/libraries"
  exit 0
fi

# None that an initial file system is made of: modinfo is another name of kmod, which itself stays.
for program in bin/basename bin/bash bin/cat bin/chmod bin/chown bin/cp bin/cpio bin/cut bin/dash bin/dirname bin/env \
  bin/expr bin/find bin/grep bin/head bin/id bin/ln bin/ls bin/mkdir bin/mktemp bin/mv bin/readlink bin/realpath bin/rm \
  bin/sed bin/sort bin/stat bin/tail bin/touch bin/tr bin/uniq bin/wc bin/xargs bin/zstd sbin/modinfo; do
  own=/usr/$program other=$root/usr/$program kept=$folder/programs/$program
  if [ ! -e "$own" ] || [ ! -e "$other" ] || [ -e "$kept" ] || [ -L "$kept" ]; then continue; fi
  for library in $(ldd "$own" | grep -o '/[^ ]*'); do
    [ ! -e "$root$library" ] || continue
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
    echo "$library" >>"$folder/libraries"
  done
  mkdir -p "$(dirname "$kept")"
  cp -a "$other" "$kept"
  cp "$own" "$other.lent"
  mv "$other.lent" "$other"
done
