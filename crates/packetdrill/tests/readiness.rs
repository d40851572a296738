//! What poll(2) and epoll(7) say of a connection, as Linux says it.

mod driver;

use driver::{ACK, FIN, PSH, RST, Segment, Tool, accepted};
use libc::{EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP};

const ALL: i32 = EPOLLIN | EPOLLOUT | EPOLLRDHUP;

#[test]
fn an_edge_is_told_once_and_only_to_who_waits_for_it() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    let (both, output) = (tool.epoll(), tool.epoll());
    tool.watch(both, connection, EPOLLIN | EPOLLOUT | EPOLLET);
    tool.watch(output, connection, EPOLLOUT | EPOLLET);
    for epoll in [both, output] {
        assert_eq!(tool.ready(epoll), EPOLLOUT);
        assert_eq!(tool.ready(epoll), 0);
    }
    for at in 0..2 {
        // The second one comes before the first is read: an edge nevertheless.
        let data = Segment::new(ACK | PSH, 1 + 3 * at, seq).payload(b"new");
        tool.inject(&data.v4());
        assert_eq!(tool.ready(both), EPOLLIN | EPOLLOUT);
        assert_eq!(tool.ready(both), 0);
        assert_eq!(tool.ready(output), 0, "what comes in is no room");
    }
    tool.inject(&Segment::new(ACK | FIN, 7, seq).v4());
    assert_eq!(tool.ready(output), EPOLLOUT, "the end wakes everybody");
}

#[test]
fn the_end_a_shutdown_and_a_reset_have_their_signs() {
    for reset in [false, true] {
        let tool = Tool::new("");
        let (_listener, connection, seq) = accepted(&tool);
        let epoll = tool.epoll();
        tool.watch(epoll, connection, ALL);
        assert_eq!(tool.ready(epoll), EPOLLOUT);
        if reset {
            tool.inject(&Segment::new(RST, 1, 0).v4());
            assert_eq!(tool.ready(epoll), ALL | EPOLLHUP | EPOLLERR);
            assert_eq!(tool.read(connection, 1), Err(libc::ECONNRESET));
            assert_eq!(tool.ready(epoll), ALL | EPOLLHUP);
        } else {
            tool.inject(&Segment::new(ACK | FIN, 1, seq).v4());
            assert_eq!(tool.ready(epoll), ALL);
            assert_eq!(tool.shutdown(connection, libc::SHUT_WR), Ok(0));
            assert_eq!(tool.ready(epoll), ALL | EPOLLHUP);
        }
    }
}

#[test]
fn room_is_a_third_of_the_buffer() {
    let tool = Tool::new("");
    let (_listener, connection, seq) = accepted(&tool);
    let set = |bytes: i32| {
        let (level, name) = (libc::SOL_SOCKET, libc::SO_SNDBUF);
        tool.set(connection, level, name, &bytes.to_ne_bytes())
    };
    assert_eq!(set(15_000), Ok(0));
    tool.nonblocking(connection);
    let epoll = tool.epoll();
    tool.watch(epoll, connection, EPOLLOUT | EPOLLET);
    assert_eq!(tool.ready(epoll), EPOLLOUT);
    assert_eq!(tool.write(connection, &[7; 24_000]), Ok(24_000));
    assert_eq!(tool.poll(connection, libc::POLLOUT, 0), 0);
    let ack = |tool: &Tool, bytes: u32| {
        tool.inject(&Segment::new(ACK, 1, seq.wrapping_add(bytes)).v4());
    };
    ack(&tool, 1_460);
    assert_eq!(tool.ready(epoll), 0);
    ack(&tool, 8_760);
    assert_eq!(tool.ready(epoll), EPOLLOUT);
    assert_eq!(tool.ready(epoll), 0);
    assert_eq!(tool.poll(connection, libc::POLLOUT, 0), libc::POLLOUT);
    ack(&tool, 14_600);
    assert_eq!(tool.ready(epoll), 0, "nobody waited for more");
}

#[test]
fn what_was_never_connected_is_hung_up() {
    let tool = Tool::new("");
    let fd = tool.socket(false);
    let asked = libc::POLLIN | libc::POLLOUT;
    assert_eq!(tool.poll(fd, asked, 0), libc::POLLOUT | libc::POLLHUP);
    tool.nonblocking(fd);
    assert_eq!(tool.connect(fd, "192.0.2.1:80"), Err(libc::EINPROGRESS));
    assert_eq!(tool.poll(fd, asked, 0), 0);
}
