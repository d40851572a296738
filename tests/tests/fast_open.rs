//! TCP Fast Open (RFC 7413) between the user-space stack and the kernel, over a TAP device in a
//! network namespace of its own: each is once the client and once the server.

#![expect(clippy::print_stdout, reason = "a test tells why it was skipped")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant as Clock};

use rustix::net::{AddressFamily, SendFlags, SocketType};
use zcn_link::{Driver, Tun};
use zcn_pool::BufferPool;
use zcn_stack::slab::Id;
use zcn_stack::tcp::{SocketOptions, TCPI_OPT_SYN_DATA};
use zcn_stack::{Instant, InterfaceConfig, InterfaceId, Stack, StackConfig};
use zcn_sys::namespace::enter_new_network;

const PATIENCE: Duration = Duration::from_secs(20);
/// Connections of each client: the first one asks for a cookie.
const ROUNDS: usize = 5;
/// `MSG_FASTOPEN` of linux/socket.h.
const MSG_FASTOPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);
/// Clients, servers, and all listeners (`tcp_fastopen` of the kernel's ip-sysctl).
const EVERYWHERE: &str = "1027";
const KERNEL: &str = "10.9.0.1";
const OURS: &str = "10.9.0.2";

fn skipped(reason: impl std::fmt::Display) {
    println!("SKIPPED: {reason}");
}

/// The stack and its link, turned by hand.
struct End {
    stack: Stack,
    tun: Tun,
    interface: InterfaceId,
    start: Clock,
}

impl End {
    fn now(&self) -> Instant {
        Instant::from_secs(1) + self.start.elapsed()
    }

    fn turn(&mut self) {
        let mut frames = Vec::new();
        self.tun.receive(&mut frames, 64).expect("frames in");
        let now = self.now();
        self.stack.handle_frames(now, self.interface, &mut frames);
        if self.stack.poll_timeout().is_some_and(|due| due <= now) {
            self.stack.handle_timeout(now);
        }
    }

    fn send(&mut self) {
        let (now, mut leaving) = (self.now(), VecDeque::new());
        self.stack
            .poll_frames(now, self.interface, &mut leaving, 64);
        while !leaving.is_empty() {
            self.tun.transmit(&mut leaving).expect("frames out");
        }
        self.tun.flush().expect("frames out");
        let wait = Some(Duration::from_millis(1));
        self.tun.wait(Duration::ZERO, wait).expect("a wait");
    }

    /// Turns until `done` has an answer.
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begun = Clock::now();
        loop {
            self.turn();
            // What is found is from before an answer to it could leave.
            let found = done(self);
            self.send();
            if let Some(found) = found {
                return found;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{what}: {:?}",
                self.stack.stats().tcp
            );
        }
    }

    /// All that a connection brings, up to its end.
    fn read_to_end(&mut self, id: Id) -> Vec<u8> {
        let (mut all, mut some) = (Vec::new(), [0; 100]);
        self.until("the end of a stream", move |end| {
            let now = end.now();
            while let Ok(count) = end.stack.tcp_recv(now, id, &mut some) {
                if count == 0 {
                    return Some(std::mem::take(&mut all));
                }
                all.extend_from_slice(&some[..count]);
            }
            None
        })
    }
}

fn bring_up() -> Option<End> {
    let tun = match Tun::tap("fast0").open() {
        Ok(mut queues) => queues.pop()?,
        Err(error) => {
            skipped(error);
            return None;
        }
    };
    let setting = "/proc/sys/net/ipv4/tcp_fastopen";
    if let Err(error) = std::fs::write(setting, EVERYWHERE) {
        skipped(format_args!("{setting} cannot be set: {error}"));
        return None;
    }
    let added = Command::new("ip")
        .args(["addr", "add", &format!("{KERNEL}/24"), "dev", "fast0"])
        .status();
    if !added.is_ok_and(|status| status.success()) {
        skipped("ip is not installed");
        return None;
    }
    let pool = BufferPool::builder().buffer_size(4096).count(256);
    let pool = pool.build().expect("memory");
    let now = Instant::from_secs(1);
    let mut stack = Stack::new(StackConfig::default(), pool.local(), &[3; 32], now);
    let network = format!("{OURS}/24").parse().expect("a network");
    let settings = InterfaceConfig::new(*tun.capabilities(), &[network]);
    let interface = stack.add_interface(now, &settings).expect("an interface");
    let start = Clock::now();
    Some(End {
        stack,
        tun,
        interface,
        start,
    })
}

/// The kernel connects with data, each time a new socket, and answers what it was answered.
fn kernel_client(server: SocketAddr) -> Vec<Vec<u8>> {
    let connect = |_| {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
        let socket = socket.expect("a socket");
        let sent = rustix::net::sendto(&socket, b"ask", MSG_FASTOPEN, &server);
        assert_eq!(sent, Ok(3));
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        answer
    };
    (0..ROUNDS).map(connect).collect()
}

/// The kernel answers as many connections, and tells what they brought.
fn kernel_server(listener: &TcpListener) -> Vec<Vec<u8>> {
    let serve = |_| {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut asked = [0; 3];
        stream.read_exact(&mut asked).expect("a request");
        stream.write_all(b"answer").expect("room");
        asked.to_vec()
    };
    (0..ROUNDS).map(serve).collect()
}

fn in_namespace(test: fn(End)) {
    let thread = thread::spawn(move || {
        if let Err(error) = enter_new_network() {
            return skipped(format_args!("no network namespace of our own: {error}"));
        }
        if let Some(end) = bring_up() {
            test(end);
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn the_kernels_data_comes_with_its_syn() {
    in_namespace(|mut end| {
        let mut options = SocketOptions::default();
        options.fast_open = Some(4);
        let address: SocketAddr = format!("{OURS}:80").parse().expect("an address");
        let listener = end
            .stack
            .tcp_listen(address, 4, options)
            .expect("a listener");
        let client = thread::spawn(move || kernel_client(address));
        for _ in 0..ROUNDS {
            let (id, _) = end.until("a connection", |end| {
                let now = end.now();
                end.stack.tcp_accept(now, listener).ok()
            });
            let mut asked = [0; 10];
            let count = end.until("a request", |end| {
                let now = end.now();
                end.stack.tcp_recv(now, id, &mut asked).ok()
            });
            assert_eq!(&asked[..count], b"ask");
            let now = end.now();
            assert_eq!(end.stack.tcp_send(now, id, b"answer", false), Ok(6));
            end.stack.tcp_shutdown_write(now, id).expect("an end");
            assert_eq!(end.read_to_end(id), b"");
            end.stack.tcp_close(now, id).expect("a connection");
        }
        end.until("the kernel's client", |_| {
            client.is_finished().then_some(())
        });
        let answers = client.join().expect("answers");
        assert_eq!(answers, vec![b"answer".to_vec(); ROUNDS]);
        let stats = end.stack.stats().tcp;
        // A SYN that waits for a second, on a busy machine, goes again without.
        assert!(stats.fast_open_cookie_reqd > 0);
        assert!(stats.fast_open_passive > 0, "{stats:?}");
        assert_eq!(stats.fast_open_passive_fail, 0);
    });
}

#[test]
fn the_kernel_takes_the_data_of_our_syn() {
    in_namespace(|mut end| {
        let listener = TcpListener::bind((KERNEL, 81)).expect("a listener");
        let server = thread::spawn(move || kernel_server(&listener));
        let address: SocketAddr = format!("{KERNEL}:81").parse().expect("an address");
        let mut taken = 0;
        for _ in 0..ROUNDS {
            let mut options = SocketOptions::default();
            options.fast_open_connect = true;
            let now = end.now();
            let id = end.stack.tcp_connect(now, address, None, options);
            let id = id.expect("a way");
            assert_eq!(end.stack.tcp_send(now, id, b"ask", false), Ok(3));
            assert_eq!(end.read_to_end(id), b"answer");
            let now = end.now();
            let info = end.stack.tcp_info(now, id).expect("a connection");
            taken += u64::from(info.tcpi_options & TCPI_OPT_SYN_DATA != 0);
            end.stack.tcp_close(now, id).expect("a connection");
        }
        end.until("the kernel's server", |_| {
            server.is_finished().then_some(())
        });
        let asked = server.join().expect("requests");
        assert_eq!(asked, vec![b"ask".to_vec(); ROUNDS]);
        let stats = end.stack.stats().tcp;
        assert!(end.stack.tcp_knows_fast_open(address.ip()));
        assert!(taken > 0, "{stats:?}");
        assert_eq!(stats.fast_open_active, taken + stats.fast_open_active_fail);
    });
}
