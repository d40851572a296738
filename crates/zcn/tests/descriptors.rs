//! Descriptors and memory limits: what happens when they run out, and that none is lost. Each test
//! runs in a process of its own, because limits and descriptors are the process's.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream as StdStream;
use std::process::Command;
use std::time::Duration;

use common::{
    Script, all_home, any, at_rest, client, echo, for_each_reactor, run_for, run_until, runtime,
    serve,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zcn::{Address, ClientOptions, ReactorKind, TcpClient, TcpListener, TcpStream};

/// Set in the process that runs one test alone.
const ALONE: &str = "ZCN_TEST_ALONE";

/// Runs `body` in a process of its own: this program again, with nothing but the test `name`.
fn alone(name: &str, body: fn()) {
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| line.strip_prefix("SKIPPED: "))
        .for_each(common::skipped);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn descriptors() -> usize {
    // One of them is the directory's.
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

fn limit_descriptors(more: usize) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some((descriptors() + more) as u64),
            ..limit
        },
    )
    .unwrap();
}

#[test]
fn rule_11_peers_wait_while_descriptors_are_short() {
    alone(
        "rule_11_peers_wait_while_descriptors_are_short",
        child_rule_11,
    );
}

fn child_rule_11() {
    for_each_reactor(|kind| {
        let before = getrlimit(Resource::Nofile);
        let mut runtime = runtime(kind);
        // Not run yet: the kernel takes the limit as it is when the accept starts.
        let (server, address) = echo(&runtime);
        // Connected by the kernel, whether or not the server can take them; a child of its own
        // would hold no descriptor of ours, but these are made before the limit falls.
        let mut clients: Vec<StdStream> = (0..20).map(|_| client(address)).collect();
        limit_descriptors(5);
        run_for(&mut runtime, Duration::from_millis(100));
        let taken = server.stats().accepted as usize;
        assert!((1..=8).contains(&taken), "{kind:?}: {taken} accepted");
        let turns = runtime.stats().reactor.system_calls;
        run_for(&mut runtime, Duration::from_millis(200));
        let turns = runtime.stats().reactor.system_calls - turns;
        assert!(turns < 3000, "{kind:?}: {turns} calls: it does not rest");
        // Each that ends, on both sides, makes room for others; all are served in the end.
        let mut served = 0;
        while let Some(mut stream) = (!clients.is_empty()).then(|| clients.remove(0)) {
            stream.write_all(b"me").unwrap();
            stream.set_nonblocking(true).unwrap();
            let mut answer = [0; 2];
            run_until(&mut runtime, "an answer", |_| {
                matches!(stream.read(&mut answer), Ok(2))
            });
            assert_eq!(&answer, b"me");
            served += 1;
        }
        assert_eq!(served, 20);
        run_until(&mut runtime, "all closed", |_| server.stats().closed == 20);
        drop((server, runtime));
        setrlimit(Resource::Nofile, before).unwrap();
    });
}

#[test]
fn a_task_that_finds_no_descriptor_is_told_what_to_raise() {
    alone(
        "a_task_that_finds_no_descriptor_is_told_what_to_raise",
        child_no_descriptor,
    );
}

fn child_no_descriptor() {
    for_each_reactor(|kind| {
        let before = getrlimit(Resource::Nofile);
        let mut runtime = runtime(kind);
        let listener = std::net::TcpListener::bind(any()).unwrap();
        limit_descriptors(0);
        // Numbers below the limit may be free all the same.
        let mut filler = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            filler.push(file);
        }
        let error = runtime
            .block_on(TcpStream::connect(listener.local_addr().unwrap()))
            .unwrap()
            .unwrap_err();
        let refused = zcn::Runtime::builder().reactor(kind).build().unwrap_err();
        setrlimit(Resource::Nofile, before).unwrap();
        for error in [error, refused] {
            let text = error.to_string();
            assert!(text.contains("RLIMIT_NOFILE"), "{text}");
        }
    });
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    alone(
        "ten_thousand_connections_leave_nothing_behind",
        child_ten_thousand,
    );
}

fn child_ten_thousand() {
    for_each_reactor(|kind| {
        let outside = descriptors();
        {
            let mut runtime = runtime(kind);
            let rest = at_rest(&mut runtime);
            let (server, address) = echo(&runtime);
            let before = descriptors();
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    std::thread::spawn(move || {
                        for number in 0..5000u32 {
                            let mut stream = client(address);
                            if number % 3 == 0 {
                                socket2::SockRef::from(&stream)
                                    .set_linger(Some(Duration::ZERO))
                                    .unwrap();
                            }
                            if number % 5 != 0 {
                                stream.write_all(&number.to_le_bytes()).unwrap();
                                let mut answer = [0; 4];
                                stream.read_exact(&mut answer).unwrap();
                                assert_eq!(answer, number.to_le_bytes());
                            }
                        }
                    })
                })
                .collect();
            run_until(&mut runtime, "clients", |_| {
                threads.iter().all(std::thread::JoinHandle::is_finished)
            });
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            run_until(&mut runtime, "closed", |_| {
                let stats = server.stats();
                stats.accepted == 10_000 && stats.closed == 10_000
            });
            all_home(&mut runtime, rest);
            assert_eq!(descriptors(), before, "{kind:?}");
            assert_eq!(runtime.stats().reactor.stale_completions, 0, "{kind:?}");
        }
        assert_eq!(descriptors(), outside, "{kind:?}: the runtime's own");
    });
}

#[test]
fn runtimes_and_their_streams_leave_no_descriptor() {
    alone(
        "runtimes_and_their_streams_leave_no_descriptor",
        child_runtimes,
    );
}

fn child_runtimes() {
    for_each_reactor(|kind| {
        let before = descriptors();
        for round in 0..20 {
            let mut runtime = runtime(kind);
            let (_server, address) = echo(&runtime);
            let kept = runtime
                .block_on(async move {
                    let listener = TcpListener::bind(any()).unwrap();
                    let stream = TcpStream::connect(address).await.unwrap();
                    stream.send_copy(&[1; 100_000]).await.unwrap();
                    let waiting = zcn::spawn(async move { listener.accept().await });
                    zcn::sleep(Duration::from_micros(100)).await;
                    (stream, waiting)
                })
                .unwrap();
            if round % 2 == 0 {
                drop(kept);
                drop(runtime);
            } else {
                // The stream outlives its runtime.
                drop(runtime);
                drop(kept);
            }
        }
        assert_eq!(descriptors(), before, "{kind:?}");
    });
}

#[test]
fn locked_memory_is_not_needed_to_run() {
    alone("locked_memory_is_not_needed_to_run", child_memlock);
}

fn child_memlock() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Memlock, none).unwrap();
    let mut sets = rustix::thread::capabilities(None).unwrap();
    sets.effective -= rustix::thread::CapabilitySet::IPC_LOCK;
    if let Err(error) = rustix::thread::set_capabilities(None, sets) {
        return common::skipped(format_args!("CAP_IPC_LOCK cannot be dropped: {error}"));
    }
    for_each_reactor(|kind| match common::builder(kind).build() {
        Ok(mut runtime) => {
            let (_server, address) = echo(&runtime);
            common::serve(&mut runtime, move || common::talk(address, 100_000, 1));
        }
        // Before 5.12 the rings themselves were charged to it.
        Err(error) => assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}"),
    });
}

/// Places in use in the file table of the process's only ring; `None` where the kernel has none or
/// does not tell.
fn places_in_use() -> Option<usize> {
    let ring = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            std::fs::read_link(path).is_ok_and(|to| to.ends_with("anon_inode:[io_uring]"))
        })?;
    let info = std::path::Path::new("/proc/self/fdinfo").join(ring.file_name()?);
    let info = std::fs::read_to_string(info).ok()?;
    let mut lines = info.lines();
    let size = lines.find_map(|line| line.strip_prefix("UserFiles:"))?;
    if size.trim() == "0" {
        return None;
    }
    Some(lines.take_while(|line| line.starts_with(' ')).count())
}

#[test]
fn busy_connections_get_a_place_in_the_file_table_and_give_it_back() {
    alone(
        "busy_connections_get_a_place_in_the_file_table_and_give_it_back",
        child_file_table,
    );
}

fn child_file_table() {
    const CLIENTS: usize = 40;
    let Some(kind) = common::reactors()
        .into_iter()
        .find(|kind| *kind == ReactorKind::Uring)
    else {
        return;
    };
    let mut runtime = runtime(kind);
    if places_in_use().is_none() {
        return common::skipped("file table: not on this kernel");
    }
    let script = Script {
        data: Box::new(|conn, data| match &data[..] {
            b"abort" => conn.abort(),
            _ => conn.send(data).unwrap(),
        }),
        ..Script::default()
    };
    let (server, address) = common::script(&runtime, script);
    let quiet = client(address);
    let mut clients = serve(&mut runtime, move || {
        let mut clients: Vec<StdStream> = (0..CLIENTS).map(|_| client(address)).collect();
        for round in 0..50_u8 {
            for stream in &mut clients {
                stream.write_all(&[round; 7]).unwrap();
            }
            for stream in &mut clients {
                let mut answer = [0; 7];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [round; 7]);
            }
        }
        clients
    });
    assert_eq!(places_in_use(), Some(CLIENTS), "all but the quiet one");
    // An end by the peer, and a reset by the server: both are seen, so nothing keeps the file.
    let aborted = clients.split_off(CLIENTS / 2);
    serve(&mut runtime, move || {
        for mut stream in clients {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
        }
        for mut stream in aborted {
            stream.write_all(b"abort").unwrap();
            let error = stream.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    });
    run_until(&mut runtime, "closed", |_| {
        server.stats().closed == CLIENTS as u64
    });
    assert_eq!(places_in_use(), Some(0));
    drop(quiet);
}

#[test]
fn a_client_that_connected_does_not_keep_its_runtime_alive() {
    alone(
        "a_client_that_connected_does_not_keep_its_runtime_alive",
        child_client_goes,
    );
}

fn child_client_goes() {
    for_each_reactor(|kind| {
        let before = descriptors();
        {
            let mut runtime = runtime(kind);
            let (_server, address) = echo(&runtime);
            let client =
                TcpClient::new(&runtime, ClientOptions::default(), Script::default()).unwrap();
            client.connect(Address::Ip(address));
            run_until(&mut runtime, "the connection is made", |_| {
                client.stats().accepted == 1
            });
        }
        assert_eq!(descriptors(), before);
    });
}
