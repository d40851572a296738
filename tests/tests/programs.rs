//! zcn's echo server, on both reactors and on both faces, driven by programs that know nothing of
//! it: nc, socat, ncat, openssl s_client.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zcn::{
    Address, Buf, Conn, Handle, Handler, ReactorKind, Runtime, ServerOptions, TcpListener,
    TcpServer,
};

/// How long a program may take before it counts as hung.
const HANG: Duration = Duration::from_secs(60);

fn skipped(reason: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "SKIPPED: {reason}");
}

/// Whether a program is installed; says so when it is not.
fn there(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        skipped(format_args!("{program} is not installed"));
    }
    found
}

struct Echo;

impl Handler for Echo {
    type State = ();

    fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
        Some(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
        // Refused only when the peer is gone.
        let _ = conn.send(data);
    }
}

#[derive(Clone, Copy, Debug)]
enum Face {
    Callbacks,
    Tasks,
}

/// An echo server on a thread of its own.
struct Server {
    address: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(kind: ReactorKind, face: Face) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = Runtime::builder().reactor(kind).build().unwrap();
            let any: SocketAddr = ([127, 0, 0, 1], 0).into();
            let address = match face {
                Face::Callbacks => {
                    let server =
                        TcpServer::bind(&runtime, any, ServerOptions::default(), Echo).unwrap();
                    server.local_addr().ip().unwrap()
                }
                Face::Tasks => {
                    let _current = runtime.enter();
                    let listener = TcpListener::bind(any).unwrap();
                    let address = listener.local_addr();
                    zcn::spawn(accept(listener));
                    address
                }
            };
            sender.send((address, runtime.handle())).unwrap();
            runtime.run().unwrap();
        });
        let (address, handle) = receiver.recv().unwrap();
        Self {
            address,
            handle,
            thread: Some(thread),
        }
    }
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        zcn::spawn(async move {
            while let Ok(Some(buf)) = stream.recv().await {
                if stream.send(buf).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn for_each_server(test: impl Fn(SocketAddr)) {
    for kind in [ReactorKind::Uring, ReactorKind::Epoll] {
        if let Err(error) = Runtime::builder().reactor(kind).build() {
            skipped(error);
            continue;
        }
        for face in [Face::Callbacks, Face::Tasks] {
            let server = Server::start(kind, face);
            test(server.address);
        }
    }
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| ((at + seed) * 31 % 251) as u8).collect()
}

/// Starts a program with `input` on its standard input, which then ends.
fn start(program: &str, arguments: &[&str], input: Vec<u8>) -> (Child, JoinHandle<()>) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || {
        // A program that ends early closes its input; what it wrote tells.
        let _ = stdin.write_all(&input);
    });
    (child, writing)
}

/// What the program wrote until it ended; killed when that takes too long.
fn finish((child, writing): (Child, JoinHandle<()>)) -> Vec<u8> {
    let id = child.id();
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        if waiting.recv_timeout(HANG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").arg(id.to_string()).status();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    guard.join().unwrap();
    writing.join().unwrap();
    output.stdout
}

/// Sends bytes through a program that half-closes when its input ends, and compares the answer.
fn through(program: &str, arguments: &[&str], len: usize) {
    if !there(program) {
        return;
    }
    let input = pattern(len, 1);
    let output = finish(start(program, arguments, input.clone()));
    assert_eq!(output.len(), input.len(), "{program}");
    assert!(output == input, "{program}: other bytes came back");
}

#[test]
fn nc_half_closes_and_gets_every_byte() {
    for_each_server(|address| {
        let port = address.port().to_string();
        through("nc", &["-N", "127.0.0.1", &port], 2 << 20);
    });
}

#[test]
fn socat_half_closes_and_gets_every_byte() {
    for_each_server(|address| {
        let target = format!("TCP4:{address}");
        through("socat", &["-t60", "-", &target], 2 << 20);
    });
}

#[test]
fn ncat_gets_every_byte() {
    for_each_server(|address| {
        let port = address.port().to_string();
        through("ncat", &["127.0.0.1", &port], 2 << 20);
    });
}

#[test]
fn many_clients_at_once_keep_their_bytes_apart() {
    if !there("socat") {
        return;
    }
    for_each_server(|address| {
        let target = format!("TCP4:{address}");
        let running: Vec<_> = (0..24)
            .map(|seed| {
                let input = pattern(200_000, seed);
                (
                    start("socat", &["-t60", "-", &target], input.clone()),
                    input,
                )
            })
            .collect();
        for (program, input) in running {
            assert!(finish(program) == input, "other bytes came back");
        }
    });
}

#[test]
fn a_program_that_does_not_read_is_no_harm_to_others() {
    if !there("socat") {
        return;
    }
    for_each_server(|address| {
        let target = format!("TCP4:{address}");
        // One way only: what comes back is never read.
        let (mut deaf, writing) = start("socat", &["-u", "-", &target], pattern(32 << 20, 1));
        let start = Instant::now();
        through("socat", &["-t60", "-", &target], 500_000);
        assert!(start.elapsed() < HANG);
        // It may be waiting for ever, as its peer does not read on either.
        let _ = deaf.kill();
        deaf.wait().unwrap();
        writing.join().unwrap();
    });
}

#[test]
fn openssl_meets_its_own_greeting_and_gives_up() {
    // No TLS is spoken here: an echo sends the ClientHello back, which is no ServerHello. The
    // program must be told so at once and not wait; the server must serve on.
    if !there("openssl") {
        return;
    }
    for_each_server(|address| {
        let target = address.to_string();
        let started = start("openssl", &["s_client", "-connect", &target], Vec::new());
        let output = String::from_utf8_lossy(&finish(started)).into_owned();
        assert!(output.contains("no peer certificate available"), "{output}");
        if there("nc") {
            through(
                "nc",
                &["-N", "127.0.0.1", &address.port().to_string()],
                10_000,
            );
        }
    });
}

#[test]
fn socat_reaches_a_unix_socket() {
    if !there("socat") {
        return;
    }
    for kind in [ReactorKind::Uring, ReactorKind::Epoll] {
        let Ok(mut runtime) = Runtime::builder().reactor(kind).build() else {
            continue;
        };
        let path = std::env::temp_dir().join(format!("zcn-socat-{kind:?}-{}", std::process::id()));
        let _server =
            TcpServer::bind(&runtime, path.clone(), ServerOptions::default(), Echo).unwrap();
        let handle = runtime.handle();
        let client = std::thread::spawn(move || {
            let target = format!("UNIX-CONNECT:{}", path.display());
            let outcome = std::panic::catch_unwind(|| {
                through("socat", &["-t60", "-", &target], 1 << 20);
            });
            handle.stop();
            outcome
        });
        runtime.run().unwrap();
        client.join().unwrap().unwrap();
    }
}
