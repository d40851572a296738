//! What a handler may do in its callbacks, and what it is told.

mod common;

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use common::{
    HANG, Script, all_home, any, at_rest, client, dial, for_each_half_with_peers, for_each_reactor,
    run_until, runtime, script, serve,
};
use zcn::{CloseReason, Conn, ConnId, Runtime, SendError, ServerOptions, TcpServer};

const CALLBACKS: [&str; 5] = ["accept", "data", "end", "drain", "close"];

/// Runs `act` in the named callback.
fn acting(name: &str, act: impl FnMut(Option<&mut Conn<'_>>) + 'static) -> Script {
    let act = Rc::new(RefCell::new(act));
    let mut script = Script::default();
    let on_conn = || -> common::OnConn {
        let act = act.clone();
        Box::new(move |conn| act.borrow_mut()(Some(conn)))
    };
    match name {
        "accept" => script.accept = on_conn(),
        "data" => {
            let act = act.clone();
            script.data = Box::new(move |conn, _| act.borrow_mut()(Some(conn)));
        }
        "end" => script.end = on_conn(),
        "drain" => script.drain = on_conn(),
        _ => script.close = Box::new(move |_, _| act.borrow_mut()(None)),
    }
    script
}

/// A client whose connection the server may have reset by the time that it is told of it; across a
/// real link, the reset can come before `connect` returns.
fn perhaps_client(address: SocketAddr) -> Option<TcpStream> {
    match TcpStream::connect(address) {
        Ok(stream) => {
            stream.set_read_timeout(Some(HANG)).unwrap();
            Some(stream)
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}

/// Drives a server through every callback: a client that sends, ends, and one that is drained.
fn drive(runtime: &mut Runtime, server: &TcpServer, address: SocketAddr) {
    serve(runtime, move || {
        let Some(mut stream) = perhaps_client(address) else {
            return;
        };
        // The server may have closed or reset at any of these points.
        let _ = stream.write_all(b"hello");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let idle = serve(runtime, move || perhaps_client(address));
    let before = server.stats().accepted;
    run_until(runtime, "second peer", |_| {
        server.stats().accepted >= before.max(2)
    });
    server.shutdown(Duration::from_millis(20));
    run_until(runtime, "stopped", |_| server.is_stopped());
    drop(idle);
}

#[test]
fn a_panic_in_any_callback_closes_its_connection_and_not_the_server() {
    for_each_half_with_peers(|kind| {
        for name in CALLBACKS {
            let mut runtime = runtime(kind);
            let rest = at_rest(&mut runtime);
            let (server, address) = script(&runtime, acting(name, |_| panic!("on purpose")));
            drive(&mut runtime, &server, address);
            let stats = server.stats();
            assert!(stats.panics >= 1, "{kind:?} {name}: {stats:?}");
            assert_eq!(stats.accepted, 2, "{kind:?} {name}");
            assert_eq!(stats.closed, 2, "{kind:?} {name}");
            all_home(&mut runtime, rest);
        }
    });
}

#[test]
fn rule_16_every_callback_may_do_everything_to_itself_and_to_others() {
    for_each_half_with_peers(|kind| {
        for name in CALLBACKS {
            for action in 0..10 {
                let mut runtime = runtime(kind);
                let rest = at_rest(&mut runtime);
                let other: Rc<Cell<Option<ConnId>>> = Rc::default();
                let known = other.clone();
                let server: Rc<RefCell<Option<TcpServer>>> = Rc::default();
                let own = server.clone();
                let handle = runtime.handle();
                let act = move |conn: Option<&mut Conn<'_>>| {
                    // What needs no connection.
                    zcn::spawn(async { zcn::sleep(Duration::from_millis(1)).await });
                    drop(zcn::buffer());
                    handle.spawn(|| async {});
                    if let Some(server) = &*own.borrow() {
                        let _ = server.stats();
                    }
                    let Some(conn) = conn else { return };
                    let before = known.replace(Some(conn.id()));
                    let mut others: Vec<Conn<'_>> =
                        before.and_then(|id| conn.other(id)).into_iter().collect();
                    for conn in others.iter_mut().chain([conn]) {
                        match action {
                            0 => conn.close(),
                            1 => conn.abort(),
                            2 => drop(conn.send_copy(b"answer")),
                            3 => conn.shutdown(),
                            4 => {
                                conn.pause();
                                conn.resume();
                            }
                            5 => {
                                let _ = conn.with_socket(|socket| socket.tcp_nodelay());
                                let _ = conn.unsent();
                            }
                            6 => {
                                let _ = conn.send_copy(b"last words");
                                conn.close();
                                conn.abort();
                                conn.close();
                            }
                            7 => {
                                if let Some(server) = &*own.borrow() {
                                    server.shutdown(Duration::from_millis(20));
                                }
                            }
                            8 => {
                                conn.shutdown();
                                conn.close();
                            }
                            // The handle goes away inside of a callback.
                            _ => drop(own.borrow_mut().take()),
                        }
                    }
                };
                let (made, address) = script(&runtime, acting(name, act));
                *server.borrow_mut() = Some(made);
                let thread = std::thread::spawn(move || {
                    let talk = |_| {
                        // A server that is told to stop may refuse the later ones.
                        let Ok(mut stream) = std::net::TcpStream::connect(address) else {
                            return;
                        };
                        let _ = stream.set_read_timeout(Some(Duration::from_millis(30)));
                        let _ = stream.write_all(b"hello");
                        let _ = stream.shutdown(std::net::Shutdown::Write);
                        let _ = stream.read_to_end(&mut Vec::new());
                    };
                    (0..2).for_each(talk);
                });
                run_until(&mut runtime, "clients", |_| thread.is_finished());
                thread.join().unwrap();
                let server = server.borrow_mut().take();
                if let Some(server) = server {
                    server.shutdown(Duration::from_millis(20));
                    all_home(&mut runtime, rest);
                }
                // Without a handle the server goes on; the runtime's drop ends it.
            }
        }
    });
}

#[test]
fn a_close_in_a_callback_is_reported_without_another_packet() {
    // A closed event made while events were served waited for the next completion, and with the
    // server full nobody could send one.
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let mut options = ServerOptions::default();
        options.max_connections = 1;
        let script = Script {
            data: Box::new(|conn, data| {
                conn.send(data).unwrap();
                conn.close();
            }),
            ..Script::default()
        };
        let server = TcpServer::bind(&runtime, any(), options, script).unwrap();
        let address = server.local_addr().ip().unwrap();
        serve(&mut runtime, move || {
            for round in 0..50u8 {
                let mut stream = client(address);
                stream.write_all(&[round]).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert_eq!(answer, [round]);
            }
        });
        run_until(&mut runtime, "closed", |_| server.stats().closed == 50);
    });
}

#[test]
fn a_close_is_told_although_its_place_was_taken_by_the_next_peer() {
    // The state of a connection closed in a callback was overwritten by the next accepted one.
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let closed = Rc::new(Cell::new(0));
        let count = closed.clone();
        let (server, address) = script(
            &runtime,
            Script {
                accept: Box::new(|conn| conn.close()),
                close: Box::new(move |_, _| count.set(count.get() + 1)),
                ..Script::default()
            },
        );
        // All of them in the backlog before the first is accepted.
        let clients: Vec<_> = (0..100).map(|_| dial(&mut runtime, address)).collect();
        run_until(&mut runtime, "closed", |_| server.stats().closed == 100);
        assert_eq!(closed.get(), 100, "{kind:?}");
        for mut client in clients {
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    });
}

#[test]
fn a_refused_peer_sees_the_end() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let refusing = Script {
            refuse: true,
            ..Script::default()
        };
        let (server, address) = script(&runtime, refusing);
        serve(&mut runtime, move || {
            assert_eq!(client(address).read(&mut [0]).unwrap(), 0);
        });
        run_until(&mut runtime, "closed", |_| server.stats().closed == 1);
        assert_eq!(server.stats().refused, 1);
    });
}

#[test]
fn send_copy_after_shutdown_is_refused_and_not_lost() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let refused = Rc::new(Cell::new(0));
        let count = refused.clone();
        let (_server, address) = script(
            &runtime,
            Script {
                data: Box::new(move |conn, data| {
                    conn.shutdown();
                    assert!(!conn.is_writable());
                    for outcome in [conn.send_copy(b"late"), conn.send(data)] {
                        if matches!(outcome, Err(SendError::Closed(..))) {
                            count.set(count.get() + 1);
                        }
                    }
                }),
                ..Script::default()
            },
        );
        serve(&mut runtime, move || {
            let mut stream = client(address);
            stream.write_all(b"x").unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        });
        assert_eq!(refused.get(), 2, "{kind:?}");
    });
}

#[test]
fn the_reason_of_a_close_tells_who_began() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let reasons: Rc<RefCell<Vec<CloseReason>>> = Rc::default();
        let list = reasons.clone();
        let (_server, address) = script(
            &runtime,
            Script {
                data: Box::new(|conn, data| match data[0] {
                    b'c' => conn.close(),
                    b'a' => conn.abort(),
                    _ => {}
                }),
                close: Box::new(move |_, reason| list.borrow_mut().push(reason)),
                ..Script::default()
            },
        );
        for word in ["close", "abort", "end", "reset"] {
            let before = reasons.borrow().len();
            let mut stream = dial(&mut runtime, address);
            stream.write_all(word.as_bytes()).unwrap();
            common::run_for(&mut runtime, Duration::from_millis(20));
            if word == "reset" {
                socket2::SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
            drop(stream);
            run_until(&mut runtime, word, |_| reasons.borrow().len() > before);
        }
        assert_eq!(
            *reasons.borrow(),
            [
                CloseReason::Local,
                CloseReason::Local,
                CloseReason::Peer,
                CloseReason::Error(libc::ECONNRESET)
            ],
            "{kind:?}"
        );
    });
}

#[test]
fn user_code_for_a_socket_may_use_its_connection() {
    // It ran with the reactor borrowed, and anything it did panicked.
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let (server, address) = script(
            &runtime,
            Script {
                data: Box::new(|conn, _| {
                    let mut same = conn.other(conn.id()).unwrap();
                    conn.with_socket(|_| {
                        same.send_copy(b"inside").unwrap();
                        same.close();
                        Ok(())
                    })
                    .unwrap();
                }),
                ..Script::default()
            },
        );
        serve(&mut runtime, move || {
            let mut stream = client(address);
            stream.write_all(b"x").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "inside");
        });
        assert_eq!(server.stats().panics, 0);
    });
}
