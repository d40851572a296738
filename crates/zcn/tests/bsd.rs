//! The calls of BSD on both halves: readiness, errors by number, one wake-up for many sockets.

mod common;

use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use common::{Ground, any, for_each_half, pattern, runtime};
use zcn::Runtime;
use zcn::bsd::{Interest, Kind, Mux, MuxEvent, SocketNumber, Sockets};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

fn errno<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> i32 {
    outcome.unwrap_err().raw_os_error().unwrap()
}

fn on_both(test: impl Fn(Ground, &mut Runtime, &Sockets, &Mux)) {
    for_each_half(|ground| {
        let mut runtime = runtime(ground);
        let sockets = Sockets::new(&runtime.net());
        let mux = sockets.mux().unwrap();
        test(ground, &mut runtime, &sockets, &mux);
        drop((sockets, mux));
        common::run_until(&mut runtime, "nothing left", |runtime| {
            let stats = runtime.stats();
            stats.connections == 0 && stats.udp_sockets == 0
        });
    });
}

fn listener(sockets: &Sockets) -> (SocketNumber, SocketAddr) {
    let listener = sockets.socket(Kind::Stream).unwrap();
    sockets.bind(listener, any()).unwrap();
    sockets.listen(listener, 1024).unwrap();
    (listener, sockets.local_addr(listener).unwrap())
}

/// Waits for the first event of a socket.
fn until(mux: &Mux, runtime: &mut Runtime, socket: SocketNumber, ready: Interest) -> Vec<MuxEvent> {
    let mut events = Vec::new();
    for _ in 0..1000 {
        mux.wait(runtime, PATIENCE, &mut events).unwrap();
        if events
            .iter()
            .any(|event| event.socket == socket && event.ready.contains(ready))
        {
            return events;
        }
    }
    panic!("{socket} is never {ready:?}: {events:?}");
}

/// Both ends of `count` connections, all watched for what can be read.
fn connected(
    runtime: &mut Runtime,
    sockets: &Sockets,
    mux: &Mux,
    count: usize,
) -> Vec<(SocketNumber, SocketNumber)> {
    let (listener, address) = listener(sockets);
    mux.add(listener, Interest::READABLE).unwrap();
    let pairs = (0..count)
        .map(|_| {
            let client = sockets.socket(Kind::Stream).unwrap();
            assert_eq!(errno(sockets.connect(client, address)), libc::EINPROGRESS);
            until(mux, runtime, listener, Interest::READABLE);
            let (served, peer) = sockets.accept(listener).unwrap();
            mux.add(client, Interest::WRITABLE).unwrap();
            until(mux, runtime, client, Interest::WRITABLE);
            assert_eq!(sockets.local_addr(client).unwrap(), peer);
            mux.modify(client, Interest::READABLE).unwrap();
            mux.add(served, Interest::READABLE).unwrap();
            (client, served)
        })
        .collect();
    sockets.close(listener).unwrap();
    pairs
}

#[test]
fn many_ready_sockets_are_one_wake_up() {
    const COUNT: usize = 200;
    on_both(|ground, runtime, sockets, mux| {
        let pairs = connected(runtime, sockets, mux, COUNT);
        let mut events = Vec::new();
        mux.events(&mut events);
        let before = mux.wakeups();
        for (client, _) in &pairs {
            assert_eq!(sockets.write(*client, b"x").unwrap(), 1);
        }
        // Nobody takes the wake-up for many turns in which sockets become ready.
        common::run_for(runtime, Duration::from_millis(30));
        assert_eq!(mux.wakeups() - before, 1, "{ground:?}");
        let mut readable = 0;
        while readable < COUNT {
            mux.wait(runtime, PATIENCE, &mut events).unwrap();
            assert!(!events.is_empty(), "{ground:?}: {readable} of {COUNT}");
            for event in &events {
                assert_eq!(sockets.read(event.socket, &mut [0; 8]).unwrap(), 1);
                readable += 1;
            }
        }
        mux.events(&mut events);
        assert!(events.is_empty(), "{ground:?}: {events:?}");
    });
}

#[test]
fn the_multiplexer_s_descriptor_wakes_another_loop() {
    on_both(|ground, runtime, sockets, mux| {
        let pairs = connected(runtime, sockets, mux, 1);
        let (client, served) = pairs[0];
        let mut events = Vec::new();
        mux.events(&mut events);
        let readable = || {
            let mut fds = [rustix::event::PollFd::from_borrowed_fd(
                mux.fd(),
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap() == 1
        };
        assert!(!readable(), "{ground:?}");
        sockets.write(client, b"news").unwrap();
        common::run_until(runtime, "readable", |_| readable());
        mux.events(&mut events);
        assert!(!readable(), "{ground:?}: taken back");
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].socket, served);
        // Levels: told of again until it is read.
        mux.events(&mut events);
        assert_eq!(events.len(), 1);
        assert_eq!(sockets.read(served, &mut [0; 8]).unwrap(), 4);
        mux.events(&mut events);
        assert!(events.is_empty());
    });
}

#[test]
fn a_transfer_goes_on_through_full_queues() {
    on_both(|ground, runtime, sockets, mux| {
        let pairs = connected(runtime, sockets, mux, 1);
        let (client, served) = pairs[0];
        mux.modify(client, Interest::WRITABLE).unwrap();
        let sent = pattern(5 << 20, 4);
        let (mut at, mut received, mut ended) = (0, Vec::new(), false);
        let mut refused = 0;
        let mut events = Vec::new();
        while !ended {
            mux.wait(runtime, PATIENCE, &mut events).unwrap();
            assert!(
                !events.is_empty(),
                "{ground:?}: stuck at {at}, {}",
                received.len()
            );
            for event in &events {
                if event.socket == client {
                    loop {
                        match sockets.write(client, &sent[at..]) {
                            Ok(count) => at += count,
                            Err(error) => {
                                assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
                                refused += 1;
                                break;
                            }
                        }
                        if at == sent.len() {
                            sockets.shutdown(client, Shutdown::Write).unwrap();
                            mux.modify(client, Interest::NONE).unwrap();
                            break;
                        }
                    }
                } else {
                    assert_eq!(event.socket, served);
                    let mut piece = [0; 100_000];
                    let count = sockets.read(served, &mut piece).unwrap();
                    received.extend_from_slice(&piece[..count]);
                    ended = count == 0;
                }
            }
        }
        assert!(refused > 0, "{ground:?}: the queue was never full");
        assert!(received == sent, "{ground:?}");
    });
}

#[test]
fn datagrams_by_number() {
    on_both(|ground, runtime, sockets, mux| {
        let server = sockets.socket(Kind::Datagram).unwrap();
        sockets.bind(server, any()).unwrap();
        let to = sockets.local_addr(server).unwrap();
        let client = sockets.socket(Kind::Datagram).unwrap();
        sockets.connect(client, to).unwrap();
        mux.add(server, Interest::READABLE).unwrap();
        mux.add(client, Interest::READABLE).unwrap();
        let mut into = [0; 100];
        assert_eq!(errno(sockets.read_from(server, &mut into)), libc::EAGAIN);
        for number in 0..20_u8 {
            assert_eq!(sockets.write(client, &[number; 50]).unwrap(), 50);
            until(mux, runtime, server, Interest::READABLE);
            let (count, peer) = sockets.read_from(server, &mut into).unwrap();
            assert_eq!(into[..count], [number; 50], "{ground:?}");
            sockets.write_to(server, b"back", peer).unwrap();
            until(mux, runtime, client, Interest::READABLE);
            assert_eq!(sockets.read(client, &mut into).unwrap(), 4);
        }
        assert_eq!(errno(sockets.recv(client)), libc::EOPNOTSUPP);
    });
}

#[test]
fn errors_have_the_kernel_s_numbers() {
    on_both(|ground, runtime, sockets, mux| {
        assert_eq!(errno(sockets.close(0)), libc::EBADF);
        assert_eq!(errno(sockets.read(-1, &mut [0])), libc::EBADF);
        let socket = sockets.socket(Kind::Stream).unwrap();
        assert_eq!(socket, 0, "the lowest free number");
        assert_eq!(errno(sockets.read(socket, &mut [0])), libc::ENOTCONN);
        assert_eq!(errno(sockets.write(socket, b"x")), libc::ENOTCONN);
        assert_eq!(errno(sockets.accept(socket)), libc::EINVAL);
        assert_eq!(errno(sockets.listen(socket, 1)), libc::EDESTADDRREQ);
        sockets.bind(socket, any()).unwrap();
        assert_eq!(errno(sockets.bind(socket, any())), libc::EINVAL);
        sockets.listen(socket, 1).unwrap();
        assert_eq!(errno(sockets.accept(socket)), libc::EAGAIN);
        let address = sockets.local_addr(socket).unwrap();
        let second = sockets.socket(Kind::Stream).unwrap();
        sockets.bind(second, address).unwrap();
        assert_eq!(errno(sockets.listen(second, 1)), libc::EADDRINUSE);
        assert_eq!(errno(mux.modify(second, Interest::NONE)), libc::ENOENT);
        mux.add(second, Interest::NONE).unwrap();
        assert_eq!(errno(mux.add(second, Interest::NONE)), libc::EEXIST);
        sockets.close(socket).unwrap();
        common::run_for(runtime, Duration::from_millis(20));

        // Nobody listens there any more.
        let client = sockets.socket(Kind::Stream).unwrap();
        assert_eq!(client, 0, "a number is used again");
        mux.add(client, Interest::WRITABLE).unwrap();
        match sockets.connect(client, address).unwrap_err().raw_os_error() {
            Some(libc::EINPROGRESS) => {
                until(mux, runtime, client, Interest::WRITABLE | Interest::ERROR);
                let error = sockets.take_error(client).unwrap().unwrap();
                assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{ground:?}");
                assert!(sockets.take_error(client).unwrap().is_none(), "told once");
            }
            other => assert_eq!(other, Some(libc::ECONNREFUSED), "{ground:?}"),
        }

        sockets.close(client).unwrap();
        let pairs = connected(runtime, sockets, mux, 1);
        let (one, other) = pairs[0];
        assert_eq!(errno(sockets.connect(one, address)), libc::EISCONN);
        sockets.shutdown(one, Shutdown::Write).unwrap();
        assert_eq!(errno(sockets.write(one, b"x")), libc::EPIPE, "{ground:?}");
        until(mux, runtime, other, Interest::READABLE);
        assert_eq!(sockets.read(other, &mut [0; 4]).unwrap(), 0);
    });
}
