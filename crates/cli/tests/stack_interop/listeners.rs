//! A bridge of the kernel that forwards multicast only to who said that it listens.

use std::fs;

use serde_json::Value;

use crate::rig::{Link, OURS_V6, Setting, done, run, skipped, text, there, until, with};

/// The group of [`OURS_V6`] for neighbour discovery.
const GROUP: &str = "ff02::1:ff00:2";

/// Whether the bridge sends packets to our group to our port.
fn is_known() -> bool {
    let groups = text(&done("bridge", "mdb show dev zk", None));
    groups
        .lines()
        .any(|line| line.contains("port zp") && line.contains(GROUP))
}

/// What the bridge counted of our messages.
fn counted(kind: &str, counter: &str) -> u64 {
    let output = done("ip", "-j link xstats type bridge_slave dev zp", None);
    let report: Value = serde_json::from_slice(&output).expect("JSON");
    let multicast = &report[0]["multicast"][kind];
    let value = if counter.is_empty() {
        multicast
    } else {
        &multicast[counter]
    };
    value.as_u64().expect("a counter of the kernel")
}

#[test]
fn neighbours_are_found_through_a_bridge_that_snoops() {
    if !there("bridge") {
        return;
    }
    with(Setting::on(Link::Snooped).captured(), |_| {
        // The kernel itself listens on the stack's end of the pair, and would be counted as well.
        fs::write("/proc/sys/net/ipv6/conf/zs/disable_ipv6", "1").expect("our namespace");
        // Version 1 comes last, as it holds for minutes.
        for (version, counter) in [(2, "rx_v2"), (1, "rx_v1")] {
            let change = format!("link set dev zk type bridge mcast_mld_version {version}");
            if !run("ip", &change, None).status.success() {
                skipped(format_args!("no queries of MLDv{version}"));
                continue;
            }
            // As many answers cannot be what we say of our own accord.
            let before = counted("mld_reports", counter);
            until("answers to queries", || {
                counted("mld_reports", counter) >= before + 4
            });
            until("our group", is_known);
            // The kernel finds us again, by a solicitation to our group alone.
            done("ip", "-6 neigh flush dev zk", None);
            done("ping", &format!("-6 -c 1 -W 20 {OURS_V6}"), None);
        }
        assert_eq!(counted("mld_parse_errors", ""), 0);
    });
}
