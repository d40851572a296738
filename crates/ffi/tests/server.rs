//! Servers through the C interface.
#![allow(unsafe_code)]

mod common;

use std::ffi::{CString, c_int, c_void};
use std::io::{Read, Write};
use std::ptr::{null, null_mut};
use std::thread;

use common::*;
use zero_copy_net::*;

#[test]
fn the_origin_s_program_works_unchanged() {
    let address = CString::new("127.0.0.1").unwrap();
    let config = ZCN_Config {
        address: address.as_ptr(),
        port: 0,
        io_uring_entries: 256,
        buffer_pool_size: 1024,
        buffer_size: 4096,
    };
    let mut error = ZCN_ERROR_PANIC;
    // SAFETY: a configuration and a place for the code.
    let server = unsafe { zcn_server_create(&raw const config, &raw mut error) };
    assert_eq!(error, ZCN_SUCCESS);
    drop(address);
    let mut log = Log::for_server(server);
    zcn_server_set_callbacks(
        server,
        log.user_data(),
        Some(note_accept),
        Some(echo),
        Some(note_close),
    );
    assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
    let port = zcn_server_port(server);
    let client = thread::spawn(move || {
        let mut client = peer(port);
        for _ in 0..100 {
            client.write_all(b"hello").unwrap();
            assert_eq!(read_exactly(&mut client, 5), b"hello");
        }
    });
    while log.events.last().is_none_or(|last| last != "close") {
        assert_eq!(zcn_server_run_once(server), ZCN_SUCCESS);
    }
    client.join().unwrap();
    assert_eq!(log.events, ["accept", "close"]);
    let stats = zcn_server_get_stats(server);
    assert_eq!(stats.connections_active, 0);
    assert_eq!(
        stats.buffers_in_use + stats.buffers_free,
        stats.total_buffers
    );
    assert_eq!(stats.total_buffers, 2048);
    assert_eq!(stats.buffers_in_use, 0, "{stats:?}");
    zcn_server_destroy(server);
}

#[test]
fn a_message_longer_than_a_buffer_is_sent_whole() {
    let server = server_with(&[("buffer_size", "4096")]);
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let mut client = peer(port);
    poll_until(log.of, || log.fd > 0);
    let message: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    assert_eq!(send(server, log.fd, &message), ZCN_SUCCESS);
    let reader = thread::spawn(move || read_exactly(&mut client, 100_000));
    poll_until(log.of, || reader.is_finished());
    assert_eq!(reader.join().unwrap(), message);
    zcn_server_destroy(server);
}

#[test]
fn what_cannot_be_copied_whole_is_not_sent_at_all() {
    let server = server_with(&[("buffer_size", "4096"), ("buffers", "4")]);
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let mut client = peer(port);
    poll_until(log.of, || log.fd > 0);
    assert_eq!(send(server, log.fd, &[7; 5 * 4096]), ZCN_ERROR_NO_BUFFER);
    assert!(last_message().contains("buffers"), "{}", last_message());
    assert_eq!(send(server, log.fd, b"end"), ZCN_SUCCESS);
    assert_eq!(zcn_conn_close(log.of, log.fd), ZCN_SUCCESS);
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    });
    poll_until(log.of, || log.events.contains(&"close".into()));
    assert_eq!(reader.join().unwrap(), b"end");
    zcn_server_destroy(server);
}

#[test]
fn a_full_queue_refuses_until_it_is_writable() {
    let server = server_with(&[("high_water", "65536"), ("low_water", "4096")]);
    let mut log = Log::for_server(server);
    assert_eq!(
        zcn_server_set_on_writable(server, Some(note_writable)),
        ZCN_SUCCESS
    );
    let port = start_noting(server, &mut log);
    let mut client = peer(port);
    poll_until(log.of, || log.fd > 0);
    let mut sent = 0;
    let mut turns = 0;
    loop {
        match send(server, log.fd, &[1; 8192]) {
            ZCN_SUCCESS => sent += 8192,
            ZCN_ERROR_WOULD_BLOCK => {
                // The kernel's own buffers take some megabytes first.
                if turns > 2000 || zcn_loop_poll(log.of, 5, 0) == 0 && turns > 20 {
                    break;
                }
                turns += 1;
            }
            other => panic!("{other:?}: {}", last_message()),
        }
    }
    assert_eq!(zcn_conn_is_writable(log.of, log.fd), 0);
    assert!(zcn_conn_unsent(log.of, log.fd) >= 65536);
    log.events.clear();
    let reader = thread::spawn(move || {
        read_exactly(&mut client, sent);
        client
    });
    poll_until(log.of, || reader.is_finished());
    poll_until(log.of, || log.events.contains(&"writable".into()));
    assert_eq!(zcn_conn_is_writable(log.of, log.fd), 1);
    drop(reader.join().unwrap());
    zcn_server_destroy(server);
}

#[test]
fn sent_bytes_and_the_peer_s_end_are_told() {
    let server = server();
    let mut log = Log::for_server(server);
    assert_eq!(zcn_server_set_on_sent(server, Some(note_sent)), ZCN_SUCCESS);
    assert_eq!(zcn_server_set_on_end(server, Some(note_end)), ZCN_SUCCESS);
    let port = start_noting(server, &mut log);
    let mut client = peer(port);
    poll_until(log.of, || log.fd > 0);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    poll_until(log.of, || log.events.contains(&"end".into()));
    assert_eq!(send(server, log.fd, b"late answer"), ZCN_SUCCESS);
    poll_until(log.of, || log.events.contains(&"sent 0".into()));
    assert_eq!(read_exactly(&mut client, 11), b"late answer");
    assert_eq!(zcn_conn_close(log.of, log.fd), ZCN_SUCCESS);
    poll_until(log.of, || log.events.contains(&"close".into()));
    assert_eq!(log.events, ["accept", "end", "sent 0", "close"]);
    zcn_server_destroy(server);
}

unsafe extern "C-unwind" fn note_reason(user_data: *mut c_void, fd: c_int) {
    // SAFETY: registered with a log.
    let log = unsafe { log(user_data) };
    let mut errno = -1;
    // SAFETY: a place for the errno.
    let reason = unsafe { zcn_conn_close_reason(log.of, fd, &raw mut errno) };
    let mut address = ZCN_Address::default();
    // SAFETY: a place for the address.
    let code = unsafe { zcn_conn_peer(log.of, fd, &raw mut address) };
    assert_eq!((code, address.family), (ZCN_SUCCESS, ZCN_FAMILY_IPV4));
    assert_eq!(zcn_conn_user_data(log.of, fd), user_data);
    assert_eq!(conn_send(log.of, fd, b"x"), ZCN_ERROR_CLOSED);
    log.events.push(format!("{reason:?} {errno}"));
}

#[test]
fn a_close_has_a_reason_and_user_data_stays_until_then() {
    let server = server();
    let mut log = Log::for_server(server);
    let data = log.user_data();
    zcn_server_set_callbacks(server, data, Some(note_accept), None, Some(note_reason));
    assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
    let port = zcn_server_port(server);
    // The peer ends.
    let client = peer(port);
    poll_until(log.of, || log.fd > 0);
    let first = log.fd;
    assert_eq!(zcn_conn_set_user_data(log.of, first, data), ZCN_SUCCESS);
    assert_eq!(zcn_conn_user_data(log.of, first), data);
    drop(client);
    poll_until(log.of, || log.events.len() >= 2);
    assert_eq!(log.events[1], "ZCN_CLOSE_PEER 0");
    assert_eq!(
        conn_send(log.of, first, b"x"),
        ZCN_ERROR_CONNECTION_NOT_FOUND
    );
    assert!(zcn_conn_user_data(log.of, first).is_null());
    // The peer resets.
    let client = peer(port);
    poll_until(log.of, || log.fd != first);
    assert_eq!(zcn_conn_set_user_data(log.of, log.fd, data), ZCN_SUCCESS);
    assert!(zcn_conn_fd(log.of, log.fd) >= 0);
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option's value is a `linger`, and the descriptor is open.
    let code = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&client),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as u32,
        )
    };
    assert_eq!(code, 0);
    drop(client);
    poll_until(log.of, || log.events.len() >= 4);
    assert_eq!(
        log.events[3],
        format!("ZCN_CLOSE_ERROR {}", libc::ECONNRESET)
    );
    // We reset.
    let mut client = peer(port);
    let second = log.fd;
    poll_until(log.of, || log.fd != second);
    assert_eq!(zcn_conn_set_user_data(log.of, log.fd, data), ZCN_SUCCESS);
    assert_eq!(zcn_conn_abort(log.of, log.fd), ZCN_SUCCESS);
    poll_until(log.of, || log.events.len() >= 6);
    assert_eq!(log.events[5], "ZCN_CLOSE_LOCAL 0");
    let reset = client.read(&mut [0]).unwrap_err();
    assert_eq!(reset.raw_os_error(), Some(libc::ECONNRESET));
    zcn_server_destroy(server);
}

#[test]
fn pause_keeps_data_back_and_shutdown_ends_one_way() {
    let server = server();
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let mut client = peer(port);
    poll_until(log.of, || log.fd > 0);
    assert_eq!(zcn_conn_pause(log.of, log.fd), ZCN_SUCCESS);
    // One receive may be under way already; what comes after it waits.
    client.write_all(b"a").unwrap();
    for _ in 0..5 {
        zcn_loop_poll(log.of, 10, 0);
    }
    let before = log.data.len();
    client.write_all(b"bcd").unwrap();
    for _ in 0..5 {
        zcn_loop_poll(log.of, 10, 0);
    }
    assert_eq!(log.data.len(), before);
    assert_eq!(zcn_conn_resume(log.of, log.fd), ZCN_SUCCESS);
    poll_until(log.of, || log.data == b"abcd");
    assert_eq!(zcn_conn_shutdown(log.of, log.fd), ZCN_SUCCESS);
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        client.write_all(b"still heard").unwrap();
        all.len()
    });
    poll_until(log.of, || log.data.ends_with(b"still heard"));
    assert_eq!(reader.join().unwrap(), 0);
    assert_eq!(send(server, log.fd, b"x"), ZCN_ERROR_CLOSED);
    zcn_server_destroy(server);
}

#[test]
fn a_shutdown_lets_connections_finish() {
    let server = server();
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let mut client = peer(port);
    poll_until(log.of, || log.fd > 0);
    assert_eq!(send(server, log.fd, b"last words"), ZCN_SUCCESS);
    assert_eq!(zcn_server_shutdown(server, 5000), ZCN_SUCCESS);
    assert_eq!(zcn_server_is_stopped(server), 0);
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    });
    poll_until(log.of, || zcn_server_is_stopped(server) == 1);
    assert_eq!(reader.join().unwrap(), b"last words");
    assert_eq!(log.events, ["accept", "close"]);
    zcn_server_destroy(server);
}

#[test]
fn at_most_so_many_callbacks_come_from_one_poll() {
    let server = server();
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let mut clients: Vec<_> = (0..8).map(|_| peer(port)).collect();
    poll_until(log.of, || log.events.len() == 8);
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    let mut polls = 0;
    while log.data.len() < 8 {
        let before = log.data.len();
        let count = zcn_server_poll(server, 1000, 3);
        assert!((0..=3).contains(&count), "{count}: {}", last_message());
        assert!(log.data.len() - before <= 3);
        polls += 1;
    }
    assert!(polls >= 3);
    assert_eq!(log.count, 8);
    zcn_server_destroy(server);
}

#[test]
fn figures_are_there_for_every_thread() {
    let server = server();
    let mut log = Log::for_server(server);
    zcn_server_set_callbacks(server, log.user_data(), Some(note_accept), Some(echo), None);
    assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
    let mut client = peer(zcn_server_port(server));
    client.write_all(b"12345").unwrap();
    let reader = thread::spawn(move || {
        read_exactly(&mut client, 5);
        client
    });
    poll_until(log.of, || reader.is_finished());
    let _client = reader.join().unwrap();
    let handle = server as usize;
    thread::spawn(move || {
        let server = handle as *mut ZCN_Server;
        assert_eq!(zcn_server_get_stats(server).connections_active, 1);
        let mut stats = ZCN_StatsEx::default();
        // SAFETY: a place of that size.
        let code = unsafe { zcn_server_stats_ex(server, &raw mut stats, size_of::<ZCN_StatsEx>()) };
        assert_eq!(code, ZCN_SUCCESS);
        assert_eq!((stats.bytes_received, stats.bytes_sent), (5, 5));
        assert_eq!((stats.messages_received, stats.messages_sent), (1, 1));
        assert!(stats.polls > 0 && stats.system_calls > 0);
        // An older program asks for less, a newer one for more.
        let mut words = [u64::MAX; 20];
        for (size, known) in [(8, 1), (20 * 8, 14)] {
            words.fill(u64::MAX);
            // SAFETY: a place of at least that size.
            let code = unsafe { zcn_server_stats_ex(server, words.as_mut_ptr().cast(), size) };
            assert_eq!(code, ZCN_SUCCESS);
            assert_eq!(words[0], 1);
            assert_eq!(words[known], if size == 8 { u64::MAX } else { 0 });
        }
    })
    .join()
    .unwrap();
    zcn_server_destroy(server);
    assert_eq!(zcn_server_get_stats(server), ZCN_Stats::default());
}

#[test]
fn two_servers_share_a_loop_and_know_their_own() {
    let of = event_loop(&[]);
    let (one, other) = (server_on(of, &[]), server_on(of, &[]));
    let (mut log_one, mut log_other) = (Log::for_server(one), Log::for_server(other));
    let ports = [
        start_noting(one, &mut log_one),
        start_noting(other, &mut log_other),
    ];
    let _clients = ports.map(peer);
    poll_until(of, || log_one.fd > 0 && log_other.fd > 0);
    assert_ne!(log_one.fd, log_other.fd);
    assert_eq!(
        send(one, log_other.fd, b"x"),
        ZCN_ERROR_CONNECTION_NOT_FOUND
    );
    assert_eq!(send(other, log_other.fd, b"x"), ZCN_SUCCESS);
    assert_eq!(conn_send(of, log_one.fd, b"x"), ZCN_SUCCESS);
    // One goes, the other stays.
    zcn_server_destroy(one);
    let mut late = peer(ports[1]);
    late.write_all(b"there?").unwrap();
    poll_until(of, || log_other.data == b"there?");
    assert_eq!(log_one.events, ["accept"]);
    assert_eq!(zcn_loop_destroy(of), ZCN_SUCCESS);
    assert_eq!(send(other, log_other.fd, b"x"), ZCN_ERROR_INVALID_HANDLE);
}

#[test]
fn a_unix_socket_serves_too() {
    let path = std::env::temp_dir().join(format!("zcn-ffi-{}.sock", std::process::id()));
    let server = server_with(&[("address", &format!("unix:{}", path.display()))]);
    let mut log = Log::for_server(server);
    assert_eq!(start_noting(server, &mut log), 0);
    let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    client.write_all(b"hi").unwrap();
    poll_until(log.of, || log.data == b"hi");
    let mut address = ZCN_Address::default();
    // SAFETY: a place for the address.
    let code = unsafe { zcn_conn_peer(log.of, log.fd, &raw mut address) };
    assert_eq!(code, ZCN_SUCCESS);
    assert_eq!(address.family, ZCN_FAMILY_UNIX);
    zcn_server_destroy(server);
    assert!(!path.exists());
}

#[test]
fn a_server_on_epoll_and_a_spinning_one_work_alike() {
    for pairs in [&[("reactor", "epoll")][..], &[("spin_us", "50")]] {
        let server = server_with(pairs);
        let mut log = Log::for_server(server);
        zcn_server_set_callbacks(server, log.user_data(), None, Some(echo), None);
        assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
        assert_eq!(zcn_loop_is_uring(log.of) == 0, pairs[0].1 == "epoll");
        let port = zcn_server_port(server);
        let client = thread::spawn(move || {
            let mut client = peer(port);
            for _ in 0..20 {
                client.write_all(b"ping").unwrap();
                read_exactly(&mut client, 4);
            }
        });
        poll_until(log.of, || client.is_finished());
        client.join().unwrap();
        zcn_server_destroy(server);
    }
}

#[test]
fn a_destroyed_server_leaves_no_descriptor() {
    if !alone("a_destroyed_server_leaves_no_descriptor") {
        return;
    }
    let mut counts = Vec::new();
    for _ in 0..3 {
        let server = server();
        let mut log = Log::for_server(server);
        let port = start_noting(server, &mut log);
        let client = peer(port);
        poll_until(log.of, || log.fd > 0);
        assert!(zcn_server_fd(server) >= 0);
        zcn_server_destroy(server);
        drop(client);
        counts.push(descriptors());
    }
    assert_eq!(counts[0], counts[2]);
}

#[test]
fn errors_of_create_and_start_name_what_to_do() {
    let mut error = ZCN_SUCCESS;
    // SAFETY: NULL is allowed, and answered.
    assert!(unsafe { zcn_server_create(null(), &raw mut error) }.is_null());
    assert_eq!(error, ZCN_ERROR_INVALID_CONFIG);
    // SAFETY: as above.
    assert!(unsafe { zcn_server_create(null(), null_mut()) }.is_null());
    let text = CString::new("nowhere").unwrap();
    let mut config = ZCN_Config {
        address: null(),
        port: 0,
        io_uring_entries: 0,
        buffer_pool_size: 0,
        buffer_size: 0,
    };
    // SAFETY: a configuration and a place for the code.
    assert!(unsafe { zcn_server_create(&raw const config, &raw mut error) }.is_null());
    assert_eq!(error, ZCN_ERROR_INVALID_CONFIG);
    assert!(last_message().contains("address"), "{}", last_message());
    config.address = text.as_ptr();
    // SAFETY: as above.
    assert!(unsafe { zcn_server_create(&raw const config, &raw mut error) }.is_null());
    assert_eq!(error, ZCN_ERROR_INVALID_CONFIG);
    assert!(last_message().contains("nowhere"), "{}", last_message());
    // Absurd numbers.
    let text = CString::new("127.0.0.1").unwrap();
    config.address = text.as_ptr();
    for (entries, buffers, size) in [
        (u32::MAX, 0, 0),
        (0, u32::MAX, 0),
        (0, 1, 0),
        (0, 0, u32::MAX),
        (0, 1 << 24, 1 << 30),
    ] {
        config.io_uring_entries = entries;
        config.buffer_pool_size = buffers;
        config.buffer_size = size;
        // SAFETY: as above.
        assert!(unsafe { zcn_server_create(&raw const config, &raw mut error) }.is_null());
        assert!(
            matches!(error, ZCN_ERROR_INVALID_CONFIG | ZCN_ERROR_OUT_OF_MEMORY),
            "{error:?} for {entries}, {buffers}, {size}: {}",
            last_message()
        );
    }
    // The port is in use.
    let (one, mut log) = (server(), Log::new());
    let port = start_noting(one, &mut log);
    assert_eq!(zcn_server_start(one), ZCN_ERROR_ALREADY_STARTED);
    let other = server_with(&[("port", &port.to_string())]);
    assert_eq!(zcn_server_run_once(other), ZCN_ERROR_NOT_STARTED);
    assert_eq!(zcn_server_poll(other, 0, 0), ZCN_ERROR_NOT_STARTED as c_int);
    assert_eq!(zcn_server_port(other), 0);
    assert_eq!(zcn_server_start(other), ZCN_ERROR_BIND_FAILED);
    assert_eq!(zcn_last_os_error(), libc::EADDRINUSE);
    assert!(
        last_message().contains(&port.to_string()),
        "{}",
        last_message()
    );
    zcn_server_destroy(one);
    // It can be tried again.
    assert_eq!(zcn_server_start(other), ZCN_SUCCESS, "{}", last_message());
    zcn_server_destroy(other);
}
