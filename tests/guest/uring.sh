#!/bin/sh
# The ring's own tests under other kernels: 6.1 is the oldest that zcn supports, and 7.2 is
# newer than most machines have.
# kernel: 7.2 6.1
# tests: zcn-uring
# timeout: 900
case $(uname -r) in
# This one has everything, so a test that is skipped is a fault.
7.*) export ZCN_NO_SKIPS=1 ;;
esac
failed=
for test in /tests/*; do
    case $test in
    # It needs a disk: see nvme.sh.
    */nvme-*) continue ;;
    esac
    echo "# ${test##*/}"
    if "$test" --test-threads 2 --nocapture >/tmp/output 2>&1; then
        grep -e SKIPPED -e '^test result' /tmp/output
    else
        cat /tmp/output
        failed="$failed ${test##*/}"
    fi
done
[ -z "$failed" ] || {
    echo "failed:$failed"
    exit 1
}
