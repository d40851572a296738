//! Scripts played through the table, as the tool plays them, with exact times.

mod driver;

use driver::{ACK, FIN, OPTIONS, PSH, RST, SYN, Segment, Tool, accepted};

#[test]
fn a_handshake_data_and_close_both_ways() {
    let tool = Tool::new("");
    let (listener, connection, seq) = accepted(&tool);
    tool.inject(&Segment::new(ACK | PSH, 1, seq).payload(b"hello").v4());
    let (ack, _) = tool.expect();
    assert_eq!((ack.flags, ack.ack), (ACK, 6));
    assert_eq!(tool.ioctl(connection, 0x541b), Ok(5));
    assert_eq!(tool.read(connection, 100).as_deref(), Ok(&b"hello"[..]));
    assert_eq!(tool.write(connection, b"world"), Ok(5));
    let (data, _) = tool.expect();
    assert_eq!((data.flags, data.seq), (ACK | PSH, seq));
    assert_eq!(data.payload, b"world");
    assert_eq!(tool.ioctl(connection, 0x5411), Ok(5));
    tool.inject(&Segment::new(ACK, 6, seq.wrapping_add(5)).v4());
    assert_eq!(tool.ioctl(connection, 0x5411), Ok(0));
    tool.inject(&Segment::new(FIN | ACK, 6, seq.wrapping_add(5)).v4());
    assert_eq!(tool.expect().0.ack, 7);
    assert_eq!(tool.read(connection, 1).as_deref(), Ok(&b""[..]));
    assert_eq!(tool.close(connection), Ok(0));
    let (fin, _) = tool.expect();
    assert_eq!((fin.flags, fin.seq), (FIN | ACK, seq.wrapping_add(5)));
    tool.inject(&Segment::new(ACK, 7, seq.wrapping_add(6)).v4());
    // That the number is bad now is asked in `c/plugin.c`: here another test may have it.
    assert_eq!(tool.close(listener), Ok(0));
}

#[test]
fn retransmissions_leave_at_exact_times() {
    let times = |tool: &Tool| {
        let fd = tool.socket(false);
        tool.nonblocking(fd);
        assert_eq!(tool.connect(fd, "192.0.2.1:80"), Err(libc::EINPROGRESS));
        let first = tool.expect();
        assert_eq!(first.0.flags, SYN);
        let later = (0..3).map(|_| tool.expect()).map(|(syn, at)| {
            assert_eq!((syn.flags, syn.seq), (SYN, first.0.seq));
            at - first.1
        });
        later.collect::<Vec<_>>()
    };
    // Linux 6.5: the first waits do not double.
    let found = times(&Tool::new(""));
    for (found, expected) in found.iter().zip([1_000_000, 2_000_000, 3_000_000]) {
        // The timer wheel's tick is a millisecond.
        assert!((expected..=expected + 1_000).contains(found), "{found}");
    }
    assert_eq!(
        found,
        times(&Tool::new("")),
        "a second run takes the same course"
    );
}

#[test]
fn sleeping_advances_the_clock_by_what_was_asked() {
    let tool = Tool::new("");
    let before = tool.clock();
    tool.sleep(1_234_567);
    assert_eq!(tool.clock() - before, 1_234_568);
}

#[test]
fn options_stand_as_linux_or_freebsd_put_them() {
    for (flags, options) in [("", [3, 3, 8]), ("freebsd", [3, 3, 6])] {
        let tool = Tool::new(flags);
        let fd = tool.socket(false);
        tool.nonblocking(fd);
        assert_eq!(tool.connect(fd, "192.0.2.1:80"), Err(libc::EINPROGRESS));
        let (syn, _) = tool.expect();
        assert_eq!(syn.options[..4], [2, 4, 5, 180]);
        if flags.is_empty() {
            assert_eq!(syn.options[4..8], [4, 2, 8, 10]);
            assert_eq!(syn.options[16], 1);
            assert_eq!(syn.options[17..20], options);
        } else {
            assert_eq!(syn.options[4], 1);
            assert_eq!(syn.options[5..8], options);
            assert_eq!(syn.options[8..12], [4, 2, 8, 10]);
        }
    }
}

#[test]
fn quick_acknowledgements_can_be_turned_off() {
    for (flags, delayed) in [("", false), ("no-quick-ack", true)] {
        let tool = Tool::new(flags);
        let (_listener, _connection, seq) = accepted(&tool);
        let before = tool.clock();
        tool.inject(&Segment::new(ACK, 1, seq).payload(&[7; 1460]).v4());
        let (ack, at) = tool.expect();
        assert_eq!(ack.ack, 1461);
        assert_eq!(at - before >= 40_000, delayed, "{flags}: {}", at - before);
    }
}

#[test]
fn super_frames_leave_as_segments_of_the_mtu() {
    for (flags, mtu) in [("", 1500), ("mtu=1000", 1000)] {
        let tool = Tool::new(flags);
        let (_listener, connection, seq) = accepted(&tool);
        let mss = mtu - 40;
        let data: Vec<u8> = (0..3 * mss + 1).map(|at| at as u8).collect();
        assert_eq!(tool.write(connection, &data), Ok(data.len() as isize));
        let mut found = Vec::new();
        for len in [mss, mss, mss] {
            let (segment, _) = tool.expect();
            assert_eq!(segment.seq, seq.wrapping_add(found.len() as u32));
            assert_eq!(segment.payload.len(), len);
            found.extend(segment.payload);
        }
        assert_eq!(found, data[..3 * mss]);
    }
}

#[test]
fn ipv6_works_as_well() {
    let tool = Tool::new("");
    let listener = tool.listener(true);
    tool.inject(&Segment::new(SYN, 0, 0).options(&OPTIONS).v6());
    let (syn_ack, _) = tool.expect();
    assert_eq!(syn_ack.flags, SYN | ACK);
    assert_eq!(syn_ack.options[..4], [2, 4, 5, 160]);
    let seq = syn_ack.seq.wrapping_add(1);
    tool.inject(&Segment::new(ACK, 1, seq).v6());
    let connection = tool.accept(listener).expect("a connection");
    assert_eq!(tool.write(connection, b"six"), Ok(3));
    assert_eq!(tool.expect().0.payload, b"six");
}

/// As Linux: the call that wrote a part tells how much, the next one why no more.
#[test]
fn a_reset_in_a_blocking_write_is_told_by_the_next_one() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    tool.set_send_buffer(connection, 4_144);
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| tool.write(connection, &[1; 20_000]));
        // Until the other thread has written, nothing leaves.
        while tool.ioctl(connection, 0x5411) == Ok(0) {
            std::thread::yield_now();
        }
        tool.inject(&Segment::new(RST | ACK, 1, seq).v4());
        let written = blocked.join().expect("no panic");
        assert!(matches!(written, Ok(1..20_000)), "{written:?}");
    });
    let again = || tool.send(connection, b"more", libc::MSG_NOSIGNAL);
    assert_eq!(again(), Err(libc::ECONNRESET));
    assert_eq!(again(), Err(libc::EPIPE));
}

/// Whose thread is late sees a later time: real time is too short then, and there is another try.
#[test]
fn calls_block_on_a_thread_of_their_own_until_the_very_microsecond() {
    const TRIES: usize = 100;
    let exact = (0..TRIES).any(|_| blocking_times() == (20_001, 30_002));
    assert!(exact, "{TRIES} tries, and never exact");
}

/// When a blocked accept and a blocked read end, after 20,000 and 30,000 microseconds.
fn blocking_times() -> (i64, i64) {
    let tool = Tool::new("");
    let listener = tool.listener(false);
    let start = tool.clock();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| {
            let connection = tool.accept(listener).expect("a connection");
            let accepted_at = tool.clock();
            let bytes = tool.read(connection, 10).expect("data");
            (accepted_at, bytes, tool.clock())
        });
        // The tool looks into /proc; here, some real time does.
        std::thread::sleep(std::time::Duration::from_millis(50));
        tool.sleep(10_000);
        tool.inject(&Segment::new(SYN, 0, 0).options(&OPTIONS).v4());
        let (syn_ack, at) = tool.expect();
        assert_eq!(at - start, 10_000);
        let seq = syn_ack.seq.wrapping_add(1);
        tool.sleep(10_000);
        tool.inject(&Segment::new(ACK, 1, seq).v4());
        std::thread::sleep(std::time::Duration::from_millis(50));
        tool.sleep(10_000);
        tool.inject(&Segment::new(ACK | PSH, 1, seq).payload(b"late").v4());
        let (accepted_at, bytes, read_at) = blocked.join().expect("no panic");
        assert_eq!(bytes, b"late");
        (accepted_at - start, read_at - start)
    })
}

#[test]
fn a_blocking_connect_ends_with_the_peers_answer() {
    for (flags, expected) in [(SYN | ACK, Ok(0)), (RST | ACK, Err(libc::ECONNREFUSED))] {
        let tool = Tool::new("");
        let fd = tool.socket(false);
        std::thread::scope(|scope| {
            let blocked = scope.spawn(|| tool.connect(fd, "192.0.2.1:8080"));
            let (syn, _) = loop {
                // Until the other thread has begun, nothing leaves.
                if tool.connect_began(fd) {
                    break tool.expect();
                }
                std::thread::yield_now();
            };
            let mut reply = Segment::new(flags, 0, syn.seq.wrapping_add(1)).options(&OPTIONS);
            (reply.from, reply.to) = (8080, syn.from);
            tool.inject(&reply.v4());
            assert_eq!(blocked.join().expect("no panic"), expected);
        });
    }
}

#[test]
fn polling_tells_readiness_and_lets_time_pass() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    let before = tool.clock();
    assert_eq!(tool.poll(connection, libc::POLLIN, 250), 0);
    assert_eq!(tool.clock() - before, 250_001);
    assert_eq!(tool.poll(connection, libc::POLLOUT, 0), libc::POLLOUT);
    tool.inject(&Segment::new(ACK | PSH, 1, seq).payload(b"x").v4());
    assert_eq!(tool.poll(connection, libc::POLLIN, 0), libc::POLLIN);
    tool.inject(&Segment::new(RST, 2, 0).v4());
    let ready = tool.poll(connection, libc::POLLIN, 0);
    assert_eq!(ready & libc::POLLHUP, libc::POLLHUP);
}

#[test]
fn options_are_kept_and_bad_ones_refused() {
    let tool = Tool::new("congestion=reno");
    let fd = tool.socket(false);
    let number = |value: i32| value.to_ne_bytes();
    let tcp = libc::IPPROTO_TCP;
    for (level, name, set, got) in [
        (tcp, libc::TCP_NODELAY, 1, 1),
        (tcp, libc::TCP_CORK, 1, 1),
        (tcp, libc::TCP_KEEPIDLE, 30, 30),
        (tcp, libc::TCP_USER_TIMEOUT, 5_000, 5_000),
        (tcp, libc::TCP_MAXSEG, 1_000, 1_000),
        (tcp, libc::TCP_WINDOW_CLAMP, 4_000, 4_000),
        (tcp, libc::TCP_SYNCNT, 3, 3),
        (tcp, libc::TCP_FASTOPEN, 5, 5),
        (tcp, libc::TCP_FASTOPEN_CONNECT, 1, 1),
        (tcp, libc::TCP_FASTOPEN_CONNECT, 0, 0),
        // As many waits of 1, 2, 4 s for the SYN-ACK as are needed.
        (tcp, libc::TCP_DEFER_ACCEPT, 1, 1),
        (tcp, libc::TCP_DEFER_ACCEPT, 2, 3),
        (tcp, libc::TCP_DEFER_ACCEPT, 5, 7),
        (tcp, libc::TCP_DEFER_ACCEPT, 0, 0),
        (libc::SOL_SOCKET, libc::SO_RCVBUF, 20_000, 40_000),
        (libc::SOL_SOCKET, libc::SO_SNDBUF, 20_000, 40_000),
    ] {
        assert_eq!(tool.set(fd, level, name, &number(set)), Ok(0));
        assert_eq!(
            tool.option(fd, level, name, 4).as_deref(),
            Ok(&number(got)[..])
        );
    }
    // There are no limits of a system to exceed.
    for (name, kept) in [
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
    ] {
        assert_eq!(tool.set(fd, libc::SOL_SOCKET, name, &number(30_000)), Ok(0));
        let got = tool.option(fd, libc::SOL_SOCKET, kept, 4);
        assert_eq!(got.as_deref(), Ok(&number(60_000)[..]));
    }
    let name = tool
        .option(fd, tcp, libc::TCP_CONGESTION, 16)
        .expect("a name");
    assert_eq!(&name[..5], b"reno\0");
    let other = tool.set(fd, tcp, libc::TCP_CONGESTION, b"vegas");
    assert_eq!(other, Err(libc::ENOENT));
    let md5 = tool.set(fd, tcp, libc::TCP_MD5SIG, &number(1));
    assert_eq!(md5, Err(libc::ENOPROTOOPT));
    assert_eq!(
        tool.set(fd, tcp, libc::TCP_KEEPIDLE, &[1]),
        Err(libc::EINVAL)
    );
    assert_eq!(
        tool.set(-1, tcp, libc::TCP_NODELAY, &number(1)),
        Err(libc::EBADF)
    );
}

#[test]
fn a_socket_that_is_not_connected_says_so() {
    let tool = Tool::new("");
    let fd = tool.socket(false);
    assert_eq!(tool.read(fd, 1), Err(libc::ENOTCONN));
    assert_eq!(tool.write(fd, b"x"), Err(libc::EPIPE));
    assert_eq!(tool.shutdown(fd, libc::SHUT_WR), Err(libc::ENOTCONN));
    assert_eq!(tool.accept(fd), Err(libc::EINVAL));
    let listener = tool.listener(false);
    tool.nonblocking(listener);
    assert_eq!(tool.accept(listener), Err(libc::EAGAIN));
}

/// A TOS in its own byte, as setsockopt wants an int.
fn int(value: i32) -> [u8; 4] {
    value.to_ne_bytes()
}

#[test]
fn the_type_of_service_is_that_of_the_socket() {
    let tool = Tool::new("");
    let (_listener, connection, _) = accepted(&tool);
    // The two ECN bits are not the application's.
    let set = tool.set(connection, libc::IPPROTO_IP, libc::IP_TOS, &int(0x2b));
    assert_eq!(set, Ok(0));
    assert_eq!(tool.write(connection, b"x"), Ok(1));
    assert_eq!(tool.expect().0.traffic_class, 0x28);
    let kept = tool.option(connection, libc::IPPROTO_IP, libc::IP_TOS, 4);
    assert_eq!(kept.as_deref(), Ok(&int(0x28)[..]));
}

#[test]
fn recvmsg_tells_what_is_left_when_tcp_inq_asks() {
    const TCP_INQ: i32 = 36;
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    tool.inject(&Segment::new(ACK | PSH, 1, seq).payload(b"hello").v4());
    assert_eq!(tool.receive_message(connection, 1), Ok((1, None)));
    assert_eq!(
        tool.set(connection, libc::IPPROTO_TCP, TCP_INQ, &int(1)),
        Ok(0)
    );
    assert_eq!(tool.receive_message(connection, 2), Ok((2, Some(2))));
    assert_eq!(tool.receive_message(connection, 9), Ok((2, Some(0))));
    let bad = tool.set(connection, libc::IPPROTO_TCP, TCP_INQ, &int(2));
    assert_eq!(bad, Err(libc::EINVAL));
}

/// As Linux: shutting the reading side keeps what is there and what comes.
#[test]
fn what_comes_after_shut_rd_can_be_read_and_resets_if_it_is_not() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    assert_eq!(tool.shutdown(connection, libc::SHUT_RD), Ok(0));
    assert_eq!(tool.read(connection, 9).as_deref(), Ok(&b""[..]));
    let ready = tool.poll(connection, libc::POLLIN | libc::POLLRDHUP, 0);
    assert_eq!(ready, libc::POLLIN | libc::POLLRDHUP);
    tool.inject(&Segment::new(ACK | PSH, 1, seq).payload(b"hello").v4());
    assert_eq!(tool.expect().0.ack, 6);
    assert_eq!(tool.read(connection, 2).as_deref(), Ok(&b"he"[..]));
    assert_eq!(tool.close(connection), Ok(0));
    let (reset, _) = tool.expect();
    assert_eq!((reset.flags, reset.seq, reset.ack), (RST | ACK, seq, 6));
}

#[test]
fn data_after_both_sides_are_shut_resets_the_connection() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    assert_eq!(tool.shutdown(connection, libc::SHUT_RDWR), Ok(0));
    assert_eq!(tool.expect().0.flags, FIN | ACK);
    let after = seq.wrapping_add(1);
    tool.inject(&Segment::new(ACK | PSH, 1, after).payload(b"late").v4());
    let (reset, _) = tool.expect();
    assert_eq!((reset.flags, reset.seq), (RST, after));
    assert_eq!(tool.read(connection, 1), Err(libc::ECONNRESET));
}

/// Two segments in each, as at the start of a connection with a long round trip; PSH is in
/// the second.
#[test]
fn super_frames_are_sized_and_pushed_as_linux_does() {
    let tool = Tool::new("");
    let listener = tool.listener(false);
    tool.inject(&Segment::new(SYN, 0, 0).options(&OPTIONS).v4());
    let seq = tool.expect().0.seq.wrapping_add(1);
    tool.sleep(100_000);
    tool.inject(&Segment::new(ACK, 1, seq).v4());
    let connection = tool.accept(listener).expect("a connection");
    assert_eq!(tool.write(connection, &[7; 20_000]), Ok(20_000));
    let flags: Vec<u8> = (0..10).map(|_| tool.expect().0.flags).collect();
    assert_eq!(flags, [ACK, ACK | PSH].repeat(5));
}

#[test]
fn a_small_receive_buffer_has_a_small_scale() {
    let tool = Tool::new("");
    let fd = tool.socket(false);
    tool.nonblocking(fd);
    let set = tool.set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &int(8_000));
    assert_eq!(set, Ok(0));
    assert_eq!(tool.connect(fd, "192.0.2.1:80"), Err(libc::EINPROGRESS));
    assert_eq!(tool.expect().0.options[16..20], [1, 3, 3, 0]);
}

#[test]
fn quick_acknowledgements_are_told_and_end_with_an_answer() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    let quick = || tool.option(connection, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 4);
    assert_eq!(quick().as_deref(), Ok(&int(1)[..]));
    tool.inject(&Segment::new(ACK | PSH, 1, seq).payload(b"ask").v4());
    assert_eq!(tool.expect().0.ack, 4);
    assert_eq!(tool.write(connection, b"answer"), Ok(6));
    assert_eq!(tool.expect().0.payload, b"answer");
    assert_eq!(quick().as_deref(), Ok(&int(0)[..]));
}

#[test]
fn messages_are_urgent_or_end_a_record_as_their_flags_say() {
    const URG: u8 = 32;
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    assert_eq!(tool.send(connection, b"stop", libc::MSG_OOB), Ok(4));
    let (urgent, _) = tool.expect();
    assert_eq!((urgent.flags, urgent.urgent), (ACK | PSH | URG, 4));
    let more = libc::MSG_MORE;
    assert_eq!(
        tool.send(connection, b"a record", more | libc::MSG_EOR),
        Ok(8)
    );
    tool.inject(&Segment::new(ACK, 1, seq.wrapping_add(4)).v4());
    let (record, _) = tool.expect();
    assert_eq!((record.flags, record.urgent), (ACK | PSH, 0));
    assert_eq!(record.payload, b"a record");
    assert_eq!(tool.send(connection, b"another ", more), Ok(8));
    assert_eq!(tool.send(connection, b"one", 0), Ok(3));
    tool.inject(&Segment::new(ACK, 1, seq.wrapping_add(12)).v4());
    assert_eq!(tool.expect().0.payload, b"another one");
}

/// MSS 1460 and a fast-open cookie of eight bytes.
fn with_cookie(cookie: [u8; 8]) -> Vec<u8> {
    let mut options = vec![2, 4, 5, 180, 34, 10];
    options.extend(cookie);
    options.extend([1, 1]);
    options
}

#[test]
fn a_listener_takes_the_data_of_a_syn_with_the_cookie_of_linux() {
    let cookie = [0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb];
    for flags in ["", "no-fast-open"] {
        let tool = Tool::new(flags);
        let listener = tool.listener(false);
        let syn = Segment::new(SYN, 0, 0).options(&with_cookie(cookie));
        tool.inject(&syn.payload(b"ask").v4());
        let (syn_ack, _) = tool.expect();
        if flags == "no-fast-open" {
            assert_eq!((syn_ack.flags, syn_ack.ack), (SYN | ACK, 1));
            continue;
        }
        assert_eq!((syn_ack.flags, syn_ack.ack), (SYN | ACK, 4));
        let connection = tool.accept(listener).expect("a connection");
        assert_eq!(tool.read(connection, 100).as_deref(), Ok(&b"ask"[..]));
        assert_eq!(tool.write(connection, b"answer"), Ok(6));
        assert_eq!(tool.expect().0.payload, b"answer");
    }
}

#[test]
fn a_client_sends_data_with_its_second_syn() {
    let tool = Tool::new("");
    let server = "192.0.2.1:40000";
    let answer = |syn: &Segment, ack: u32, options: &[u8]| {
        let ack = syn.seq.wrapping_add(ack);
        let mut answer = Segment::new(SYN | ACK, 0, ack).options(options);
        answer.to = syn.from;
        answer.v4()
    };
    let first = tool.socket(false);
    tool.nonblocking(first);
    let begun = tool.send_to(first, b"hello", libc::MSG_FASTOPEN, server);
    assert_eq!(begun, Err(libc::EINPROGRESS));
    let (syn, _) = tool.expect();
    assert_eq!((syn.flags, syn.payload.len()), (SYN, 0));
    assert!(syn.options.windows(2).any(|bytes| bytes == [34, 2]));
    tool.inject(&answer(&syn, 1, &with_cookie([7; 8])));
    tool.expect();
    // By the call that sends, and by one that comes before.
    for early in [false, true] {
        let fd = tool.socket(false);
        tool.nonblocking(fd);
        let sent = if early {
            let tcp = libc::IPPROTO_TCP;
            let set = tool.set(fd, tcp, libc::TCP_FASTOPEN_CONNECT, &int(1));
            assert_eq!(set, Ok(0));
            assert_eq!(tool.connect(fd, server), Ok(0));
            tool.write(fd, b"hello")
        } else {
            tool.send_to(fd, b"hello", libc::MSG_FASTOPEN, server)
        };
        assert_eq!(sent, Ok(5));
        let (syn, _) = tool.expect();
        assert_eq!((syn.flags, &syn.payload[..]), (SYN, &b"hello"[..]));
        assert!(
            syn.options
                .windows(10)
                .any(|bytes| bytes == [34, 10, 7, 7, 7, 7, 7, 7, 7, 7])
        );
        tool.inject(&answer(&syn, 6, &[2, 4, 5, 180]));
        assert_eq!(tool.expect().0.flags, ACK);
    }
}

#[test]
fn a_listener_keeps_the_headers_of_a_syn_for_its_connection() {
    const TCP_SAVE_SYN: i32 = 27;
    const TCP_SAVED_SYN: i32 = 28;
    let tool = Tool::new("");
    let listener = tool.listener(false);
    let tcp = libc::IPPROTO_TCP;
    assert_eq!(
        tool.set(listener, tcp, TCP_SAVE_SYN, &int(3)),
        Err(libc::EINVAL)
    );
    assert_eq!(tool.set(listener, tcp, TCP_SAVE_SYN, &int(1)), Ok(0));
    let syn = Segment::new(SYN, 0, 0).options(&OPTIONS).v4();
    tool.inject(&syn);
    let seq = tool.expect().0.seq.wrapping_add(1);
    tool.inject(&Segment::new(ACK, 1, seq).v4());
    let connection = tool.accept(listener).expect("a connection");
    let short = tool.option(connection, tcp, TCP_SAVED_SYN, 10);
    assert_eq!(short, Err(libc::EINVAL));
    let saved = tool.option(connection, tcp, TCP_SAVED_SYN, 100);
    assert_eq!(saved.as_deref(), Ok(&syn[..]));
    let again = tool.option(connection, tcp, TCP_SAVED_SYN, 100);
    assert_eq!(again.as_deref(), Ok(&b""[..]));
}

#[test]
fn tcp_inq_tells_of_the_end_as_of_a_byte() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    let set = tool.set(connection, libc::IPPROTO_TCP, 36, &int(1));
    assert_eq!(set, Ok(0));
    tool.inject(&Segment::new(ACK | FIN, 1, seq).payload(b"bye").v4());
    // On top of what is left, as on Linux.
    assert_eq!(tool.receive_message(connection, 2), Ok((2, Some(2))));
    assert_eq!(tool.receive_message(connection, 2), Ok((1, Some(1))));
}
