#!/bin/sh
# Accurate ECN (RFC 9768) against a kernel that knows it, which Linux does from 7.0 on.
# kernel: 7.2
# modules: tun inet_diag tcp_diag nf_tables nft_numgen
# programs: ss nft
# zcn: yes
# tests: zcn-cli/stack_interop
# timeout: 600
export ZCN_PROGRAM=/bin/zcn
for test in /tests/stack_interop-*; do
    "$test" ecn --test-threads 1 --nocapture >/tmp/output 2>&1 || {
        cat /tmp/output
        exit 1
    }
    grep -e SKIPPED -e '^test ' /tmp/output
    # This kernel has everything.
    ! grep -q SKIPPED /tmp/output || exit 1
done
