//! What the tests of this crate share: both reactors, both halves, hang guards, bytes to compare.
// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zcn::stack::{IpCidr, LinkConfig, StackConfig};
use zcn::{
    Address, Buf, Conn, ConnId, Handler, ReactorKind, Runtime, RuntimeBuilder, SendError,
    ServerOptions, TcpServer,
};

/// How long anything may take before a test counts as hung.
pub const HANG: Duration = Duration::from_secs(20);
/// How long a whole test may take on one reactor, on a machine that has much else to do.
const HANG_OF_TEST: Duration = Duration::from_secs(150);

/// Says that a test could not run here.
pub fn skipped(reason: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "SKIPPED: {reason}");
}

/// The reactors this machine has.
pub fn reactors() -> Vec<ReactorKind> {
    match Runtime::builder().reactor(ReactorKind::Uring).build() {
        Ok(_) => vec![ReactorKind::Uring, ReactorKind::Epoll],
        Err(error) => {
            skipped(format_args!("io_uring: {error}"));
            vec![ReactorKind::Epoll]
        }
    }
}

/// Runs a test on every reactor, and ends the process if it hangs.
pub fn for_each_reactor(test: impl Fn(ReactorKind)) {
    for kind in reactors() {
        let _guard = HangGuard::new(format!("on {kind:?}"));
        test(kind);
    }
}

/// What a test runs on: a reactor, and a half.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ground {
    pub reactor: ReactorKind,
    pub half: Half,
}

/// Which TCP/IP the sockets of a test have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The kernel's.
    Kernel,
    /// A stack of the runtime's own, which meets nobody but itself.
    Stack,
    /// A stack on a TUN device, with the kernel of a network namespace as its neighbour.
    StackOnTun,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}-{:?}", self.reactor, self.half)
    }
}

impl From<ReactorKind> for Ground {
    fn from(reactor: ReactorKind) -> Self {
        Self {
            reactor,
            half: Half::Kernel,
        }
    }
}

/// Runs a test on every reactor and both halves, and ends the process if it hangs. Its peers are
/// zcn's own.
pub fn for_each_half(test: impl Fn(Ground)) {
    for reactor in reactors() {
        for half in [Half::Kernel, Half::Stack] {
            let ground = Ground { reactor, half };
            let _guard = HangGuard::new(format!("on {ground:?}"));
            test(ground);
        }
    }
}

/// The stack and the kernel on the two ends of the TUN device.
const OURS: [u8; 4] = [10, 77, 0, 2];
const KERNELS: [u8; 4] = [10, 77, 0, 1];

thread_local! {
    /// Whether the sockets of this thread's tests are on a TUN device.
    static ON_TUN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs a test on every reactor and both halves, with sockets of the standard library as peers of
/// either. The stack is on a TUN device then, in a network namespace of its own.
pub fn for_each_half_with_peers(test: impl Fn(Ground) + Send + Sync) {
    let test = &test;
    for_each_reactor(|kind| test(kind.into()));
    std::thread::scope(|scope| {
        // The namespace is the thread's, and goes with it.
        let tested = std::thread::Builder::new()
            .name(std::thread::current().name().unwrap_or_default().to_owned())
            .spawn_scoped(scope, move || {
                if let Err(error) = zcn_sys::namespace::enter_new_network() {
                    return skipped(format_args!("no network namespace of our own: {error}"));
                }
                zcn_link::Interface::open("lo")
                    .and_then(|lo| lo.set_up(true))
                    .unwrap();
                ON_TUN.set(true);
                for reactor in reactors() {
                    let half = Half::StackOnTun;
                    let ground = Ground { reactor, half };
                    let _guard = HangGuard::new(format!("on {ground:?}"));
                    test(ground);
                }
            })
            .unwrap();
        if let Err(panic) = tested.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs a task on every reactor and both halves; whatever it has connected must be gone with it.
pub fn on_both(test: impl AsyncFn(Ground)) {
    for_each_half(|ground| run_task(ground, &test));
}

/// Runs a task on every reactor with the kernel's sockets; whatever it has connected must be gone
/// with it.
pub fn on_both_reactors(test: impl AsyncFn(Ground)) {
    for_each_reactor(|kind| run_task(kind.into(), &test));
}

fn run_task(ground: Ground, test: &impl AsyncFn(Ground)) {
    let mut runtime = builder(ground)
        .buffers(256)
        .receive_buffers(64)
        .build()
        .unwrap();
    runtime.block_on(test(ground)).unwrap();
    run_until(&mut runtime, "no connection left", |runtime| {
        runtime.stats().connections == 0
    });
}

/// Ends the process if it lives too long: a hung test tells where it hangs.
pub struct HangGuard(Option<(mpsc::Sender<()>, JoinHandle<()>)>);

impl HangGuard {
    pub fn new(what: String) -> Self {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            if receiver.recv_timeout(HANG_OF_TEST) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = writeln!(io::stderr(), "HUNG: {name} {what}");
                std::process::exit(101);
            }
        });
        Self(Some((sender, thread)))
    }
}

impl Drop for HangGuard {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

pub fn builder(ground: impl Into<Ground>) -> RuntimeBuilder {
    let Ground { reactor, half } = ground.into();
    let builder = Runtime::builder().reactor(reactor);
    match half {
        Half::Kernel => builder,
        Half::Stack => builder.stack(StackConfig::new(LinkConfig::memory())),
        Half::StackOnTun => {
            let cidr = |address: [u8; 4]| IpCidr::new(address.into(), 24).unwrap();
            let mut config = StackConfig::new(LinkConfig::tun("zcn0"));
            config.addresses.push(cidr(OURS));
            config.link.kernel_addresses.push(cidr(KERNELS));
            builder.stack(config)
        }
    }
}

pub fn runtime(ground: impl Into<Ground>) -> Runtime {
    builder(ground).build().unwrap()
}

/// An address of the half under test, any port.
pub fn any() -> SocketAddr {
    match ON_TUN.get() {
        true => (OURS, 0).into(),
        false => ([127, 0, 0, 1], 0).into(),
    }
}

/// An address for peers of the kernel's, any port.
pub fn any_of_kernel() -> SocketAddr {
    match ON_TUN.get() {
        true => (KERNELS, 0).into(),
        false => ([127, 0, 0, 1], 0).into(),
    }
}

/// An address of this machine at which nobody listens, kept from others by a socket that could.
pub fn closed_port() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&any_of_kernel().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Bytes that differ from their neighbours, and from those of another seed.
pub fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at + seed * 7) * 31 % 251) as u8)
        .collect()
}

/// Runs the loop until `done`.
pub fn run_until(runtime: &mut Runtime, what: &str, mut done: impl FnMut(&Runtime) -> bool) {
    let start = Instant::now();
    while !done(runtime) {
        runtime.run_for(Duration::from_millis(5)).unwrap();
        assert!(
            start.elapsed() < HANG,
            "never: {what}: {:?}",
            runtime.stats()
        );
    }
}

/// Lets the loop run for a while.
pub fn run_for(runtime: &mut Runtime, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        runtime.run_for(Duration::from_millis(2)).unwrap();
    }
}

/// Buffers out of the pool with nothing going on: those lent to the kernel.
pub fn at_rest(runtime: &mut Runtime) -> usize {
    for _ in 0..3 {
        runtime.run_once().unwrap();
    }
    runtime.stats().pool.in_use
}

/// Waits until every connection is gone and every buffer home.
pub fn all_home(runtime: &mut Runtime, at_rest: usize) {
    run_until(runtime, "all home", |runtime| {
        let stats = runtime.stats();
        stats.connections == 0 && stats.pool.in_use == at_rest && stats.tasks == 0
    });
}

/// A blocking client with a time limit.
pub fn client(address: SocketAddr) -> StdStream {
    let stream = StdStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream.set_write_timeout(Some(HANG)).unwrap();
    stream
}

/// A blocking client of a server of this runtime, which runs until it is connected: a stack
/// answers only while its runtime runs.
pub fn dial(runtime: &mut Runtime, address: SocketAddr) -> StdStream {
    let thread = std::thread::spawn(move || client(address));
    run_until(runtime, "connected", |_| thread.is_finished());
    thread.join().unwrap()
}

/// Sends, half-closes, and compares what comes back.
pub fn talk(address: SocketAddr, len: usize, seed: usize) {
    let mut stream = client(address);
    let sent = pattern(len, seed);
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let thread = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    thread.join().unwrap();
    assert_eq!(received.len(), sent.len());
    assert!(received == sent, "bytes differ");
}

/// Runs the loop while a client does its part on a thread of its own.
pub fn serve<T: Send + 'static>(
    runtime: &mut Runtime,
    client: impl FnOnce() -> T + Send + 'static,
) -> T {
    let handle = runtime.handle();
    let thread = std::thread::spawn(move || {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(client));
        handle.stop();
        outcome
    });
    runtime.run().unwrap();
    match thread.join().unwrap() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Sends back what it gets.
pub struct Echo;

impl Handler for Echo {
    type State = ();

    fn on_accept(&mut self, _: &mut Conn<'_>, _: &Address) -> Option<()> {
        Some(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
        match conn.send(data) {
            Ok(()) | Err(SendError::Closed(..)) => {}
            Err(error) => panic!("an echo is never refused while receiving goes on: {error}"),
        }
    }
}

/// A server that echoes.
pub fn echo(runtime: &Runtime) -> (TcpServer, SocketAddr) {
    let server = TcpServer::bind(runtime, any(), ServerOptions::default(), Echo).unwrap();
    let address = server.local_addr().ip().unwrap();
    (server, address)
}

/// A handler of one closure per callback, for tests that look at one of them.
pub type OnData = Box<dyn FnMut(&mut Conn<'_>, Buf)>;
pub type OnConn = Box<dyn FnMut(&mut Conn<'_>)>;

pub struct Script {
    pub accept: OnConn,
    pub refuse: bool,
    pub data: OnData,
    pub writable: OnConn,
    pub end: OnConn,
    pub drain: OnConn,
    pub close: Box<dyn FnMut(ConnId, zcn::CloseReason)>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            accept: Box::new(|_| {}),
            refuse: false,
            data: Box::new(|_, _| {}),
            writable: Box::new(|_| {}),
            end: Box::new(|conn| conn.close()),
            drain: Box::new(|conn| conn.close()),
            close: Box::new(|_, _| {}),
        }
    }
}

impl Handler for Script {
    type State = ();

    fn on_accept(&mut self, conn: &mut Conn<'_>, _: &Address) -> Option<()> {
        (self.accept)(conn);
        (!self.refuse).then_some(())
    }

    fn on_data(&mut self, conn: &mut Conn<'_>, (): &mut (), data: Buf) {
        (self.data)(conn, data);
    }

    fn on_writable(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        (self.writable)(conn);
    }

    fn on_end(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        (self.end)(conn);
    }

    fn on_drain(&mut self, conn: &mut Conn<'_>, (): &mut ()) {
        (self.drain)(conn);
    }

    fn on_close(&mut self, conn: ConnId, (): (), reason: zcn::CloseReason) {
        (self.close)(conn, reason);
    }
}

/// A server that follows a script.
pub fn script(runtime: &Runtime, script: Script) -> (TcpServer, SocketAddr) {
    let mut options = ServerOptions::default();
    options.write_timeout = None;
    let server = TcpServer::bind(runtime, any(), options, script).unwrap();
    let address = server.local_addr().ip().unwrap();
    (server, address)
}
