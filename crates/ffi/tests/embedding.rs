//! The loop's descriptor in a foreign event loop, and wake-ups from other threads.
#![allow(unsafe_code)]

mod common;

use std::ffi::c_int;
use std::io::Write;
use std::net::TcpStream;
use std::ptr::without_provenance_mut;
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use zero_copy_net::*;

/// Waits for the descriptor alone, as a foreign loop does; whether it became readable.
fn readable(fd: c_int, timeout_ms: c_int) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd.
    let count = unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
    count == 1
}

/// A foreign loop that polls zcn when, and only when, its descriptor is readable.
fn run_until(of: *mut ZCN_Loop, fd: c_int, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen");
        assert!(readable(fd, 10_000), "the descriptor did not tell");
        assert!(zcn_loop_poll(of, 0, 0) >= 0, "{}", last_message());
    }
}

/// Without a write timeout in the servers, whose timer would make up for a lost sign.
const REACTORS: [&str; 2] = ["auto", "epoll"];

#[test]
fn a_foreign_loop_serves_by_the_descriptor_alone() {
    for reactor in REACTORS {
        let server = server_with(&[("reactor", reactor), ("write_timeout_ms", "0")]);
        let mut log = Log::for_server(server);
        zcn_server_set_callbacks(
            server,
            log.user_data(),
            Some(note_accept),
            Some(echo),
            Some(note_close),
        );
        assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
        let fd = zcn_server_fd(server);
        assert!(fd >= 0, "{}", last_message());
        assert_eq!(zcn_loop_fd(log.of), fd, "it stays the same");
        let port = zcn_server_port(server);
        let client = thread::spawn(move || {
            let mut client = peer(port);
            for number in 0..50_u8 {
                client.write_all(&[number; 100]).unwrap();
                assert_eq!(read_exactly(&mut client, 100), [number; 100]);
            }
        });
        run_until(log.of, fd, || log.events.contains(&"close".into()));
        client.join().unwrap();
        // Nothing left to do: it is not readable, so a foreign loop would sleep.
        assert!(!readable(fd, 50), "{reactor}: it would be polled for ever");
        zcn_server_destroy(server);
    }
}

#[test]
fn what_is_asked_for_between_polls_makes_the_descriptor_readable() {
    for reactor in REACTORS {
        let of = event_loop(&[("reactor", reactor)]);
        let server = server_on(of, &[]);
        let fd = zcn_loop_fd(of);
        let mut log = Log::for_server(server);
        // After the descriptor was asked for.
        let port = start_noting(server, &mut log);
        let mut stream = peer(port);
        run_until(of, fd, || log.fd > 0);
        assert_eq!(conn_send(of, log.fd, b"from outside"), ZCN_SUCCESS);
        run_until(of, fd, || zcn_conn_unsent(of, log.fd) == 0);
        assert_eq!(read_exactly(&mut stream, 12), b"from outside");
        let client = client_on(of, &[]);
        let mut client_log = Log::new();
        let data = client_log.user_data();
        zcn_client_set_callbacks(client, data, Some(note_connect), Some(note_data), None);
        assert!(connect(client, "127.0.0.1", port) > 0);
        run_until(of, fd, || !client_log.events.is_empty());
        let udp = udp_on(of, &[]);
        let to = udp_address(udp);
        // SAFETY: an address and one byte.
        let code = unsafe { zcn_udp_send_to(udp, &raw const to, b"x".as_ptr(), 1) };
        assert_eq!(code, ZCN_SUCCESS);
        let mut stats = ZCN_StatsEx::default();
        run_until(of, fd, || {
            // SAFETY: a place of that size.
            unsafe { zcn_udp_stats_ex(udp, &raw mut stats, size_of::<ZCN_StatsEx>()) };
            stats.messages_received == 1
        });
        assert_eq!(zcn_conn_close(of, log.fd), ZCN_SUCCESS);
        drop(stream);
        run_until(of, fd, || log.events.contains(&"close".into()));
        zcn_loop_destroy(of);
    }
}

#[test]
fn timers_make_the_descriptor_readable() {
    let server = server_with(&[("idle_timeout_ms", "40")]);
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let fd = zcn_server_fd(server);
    let _client = peer(port);
    // Nothing but the clock ends it.
    run_until(log.of, fd, || log.events.contains(&"close".into()));
    zcn_server_destroy(server);
}

#[test]
fn callbacks_held_back_keep_the_descriptor_readable() {
    let server = server();
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let fd = zcn_server_fd(server);
    let mut clients: Vec<TcpStream> = (0..6).map(|_| peer(port)).collect();
    run_until(log.of, fd, || log.events.len() == 6);
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    while log.data.len() < 6 {
        assert!(readable(fd, 5000), "{} are left", 6 - log.data.len());
        assert!((0..=1).contains(&zcn_server_poll(server, 0, 1)));
    }
    zcn_server_destroy(server);
}

#[test]
fn a_wake_up_ends_a_sleep_and_the_next_one() {
    for reactor in REACTORS {
        let server = server_with(&[("reactor", reactor), ("write_timeout_ms", "0")]);
        assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
        while zcn_server_poll(server, 0, 0) > 0 {}
        // Before the sleep.
        assert_eq!(zcn_server_wakeup(server), ZCN_SUCCESS);
        assert_eq!(zcn_server_run_once(server), ZCN_SUCCESS);
        // Meanwhile.
        let handle = server.addr();
        let waker = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            zcn_server_wakeup(without_provenance_mut(handle))
        });
        assert_eq!(zcn_server_run_once(server), ZCN_SUCCESS);
        assert_eq!(waker.join().unwrap(), ZCN_SUCCESS);
        // In a foreign loop.
        let fd = zcn_server_fd(server);
        while readable(fd, 0) {
            assert!(zcn_server_poll(server, 0, 0) >= 0);
        }
        let waker = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            zcn_server_wakeup(without_provenance_mut(handle))
        });
        assert!(readable(fd, 10_000), "{reactor}");
        waker.join().unwrap();
        zcn_server_destroy(server);
    }
}

#[test]
fn the_loop_s_time_is_that_of_the_last_turn() {
    let of = event_loop(&[]);
    let clock = || {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: a place for the time.
        let code = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        assert_eq!(code, 0);
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    };
    let before = clock();
    assert_eq!(zcn_loop_poll(of, 0, 0), 0);
    let time = zcn_loop_time_ns(of);
    // The two clocks are read one after the other when the loop is made, hence the microsecond.
    assert!(
        time + 1000 >= before && time <= clock() + 1000,
        "{before} {time}"
    );
    assert_eq!(zcn_loop_time_ns(of), time);
    zcn_loop_destroy(of);
}
