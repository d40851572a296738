//! One runtime per core: peers spread, a stop loses nothing, failures surface.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use zcn::{
    Action, Address, Buf, Cluster, ClusterBuilder, Conn, Datagram, DatagramHandler, Handler,
    ListenGroup, ListenOptions, ReactorKind, Runtime, ServerOptions, TcpListener, TcpServer,
    UdpConn, UdpOptions,
};

fn kinds() -> [ReactorKind; 2] {
    [ReactorKind::Uring, ReactorKind::Epoll]
}

/// Unpinned, so that the test runs on a machine with one core.
fn builder(kind: ReactorKind, count: usize) -> ClusterBuilder {
    let runtime = Runtime::builder()
        .reactor(kind)
        .buffers(256)
        .receive_buffers(64);
    Cluster::builder().pin(false).count(count).runtime(runtime)
}

fn group() -> Arc<ListenGroup> {
    Arc::new(ListenGroup::new(([127, 0, 0, 1], 0)))
}

struct Echo {
    accepted: Arc<[AtomicUsize]>,
    index: usize,
    /// Goes on serving until the peer ends, when asked to stop.
    patient: bool,
}

impl Handler for Echo {
    type State = ();

    fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
        self.accepted[self.index].fetch_add(1, Ordering::SeqCst);
        Some(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
        let _ = conn.send(data);
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        if !self.patient {
            conn.close();
        }
    }
}

fn counters(count: usize) -> Arc<[AtomicUsize]> {
    (0..count).map(|_| AtomicUsize::new(0)).collect()
}

struct Running {
    cluster: Cluster,
    address: SocketAddr,
    accepted: Arc<[AtomicUsize]>,
}

fn echo_cluster(kind: ReactorKind, count: usize, patient: bool, limit: Duration) -> Running {
    let group = group();
    let accepted = counters(count);
    let (shared, counting) = (group.clone(), accepted.clone());
    let cluster = builder(kind, count)
        .drain_limit(limit)
        .start(move |index, runtime| {
            let handler = Echo {
                accepted: counting.clone(),
                index,
                patient,
            };
            shared.serve(runtime, ServerOptions::default(), handler)
        })
        .unwrap();
    Running {
        cluster,
        address: group.local_addr().unwrap(),
        accepted,
    }
}

fn connect(address: SocketAddr) -> StdStream {
    let stream = StdStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

fn round_trip(stream: &mut StdStream, byte: u8) {
    stream.write_all(&[byte; 100]).unwrap();
    let mut back = [0; 100];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, [byte; 100]);
}

fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(30), "never came true");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn peers_are_spread_over_the_cores() {
    for kind in kinds() {
        let running = echo_cluster(kind, 2, false, Duration::from_secs(10));
        let mut streams: Vec<_> = (0..64).map(|_| connect(running.address)).collect();
        for stream in &mut streams {
            round_trip(stream, 7);
        }
        let counts: Vec<_> = running
            .accepted
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .collect();
        assert_eq!(counts.iter().sum::<usize>(), 64);
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
        let stats = running.cluster.stats();
        assert_eq!((stats.cores.len(), stats.connections()), (2, 64));
        assert_eq!(stats.cores[1].index, 1);
        assert!(stats.reactors().operations > 0);
        assert_eq!(running.cluster.handles().len(), 2);
        drop(streams);
        until(|| running.cluster.stats().connections() == 0);
        running.cluster.stop();
        let last = running.cluster.join().unwrap();
        assert_eq!((last.cores.len(), last.connections()), (2, 0));
    }
}

/// Sends from 64 sockets, each of which wants its own byte back. What the kernel may lose is sent
/// again.
fn datagrams_come_back(address: SocketAddr) {
    for byte in 0..64 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let mut back = [0; 2];
        let answered = (0..60).any(|_| {
            socket.send(&[byte]).unwrap();
            socket.recv(&mut back).is_ok()
        });
        assert!(answered, "no answer to {byte}");
        assert_eq!(back[0], byte);
    }
}

#[test]
fn datagrams_are_spread_over_the_cores() {
    struct Back(Arc<[AtomicUsize]>, usize);
    impl DatagramHandler for Back {
        fn on_datagram(&mut self, socket: &mut UdpConn<'_>, datagram: Datagram) {
            self.0[self.1].fetch_add(1, Ordering::SeqCst);
            let peer = datagram.peer;
            let _ = socket.forward(datagram, peer);
        }
    }
    for kind in kinds() {
        let group = group();
        let (shared, counts) = (group.clone(), counters(2));
        let counting = counts.clone();
        let cluster = builder(kind, 2)
            .start(move |index, runtime| {
                let handler = Back(counting.clone(), index);
                shared.serve_udp(runtime, UdpOptions::default(), handler)
            })
            .unwrap();
        datagrams_come_back(group.local_addr().unwrap());
        let counts: Vec<_> = counts.iter().map(|n| n.load(Ordering::SeqCst)).collect();
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
        cluster.stop();
        cluster.join().unwrap();
    }
}

#[test]
fn tasks_share_a_udp_port() {
    for kind in kinds() {
        let group = group();
        let shared = group.clone();
        let cluster = builder(kind, 2)
            .start(move |_, runtime| {
                let socket = shared.bind_udp(UdpOptions::default())?;
                Ok(runtime.spawn(async move {
                    while let Ok(datagram) = socket.recv().await {
                        let peer = datagram.peer;
                        let _ = socket.send_to(datagram.data, peer).await;
                    }
                }))
            })
            .unwrap();
        datagrams_come_back(group.local_addr().unwrap());
        cluster.stop();
        cluster.join().unwrap();
    }
}

#[test]
fn a_stop_in_the_middle_of_transfers_loses_no_byte() {
    const BYTES: usize = 4 << 20;
    for kind in kinds() {
        let running = echo_cluster(kind, 2, true, Duration::from_secs(60));
        let begun = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..6u8)
            .map(|number| {
                let begun = begun.clone();
                let mut stream = connect(running.address);
                let mut writer = stream.try_clone().unwrap();
                let sent: Vec<u8> = (0..BYTES).map(|i| (i / 7) as u8 ^ number).collect();
                let copy = sent.clone();
                let writing = std::thread::spawn(move || {
                    writer.write_all(&copy).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                std::thread::spawn(move || {
                    let mut back = vec![0; 1000];
                    stream.read_exact(&mut back).unwrap();
                    begun.fetch_add(1, Ordering::SeqCst);
                    stream.read_to_end(&mut back).unwrap();
                    writing.join().unwrap();
                    assert_eq!(back.len(), BYTES);
                    assert!(back == sent, "bytes differ");
                })
            })
            .collect();
        until(|| begun.load(Ordering::SeqCst) == 6);
        running.cluster.stop();
        // Nobody listens any more, while the transfers go on to their end.
        until(|| StdStream::connect(running.address).is_err());
        for client in clients {
            client.join().unwrap();
        }
        assert_eq!(running.cluster.join().unwrap().connections(), 0);
    }
}

#[test]
fn a_stop_closes_idle_connections_after_their_last_byte() {
    for kind in kinds() {
        let running = echo_cluster(kind, 2, false, Duration::from_secs(30));
        let mut streams: Vec<_> = (0..20).map(|_| connect(running.address)).collect();
        for stream in &mut streams {
            round_trip(stream, 9);
        }
        running.cluster.stop();
        for mut stream in streams {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, []);
        }
        running.cluster.join().unwrap();
    }
}

#[test]
fn what_does_not_end_in_time_is_cut() {
    for kind in kinds() {
        let running = echo_cluster(kind, 2, true, Duration::from_millis(50));
        let mut stream = connect(running.address);
        round_trip(&mut stream, 1);
        let stopper = running.cluster.stopper();
        std::thread::spawn(move || stopper.stop()).join().unwrap();
        running.cluster.join().unwrap();
        // Reset or ended, but not left hanging.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, []);
    }
}

#[test]
fn tasks_with_a_signal_finish_first() {
    for kind in kinds() {
        let group = group();
        let shared = group.clone();
        let finished = Arc::new(AtomicUsize::new(0));
        let counting = finished.clone();
        let cluster = builder(kind, 2)
            .start(move |_, runtime| {
                let listener: TcpListener = shared.listen(ListenOptions::default())?;
                let signal = zcn::drain_signal()?;
                let counting = counting.clone();
                Ok(runtime.spawn(async move {
                    let accepting = async {
                        loop {
                            let (stream, _) = listener.accept().await.unwrap();
                            let signal = signal.clone();
                            zcn::spawn(async move {
                                while let Some(buf) = stream.recv().await.unwrap() {
                                    stream.send(buf).await.unwrap();
                                }
                                stream.flush().await.unwrap();
                                drop(signal);
                            });
                        }
                    };
                    let mut accepting = Box::pin(accepting);
                    let mut asked = Box::pin(signal.asked());
                    std::future::poll_fn(|context| {
                        let _: std::task::Poll<()> = accepting.as_mut().poll(context);
                        asked.as_mut().poll(context)
                    })
                    .await;
                    counting.fetch_add(1, Ordering::SeqCst);
                }))
            })
            .unwrap();
        let mut streams: Vec<_> = (0..8)
            .map(|_| connect(group.local_addr().unwrap()))
            .collect();
        for stream in &mut streams {
            round_trip(stream, 3);
        }
        cluster.stop();
        until(|| finished.load(Ordering::SeqCst) == 2);
        for stream in &mut streams {
            round_trip(stream, 4);
        }
        drop(streams);
        assert_eq!(cluster.join().unwrap().connections(), 0);
    }
}

#[test]
fn a_setup_that_fails_stops_the_start_as_a_whole() {
    for kind in kinds() {
        let group = group();
        let shared = group.clone();
        let error = builder(kind, 3)
            .name("test")
            .start(move |index, runtime| {
                if index == 1 {
                    // Not this machine's.
                    TcpListener::bind(([192, 0, 2, 1], 1).into())?;
                }
                let handler = Echo {
                    accepted: counters(3),
                    index,
                    patient: false,
                };
                shared.serve(runtime, ServerOptions::default(), handler)
            })
            .unwrap_err();
        let text = error.to_string();
        assert_eq!(error.action(), Action::Bind);
        assert_eq!(error.target(), "192.0.2.1:1");
        assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
        assert_eq!(error.thread(), Some("thread test-1"));
        assert!(
            text.contains("on thread test-1 (the address is not one"),
            "{text}"
        );
        // The others have let go of the port, if they had bound it.
        if let Some(address) = group.local_addr() {
            StdStream::connect(address).unwrap_err();
        }
    }
}

#[test]
fn a_setup_that_panics_is_told() {
    let error = builder(ReactorKind::Auto, 2)
        .start(|index, _| {
            assert_ne!(index, 0, "core zero on purpose");
            Ok(())
        })
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("panicked"), "{text}");
    assert!(text.contains("core zero on purpose"), "{text}");
    assert!(text.contains("thread zcn-0"), "{text}");
}

#[test]
fn impossible_settings_are_named() {
    let start = |builder: ClusterBuilder| builder.start(|_, _| Ok(())).unwrap_err().to_string();
    assert!(start(Cluster::builder().count(0)).contains("count = 0"));
    assert!(start(Cluster::builder().count(5000)).contains("more than the cores"));
    assert!(start(Cluster::builder().cores([])).contains("empty"));
    let twice = start(Cluster::builder().cores([0, 1, 0]));
    assert!(twice.contains("core 0 is listed twice"), "{twice}");
    let absent = start(Cluster::builder().cores([1023]));
    assert!(absent.contains("1023"), "{absent}");
    let bad = Runtime::builder().buffers(1);
    let bad = start(Cluster::builder().pin(false).count(2).runtime(bad));
    assert!(bad.contains("receive_buffers"), "{bad}");
}

#[test]
fn a_panicking_task_costs_itself_only() {
    for kind in kinds() {
        let running = echo_cluster(kind, 2, false, Duration::from_secs(30));
        for handle in running.cluster.handles() {
            handle.spawn(|| async { panic!("task on purpose") });
        }
        for byte in 0..8 {
            round_trip(&mut connect(running.address), byte);
        }
        running.cluster.stop();
        assert_eq!(running.cluster.join().unwrap().cores.len(), 2);
    }
}

#[test]
fn a_panicking_thread_ends_the_cluster_and_surfaces_at_join() {
    struct Panic(usize);
    impl Drop for Panic {
        fn drop(&mut self) {
            assert_ne!(self.0, 1, "drop on purpose");
        }
    }
    for kind in kinds() {
        let group = group();
        let shared = group.clone();
        let cluster = builder(kind, 3)
            .start(move |index, _| Ok((shared.listen(ListenOptions::default())?, Panic(index))))
            .unwrap();
        let address = group.local_addr().unwrap();
        cluster.handles()[1].stop();
        let error = cluster.join().unwrap_err();
        let text = error.to_string();
        assert_eq!(error.action(), Action::Run);
        assert!(text.contains("drop on purpose"), "{text}");
        assert!(text.contains("zcn-1"), "{text}");
        StdStream::connect(address).unwrap_err();
    }
}

#[test]
fn a_core_that_leaves_takes_the_others_along() {
    for kind in kinds() {
        let running = echo_cluster(kind, 3, false, Duration::from_secs(30));
        running.cluster.handles()[2].stop();
        assert_eq!(running.cluster.join().unwrap().cores.len(), 3);
    }
}

#[test]
fn a_panicking_handler_costs_its_connection_only() {
    struct Touchy;
    impl Handler for Touchy {
        type State = ();
        fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
            Some(())
        }
        fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
            assert_ne!(data[0], 0, "handler on purpose");
            let _ = conn.send(data);
        }
    }
    for kind in kinds() {
        let group = group();
        let shared = group.clone();
        let cluster = builder(kind, 2)
            .start(move |_, runtime| shared.serve(runtime, ServerOptions::default(), Touchy))
            .unwrap();
        let address = group.local_addr().unwrap();
        let mut good = connect(address);
        let mut bad = connect(address);
        round_trip(&mut good, 1);
        bad.write_all(&[0]).unwrap();
        assert!(bad.read(&mut [0; 1]).map_or(true, |count| count == 0));
        round_trip(&mut good, 2);
        drop((good, bad));
        cluster.stop();
        cluster.join().unwrap();
    }
}

#[test]
fn threads_are_pinned_and_named() {
    let cores = zcn_sys::affinity::allowed_cores().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let cluster = Cluster::builder()
        .runtime(Runtime::builder().buffers(64).receive_buffers(16))
        .name("pinned")
        .start(move |index, _| {
            let name = std::thread::current().name().map(str::to_owned);
            let allowed = zcn_sys::affinity::allowed_cores().unwrap();
            tell.send((index, name, allowed)).unwrap();
            Ok(())
        })
        .unwrap();
    assert_eq!(cluster.len(), cores.len());
    for _ in 0..cores.len() {
        let (index, name, allowed) = told.recv().unwrap();
        assert_eq!(name, Some(format!("pinned-{index}")));
        assert_eq!(allowed, [cores[index]]);
    }
    cluster.stop();
    cluster.join().unwrap();
}

#[test]
fn what_the_setup_made_lives_until_the_end() {
    struct Tell(Arc<AtomicBool>);
    impl Drop for Tell {
        fn drop(&mut self) {
            // The runtime is still the current one here.
            zcn::drain_signal().unwrap();
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let telling = dropped.clone();
    let cluster = builder(ReactorKind::Auto, 1)
        .start(move |_, _| Ok(Tell(telling.clone())))
        .unwrap();
    assert_eq!(cluster.stats().cores.len(), 1);
    assert!(!dropped.load(Ordering::SeqCst));
    // Dropping the cluster stops it and waits.
    drop(cluster);
    assert!(dropped.load(Ordering::SeqCst));
}

/// Found while the cluster was written: a server asked to stop by a task waited for the next
/// unrelated event before it began.
#[test]
fn a_shutdown_asked_by_a_task_begins_at_once() {
    for kind in kinds() {
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let handler = Echo {
            accepted: counters(1),
            index: 0,
            patient: false,
        };
        let server = TcpServer::bind(&runtime, any, ServerOptions::default(), handler).unwrap();
        let stopped = runtime.block_on(async {
            // Several turns on their own, so that nothing else is going on.
            zcn::sleep(Duration::from_millis(20)).await;
            server.shutdown(Duration::from_secs(3600));
            zcn::timeout(Duration::from_secs(20), server.stopped()).await
        });
        assert_eq!(stopped.unwrap(), Ok(()), "{kind:?}");
    }
}

#[test]
fn a_runtime_drains_by_itself() {
    for kind in kinds() {
        let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let handler = Echo {
            accepted: counters(1),
            index: 0,
            patient: true,
        };
        let server = TcpServer::bind(&runtime, any, ServerOptions::default(), handler).unwrap();
        let address = server.local_addr().ip().unwrap();
        let client = std::thread::spawn(move || {
            let mut stream = connect(address);
            round_trip(&mut stream, 5);
            stream
        });
        while !client.is_finished() {
            runtime.run_for(Duration::from_millis(5)).unwrap();
        }
        let _held = client.join().unwrap();
        assert!(!runtime.drain(Duration::from_millis(30)).unwrap());
        for _ in 0..200 {
            if server.is_stopped() {
                break;
            }
            runtime.run_for(Duration::from_millis(5)).unwrap();
        }
        assert!(server.is_stopped());
        assert!(runtime.drain(Duration::from_secs(20)).unwrap());
    }
}
