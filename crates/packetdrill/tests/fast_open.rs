//! TCP Fast Open (RFC 7413) as the kernel's sockets have it, by `net.ipv4.tcp_fastopen` and by options.

mod driver;

use driver::journal::{Journal, REMOTE, alike};
use driver::kernel::Settings;
use driver::{ACK, FIN, PSH, RST, SYN, Segment};
use libc::{IPPROTO_TCP, MSG_FASTOPEN, SOL_SOCKET};

const TCP_FASTOPEN_KEY: i32 = 33;
const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
/// MSS 1460, SACK permitted, window scale 7.
const SYN_OPTIONS: [u8; 12] = [2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7];
const COOKIE: [u8; 10] = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8];

fn with(option: &[u8]) -> Vec<u8> {
    let mut options = SYN_OPTIONS.to_vec();
    options.extend(option);
    while !options.len().is_multiple_of(4) {
        options.push(1);
    }
    options
}

fn settings(sysctls: &'static [(&'static str, &'static str)]) -> Settings<'static> {
    Settings {
        sysctls,
        ..Settings::default()
    }
}

/// Opens to the server with a cookie request, which is answered with a cookie.
fn learn_cookie(journal: &mut Journal<'_>) {
    let fd = journal.bound();
    let tool = journal.tool;
    journal.note("first", tool.send_to(fd, &[7; 100], MSG_FASTOPEN, REMOTE));
    journal.left();
    journal.inject(Segment::new(SYN | ACK, 0, 1).options(&with(&COOKIE)));
    journal.left();
    journal.state(fd);
    journal.abort(fd);
}

#[test]
fn bits_of_the_sysctl_for_clients() {
    const VALUES: [(&str, &[(&str, &str)]); 5] = [
        ("tcp_fastopen=0", &[("ipv4/tcp_fastopen", "0")]),
        ("tcp_fastopen=1", &[("ipv4/tcp_fastopen", "1")]),
        ("tcp_fastopen=2", &[("ipv4/tcp_fastopen", "2")]),
        ("tcp_fastopen=4", &[("ipv4/tcp_fastopen", "4")]),
        ("tcp_fastopen=5", &[("ipv4/tcp_fastopen", "5")]),
    ];
    for (flags, sysctls) in VALUES {
        alike(settings(sysctls), flags, |journal| {
            let fd = journal.bound();
            let tool = journal.tool;
            let level = IPPROTO_TCP;
            for name in [
                libc::TCP_FASTOPEN,
                libc::TCP_FASTOPEN_CONNECT,
                TCP_FASTOPEN_NO_COOKIE,
            ] {
                let answer = journal.get(fd, level, name);
                journal.note("get", answer);
                for value in [1, 0, 2, -1] {
                    let answer = journal.int(fd, level, name, value);
                    journal.note("set", answer);
                    let answer = journal.get(fd, level, name);
                    journal.note("get", answer);
                }
                let answer = journal.int(fd, level, name, 0);
                journal.note("set", answer);
            }
            journal.note("no address", tool.send(fd, &[7; 100], MSG_FASTOPEN));
            journal.note("sendto", tool.send_to(fd, &[7; 100], MSG_FASTOPEN, REMOTE));
            journal.left();
            journal.state(fd);
            journal.note("again", tool.send_to(fd, &[7; 100], MSG_FASTOPEN, REMOTE));
            journal.note("plain", tool.send(fd, &[7; 100], 0));
            journal.note("connect", tool.connect(fd, REMOTE));
            journal.left();
            journal.inject(Segment::new(SYN | ACK, 0, 1).options(&with(&[])));
            journal.left();
            journal.state(fd);
            journal.note("more", tool.send_to(fd, &[7; 10], MSG_FASTOPEN, REMOTE));
            journal.note("more, no address", tool.send(fd, &[7; 10], MSG_FASTOPEN));
            journal.note("plain", tool.send(fd, &[7; 10], 0));
            journal.left();
            journal.state(fd);
        });
    }
}

/// What a server does with the data of a SYN.
fn answers(journal: &mut Journal<'_>, len: usize, acked: u32, option: &[u8]) {
    let fd = journal.bound();
    let tool = journal.tool;
    journal.note(
        "sendto",
        tool.send_to(fd, &vec![7; len], MSG_FASTOPEN, REMOTE),
    );
    journal.left();
    journal.state(fd);
    journal.note("again", tool.send_to(fd, &[7; 10], MSG_FASTOPEN, REMOTE));
    journal.note("plain", tool.send(fd, &[7; 10], 0));
    journal.note("read", tool.read(fd, 10));
    journal.inject(Segment::new(SYN | ACK, 0, acked).options(&with(option)));
    journal.left();
    journal.state(fd);
    journal.note("connect", tool.connect(fd, REMOTE));
    journal.note("more", tool.send(fd, &[7; 10], MSG_FASTOPEN));
    journal.note("plain", tool.send(fd, &[7; 10], 0));
    journal.left();
    journal.abort(fd);
}

#[test]
fn data_with_a_cookie_acknowledged_or_not() {
    alike(Settings::default(), "", |journal| {
        learn_cookie(journal);
        for (len, acked) in [
            (1_000, 1_001),
            (1_000, 1),
            (1_000, 501),
            (1_000, 1_002),
            (0, 1),
            (5_000, 1_421),
        ] {
            journal.head(&format!("{len} bytes, {acked} acknowledged"));
            answers(journal, len, acked, &[]);
        }
    });
}

#[test]
fn a_cookie_may_not_come() {
    alike(Settings::default(), "", |journal| {
        for option in [
            &[][..],
            &[],
            &[254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8],
            &[],
        ] {
            journal.head(&format!("{option:?}"));
            answers(journal, 100, 1, option);
        }
        journal.head("a new one");
        answers(journal, 100, 101, &COOKIE);
        answers(journal, 100, 101, &[]);
    });
}

#[test]
fn clients_may_do_without_a_cookie() {
    for by_option in [false, true] {
        let scenario = if by_option {
            |journal: &mut Journal<'_>| {
                let fd = journal.bound();
                let tool = journal.tool;
                let set = journal.int(fd, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1);
                journal.note("set", set);
                journal.note("sendto", tool.send_to(fd, &[7; 100], MSG_FASTOPEN, REMOTE));
                journal.left();
                journal.inject(Segment::new(SYN | ACK, 0, 101).options(&with(&[])));
                journal.left();
                journal.state(fd);
            }
        } else {
            |journal: &mut Journal<'_>| {
                answers(journal, 1_000, 1_001, &[]);
                answers(journal, 1_000, 1, &[]);
            }
        };
        let sysctls: &[_] = if by_option {
            &[]
        } else {
            &[("ipv4/tcp_fastopen", "5")]
        };
        alike(
            settings(sysctls),
            if by_option { "" } else { "tcp_fastopen=5" },
            scenario,
        );
    }
}

#[test]
fn a_connect_that_waits_for_data() {
    alike(Settings::default(), "", |journal| {
        for round in 0..4 {
            journal.head(&format!("{round}"));
            let fd = journal.bound();
            let tool = journal.tool;
            let set = journal.int(fd, IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1);
            journal.note("set", set);
            journal.note("connect", tool.connect(fd, REMOTE));
            journal.left();
            journal.state(fd);
            if round == 0 {
                journal.inject(Segment::new(SYN | ACK, 0, 1).options(&with(&COOKIE)));
                journal.left();
                journal.note("close", tool.close(fd));
                journal.left();
                journal.inject(Segment::new(RST | ACK, 1, 2));
                continue;
            }
            journal.note("connect", tool.connect(fd, REMOTE));
            journal.note("read", tool.read(fd, 10));
            let set = journal.get(fd, SOL_SOCKET, libc::SO_ERROR);
            journal.note("error", set);
            if round == 1 {
                journal.note("shutdown", tool.shutdown(fd, libc::SHUT_WR));
                journal.left();
            }
            if round == 2 {
                journal.note("close", tool.close(fd));
                journal.left();
                continue;
            }
            journal.note("write", tool.write(fd, &[7; 500]));
            journal.left();
            journal.state(fd);
            journal.note("write", tool.write(fd, &[7; 500]));
            journal.note("connect", tool.connect(fd, REMOTE));
            journal.inject(Segment::new(SYN | ACK, 0, 501).options(&with(&[])));
            journal.left();
            journal.state(fd);
            journal.note("connect", tool.connect(fd, REMOTE));
            journal.note("write", tool.write(fd, &[7; 500]));
            journal.left();
            journal.abort(fd);
        }
    });
}

#[test]
fn data_comes_with_the_answer() {
    alike(Settings::default(), "", |journal| {
        learn_cookie(journal);
        for acked in [101, 1] {
            let fd = journal.bound();
            let tool = journal.tool;
            journal.note("sendto", tool.send_to(fd, &[7; 100], MSG_FASTOPEN, REMOTE));
            journal.left();
            let answer = Segment::new(SYN | ACK, 0, acked).options(&with(&[]));
            journal.inject(answer.payload(b"hello"));
            journal.left();
            journal.state(fd);
            journal.note("read", tool.read(fd, 10));
            journal.inject(Segment::new(RST | ACK, 6, 101));
            journal.state(fd);
            journal.note("close", tool.close(fd));
        }
    });
}

#[test]
fn a_lost_syn_goes_again_without_data() {
    alike(Settings::default(), "", |journal| {
        learn_cookie(journal);
        for acked in [1, 101] {
            let fd = journal.bound();
            let tool = journal.tool;
            journal.note("sendto", tool.send_to(fd, &[7; 100], MSG_FASTOPEN, REMOTE));
            journal.left();
            journal.next();
            journal.inject(Segment::new(SYN | ACK, 0, acked).options(&with(&[])));
            journal.left();
            journal.state(fd);
            journal.inject(Segment::new(RST | ACK, 1, 101));
            journal.state(fd);
            journal.note("close", tool.close(fd));
        }
    });
}

/// A SYN with an option and data for a listener; what becomes of it.
fn serve(journal: &mut Journal<'_>, listener: i32, port: u16, option: &[u8], data: &[u8]) {
    let mut syn = Segment::new(SYN, 0, 0).options(&with(option)).payload(data);
    syn.from = port;
    journal.inject(syn);
    journal.left();
    let tool = journal.tool;
    let accepted = tool.accept(listener);
    journal.note("accept", accepted.is_ok());
    if let Ok(fd) = accepted {
        tool.nonblocking(fd);
        journal.state(fd);
        journal.note("read", tool.read(fd, 10));
        journal.note("read", tool.read(fd, 10));
        journal.note("write", tool.write(fd, &[7; 3_000]));
        journal.left();
        let mut ack = Segment::new(ACK, 1 + data.len() as u32, 1);
        ack.from = port;
        journal.inject(ack);
        journal.left();
        journal.state(fd);
        journal.abort(fd);
    } else {
        let mut ack = Segment::new(ACK, 1, 1);
        ack.from = port;
        journal.inject(ack);
        journal.left();
        let accepted = tool.accept(listener).expect("accepted");
        journal.state(accepted);
        journal.abort(accepted);
    }
}

/// The cookie of 192.0.2.1 at 192.168.0.1 with the key of scripts.
const GOOD: [u8; 8] = [0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb];

fn every_syn(journal: &mut Journal<'_>, listener: i32) {
    let good = [&[34, 10][..], &GOOD].concat();
    let good_experimental = [&[254, 12, 0xf9, 0x89][..], &GOOD].concat();
    let mut port = 41_000;
    for option in [
        &[][..],
        &[34, 2],
        &good,
        &COOKIE,
        &[34, 6, 1, 2, 3, 4],
        &[34, 5, 1, 2, 3],
        &[254, 4, 0xf9, 0x89],
        &good_experimental,
        &[254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8],
    ] {
        for data in [&b"hello"[..], b""] {
            journal.head(&format!("{option:?} {}", data.len()));
            serve(journal, listener, port, option, data);
            port += 1;
        }
    }
}

#[test]
fn every_syn_for_every_listener() {
    const VALUES: [(&str, &[(&str, &str)]); 6] = [
        ("tcp_fastopen=1", &[("ipv4/tcp_fastopen", "1")]),
        ("tcp_fastopen=2", &[("ipv4/tcp_fastopen", "2")]),
        ("tcp_fastopen=1026", &[("ipv4/tcp_fastopen", "1026")]),
        ("tcp_fastopen=1024", &[("ipv4/tcp_fastopen", "1024")]),
        ("tcp_fastopen=514", &[("ipv4/tcp_fastopen", "514")]),
        ("tcp_fastopen=1538", &[("ipv4/tcp_fastopen", "1538")]),
    ];
    for (flags, sysctls) in VALUES {
        let scenario = |journal: &mut Journal<'_>| {
            for (option, value) in [(0, 0), (libc::TCP_FASTOPEN, 5), (TCP_FASTOPEN_NO_COOKIE, 1)] {
                journal.head(&format!("option {option}"));
                let listener = journal.bound();
                let tool = journal.tool;
                if option != 0 {
                    let set = journal.int(listener, IPPROTO_TCP, option, value);
                    journal.note("set", set);
                }
                journal.note("listen", tool.listen_for(listener, 10));
                let got = journal.get(listener, IPPROTO_TCP, libc::TCP_FASTOPEN);
                journal.note("queue", got);
                every_syn(journal, listener);
                journal.note("close", tool.close(listener));
            }
        };
        alike(settings(sysctls), flags, scenario);
    }
}

#[test]
fn keys_of_a_listener() {
    alike(Settings::default(), "", |journal| {
        let listener = journal.bound();
        let tool = journal.tool;
        let level = IPPROTO_TCP;
        let key = |journal: &mut Journal<'_>, room| {
            let key = tool.option(listener, level, TCP_FASTOPEN_KEY, room);
            journal.note("key", key);
        };
        key(journal, 16);
        for len in [0, 1, 15, 16, 17, 31, 32, 33, 48] {
            let bytes: Vec<u8> = (0..len).collect();
            let set = tool.set(listener, level, TCP_FASTOPEN_KEY, &bytes);
            journal.note("set", (len, set));
            for room in [4, 16, 32, 40] {
                key(journal, room);
            }
        }
        let bytes: Vec<u8> = (0..32).collect();
        let set = tool.set(listener, level, TCP_FASTOPEN_KEY, &bytes[..16]);
        journal.note("set", set);
        journal.note("listen", tool.listen_for(listener, 10));
        let given = |journal: &mut Journal<'_>, port: u16, option: &[u8]| -> Vec<u8> {
            let mut syn = Segment::new(SYN, 0, 0)
                .options(&with(option))
                .payload(b"hello");
            syn.from = port;
            journal.inject(syn);
            let left = journal.left();
            let mut ack = Segment::new(ACK, if left[0].ack == 6 { 6 } else { 1 }, 1);
            ack.from = port;
            journal.inject(ack);
            let fd = tool.accept(listener).expect("accepted");
            journal.state(fd);
            let mut end = Segment::new(RST | ACK, if left[0].ack == 6 { 6 } else { 1 }, 1);
            end.from = port;
            journal.inject(end);
            tool.close(fd).expect("closed");
            left[0]
                .options
                .iter()
                .skip_while(|kind| **kind != 34)
                .copied()
                .collect()
        };
        let first = given(journal, 41_000, &[34, 2]);
        let first = &first[..first.len().min(10)];
        given(journal, 41_001, first);
        let other: Vec<u8> = [&bytes[16..], &bytes[..16]].concat();
        let set = tool.set(listener, level, TCP_FASTOPEN_KEY, &other);
        journal.note("set", set);
        key(journal, 32);
        given(journal, 41_002, first);
        given(journal, 41_003, &[34, 2]);
        given(journal, 41_004, &COOKIE);
        let set = tool.set(listener, level, TCP_FASTOPEN_KEY, &other[..16]);
        journal.note("set", set);
        given(journal, 41_005, first);
    });
}

#[test]
fn a_queue_that_is_full() {
    alike(Settings::default(), "", |journal| {
        let listener = journal.bound();
        let tool = journal.tool;
        let set = journal.int(listener, IPPROTO_TCP, libc::TCP_FASTOPEN, 2);
        journal.note("set", set);
        journal.note("listen", tool.listen_for(listener, 10));
        let good = [&[34, 10][..], &GOOD].concat();
        for port in 41_000..41_003 {
            let mut syn = Segment::new(SYN, 0, 0)
                .options(&with(&good))
                .payload(b"hello");
            syn.from = port;
            journal.inject(syn);
            journal.left();
        }
        let mut syn = Segment::new(SYN, 0, 0).options(&with(&[34, 2]));
        syn.from = 41_009;
        journal.inject(syn);
        journal.left();
    });
}

#[test]
fn the_end_of_a_connection_that_began_with_data() {
    alike(Settings::default(), "", |journal| {
        let good = [&[34, 10][..], &GOOD].concat();
        for ending in 0..8 {
            journal.head(&format!("ending {ending}"));
            let listener = journal.bound();
            let tool = journal.tool;
            journal.note("listen", tool.listen_for(listener, 10));
            let port = 41_000 + ending;
            let segment = |flags, seq, ack| {
                let mut segment = Segment::new(flags, seq, ack);
                segment.from = port;
                segment
            };
            let syn = segment(SYN, 0, 0).options(&with(&good)).payload(b"hello");
            journal.inject(syn.clone());
            journal.left();
            match ending {
                // Before it is accepted.
                0 => journal.inject(segment(RST, 6, 0)),
                1 => journal.inject(segment(RST, 1, 0)),
                2 => {
                    journal.note("close", tool.close(listener));
                    journal.left();
                    continue;
                }
                3 => journal.inject(segment(FIN | ACK, 6, 1)),
                4 => journal.inject(syn),
                _ => {}
            }
            journal.left();
            let Ok(fd) = tool.accept(listener) else {
                continue;
            };
            tool.nonblocking(fd);
            journal.state(fd);
            match ending {
                5 => journal.note("close", tool.close(fd)),
                6 => {
                    journal.note("read", tool.read(fd, 10));
                    journal.note("close", tool.close(fd));
                }
                7 => {
                    journal.note("read", tool.read(fd, 10));
                    journal.note("write", tool.write(fd, b"answer"));
                    journal.note("close", tool.close(fd));
                }
                _ => {
                    journal.note("read", tool.read(fd, 10));
                    journal.note("read", tool.read(fd, 10));
                    journal.note("write", tool.write(fd, b"answer"));
                    journal.note("read", tool.read(fd, 10));
                }
            }
            journal.left();
            journal.inject(segment(ACK, 6, 1));
            journal.left();
            journal.inject(segment(ACK | PSH, 6, 1).payload(b"more"));
            journal.left();
            journal.inject(segment(FIN | ACK, 10, 1));
            journal.left();
            if ending < 5 {
                journal.state(fd);
                journal.note("close", tool.close(fd));
                journal.left();
            }
            journal.note("close", tool.close(listener));
            journal.inject(segment(RST | ACK, 11, 1));
        }
    });
}

#[test]
fn the_key_of_the_sysctl() {
    const KEYS: &[(&str, &str)] = &[(
        "ipv4/tcp_fastopen_key",
        "01234567-89abcdef-00112233-44556677",
    )];
    let flags = "tcp_fastopen_key=01234567-89abcdef-00112233-44556677";
    alike(settings(KEYS), flags, |journal| {
        let listener = journal.bound();
        let tool = journal.tool;
        journal.note("listen", tool.listen_for(listener, 10));
        serve(journal, listener, 41_000, &[34, 2], b"");
    });
}
