//! The async face: connect, accept, ends, resets, order, several tasks on one stream.

mod common;

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{
    all_home, any, any_of_kernel, at_rest, client, for_each_half, for_each_half_with_peers,
    for_each_reactor, pattern, runtime,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use zcn::{
    ConnectOptions, Runtime, SharedBuf, Sleep, TcpListener, TcpStream, UnixListener, UnixStream,
};

/// Two ends of one TCP connection, both zcn's.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(any()).unwrap();
    let address = listener.local_addr();
    let dialled = zcn::spawn(async move { TcpStream::connect(address).await.unwrap() });
    let (accepted, _) = listener.accept().await.unwrap();
    (dialled.await.unwrap(), accepted)
}

/// Runs the scenario on the two ends of a connection. What it took of the runtime must be back at
/// its end.
fn on_a_pair(ground: impl Into<common::Ground>, scenario: impl AsyncFnOnce(TcpStream, TcpStream)) {
    let mut runtime = runtime(ground);
    let rest = at_rest(&mut runtime);
    runtime
        .block_on(async {
            let (one, other) = pair().await;
            scenario(one, other).await;
        })
        .unwrap();
    all_home(&mut runtime, rest);
}

#[test]
fn a_refused_connect_says_so() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let (_closed, free) = common::closed_port();
        let error = runtime
            .block_on(TcpStream::connect(free))
            .unwrap()
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        assert_eq!(error.fault(), zcn::Fault::Peer);
        let text = error.to_string();
        assert!(
            text.contains(&format!("cannot connect to {free}")),
            "{text}"
        );
        assert!(text.contains("nothing listens there"), "{text}");
    });
}

/// A listener whose backlog is full, so that a connect to it hangs; with what fills it.
fn full_listener() -> (StdListener, Vec<socket2::Socket>, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&any_of_kernel().into()).unwrap();
    socket.listen(1).unwrap();
    let listener = StdListener::from(socket);
    let address = listener.local_addr().unwrap();
    let fill = (0..8)
        .map(|_| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            // In progress, and mostly staying so.
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    (listener, fill, address)
}

#[test]
fn a_connect_gives_up_after_its_time() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let (_listener, _fill, address) = full_listener();
        let rest = at_rest(&mut runtime);
        let error = runtime
            .block_on(async move {
                let mut options = ConnectOptions::default();
                options.timeout = Some(Duration::from_millis(50));
                TcpStream::connect_with(address, &options).await
            })
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        all_home(&mut runtime, rest);
    });
}

#[test]
fn both_halves_close_independently() {
    for_each_half_with_peers(|kind| {
        on_a_pair(kind, async |one, other| {
            one.send_copy(b"question").await.unwrap();
            one.shutdown();
            let mut question = [0; 8];
            other.read_exact(&mut question).await.unwrap();
            assert!(other.recv().await.unwrap().is_none());
            assert!(one.send_copy(b"more").await.is_err());
            // The other half still works, long after the end of the first.
            let answer = pattern(2 << 20, 3);
            let sender = {
                let answer = answer.clone();
                zcn::spawn(async move {
                    other.send_copy(&answer).await.unwrap();
                    other.shutdown();
                    other.flush().await.unwrap();
                })
            };
            let mut received = Vec::new();
            while let Some(buf) = one.recv().await.unwrap() {
                received.extend_from_slice(&buf);
            }
            assert!(received == answer);
            assert!(one.recv().await.unwrap().is_none(), "the end stays the end");
            sender.await.unwrap();
        });
    });
}

#[test]
fn a_reset_is_told_to_receivers_senders_and_flushers() {
    for_each_half_with_peers(|kind| {
        on_a_pair(kind, async |one, other| {
            let one = Rc::new(one);
            let tasks: Vec<_> = (0..3)
                .map(|what| {
                    let one = one.clone();
                    zcn::spawn(async move {
                        match what {
                            0 => while one.recv().await?.is_some() {},
                            1 => loop {
                                one.send_copy(&[1; 50_000]).await?;
                            },
                            _ => loop {
                                one.flush().await?;
                                zcn::sleep(Duration::from_millis(1)).await;
                            },
                        }
                        Ok::<(), zcn::Error>(())
                    })
                })
                .collect();
            zcn::sleep(Duration::from_millis(20)).await;
            other.abort();
            for task in tasks {
                let error = task.await.unwrap().unwrap_err();
                let errno = error.raw_os_error().unwrap();
                assert!([libc::ECONNRESET, libc::EPIPE].contains(&errno), "{error}");
            }
        });
    });
}

#[test]
fn rule_10_messages_arrive_in_order_through_tiny_socket_buffers() {
    for_each_reactor(|kind| {
        on_a_pair(kind, async |one, other| {
            one.with_socket(|socket| socket.set_send_buffer_size(16_000))
                .unwrap();
            let sent = pattern(2 << 20, 5);
            let expected = sent.clone();
            let sender = zcn::spawn(async move {
                let bytes = bytes::Bytes::from(sent);
                let mut at = 0;
                let mut step = 1;
                // Pieces of every size, single and gathered, owned by bytes and by the pool.
                while at < bytes.len() {
                    let end = (at + step).min(bytes.len());
                    if step % 3 == 0 {
                        one.send_copy(&bytes[at..end]).await.unwrap();
                    } else {
                        one.send(bytes.slice(at..end)).await.unwrap();
                    }
                    at = end;
                    step = (step * 5 + 1) % 300_001;
                }
                one.shutdown();
                one.flush().await.unwrap();
            });
            let mut at = 0;
            while let Some(buf) = other.recv().await.unwrap() {
                assert!(buf[..] == expected[at..at + buf.len()], "{kind:?}: at {at}");
                at += buf.len();
            }
            assert_eq!(at, expected.len());
            sender.await.unwrap();
        });
    });
}

#[test]
fn now_is_when_this_turn_ended_its_wait() {
    assert!(zcn::now().is_none());
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let done = runtime.block_on(async {
            let before = zcn::now().expect("a runtime");
            zcn::sleep(Duration::from_millis(5)).await;
            let after = zcn::now().expect("a runtime");
            assert!(before < after && after <= Instant::now());
        });
        done.unwrap();
    });
}

#[test]
fn now_is_when_bytes_were_seen_that_a_spinning_loop_has_fetched() {
    let listener = StdListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = Vec::new();
        let mut answer = [0];
        for _ in 0..20 {
            // Seldom enough that a turn of the loop lies far back.
            std::thread::sleep(Duration::from_millis(1));
            sent.push(Instant::now());
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut answer).unwrap();
        }
        sent
    });
    let spin = Sleep::Spin(Duration::from_secs(20));
    let mut runtime = Runtime::builder().sleep(spin).build().unwrap();
    let seen = runtime.block_on(async move {
        // Such a task is polled without a turn in between.
        let task = zcn::spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut seen = Vec::new();
            while let Some(bytes) = stream.recv().await.unwrap() {
                seen.push((zcn::now().expect("a runtime"), Instant::now()));
                stream.send_copy(&bytes).await.unwrap();
            }
            seen
        });
        task.await.unwrap()
    });
    let sent = peer.join().unwrap();
    let seen = seen.unwrap();
    assert_eq!(seen.len(), sent.len());
    for (sent, (seen, told)) in sent.into_iter().zip(seen) {
        assert!(sent <= seen && seen <= told, "seen before it was sent");
    }
}

#[test]
fn several_tasks_may_send_and_flush_on_one_stream() {
    // One waker for all of them was a lost wake-up for all but one.
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        runtime
            .block_on(async {
                let (one, other) = pair().await;
                let one = Rc::new(one);
                let tasks: Vec<_> = (0..8u8)
                    .map(|number| {
                        let one = one.clone();
                        zcn::spawn(async move {
                            for _ in 0..20 {
                                one.send_copy(&[number; 16_000]).await.unwrap();
                                one.flush().await.unwrap();
                            }
                        })
                    })
                    .collect();
                let mut counts = [0usize; 8];
                while counts.iter().sum::<usize>() < 8 * 20 * 16_000 {
                    let buf = other.recv().await.unwrap().unwrap();
                    buf.iter()
                        .for_each(|&number| counts[usize::from(number)] += 1);
                }
                assert_eq!(counts, [20 * 16_000; 8]);
                for task in tasks {
                    task.await.unwrap();
                }
            })
            .unwrap();
    });
}

#[test]
fn an_abort_wakes_those_who_wait_on_the_stream() {
    // `abort` could not be called through a `TcpStream` at all.
    for_each_half_with_peers(|kind| {
        on_a_pair(kind, async |one, other| {
            let one = Rc::new(one);
            let same = one.clone();
            let receiver = zcn::spawn(async move { same.recv().await });
            let same = one.clone();
            let sender = zcn::spawn(async move {
                loop {
                    same.send_copy(&[0; 30_000]).await?;
                }
                #[allow(unreachable_code)]
                Ok::<(), zcn::Error>(())
            });
            zcn::sleep(Duration::from_millis(10)).await;
            one.abort();
            assert!(receiver.await.unwrap().is_err());
            assert!(sender.await.unwrap().is_err());
            let mut outcome = Ok(None);
            while let Ok(Some(_)) | Ok(None) = outcome {
                outcome = other.recv().await;
            }
            let error = outcome.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        });
    });
}

#[test]
fn every_kind_of_slice_can_be_sent() {
    for_each_half_with_peers(|kind| {
        on_a_pair(kind, async |one, other| {
            let mut buf = zcn::buffer().unwrap();
            buf.extend_from_slice(b"buf ").unwrap();
            one.send(buf).await.unwrap();
            one.send(&b"static "[..]).await.unwrap();
            one.send(SharedBuf::from_static(b"shared ")).await.unwrap();
            one.send(bytes::Bytes::from(b"bytes ".to_vec()))
                .await
                .unwrap();
            one.send(SharedBuf::new()).await.unwrap();
            let mut buf = zcn::buffer().unwrap();
            buf.extend_from_slice(b"half other").unwrap();
            let mut half = SharedBuf::from(buf);
            let other_half = half.split_off(5);
            one.send(half).await.unwrap();
            one.send(other_half.clone()).await.unwrap();
            one.send(other_half).await.unwrap();
            drop(one);
            let mut text = Vec::new();
            while let Some(buf) = other.recv().await.unwrap() {
                text.extend_from_slice(&buf);
            }
            assert_eq!(text, b"buf static shared bytes half otherother");
        });
    });
}

#[test]
fn dropping_a_stream_sends_what_is_queued() {
    for_each_half_with_peers(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        let listener = StdListener::bind(any_of_kernel()).unwrap();
        let address = listener.local_addr().unwrap();
        let reader = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            received
        });
        let sent = pattern(4 << 20, 9);
        let copy = bytes::Bytes::from(sent.clone());
        runtime
            .block_on(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.send(copy).await.unwrap();
            })
            .unwrap();
        common::run_until(&mut runtime, "read", |_| reader.is_finished());
        assert!(reader.join().unwrap() == sent);
        all_home(&mut runtime, rest);
    });
}

#[test]
fn a_non_blocking_socket_of_the_standard_library_is_taken() {
    // The ring answers EAGAIN on such a socket: receives span, sends lost what they carried.
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let listener = StdListener::bind(any()).unwrap();
        let mut peer = client(listener.local_addr().unwrap());
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let sent = pattern(6 << 20, 2);
        let expected = sent.clone();
        let thread = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            assert!(received == expected);
            peer.write_all(b"done").unwrap();
        });
        runtime
            .block_on(async move {
                let stream = TcpStream::from_std(stream).unwrap();
                stream.send_copy(&sent).await.unwrap();
                stream.shutdown();
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"done");
            })
            .unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn bytes_put_back_come_first() {
    for_each_half_with_peers(|kind| {
        runtime(kind)
            .block_on(async {
                let (one, other) = pair().await;
                one.send_copy(b"head body").await.unwrap();
                one.flush().await.unwrap();
                let mut buf = other.recv().await.unwrap().unwrap();
                assert_eq!(&buf[..5], b"head ");
                buf.advance(5);
                other.unread(buf);
                let mut body = [0; 4];
                other.read_exact(&mut body).await.unwrap();
                assert_eq!(&body, b"body");
                drop(one);
                let error = other.read_exact(&mut body).await.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
            })
            .unwrap();
    });
}

#[test]
fn options_reach_the_socket() {
    for_each_reactor(|kind| {
        runtime(kind)
            .block_on(async {
                let (one, other) = pair().await;
                for stream in [&one, &other] {
                    assert!(stream.with_socket(|socket| socket.tcp_nodelay()).unwrap());
                    stream.set_nodelay(false).unwrap();
                    assert!(!stream.with_socket(|socket| socket.tcp_nodelay()).unwrap());
                    stream.set_keepalive(Duration::from_secs(77)).unwrap();
                    let time = stream.with_socket(|socket| socket.tcp_keepalive_time());
                    assert_eq!(time.unwrap(), Duration::from_secs(77));
                }
                assert_eq!(one.local_addr().unwrap(), other.peer_addr().unwrap());
                assert_eq!(one.peer_addr().unwrap(), other.local_addr().unwrap());
                let mut options = ConnectOptions::default();
                options.congestion = Some("reno".into());
                options.local = Some(([127, 0, 0, 2], 0).into());
                let listener = TcpListener::bind(any()).unwrap();
                let stream = TcpStream::connect_with(listener.local_addr(), &options)
                    .await
                    .unwrap();
                assert_eq!(
                    stream.local_addr().unwrap().ip().unwrap().ip().to_string(),
                    "127.0.0.2"
                );
                let name = stream
                    .with_socket(|socket| socket.tcp_congestion())
                    .unwrap();
                assert!(name.starts_with(b"reno"));
            })
            .unwrap();
    });
}

#[test]
fn ipv6_works_like_ipv4() {
    if StdListener::bind("[::1]:0").is_err() {
        return common::skipped("no IPv6 loopback here");
    }
    for_each_half(|kind| {
        runtime(kind)
            .block_on(async {
                let listener = TcpListener::bind("[::1]:0".parse().unwrap()).unwrap();
                let stream = TcpStream::connect(listener.local_addr()).await.unwrap();
                let (accepted, peer) = listener.accept().await.unwrap();
                assert!(peer.is_ipv6());
                stream.send_copy(b"six").await.unwrap();
                assert_eq!(&accepted.recv().await.unwrap().unwrap()[..], b"six");
            })
            .unwrap();
    });
}

#[test]
fn a_pair_of_unix_streams_carries_large_messages() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        runtime
            .block_on(async {
                let (one, other) = UnixStream::pair().unwrap();
                let sent = pattern(8 << 20, 1);
                let copy = sent.clone();
                let sender = zcn::spawn(async move { one.send_copy(&copy).await.unwrap() });
                let mut received = Vec::new();
                while let Some(buf) = other.recv().await.unwrap() {
                    received.extend_from_slice(&buf);
                }
                assert!(received == sent);
                sender.await.unwrap();
            })
            .unwrap();
        all_home(&mut runtime, rest);
    });
}

#[test]
fn dropping_a_listener_ends_those_in_its_queue() {
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        let mut waiting = runtime
            .block_on(async {
                let listener = TcpListener::bind(any()).unwrap();
                let waiting = client(listener.local_addr());
                zcn::sleep(Duration::from_millis(10)).await;
                waiting
            })
            .unwrap();
        common::run_for(&mut runtime, Duration::from_millis(10));
        assert!(matches!(waiting.read(&mut [0]), Ok(0) | Err(_)));
        assert!(std::net::TcpStream::connect(waiting.peer_addr().unwrap_or(any())).is_err());
    });
}

/// Lets a connection come to rest: no event of its beginning is left to come.
async fn settled(stream: &zcn::Stream, mut theirs: impl Write) {
    for _ in 0..3 {
        theirs.write_all(b"x").unwrap();
        assert_eq!(&stream.recv().await.unwrap().unwrap()[..], b"x");
        zcn::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn a_receive_that_ends_early_leaves_nothing_behind() {
    // What comes behind a passed descriptor or urgent data is received apart; on epoll a short
    // receive was taken to have emptied the socket, and the rest waited for more to come.
    for_each_reactor(|kind| {
        let mut runtime = runtime(kind);
        runtime
            .block_on(async {
                let path = std::env::temp_dir()
                    .join(format!("zcn-passed-{kind:?}-{}", std::process::id()));
                let listener = UnixListener::bind(&path).unwrap();
                let theirs = std::os::unix::net::UnixStream::connect(&path).unwrap();
                let stream = listener.accept().await.unwrap();
                std::fs::remove_file(&path).unwrap();
                settled(&stream, &theirs).await;
                let passed = [theirs.as_fd()];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                for part in [&b"before "[..], b"with ", b"behind"] {
                    let mut control = SendAncillaryBuffer::new(&mut space);
                    if part == b"with " {
                        assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
                    }
                    let parts = [IoSlice::new(part)];
                    rustix::net::sendmsg(&theirs, &parts, &mut control, SendFlags::empty())
                        .unwrap();
                }
                let mut all = [0; 18];
                stream.read_exact(&mut all).await.unwrap();
                assert_eq!(&all, b"before with behind");

                let listener = TcpListener::bind(any()).unwrap();
                let theirs = StdStream::connect(listener.local_addr()).unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                settled(&stream, &theirs).await;
                let socket = socket2::SockRef::from(&theirs);
                socket.send(b"before ").unwrap();
                // Its last byte is the urgent one, which is not received with the others.
                socket.send_out_of_band(b"mark!").unwrap();
                socket.send(b" behind").unwrap();
                let mut all = [0; 18];
                stream.read_exact(&mut all).await.unwrap();
                assert_eq!(&all, b"before mark behind");
            })
            .unwrap();
    });
}
