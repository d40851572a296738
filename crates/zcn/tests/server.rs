//! Limits, timeouts and the end of a server.

mod common;

use std::cell::Cell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use common::{
    Echo, Script, all_home, any, at_rest, client, dial, echo, for_each_half_with_peers,
    for_each_reactor, run_for, run_until, runtime, script, serve, talk,
};
use zcn::{CloseReason, ServerOptions, TcpServer};

#[test]
fn peers_beyond_the_limit_wait_and_are_served() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        let mut options = ServerOptions::default();
        options.max_connections = 3;
        let server = TcpServer::bind(&runtime, any(), options, Echo).unwrap();
        let address = server.local_addr().ip().unwrap();
        let most = Rc::new(Cell::new(0));
        let threads: Vec<_> = (0..20)
            .map(|seed| std::thread::spawn(move || talk(address, 20_000, seed)))
            .collect();
        run_until(&mut runtime, "all served", |_| {
            most.set(most.get().max(server.stats().connections));
            threads.iter().all(std::thread::JoinHandle::is_finished)
        });
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        assert!(most.get() <= 3, "{kind:?}: {} at a time", most.get());
        assert_eq!(server.stats().accepted, 20);
        server.shutdown(Duration::from_secs(1));
        all_home(&mut runtime, rest);
    });
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let mut options = ServerOptions::default();
        options.idle_timeout = Some(Duration::from_millis(400));
        let server = TcpServer::bind(&runtime, any(), options, Echo).unwrap();
        let address = server.local_addr().ip().unwrap();
        serve(&mut runtime, move || {
            let mut idle = client(address);
            let mut busy = client(address);
            for _ in 0..20 {
                busy.write_all(b"x").unwrap();
                assert_eq!(busy.read(&mut [0]).unwrap(), 1);
                std::thread::sleep(Duration::from_millis(40));
            }
            assert_eq!(idle.read(&mut [0]).unwrap(), 0);
            busy.write_all(b"x").unwrap();
            assert_eq!(busy.read(&mut [0]).unwrap(), 1);
        });
        assert_eq!(server.stats().timed_out, 1);
    });
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off_by_the_write_timeout() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        let mut options = ServerOptions::default();
        options.write_timeout = Some(Duration::from_millis(200));
        let why = Rc::new(Cell::new(None));
        let reason = why.clone();
        let script = Script {
            accept: Box::new(|conn| while conn.send_copy(&[7; 60_000]).is_ok() {}),
            writable: Box::new(|conn| while conn.send_copy(&[7; 60_000]).is_ok() {}),
            close: Box::new(move |_, why| reason.set(Some(why))),
            ..Script::default()
        };
        let server = TcpServer::bind(&runtime, any(), options, script).unwrap();
        let silent = dial(&mut runtime, server.local_addr().ip().unwrap());
        run_until(&mut runtime, "cut off", |_| why.get().is_some());
        assert_eq!(why.get(), Some(CloseReason::WriteTimeout), "{kind:?}");
        assert_eq!(server.stats().timed_out, 1);
        all_home(&mut runtime, rest);
        drop(silent);
    });
}

#[test]
fn shutdown_sends_what_is_queued_and_then_stops() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        let (server, address) = script(
            &runtime,
            Script {
                drain: Box::new(|conn| {
                    conn.send_copy(b"goodbye").unwrap();
                    conn.close();
                }),
                ..Script::default()
            },
        );
        let mut clients: Vec<_> = (0..10).map(|_| client(address)).collect();
        run_until(&mut runtime, "accepted", |_| server.stats().accepted == 10);
        server.shutdown(Duration::from_secs(10));
        run_until(&mut runtime, "stopped", |_| server.is_stopped());
        for client in &mut clients {
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "goodbye");
        }
        assert!(std::net::TcpStream::connect(address).is_err());
        all_home(&mut runtime, rest);
    });
}

#[test]
fn a_shutdown_from_a_task_wakes_the_loop_and_all_who_wait() {
    // The drain event waited for the next completion, which never came; and of several waiting
    // tasks only the last was woken.
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let (server, address) = echo(&runtime);
        let server = Rc::new(server);
        let idle = dial(&mut runtime, address);
        run_until(&mut runtime, "accepted", |_| server.stats().accepted == 1);
        let copies = [server.clone(), server.clone(), server.clone()];
        runtime
            .block_on(async move {
                let waiting =
                    copies.map(|server| zcn::spawn(async move { server.stopped().await }));
                zcn::sleep(Duration::from_millis(5)).await;
                server.shutdown(Duration::MAX);
                for task in waiting {
                    task.await.unwrap();
                }
            })
            .unwrap();
        drop(idle);
    });
}

#[test]
fn connections_left_at_the_limit_are_reset() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let (server, address) = script(
            &runtime,
            Script {
                drain: Box::new(|_| {}),
                ..Script::default()
            },
        );
        let mut stubborn = dial(&mut runtime, address);
        run_until(&mut runtime, "accepted", |_| server.stats().accepted == 1);
        server.shutdown(Duration::from_millis(30));
        run_until(&mut runtime, "stopped", |_| server.is_stopped());
        let error = stubborn.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_server_outlives_its_handle_and_ends_with_the_runtime() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let (server, address) = echo(&runtime);
        drop(server);
        serve(&mut runtime, move || talk(address, 1000, 1));
        let mut open = client(address);
        run_for(&mut runtime, Duration::from_millis(20));
        drop(runtime);
        assert_eq!(open.read(&mut [0]).unwrap(), 0);
        assert!(std::net::TcpStream::connect(address).is_err());
    });
}

#[test]
fn a_handler_may_own_its_own_server() {
    // A circle of handler, server and runtime that the runtime's drop must break.
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let pool = runtime.pool();
        let own: Rc<std::cell::RefCell<Option<TcpServer>>> = Rc::default();
        let inside = own.clone();
        let (server, address) = script(
            &runtime,
            Script {
                data: Box::new(move |_, _| {
                    if let Some(server) = &*inside.borrow() {
                        server.shutdown(Duration::ZERO);
                    }
                }),
                ..Script::default()
            },
        );
        *own.borrow_mut() = Some(server);
        let weak = Rc::downgrade(&own);
        drop(own);
        let open = dial(&mut runtime, address);
        run_for(&mut runtime, Duration::from_millis(10));
        drop(runtime);
        assert!(weak.upgrade().is_none(), "{kind:?}");
        assert_eq!(pool.stats().in_use, 0, "{kind:?}");
        drop(open);
    });
}

#[test]
fn two_servers_of_one_runtime_do_not_mix() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let named = |name: &'static [u8]| Script {
            data: Box::new(move |conn, _| conn.send(name).unwrap()),
            ..Script::default()
        };
        let (first, one) = script(&runtime, named(b"first"));
        let (second, other) = script(&runtime, named(b"second"));
        serve(&mut runtime, move || {
            for round in 0..40 {
                let (address, name) = [(one, &b"first"[..]), (other, b"second")][round % 2];
                let mut stream = client(address);
                stream.write_all(b"?").unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert_eq!(answer, name);
            }
        });
        assert_eq!(first.stats().accepted, 20);
        assert_eq!(second.stats().accepted, 20);
        first.shutdown(Duration::ZERO);
        run_until(&mut runtime, "first stopped", |_| first.is_stopped());
        serve(&mut runtime, move || {
            assert_eq!(client(other).write(b"?").unwrap(), 1);
        });
    });
}

#[test]
fn a_slow_but_steady_reader_is_not_cut_off() {
    // A send reports its end only; while a long one went on, its peer seemed to take nothing.
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let mut options = ServerOptions::default();
        options.write_timeout = Some(Duration::from_millis(300));
        let script = Script {
            accept: Box::new(|conn| {
                conn.with_socket(|socket| socket.set_send_buffer_size(4096))
                    .unwrap();
                conn.send(bytes::Bytes::from(vec![7; 400_000])).unwrap();
                conn.close();
            }),
            ..Script::default()
        };
        let server = TcpServer::bind(&runtime, any(), options, script).unwrap();
        let address = server.local_addr().ip().unwrap();
        let received = serve(&mut runtime, move || {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(&address.into()).unwrap();
            let mut stream = std::net::TcpStream::from(socket);
            stream.set_read_timeout(Some(common::HANG)).unwrap();
            let mut received = 0;
            let mut piece = [0; 8000];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                received += count;
                std::thread::sleep(Duration::from_millis(15));
            }
            received
        });
        assert_eq!(received, 400_000, "{kind:?}");
        assert_eq!(server.stats().timed_out, 0);
    });
}

#[test]
fn a_server_in_the_place_of_an_old_one_hears_nothing_of_its_connections() {
    // Places were never used again.
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        for _ in 0..100 {
            let (old, address) = echo(&runtime);
            let mut stream = dial(&mut runtime, address);
            run_until(&mut runtime, "accepted", |_| old.stats().accepted == 1);
            stream.write_all(b"late").unwrap();
            old.shutdown(Duration::ZERO);
            run_until(&mut runtime, "stopped", |_| old.is_stopped());
            let heard = Rc::new(Cell::new(0));
            let count = || {
                let heard = heard.clone();
                move || heard.set(heard.get() + 1)
            };
            let (data, end) = (count(), count());
            let script = Script {
                data: Box::new(move |_, _| data()),
                end: Box::new(move |_| end()),
                ..Script::default()
            };
            let (new, address) = common::script(&runtime, script);
            drop(stream);
            let mut stream = dial(&mut runtime, address);
            stream.write_all(b"x").unwrap();
            run_until(&mut runtime, "its own", |_| heard.get() > 0);
            assert_eq!((heard.get(), new.stats().accepted), (1, 1));
            new.shutdown(Duration::ZERO);
            run_until(&mut runtime, "stopped", |_| new.is_stopped());
        }
    });
}
