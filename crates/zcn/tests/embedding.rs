//! A runtime inside another event loop, and clients with callbacks: bounded polls, the descriptor
//! to wait on, wake-ups, sends by id.

mod common;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{HANG, any, builder, client, closed_port, for_each_reactor, pattern, runtime};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zcn::stack::{LinkConfig, StackConfig};
use zcn::{
    Address, Attempt, Buf, ClientOptions, CloseReason, Conn, ConnId, Error, Handler, ReactorKind,
    Runtime, SendError, ServerOptions, SharedBuf, Target, TcpClient, TcpServer, WaterMarks,
};

/// What callbacks were told.
#[derive(Default)]
struct Seen {
    ids: Vec<ConnId>,
    data: Vec<u8>,
    /// Callbacks with data.
    pieces: usize,
    connected: Vec<Attempt>,
    failed: Vec<(Attempt, Option<i32>)>,
    writable: usize,
    closed: Vec<CloseReason>,
}

/// Notes everything, and answers what comes if it is to.
struct Noting {
    seen: Rc<RefCell<Seen>>,
    echo: bool,
}

impl Handler for Noting {
    type State = ();

    fn on_accept(&mut self, conn: &mut Conn<'_>, _: &Address) -> Option<()> {
        self.seen.borrow_mut().ids.push(conn.id());
        Some(())
    }

    fn on_connect(&mut self, conn: &mut Conn<'_>, _: &Address, attempt: Attempt) -> Option<()> {
        let mut seen = self.seen.borrow_mut();
        seen.ids.push(conn.id());
        seen.connected.push(attempt);
        Some(())
    }

    fn on_connect_failed(&mut self, attempt: Attempt, error: Error) {
        let errno = error.raw_os_error();
        self.seen.borrow_mut().failed.push((attempt, errno));
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
        let mut seen = self.seen.borrow_mut();
        seen.data.extend_from_slice(&data);
        seen.pieces += 1;
        if self.echo {
            conn.send(data).unwrap();
        }
    }

    fn on_writable(&mut self, _: &mut Conn<'_>, (): &mut ()) {
        self.seen.borrow_mut().writable += 1;
    }

    fn on_close(&mut self, _: ConnId, (): (), reason: CloseReason) {
        self.seen.borrow_mut().closed.push(reason);
    }
}

fn server(runtime: &Runtime, echo: bool) -> (TcpServer, Rc<RefCell<Seen>>) {
    let seen = Rc::<RefCell<Seen>>::default();
    let handler = Noting {
        seen: seen.clone(),
        echo,
    };
    let server = TcpServer::bind(runtime, any(), ServerOptions::default(), handler).unwrap();
    (server, seen)
}

fn tcp_client(runtime: &Runtime, options: ClientOptions) -> (TcpClient, Rc<RefCell<Seen>>) {
    let seen = Rc::<RefCell<Seen>>::default();
    let handler = Noting {
        seen: seen.clone(),
        echo: false,
    };
    (TcpClient::new(runtime, options, handler).unwrap(), seen)
}

/// Polls until `done`.
fn poll_until(runtime: &Runtime, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        runtime.poll(Duration::from_millis(20), usize::MAX).unwrap();
        assert!(start.elapsed() < HANG, "never: {what}");
    }
}

/// Whether the descriptor becomes readable in this time.
fn is_readable(runtime: &Runtime, limit: Duration) -> bool {
    let fd = runtime.wait_fd().unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = Timespec::try_from(limit).unwrap();
    poll(&mut fds, Some(&timeout)).unwrap() > 0
}

/// Sleeps as a foreign loop does; whether the descriptor became readable before the time was over.
fn sleep_elsewhere(runtime: &Runtime) -> bool {
    // Before the first time that it is to be told of something.
    runtime.wait_fd().unwrap();
    let until = runtime.prepare_to_sleep().unwrap();
    is_readable(runtime, until.unwrap_or(HANG).min(HANG))
}

#[test]
fn a_poll_hands_out_no_more_than_it_may() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        let (server, seen) = server(&runtime, false);
        let port = server.local_addr().ip().unwrap();
        let mut peers: Vec<_> = (0..6).map(|_| client(port)).collect();
        poll_until(&runtime, "six peers", || seen.borrow().ids.len() == 6);
        for peer in &mut peers {
            peer.write_all(b"x").unwrap();
        }
        let start = Instant::now();
        while seen.borrow().pieces < 6 {
            let before = seen.borrow().pieces;
            let told = runtime.poll(Duration::from_millis(20), 2).unwrap();
            let now = seen.borrow().pieces;
            assert!(told <= 2, "{kind:?}: {told}");
            assert!(now - before <= told, "{kind:?}");
            assert!(start.elapsed() < HANG);
        }
    });
}

#[test]
fn a_poll_inside_a_poll_is_refused() {
    struct Polling(Rc<RefCell<Option<Runtime>>>, Rc<RefCell<Vec<bool>>>);
    impl Handler for Polling {
        type State = ();
        fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
            // What a callback holds may reach the runtime, but not turn it.
            if let Some(runtime) = &*self.0.borrow() {
                let again = runtime.poll(Duration::ZERO, 1);
                self.1.borrow_mut().push(again.is_err());
            }
            None
        }
        fn on_data(&mut self, _: &mut Conn<'_>, (): &mut (), _: Buf) {}
    }
    for_each_reactor(|kind| {
        let shared = Rc::new(RefCell::new(Some(runtime(kind))));
        let refused = Rc::<RefCell<Vec<bool>>>::default();
        let handler = Polling(shared.clone(), refused.clone());
        let address = {
            let runtime = shared.borrow();
            let runtime = runtime.as_ref().unwrap();
            let server = TcpServer::bind(runtime, any(), ServerOptions::default(), handler);
            server.unwrap().local_addr().ip().unwrap()
        };
        let _peer = client(address);
        poll_until(shared.borrow().as_ref().unwrap(), "a refusal", || {
            !refused.borrow().is_empty()
        });
        assert_eq!(*refused.borrow(), [true]);
        drop(shared.borrow_mut().take());
    });
}

#[test]
fn the_descriptor_tells_of_peers_and_bytes() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        let (server, seen) = server(&runtime, true);
        let address = server.local_addr().ip().unwrap();
        let peer = std::thread::spawn(move || {
            let mut peer = client(address);
            for round in 0..20_u8 {
                peer.write_all(&[round; 100]).unwrap();
                let mut answer = [0; 100];
                peer.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [round; 100]);
            }
        });
        let start = Instant::now();
        while seen.borrow().closed.is_empty() {
            assert!(
                sleep_elsewhere(&runtime) || start.elapsed() < HANG,
                "{kind:?}"
            );
            runtime.poll(Duration::ZERO, usize::MAX).unwrap();
        }
        peer.join().unwrap();
        assert_eq!(seen.borrow().data.len(), 2000);
    });
}

#[test]
fn a_sleep_elsewhere_is_as_long_as_the_next_timer() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        // Nothing to do: no matter how long.
        runtime.poll(Duration::ZERO, usize::MAX).unwrap();
        assert_eq!(runtime.prepare_to_sleep().unwrap(), None, "{kind:?}");
        let done = Rc::new(RefCell::new(false));
        let entered = runtime.enter();
        let told = done.clone();
        drop(zcn::spawn(async move {
            zcn::sleep(Duration::from_millis(30)).await;
            *told.borrow_mut() = true;
        }));
        drop(entered);
        // A task that has not run yet is something to do at once.
        assert_eq!(runtime.prepare_to_sleep().unwrap(), Some(Duration::ZERO));
        runtime.poll(Duration::ZERO, usize::MAX).unwrap();
        let until = runtime.prepare_to_sleep().unwrap().expect("a timer");
        assert!(until <= Duration::from_millis(31), "{kind:?}: {until:?}");
        let before = runtime.now();
        while !*done.borrow() {
            sleep_elsewhere(&runtime);
            runtime.poll(Duration::ZERO, usize::MAX).unwrap();
        }
        assert!(runtime.now() > before);
    });
}

#[test]
fn a_wake_from_another_thread_ends_a_sleep_and_the_next_one() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        let handle = runtime.handle();
        // Before the wait: it ends at once.
        handle.wake();
        let start = Instant::now();
        runtime.poll(HANG, usize::MAX).unwrap();
        // During it.
        let waker = {
            let handle = handle.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                handle.wake();
            })
        };
        runtime.poll(HANG, usize::MAX).unwrap();
        waker.join().unwrap();
        // In a loop of others.
        runtime.wait_fd().unwrap();
        runtime.poll(Duration::ZERO, usize::MAX).unwrap();
        assert_eq!(runtime.prepare_to_sleep().unwrap(), None);
        handle.wake();
        assert!(is_readable(&runtime, HANG), "{kind:?}");
        runtime.poll(Duration::ZERO, usize::MAX).unwrap();
        assert!(start.elapsed() < HANG, "{kind:?}");
        // It outlives the runtime.
        drop(runtime);
        handle.wake();
    });
}

#[test]
fn sends_by_id_reach_the_connection_and_no_other() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        let (server, seen) = server(&runtime, false);
        let address = server.local_addr().ip().unwrap();
        let mut peer = client(address);
        poll_until(&runtime, "a peer", || seen.borrow().ids.len() == 1);
        let id = seen.borrow().ids[0];
        runtime.send_copy(id, b"copied ").unwrap();
        let long = pattern(100_000, 1);
        runtime.send_copy(id, &long).unwrap();
        runtime.send_copy(id, b"").unwrap();
        runtime.send(id, SharedBuf::from_static(b" lent")).unwrap();
        assert_eq!(
            runtime.conn(id).unwrap().unsent(),
            7 + long.len() + 5,
            "{kind:?}"
        );
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; 7 + 100_000 + 5];
            peer.read_exact(&mut all).unwrap();
            (peer, all)
        });
        poll_until(&runtime, "all sent", || reader.is_finished());
        let (peer, all) = reader.join().unwrap();
        assert_eq!(all, [b"copied ", &long[..], b" lent"].concat());
        drop(peer);
        poll_until(&runtime, "the end", || !seen.borrow().closed.is_empty());
        // Its place may have another by now; the id is void.
        let _other = client(address);
        poll_until(&runtime, "another peer", || seen.borrow().ids.len() == 2);
        let error = runtime.send_copy(id, b"late").unwrap_err();
        let SendError::Closed(bytes, error) = error else {
            panic!("{error:?}");
        };
        assert!(bytes.is_empty());
        assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));
        let kept = SharedBuf::from_static(b"mine");
        let error = runtime.send(id, kept.clone()).unwrap_err();
        assert!(matches!(error, SendError::Closed(bytes, _) if bytes == kept));
        assert!(runtime.conn(id).is_none());
    });
}

#[test]
fn a_full_queue_gives_back_what_it_refuses() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        let (server, seen) = server(&runtime, false);
        let mut peer = client(server.local_addr().ip().unwrap());
        poll_until(&runtime, "a peer", || seen.borrow().ids.len() == 1);
        let id = seen.borrow().ids[0];
        let marks = WaterMarks {
            high: 1000,
            low: 10,
        };
        runtime.conn(id).unwrap().set_marks(marks);
        // What begins below the mark goes whole, in however many buffers.
        runtime.send_copy(id, &pattern(50_000, 2)).unwrap();
        let refused = runtime.send_copy(id, b"x").unwrap_err();
        assert!(matches!(refused, SendError::Full(bytes) if bytes.is_empty()));
        let refused = runtime.send(id, SharedBuf::from_static(b"mine"));
        assert!(matches!(refused, Err(SendError::Full(bytes)) if &bytes[..] == b"mine"));
        assert!(!runtime.conn(id).unwrap().is_writable());
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; 50_000];
            peer.read_exact(&mut all).unwrap();
            assert_eq!(all, pattern(50_000, 2));
            peer
        });
        poll_until(&runtime, "room", || seen.borrow().writable == 1);
        runtime.send_copy(id, b"x").unwrap();
        poll_until(&runtime, "the reader", || reader.is_finished());
        drop(reader.join().unwrap());
    });
}

#[test]
fn a_client_tells_how_each_attempt_ended() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        let (server, theirs) = server(&runtime, true);
        let address = server.local_addr().ip().unwrap();
        let (_nobody, closed) = closed_port();
        let (client, ours) = tcp_client(&runtime, ClientOptions::default());
        let good = client.connect(address);
        let bad = client.connect(closed);
        let named = client.connect(Target::Host(format!("localhost:{}", address.port())));
        // Never from inside the call.
        assert!(ours.borrow().connected.is_empty() && ours.borrow().failed.is_empty());
        assert_eq!(client.attempts(), 3, "{kind:?}");
        poll_until(&runtime, "three outcomes", || client.attempts() == 0);
        poll_until(&runtime, "told", || {
            let seen = ours.borrow();
            seen.connected.len() + seen.failed.len() == 3
        });
        {
            let seen = ours.borrow();
            assert!(seen.connected.contains(&good) && seen.connected.contains(&named));
            assert_eq!(seen.failed, [(bad, Some(libc::ECONNREFUSED))], "{kind:?}");
        }
        let id = ours.borrow().ids[0];
        runtime.send_copy(id, b"hello").unwrap();
        poll_until(&runtime, "the echo", || ours.borrow().data == b"hello");
        assert_eq!(theirs.borrow().data, b"hello");
        let stats = client.stats();
        assert_eq!(
            (stats.accepted, stats.refused, stats.connections),
            (2, 1, 2)
        );
        client.shutdown(Duration::from_secs(1));
        poll_until(&runtime, "the end", || client.is_stopped());
        assert_eq!(ours.borrow().closed.len(), 2);
        // It is over: a further attempt ends, and there is no handler to hear of it.
        client.connect(address);
        poll_until(&runtime, "no attempt", || client.attempts() == 0);
        runtime.poll(Duration::ZERO, usize::MAX).unwrap();
        assert_eq!(ours.borrow().failed.len(), 1);
    });
}

#[test]
fn an_attempt_can_be_given_up() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        let (client, seen) = tcp_client(&runtime, ClientOptions::default());
        let (server, _) = server(&runtime, false);
        let attempt = client.connect(server.local_addr().ip().unwrap());
        client.cancel(attempt);
        client.cancel(attempt);
        poll_until(&runtime, "the end", || !seen.borrow().failed.is_empty());
        assert_eq!(
            seen.borrow().failed,
            [(attempt, Some(libc::ECANCELED))],
            "{kind:?}"
        );
        // One that has ended is nobody's any more.
        client.cancel(attempt);
        runtime.poll(Duration::ZERO, usize::MAX).unwrap();
        assert_eq!(seen.borrow().failed.len(), 1);
    });
}

#[test]
fn a_silent_connection_of_a_client_is_closed_in_time() {
    for_each_reactor(|kind| {
        let runtime = runtime(kind);
        let (server, _) = server(&runtime, false);
        let mut options = ClientOptions::default();
        options.idle_timeout = Some(Duration::from_millis(30));
        let (client, seen) = tcp_client(&runtime, options);
        client.connect(server.local_addr().ip().unwrap());
        poll_until(&runtime, "the end", || !seen.borrow().closed.is_empty());
        assert_eq!(seen.borrow().closed, [CloseReason::IdleTimeout], "{kind:?}");
    });
}

/// Bytes that a stack had at hand were given to a handler before those of an event that still
/// waited for the next poll.
#[test]
fn bytes_of_a_stack_keep_their_order_across_sleeps_elsewhere() {
    for_each_reactor(|kind: ReactorKind| {
        let runtime = builder(kind)
            .stack(StackConfig::new(LinkConfig::memory()))
            .build()
            .unwrap();
        let (server, theirs) = server(&runtime, true);
        let (client, ours) = tcp_client(&runtime, ClientOptions::default());
        client.connect(server.local_addr().ip().unwrap());
        poll_until(&runtime, "a connection", || ours.borrow().ids.len() == 1);
        let id = ours.borrow().ids[0];
        let sent = pattern(300_000, 3);
        let mut pieces = sent.chunks(1000).peekable();
        let start = Instant::now();
        while ours.borrow().data.len() < sent.len() {
            while let Some(piece) = pieces.peek() {
                match runtime.send_copy(id, piece) {
                    Ok(()) => drop(pieces.next()),
                    Err(SendError::Full(_) | SendError::NoBuffer) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            sleep_elsewhere(&runtime);
            runtime.poll(Duration::ZERO, 3).unwrap();
            assert!(start.elapsed() < HANG, "{kind:?}");
        }
        assert!(theirs.borrow().data == sent, "{kind:?}: on the way there");
        assert!(ours.borrow().data == sent, "{kind:?}: on the way back");
    });
}
