//! Echo servers as the loads see them: something that starts on a core, has an address,
//! and stops when told.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::core;
use crate::error::{Action, Error, Result};
use crate::meter::{Enrolled, Meters, Usage};

/// How long a server may take until it listens, or until it has stopped.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How a server is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerOptions {
    /// The core to stay on; `None` leaves the choice to the kernel.
    pub core: Option<usize>,
    /// How long to look for work before sleeping; `None` sleeps at once.
    pub spin: Option<Duration>,
    /// For UDP: datagrams of this size travel in super-packets (`UDP_SEGMENT` and
    /// `UDP_GRO`); `None` sends each by itself.
    pub udp_segment: Option<u16>,
}

impl ServerOptions {
    /// Sleeps at once when there is nothing to do.
    pub fn blocking(core: usize) -> Self {
        Self {
            core: Some(core),
            ..Self::default()
        }
    }

    /// Spins for longer than any pause of a load, so that it never sleeps under load.
    pub fn spinning(core: usize) -> Self {
        Self {
            spin: Some(Duration::from_millis(20)),
            ..Self::blocking(core)
        }
    }
}

type Serve = dyn Fn(&Seat) -> Result<()> + Send + Sync;

/// A server that can be started any number of times.
#[derive(Clone)]
pub struct Server {
    name: String,
    serve: Arc<Serve>,
}

impl Server {
    /// `serve` runs on a thread of its own, takes its socket from the [`Seat`] (or binds
    /// one and calls [`Seat::ready`]) and returns soon after it was told to stop.
    pub fn new(
        name: impl Into<String>,
        serve: impl Fn(&Seat) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            serve: Arc::new(serve),
        }
    }

    /// The name in the tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts the server and returns when it listens.
    ///
    /// # Errors
    /// What the server itself reports, when it ends before it listens.
    pub fn start(&self, options: &ServerOptions) -> Result<Running> {
        let shared = Arc::new(Shared::default());
        let (ready, listening) = mpsc::channel();
        let seat_parts = (options.clone(), shared.clone());
        let serve = self.serve.clone();
        let thread = std::thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || {
                let (options, shared) = seat_parts;
                if let Some(core) = options.core {
                    core::pin(core)?;
                }
                let meter = shared.meters.enroll();
                let seat = Seat {
                    options,
                    shared,
                    ready,
                    meter,
                };
                serve(&seat)
            })
            .action("start a server's thread")?;
        let mut running = Running {
            name: self.name.clone(),
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            shared,
            thread: Some(thread),
        };
        match listening.recv_timeout(PATIENCE) {
            Ok(address) => {
                running.address = address;
                Ok(running)
            }
            // The thread dropped its seat: it has an error to tell.
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(running
                .stop()
                .err()
                .unwrap_or_else(|| running_error(&self.name, "it returned before it listened"))),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                running.thread = None;
                Err(running_error(&self.name, "it does not listen"))
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.name).finish()
    }
}

fn running_error(name: &str, reason: impl Into<String>) -> Error {
    Error::Server {
        name: name.to_owned(),
        reason: reason.into(),
    }
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    hooks: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    meters: Meters,
}

/// What a server is given: its options, a way to its socket, its meter and the word to
/// stop.
pub struct Seat {
    options: ServerOptions,
    shared: Arc<Shared>,
    ready: mpsc::Sender<SocketAddr>,
    meter: Enrolled,
}

impl Seat {
    /// How to run.
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// Counters of the server's first thread.
    pub fn meter(&self) -> &Enrolled {
        &self.meter
    }

    /// A meter for another thread of the server; call it on that thread.
    pub fn enroll(&self) -> Enrolled {
        self.shared.meters.enroll()
    }

    /// Opens a TCP listener on a free loopback port and reports its address.
    pub fn listen(&self) -> Result<TcpListener> {
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )
        .action("open a TCP socket")?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any_port.into()).action("bind a listener")?;
        socket.listen(BACKLOG).action("listen")?;
        let listener = TcpListener::from(socket);
        self.ready(listener.local_addr().action("read a listener's address")?);
        Ok(listener)
    }

    /// Binds a UDP socket to a free loopback port and reports its address.
    pub fn udp_socket(&self) -> Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).action("bind a UDP socket")?;
        self.ready(socket.local_addr().action("read a socket's address")?);
        Ok(socket)
    }

    /// Says that the server listens at `address`. Called once, by servers that bind their
    /// socket themselves.
    pub fn ready(&self, address: SocketAddr) {
        // Nobody listens any more when `start` has lost its patience.
        let _ = self.ready.send(address);
    }

    /// Whether the server is to return.
    pub fn stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// Has `hook` called when the server is to return, on the thread that says so; at
    /// once when it was said already.
    pub fn on_stop(&self, hook: impl FnOnce() + Send + 'static) {
        let mut hooks = self.shared.lock_hooks();
        hooks.push(Box::new(hook));
        // The flag is set before the hooks are taken, both seen under this lock.
        if self.stopped() {
            let late: Vec<_> = hooks.drain(..).collect();
            drop(hooks);
            late.into_iter().for_each(|hook| hook());
        }
    }
}

impl Shared {
    fn lock_hooks(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn FnOnce() + Send>>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let hooks: Vec<_> = self.lock_hooks().drain(..).collect();
        hooks.into_iter().for_each(|hook| hook());
    }
}

/// A server that listens. Dropping it stops it.
pub struct Running {
    name: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it used and did so far.
    pub fn usage(&self) -> Usage {
        self.shared.meters.usage()
    }

    /// Tells the server to stop and waits until it has; returns what it used in all.
    ///
    /// # Errors
    /// What the server itself reports, and a panic of its thread.
    pub fn stop(mut self) -> Result<Usage> {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            match thread.join() {
                Ok(result) => result?,
                Err(panic) => return Err(running_error(&self.name, panic_text(&*panic))),
            }
        }
        Ok(self.usage())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // An error in front of this one is already on its way to the user.
            let _ = thread.join();
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without a text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_before_listening_reach_the_caller() {
        let broken = Server::new("broken", |_| Err(Error::Options("no luck".to_owned())));
        let error = broken.start(&ServerOptions::default()).err().unwrap();
        assert_eq!(error.to_string(), "no luck");
        let panics = Server::new("panics", |_| panic!("oh no"));
        let error = panics.start(&ServerOptions::default()).err().unwrap();
        assert!(error.to_string().contains("oh no"), "{error}");
    }

    #[test]
    fn a_server_is_told_to_stop() {
        let server = Server::new("waits", |seat| {
            let _listener = seat.listen()?;
            let (tell, told) = mpsc::channel();
            seat.on_stop(move || tell.send(()).unwrap());
            told.recv().unwrap();
            assert!(seat.stopped());
            Ok(())
        });
        let running = server.start(&ServerOptions::default()).unwrap();
        assert!(running.address().ip().is_loopback());
        running.stop().unwrap();
    }
}
