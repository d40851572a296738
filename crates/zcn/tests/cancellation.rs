//! Futures dropped at every await point while their operations are in flight.

mod common;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use common::{all_home, any, at_rest, for_each_reactor, pattern, runtime};
use zcn::{TcpListener, TcpStream, UnixStream};

/// Polls a future at most `polls` times, then drops it; whether it had ended by itself.
async fn poll_times(future: impl Future<Output = ()>, polls: usize) -> bool {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        let done = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if done {
            return true;
        }
        // Lets the reactor go on: operations are started, and some of them end.
        zcn::sleep(Duration::from_micros(300)).await;
    }
    false
}

const WHAT: [&str; 12] = [
    "recv",
    "read",
    "read_exact",
    "send",
    "send_copy",
    "flush",
    "connect",
    "accept",
    "sleep",
    "timeout",
    "pair",
    "stopped",
];

async fn act(what: &str, stream: &UnixStream, listener: &TcpListener, full: &UnixStream) {
    // How an operation on a stream ends does not matter here, only what it leaves behind.
    match what {
        "recv" => drop(stream.recv().await),
        "read" => drop(stream.read(&mut [0; 100]).await),
        "read_exact" => drop(stream.read_exact(&mut [0; 100_000]).await),
        "send" => loop {
            if full
                .send(bytes::Bytes::from(vec![1; 100_000]))
                .await
                .is_err()
            {
                return;
            }
        },
        "send_copy" => drop(full.send_copy(&pattern(3 << 20, 1)).await),
        "flush" => {
            let _ = full.send(bytes::Bytes::from(vec![1; 200_000])).await;
            let _ = full.flush().await;
        }
        "connect" => {
            let dialled = TcpStream::connect(listener.local_addr()).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            dialled.send_copy(b"hello").await.unwrap();
            drop(accepted.recv().await);
        }
        "accept" => drop(listener.accept().await),
        "sleep" => zcn::sleep(Duration::from_millis(2)).await,
        "timeout" => drop(zcn::timeout(Duration::from_millis(2), stream.recv()).await),
        "pair" => {
            let (one, other) = UnixStream::pair().unwrap();
            let both = zcn::spawn(async move {
                let _ = one.send_copy(&[3; 400_000]).await;
            });
            while other.recv().await.is_ok_and(|buf| buf.is_some()) {}
            both.await;
        }
        _ => std::future::pending().await,
    }
}

#[test]
fn rule_01_a_dropped_future_leaves_nothing_behind_wherever_it_is_dropped() {
    for_each_reactor(|kind| {
        for what in WHAT {
            let mut runtime = runtime(kind);
            let rest = at_rest(&mut runtime);
            runtime
                .block_on(async {
                    for polls in 0..8 {
                        let listener = TcpListener::bind(any()).unwrap();
                        let (stream, peer) = UnixStream::pair().unwrap();
                        let (full, deaf) = UnixStream::pair().unwrap();
                        poll_times(act(what, &stream, &listener, &full), polls).await;
                        // What was not received is still there for the next receive.
                        peer.send_copy(b"still here").await.unwrap();
                        let mut text = [0; 10];
                        stream.read_exact(&mut text).await.unwrap();
                        assert_eq!(&text, b"still here", "{kind:?} {what} {polls}");
                        deaf.abort();
                    }
                })
                .unwrap();
            all_home(&mut runtime, rest);
            assert_eq!(runtime.stats().reactor.stale_completions, 0, "{what}");
        }
    });
}

#[test]
fn rule_04_a_runtime_dropped_in_the_middle_of_everything_gets_it_all_back() {
    for_each_reactor(|kind| {
        for turns in 0..12 {
            let mut runtime = runtime(kind);
            let pool = runtime.pool();
            let witness = Rc::new(());
            for what in WHAT {
                let witness = witness.clone();
                runtime.spawn(async move {
                    let _witness = witness;
                    let listener = TcpListener::bind(any()).unwrap();
                    let (stream, _peer) = UnixStream::pair().unwrap();
                    let (full, _deaf) = UnixStream::pair().unwrap();
                    act(what, &stream, &listener, &full).await;
                });
            }
            for _ in 0..turns {
                runtime.run_for(Duration::from_millis(1)).unwrap();
            }
            drop(runtime);
            assert_eq!(Rc::strong_count(&witness), 1, "{kind:?}: a task lives on");
            assert_eq!(pool.stats().in_use, 0, "{kind:?} after {turns} turns");
        }
    });
}

#[test]
fn a_stream_that_outlives_its_runtime_is_harmless() {
    for_each_reactor(|kind| {
        let mut first = runtime(kind);
        let pool = first.pool();
        let (one, other) = first
            .block_on(async { UnixStream::pair().unwrap() })
            .unwrap();
        drop(first);
        let mut second = runtime(kind);
        let error = second.block_on(one.recv()).unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
        assert!(second.block_on(one.send_copy(b"x")).unwrap().is_err());
        assert!(second.block_on(other.flush()).unwrap().is_err());
        drop((one, other));
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn a_stream_of_one_runtime_may_be_dropped_in_another() {
    for_each_reactor(|kind| {
        let mut first = runtime(kind);
        let rest = at_rest(&mut first);
        let mut second = runtime(kind);
        let (one, other) = first
            .block_on(async {
                let (one, other) = UnixStream::pair().unwrap();
                one.send_copy(b"parting").await.unwrap();
                (one, other)
            })
            .unwrap();
        second
            .block_on(async move {
                let task = zcn::spawn(async move { drop(one) });
                task.await.unwrap();
            })
            .unwrap();
        let text = first.block_on(other.recv()).unwrap().unwrap().unwrap();
        assert_eq!(&text[..], b"parting");
        drop((text, other));
        all_home(&mut first, rest);
    });
}

#[test]
fn a_future_may_be_polled_by_another_task_than_began_it() {
    for_each_reactor(|kind| {
        runtime(kind)
            .block_on(async {
                let (one, other) = UnixStream::pair().unwrap();
                let one = Rc::new(one);
                let same = one.clone();
                let mut begun: Pin<Box<dyn Future<Output = Vec<u8>>>> =
                    Box::pin(async move { same.recv().await.unwrap().unwrap().to_vec() });
                poll_fn(|context| Poll::Ready(begun.as_mut().poll(context).is_ready())).await;
                let moved = zcn::spawn(begun);
                zcn::sleep(Duration::from_millis(2)).await;
                other.send_copy(b"moved").await.unwrap();
                assert_eq!(moved.await.unwrap(), b"moved");
            })
            .unwrap();
    });
}
