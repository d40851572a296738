//! Explicit congestion notification, classic (RFC 3168) and accurate (RFC 9768), against the
//! kernel's, with marks that nftables puts on the way. Kernels agree on the accurate one from Linux 7.0
//! on: `cargo xtask guest -- ecn` runs these under one.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use serde_json::Value;
use zcn_measure::pattern::Pattern;
use zcn_stack::tcp::{TCPI_OPT_ECN, TCPI_OPT_ECN_SEEN};

use crate::rig::{
    Link, OURS, Scratch, Setting, done, program, run, skipped, text, there, until, with,
};

const LEN: usize = 1 << 20;

/// Every eighth packet of a capable transport is marked, on either way.
const MARKS: &str = "
table ip marks {
    chain from_us {
        type filter hook prerouting priority raw
        ip saddr 10.9.0.0/16 ip ecn ect0 numgen inc mod 8 0 ip ecn set ce
    }
    chain to_us {
        type filter hook postrouting priority 300
        ip daddr 10.9.0.0/16 ip ecn ect0 numgen inc mod 8 0 ip ecn set ce
    }
}
";

/// What both ends have to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Classic,
    Accurate,
}

/// Sets the kernel's `tcp_ecn` in this namespace, and marks packets; says so where that cannot be.
fn prepare(tcp_ecn: u8) -> bool {
    if !there("nft") || !there("ss") {
        return false;
    }
    if let Err(error) = fs::write("/proc/sys/net/ipv4/tcp_ecn", tcp_ecn.to_string()) {
        skipped(format_args!("no tcp_ecn={tcp_ecn} in this kernel: {error}"));
        return false;
    }
    let rules = Scratch::with("marks.nft", MARKS.as_bytes());
    let output = run("nft", &format!("-f {}", rules.0.display()), None);
    if !output.status.success() {
        skipped(format_args!("nft: {}", text(&output.stderr)));
    }
    output.status.success()
}

/// What the kernel says of its end of a connection at a port of its own.
fn of_the_kernel(port: u16) -> String {
    let filter = format!("( sport = :{port} )");
    text(&done(
        "ss",
        &format!("-tinoOH state established {filter}"),
        None,
    ))
}

fn is_marked(kernel: &str) -> bool {
    kernel
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("delivered_ce:"))
        .any(|count| count.parse::<u32>().is_ok_and(|count| count > 0))
}

fn check_kernel(told: &str, kind: Kind, context: &str) {
    let ecn = told.split_whitespace().any(|word| word == "ecn");
    assert_eq!(ecn, kind != Kind::None, "{context}: {told}");
    assert_eq!(is_marked(told), kind != Kind::None, "{context}: {told}");
}

/// What the stack says of its end of the only connection.
fn of_ours(setting: Setting) -> Value {
    let arguments = format!("ss --json --control {}", setting.control().display());
    let json = done(&program(), &arguments, None);
    let document: Value = serde_json::from_slice(&json).expect("JSON");
    document["connections"][0]["info"].clone()
}

/// The kernel connects, and both ends send as much.
fn kernel_connects(link: Link, tcp_ecn: u8, ours: &'static str, kind: Kind) {
    let mut setting = Setting::on(link);
    setting.ecn = Some(ours);
    with(setting, move |setting| {
        if !prepare(tcp_ecn) {
            return;
        }
        let context = format!("{link:?}, tcp_ecn={tcp_ecn}, --ecn {ours}");
        let mut stream = TcpStream::connect((OURS, 7)).unwrap();
        let mut bytes = vec![0; LEN];
        Pattern::new(6).fill(0, &mut bytes);
        let mut writer = stream.try_clone().unwrap();
        let sent = bytes.clone();
        let sender = thread::spawn(move || writer.write_all(&sent).unwrap());
        let mut back = vec![0; LEN];
        stream.read_exact(&mut back).unwrap();
        sender.join().unwrap();
        assert!(back == bytes, "{context}");
        let port = stream.local_addr().unwrap().port();
        // The last acknowledgements are on their way.
        let count = |info: &Value, name: &str| info[name].as_u64().unwrap_or_default();
        until(&context, || count(&of_ours(setting), "tcpi_unacked") == 0);
        let info = of_ours(setting);
        let told = of_the_kernel(port);
        let both = u64::from(TCPI_OPT_ECN | TCPI_OPT_ECN_SEEN);
        let options = count(&info, "tcpi_options") & both;
        assert_eq!(options, if kind == Kind::None { 0 } else { both }, "{info}");
        let marked = count(&info, "tcpi_delivered_ce") > 0;
        assert_eq!(marked, kind != Kind::None, "{context}: {info}");
        let accurate = kind == Kind::Accurate;
        for name in [
            "tcpi_received_ce",
            "tcpi_received_ce_bytes",
            "tcpi_received_e0_bytes",
            "tcpi_delivered_ce_bytes",
            "tcpi_delivered_e0_bytes",
        ] {
            assert_eq!(
                count(&info, name) > 0,
                accurate,
                "{name}, {context}: {info}"
            );
        }
        if accurate {
            // Every byte of data came as of a capable transport, marked or not, and so did ours.
            for way in ["received", "delivered"] {
                let of = |mark: &str| count(&info, &format!("tcpi_{way}_{mark}_bytes"));
                // What came twice counts twice.
                assert!(
                    of("e0") + of("ce") >= LEN as u64,
                    "{way}, {context}: {info}"
                );
            }
            assert_eq!(count(&info, "tcpi_accecn_opt_seen"), 2, "{context}: {info}");
        }
        assert_eq!(
            count(&info, "tcpi_accecn_fail_mode"),
            0,
            "{context}: {info}"
        );
        check_kernel(&told, kind, &context);
    });
}

/// Ours connects, on a second stack by way of the kernel, and both ends send as much.
fn ours_connects(tcp_ecn: u8, ours: &'static str, kind: Kind) {
    with(Setting::on(Link::Tap), move |_| {
        if !prepare(tcp_ecn) {
            return;
        }
        let context = format!("connect, tcp_ecn={tcp_ecn}, --ecn {ours}");
        let listener = TcpListener::bind("10.9.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut request = vec![0; LEN];
            peer.read_exact(&mut request).unwrap();
            request.reverse();
            peer.write_all(&request).unwrap();
            // Ours has ended its direction when it has sent all; the connection lives on.
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest).unwrap();
            let filter = format!("( sport = :{port} )");
            text(&done("ss", &format!("-tinoOH state all {filter}"), None))
        });
        let mut bytes = vec![0; LEN];
        Pattern::new(7).fill(0, &mut bytes);
        let input = Scratch::with("ecn", &bytes);
        let arguments = format!(
            "connect --tap zc --address 10.9.8.2/24 --kernel-address 10.9.8.1/24 --gateway \
             10.9.8.1 --ecn {ours} 10.9.0.1 {port}"
        );
        let output = done(&program(), &arguments, Some(&input.0));
        assert!(output.iter().rev().eq(bytes.iter()), "{context}");
        check_kernel(&server.join().unwrap(), kind, &context);
    });
}

#[test]
fn accurate_ecn_is_agreed_on_and_marks_are_counted() {
    kernel_connects(Link::Tap, 3, "accurate", Kind::Accurate);
    kernel_connects(Link::PlainTap, 3, "accept-accurate", Kind::Accurate);
    ours_connects(3, "accurate", Kind::Accurate);
    ours_connects(5, "accurate", Kind::Accurate);
}

#[test]
fn who_knows_the_classic_ecn_only_gets_that() {
    kernel_connects(Link::PlainTap, 1, "accurate", Kind::Classic);
    kernel_connects(Link::Tap, 3, "accept", Kind::Classic);
    ours_connects(2, "accurate", Kind::Classic);
    ours_connects(1, "offer", Kind::Classic);
}

#[test]
fn who_knows_no_ecn_gets_none() {
    kernel_connects(Link::Tap, 3, "never", Kind::None);
    ours_connects(0, "accurate", Kind::None);
}
