//! Connections are kept, capped, checked and given up as promised, on both reactors.

mod common;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::time::Duration;

use common::{HANG, closed_port, on_both, on_both_reactors};
use zcn::{
    ConnectionPool, ConnectionPoolOptions, Fault, ReactorKind, Resolver, Runtime, TcpListener,
    TcpStream,
};

fn pool(change: impl FnOnce(&mut ConnectionPoolOptions)) -> ConnectionPool {
    let mut options = ConnectionPoolOptions::default();
    change(&mut options);
    ConnectionPool::new(options).unwrap()
}

/// Echoes on every connection, counts them and can close them.
struct Server {
    address: SocketAddr,
    open: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
    accepted: Rc<Cell<usize>>,
    streams: Rc<RefCell<Vec<Rc<TcpStream>>>>,
    task: RefCell<Option<zcn::JoinHandle<()>>>,
}

fn server() -> Server {
    let listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let server = Server {
        address: listener.local_addr(),
        open: Rc::default(),
        most: Rc::default(),
        accepted: Rc::default(),
        streams: Rc::default(),
        task: RefCell::default(),
    };
    let (open, most) = (server.open.clone(), server.most.clone());
    let (accepted, streams) = (server.accepted.clone(), server.streams.clone());
    *server.task.borrow_mut() = Some(zcn::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let stream = Rc::new(stream);
            accepted.set(accepted.get() + 1);
            open.set(open.get() + 1);
            most.set(most.get().max(open.get()));
            streams.borrow_mut().push(stream.clone());
            let (open, streams) = (open.clone(), streams.clone());
            zcn::spawn(async move {
                while let Ok(Some(buf)) = stream.recv().await {
                    if stream.send(buf).await.is_err() {
                        break;
                    }
                }
                open.set(open.get() - 1);
                streams
                    .borrow_mut()
                    .retain(|other| !Rc::ptr_eq(other, &stream));
            });
        }
    }));
    server
}

impl Server {
    /// Ends every connection from the server's side.
    fn hang_up(&self) {
        for stream in self.streams.borrow().iter() {
            stream.shutdown();
        }
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        until(|| what(self)).await;
    }
}

/// Waits for something that the other side has to notice first.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..4000 {
        if what() {
            return;
        }
        zcn::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came true");
}

async fn talk(stream: &TcpStream) {
    stream.send_copy(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}

/// A port of this machine on which nobody listens.
#[test]
fn an_idle_connection_is_used_again_the_last_one_first() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|_| ());
        let one = pool.get(server.address).await.unwrap();
        let two = pool.get(server.address).await.unwrap();
        talk(&one).await;
        talk(&two).await;
        let last = two.local_addr().unwrap();
        drop(one);
        drop(two);
        assert_eq!(pool.idle(server.address), 2);
        let again = pool.get(server.address).await.unwrap();
        assert_eq!(again.local_addr().unwrap(), last);
        talk(&again).await;
        let stats = pool.stats();
        assert_eq!((stats.created, stats.reused), (2, 1));
        assert_eq!((stats.open, stats.idle), (2, 1));
    });
}

#[test]
fn caps_hold_under_concurrency() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|options| options.max_per_destination = 4);
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (pool, address) = (pool.clone(), server.address);
                zcn::spawn(async move {
                    for _ in 0..10 {
                        let connection = pool.get(address).await.unwrap();
                        talk(&connection).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(server.most.get() <= 4, "{}", server.most.get());
        let stats = pool.stats();
        assert_eq!((stats.created, stats.reused), (4, 496));
        assert_eq!((stats.waiting, stats.open, stats.idle), (0, 4, 4));
    });
}

#[test]
fn waiting_callers_are_served_in_order() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|options| options.max_per_destination = 1);
        let first = pool.get(server.address).await.unwrap();
        let waited_for = pool.clone();
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut tasks = Vec::new();
        for number in 0..10 {
            let (pool, address, order) = (pool.clone(), server.address, order.clone());
            tasks.push(zcn::spawn(async move {
                let connection = pool.get(address).await.unwrap();
                order.borrow_mut().push(number);
                talk(&connection).await;
            }));
            until(|| waited_for.stats().waiting == number + 1).await;
        }
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.borrow(), (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn a_full_pool_makes_room_by_closing_an_idle_connection_elsewhere() {
    on_both(async |_| {
        let (one, other) = (server(), server());
        let pool = pool(|options| {
            options.max_total = 2;
            options.wait_timeout = Duration::from_millis(300);
        });
        let held = pool.get(one.address).await.unwrap();
        drop(pool.get(one.address).await.unwrap());
        let moved = pool.get(other.address).await.unwrap();
        talk(&moved).await;
        assert_eq!(pool.idle(one.address), 0);
        assert_eq!(pool.stats().open, 2);
        // Both in use now: the next one waits in vain.
        let error = pool.get(other.address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // A connection given back to one destination serves a caller of the other.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut waiting = Box::pin(pool.get(other.address));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert_eq!(pool.stats().waiting, 1);
        drop(held);
        drop(waiting.await.unwrap());
        assert_eq!(pool.stats().open, 2);
        one.until(|server| server.open.get() == 0).await;
    });
}

#[test]
fn idle_connections_beyond_the_cap_are_closed() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|options| options.max_idle = 2);
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(pool.get(server.address).await.unwrap());
        }
        drop(held);
        assert_eq!(pool.idle(server.address), 2);
        assert_eq!(pool.stats().open, 2);
        server.until(|server| server.open.get() == 2).await;
    });
}

#[test]
fn a_connection_that_the_peer_has_closed_is_not_handed_out() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|_| ());
        let (one, two) = (
            pool.get(server.address).await.unwrap(),
            pool.get(server.address).await.unwrap(),
        );
        talk(&one).await;
        talk(&two).await;
        drop((one, two));
        server.hang_up();
        // The end has to cross the loopback first.
        zcn::sleep(Duration::from_millis(20)).await;
        let fresh = pool.get(server.address).await.unwrap();
        talk(&fresh).await;
        let stats = pool.stats();
        assert_eq!((stats.stale, stats.created, stats.reused), (2, 3, 0));
        assert_eq!((stats.open, stats.idle), (1, 0));
    });
}

#[test]
fn unread_bytes_make_a_connection_unfit() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|_| ());
        // When the answer is there, nothing tells without reading it.
        let mut patience = Duration::from_millis(20);
        loop {
            let connection = pool.get(server.address).await.unwrap();
            connection
                .send_copy(b"asked, and never read")
                .await
                .unwrap();
            zcn::sleep(patience).await;
            drop(connection);
            if pool.stats().idle == 0 {
                break;
            }
            patience *= 2;
            assert!(patience < HANG, "kept with unread bytes");
        }
        let connection = pool.get(server.address).await.unwrap();
        talk(&connection).await;
        // Shut down on our side is as unfit.
        connection.shutdown();
        drop(connection);
        assert_eq!(pool.stats().open, 0);
    });
}

#[test]
fn discarded_and_taken_out_connections_do_not_come_back() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|options| options.max_per_destination = 1);
        let connection = pool.get(server.address).await.unwrap();
        connection.discard();
        drop(connection);
        assert_eq!((pool.stats().open, pool.stats().idle), (0, 0));
        let own = pool.get(server.address).await.unwrap().into_inner();
        // Its place is free although it lives on.
        let pooled = pool.get(server.address).await.unwrap();
        talk(&own).await;
        talk(&pooled).await;
        assert_eq!(pool.stats().open, 1);
    });
}

#[test]
fn the_users_check_decides_and_may_use_the_pool() {
    on_both(async |_| {
        let server = server();
        let asked = Rc::new(Cell::new(0));
        let counting = asked.clone();
        let own = Rc::new(RefCell::new(None::<ConnectionPool>));
        let seen = own.clone();
        let pool = pool(move |options| {
            options.check = Some(Rc::new(move |stream| {
                counting.set(counting.get() + 1);
                if let Some(pool) = &*seen.borrow() {
                    let _ = pool.stats();
                }
                assert!(stream.peer_addr().is_ok());
                counting.get() > 1
            }));
        });
        *own.borrow_mut() = Some(pool.clone());
        drop(pool.get(server.address).await.unwrap());
        drop(pool.get(server.address).await.unwrap());
        assert_eq!((asked.get(), pool.stats().stale), (1, 1));
        drop(pool.get(server.address).await.unwrap());
        assert_eq!((asked.get(), pool.stats().reused), (2, 1));
        *own.borrow_mut() = None;
    });
}

#[test]
fn idle_and_aged_connections_are_closed() {
    on_both(async |_| {
        let server = server();
        let idle = pool(|options| options.idle_timeout = Some(Duration::from_millis(20)));
        drop(idle.get(server.address).await.unwrap());
        assert_eq!(idle.stats().idle, 1);
        until(|| idle.stats().open == 0).await;
        assert_eq!(idle.stats().expired, 1);

        let aged = pool(|options| {
            options.idle_timeout = None;
            options.max_age = Some(Duration::from_millis(20));
        });
        // In use beyond its age: closed when it comes back.
        let connection = aged.get(server.address).await.unwrap();
        zcn::sleep(Duration::from_millis(30)).await;
        drop(connection);
        assert_eq!((aged.stats().open, aged.stats().expired), (0, 1));
        // Aged while idle: closed by the sweep.
        drop(aged.get(server.address).await.unwrap());
        until(|| aged.stats().open == 0).await;
        assert_eq!(aged.stats().expired, 2);
        server.until(|server| server.open.get() == 0).await;
    });
}

#[test]
fn a_waiting_caller_gives_up_by_its_limit() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|options| {
            options.max_per_destination = 1;
            options.max_waiting = 1;
            options.wait_timeout = Duration::from_millis(30);
        });
        let held = pool.get(server.address).await.unwrap();
        // Polled here and not by a task: it cannot give up before the next one was refused.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut waiting = Box::pin(pool.get(server.address));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert_eq!(pool.stats().waiting, 1);
        let refused = pool.get(server.address).await.unwrap_err();
        assert_eq!(refused.fault(), Fault::Resources);
        assert!(refused.to_string().contains("max_waiting"), "{refused}");
        let error = waiting.await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let text = error.to_string();
        assert!(text.contains(&server.address.to_string()), "{text}");
        assert!(text.contains("1 open there"), "{text}");
        let stats = pool.stats();
        assert_eq!((stats.waiting, stats.timed_out, stats.open), (0, 1, 1));
        drop(held);
        drop(pool.get(server.address).await.unwrap());
    });
}

#[test]
fn a_dropped_wait_passes_on_what_it_was_given() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|options| options.max_per_destination = 1);
        for round in 0..4 {
            let held = pool.get(server.address).await.unwrap();
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let mut dropped = Box::pin(pool.get(server.address));
            assert!(dropped.as_mut().poll(&mut context).is_pending());
            let waiting = zcn::spawn({
                let (pool, address) = (pool.clone(), server.address);
                async move { pool.get(address).await.map(drop) }
            });
            until(|| pool.stats().waiting == 2).await;
            if round % 2 == 0 {
                // Dropped in the queue.
                drop(dropped);
                assert_eq!(pool.stats().waiting, 1);
                drop(held);
            } else {
                // Dropped with a connection, or leave to connect, in its hands.
                if round == 3 {
                    held.discard();
                }
                drop(held);
                assert_eq!(pool.stats().waiting, 1);
                drop(dropped);
            }
            waiting.await.unwrap().unwrap();
            assert_eq!((pool.stats().open, pool.stats().waiting), (1, 0));
        }
        assert_eq!(pool.stats().created, 2);
    });
}

#[test]
fn a_dropped_connect_frees_its_place() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|options| options.max_per_destination = 1);
        for _ in 0..10 {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let mut connecting = Box::pin(pool.get(server.address));
            assert!(connecting.as_mut().poll(&mut context).is_pending());
            assert_eq!(pool.stats().open, 1);
            drop(connecting);
            assert_eq!(pool.stats().open, 0);
        }
        talk(&pool.get(server.address).await.unwrap()).await;
    });
}

#[test]
fn failed_connects_back_off_and_the_pool_recovers() {
    on_both_reactors(async |_| {
        let (socket, address) = closed_port();
        let pool = pool(|options| {
            options.backoff = Duration::from_millis(200);
            options.max_backoff = Duration::from_millis(250);
        });
        let error = pool.get(address).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
        assert_eq!((pool.stats().open, pool.stats().failed), (0, 1));
        // Many ask meanwhile; only one at a time tries, after the back-off. They are polled here
        // first: a task may get its turn when that is over.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut callers: Vec<_> = (0..3)
            .map(|_| {
                let pool = pool.clone();
                Box::pin(async move { pool.get(address).await.map(drop) })
            })
            .collect();
        for caller in &mut callers {
            assert!(caller.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!((pool.stats().waiting, pool.stats().failed), (3, 1));
        let tasks: Vec<_> = callers.into_iter().map(zcn::spawn).collect();
        let mut failed = 0;
        for task in tasks {
            failed += usize::from(task.await.unwrap().is_err());
        }
        assert_eq!((failed, pool.stats().failed), (3, 4));
        // Somebody listens there at last.
        socket.listen(16).unwrap();
        pool.get(address).await.unwrap();
        pool.get(address).await.unwrap();
        assert_eq!(pool.stats().failed, 4);
    });
}

#[test]
fn a_caller_that_runs_out_of_time_in_the_back_off_is_told_why() {
    on_both(async |_| {
        let (_closed, address) = closed_port();
        let pool = pool(|options| {
            options.backoff = Duration::from_secs(60);
            options.max_backoff = Duration::from_secs(60);
            options.wait_timeout = Duration::from_millis(20);
        });
        pool.get(address).await.unwrap_err();
        let error = pool.get(address).await.unwrap_err().to_string();
        assert!(error.contains("the last connect failed"), "{error}");
        assert!(error.contains("refused"), "{error}");
    });
}

#[test]
fn names_are_destinations_too() {
    on_both(async |_| {
        let server = server();
        let port = server.address.port();
        let pool = pool(|options| {
            options.connect.resolver = Resolver::with(move |host, port| match host {
                "backend" => Ok(vec![([127, 0, 0, 1], port).into()]),
                _ => Err(io::Error::other("unknown")),
            });
        });
        talk(&pool.get(format!("backend:{port}")).await.unwrap()).await;
        talk(&pool.get(format!("BACKEND:{port}")).await.unwrap()).await;
        assert_eq!((pool.stats().created, pool.stats().reused), (1, 1));
        let error = pool.get("elsewhere:1").await.unwrap_err().to_string();
        assert!(error.contains("elsewhere:1"), "{error}");
        assert_eq!(pool.stats().open, 1);
    });
}

#[test]
fn prewarmed_connections_are_kept_ready() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|options| {
            options.min_idle = 3;
            options.idle_timeout = Some(Duration::from_millis(40));
        });
        assert_eq!(pool.prewarm(server.address).await.unwrap(), 3);
        // More, if the first of them have expired already.
        assert!(pool.stats().created >= 3);
        let taken = pool.get(server.address).await.unwrap();
        until(|| pool.stats().created >= 4 && pool.idle(server.address) == 3).await;
        // Those that expire are replaced.
        until(|| pool.stats().expired >= 3 && pool.idle(server.address) == 3).await;
        drop(taken);
        pool.clear();
        assert_eq!((pool.stats().open, pool.stats().idle), (0, 0));
    });
}

#[test]
fn connections_outlive_the_pool() {
    on_both(async |_| {
        let server = server();
        let pool = pool(|_| ());
        let idle = pool.get(server.address).await.unwrap();
        let used = pool.get(server.address).await.unwrap();
        drop(idle);
        drop(pool);
        server.until(|server| server.open.get() == 1).await;
        talk(&used).await;
        drop(used);
        server.until(|server| server.open.get() == 0).await;
    });
}

#[test]
fn impossible_limits_are_refused() {
    on_both(async |_| {
        let mut options = ConnectionPoolOptions::default();
        options.max_per_destination = 0;
        let error = ConnectionPool::new(options).unwrap_err().to_string();
        assert!(error.contains("max_per_destination = 0"), "{error}");
    });
    assert!(ConnectionPool::new(ConnectionPoolOptions::default()).is_err());
}

/// Against a plain blocking server, so that both ends are not of the same make.
#[test]
fn a_blocking_server_sees_one_connection_for_many_requests() {
    for kind in [ReactorKind::Uring, ReactorKind::Epoll] {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4];
            let mut count = 0;
            while stream.read_exact(&mut request).is_ok() {
                stream.write_all(&request).unwrap();
                count += 1;
            }
            count
        });
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        runtime
            .block_on(async {
                let pool = pool(|_| ());
                for _ in 0..100 {
                    let connection = pool.get(address).await.unwrap();
                    connection.send_copy(b"ping").await.unwrap();
                    let mut back = [0; 4];
                    connection.read_exact(&mut back).await.unwrap();
                }
                assert_eq!(pool.stats().reused, 99);
            })
            .unwrap();
        drop(runtime);
        assert_eq!(serving.join().unwrap(), 100);
    }
}
