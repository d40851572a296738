//! Bytes between sockets and pipes: splice(2).

mod driver;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use driver::{ACK, FIN, PSH, Segment, Tool, accepted};

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
    assert_eq!(
        tool.splice(connection, into, 9, NONBLOCK),
        Err(libc::EAGAIN)
    );
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

#[test]
fn a_full_socket_leaves_in_the_pipe_what_it_does_not_take() {
    let tool = Tool::new("");
    let (_listener, connection, _) = accepted(&tool);
    let small = 5_000_i32.to_ne_bytes();
    let set = tool.set(connection, libc::SOL_SOCKET, libc::SO_SNDBUF, &small);
    assert_eq!(set, Ok(0));
    tool.nonblocking(connection);
    let (reader, writer) = tool.pipe();
    let mut writer = File::from(writer);
    writer.write_all(&[7; 60_000]).expect("room in the pipe");
    let mut sent = 0;
    while let Ok(count) = tool.splice(reader.as_raw_fd(), connection, 60_000, 0) {
        assert!(count > 0);
        sent += count as usize;
    }
    assert!((1..60_000).contains(&sent), "{sent}");
    drop(writer);
    let mut left = Vec::new();
    File::from(reader).read_to_end(&mut left).expect("the rest");
    assert_eq!(left.len(), 60_000 - sent);
}
