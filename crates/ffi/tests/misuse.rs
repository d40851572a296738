//! Wrong handles, wrong threads, wrong moments: always an error code, never undefined behaviour.
#![allow(unsafe_code)]

mod common;

use std::ffi::{c_int, c_void};
use std::io::{Read, Write};
use std::ptr::{null, null_mut, without_provenance_mut};
use std::thread;

use common::*;
use zero_copy_net::*;

/// Every call that takes a server, with a handle that is not one; what each answers.
fn all_server_calls(server: *mut ZCN_Server) -> Vec<ZCN_Error> {
    zcn_server_set_callbacks(server, null_mut(), None, None, None);
    let mut stats = ZCN_StatsEx::default();
    let mut address = ZCN_Address::default();
    let code = |number: c_int| match number {
        number if number == ZCN_ERROR_INVALID_HANDLE as c_int => ZCN_ERROR_INVALID_HANDLE,
        number if number == ZCN_ERROR_WRONG_THREAD as c_int => ZCN_ERROR_WRONG_THREAD,
        other => panic!("{other}"),
    };
    vec![
        zcn_server_start(server),
        zcn_server_run_once(server),
        code(zcn_server_poll(server, 0, 0)),
        code(zcn_server_fd(server)),
        send(server, 1, b"x"),
        zcn_server_set_on_writable(server, None),
        zcn_server_set_on_sent(server, None),
        zcn_server_set_on_end(server, None),
        zcn_server_shutdown(server, 0),
        code(zcn_server_is_stopped(server)),
        // SAFETY: a place for the address.
        unsafe { zcn_server_address(server, &raw mut address) },
        {
            assert!(zcn_server_loop(server).is_null());
            assert_eq!(zcn_server_port(server), 0);
            // SAFETY: a place of that size. For any thread, unlike the others.
            unsafe { zcn_server_stats_ex(server, &raw mut stats, size_of::<ZCN_StatsEx>()) };
            zcn_server_set_on_end(server, None)
        },
    ]
}

fn all_loop_calls(of: *mut ZCN_Loop) -> Vec<ZCN_Error> {
    let mut address = ZCN_Address::default();
    let mut buf = empty_buf();
    let refused = |number: c_int, like: ZCN_Error| {
        assert_eq!(number, like as c_int);
        like
    };
    let first = conn_send(of, 1, b"x");
    assert_eq!(zcn_conn_unsent(of, 1), 0);
    assert!(zcn_conn_user_data(of, 1).is_null());
    assert_eq!(zcn_loop_time_ns(of), 0);
    // SAFETY: the errno may be NULL.
    let reason = unsafe { zcn_conn_close_reason(of, 1, null_mut()) };
    assert_eq!(reason, ZCN_CloseReason::ZCN_CLOSE_NONE);
    // SAFETY: the errors may be NULL.
    unsafe {
        assert!(zcn_server_create_on(of, null(), null_mut()).is_null());
        assert!(zcn_client_create_on(of, null(), null_mut()).is_null());
        assert!(zcn_udp_create_on(of, null(), null_mut()).is_null());
    }
    vec![
        first,
        refused(zcn_loop_poll(of, 0, 0), first),
        refused(zcn_loop_fd(of), first),
        refused(zcn_loop_is_uring(of), first),
        zcn_conn_close(of, 1),
        zcn_conn_abort(of, 1),
        zcn_conn_shutdown(of, 1),
        zcn_conn_pause(of, 1),
        zcn_conn_resume(of, 1),
        zcn_conn_set_water_marks(of, 1, 2, 1),
        zcn_conn_set_user_data(of, 1, null_mut()),
        refused(zcn_conn_is_writable(of, 1), first),
        refused(zcn_conn_fd(of, 1), first),
        // SAFETY: places for an address and a buffer.
        unsafe { zcn_conn_peer(of, 1, &raw mut address) },
        // SAFETY: as above.
        unsafe { zcn_conn_local(of, 1, &raw mut address) },
        // SAFETY: as above.
        unsafe { zcn_buf_acquire(of, &raw mut buf) },
        retain(of, &mut buf),
        send_buf(of, 1, &mut buf),
    ]
}

#[test]
fn handles_that_are_none_are_refused() {
    let of = event_loop(&[]);
    let server = server_on(of, &[]);
    let client = client_on(of, &[]);
    let udp = udp_on(of, &[]);
    let options = zcn_options_new();
    let void = [ZCN_ERROR_INVALID_HANDLE];
    let local = 0_u64;
    let others: Vec<usize> = vec![
        0,
        1,
        usize::MAX,
        std::ptr::from_ref(&local).addr(),
        of.addr(),
        client.addr(),
        udp.addr(),
        options.addr(),
        server.addr() ^ 1,
        server.addr() ^ (1 << 45),
        server.addr() ^ (1 << 57),
    ];
    for handle in others {
        let codes = all_server_calls(without_provenance_mut(handle));
        assert!(
            codes.iter().all(|code| void.contains(code)),
            "{handle:#x}: {codes:?}"
        );
        zcn_server_destroy(without_provenance_mut(handle));
    }
    for handle in [0, 1, server.addr(), of.addr() ^ 1] {
        let codes = all_loop_calls(without_provenance_mut(handle));
        assert!(
            codes.iter().all(|code| void.contains(code)),
            "{handle:#x}: {codes:?}"
        );
    }
    for handle in [0, 1, server.addr(), of.addr()] {
        let client: *mut ZCN_Client = without_provenance_mut(handle);
        let udp: *mut ZCN_Udp = without_provenance_mut(handle);
        let code = ZCN_ERROR_INVALID_HANDLE;
        assert_eq!(connect(client, "127.0.0.1", 1), code as c_int);
        assert_eq!(
            zcn_client_set_callbacks(client, null_mut(), None, None, None),
            code
        );
        assert_eq!(
            zcn_udp_set_callbacks(udp, null_mut(), None, None, None),
            code
        );
        assert!(zcn_udp_loop(udp).is_null());
        zcn_client_destroy(client);
        zcn_udp_destroy(udp);
        assert_eq!(set(without_provenance_mut(handle), "port", "1"), code);
    }
    // What they were mistaken for is unharmed.
    assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
    assert_eq!(zcn_options_free(options), ZCN_SUCCESS);
    assert_eq!(zcn_options_free(options), ZCN_ERROR_INVALID_HANDLE);
    assert_eq!(zcn_options_free(null_mut()), ZCN_SUCCESS);
    assert_eq!(zcn_loop_destroy(of), ZCN_SUCCESS);
    assert_eq!(zcn_loop_destroy(of), ZCN_ERROR_INVALID_HANDLE);
    assert_eq!(zcn_loop_destroy(null_mut()), ZCN_SUCCESS);
    zcn_server_destroy(null_mut());
}

#[test]
fn handles_are_void_after_destroy() {
    let server = server();
    let of = zcn_server_loop(server);
    assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
    zcn_server_destroy(server);
    zcn_server_destroy(server);
    let codes = all_server_calls(server);
    assert!(
        codes.iter().all(|code| *code == ZCN_ERROR_INVALID_HANDLE),
        "{codes:?}"
    );
    let codes = all_loop_calls(of);
    assert!(
        codes.iter().all(|code| *code == ZCN_ERROR_INVALID_HANDLE),
        "{codes:?}"
    );
    assert_eq!(zcn_server_wakeup(server), ZCN_ERROR_INVALID_HANDLE);
    // The next one is another, even at the same place.
    let next = common::server();
    assert_ne!(next, server);
    assert_eq!(zcn_server_start(server), ZCN_ERROR_INVALID_HANDLE);
    zcn_server_destroy(next);
}

#[test]
fn other_threads_are_refused_but_where_they_are_welcome() {
    let server = server();
    let of = zcn_server_loop(server);
    let handles = (server.addr(), of.addr());
    thread::spawn(move || {
        let server: *mut ZCN_Server = without_provenance_mut(handles.0);
        let of: *mut ZCN_Loop = without_provenance_mut(handles.1);
        let codes = all_server_calls(server);
        assert!(
            codes.iter().all(|code| *code == ZCN_ERROR_WRONG_THREAD),
            "{codes:?}"
        );
        assert!(
            last_message().contains("another thread"),
            "{}",
            last_message()
        );
        let codes = all_loop_calls(of);
        assert!(
            codes.iter().all(|code| *code == ZCN_ERROR_WRONG_THREAD),
            "{codes:?}"
        );
        assert_eq!(zcn_loop_destroy(of), ZCN_ERROR_WRONG_THREAD);
        zcn_server_destroy(server);
        assert_eq!(zcn_server_wakeup(server), ZCN_SUCCESS);
        assert_eq!(zcn_loop_wakeup(of), ZCN_SUCCESS);
        assert_eq!(zcn_server_get_stats(server).total_buffers, 128);
    })
    .join()
    .unwrap();
    // It is still there.
    assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
    zcn_server_destroy(server);
}

#[test]
fn null_where_something_is_needed_is_an_argument_error() {
    let server = server();
    let mut log = Log::for_server(server);
    let port = start_noting(server, &mut log);
    let _client = peer(port);
    poll_until(log.of, || log.fd > 0);
    let (of, fd) = (log.of, log.fd);
    let code = ZCN_ERROR_INVALID_ARGUMENT;
    let mut address = ZCN_Address::default();
    // SAFETY: NULL is what is tried, and lengths that no memory has.
    unsafe {
        assert_eq!(zcn_server_send(server, fd, null(), 5), code);
        assert_eq!(zcn_server_send(server, fd, null(), 0), ZCN_SUCCESS);
        assert_eq!(zcn_server_send(server, fd, b"x".as_ptr(), usize::MAX), code);
        assert_eq!(zcn_conn_send(of, fd, null(), 5), code);
        assert_eq!(zcn_conn_send_buf(of, fd, null_mut()), code);
        assert_eq!(
            zcn_conn_send_buf_to_all(of, null(), 3, &mut filled(of, b"x")),
            code as c_int
        );
        assert_eq!(zcn_conn_peer(of, fd, null_mut()), code);
        assert_eq!(zcn_conn_local(of, fd, null_mut()), code);
        assert_eq!(zcn_server_address(server, null_mut()), code);
        assert_eq!(zcn_server_stats_ex(server, null_mut(), 8), code);
        assert_eq!(zcn_buf_acquire(of, null_mut()), code);
        assert_eq!(zcn_buf_retain(of, null_mut()), code);
        assert_eq!(zcn_buf_commit(null_mut(), 0), code);
        assert_eq!(zcn_buf_advance(null_mut(), 0), code);
        assert_eq!(zcn_buf_release(null_mut()), code);
        assert_eq!(zcn_address_parse(null(), 0, &raw mut address), code);
        assert_eq!(zcn_address_parse(c"1.2.3.4".as_ptr(), 0, null_mut()), code);
        assert_eq!(
            zcn_address_parse(c"1.2.3".as_ptr(), 0, &raw mut address),
            code
        );
        assert_eq!(zcn_address_format(null(), null_mut(), 0), code);
    }
    assert_eq!(zcn_conn_set_water_marks(of, fd, 0, 0), code);
    assert_eq!(zcn_conn_set_water_marks(of, fd, 1, 2), code);
    for foreign in [0, -1, c_int::MIN, c_int::MAX, fd + 1, fd ^ (1 << 20)] {
        let not_found = ZCN_ERROR_CONNECTION_NOT_FOUND;
        assert_eq!(send(server, foreign, b"x"), not_found, "{foreign}");
        assert_eq!(zcn_conn_close(of, foreign), not_found);
    }
    zcn_server_destroy(server);
}

/// What a callback of the tests below does.
#[derive(Clone, Copy, PartialEq)]
enum Deed {
    DestroyServer,
    DestroyLoop,
    Reenter,
    CloseThenSend,
    Abort,
    ChangeCallbacks,
    MakeAnother,
    Unwind,
}

struct Doer {
    server: *mut ZCN_Server,
    of: *mut ZCN_Loop,
    deed: Deed,
    calls: Vec<&'static str>,
    other: *mut ZCN_Server,
}

impl Doer {
    fn new(server: *mut ZCN_Server, deed: Deed) -> Box<Self> {
        let mut doer = Box::new(Self {
            server,
            of: zcn_server_loop(server),
            deed,
            calls: Vec::new(),
            other: null_mut(),
        });
        let data = std::ptr::from_mut(&mut *doer).cast();
        zcn_server_set_callbacks(
            server,
            data,
            Some(done_accept),
            Some(done_data),
            Some(done_close),
        );
        assert_eq!(zcn_server_start(server), ZCN_SUCCESS);
        doer
    }
}

unsafe extern "C-unwind" fn done_accept(user_data: *mut c_void, _: c_int) {
    // SAFETY: registered with a doer.
    unsafe { &mut *user_data.cast::<Doer>() }
        .calls
        .push("accept");
}

unsafe extern "C-unwind" fn done_close(user_data: *mut c_void, _: c_int) {
    // SAFETY: registered with a doer.
    unsafe { &mut *user_data.cast::<Doer>() }
        .calls
        .push("close");
}

unsafe extern "C-unwind" fn done_later(user_data: *mut c_void, _: c_int, _: *const u8, _: usize) {
    // SAFETY: registered with a doer.
    unsafe { &mut *user_data.cast::<Doer>() }
        .calls
        .push("later");
}

unsafe extern "C-unwind" fn done_data(
    user_data: *mut c_void,
    fd: c_int,
    data: *const u8,
    len: usize,
) {
    // SAFETY: registered with a doer, and called with bytes.
    let (doer, before) = unsafe { (&mut *user_data.cast::<Doer>(), slice(data, len).to_vec()) };
    doer.calls.push("data");
    let server = doer.server;
    match doer.deed {
        Deed::DestroyServer => {
            assert_eq!(send(server, fd, b"bye"), ZCN_SUCCESS);
            assert_eq!(zcn_conn_close(doer.of, fd), ZCN_SUCCESS);
            zcn_server_destroy(server);
            assert_eq!(send(server, fd, b"x"), ZCN_ERROR_INVALID_HANDLE);
            zcn_server_destroy(server);
        }
        Deed::DestroyLoop => {
            assert_eq!(zcn_loop_destroy(doer.of), ZCN_SUCCESS);
            assert_eq!(send(server, fd, b"x"), ZCN_ERROR_INVALID_HANDLE);
            assert_eq!(conn_send(doer.of, fd, b"x"), ZCN_ERROR_INVALID_HANDLE);
        }
        Deed::Reenter => {
            assert_eq!(zcn_server_run_once(server), ZCN_ERROR_REENTRANT);
            assert_eq!(zcn_server_poll(server, 0, 0), ZCN_ERROR_REENTRANT as c_int);
            assert_eq!(zcn_loop_poll(doer.of, 0, 0), ZCN_ERROR_REENTRANT as c_int);
            assert!(zcn_loop_fd(doer.of) >= 0);
        }
        Deed::CloseThenSend => {
            assert_eq!(send(server, fd, b"last"), ZCN_SUCCESS);
            assert_eq!(zcn_conn_close(doer.of, fd), ZCN_SUCCESS);
            assert_eq!(zcn_conn_close(doer.of, fd), ZCN_SUCCESS);
            assert_eq!(send(server, fd, b"x"), ZCN_ERROR_CLOSED);
        }
        Deed::Abort => {
            assert_eq!(zcn_conn_abort(doer.of, fd), ZCN_SUCCESS);
            assert_eq!(send(server, fd, b"x"), ZCN_ERROR_CLOSED);
        }
        Deed::ChangeCallbacks => {
            zcn_server_set_callbacks(server, user_data, None, Some(done_later), None);
        }
        Deed::MakeAnother => {
            doer.other = server_on(doer.of, &[]);
            let data = std::ptr::from_mut(doer).cast();
            zcn_server_set_callbacks(doer.other, data, None, Some(done_later), None);
            assert_eq!(zcn_server_start(doer.other), ZCN_SUCCESS);
        }
        Deed::Unwind => std::panic::resume_unwind(Box::new("on purpose")),
    }
    // SAFETY: the borrow lasts as long as the call, whatever was done meanwhile.
    assert_eq!(unsafe { slice(data, len) }, before);
}

#[test]
fn a_server_is_destroyed_inside_its_callback() {
    let server = server();
    let doer = Doer::new(server, Deed::DestroyServer);
    let mut client = peer(zcn_server_port(server));
    client.write_all(b"go").unwrap();
    let mut polls = 0;
    while zcn_server_run_once(server) == ZCN_SUCCESS {
        polls += 1;
        assert!(polls < 1000);
    }
    assert_eq!(doer.calls, ["accept", "data"]);
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye", "what was sent before the close arrives");
}

#[test]
fn a_server_on_a_shared_loop_is_destroyed_inside_its_callback() {
    let of = event_loop(&[]);
    let server = server_on(of, &[]);
    let doer = Doer::new(server, Deed::DestroyServer);
    let port = zcn_server_port(server);
    let mut client = peer(port);
    client.write_all(b"go").unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|_| all)
    });
    poll_until(of, || reader.is_finished());
    assert_eq!(reader.join().unwrap().unwrap(), b"bye");
    assert_eq!(doer.calls, ["accept", "data"]);
    // The port is free again, as the loop runs on.
    let next = server_on(of, &[("port", &port.to_string())]);
    poll_until(of, || match zcn_server_start(next) {
        ZCN_ERROR_BIND_FAILED => false,
        code => {
            assert_eq!(code, ZCN_SUCCESS, "{}", last_message());
            true
        }
    });
    zcn_loop_destroy(of);
}

#[test]
fn a_loop_is_destroyed_inside_a_callback() {
    let of = event_loop(&[]);
    let server = server_on(of, &[]);
    let client = client_on(of, &[]);
    let doer = Doer::new(server, Deed::DestroyLoop);
    let mut stream = peer(zcn_server_port(server));
    stream.write_all(b"go").unwrap();
    let mut count;
    loop {
        count = zcn_loop_poll(of, 1000, 0);
        if count < 0 {
            break;
        }
    }
    assert_eq!(count, ZCN_ERROR_INVALID_HANDLE as c_int);
    assert_eq!(doer.calls, ["accept", "data"]);
    assert!(zcn_client_loop(client).is_null());
    assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
}

fn with_deed(deed: Deed, events: &[&str]) -> (Box<Doer>, std::net::TcpStream) {
    let server = server();
    let doer = Doer::new(server, deed);
    let mut client = peer(zcn_server_port(server));
    client.write_all(b"go").unwrap();
    poll_until(doer.of, || doer.calls.len() >= events.len());
    assert_eq!(doer.calls, events);
    (doer, client)
}

#[test]
fn polling_inside_a_callback_is_refused() {
    let (doer, mut client) = with_deed(Deed::Reenter, &["accept", "data"]);
    client.write_all(b"again").unwrap();
    poll_until(doer.of, || doer.calls.len() == 3);
    zcn_server_destroy(doer.server);
}

#[test]
fn closing_inside_a_callback_sends_what_is_queued() {
    let server = server();
    let doer = Doer::new(server, Deed::CloseThenSend);
    let mut client = peer(zcn_server_port(server));
    client.write_all(b"go").unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    });
    poll_until(doer.of, || doer.calls.contains(&"close"));
    assert_eq!(reader.join().unwrap(), b"last");
    assert_eq!(doer.calls, ["accept", "data", "close"]);
    zcn_server_destroy(server);
}

#[test]
fn resetting_inside_a_callback_resets() {
    let (doer, mut client) = with_deed(Deed::Abort, &["accept", "data", "close"]);
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
    zcn_server_destroy(doer.server);
}

#[test]
fn callbacks_changed_inside_a_callback_are_the_next_ones() {
    let (doer, mut client) = with_deed(Deed::ChangeCallbacks, &["accept", "data"]);
    client.write_all(b"again").unwrap();
    poll_until(doer.of, || doer.calls.len() == 3);
    assert_eq!(doer.calls[2], "later");
    zcn_server_destroy(doer.server);
}

#[test]
fn a_server_made_inside_a_callback_serves() {
    let (doer, _client) = with_deed(Deed::MakeAnother, &["accept", "data"]);
    let mut other = peer(zcn_server_port(doer.other));
    other.write_all(b"hello").unwrap();
    poll_until(doer.of, || doer.calls.contains(&"later"));
    zcn_server_destroy(doer.server);
    // It went with the loop.
    assert_eq!(zcn_server_port(doer.other), 0);
}

#[test]
fn a_callback_that_unwinds_costs_its_connection() {
    let (doer, mut client) = with_deed(Deed::Unwind, &["accept", "data", "close"]);
    assert!(client.read(&mut [0]).is_err(), "it was reset");
    // The server goes on.
    let _next = peer(zcn_server_port(doer.server));
    poll_until(doer.of, || doer.calls.len() == 4);
    assert_eq!(doer.calls[3], "accept");
    zcn_server_destroy(doer.server);
}

#[test]
fn a_closed_connection_that_was_destroyed_with_its_server_stays_silent() {
    let of = event_loop(&[]);
    let (server, other) = (server_on(of, &[]), server_on(of, &[]));
    let (mut log, mut other_log) = (Log::for_server(server), Log::for_server(other));
    let ports = [
        start_noting(server, &mut log),
        start_noting(other, &mut other_log),
    ];
    let clients = ports.map(peer);
    poll_until(of, || log.fd > 0 && other_log.fd > 0);
    assert_eq!(zcn_conn_close(of, log.fd), ZCN_SUCCESS);
    zcn_server_destroy(server);
    drop(clients);
    poll_until(of, || other_log.events.contains(&"close".into()));
    for _ in 0..20 {
        zcn_loop_poll(of, 1, 0);
    }
    assert_eq!(log.events, ["accept"]);
    zcn_loop_destroy(of);
}
