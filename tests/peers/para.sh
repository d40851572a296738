#!/bin/sh
# Puts `para` into a folder, once, and prints where it is: a mining pool and a miner that we did not
# write, as cargo's registry has them. Some 370 crates: half an hour on two cores. Nothing of it is
# installed or committed.
#
#     sh tests/peers/para.sh FOLDER
set -eu
folder=$1
version=0.6.0
root=$folder/para-$version
if [ ! -x "$root/bin/para" ]; then
    mkdir -p "$folder"
    cargo install --quiet para --version "$version" --locked --no-track \
        --root "$root" --target-dir "$root/build" >&2
    rm -rf "$root/build"
fi
echo "$root/bin/para"
