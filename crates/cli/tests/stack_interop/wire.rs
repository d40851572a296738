//! What is on the wire, read by tcpdump on the kernel's side and judged by tshark.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::rig::{
    Link, OURS, OURS_V6, Scratch, Setting, VALIDATE, done, faults, run, text, there, with,
};

/// Single packets, as offloaded checksums are not complete where tcpdump stands.
#[test]
fn tshark_finds_nothing_malformed_and_no_bad_checksum() {
    for link in [Link::PlainTap, Link::PlainVeth] {
        with(Setting::on(link), judge);
    }
}

fn judge(setting: Setting) {
    if !(there("tcpdump") && there("tshark") && there("curl")) {
        return;
    }
    let capture = Scratch::new("capture.pcap");
    let path = capture.0.display().to_string();
    let mut tcpdump = Command::new("tcpdump")
        .args(["-i", "zk", "-U", "-Z", "root", "-B", "65536", "-w", &path])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut listening = String::new();
    let mut told = BufReader::new(tcpdump.stderr.take().unwrap());
    while !listening.contains("listening") {
        assert!(told.read_line(&mut listening).unwrap() > 0, "{listening}");
    }
    for (host, _) in setting.hosts() {
        let url = format!("http://{host}/bytes/2000000");
        done("curl", &format!("-g -sS -f -o /dev/null {url}"), None);
    }
    done("ping", &format!("-4 -c 3 -i 0.02 -s 20000 {OURS}"), None);
    done("ping", &format!("-6 -c 3 -i 0.02 -s 20000 {OURS_V6}"), None);
    // A port where nobody listens, over TCP and UDP.
    run("nc", &format!("-w 1 {OURS} 4444"), None);
    let line = Scratch::with("line", b"anybody?\n");
    run("nc", &format!("-u -w 1 {OURS} 4444"), Some(&line.0));
    run("nc", &format!("-u -w 1 {OURS} 7"), Some(&line.0));
    done("kill", &format!("-INT {}", tcpdump.id()), None);
    tcpdump.wait().unwrap();
    let frames = text(&done(
        "tshark",
        &format!("-r {path} {VALIDATE} -T fields -e frame.number"),
        None,
    ));
    let count = frames.lines().count();
    assert!(count > 1000, "{count} frames");
    // Linux writes a TCP sum of zero as ones, as only UDP must (`skb_checksum_help`).
    let ours = format!("ip.src=={OURS}||ipv6.src=={OURS_V6}");
    let filter = format!("&&!(tcp.checksum==0xffff&&!({ours}))");
    assert_eq!(faults(&capture.0, &filter), "", "{setting:?}");
}
