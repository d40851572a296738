#!/bin/sh
# The ring's own tests under other kernels: 6.1 is the oldest that zcn supports, and 7.2 is
# newer than most machines have.
# kernel: 7.2 6.1
# tests: zcn-uring
# timeout: 900
failed=
for test in /tests/*; do
    echo "# ${test##*/}"
    "$test" --test-threads 2 || failed="$failed ${test##*/}"
done
[ -z "$failed" ] || {
    echo "failed:$failed"
    exit 1
}
