//! Rules of the ring as far as they show at this level; the others are tests of `zcn-uring`.

mod common;

use std::cell::Cell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{
    Script, all_home, any, at_rest, builder, client, for_each_reactor, pattern, run_for, run_until,
    runtime, script, talk,
};
use zcn::{TcpListener, TcpStream, UdpOptions, UdpSocket, ZeroCopy};

#[test]
fn rule_03_zero_copy_sends_arrive_whole_and_their_buffers_come_home() {
    for_each_reactor(|kind| {
        let mut runtime = builder(kind).zero_copy(ZeroCopy::Always).build().unwrap();
        let rest = at_rest(&mut runtime);
        let (_server, address) = common::echo(&runtime);
        common::serve(&mut runtime, move || {
            for seed in 0..3 {
                talk(address, 3 << 20, seed);
            }
        });
        all_home(&mut runtime, rest);
        // From a task, slice by slice, with the peer resetting in the middle: the failed send
        // still posts its notification.
        for _ in 0..10 {
            runtime
                .block_on(async {
                    let listener = TcpListener::bind(any()).unwrap();
                    let one = TcpStream::connect(listener.local_addr()).await.unwrap();
                    let (other, _) = listener.accept().await.unwrap();
                    let sender = zcn::spawn(async move {
                        let bytes = bytes::Bytes::from(pattern(100_000, 1));
                        while one.send(bytes.clone()).await.is_ok() {}
                        let mut buf = zcn::buffer().unwrap();
                        buf.extend_from_slice(&[1; 16_384]).unwrap();
                        assert!(one.send(buf).await.is_err());
                    });
                    for _ in 0..5 {
                        other.recv().await.unwrap().unwrap();
                    }
                    other.abort();
                    sender.await.unwrap();
                })
                .unwrap();
        }
        all_home(&mut runtime, rest);
    });
}

#[test]
fn rule_05_an_old_name_never_means_a_new_connection() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let old: Rc<Cell<Option<zcn::ConnId>>> = Rc::default();
        let known = old.clone();
        let (server, address) = script(
            &runtime,
            Script {
                data: Box::new(move |conn, data| {
                    if let Some(id) = known.get() {
                        assert!(conn.other(id).is_none(), "the old name found somebody");
                        assert_ne!(id, conn.id());
                    }
                    known.set(Some(conn.id()));
                    conn.send(data).unwrap();
                    conn.close();
                }),
                ..Script::default()
            },
        );
        common::serve(&mut runtime, move || {
            for _ in 0..50 {
                let mut stream = client(address);
                stream.write_all(b"x").unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
        });
        assert_eq!(server.stats().panics, 0);
        assert_eq!(runtime.stats().reactor.stale_completions, 0);
    });
}

#[test]
fn rule_06_a_close_while_receiving_sends_a_fin() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        let listener = std::net::TcpListener::bind(any()).unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, stream) = runtime
            .block_on(async move {
                let stream = Rc::new(TcpStream::connect(address).await.unwrap());
                let (peer, _) = listener.accept().unwrap();
                let same = stream.clone();
                // A receive is armed and stays so.
                let waiting = zcn::timeout(Duration::from_millis(10), async move {
                    drop(same.recv().await);
                });
                assert!(waiting.await.is_err());
                (peer, stream)
            })
            .unwrap();
        let mut peer = peer;
        peer.set_read_timeout(Some(common::HANG)).unwrap();
        drop(stream);
        let reader = std::thread::spawn(move || {
            assert_eq!(peer.read(&mut [0]).unwrap(), 0, "an end, not a reset");
        });
        run_until(&mut runtime, "the end", |_| reader.is_finished());
        reader.join().unwrap();
        all_home(&mut runtime, rest);
    });
}

#[test]
fn rule_07_a_connect_cancelled_too_late_leaves_no_socket() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        let listener = std::net::TcpListener::bind(any()).unwrap();
        let address = listener.local_addr().unwrap();
        for polls in 0..3 {
            let connect = runtime.spawn(zcn::timeout(
                Duration::from_micros(50 * polls),
                TcpStream::connect(address),
            ));
            let outcome = runtime.block_on(connect).unwrap();
            drop(outcome);
        }
        listener.set_nonblocking(true).unwrap();
        run_for(&mut runtime, Duration::from_millis(20));
        // Those that reached the peer have ended there too.
        while let Ok((mut peer, _)) = listener.accept() {
            peer.set_nonblocking(false).unwrap();
            peer.set_read_timeout(Some(common::HANG)).unwrap();
            assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
        }
        all_home(&mut runtime, rest);
    });
}

#[test]
fn rule_15_a_timeout_and_its_receive_may_end_in_either_order() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        runtime
            .block_on(async {
                let (one, other) = zcn::UnixStream::pair().unwrap();
                let mut sent = 0u32;
                let mut received = 0u32;
                for round in 0..200u64 {
                    let limit = Duration::from_micros(round % 7 * 40);
                    if round % 3 == 0 {
                        other.send_copy(&[1]).await.unwrap();
                        sent += 1;
                    }
                    if let Ok(buf) = zcn::timeout(limit, one.recv()).await {
                        received += buf.unwrap().unwrap().len() as u32;
                    }
                }
                drop(other);
                while let Some(buf) = one.recv().await.unwrap() {
                    received += buf.len() as u32;
                }
                assert_eq!(received, sent, "{kind:?}: bytes were lost to a timeout");
            })
            .unwrap();
        all_home(&mut runtime, rest);
    });
}

/// Owns bytes that are sent, and uses the runtime in its destructor.
struct Owner(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Each of them borrows the reactor, if there is a runtime on this thread.
        let _ = (zcn::stats(), zcn::buffer(), UdpSocket::bind(any()));
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn rule_16_the_owner_of_sent_bytes_is_dropped_with_nothing_borrowed() {
    for_each_reactor(|kind| {
        let mut runtime = builder(kind).zero_copy(ZeroCopy::Always).build().unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let made = Rc::new(Cell::new(0));
        let owned = {
            let (dropped, made) = (dropped.clone(), made.clone());
            move |len: usize| {
                made.set(made.get() + 1);
                bytes::Bytes::from_owner(Owner(pattern(len, 1), dropped.clone()))
            }
        };
        let all_dropped = |runtime: &mut zcn::Runtime, what: &str| {
            run_until(runtime, what, |_| {
                dropped.load(Ordering::Relaxed) == made.get()
            });
        };
        let (listener, one, mut other) = runtime
            .block_on(async {
                let listener = TcpListener::bind(any()).unwrap();
                let one = TcpStream::connect(listener.local_addr()).await.unwrap();
                let (other, _) = listener.accept().await.unwrap();
                // Sent, in one piece and in a gathered one; small, and without a copy.
                for len in [10, 20, 30, 40_000] {
                    one.send(owned(len)).await.unwrap();
                }
                one.flush().await.unwrap();
                let mut left = 40_060;
                while left > 0 {
                    left -= other.recv().await.unwrap().unwrap().len();
                }
                (listener, one, Some(other))
            })
            .unwrap();
        all_dropped(&mut runtime, "sent");

        // Queued behind what the peer does not take, when the connection is cut.
        runtime
            .block_on(async {
                let _ = zcn::timeout(Duration::from_millis(50), async {
                    loop {
                        one.send(owned(60_000)).await.unwrap();
                    }
                })
                .await;
                one.abort();
            })
            .unwrap();
        all_dropped(&mut runtime, "cut");
        drop((other.take(), listener));

        // Datagrams: sent, and refused by a socket that is closed with its queue full.
        runtime
            .block_on(async {
                let socket = UdpSocket::bind_with(any(), &UdpOptions::default()).unwrap();
                let peer = socket.local_addr();
                for _ in 0..20 {
                    socket.send_to(owned(1000), peer).await.unwrap();
                }
            })
            .unwrap();
        all_dropped(&mut runtime, "datagrams");

        // By a server, from a callback that ends the connection at once.
        let make = owned.clone();
        let (_server, address) = script(
            &runtime,
            Script {
                data: Box::new(move |conn, _| {
                    for _ in 0..3 {
                        conn.send(make(50_000)).unwrap();
                    }
                    conn.abort();
                }),
                ..Script::default()
            },
        );
        let mut stream = client(address);
        let before = made.get();
        stream.write_all(b"go").unwrap();
        run_until(&mut runtime, "asked", |_| made.get() == before + 3);
        all_dropped(&mut runtime, "aborted");

        // Still queued and in flight when the runtime ends.
        let listener = std::net::TcpListener::bind(any()).unwrap();
        let address = listener.local_addr().unwrap();
        let kept = runtime
            .block_on(async {
                let stream = TcpStream::connect(address).await.unwrap();
                let _ = zcn::timeout(Duration::from_millis(50), async {
                    loop {
                        stream.send(owned(60_000)).await.unwrap();
                    }
                })
                .await;
                stream
            })
            .unwrap();
        let peer = listener.accept().unwrap();
        drop(runtime);
        drop((kept, peer));
        assert_eq!(
            dropped.load(Ordering::Relaxed),
            made.get(),
            "{kind:?}: at the end"
        );
    });
}
