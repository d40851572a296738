//! Every link with every MTU.

use crate::http::download;
use crate::rig::{Link, OURS, OURS_V6, Setting, done, is_long_run, there, with};
use crate::streams::echo;

fn one(link: Link, mtu: u32) {
    let setting = Setting {
        mtu,
        ..Setting::on(link).captured()
    };
    with(setting, |setting| {
        for size in [0, 56, 548, 549, 1400, 1473, 9000, 20_000] {
            done("ping", &format!("-c 1 -W 5 -s {size} {OURS}"), None);
            if setting.mtu >= 1280 {
                done("ping", &format!("-c 1 -W 5 -s {size} {OURS_V6}"), None);
            }
        }
        if there("curl") {
            for (host, _) in setting.hosts() {
                download(setting, &host, 1_000_000);
            }
        }
        echo(setting, 300_000);
    });
}

#[test]
fn small_packets() {
    one(Link::Tap, 576);
    one(Link::PlainVeth, 576);
}

#[test]
fn the_least_of_ipv6() {
    one(Link::PlainTap, 1280);
    one(Link::Veth, 1280);
}

#[test]
fn jumbo_packets() {
    one(Link::PlainTap, 9000);
    one(Link::PlainVeth, 9000);
}

#[test]
fn every_link_with_every_mtu() {
    if !is_long_run() {
        return;
    }
    for link in Link::ALL {
        for mtu in [576, 1280, 1500, 9000, 65_521] {
            one(link, mtu);
        }
    }
}
