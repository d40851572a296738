//! Values go from one core to another, in order and bounded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use zcn::handoff::{self, TryRecvError, TrySendError};
use zcn::{ReactorKind, Runtime, TcpStream};

fn kinds() -> [ReactorKind; 2] {
    [ReactorKind::Uring, ReactorKind::Epoll]
}

fn runtime(kind: ReactorKind) -> Runtime {
    Runtime::builder()
        .reactor(kind)
        .buffers(64)
        .receive_buffers(16)
        .build()
        .unwrap()
}

#[test]
fn a_full_queue_refuses_and_gives_the_value_back() {
    let (mut sender, mut receiver) = handoff::bounded(2);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    sender.try_send(1).unwrap();
    sender.try_send(2).unwrap();
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    assert_eq!((sender.len(), sender.capacity()), (2, 2));
    assert_eq!(receiver.try_recv(), Ok(1));
    sender.try_send(3).unwrap();
    drop(sender);
    assert_eq!(receiver.try_recv(), Ok(2));
    assert_eq!(receiver.try_recv(), Ok(3));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn values_of_a_dropped_queue_are_dropped() {
    let value = Arc::new(());
    let (mut sender, receiver) = handoff::bounded(4);
    sender.try_send(value.clone()).unwrap();
    sender.try_send(value.clone()).unwrap();
    drop(receiver);
    assert_eq!(Arc::strong_count(&value), 1);
    assert!(sender.is_closed());
    assert!(matches!(
        sender.try_send(value.clone()),
        Err(TrySendError::Closed(_))
    ));
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_dropped_send_has_sent_nothing() {
    let (mut sender, mut receiver) = handoff::bounded(1);
    sender.try_send(1).unwrap();
    {
        let mut send = std::pin::pin!(sender.send(2));
        let mut context = Context::from_waker(Waker::noop());
        assert!(send.as_mut().poll(&mut context).is_pending());
    }
    {
        let mut recv = std::pin::pin!(receiver.recv());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(recv.as_mut().poll(&mut context), Poll::Ready(Some(1)));
    }
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn many_values_cross_two_runtimes_in_order() {
    const COUNT: u64 = 50_000;
    for kind in kinds() {
        let (mut sender, mut receiver) = handoff::bounded(16);
        let sending = std::thread::spawn(move || {
            runtime(kind)
                .block_on(async move {
                    for value in 0..COUNT {
                        sender.send(value).await.unwrap();
                    }
                })
                .unwrap();
        });
        runtime(kind)
            .block_on(async {
                for value in 0..COUNT {
                    assert_eq!(receiver.recv().await, Some(value));
                }
                assert_eq!(receiver.recv().await, None);
            })
            .unwrap();
        sending.join().unwrap();
    }
}

#[test]
fn a_waiting_sender_is_told_that_the_receiver_is_gone() {
    let (mut sender, receiver) = handoff::bounded(1);
    sender.try_send(1).unwrap();
    let dropping = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        drop(receiver);
    });
    let sent = runtime(ReactorKind::Auto).block_on(sender.send(2)).unwrap();
    assert_eq!(sent.unwrap_err().0, 2);
    dropping.join().unwrap();
}

/// One core accepts, another serves.
#[test]
fn accepted_connections_are_served_by_another_core() {
    for kind in kinds() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (mut sender, mut receiver) = handoff::bounded::<StdStream>(4);
        let accepting = std::thread::spawn(move || {
            runtime(kind)
                .block_on(async move {
                    for _ in 0..20 {
                        let (stream, _) = listener.accept().unwrap();
                        sender.send(stream).await.unwrap();
                    }
                })
                .unwrap();
        });
        let serving = std::thread::spawn(move || {
            runtime(kind)
                .block_on(async move {
                    let mut tasks = Vec::new();
                    while let Some(stream) = receiver.recv().await {
                        tasks.push(zcn::spawn(async move {
                            let stream = TcpStream::from_std(stream).unwrap();
                            while let Some(buf) = stream.recv().await.unwrap() {
                                stream.send(buf).await.unwrap();
                            }
                        }));
                    }
                    let count = tasks.len();
                    for task in tasks {
                        task.await.unwrap();
                    }
                    assert_eq!(count, 20);
                })
                .unwrap();
        });
        for number in 0..20u8 {
            let mut stream = StdStream::connect(address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            stream.write_all(&[number; 100]).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert_eq!(back, [number; 100]);
        }
        accepting.join().unwrap();
        serving.join().unwrap();
    }
}
