//! Bytes between sockets and pipes: splice(2).

mod driver;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use driver::{ACK, FIN, PSH, Segment, Tool, accepted, pattern};

const NONBLOCK: u32 = libc::SPLICE_F_NONBLOCK;

#[test]
fn spliced_bytes_go_through_a_pipe_from_socket_to_socket() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    let (mut reader, writer) = {
        let (reader, writer) = tool.pipe();
        (File::from(reader), File::from(writer))
    };
    let (out, into) = (reader.as_raw_fd(), writer.as_raw_fd());
    tool.inject(&Segment::new(ACK | PSH, 1, seq).payload(b"hello").v4());
    tool.expect();
    assert_eq!(tool.splice(connection, into, 3, 0), Ok(3));
    assert_eq!(tool.splice(out, connection, 9, 0), Ok(3));
    assert_eq!(tool.expect().0.payload, b"hel");
    assert_eq!(tool.splice(connection, into, 9, 0), Ok(2));
    let mut rest = [0; 2];
    reader.read_exact(&mut rest).expect("what was spliced");
    assert_eq!(&rest, b"lo");
    tool.inject(&Segment::new(ACK | FIN, 6, seq.wrapping_add(3)).v4());
    assert_eq!(tool.splice(connection, into, 9, 0), Ok(0));
    drop(writer);
    assert_eq!(tool.splice(out, connection, 9, 0), Ok(0));
}

/// As Linux: the flag speaks of the pipe only.
#[test]
fn splice_waits_for_a_socket_as_long_as_that_says() {
    let tool = Tool::new("");
    let (_listener, connection, _) = accepted(&tool);
    tool.set_send_buffer(connection, 4_144);
    tool.set_receive_timeout(connection, 3);
    tool.set_send_timeout(connection, 2);
    let (reader, writer) = tool.pipe();
    let (out, into) = (reader.as_raw_fd(), writer.as_raw_fd());
    for flags in [0, NONBLOCK] {
        let before = tool.clock();
        let none = tool.splice(connection, into, 9, flags);
        assert_eq!(
            (none, tool.clock() - before),
            (Err(libc::EAGAIN), 3_000_001)
        );
    }
    let nothing = tool.splice(out, connection, 9, NONBLOCK);
    assert_eq!(nothing, Err(libc::EAGAIN), "an empty pipe");
    let mut writer = File::from(writer);
    writer.write_all(&[7; 20_000]).expect("room in the pipe");
    tool.splice(out, connection, 20_000, 0).expect("some");
    let before = tool.clock();
    let none = tool.splice(out, connection, 9, NONBLOCK);
    assert_eq!(
        (none, tool.clock() - before),
        (Err(libc::EAGAIN), 2_000_001)
    );
    tool.nonblocking(connection);
    let before = tool.clock();
    assert_eq!(tool.splice(out, connection, 9, 0), Err(libc::EAGAIN));
    assert_eq!(tool.splice(connection, into, 9, 0), Err(libc::EAGAIN));
    assert_eq!(tool.clock() - before, 1);
}

/// Pieces are written into a pipe and spliced to a connection whose peer acknowledges nothing, until
/// that takes no more; then what the connection has and what is left in the pipe are all of it.
fn splice_until_full(tool: &Tool, connection: i32, pieces: &[&[u8]]) {
    let (reader, writer) = tool.pipe();
    let mut writer = File::from(writer);
    for piece in pieces {
        writer.write_all(piece).expect("room in the pipe");
    }
    let all = pieces.concat();
    drop(writer);
    let mut sent = 0;
    let full = loop {
        match tool.splice(reader.as_raw_fd(), connection, all.len(), 0) {
            Ok(0) => break 0,
            Ok(count) => sent += count as usize,
            Err(error) => break error,
        }
    };
    assert_eq!(full, libc::EAGAIN);
    assert!((1..all.len()).contains(&sent), "{sent}");
    let unacknowledged = tool.ioctl(connection, 0x5411);
    assert_eq!(unacknowledged, Ok(sent as i32), "SIOCOUTQ");
    let mut left = Vec::new();
    File::from(reader).read_to_end(&mut left).expect("the rest");
    assert!(left == all[sent..], "{sent} sent, {} left", left.len());
}

#[test]
fn splice_loses_nothing_that_a_buffer_of_memory_has_no_room_for() {
    let all = pattern(60_000);
    for size in [4_144, 1_000] {
        let tool = Tool::new("");
        let (_listener, connection, _) = accepted(&tool);
        tool.set_send_buffer(connection, size);
        tool.nonblocking(connection);
        splice_until_full(&tool, connection, &[&all]);
    }
}

#[test]
fn splice_loses_nothing_when_the_time_of_a_send_is_over() {
    let tool = Tool::new("");
    let (_listener, connection, _) = accepted(&tool);
    tool.set_send_buffer(connection, 4_144);
    tool.set_send_timeout(connection, 2);
    // Pieces of their own places in the pipe.
    let all = pattern(20_000);
    splice_until_full(
        &tool,
        connection,
        &[&all[..3], &all[3..9_000], &all[9_000..]],
    );
}

#[test]
fn a_full_pipe_leaves_in_the_socket_what_it_does_not_take() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    let (reader, writer) = tool.pipe();
    let mut writer = File::from(writer);
    // A page for each place but one of the sixteen, so that few bytes leave little room.
    for _ in 0..15 {
        writer.write_all(&[7; 4_096]).expect("room in the pipe");
    }
    let data = pattern(9_000);
    let mut at = 1;
    for piece in data.chunks(1_000) {
        let segment = Segment::new(ACK | PSH, at, seq).payload(piece);
        tool.inject(&segment.v4());
        at += piece.len() as u32;
    }
    let into = writer.as_raw_fd();
    assert_eq!(tool.splice(connection, into, 9_000, 0), Ok(4_096));
    let full = tool.splice(connection, into, 9_000, NONBLOCK);
    assert_eq!(full, Err(libc::EAGAIN));
    let rest = tool.read(connection, 9_000).expect("the rest");
    assert!(rest == data[4_096..], "{} left", rest.len());
    drop(writer);
    let mut piped = Vec::new();
    File::from(reader)
        .read_to_end(&mut piped)
        .expect("the rest");
    assert!(piped[15 * 4_096..] == data[..4_096]);
}
