//! Socket commands: what each does, each of its errors, and its end.
#![allow(unsafe_code)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime};

use common::{GUARD, errno, perform, pool, shared, skipped, target, tcp_pair};
use zcn_uring::{
    CommandError, Completion, Completion32, Entry64, Entry128, EntrySize, Kind, Op, Payload, Ring,
    SharedRing, Target, TxStage, TxTimestamp,
};

/// Performs an option command; gives the errno and the bytes that came back.
fn option(ring: &mut Ring, op: Op) -> (i32, Vec<u8>) {
    let done = perform(ring, op);
    assert_eq!(done.kind(), Kind::Command);
    (errno(&done), common::bytes(&done.payload))
}

/// Whether this kernel has commands of sockets at all; says so if not.
fn has_socket_commands(ring: &mut Ring) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let done = perform(ring, Op::socket_inq(target(&socket)));
    match done.command_result() {
        Ok(_) => true,
        Err(CommandError::Unsupported { source }) => {
            skipped(&format!("no commands of sockets: {source}"));
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Waits until an operation, repeated, gives what is wanted.
fn until(ring: &mut Ring, wanted: u32, op: impl Fn() -> Op) {
    let deadline = Instant::now() + GUARD;
    loop {
        let got = perform(ring, op()).command_result().expect("a count");
        if got == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{got} and never {wanted}");
    }
}

#[test]
fn bytes_in_either_queue_are_counted() {
    let mut ring = common::ring();
    if !has_socket_commands(&mut ring) {
        return;
    }
    let (mut ours, mut theirs) = tcp_pair();
    until(&mut ring, 0, || Op::socket_inq(target(&theirs)));
    ours.write_all(&[7; 1000]).expect("a write");
    until(&mut ring, 1000, || Op::socket_inq(target(&theirs)));
    // All of it is acknowledged, read or not.
    until(&mut ring, 0, || Op::socket_outq(target(&ours)));
    theirs.read_exact(&mut [0; 400]).expect("a read");
    until(&mut ring, 600, || Op::socket_inq(target(&theirs)));
    // A full way out is counted as well.
    ours.set_nonblocking(true).expect("non-blocking");
    while ours.write(&[1; 65536]).is_ok() {}
    let waiting = perform(&mut ring, Op::socket_outq(target(&ours)));
    assert!(waiting.command_result().expect("a count") > 0);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let refused = perform(&mut ring, Op::socket_inq(target(&listener)));
    assert!(matches!(
        refused.command_result(),
        Err(CommandError::Invalid { .. })
    ));
}

#[test]
fn options_are_set_and_read_back() {
    let pool = pool(8);
    let mut ring = common::ring();
    if !has_socket_commands(&mut ring) {
        return;
    }
    let (ours, _theirs) = tcp_pair();
    let on = target(&ours);
    let value = |value: i32| shared(&pool, &value.to_ne_bytes());
    let room = || pool.acquire().expect("a buffer");
    let set = Op::setsockopt(on, libc::IPPROTO_TCP, libc::TCP_NODELAY, value(0));
    assert_eq!(option(&mut ring, set).0, 0);
    assert!(!ours.nodelay().expect("the option"), "the kernel was told");
    let set = Op::setsockopt(on, libc::SOL_SOCKET, libc::SO_KEEPALIVE, value(1));
    assert_eq!(option(&mut ring, set).0, 0);
    let get = Op::getsockopt(on, libc::SOL_SOCKET, libc::SO_KEEPALIVE, room());
    assert_eq!(
        option(&mut ring, get),
        (0, 1_i32.to_ne_bytes().to_vec()),
        "as long as the option"
    );
    // Behind what the buffer holds already.
    let mut buf = room();
    buf.extend_from_slice(b"head").expect("room");
    let get = Op::getsockopt(on, libc::SOL_SOCKET, libc::SO_TYPE, buf);
    let expected = [&b"head"[..], &libc::SOCK_STREAM.to_ne_bytes()].concat();
    assert_eq!(option(&mut ring, get), (0, expected));
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn each_error_of_an_option_is_told_apart_and_gives_the_buffer_back() {
    let pool = pool(8);
    let mut ring = common::ring();
    if !has_socket_commands(&mut ring) {
        return;
    }
    let (ours, _theirs) = tcp_pair();
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let on = target(&ours);
    let value = |bytes: &[u8]| shared(&pool, bytes);
    let room = || pool.acquire().expect("a buffer");
    let one = 1_i32.to_ne_bytes();
    let (socket, keepalive) = (libc::SOL_SOCKET, libc::SO_KEEPALIVE);
    for (op, expected) in [
        // Only SOL_SOCKET can be read.
        (
            Op::getsockopt(on, libc::IPPROTO_TCP, libc::TCP_NODELAY, room()),
            libc::EOPNOTSUPP,
        ),
        (Op::getsockopt(on, socket, 9999, room()), libc::ENOPROTOOPT),
        (
            Op::setsockopt(on, socket, 9999, value(&one)),
            libc::ENOPROTOOPT,
        ),
        // Too short for an integer.
        (
            Op::setsockopt(on, socket, keepalive, value(&[1])),
            libc::EINVAL,
        ),
        // No socket, and no descriptor.
        (
            Op::getsockopt(target(&reader), socket, keepalive, room()),
            libc::EOPNOTSUPP,
        ),
        (
            Op::getsockopt(Target::Fd(-1), socket, keepalive, room()),
            libc::EBADF,
        ),
        (
            Op::getsockopt(Target::Direct(5), socket, keepalive, room()),
            libc::EBADF,
        ),
    ] {
        let done = perform(&mut ring, op);
        assert_eq!(errno(&done), expected, "{done:?}");
        let error = done.command_result().expect_err("an error");
        assert_eq!(error.raw_os_error(), Some(expected));
        assert!(done.payload.is_some(), "the buffer is back");
    }
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn commands_can_be_linked_and_sent_as_a_batch_and_given_up() {
    let pool = pool(128);
    let mut ring = common::ring();
    if !has_socket_commands(&mut ring) {
        return;
    }
    let (ours, _theirs) = tcp_pair();
    let on = target(&ours);
    let before = ring.counters().enters;
    let mut batch = ring.batch();
    for token in 0..64 {
        let value = shared(&pool, &1_i32.to_ne_bytes());
        let set = Op::setsockopt(on, libc::SOL_SOCKET, libc::SO_KEEPALIVE, value);
        batch.prepare(set.token(token)).expect("room");
    }
    batch.flush_and_wait(None).expect("a flush");
    assert_eq!(ring.counters().enters, before + 1);
    let done = ring.completions().filter(|done| done.raw_result() == 0);
    assert_eq!(done.count(), 64);
    // The first of a chain fails, so the second is cancelled.
    let failing = Op::getsockopt(on, 9999, 0, pool.acquire().expect("one"));
    common::push(&mut ring, failing.link().token(1));
    common::push(&mut ring, Op::socket_inq(on).token(2));
    let all = common::reap(&mut ring, 2);
    assert_eq!(errno(common::by_token(&all, 1)), libc::EOPNOTSUPP);
    let second = common::by_token(&all, 2).command_result();
    assert!(matches!(second, Err(CommandError::Cancelled { .. })));
    drop(all);
    // Given up before the submit, and after it.
    for submit in [false, true] {
        let get = Op::getsockopt(on, libc::SOL_SOCKET, libc::SO_TYPE, pool.acquire().unwrap());
        let id = common::push(&mut ring, get);
        if submit {
            ring.submit().expect("a submit");
        }
        ring.abandon(id);
    }
    common::run_until(&mut ring, |ring| ring.in_flight() == 0);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn names_are_those_of_the_socket_and_its_peer() {
    let mut ring = common::ring();
    let (ours, theirs) = tcp_pair();
    let msg = ring.take_msg();
    let done = perform(&mut ring, Op::getsockname(target(&ours), msg));
    assert_eq!(done.kind(), Kind::SocketName);
    if let Err(CommandError::Unsupported { source }) = done.command_result() {
        assert!(matches!(done.payload, Some(Payload::Msg(_))), "it is back");
        return skipped(&format!("no names by a ring before Linux 6.19: {source}"));
    }
    let name = |done: Completion| match done.payload {
        Some(Payload::Msg(msg)) => msg.peer(),
        other => panic!("no message: {other:?}"),
    };
    assert_eq!(name(done), ours.local_addr().ok());
    let msg = ring.take_msg();
    let done = perform(&mut ring, Op::getpeername(target(&ours), msg));
    assert_eq!(done.command_result().expect("a peer"), 0);
    assert_eq!(name(done), theirs.local_addr().ok());
    let lonely = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let msg = ring.take_msg();
    let done = perform(&mut ring, Op::getpeername(target(&lonely), msg));
    assert!(matches!(
        done.command_result(),
        Err(CommandError::Gone { .. })
    ));
    assert_eq!(name(done), None, "an error names nobody");
}

/// Asks for stamps of a socket's sends at every stage that loopback has.
fn stamp(socket: &impl AsFd, tcp: bool) {
    let stages = [TxStage::Scheduled, TxStage::Sent, TxStage::Acknowledged];
    // Datagrams are not acknowledged.
    let stages = if tcp { &stages[..] } else { &stages[..2] };
    let pool = pool(1);
    let mut ring = common::ring();
    let set = Op::stamp_sends(target(socket), stages, pool.acquire().expect("a buffer"));
    let done = perform(&mut ring, set);
    assert_eq!(done.command_result().expect("stamps"), 0);
}

/// A ring for stamps, and the operation that reports them; `None` where the kernel has none.
fn stamped_ring<E: EntrySize>(
    builder: zcn_uring::RingBuilder<E, Completion32>,
) -> Option<SharedRing<E, Completion32>> {
    let ring = SharedRing::new(builder.build().expect("a ring"));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut handle = ring.tx_timestamps(target(&socket), 1).expect("a push");
    // Refused at once, or under way until cancelled.
    handle.cancel().expect("a cancel");
    let done = handle.wait().expect("its end");
    match done.command_result() {
        Err(CommandError::Unsupported { source }) => {
            skipped(&format!("no timestamps by a ring: {source}"));
            None
        }
        Err(CommandError::Cancelled { .. }) => Some(ring),
        other => panic!("neither refused nor cancelled: {other:?}"),
    }
}

/// The next stamps, until all of `stages` of `key` have come.
fn stamps<E: EntrySize>(
    handle: &mut zcn_uring::Handle<E, Completion32>,
    key: u32,
    stages: &[TxStage],
) -> Vec<TxTimestamp> {
    let mut seen = Vec::new();
    while !stages.iter().all(|stage| {
        seen.iter()
            .any(|stamp: &TxTimestamp| stamp.key == key && stamp.stage == *stage)
    }) {
        let done = handle.wait_timeout(GUARD).expect("stamps");
        let done = done.unwrap_or_else(|| panic!("only {seen:?}"));
        seen.push(done.tx_timestamp().expect("a stamp"));
    }
    seen
}

#[test]
fn a_datagram_is_stamped_at_each_stage_in_their_order() {
    fn test<E: EntrySize>(builder: zcn_uring::RingBuilder<E, Completion32>) {
        let Some(ring) = stamped_ring(builder) else {
            return;
        };
        let ours = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let theirs = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        ours.connect(theirs.local_addr().expect("its address"))
            .expect("a connect");
        stamp(&ours, false);
        let mut handle = ring.tx_timestamps(target(&ours), 9).expect("a push");
        let since_1970 = || {
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .expect("after 1970")
        };
        for key in 0..20 {
            let before = since_1970();
            ours.send(b"stamped").expect("a send");
            let stages = [TxStage::Scheduled, TxStage::Sent];
            let seen = stamps(&mut handle, key, &stages);
            let at = |stage| {
                let found = seen.iter().find(|stamp| stamp.stage == stage);
                found.expect("seen").time
            };
            assert!(at(TxStage::Scheduled) <= at(TxStage::Sent), "{seen:?}");
            // The kernel's clock is the one that programs read, and nobody sets it here.
            assert!(at(TxStage::Sent) + Duration::from_secs(1) >= before);
            assert!(seen.iter().all(|stamp| !stamp.hardware));
        }
        handle.cancel().expect("a cancel");
        let last = handle.wait().expect("its end");
        assert!(last.tx_timestamp().is_none());
        assert!(matches!(
            last.command_result(),
            Err(CommandError::Cancelled { .. })
        ));
    }
    test::<Entry64>(Ring::builder().entries(8).completions_of_32_bytes());
    test::<Entry128>(
        Ring::builder()
            .entries(8)
            .entries_of_128_bytes()
            .completions_of_32_bytes(),
    );
}

#[test]
fn a_stream_is_stamped_by_the_offset_of_its_last_byte() {
    let Some(ring) = stamped_ring(Ring::builder().completions_of_32_bytes()) else {
        return;
    };
    let (mut ours, mut theirs) = tcp_pair();
    stamp(&ours, true);
    let mut handle = ring.tx_timestamps(target(&ours), 9).expect("a push");
    for (send, key) in [(100, 99), (50, 149)] {
        ours.write_all(&vec![1; send]).expect("a write");
        theirs.read_exact(&mut vec![0; send]).expect("a read");
        let stages = [TxStage::Scheduled, TxStage::Sent, TxStage::Acknowledged];
        stamps(&mut handle, key, &stages);
    }
    // Dropped under way, and the socket is as good as before.
    drop(handle);
    drop(ring);
    ours.write_all(b"on").expect("a write");
    theirs.read_exact(&mut [0; 2]).expect("a read");
}

#[test]
fn stamps_of_what_cannot_be_stamped_are_refused() {
    let Some(ring) = stamped_ring(Ring::builder().completions_of_32_bytes()) else {
        return;
    };
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let mut handle = ring.tx_timestamps(target(&reader), 9).expect("a push");
    let done = handle.wait().expect("its end");
    assert!(matches!(
        done.command_result(),
        Err(CommandError::Unsupported { .. })
    ));
    assert!(!done.more());
}

#[test]
fn a_ring_dropped_with_commands_in_flight_lets_go_of_the_sockets() {
    let Some(ring) = stamped_ring(Ring::builder().completions_of_32_bytes()) else {
        return;
    };
    let (ours, theirs) = tcp_pair();
    stamp(&ours, true);
    let mut ring = {
        drop(ring);
        Ring::builder()
            .completions_of_32_bytes()
            .build()
            .expect("a ring")
    };
    ring.push_tx_timestamps(target(&ours), 1).expect("a push");
    ring.submit().expect("a submit");
    assert_eq!(ring.drain(GUARD), 0);
    ring.push_tx_timestamps(target(&ours), 1).expect("a push");
    drop(ring);
    assert_eq!(zcn_uring::leaked_ops(), 0);
    drop(ours);
    let mut theirs: TcpStream = theirs;
    theirs.set_read_timeout(Some(GUARD)).expect("a limit");
    assert_eq!(
        theirs.read(&mut [0; 8]).expect("the end"),
        0,
        "nobody holds the socket"
    );
}

#[test]
fn a_command_that_its_file_does_not_have_is_unsupported() {
    let mut ring = common::ring();
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let sqe = zcn_uring::sqe::Sqe {
        off: 0xffff,
        fd: std::os::fd::AsRawFd::as_raw_fd(&ours),
        ..Default::default()
    };
    // SAFETY: the entry points to nothing.
    let op = unsafe { Op::command(sqe, None) };
    let error = perform(&mut ring, op)
        .command_result()
        .expect_err("no such command");
    assert!(
        matches!(error, CommandError::Unsupported { .. }),
        "{error:?}"
    );
}
