//! Buffers in the hands of C.
#![allow(unsafe_code)]

mod common;

use std::ffi::{c_int, c_void};
use std::io::Write;
use std::thread;

use common::*;
use zero_copy_net::*;

fn in_use(server: *mut ZCN_Server) -> usize {
    // Figures are as of the last poll.
    assert!(zcn_loop_poll(zcn_server_loop(server), 0, 0) >= 0);
    zcn_server_get_stats(server).buffers_in_use
}

#[test]
fn a_lease_is_filled_and_sent_without_a_copy() {
    let server = server();
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let mut client = peer(port);
    poll_until(log.of, || log.fd > 0);
    let mut buf = filled(log.of, b"header|body");
    assert!(buf.capacity >= 4096);
    assert_eq!(in_use(server), 1);
    assert_eq!(advance(&mut buf, 7), ZCN_SUCCESS);
    assert_eq!(bytes_of(&buf), b"body");
    assert_eq!(send_buf(log.of, log.fd, &mut buf), ZCN_SUCCESS);
    assert!(buf.data.is_null() && buf.len == 0, "it is zeroed");
    // What was given away is gone.
    assert_eq!(send_buf(log.of, log.fd, &mut buf), ZCN_ERROR_INVALID_BUFFER);
    assert_eq!(release(&mut buf), ZCN_ERROR_INVALID_BUFFER);
    poll_until(log.of, || zcn_conn_unsent(log.of, log.fd) == 0);
    assert_eq!(read_exactly(&mut client, 4), b"body");
    assert_eq!(in_use(server), 0);
    zcn_server_destroy(server);
}

#[test]
fn a_copy_of_a_lease_is_no_second_lease() {
    let server = server();
    let of = zcn_server_loop(server);
    let mut buf = acquire(of);
    let mut copy = buf;
    assert_eq!(release(&mut buf), ZCN_SUCCESS);
    assert_eq!(release(&mut copy), ZCN_ERROR_INVALID_BUFFER);
    assert!(last_message().contains("given back"), "{}", last_message());
    // The buffer goes out again, and the old copy does not fit it.
    let mut again = acquire(of);
    assert_eq!(release(&mut copy), ZCN_ERROR_INVALID_BUFFER);
    assert_eq!(release(&mut again), ZCN_SUCCESS);
    for index in [0, u32::MAX] {
        for pool in [0, u32::MAX] {
            let mut forged = empty_buf();
            forged.index = index;
            forged.pool = pool;
            assert_eq!(release(&mut forged), ZCN_ERROR_INVALID_BUFFER);
        }
    }
    zcn_server_destroy(server);
}

#[test]
fn fields_that_were_changed_are_caught_and_the_lease_stays() {
    let server = server();
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let _client = peer(port);
    poll_until(log.of, || log.fd > 0);
    let mut buf = filled(log.of, b"abc");
    let too_much = buf.capacity + 1;
    assert_eq!(commit(&mut buf, too_much), ZCN_ERROR_INVALID_ARGUMENT);
    assert_eq!(advance(&mut buf, 4), ZCN_ERROR_INVALID_ARGUMENT);
    buf.len = usize::MAX;
    assert_eq!(send_buf(log.of, log.fd, &mut buf), ZCN_ERROR_INVALID_BUFFER);
    assert!(last_message().contains("changed"), "{}", last_message());
    buf.data = buf.data.wrapping_sub(1);
    assert_eq!(send_buf(log.of, log.fd, &mut buf), ZCN_ERROR_INVALID_BUFFER);
    buf.data = buf.data.wrapping_add(1 << 30);
    assert_eq!(send_buf(log.of, log.fd, &mut buf), ZCN_ERROR_INVALID_BUFFER);
    assert_eq!(release(&mut buf), ZCN_SUCCESS, "{}", last_message());
    assert_eq!(in_use(server), 0);
    zcn_server_destroy(server);
}

#[test]
fn a_refused_send_leaves_the_lease_to_the_caller() {
    let server = server();
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let mut client = peer(port);
    poll_until(log.of, || log.fd > 0);
    let mut buf = filled(log.of, b"kept");
    assert_eq!(
        send_buf(log.of, 12345, &mut buf),
        ZCN_ERROR_CONNECTION_NOT_FOUND
    );
    assert_eq!(zcn_conn_set_water_marks(log.of, log.fd, 1, 0), ZCN_SUCCESS);
    assert_eq!(send(server, log.fd, b"x"), ZCN_SUCCESS);
    assert_eq!(send_buf(log.of, log.fd, &mut buf), ZCN_ERROR_WOULD_BLOCK);
    assert_eq!(bytes_of(&buf), b"kept");
    poll_until(log.of, || zcn_conn_is_writable(log.of, log.fd) == 1);
    assert_eq!(send_buf(log.of, log.fd, &mut buf), ZCN_SUCCESS);
    poll_until(log.of, || zcn_conn_unsent(log.of, log.fd) == 0);
    assert_eq!(read_exactly(&mut client, 5), b"xkept");
    let mut buf = filled(log.of, b"late");
    assert_eq!(zcn_conn_close(log.of, log.fd), ZCN_SUCCESS);
    assert_eq!(send_buf(log.of, log.fd, &mut buf), ZCN_ERROR_CLOSED);
    assert_eq!(release(&mut buf), ZCN_SUCCESS);
    zcn_server_destroy(server);
}

unsafe extern "C-unwind" fn keep(user_data: *mut c_void, fd: c_int, data: *const u8, len: usize) {
    // SAFETY: registered with a log, and called with bytes.
    let (log, bytes) = unsafe { (log(user_data), slice(data, len)) };
    let mut buf = empty_buf();
    assert_eq!(retain(log.of, &mut buf), ZCN_SUCCESS, "{}", last_message());
    assert_eq!(
        (buf.data.cast_const(), buf.len),
        (data, len),
        "the bytes stay where they are"
    );
    assert_eq!(bytes_of(&buf), bytes);
    let mut second = empty_buf();
    assert_eq!(retain(log.of, &mut second), ZCN_ERROR_INVALID_BUFFER);
    log.fd = fd;
    if log.count > 0 {
        assert_eq!(release(&mut log.buf), ZCN_SUCCESS);
    }
    log.buf = buf;
    log.count += 1;
}

#[test]
fn received_bytes_can_be_kept_and_forwarded() {
    let server = server();
    let mut log = Log::for_server(server);
    zcn_server_set_callbacks(server, log.user_data(), None, Some(keep), None);
    assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
    let mut client = peer(zcn_server_port(server));
    client.write_all(b"keep me").unwrap();
    poll_until(log.of, || log.count == 1);
    for _ in 0..3 {
        zcn_loop_poll(log.of, 1, 0);
    }
    assert_eq!(bytes_of(&log.buf), b"keep me");
    assert_eq!(in_use(server), 1);
    let mut buf = log.buf;
    assert_eq!(
        send_buf(log.of, log.fd, &mut buf),
        ZCN_SUCCESS,
        "{}",
        last_message()
    );
    poll_until(log.of, || zcn_conn_unsent(log.of, log.fd) == 0);
    assert_eq!(read_exactly(&mut client, 7), b"keep me");
    assert_eq!(in_use(server), 0);
    let mut nothing = empty_buf();
    assert_eq!(retain(log.of, &mut nothing), ZCN_ERROR_INVALID_BUFFER);
    zcn_server_destroy(server);
}

#[test]
fn one_lease_goes_to_many_connections() {
    let server = server();
    let mut log = Log::for_server(server);
    zcn_server_set_callbacks(
        server,
        log.user_data(),
        Some(note_accept),
        Some(note_data),
        None,
    );
    assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
    let port = zcn_server_port(server);
    let mut fds = Vec::new();
    let mut clients = Vec::new();
    for count in 1..=3 {
        clients.push(peer(port));
        poll_until(log.of, || log.events.len() == count);
        fds.push(log.fd);
    }
    fds.push(99);
    let mut buf = filled(log.of, b"to all");
    // SAFETY: the ids and the lease are there.
    let taken = unsafe { zcn_conn_send_buf_to_all(log.of, fds.as_ptr(), fds.len(), &raw mut buf) };
    assert_eq!(taken, 3, "{}", last_message());
    assert!(buf.data.is_null());
    poll_until(log.of, || {
        fds[..3].iter().all(|&fd| zcn_conn_unsent(log.of, fd) == 0)
    });
    for client in &mut clients {
        assert_eq!(read_exactly(client, 6), b"to all");
    }
    assert_eq!(in_use(server), 0);
    zcn_server_destroy(server);
}

#[test]
fn a_lease_may_be_released_by_another_thread_and_after_its_loop() {
    let server = server();
    let of = zcn_server_loop(server);
    let (buf, other) = (filled(of, b"one"), filled(of, b"two"));
    let parts = |buf: &ZCN_Buf| (buf.data as usize, buf.pool, buf.index, buf.generation);
    let (one, two) = (parts(&buf), parts(&other));
    let give_back = move |(data, pool, index, generation): (usize, u32, u32, u32)| {
        let mut buf = ZCN_Buf {
            data: data as *mut u8,
            len: 3,
            capacity: 4096,
            pool,
            index,
            generation,
            reserved: 0,
        };
        let text = bytes_of(&buf);
        let code = release(&mut buf);
        (text, code)
    };
    let outcome = thread::spawn(move || give_back(one)).join().unwrap();
    assert_eq!(outcome, (b"one".to_vec(), ZCN_SUCCESS));
    assert_eq!(in_use(server), 1);
    zcn_server_destroy(server);
    // The memory stays for the lease that is still out.
    let outcome = thread::spawn(move || give_back(two)).join().unwrap();
    assert_eq!(outcome, (b"two".to_vec(), ZCN_SUCCESS));
    let mut again = other;
    assert_eq!(release(&mut again), ZCN_ERROR_INVALID_BUFFER);
}

#[test]
fn no_more_leases_than_buffers() {
    let server = server_with(&[("buffers", "8")]);
    let of = zcn_server_loop(server);
    let mut leases: Vec<ZCN_Buf> = (0..8).map(|_| acquire(of)).collect();
    let mut buf = empty_buf();
    // SAFETY: a place for a buffer.
    let code = unsafe { zcn_buf_acquire(of, &raw mut buf) };
    assert_eq!(code, ZCN_ERROR_NO_BUFFER);
    assert!(buf.data.is_null());
    for lease in &mut leases {
        assert_eq!(release(lease), ZCN_SUCCESS);
    }
    assert_eq!(release(&mut acquire(of)), ZCN_SUCCESS);
    zcn_server_destroy(server);
}
