//! Too little of something: readers too slow, pools too small, queues too short.

mod common;

use std::cell::Cell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use common::{
    Echo, Script, all_home, any, at_rest, builder, client, dial, echo, for_each_half_with_peers,
    for_each_reactor, pattern, run_for, run_until, runtime, serve, talk,
};
use zcn::{ServerOptions, TcpListener, TcpServer, TcpStream, WaterMarks};

#[test]
fn an_echo_to_a_client_that_does_not_read_stops_growing() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        let most = Rc::new(Cell::new(0));
        let seen = most.clone();
        let marks = WaterMarks {
            high: 64 * 1024,
            low: 16 * 1024,
        };
        let mut options = ServerOptions::default();
        options.marks = marks;
        let script = Script {
            data: Box::new(move |conn, data| {
                conn.send(data).unwrap();
                seen.set(seen.get().max(conn.unsent()));
            }),
            ..Script::default()
        };
        let server = TcpServer::bind(&runtime, any(), options, script).unwrap();
        let mut deaf = dial(&mut runtime, server.local_addr().ip().unwrap());
        deaf.set_nonblocking(true).unwrap();
        let sent = pattern(64 << 20, 1);
        let mut at = 0;
        // As much as goes: until nothing has moved for a while.
        let mut still = 0;
        while still < 40 && at < sent.len() {
            run_for(&mut runtime, Duration::from_millis(2));
            match deaf.write(&sent[at..]) {
                Ok(count) => (at, still) = (at + count, 0),
                Err(_) => still += 1,
            }
        }
        assert!(at < sent.len(), "{kind:?}: everything was taken");
        let bound = marks.high as usize + runtime.pool().buffer_size().max(64 * 1024);
        assert!(most.get() <= bound, "{kind:?}: {} unsent", most.get());
        let held = runtime.stats().pool.in_use - rest;
        assert!(held <= 16, "{kind:?}: {held} buffers held");
        // And when it reads at last, it all arrives.
        deaf.set_nonblocking(false).unwrap();
        let expected = sent[..at].to_vec();
        let received = serve(&mut runtime, move || {
            deaf.shutdown(std::net::Shutdown::Write).unwrap();
            let mut received = Vec::new();
            deaf.read_to_end(&mut received).unwrap();
            received
        });
        assert!(received == expected, "{kind:?}: {} of {at}", received.len());
        all_home(&mut runtime, rest);
    });
}

#[test]
fn a_task_that_sends_to_a_slow_reader_waits() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        runtime
            .block_on(async {
                let listener = TcpListener::bind(any()).unwrap();
                let sender = TcpStream::connect(listener.local_addr()).await.unwrap();
                let (reader, _) = listener.accept().await.unwrap();
                let sent = Rc::new(Cell::new(0));
                let count = sent.clone();
                let task = zcn::spawn(async move {
                    let high = WaterMarks::default().high as usize;
                    for _ in 0..2000 {
                        sender.send_copy(&[5; 16_000]).await.unwrap();
                        count.set(count.get() + 16_000);
                        assert!(sender.unsent() <= high + 16_384);
                    }
                });
                zcn::sleep(Duration::from_millis(50)).await;
                let stalled = sent.get();
                assert!(
                    stalled < 2000 * 16_000,
                    "{kind:?}: nobody read, all was taken"
                );
                let mut received = 0;
                while let Some(buf) = reader.recv().await.unwrap() {
                    received += buf.len();
                    if received % 3 == 0 {
                        zcn::sleep(Duration::from_micros(50)).await;
                    }
                }
                assert_eq!(received, 2000 * 16_000);
                task.await.unwrap();
            })
            .unwrap();
        all_home(&mut runtime, rest);
    });
}

#[test]
fn pause_holds_the_peer_back_and_resume_loses_nothing() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let got = Rc::new(Cell::new(0));
        let count = got.clone();
        let ids = Rc::new(Cell::new(None));
        let known = ids.clone();
        let script = Script {
            data: Box::new(move |conn, data| {
                if let Some(id) = known.get().filter(|&id| id != conn.id()) {
                    // A word from the second connection releases the first.
                    conn.other(id).unwrap().resume();
                    return;
                }
                if known.replace(Some(conn.id())).is_none() {
                    conn.pause();
                }
                count.set(count.get() + data.len());
            }),
            ..Script::default()
        };
        let server = TcpServer::bind(&runtime, any(), ServerOptions::default(), script).unwrap();
        let address = server.local_addr().ip().unwrap();
        let mut held = dial(&mut runtime, address);
        held.write_all(&[1]).unwrap();
        run_until(&mut runtime, "first", |_| got.get() > 0);
        held.write_all(&pattern(100_000, 1)).unwrap();
        run_for(&mut runtime, Duration::from_millis(20));
        // One receive may have been under way.
        let early = got.get();
        assert!(early <= 1 + 64 * 1024, "{kind:?}: {early} while paused");
        dial(&mut runtime, address).write_all(b"go").unwrap();
        run_until(&mut runtime, "the rest", |_| got.get() == 100_001);
    });
}

#[test]
fn rule_08_receives_starved_of_buffers_go_on() {
    // With few buffers lent out of many, as many starved connections as there are lent buffers
    // waited for ever.
    for_each_half_with_peers(|kind| {
        for (buffers, lent) in [(2, 1), (12, 8), (1024, 8)] {
            let mut runtime = builder(kind)
                .buffers(buffers)
                .buffer_size(4096)
                .receive_buffers(lent)
                .build()
                .unwrap();
            let rest = at_rest(&mut runtime);
            let (server, address) = echo(&runtime);
            let clients: Vec<_> = (0..60).map(|_| dial(&mut runtime, address)).collect();
            let threads: Vec<_> = clients
                .into_iter()
                .enumerate()
                .map(|(seed, mut stream)| {
                    std::thread::spawn(move || {
                        let sent = pattern(20_000, seed);
                        let mut writer = stream.try_clone().unwrap();
                        let copy = sent.clone();
                        let writing = std::thread::spawn(move || {
                            writer.write_all(&copy).unwrap();
                            writer.shutdown(std::net::Shutdown::Write).unwrap();
                        });
                        let mut received = Vec::new();
                        stream.read_to_end(&mut received).unwrap();
                        writing.join().unwrap();
                        assert!(received == sent);
                    })
                })
                .collect();
            run_until(&mut runtime, "all served", |_| {
                threads.iter().all(std::thread::JoinHandle::is_finished)
            });
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            assert_eq!(server.stats().panics, 0);
            server.shutdown(Duration::from_secs(5));
            all_home(&mut runtime, rest);
        }
    });
}

#[test]
fn rule_08_progress_is_made_with_what_the_application_leaves() {
    // The application keeps most of the pool; half of it never comes back.
    for_each_half_with_peers(|kind| {
        let mut runtime = builder(kind)
            .buffers(16)
            .receive_buffers(8)
            .build()
            .unwrap();
        let mut kept = Vec::new();
        let got = Rc::new(Cell::new(0));
        let count = got.clone();
        let script = Script {
            data: Box::new(move |_, data| {
                count.set(count.get() + data.len());
                if kept.len() < 15 {
                    kept.push(data);
                }
            }),
            ..Script::default()
        };
        let server = TcpServer::bind(&runtime, any(), ServerOptions::default(), script).unwrap();
        let address = server.local_addr().ip().unwrap();
        let mut clients: Vec<_> = (0..30).map(|_| dial(&mut runtime, address)).collect();
        for round in 1..=10 {
            for client in &mut clients {
                client.write_all(&[1; 10]).unwrap();
            }
            run_until(&mut runtime, "taken", |_| got.get() == round * 300);
        }
        assert!(kind != zcn::ReactorKind::Uring.into() || runtime.stats().reactor.no_buffers > 0);
    });
}

#[test]
fn send_copy_waits_for_buffers_that_come_home() {
    for_each_half_with_peers(|kind| {
        let mut runtime = builder(kind).buffers(4).receive_buffers(2).build().unwrap();
        let (_server, address) = echo(&runtime);
        runtime
            .block_on(async move {
                let stream = Rc::new(TcpStream::connect(address).await.unwrap());
                let sent = pattern(1 << 20, 4);
                let copy = sent.clone();
                let same = stream.clone();
                let sender = zcn::spawn(async move {
                    same.send_copy(&copy).await.unwrap();
                    same.shutdown();
                });
                let mut received = Vec::new();
                while let Some(buf) = stream.recv().await.unwrap() {
                    received.extend_from_slice(&buf);
                }
                assert!(received == sent);
                sender.await.unwrap();
            })
            .unwrap();
    });
}

#[test]
fn rule_09_a_tiny_ring_overflows_without_loss() {
    for_each_reactor(|kind| {
        let mut runtime = builder(kind).ring_entries(8).build().unwrap();
        let rest = at_rest(&mut runtime);
        let server = TcpServer::bind(&runtime, any(), ServerOptions::default(), Echo).unwrap();
        let address = server.local_addr().ip().unwrap();
        let mut clients: Vec<_> = (0..200).map(|_| client(address)).collect();
        run_until(&mut runtime, "accepted", |_| server.stats().accepted == 200);
        for round in 0..10u8 {
            for client in &mut clients {
                client.write_all(&[round; 100]).unwrap();
            }
            // All of them are answered in few turns: far more than the queues hold.
            run_for(&mut runtime, Duration::from_millis(10));
            let (back, word) = std::sync::mpsc::channel();
            let moved = std::mem::take(&mut clients);
            serve(&mut runtime, move || {
                let mut moved = moved;
                for client in &mut moved {
                    let mut answer = [0; 100];
                    client.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [round; 100]);
                }
                back.send(moved).unwrap();
            });
            clients = word.recv().unwrap();
        }
        drop(clients);
        all_home(&mut runtime, rest);
    });
}

#[test]
fn large_messages_pass_through_the_callbacks() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        let (_server, address) = echo(&runtime);
        serve(&mut runtime, move || {
            let threads: Vec<_> = (0..3)
                .map(|seed| std::thread::spawn(move || talk(address, 8 << 20, seed)))
                .collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        });
        all_home(&mut runtime, rest);
    });
}

#[test]
fn a_starved_reactor_rests_while_other_threads_keep_free_buffers() {
    // Buffers in another thread's magazines are free, and not to be had: epoll asked for them in a
    // busy loop.
    for_each_reactor(|kind| {
        let mut runtime = builder(kind)
            .buffers(256)
            .buffer_size(4096)
            .receive_buffers(8)
            .build()
            .unwrap();
        let (_server, address) = echo(&runtime);
        let pool = runtime.pool();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let hoarder = std::thread::spawn(move || {
            let local = pool.local();
            let some: Vec<_> = (0..20).filter_map(|_| local.acquire()).collect();
            drop(some);
            ready.send(()).unwrap();
            let _ = wait.recv();
        });
        is_ready.recv().unwrap();
        let kept: Vec<_> = std::iter::from_fn(|| runtime.buffer()).collect();
        let mut clients: Vec<_> = (0..20).map(|_| client(address)).collect();
        for client in &mut clients {
            client.write_all(b"hello").unwrap();
        }
        run_for(&mut runtime, Duration::from_millis(20));
        let before = runtime.stats().reactor.system_calls;
        for _ in 0..100 {
            runtime.run_for(Duration::from_millis(2)).unwrap();
        }
        let calls = runtime.stats().reactor.system_calls - before;
        assert!(calls < 2000, "{kind:?}: {calls} system calls in 100 turns");
        drop(kept);
        serve(&mut runtime, move || {
            for mut client in clients {
                let mut answer = [0; 5];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(&answer, b"hello");
            }
        });
        drop(done);
        hoarder.join().unwrap();
    });
}
