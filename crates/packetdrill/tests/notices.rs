//! The error queue: writes that were not to be copied, and times of bytes.

mod driver;

use driver::{ACK, PSH, Segment, Tool, accepted};
use libc::{EPOLLERR, EPOLLET, EPOLLIN, MSG_ERRQUEUE, MSG_ZEROCOPY};

/// The words of a `struct sock_extended_err`: errno, the four bytes, info, data.
fn extended(bytes: &[u8]) -> (u32, [u8; 4], u32, u32) {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("a word"));
    let small = bytes[4..8].try_into().expect("four bytes");
    (word(0), small, word(8), word(12))
}

#[test]
fn writes_without_a_copy_are_told_of_when_they_are_acknowledged() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    let epoll = tool.epoll();
    tool.watch(epoll, connection, EPOLLIN | EPOLLET);
    let option = |value: i32| {
        let (level, name) = (libc::SOL_SOCKET, libc::SO_ZEROCOPY);
        tool.set(connection, level, name, &value.to_ne_bytes())
    };
    // Without the option the flag says nothing.
    assert_eq!(tool.send(connection, &[7; 100], MSG_ZEROCOPY), Ok(100));
    tool.expect();
    tool.inject(&Segment::new(ACK, 1, seq.wrapping_add(100)).v4());
    let empty = tool.receive_with(connection, 9, MSG_ERRQUEUE);
    assert_eq!(empty.expect_err("nothing"), libc::EAGAIN);
    assert_eq!(option(2), Err(libc::EINVAL));
    assert_eq!(option(1), Ok(0));
    for _ in 0..2 {
        assert_eq!(tool.send(connection, &[7; 1_460], MSG_ZEROCOPY), Ok(1_460));
    }
    assert_eq!(tool.expect().0.flags, ACK | PSH);
    assert_eq!(tool.ready(epoll), 0);
    tool.inject(&Segment::new(ACK, 1, seq.wrapping_add(3_020)).v4());
    assert_eq!(tool.ready(epoll), EPOLLERR);
    assert_eq!(tool.ready(epoll), 0);
    let told = tool.receive_with(connection, 9, MSG_ERRQUEUE);
    let told = told.expect("a notice");
    assert_eq!((told.count, told.flags), (0, MSG_ERRQUEUE));
    let (level, kind, bytes) = &told.beside[0];
    assert_eq!((*level, *kind), (libc::IPPROTO_IP, libc::IP_RECVERR));
    // Origin 5, code 1: without a copy, which had to be made; the calls 0 to 1.
    assert_eq!(extended(bytes), (0, [5, 0, 1, 0], 0, 1));
    assert_eq!(tool.poll(connection, libc::POLLIN, 0), 0);
}

#[test]
fn bytes_are_stamped_when_they_leave_and_when_they_are_acknowledged() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    // SOFTWARE, OPT_ID, TX_SCHED, TX_SOFTWARE, TX_ACK, OPT_TSONLY.
    let flags: i32 = 1 << 4 | 1 << 7 | 1 << 8 | 1 << 1 | 1 << 9 | 1 << 11;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_TIMESTAMPING);
    let set = tool.set(connection, level, name, &flags.to_ne_bytes());
    assert_eq!(set, Ok(0));
    tool.sleep(10_000);
    let before = tool.clock();
    assert_eq!(tool.write(connection, b"hello"), Ok(5));
    tool.expect();
    tool.sleep(20_000);
    tool.inject(&Segment::new(ACK, 1, seq.wrapping_add(5)).v4());
    // What it is, and after how many microseconds: to be queued, to leave, to arrive.
    for (info, after) in [(1, 0), (0, 0), (2, 20_000)] {
        let told = tool.receive_with(connection, 9, MSG_ERRQUEUE);
        let told = told.expect("a notice");
        let (level, kind, times) = &told.beside[0];
        assert_eq!((*level, *kind), (libc::SOL_SOCKET, libc::SO_TIMESTAMPING));
        let part = |at: usize| i64::from_ne_bytes(times[at..at + 8].try_into().expect("a number"));
        let micros = part(0) * 1_000_000 + part(8) / 1_000;
        assert!((after..after + 10).contains(&(micros - before)), "{micros}");
        let enomsg = libc::ENOMSG.cast_unsigned();
        assert_eq!(extended(&told.beside[1].2), (enomsg, [4, 0, 0, 0], info, 4));
    }
    let empty = tool.receive_with(connection, 9, MSG_ERRQUEUE);
    assert_eq!(empty.expect_err("nothing"), libc::EAGAIN);
}
