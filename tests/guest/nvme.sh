#!/bin/sh
# Commands passed through to an NVMe disk that QEMU emulates, on the ring of 128-byte entries and
# 32-byte completions.
# kernel: 7.2 6.1
# modules: nvme
# tests: zcn-uring
# nvme: 64
# timeout: 600
for device in /dev/nvme0 /dev/ng0n1; do
    [ -c "$device" ] || {
        echo "there is no $device"
        exit 1
    }
done
export ZCN_NVME_TEST=/dev/ng0n1 ZCN_NO_SKIPS=1
for test in /tests/nvme-*; do
    "$test" --test-threads 2 || exit 1
done
