//! UDP through the C interface.
#![allow(unsafe_code)]

mod common;

use std::ffi::{c_int, c_void};
use std::net::UdpSocket;
use std::ptr::null;
use std::time::{SystemTime, UNIX_EPOCH};

use common::*;
use zero_copy_net::*;

/// What a socket's callbacks saw.
struct Seen {
    udp: *mut ZCN_Udp,
    of: *mut ZCN_Loop,
    echo: bool,
    keep: bool,
    datagrams: Vec<(Vec<u8>, ZCN_Datagram)>,
    errors: Vec<c_int>,
    kept: Vec<ZCN_Buf>,
}

impl Seen {
    fn new(udp: *mut ZCN_Udp) -> Box<Self> {
        let mut seen = Box::new(Self {
            udp,
            of: zcn_udp_loop(udp),
            echo: false,
            keep: false,
            datagrams: Vec::new(),
            errors: Vec::new(),
            kept: Vec::new(),
        });
        let data = std::ptr::from_mut(&mut *seen).cast();
        let code = zcn_udp_set_callbacks(udp, data, Some(on_datagram), None, Some(on_error));
        assert_eq!(code, ZCN_SUCCESS);
        seen
    }
}

unsafe extern "C-unwind" fn on_datagram(user_data: *mut c_void, datagram: *const ZCN_Datagram) {
    // SAFETY: registered with a `Seen`, and called with a datagram.
    let (seen, datagram) = unsafe { (&mut *user_data.cast::<Seen>(), *datagram) };
    // SAFETY: the datagram's bytes are there for the time of the call.
    let bytes = unsafe { slice(datagram.data, datagram.len) };
    seen.datagrams.push((bytes.to_vec(), datagram));
    if seen.keep {
        let mut buf = empty_buf();
        assert_eq!(retain(seen.of, &mut buf), ZCN_SUCCESS);
        assert_eq!(bytes_of(&buf), bytes);
        seen.kept.push(buf);
    }
    if seen.echo {
        assert_eq!(send_to(seen.udp, Some(&datagram.peer), bytes), ZCN_SUCCESS);
    }
}

unsafe extern "C-unwind" fn on_error(user_data: *mut c_void, error: ZCN_Error, errno: c_int) {
    assert_eq!(error, ZCN_ERROR_SYSTEM);
    // SAFETY: registered with a `Seen`.
    unsafe { &mut *user_data.cast::<Seen>() }.errors.push(errno);
}

fn send_to(udp: *mut ZCN_Udp, peer: Option<&ZCN_Address>, data: &[u8]) -> ZCN_Error {
    let peer = peer.map_or(null(), std::ptr::from_ref);
    // SAFETY: an address or NULL, and the bytes.
    unsafe { zcn_udp_send_to(udp, peer, data.as_ptr(), data.len()) }
}

#[test]
fn datagrams_go_there_and_back_with_addresses() {
    for reactor in ["auto", "epoll"] {
        let of = event_loop(&[("reactor", reactor)]);
        let (one, other) = (udp_on(of, &[]), udp_on(of, &[("timestamps", "1")]));
        let (seen, mut echo) = (Seen::new(one), Seen::new(other));
        echo.echo = true;
        let to = udp_address(other);
        assert_eq!((to.family, to.port > 0), (ZCN_FAMILY_IPV4, true));
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(
            send_to(one, Some(&to), b"ping"),
            ZCN_SUCCESS,
            "{}",
            last_message()
        );
        assert_eq!(send_to(one, Some(&to), b""), ZCN_SUCCESS);
        poll_until(of, || seen.datagrams.len() == 2);
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert_eq!(seen.datagrams[0].0, b"ping");
        assert_eq!(seen.datagrams[0].1.peer, to);
        assert_eq!(seen.datagrams[0].1.timestamp_ns, 0, "not asked for");
        assert_eq!(seen.datagrams[1].0, b"");
        let arrived = echo.datagrams[0].1;
        assert_eq!(arrived.peer, udp_address(one));
        assert_eq!((arrived.segment_size, arrived.truncated), (4, 0));
        let stamp = u128::from(arrived.timestamp_ns);
        assert!(
            (before.as_nanos()..=after.as_nanos()).contains(&stamp),
            "{reactor}: {stamp} is not between {before:?} and {after:?}"
        );
        zcn_loop_destroy(of);
    }
}

#[test]
fn a_connected_socket_needs_no_address_and_hears_of_errors() {
    let of = event_loop(&[]);
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = gone.local_addr().unwrap().port();
    let socket = udp_on(
        of,
        &[
            ("peer_address", "127.0.0.1"),
            ("peer_port", &port.to_string()),
        ],
    );
    let seen = Seen::new(socket);
    assert_eq!(
        send_to(socket, None, b"hello"),
        ZCN_SUCCESS,
        "{}",
        last_message()
    );
    zcn_loop_poll(of, 0, 0);
    let mut room = [0; 16];
    assert_eq!(gone.recv(&mut room).unwrap(), 5);
    drop(gone);
    assert_eq!(send_to(socket, None, b"anybody?"), ZCN_SUCCESS);
    poll_until(of, || !seen.errors.is_empty());
    assert_eq!(seen.errors[0], libc::ECONNREFUSED);
    let unconnected = udp_on(of, &[]);
    assert_eq!(send_to(unconnected, None, b"x"), ZCN_ERROR_SEND_FAILED);
    assert_eq!(zcn_last_os_error(), libc::EDESTADDRREQ);
    // Later is as good.
    let peer = udp_address(socket);
    // SAFETY: an address.
    let code = unsafe { zcn_udp_connect(unconnected, &raw const peer) };
    assert_eq!(code, ZCN_SUCCESS);
    assert_eq!(send_to(unconnected, None, b"x"), ZCN_SUCCESS);
    // SAFETY: NULL is answered.
    let code = unsafe { zcn_udp_connect(unconnected, null()) };
    assert_eq!(code, ZCN_ERROR_INVALID_ARGUMENT);
    zcn_loop_destroy(of);
}

#[test]
fn a_lease_is_sent_as_segments_and_arrives_coalesced() {
    let of = event_loop(&[]);
    let sender = udp_on(of, &[]);
    let receiver = udp_on(of, &[("gro", "1")]);
    let seen = Seen::new(receiver);
    let to = udp_address(receiver);
    let mut buf = filled(of, &[7; 2500]);
    // SAFETY: an address and a lease.
    let code = unsafe { zcn_udp_send_buf(sender, &raw const to, &raw mut buf, 1000) };
    assert_eq!(code, ZCN_SUCCESS, "{}", last_message());
    assert!(buf.data.is_null());
    poll_until(of, || {
        seen.datagrams
            .iter()
            .map(|(data, _)| data.len())
            .sum::<usize>()
            == 2500
    });
    for (data, datagram) in &seen.datagrams {
        assert!(datagram.segment_size <= 1000.max(data.len()));
    }
    // A segment size beyond the bytes is refused, and the lease stays.
    let mut buf = filled(of, b"short");
    // SAFETY: as above.
    let code = unsafe { zcn_udp_send_buf(sender, &raw const to, &raw mut buf, 1000) };
    assert_eq!(code, ZCN_ERROR_SEND_FAILED);
    assert_eq!(bytes_of(&buf), b"short");
    // SAFETY: as above.
    let code = unsafe { zcn_udp_send_buf(sender, &raw const to, &raw mut buf, 0) };
    assert_eq!(code, ZCN_SUCCESS);
    poll_until(of, || {
        seen.datagrams
            .last()
            .is_some_and(|(data, _)| data == b"short")
    });
    let mut stats = ZCN_StatsEx::default();
    // SAFETY: a place of that size.
    let code = unsafe { zcn_udp_stats_ex(sender, &raw mut stats, size_of::<ZCN_StatsEx>()) };
    assert_eq!(code, ZCN_SUCCESS);
    assert_eq!((stats.bytes_sent, stats.sends_refused), (2505, 1));
    zcn_loop_destroy(of);
}

#[test]
fn a_full_queue_and_too_long_a_datagram_are_refused() {
    let of = event_loop(&[]);
    let sender = udp_on(of, &[("send_queue", "4")]);
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = address("127.0.0.1", receiver.local_addr().unwrap().port());
    let codes: Vec<ZCN_Error> = (0..6).map(|_| send_to(sender, Some(&to), b"x")).collect();
    assert_eq!(codes[..4], [ZCN_SUCCESS; 4]);
    assert_eq!(codes[4..], [ZCN_ERROR_WOULD_BLOCK; 2]);
    zcn_loop_poll(of, 0, 0);
    assert_eq!(
        send_to(sender, Some(&to), &[0; 70_000]),
        ZCN_ERROR_SEND_FAILED
    );
    assert_eq!(zcn_last_os_error(), libc::EMSGSIZE);
    let nowhere = ZCN_Address::default();
    assert_eq!(
        send_to(sender, Some(&nowhere), b"x"),
        ZCN_ERROR_INVALID_ARGUMENT
    );
    zcn_loop_destroy(of);
}

#[test]
fn kept_datagrams_outlive_their_socket() {
    let of = event_loop(&[]);
    let receiver = udp_on(of, &[]);
    let mut seen = Seen::new(receiver);
    seen.keep = true;
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp_address(receiver).port;
    sender.send_to(b"kept", ("127.0.0.1", port)).unwrap();
    poll_until(of, || seen.kept.len() == 1);
    zcn_udp_destroy(receiver);
    assert_eq!(send_to(receiver, None, b"x"), ZCN_ERROR_INVALID_HANDLE);
    for _ in 0..3 {
        zcn_loop_poll(of, 1, 0);
    }
    let mut buf = seen.kept[0];
    assert_eq!(bytes_of(&buf), b"kept");
    assert_eq!(release(&mut buf), ZCN_SUCCESS);
    let mut again = seen.kept[0];
    assert_eq!(release(&mut again), ZCN_ERROR_INVALID_BUFFER);
    zcn_loop_destroy(of);
}

#[test]
fn at_most_so_many_datagrams_come_from_one_poll() {
    for reactor in ["auto", "epoll"] {
        let of = event_loop(&[("reactor", reactor)]);
        let receiver = udp_on(of, &[]);
        let seen = Seen::new(receiver);
        zcn_loop_poll(of, 0, 0);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp_address(receiver).port;
        for number in 0..10_u8 {
            sender.send_to(&[number], ("127.0.0.1", port)).unwrap();
        }
        while seen.datagrams.len() < 10 {
            let before = seen.datagrams.len();
            let count = zcn_loop_poll(of, 1000, 4);
            assert!((0..=4).contains(&count));
            assert!(seen.datagrams.len() - before <= 4);
        }
        let order: Vec<u8> = seen.datagrams.iter().map(|(data, _)| data[0]).collect();
        assert_eq!(order, (0..10).collect::<Vec<u8>>());
        zcn_loop_destroy(of);
    }
}

#[test]
fn a_socket_on_its_own_loop_and_its_errors() {
    let mut error = ZCN_SUCCESS;
    let pairs = [("address", "127.0.0.1"), ("peer_port", "9")];
    let options = options(&pairs);
    // SAFETY: a place for the code.
    assert!(unsafe { zcn_udp_create(options, &raw mut error) }.is_null());
    assert_eq!(error, ZCN_ERROR_INVALID_CONFIG);
    assert!(
        last_message().contains("peer_address"),
        "{}",
        last_message()
    );
    assert_eq!(set(options, "peer_address", "127.0.0.1"), ZCN_SUCCESS);
    // SAFETY: as above.
    let udp = unsafe { zcn_udp_create(options, &raw mut error) };
    assert_eq!(error, ZCN_SUCCESS, "{}", last_message());
    assert_eq!(zcn_loop_poll(zcn_udp_loop(udp), 0, 0), 0);
    zcn_udp_destroy(udp);
    assert_eq!(zcn_options_free(options), ZCN_SUCCESS);
}

#[test]
fn a_socket_that_cannot_be_had_leaves_no_loop_behind() {
    if !alone("a_socket_that_cannot_be_had_leaves_no_loop_behind") {
        return;
    }
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let options = options(&[("address", "127.0.0.1"), ("port", &port), ("buffers", "64")]);
    let mut counts = Vec::new();
    for _ in 0..3 {
        let mut error = ZCN_SUCCESS;
        // SAFETY: a place for the code.
        assert!(unsafe { zcn_udp_create(options, &raw mut error) }.is_null());
        assert_eq!(error, ZCN_ERROR_BIND_FAILED, "{}", last_message());
        counts.push(descriptors());
    }
    assert_eq!(counts[0], counts[2]);
    assert_eq!(zcn_options_free(options), ZCN_SUCCESS);
}
