//! Calls on sockets, one after the other, answer as the kernel's.

mod driver;

use driver::journal::{Journal, alike};
use driver::kernel::Settings;
use driver::{ACK, FIN, OPTIONS, PSH, RST, SYN, Segment, pattern};
use libc::{IPPROTO_TCP, SOL_SOCKET};

/// Nothing is sent again while we look.
const PATIENT: Settings<'static> = Settings {
    mtu: 1500,
    metrics: "congctl cubic rto_min 20s",
    sysctls: &[("ipv4/tcp_early_retrans", "0")],
};
const FLAGS: &str = "tcp_early_retrans=0";
const ERROR_QUEUE: i32 = libc::MSG_ERRQUEUE;

/// A connection that the script's side began, which does not block; listener and connection.
fn accepted(journal: &mut Journal<'_>) -> (i32, i32) {
    let listener = journal.bound();
    let tool = journal.tool;
    tool.listen_for(listener, 5).expect("listening");
    // Who was there before may be remembered.
    journal.port += 1;
    journal.inject(Segment::new(SYN, 0, 0).options(&OPTIONS));
    journal.left();
    journal.inject(Segment::new(ACK, 1, 1));
    journal.left();
    let fd = tool.accept(listener).expect("a connection");
    tool.nonblocking(fd);
    (listener, fd)
}

#[test]
fn reads_with_flags() {
    alike(PATIENT, FLAGS, |journal| {
        let tool = journal.tool;
        let (_, fd) = accepted(journal);
        let read = |journal: &mut Journal<'_>, max: usize, flags: i32| {
            let got = tool.receive_with(fd, max, flags);
            let got = got.map(|got| (got.count, got.flags, got.beside));
            journal.note(&format!("{max} {flags:#x}"), got);
        };
        let all = [
            0,
            libc::MSG_PEEK,
            libc::MSG_TRUNC,
            libc::MSG_WAITALL,
            libc::MSG_OOB,
            libc::MSG_DONTWAIT,
            libc::MSG_PEEK | libc::MSG_TRUNC,
            libc::MSG_PEEK | libc::MSG_WAITALL,
            libc::MSG_OOB | libc::MSG_PEEK,
            ERROR_QUEUE,
            libc::MSG_CTRUNC,
        ];
        let mut seq = 1;
        for inq in [0, 1] {
            let set = journal.int(fd, IPPROTO_TCP, 36, inq);
            journal.note("inq", set);
            for flags in all {
                read(journal, 10, flags);
                for (len, max) in [(20, 0), (20, 10), (20, 100)] {
                    journal.inject(Segment::new(ACK | PSH, seq, 1).payload(&pattern(len)));
                    seq += len as u32;
                    journal.left();
                    read(journal, max, flags);
                    journal.left();
                    journal.state(fd);
                }
                read(journal, 1000, 0);
                journal.left();
            }
        }
        journal.inject(Segment::new(ACK | PSH, seq, 1).payload(&pattern(20)));
        journal.inject(Segment::new(ACK | FIN, seq + 20, 1));
        journal.left();
        for flags in all {
            read(journal, 3, flags);
            journal.left();
        }
        journal.state(fd);
    });
}

#[test]
fn low_water_of_reading() {
    alike(PATIENT, FLAGS, |journal| {
        let tool = journal.tool;
        // The kernel's window grows with what comes.
        journal.windows = false;
        let (_, fd) = accepted(journal);
        let epoll = tool.epoll();
        tool.watch(epoll, fd, libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET);
        let mut seq = 1;
        for mark in [1, 0, 100, 5_000, -1] {
            let set = journal.int(fd, SOL_SOCKET, libc::SO_RCVLOWAT, mark);
            journal.note("set", set);
            let got = journal.get(fd, SOL_SOCKET, libc::SO_RCVLOWAT);
            journal.note("get", got);
            for len in [50, 60, 1_400] {
                journal.inject(Segment::new(ACK | PSH, seq, 1).payload(&pattern(len)));
                seq += len as u32;
                journal.left();
                journal.state(fd);
                journal.note("epoll", tool.ready(epoll));
            }
            journal.note("read", tool.read(fd, 99).map(|bytes| bytes.len()));
            journal.left();
            journal.state(fd);
            journal.note("read", tool.read(fd, 99_000).map(|bytes| bytes.len()));
            journal.left();
        }
    });
}

#[test]
fn sends_with_flags() {
    alike(PATIENT, FLAGS, |journal| {
        let tool = journal.tool;
        let (_, fd) = accepted(journal);
        let mut acked = 1;
        let (more, record) = (libc::MSG_MORE, libc::MSG_EOR);
        for calls in [
            &[(100, 0), (100, 0), (3_000, 0)][..],
            &[(100, more), (100, more), (100, 0)],
            &[(100, more | record), (100, 0)],
            &[(100, record), (100, record), (100, 0)],
            &[
                (2_000, more),
                (2_000, more | record),
                (10, more),
                (10, record),
                (10, 0),
            ],
            &[
                (100, libc::MSG_OOB),
                (10, 0),
                (1, libc::MSG_OOB),
                (0, libc::MSG_OOB),
            ],
            &[
                (0, 0),
                (0, more),
                (0, record),
                (10, libc::MSG_CONFIRM),
                (10, libc::MSG_DONTROUTE),
            ],
            &[
                (10, libc::MSG_NOSIGNAL),
                (10, 0x10),
                (10, 0x4000_0000),
                (10, ERROR_QUEUE),
            ],
            &[
                (10, libc::MSG_SYN),
                (10, libc::MSG_PEEK),
                (10, libc::MSG_TRUNC),
                (10, libc::MSG_WAITALL),
            ],
            &[
                (10, libc::MSG_ZEROCOPY),
                (10, 0x40000),
                (10, libc::MSG_CMSG_CLOEXEC),
            ],
        ] {
            journal.head(&format!("{calls:x?}"));
            let mut written = 0;
            for &(len, flags) in calls {
                let sent = tool.send(fd, &pattern(len), flags);
                journal.note(&format!("{len} {flags:#x}"), sent);
                written += sent.unwrap_or(0) as u32;
                journal.left();
            }
            // What was held back goes after the first acknowledgement at the latest.
            while tool.ioctl(fd, 0x5411) != Ok(0) {
                journal.inject(Segment::new(ACK, 1, acked + written));
                if journal.left().is_empty() {
                    let cork = journal.int(fd, IPPROTO_TCP, libc::TCP_NODELAY, 1);
                    journal.note("nodelay", cork);
                    journal.left();
                    let cork = journal.int(fd, IPPROTO_TCP, libc::TCP_NODELAY, 0);
                    journal.note("nodelay", cork);
                }
            }
            acked += written;
        }
    });
}

/// All that the error queue holds.
fn errors(journal: &mut Journal<'_>, fd: i32) {
    loop {
        let got = journal.tool.receive_with(fd, 10, ERROR_QUEUE);
        let over = got.is_err();
        let got = got.map(|got| {
            let beside = got.beside.into_iter().map(|(level, kind, mut bytes)| {
                if (level, kind) == (SOL_SOCKET, libc::SO_TIMESTAMPING) {
                    // Whether there is a time.
                    bytes = bytes
                        .chunks(16)
                        .map(|time| u8::from(time != [0; 16]))
                        .collect();
                }
                (level, kind, bytes)
            });
            (got.count, got.flags, beside.collect::<Vec<_>>())
        });
        journal.note("error queue", got);
        if over {
            return;
        }
    }
}

#[test]
fn stamps_in_the_error_queue() {
    alike(PATIENT, FLAGS, |journal| {
        const SOFTWARE: i32 = 1 << 4;
        const RAW: i32 = 1 << 6;
        const ID: i32 = 1 << 7;
        const SENT: i32 = 1 << 1;
        const SCHED: i32 = 1 << 8;
        const ACKED: i32 = 1 << 9;
        const ONLY: i32 = 1 << 11;
        const ID_TCP: i32 = 1 << 16;
        let tool = journal.tool;
        let (_, fd) = accepted(journal);
        let mut written = 1;
        for flags in [
            SOFTWARE | ID | SCHED | SENT | ACKED | ONLY,
            SOFTWARE | ID | ID_TCP | ACKED | ONLY,
            SOFTWARE | ACKED | ONLY,
            ID | ACKED | ONLY,
            RAW | ID | SCHED | ONLY,
            0,
            SOFTWARE | ID | SENT | ONLY,
            SOFTWARE | ID | ACKED | ONLY,
        ] {
            let set = journal.int(fd, SOL_SOCKET, libc::SO_TIMESTAMPING, flags);
            journal.note(&format!("flags {flags:#x}"), set);
            for len in [10, 3_000, 20] {
                journal.note("send", tool.send(fd, &pattern(len), 0));
                written += len as u32;
                journal.left();
                journal.state(fd);
            }
            errors(journal, fd);
            journal.inject(Segment::new(ACK, 1, written - 1_000));
            journal.left();
            errors(journal, fd);
            journal.inject(Segment::new(ACK, 1, written));
            journal.left();
            journal.state(fd);
            errors(journal, fd);
            journal.state(fd);
        }
    });
}

#[test]
fn notices_of_zero_copy() {
    alike(PATIENT, FLAGS, |journal| {
        let tool = journal.tool;
        let (_, fd) = accepted(journal);
        let epoll = tool.epoll();
        tool.watch(epoll, fd, libc::EPOLLIN | libc::EPOLLET);
        let set = journal.int(fd, SOL_SOCKET, libc::SO_SNDBUF, 200_000);
        journal.note("set", set);
        let set = journal.int(fd, SOL_SOCKET, libc::SO_ZEROCOPY, 1);
        journal.note("set", set);
        let mut written = 1;
        for lens in [&[4_000, 4_000][..], &[10, 20, 30], &[20_000], &[0, 100]] {
            for &len in lens {
                journal.note("send", tool.send(fd, &pattern(len), libc::MSG_ZEROCOPY));
                written += len as u32;
                journal.left();
            }
            journal.inject(Segment::new(ACK, 1, written - 5));
            journal.left();
            journal.note("epoll", tool.ready(epoll));
            errors(journal, fd);
            journal.inject(Segment::new(ACK, 1, written));
            journal.left();
            journal.note("epoll", tool.ready(epoll));
            journal.state(fd);
            errors(journal, fd);
        }
    });
}

#[test]
fn ends_and_what_is_told_of_them() {
    alike(PATIENT, FLAGS, |journal| {
        let all = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI;
        for ending in 0..12 {
            journal.head(&format!("ending {ending}"));
            let tool = journal.tool;
            let (listener, fd) = accepted(journal);
            let level = tool.epoll();
            tool.watch(level, fd, all);
            let edge = tool.epoll();
            tool.watch(edge, fd, all | libc::EPOLLET);
            let none = tool.epoll();
            tool.watch(none, fd, 0);
            let look = |journal: &mut Journal<'_>| {
                journal.left();
                let ready = [level, edge, edge, none].map(|epoll| tool.ready(epoll));
                journal.note("epoll", ready);
                journal.state(fd);
            };
            look(journal);
            match ending {
                0 => journal.inject(Segment::new(ACK | FIN, 1, 1)),
                1 => journal.inject(Segment::new(RST | ACK, 1, 1)),
                2 => journal.note("shut", tool.shutdown(fd, libc::SHUT_WR)),
                3 => journal.note("shut", tool.shutdown(fd, libc::SHUT_RD)),
                4 => journal.note("shut", tool.shutdown(fd, libc::SHUT_RDWR)),
                5 => journal.inject(Segment::new(ACK | FIN | PSH, 1, 1).payload(b"last")),
                6 => {
                    journal.inject(Segment::new(ACK | PSH, 1, 1).payload(b"data"));
                    look(journal);
                    journal.inject(Segment::new(RST | ACK, 5, 1));
                }
                7 => {
                    journal.inject(Segment::new(ACK | PSH, 1, 1).payload(b"data"));
                    look(journal);
                    journal.note("shut", tool.shutdown(fd, libc::SHUT_RD));
                }
                8 => {
                    journal.note("write", tool.write(fd, b"data"));
                    look(journal);
                    journal.note("shut", tool.shutdown(fd, libc::SHUT_WR));
                    look(journal);
                    journal.inject(Segment::new(ACK, 1, 6));
                }
                9 => {
                    journal.note("shut", tool.shutdown(fd, libc::SHUT_WR));
                    look(journal);
                    journal.inject(Segment::new(ACK | FIN, 1, 2));
                }
                10 => {
                    journal.note("shut", tool.shutdown(fd, libc::SHUT_RD));
                    look(journal);
                    journal.inject(Segment::new(ACK | PSH, 1, 1).payload(b"data"));
                }
                _ => {
                    journal.inject(Segment::new(ACK | FIN, 1, 1));
                    look(journal);
                    journal.note("write", tool.write(fd, b"data"));
                    look(journal);
                    journal.inject(Segment::new(RST, 2, 0));
                }
            }
            look(journal);
            for call in [
                "read", "error", "write", "shut", "read", "write", "connect", "error", "accept",
                "listen",
            ] {
                match call {
                    "read" => journal.note(call, tool.read(fd, 2)),
                    "write" => journal.note(call, tool.write(fd, b"a")),
                    "shut" => journal.note(call, tool.shutdown(fd, libc::SHUT_WR)),
                    "connect" => journal.connects(fd),
                    "accept" => journal.note(call, tool.accept(fd)),
                    "listen" => journal.note(call, tool.listen(fd)),
                    _ => {
                        let error = journal.get(fd, SOL_SOCKET, libc::SO_ERROR);
                        journal.note(call, error);
                    }
                }
                look(journal);
            }
            journal.abort(fd);
            journal.note("close", tool.close(listener));
        }
    });
}

#[test]
fn connects_that_fail_or_are_given_up() {
    alike(PATIENT, FLAGS, |journal| {
        let all = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP;
        for ending in 0..9 {
            journal.head(&format!("ending {ending}"));
            let tool = journal.tool;
            let fd = journal.bound();
            let epoll = tool.epoll();
            tool.watch(epoll, fd, all | libc::EPOLLET);
            let look = |journal: &mut Journal<'_>| {
                journal.left();
                journal.note("epoll", tool.ready(epoll));
                journal.state(fd);
            };
            look(journal);
            journal.connects(fd);
            look(journal);
            for call in [
                "connect", "read", "write", "error", "name", "listen", "accept",
            ] {
                match call {
                    "read" => journal.note(call, tool.read(fd, 2)),
                    "write" => journal.note(call, tool.write(fd, b"a")),
                    "connect" => journal.connects(fd),
                    "accept" => journal.note(call, tool.accept(fd)),
                    "listen" => journal.note(call, tool.listen(fd)),
                    "error" => {
                        let error = journal.get(fd, SOL_SOCKET, libc::SO_ERROR);
                        journal.note(call, error);
                    }
                    _ => {}
                }
            }
            match ending {
                0 => journal.inject(Segment::new(RST | ACK, 0, 1)),
                1 => journal.note("shut", tool.shutdown(fd, libc::SHUT_WR)),
                2 => journal.note("shut", tool.shutdown(fd, libc::SHUT_RD)),
                3 => journal.note("shut", tool.shutdown(fd, libc::SHUT_RDWR)),
                4 | 5 => {
                    // Crossing SYNs.
                    journal.inject(Segment::new(SYN, 0, 0).options(&OPTIONS));
                    look(journal);
                    if ending == 4 {
                        journal.note("shut", tool.shutdown(fd, libc::SHUT_WR));
                        look(journal);
                    }
                    journal.note("read", tool.read(fd, 2));
                    journal.note("write", tool.write(fd, b"a"));
                    look(journal);
                    journal.inject(Segment::new(ACK, 1, 1));
                }
                6 => {
                    journal.inject(Segment::new(SYN, 0, 0).options(&OPTIONS));
                    look(journal);
                    journal.inject(Segment::new(RST, 1, 0));
                }
                7 => journal.inject(Segment::new(SYN | ACK, 0, 1).options(&OPTIONS)),
                _ => journal.inject(
                    Segment::new(SYN | ACK, 0, 1)
                        .options(&OPTIONS)
                        .payload(b"data"),
                ),
            }
            look(journal);
            for call in [
                "error", "write", "read", "connect", "connect", "read", "write", "connect", "shut",
                "error",
            ] {
                match call {
                    "read" => journal.note(call, tool.read(fd, 2)),
                    "write" => journal.note(call, tool.write(fd, b"a")),
                    "shut" => journal.note(call, tool.shutdown(fd, libc::SHUT_WR)),
                    // Linux remembers the shutdown before the connection was there: EINVAL.
                    "connect" if ending == 4 => {}
                    "connect" => journal.connects(fd),
                    _ => {
                        let error = journal.get(fd, SOL_SOCKET, libc::SO_ERROR);
                        journal.note(call, error);
                    }
                }
                look(journal);
            }
            journal.abort(fd);
        }
    });
}

#[test]
fn unsent_bytes_up_to_a_mark() {
    alike(PATIENT, FLAGS, |journal| {
        let tool = journal.tool;
        for mark in [1, 1_000, 5_000, 20_000, 40_000] {
            journal.head(&format!("mark {mark}"));
            let (listener, fd) = accepted(journal);
            let set = journal.int(fd, SOL_SOCKET, libc::SO_SNDBUF, 500_000);
            journal.note("set", set);
            let set = journal.int(fd, IPPROTO_TCP, 25, mark);
            journal.note("set", set);
            let epoll = tool.epoll();
            tool.watch(epoll, fd, libc::EPOLLOUT | libc::EPOLLET);
            journal.note("epoll", tool.ready(epoll));
            let mut acked = 1;
            for len in [14_600, 100, 100, 3_000, 100_000] {
                journal.note(&format!("write {len}"), tool.write(fd, &pattern(len)));
                journal.left();
                journal.note("unsent", tool.ioctl(fd, 0x894b));
                journal.note("epoll", tool.ready(epoll));
                journal.state(fd);
            }
            for _ in 0..1 {
                acked += 2_920;
                journal.inject(Segment::new(ACK, 1, acked));
                journal.left();
                journal.note("unsent", tool.ioctl(fd, 0x894b));
                journal.note("epoll", tool.ready(epoll));
                journal.state(fd);
            }
            journal.abort(fd);
            journal.note("close", tool.close(listener));
        }
    });
}

#[test]
fn windows_by_the_buffer() {
    alike(PATIENT, FLAGS, |journal| {
        let tool = journal.tool;
        for before in [0, 10_000, 100_000, 1_000_000] {
            journal.head(&format!("SO_RCVBUF {before}"));
            let listener = journal.bound();
            if before > 0 {
                let set = journal.int(listener, SOL_SOCKET, libc::SO_RCVBUF, before);
                journal.note("set", set);
            }
            tool.listen_for(listener, 5).expect("listening");
            journal.port = 41_000 + (before / 1_000) as u16;
            journal.inject(Segment::new(SYN, 0, 0).options(&OPTIONS));
            journal.left();
            journal.inject(Segment::new(ACK, 1, 1));
            let fd = tool.accept(listener).expect("a connection");
            tool.nonblocking(fd);
            let got = journal.get(fd, SOL_SOCKET, libc::SO_RCVBUF);
            journal.note("get", got);
            // What the kernel keeps of memory beside the bytes shows in larger ones.
            journal.windows = before == 10_000;
            let mut seq = 1;
            for len in [1, 500, 1_000] {
                journal.inject(Segment::new(ACK | PSH, seq, 1).payload(&pattern(len)));
                seq += len as u32;
                journal.left();
            }
            journal.note("read", tool.read(fd, 10_000).map(|bytes| bytes.len()));
            journal.left();
            journal.windows = false;
            journal.abort(fd);
            journal.windows = true;
            journal.note("close", tool.close(listener));
            journal.port = 40_000;
            let client = journal.bound();
            if before > 0 {
                let set = journal.int(client, SOL_SOCKET, libc::SO_RCVBUF, before);
                journal.note("set", set);
            }
            journal.connects(client);
            journal.left();
            journal.note("close", tool.close(client));
        }
    });
}

#[test]
fn peeks_from_an_offset() {
    alike(PATIENT, FLAGS, |journal| {
        let tool = journal.tool;
        let (_, fd) = accepted(journal);
        let read = |journal: &mut Journal<'_>, max: usize, flags: i32| {
            let got = tool.receive_with(fd, max, flags);
            journal.note(&format!("{max} {flags:#x}"), got.map(|got| got.count));
            let offset = journal.get(fd, SOL_SOCKET, libc::SO_PEEK_OFF);
            journal.note("offset", offset);
        };
        read(journal, 5, libc::MSG_PEEK);
        for (at, offset) in [0, 7, 30, -1].into_iter().enumerate() {
            let set = journal.int(fd, SOL_SOCKET, libc::SO_PEEK_OFF, offset);
            journal.note("set", set);
            journal.inject(Segment::new(ACK | PSH, 1 + 20 * at as u32, 1).payload(&pattern(20)));
            journal.left();
            for (max, flags) in [
                (5, libc::MSG_PEEK),
                (5, libc::MSG_PEEK),
                (4, 0),
                (100, libc::MSG_PEEK),
                (100, libc::MSG_PEEK),
                (3, 0),
            ] {
                read(journal, max, flags);
            }
        }
    });
}

#[test]
fn unsent_bytes_of_a_distant_peer() {
    alike(PATIENT, FLAGS, |journal| {
        let tool = journal.tool;
        for window in [65_535, 257] {
            for mark in [1, 20_000] {
                for len in [20_000, 100_000] {
                    journal.head(&format!("window {window}, mark {mark}, write {len}"));
                    let listener = journal.bound();
                    tool.listen_for(listener, 5).expect("listening");
                    journal.port += 1;
                    journal.inject(Segment::new(SYN, 0, 0).options(&OPTIONS));
                    journal.left();
                    tool.sleep(100_000);
                    let mut ack = Segment::new(ACK, 1, 1);
                    ack.window = window;
                    journal.inject(ack);
                    let fd = tool.accept(listener).expect("a connection");
                    tool.nonblocking(fd);
                    let set = journal.int(fd, SOL_SOCKET, libc::SO_SNDBUF, 500_000);
                    journal.note("set", set);
                    let set = journal.int(fd, IPPROTO_TCP, 25, mark);
                    journal.note("set", set);
                    for _ in 0..2 {
                        journal.note("write", tool.write(fd, &pattern(len)));
                        journal.note("unsent", tool.ioctl(fd, 0x894b));
                    }
                    journal.note("left", tool.fence().len());
                    journal.abort(fd);
                    journal.note("close", tool.close(listener));
                }
            }
        }
    });
}
