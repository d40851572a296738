//! Unix stream sockets by path.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::PathBuf;
use std::time::Duration;

use common::{
    Echo, Script, all_home, at_rest, for_each_reactor, pattern, run_until, runtime, serve,
};
use zcn::{ConnectOptions, ReactorKind, ServerOptions, TcpServer, UnixListener, UnixStream};

fn path(name: &str, kind: ReactorKind) -> PathBuf {
    std::env::temp_dir().join(format!("zcn-{name}-{kind:?}-{}", std::process::id()))
}

#[test]
fn a_server_on_a_path_echoes_and_removes_its_file() {
    for_each_reactor(|kind| {
        let path = path("server", kind);
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        let server =
            TcpServer::bind(&runtime, path.clone(), ServerOptions::default(), Echo).unwrap();
        assert_eq!(server.local_addr(), &path.clone().into());
        let there = path.clone();
        serve(&mut runtime, move || {
            let mut stream = StdStream::connect(there).unwrap();
            let sent = pattern(1 << 20, 1);
            let mut writer = stream.try_clone().unwrap();
            let copy = sent.clone();
            let writing = std::thread::spawn(move || {
                writer.write_all(&copy).unwrap();
                writer.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            writing.join().unwrap();
            assert!(received == sent);
        });
        server.shutdown(Duration::from_secs(1));
        run_until(&mut runtime, "stopped", |_| server.is_stopped());
        all_home(&mut runtime, rest);
        assert!(!path.exists());
    });
}

#[test]
fn a_listener_replaces_a_file_that_nobody_listens_on() {
    for_each_reactor(|kind| {
        let path = path("stale", kind);
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind, as by a dead program");
        runtime(kind)
            .block_on(async {
                let listener = UnixListener::bind(&path).unwrap();
                let dialled = UnixStream::connect(&path).await.unwrap();
                let accepted = listener.accept().await.unwrap();
                dialled.send_copy(b"hello").await.unwrap();
                assert_eq!(&accepted.recv().await.unwrap().unwrap()[..], b"hello");
            })
            .unwrap();
        assert!(!path.exists());
    });
}

#[test]
fn a_path_in_use_is_refused_with_the_remedy() {
    for_each_reactor(|kind| {
        let path = path("used", kind);
        let _other = StdListener::bind(&path).unwrap();
        let runtime = runtime(kind);
        let _current = runtime.enter();
        let error = UnixListener::bind(&path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        assert!(path.exists(), "the other's file stays");
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn an_ordinary_file_is_never_removed() {
    // connect(2) refuses an ordinary file as it refuses a dead socket, so it was removed as one.
    for_each_reactor(|kind| {
        let path = path("file", kind);
        std::fs::write(&path, "precious").unwrap();
        let runtime = runtime(kind);
        let _current = runtime.enter();
        let error = UnixListener::bind(&path).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_path_too_long_says_so() {
    for_each_reactor(|kind| {
        let long = std::env::temp_dir().join("x".repeat(200));
        let mut runtime = runtime(kind);
        let error = runtime
            .block_on(UnixStream::connect(&long))
            .unwrap()
            .unwrap_err();
        assert!(error.to_string().contains("107 bytes"), "{error}");
        let _current = runtime.enter();
        let error = UnixListener::bind(&long).unwrap_err();
        assert!(error.to_string().contains("107 bytes"), "{error}");
    });
}

#[test]
fn a_connect_to_nowhere_names_the_path() {
    for_each_reactor(|kind| {
        let path = path("nowhere", kind);
        let error = runtime(kind)
            .block_on(UnixStream::connect(&path))
            .unwrap()
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    });
}

/// A listener with room for one connection more, which is taken; nobody accepts yet.
fn full_listener(path: &std::path::Path) -> (socket2::Socket, Vec<StdStream>) {
    let listener =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener
        .bind(&socket2::SockAddr::unix(path).unwrap())
        .unwrap();
    listener.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let stream =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        stream.set_nonblocking(true).unwrap();
        match stream.connect(&socket2::SockAddr::unix(path).unwrap()) {
            Ok(()) => waiting.push(std::os::fd::OwnedFd::from(stream).into()),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
                return (listener, waiting);
            }
        }
    }
}

#[test]
fn a_connect_waits_for_room_in_a_full_backlog() {
    // On epoll it failed with EAGAIN, on the ring it waited.
    for_each_reactor(|kind| {
        let path = path("full", kind);
        let (listener, waiting) = full_listener(&path);
        let there = path.clone();
        let mut runtime = runtime(kind);
        let accepting = runtime
            .block_on(async move {
                let dialling = zcn::spawn(async move { UnixStream::connect(&there).await });
                zcn::sleep(Duration::from_millis(30)).await;
                assert!(!dialling.is_finished(), "there is no room yet");
                let accepting = std::thread::spawn(move || {
                    (0..=waiting.len()).for_each(|_| drop(listener.accept().unwrap()));
                });
                dialling.await.unwrap().unwrap();
                accepting
            })
            .unwrap();
        accepting.join().unwrap();
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_connect_to_a_full_backlog_ends_with_its_time_limit() {
    for_each_reactor(|kind| {
        let path = path("full-limit", kind);
        let _full = full_listener(&path);
        let mut options = ConnectOptions::default();
        options.timeout = Some(Duration::from_millis(50));
        let mut runtime = runtime(kind);
        let error = runtime
            .block_on(UnixStream::connect_with(&path, &options))
            .unwrap()
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
        run_until(&mut runtime, "cancelled", |runtime| {
            runtime.stats().connections == 0
        });
        std::fs::remove_file(path).unwrap();
    });
}

/// A server that sends much to everybody it accepts, and gives up on those who take nothing.
fn sender(runtime: &zcn::Runtime, path: &std::path::Path) -> TcpServer {
    let mut options = ServerOptions::default();
    options.write_timeout = Some(Duration::from_millis(200));
    let script = Script {
        accept: Box::new(|conn| {
            conn.send(bytes::Bytes::from(vec![7; 2_000_000])).unwrap();
            conn.close();
        }),
        ..Script::default()
    };
    TcpServer::bind(runtime, path.to_owned(), options, script).unwrap()
}

#[test]
fn a_slow_but_steady_reader_of_a_path_is_not_cut_off() {
    // Only the end of a send counted as progress.
    for_each_reactor(|kind| {
        let path = path("slow", kind);
        let mut runtime = runtime(kind);
        let server = sender(&runtime, &path);
        let there = path.clone();
        let received = serve(&mut runtime, move || {
            let mut stream = StdStream::connect(there).unwrap();
            let mut received = 0;
            let mut piece = vec![0; 20_000];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                received += count;
                std::thread::sleep(Duration::from_millis(8));
            }
            received
        });
        assert_eq!(received, 2_000_000, "{kind:?}");
        assert_eq!(server.stats().timed_out, 0);
    });
}

#[test]
fn a_peer_on_a_path_that_takes_nothing_is_cut_off() {
    for_each_reactor(|kind| {
        let path = path("silent", kind);
        let mut runtime = runtime(kind);
        let rest = at_rest(&mut runtime);
        let server = sender(&runtime, &path);
        let silent = StdStream::connect(&path).unwrap();
        run_until(&mut runtime, "cut off", |_| server.stats().timed_out == 1);
        all_home(&mut runtime, rest);
        drop(silent);
    });
}
