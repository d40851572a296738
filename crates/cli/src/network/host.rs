//! A party with the kernel's stack, in a network namespace of its own.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use zcn::stack::IpCidr;
use zcn_link::{Interface, OpenError, ReceiveBuffers, Tun};
use zcn_sys::namespace::enter_new_network;

use crate::failure::Failure;

/// Name of the device in the namespace.
pub(crate) const DEVICE: &str = "zcn0";

/// Buffers that hold what is under way: a super-frame of a few packets takes a large one,
/// and packets that are delayed keep it. Memory is taken as they are used.
const BUFFERS: ReceiveBuffers = ReceiveBuffers {
    small: 16_384,
    large: 4096,
};

/// How long an address may take to become usable; whoever uses it then is told.
const USABLE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace and a thread that stays in it. The namespace goes when the host is
/// dropped and the last of its sockets and processes is gone.
pub(crate) struct Host {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// A new namespace with loopback up.
    ///
    /// # Errors
    /// Namespaces are refused.
    pub(crate) fn new() -> Result<Self, Failure> {
        let (jobs, queue): (Sender<Job>, Receiver<Job>) = channel();
        let (ready, outcome) = channel();
        let thread = thread::Builder::new()
            .name("host".to_owned())
            .spawn(move || {
                let entered = enter_new_network().and_then(|()| {
                    Interface::open("lo")
                        .and_then(|lo| lo.set_up(true))
                        .map_err(io::Error::other)
                });
                let usable = entered.is_ok();
                // Nobody waits any more: then there is nothing to do either.
                if ready.send(entered).is_err() || !usable {
                    return;
                }
                while let Ok(job) = queue.recv() {
                    job();
                }
            })
            .map_err(no_thread)?;
        let entered = outcome
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread ended")));
        entered.map_err(|error| {
            Failure::new("cannot make a network namespace")
                .because(error)
                .remedy("run it as root, or as `unshare -Urn zcn ...`")
        })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// A new namespace whose kernel has these addresses on a TAP device of this MTU, and
    /// the device's other end.
    ///
    /// # Errors
    /// Namespaces or TAP devices are refused.
    pub(crate) fn with_tap(addresses: &[IpCidr], mtu: u32) -> Result<(Self, Tun), Failure> {
        let host = Self::new()?;
        let addresses = addresses.to_vec();
        let opened = host.enter(move || -> Result<Option<Tun>, OpenError> {
            // Nobody else is on the link: duplicate address detection would take a second,
            // in which an IPv6 address cannot be used. Without IPv6 there is no such file.
            let _ = fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
            let queues = Tun::tap(DEVICE).mtu(mtu).buffers(BUFFERS).open()?;
            let interface = Interface::open(DEVICE)?;
            for cidr in addresses {
                interface.add_address(cidr.address(), cidr.prefix_len())?;
                await_usable(cidr);
            }
            Ok(queues.into_iter().next())
        })?;
        match opened.map_err(|error| Failure::new("cannot make a TAP device").because(error))? {
            Some(tap) => Ok((host, tap)),
            None => Err(Failure::new("a TAP device without a queue")),
        }
    }

    /// Calls `work` on the thread in the namespace and waits for its answer. Sockets it
    /// opens are in the namespace, whoever uses them later.
    ///
    /// # Errors
    /// `work` panicked.
    pub(crate) fn enter<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (done, answer) = channel();
        let job: Job = Box::new(move || {
            // The asker waits below.
            let _ = done.send(work());
        });
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
        match answer.recv() {
            Ok(answer) if sent => Ok(answer),
            _ => Err(Failure::new("the thread of a network namespace has ended")),
        }
    }

    /// Starts a thread in the namespace.
    ///
    /// # Errors
    /// No thread can be had.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, Failure> {
        // A thread is in the namespace of the one that starts it.
        self.enter(|| {
            thread::Builder::new()
                .name("in a host".to_owned())
                .spawn(work)
        })?
        .map_err(no_thread)
    }
}

/// Without duplicate address detection, too, an IPv6 address is usable a little later only.
fn await_usable(cidr: IpCidr) {
    let begun = Instant::now();
    while UdpSocket::bind((cidr.address(), 0)).is_err() && begun.elapsed() < USABLE {
        thread::sleep(Duration::from_millis(2));
    }
}

fn no_thread(error: io::Error) -> Failure {
    Failure::new("cannot start a thread").because(error)
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It panics only where a job did, whose asker was told.
            let _ = thread.join();
        }
    }
}
