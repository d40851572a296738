//! Names become addresses without the loop standing still; no traffic leaves the machine.

mod common;

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::{closed_port, on_both, on_both_reactors};
use zcn::{Action, ConnectOptions, Fault, ReactorKind, Resolver, Runtime, TcpStream};

fn listener() -> (StdListener, SocketAddr) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn options(resolver: Resolver) -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.resolver = resolver;
    options
}

fn fixed(addresses: Vec<SocketAddr>) -> Resolver {
    Resolver::with(move |_, _| Ok(addresses.clone()))
}

#[test]
fn localhost_and_literals_are_found() {
    on_both_reactors(async |_| {
        let (_listener, address) = listener();
        let resolver = Resolver::system();
        let name = format!("localhost:{}", address.port());
        let found = resolver.resolve(&name).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        assert!(found.contains(&address), "{found:?}");
        let literal = resolver.resolve("[::1]:80").await.unwrap();
        assert_eq!(literal, ["[::1]:80".parse().unwrap()]);
        for target in [name, address.to_string()] {
            let stream = TcpStream::connect_host(&target, &ConnectOptions::default())
                .await
                .unwrap();
            assert_eq!(stream.peer_addr().unwrap().ip(), Some(address));
        }
    });
}

#[test]
fn bad_targets_are_named() {
    on_both(async |_| {
        for target in ["localhost", "localhost:99999", ":80", "a b:80", "::1:80"] {
            let error = TcpStream::connect_host(target, &ConnectOptions::default())
                .await
                .unwrap_err();
            assert_eq!(error.action(), Action::Resolve);
            assert_eq!(error.fault(), Fault::Caller);
            assert!(error.to_string().contains(target), "{error}");
        }
    });
}

#[test]
fn a_failing_lookup_tells_name_reason_and_remedy() {
    on_both(async |_| {
        let resolver = Resolver::with(|host, _| match host {
            "empty" => Ok(Vec::new()),
            "panic" => panic!("on purpose"),
            _ => Err(io::Error::other("Name or service not known")),
        });
        let fail = async |target| resolver.resolve(target).await.unwrap_err().to_string();
        let error = fail("nowhere.invalid:80").await;
        assert!(
            error.starts_with("cannot resolve nowhere.invalid:80: Name or service not known"),
            "{error}"
        );
        assert!(error.contains("getent"), "{error}");
        assert!(fail("empty:80").await.contains("has no address"));
        assert!(fail("panic:80").await.contains("panicked"));
        // The thread has survived it.
        assert!(fail("empty:80").await.contains("has no address"));
    });
}

/// A resolver that answers only when told to, one after the other.
fn held() -> (Resolver, mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let resolver = Resolver::with(move |_, port| {
        counted.fetch_add(1, Ordering::SeqCst);
        // Told, or the test is over.
        let _ = wait.lock().unwrap().recv();
        Ok(vec![([127, 0, 0, 1], port).into()])
    });
    (resolver.threads(1), go, asked)
}

#[test]
fn the_loop_goes_on_while_a_name_is_looked_up() {
    on_both(async |_| {
        let (resolver, go, _) = held();
        let turns = Rc::new(Cell::new(0));
        let counting = turns.clone();
        zcn::spawn(async move {
            for _ in 0..50 {
                zcn::sleep(Duration::from_micros(100)).await;
                counting.set(counting.get() + 1);
            }
            go.send(()).unwrap();
        });
        let found = resolver.resolve("slow:1").await.unwrap();
        assert_eq!(found, [([127, 0, 0, 1], 1).into()]);
        assert_eq!(turns.get(), 50);
    });
}

#[test]
fn a_lookup_that_takes_too_long_is_given_up() {
    on_both(async |_| {
        let (resolver, go, asked) = held();
        let hasty = resolver.clone().limit(Duration::from_millis(20));
        let error = hasty.resolve("slow:1").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("slow:1"), "{error}");
        // The whole of a connect is limited too.
        let mut options = options(resolver.clone());
        options.timeout = Some(Duration::from_millis(20));
        let error = TcpStream::connect_host("slow:1", &options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // The second was given up in the queue and is never asked; a third is served.
        go.send(()).unwrap();
        go.send(()).unwrap();
        resolver.resolve("slow:2").await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn the_queue_is_bounded_and_given_up_lookups_free_it() {
    on_both(async |_| {
        let (resolver, go, _) = held();
        let mut tasks = Vec::new();
        for number in 0..1000 {
            let resolver = resolver.clone().limit(Duration::from_millis(50));
            tasks.push(zcn::spawn(async move {
                resolver.resolve(&format!("host{number}:1")).await
            }));
        }
        let mut full = 0;
        for task in tasks {
            let error = task.await.unwrap().unwrap_err();
            full += usize::from(error.fault() == Fault::Resources);
        }
        assert!((700..1000).contains(&full), "{full}");
        drop(go);
        resolver.resolve("one-more:1").await.unwrap();
    });
}

#[test]
fn the_next_address_is_tried_when_one_refuses() {
    on_both_reactors(async |_| {
        let (_listener, good) = listener();
        let (one, other) = (closed_port(), closed_port());
        let resolver = fixed(vec![one.1, other.1, good]);
        let stream = TcpStream::connect_host("three:1", &options(resolver))
            .await
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), Some(good));
    });
}

#[test]
fn the_first_error_stands_when_all_refuse() {
    on_both(async |_| {
        let (one, other) = (closed_port(), closed_port());
        let error = TcpStream::connect_host("two:1", &options(fixed(vec![one.1, other.1])))
            .await
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        assert_eq!(error.fault(), Fault::Peer);
        let text = error.to_string();
        assert!(text.contains("two:1"), "{text}");
        assert!(text.contains(&one.1.to_string()), "{text}");
        assert!(text.contains(&other.1.to_string()), "{text}");
    });
}

/// A listener whose backlog is full: the kernel drops further SYNs, so a connect hangs.
struct Mute {
    _listener: socket2::Socket,
    _filling: Vec<socket2::Socket>,
    address: SocketAddr,
}

fn mute() -> Mute {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let socket =
        || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let listener = socket();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let filling = (0..8)
        .map(|_| {
            let client = socket();
            client.set_nonblocking(true).unwrap();
            // In progress for good.
            let _ = client.connect(&address);
            client
        })
        .collect();
    Mute {
        address: address.as_socket().unwrap(),
        _listener: listener,
        _filling: filling,
    }
}

#[test]
fn the_next_address_is_tried_when_one_does_not_answer() {
    on_both_reactors(async |_| {
        let mute = mute();
        let (_listener, good) = listener();
        let stream = TcpStream::connect_host("two:1", &options(fixed(vec![mute.address, good])))
            .await
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), Some(good));
    });
}

#[test]
fn a_connect_that_is_not_answered_ends_by_its_limit() {
    on_both_reactors(async |_| {
        let mute = mute();
        let mut options = options(fixed(vec![mute.address]));
        options.timeout = Some(Duration::from_millis(50));
        let by_name = TcpStream::connect_host("mute:1", &options).await;
        let by_address = TcpStream::connect_with(mute.address, &options).await;
        for error in [by_name.unwrap_err(), by_address.unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        }
    });
}

#[test]
fn an_unreachable_address_says_so() {
    on_both(async |_| {
        // A link-local address without its interface: refused before anything is sent.
        let address: SocketAddr = "[fe80::1]:1".parse().unwrap();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert!(error.raw_os_error().is_some());
        assert!(error.to_string().contains("[fe80::1]:1"), "{error}");
    });
}

#[test]
fn a_dropped_connect_leaves_nothing_behind() {
    for kind in [ReactorKind::Uring, ReactorKind::Epoll] {
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        let mute = mute();
        runtime
            .block_on(async {
                for _ in 0..20 {
                    let options = options(fixed(vec![mute.address, mute.address]));
                    let connect = TcpStream::connect_host("mute:1", &options);
                    let dropped = zcn::timeout(Duration::from_millis(2), connect).await;
                    assert!(dropped.is_err());
                }
            })
            .unwrap();
        for _ in 0..100 {
            if runtime.stats().connections == 0 {
                break;
            }
            runtime.run_for(Duration::from_millis(5)).unwrap();
        }
        assert_eq!(runtime.stats().connections, 0);
    }
}

#[test]
fn names_are_looked_up_side_by_side() {
    // One after the other, so that a name without an answer held up all behind it.
    on_both(async |_| {
        const NAMES: usize = 4;
        let together = std::sync::Barrier::new(NAMES);
        let resolver = Resolver::with(move |_, port| {
            together.wait();
            Ok(vec![([127, 0, 0, 1], port).into()])
        });
        let tasks: Vec<_> = (1..=NAMES)
            .map(|port| {
                let resolver = resolver.clone();
                zcn::spawn(async move { resolver.resolve(&format!("name:{port}")).await })
            })
            .collect();
        for (task, port) in tasks.into_iter().zip(1..) {
            let found = task.await.unwrap().unwrap();
            assert_eq!(found, [SocketAddr::from(([127, 0, 0, 1], port))]);
        }
    });
}

#[test]
fn no_more_names_are_looked_up_at_a_time_than_allowed() {
    on_both(async |_| {
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let resolver = {
            let (now, most) = (now.clone(), most.clone());
            Resolver::with(move |_, port| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(vec![([127, 0, 0, 1], port).into()])
            })
        };
        let resolver = resolver.threads(2);
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let resolver = resolver.clone();
                zcn::spawn(async move { resolver.resolve("name:1").await.map(drop) })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    });
}
