#!/bin/sh
# Block devices in user space, served by zcn: what is written is read through several queues, from
# memory and from a file; a server that is killed loses nothing that was flushed; each error.
# kernel: 7.2
# modules: ublk_drv
# tests: zcn-ublk
# timeout: 240
failed=
for test in /tests/*; do
    echo "# ${test##*/}"
    "$test" --test-threads 1 || failed="$failed ${test##*/}"
done
[ -z "$failed" ] || {
    echo "failed:$failed"
    dmesg | tail -30
    exit 1
}
