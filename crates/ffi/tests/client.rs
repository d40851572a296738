//! Clients through the C interface, on a loop with a server of their own.
#![allow(unsafe_code)]

mod common;

use std::ffi::{c_int, c_void};
use std::net::{Ipv4Addr, TcpListener};
use std::ptr::null_mut;

use common::*;
use zero_copy_net::*;

/// A server that echoes and a client that notes, on one loop.
struct Pair {
    of: *mut ZCN_Loop,
    port: u16,
    client: *mut ZCN_Client,
    server_log: Box<Log>,
    log: Box<Log>,
}

impl Pair {
    fn new() -> Self {
        let of = event_loop(&[]);
        let server = server_on(of, &[]);
        let mut server_log = Log::for_server(server);
        zcn_server_set_callbacks(
            server,
            server_log.user_data(),
            Some(note_accept),
            Some(echo),
            Some(note_close),
        );
        assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
        let client = client_on(of, &[]);
        let mut log = Log::new();
        log.of = of;
        let code = zcn_client_set_callbacks(
            client,
            log.user_data(),
            Some(note_connect),
            Some(note_data),
            Some(note_close),
        );
        assert_eq!(code, ZCN_SUCCESS);
        Self {
            of,
            port: zcn_server_port(server),
            client,
            server_log,
            log,
        }
    }

    fn connect(&mut self) -> c_int {
        let fd = connect(self.client, "127.0.0.1", self.port);
        assert!(fd > 0, "{}", last_message());
        let log = &self.log;
        poll_until(self.of, || {
            log.events.contains(&"connect ZCN_SUCCESS".into())
        });
        assert_eq!(self.log.fd, fd);
        fd
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        assert_eq!(zcn_loop_destroy(self.of), ZCN_SUCCESS);
    }
}

fn client_send(client: *mut ZCN_Client, fd: c_int, data: &[u8]) -> ZCN_Error {
    // SAFETY: the bytes are there.
    unsafe { zcn_client_send(client, fd, data.as_ptr(), data.len()) }
}

#[test]
fn a_client_talks_to_a_server_on_the_same_loop() {
    let mut pair = Pair::new();
    let fd = connect(pair.client, "127.0.0.1", pair.port);
    assert!(fd > 0);
    assert!(pair.log.events.is_empty(), "never from inside the call");
    assert_eq!(client_send(pair.client, fd, b"x"), ZCN_ERROR_WOULD_BLOCK);
    assert_eq!(
        zcn_conn_is_writable(pair.of, fd),
        ZCN_ERROR_WOULD_BLOCK as c_int
    );
    let data = pair.log.user_data();
    assert_eq!(zcn_conn_set_user_data(pair.of, fd, data), ZCN_SUCCESS);
    let log = &pair.log;
    poll_until(pair.of, || !log.events.is_empty());
    assert_eq!(log.events, ["connect ZCN_SUCCESS"]);
    assert_eq!(zcn_conn_user_data(pair.of, fd), data);
    assert_eq!(client_send(pair.client, fd, b"echo me"), ZCN_SUCCESS);
    poll_until(pair.of, || log.data == b"echo me");
    let (mut peer, mut local) = (ZCN_Address::default(), ZCN_Address::default());
    // SAFETY: places for addresses.
    let codes = unsafe {
        [
            zcn_conn_peer(pair.of, fd, &raw mut peer),
            zcn_conn_local(pair.of, fd, &raw mut local),
        ]
    };
    assert_eq!(codes, [ZCN_SUCCESS; 2]);
    assert_eq!(peer, address("127.0.0.1", pair.port));
    assert_ne!(local.port, pair.port);
    let mut stats = ZCN_StatsEx::default();
    // SAFETY: a place of that size.
    let code =
        unsafe { zcn_client_stats_ex(pair.client, &raw mut stats, size_of::<ZCN_StatsEx>()) };
    assert_eq!(code, ZCN_SUCCESS);
    assert_eq!((stats.connections_active, stats.bytes_received), (1, 7));
    assert_eq!(zcn_conn_close(pair.of, fd), ZCN_SUCCESS);
    poll_until(pair.of, || log.events.contains(&"close".into()));
    poll_until(pair.of, || pair.server_log.events.contains(&"close".into()));
    assert_eq!(
        client_send(pair.client, fd, b"x"),
        ZCN_ERROR_CONNECTION_NOT_FOUND
    );
}

#[test]
fn names_are_resolved_and_wrong_ones_reported() {
    let pair = Pair::new();
    let fd = connect(pair.client, "localhost", pair.port);
    assert!(fd > 0);
    let log = &pair.log;
    poll_until(pair.of, || !log.events.is_empty());
    assert_eq!(log.events, ["connect ZCN_SUCCESS"]);
    // Reserved never to exist (RFC 6761).
    let wrong = connect(pair.client, "nothing.invalid", 80);
    assert!(wrong > 0 && wrong != fd);
    poll_until(pair.of, || log.events.len() == 2);
    assert_eq!(log.events[1], "connect ZCN_ERROR_RESOLVE_FAILED");
    assert_eq!(
        zcn_conn_close(pair.of, wrong),
        ZCN_ERROR_CONNECTION_NOT_FOUND
    );
}

unsafe extern "C-unwind" fn note_errno(user_data: *mut c_void, _: c_int, error: ZCN_Error) {
    let errno = zcn_last_os_error();
    let message = last_message();
    // SAFETY: registered with a log.
    unsafe { log(user_data) }
        .events
        .push(format!("{error:?} {errno} {message}"));
}

#[test]
fn a_refused_connect_tells_errno_and_address() {
    let mut pair = Pair::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let data = pair.log.user_data();
    zcn_client_set_callbacks(pair.client, data, Some(note_errno), None, Some(note_close));
    assert!(connect(pair.client, "127.0.0.1", port) > 0);
    let log = &pair.log;
    poll_until(pair.of, || !log.events.is_empty());
    let begin = format!("ZCN_ERROR_CONNECT_FAILED {}", libc::ECONNREFUSED);
    assert!(log.events[0].starts_with(&begin), "{:?}", log.events);
    assert!(
        log.events[0].contains(&format!("127.0.0.1:{port}")),
        "{:?}",
        log.events
    );
    for _ in 0..5 {
        zcn_loop_poll(pair.of, 5, 0);
    }
    assert_eq!(log.events.len(), 1, "no on_close: it was never open");
}

#[test]
fn a_connect_can_be_given_up() {
    let pair = Pair::new();
    let fd = connect(pair.client, "127.0.0.1", pair.port);
    assert_eq!(zcn_conn_close(pair.of, fd), ZCN_SUCCESS);
    let log = &pair.log;
    poll_until(pair.of, || !log.events.is_empty());
    assert_eq!(log.events, ["connect ZCN_ERROR_CLOSED"]);
    assert_eq!(zcn_conn_close(pair.of, fd), ZCN_ERROR_CONNECTION_NOT_FOUND);
}

#[test]
fn a_time_limit_ends_a_connect() {
    let of = event_loop(&[]);
    let client = client_on(of, &[("connect_timeout_ms", "50")]);
    let mut log = Log::new();
    zcn_client_set_callbacks(client, log.user_data(), Some(note_connect), None, None);
    // A listener whose backlog is full answers no further peer.
    let listener = socket2_listener();
    let port = listener.local_addr().unwrap().port();
    let mut fillers = Vec::new();
    for _ in 0..4 {
        fillers.push(connect(client, "127.0.0.1", port));
    }
    poll_until(of, || log.events.len() == 4);
    assert!(
        log.events.contains(&"connect ZCN_ERROR_TIMED_OUT".into()),
        "{:?}",
        log.events
    );
    zcn_loop_destroy(of);
}

/// A listener with room for one peer, which never accepts.
fn socket2_listener() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // SAFETY: the descriptor is a listening socket; listen again sets another backlog.
    let code = unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&listener), 0) };
    assert_eq!(code, 0);
    listener
}

#[test]
fn a_client_s_callbacks_tell_room_sends_and_ends() {
    let of = event_loop(&[]);
    let server = server_on(of, &[]);
    let mut server_log = Log::for_server(server);
    let port = start_noting(server, &mut server_log);
    let client = client_on(of, &[("high_water", "1"), ("low_water", "0")]);
    let mut log = Log::new();
    let data = log.user_data();
    assert_eq!(
        zcn_client_set_callbacks(client, data, Some(note_connect), None, Some(note_close)),
        ZCN_SUCCESS
    );
    assert_eq!(
        zcn_client_set_on_writable(client, Some(note_writable)),
        ZCN_SUCCESS
    );
    assert_eq!(zcn_client_set_on_sent(client, Some(note_sent)), ZCN_SUCCESS);
    assert_eq!(zcn_client_set_on_end(client, Some(note_end)), ZCN_SUCCESS);
    let fd = connect(client, "127.0.0.1", port);
    poll_until(of, || log.events.len() == 1 && server_log.fd > 0);
    assert_eq!(client_send(client, fd, b"1"), ZCN_SUCCESS);
    assert_eq!(client_send(client, fd, b"2"), ZCN_ERROR_WOULD_BLOCK);
    poll_until(of, || log.events.len() >= 3);
    assert_eq!(log.events[1..], ["sent 0", "writable"]);
    assert_eq!(zcn_conn_set_water_marks(of, fd, 4096, 1024), ZCN_SUCCESS);
    assert_eq!(client_send(client, fd, b"2"), ZCN_SUCCESS);
    assert_eq!(client_send(client, fd, b"3"), ZCN_SUCCESS);
    poll_until(of, || server_log.data == b"123");
    assert_eq!(zcn_conn_shutdown(of, server_log.fd), ZCN_SUCCESS);
    poll_until(of, || log.events.contains(&"end".into()));
    zcn_loop_destroy(of);
}

#[test]
fn a_client_brings_a_loop_of_its_own_and_takes_it_along() {
    // SAFETY: NULL stands for the defaults, and for no interest in the code.
    let client = unsafe { zcn_client_create(std::ptr::null(), null_mut()) };
    assert!(!client.is_null());
    let of = zcn_client_loop(client);
    assert!(!of.is_null());
    assert_eq!(zcn_loop_destroy(of), ZCN_ERROR_INVALID_ARGUMENT);
    assert_eq!(zcn_loop_poll(of, 0, 0), 0);
    zcn_client_destroy(client);
    assert_eq!(zcn_loop_poll(of, 0, 0), ZCN_ERROR_INVALID_HANDLE as c_int);
    assert!(zcn_client_loop(client).is_null());
}

#[test]
fn a_destroyed_client_ends_its_connections_silently() {
    let mut pair = Pair::new();
    let fd = pair.connect();
    // One more that is still being made.
    assert!(connect(pair.client, "127.0.0.1", pair.port) > 0);
    zcn_client_destroy(pair.client);
    assert_eq!(conn_send(pair.of, fd, b"x"), ZCN_ERROR_CONNECTION_NOT_FOUND);
    let server_log = &pair.server_log;
    poll_until(pair.of, || {
        let closed = server_log.events.iter().filter(|event| *event == "close");
        let accepted = server_log.events.iter().filter(|event| *event == "accept");
        closed.count() == accepted.count()
    });
    assert_eq!(pair.log.events, ["connect ZCN_SUCCESS"]);
}
