//! The loop of one stack on one link.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Clock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use zcn_frame::Frame;
use zcn_link::{Driver, Statistics};
use zcn_pool::{BufferPool, LocalPool};
use zcn_stack::event::Event;
use zcn_stack::route::Route;
use zcn_stack::{ConfigError, Instant, InterfaceConfig, InterfaceId, Stack};
use zcn_sys::eventfd::EventFd;

use super::config::StackConfig;
use super::error::StackError;
use super::link::open_link;

/// Size of the buffers for what is sent by copying.
const BUFFER_BYTES: usize = 4096;
/// While the link takes nothing, it is asked again after this time at the latest.
const FULL_LINK: Duration = Duration::from_millis(1);

/// What an application makes of its sockets' events.
pub trait StackHandler {
    /// A socket became ready. Edges, not levels: take what there is until a call answers
    /// that it would block. What is sent here leaves when all events were told.
    fn on_event(&mut self, stack: &mut Stack, now: Instant, event: Event);
}

/// A stack, the link it is on, and the loop between the two.
///
/// It belongs to the thread that runs it and sleeps in poll(2) of its own, on the link's
/// descriptor and until the stack's next deadline; [`StackStopper`] wakes it from
/// elsewhere.
pub struct StackLoop {
    stack: Stack,
    interface: InterfaceId,
    driver: Box<dyn Driver>,
    pool: LocalPool,
    start: Clock,
    spin: Duration,
    batch: usize,
    received: Vec<Frame>,
    polled: Vec<Frame>,
    /// What the link had no room for yet, in order.
    leaving: VecDeque<Frame>,
    stop: Arc<Stop>,
}

impl fmt::Debug for StackLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackLoop")
            .field("interface", &self.interface)
            .field("link", self.driver.capabilities())
            .field("leaving", &self.leaving.len())
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Stop {
    /// Set before the wake-up, whose write orders it.
    asked: AtomicBool,
    event: EventFd,
}

/// Ends a [`StackLoop::run`], from any thread.
#[derive(Clone, Debug)]
pub struct StackStopper(Arc<Stop>);

impl StackStopper {
    /// Ends the run in progress, or the next one.
    pub fn stop(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        // Nothing but a closed descriptor is refused, and it is open as long as we are.
        let _ = self.0.event.wake();
    }
}

impl StackLoop {
    /// Opens the link and brings a stack up on it. All its secrets derive from a seed that
    /// the kernel gives.
    ///
    /// # Errors
    /// What is wrong with the link or the settings, and what helps.
    pub fn open(config: &StackConfig) -> Result<Self, StackError> {
        let driver = open_link(&config.link)?;
        Self::with_driver(config, driver)
    }

    /// Brings a stack up on a link that is open already; of the link's settings only the
    /// MTU and the address count, where they are given.
    ///
    /// # Errors
    /// What is wrong with the settings, and what helps.
    pub fn with_driver(config: &StackConfig, driver: Box<dyn Driver>) -> Result<Self, StackError> {
        if config.batch == 0 {
            return Err(StackError::Setting {
                setting: "batch",
                got: config.batch.to_string(),
                range: "at least 1",
            });
        }
        let kernel = &config.link.kernel_addresses;
        let ours = config.addresses.iter().map(|cidr| cidr.address());
        for address in ours {
            if kernel.iter().any(|cidr| cidr.address() == address) {
                return Err(ConfigError::AddressInUse(address).into());
            }
        }
        let pool = BufferPool::builder()
            .buffer_size(BUFFER_BYTES)
            .count(config.buffers)
            .build()?
            .local();
        let mut seed = [0; 32];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).map_err(
            |errno| StackError::Kernel {
                action: "get a random seed",
                source: errno.into(),
            },
        )?;
        let stop = Stop {
            asked: AtomicBool::new(false),
            event: EventFd::new().map_err(|source| StackError::Kernel {
                action: "make an eventfd",
                source,
            })?,
        };
        let now = Instant::ZERO;
        let mut stack = Stack::new(config.protocols.clone(), pool.clone(), &seed, now);
        let mut settings = InterfaceConfig::new(*driver.capabilities(), &config.addresses);
        settings.link_address = config.link.address;
        settings.mtu = config.link.mtu;
        let interface = stack.add_interface(now, &settings)?;
        for route in &config.routes {
            stack.add_route(Route {
                gateway: route.via,
                metric: route.metric,
                mtu: route.mtu,
                ..Route::on_link(route.to, interface)
            })?;
        }
        Ok(Self {
            stack,
            interface,
            driver,
            pool,
            start: Clock::now(),
            spin: config.spin,
            batch: config.batch,
            received: Vec::with_capacity(config.batch),
            polled: Vec::with_capacity(config.batch),
            leaving: VecDeque::with_capacity(config.batch),
            stop: Arc::new(stop),
        })
    }

    /// The stack, for calls on sockets outside of events.
    pub fn stack(&mut self) -> &mut Stack {
        &mut self.stack
    }

    /// The interface on the link.
    pub fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// Buffers for what is sent; those of [`Stack`] itself.
    pub fn pool(&self) -> &LocalPool {
        &self.pool
    }

    /// The link's counters.
    pub fn link_statistics(&mut self) -> &Statistics {
        self.driver.statistics()
    }

    /// What the link can do.
    pub fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// The stack's time.
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// What ends [`run`](Self::run) from elsewhere.
    pub fn stopper(&self) -> StackStopper {
        StackStopper(self.stop.clone())
    }

    /// Goes round until somebody stops it.
    ///
    /// # Errors
    /// If the link is gone.
    pub fn run(&mut self, handler: &mut impl StackHandler) -> Result<(), StackError> {
        loop {
            if self.stop.asked.swap(false, Ordering::SeqCst) {
                // A wake-up that is not taken back costs one turn of the next run.
                let _ = self.stop.event.drain();
                return Ok(());
            }
            let moved = self.turn(handler).map_err(StackError::LinkGone)?;
            if !moved {
                self.wait(None).map_err(StackError::LinkGone)?;
            }
        }
    }

    /// One turn without sleeping: frames in, deadlines, events, frames out. Answers whether
    /// anything moved; if nothing did, [`wait`](Self::wait).
    ///
    /// # Errors
    /// If the link is gone.
    pub fn turn(&mut self, handler: &mut impl StackHandler) -> io::Result<bool> {
        let received = self.driver.receive(&mut self.received, self.batch);
        let now = self.now();
        // Frames that came before an error are still good.
        let mut moved = !self.received.is_empty();
        self.stack
            .handle_frames(now, self.interface, &mut self.received);
        received?;
        if self.stack.poll_timeout().is_some_and(|due| due <= now) {
            self.stack.handle_timeout(now);
            moved = true;
        }
        while let Some(event) = self.stack.poll_event() {
            handler.on_event(&mut self.stack, now, event);
            moved = true;
        }
        moved |= self.send(now)?;
        Ok(moved)
    }

    /// Sends until the stack has nothing to send or the link takes no more.
    fn send(&mut self, now: Instant) -> io::Result<bool> {
        let mut moved = false;
        loop {
            let room = self.batch.saturating_sub(self.leaving.len());
            let polled = self
                .stack
                .poll_frames(now, self.interface, &mut self.polled, room);
            self.leaving.extend(self.polled.drain(..));
            if self.leaving.is_empty() {
                break;
            }
            let taken = self.driver.transmit(&mut self.leaving)?;
            moved |= taken > 0;
            if !self.leaving.is_empty() || polled < room {
                break;
            }
        }
        if moved {
            self.driver.flush()?;
        }
        Ok(moved)
    }

    /// Waits for a frame, the stack's next deadline, a stop, or until `limit` is over:
    /// first looking for as long as the settings say, then asleep.
    ///
    /// # Errors
    /// If the link is gone, or poll(2) is refused.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let now = self.now();
        let deadline = self.stack.poll_timeout();
        let mut timeout = deadline.map(|due| due.saturating_duration_since(now));
        if !self.leaving.is_empty() {
            timeout = Some(timeout.map_or(FULL_LINK, |timeout| timeout.min(FULL_LINK)));
        }
        if let Some(limit) = limit {
            timeout = Some(timeout.map_or(limit, |timeout| timeout.min(limit)));
        }
        if timeout == Some(Duration::ZERO) {
            return Ok(());
        }
        let spin = timeout.map_or(self.spin, |timeout| timeout.min(self.spin));
        if !spin.is_zero() && self.look(spin)? {
            return Ok(());
        }
        if self.driver.arm()? {
            return Ok(());
        }
        let timeout = timeout.map(|timeout| timeout.saturating_sub(spin));
        self.sleep(timeout)
    }

    /// Looks for a frame for up to `spin`. Answers whether there is one, or a stop.
    fn look(&mut self, spin: Duration) -> io::Result<bool> {
        let start = Clock::now();
        loop {
            if self.driver.receive(&mut self.received, self.batch)? > 0 {
                return Ok(true);
            }
            if self.stop.asked.load(Ordering::Relaxed) {
                return Ok(true);
            }
            if start.elapsed() >= spin {
                return Ok(false);
            }
            std::hint::spin_loop();
        }
    }

    fn sleep(&self, timeout: Option<Duration>) -> io::Result<()> {
        // A timeout beyond the range of the kernel's type is none.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut wanted = PollFlags::IN;
        if !self.leaving.is_empty() {
            wanted |= PollFlags::OUT;
        }
        let mut fds = [
            PollFd::from_borrowed_fd(self.driver.readiness(), wanted),
            PollFd::from_borrowed_fd(self.stop.event.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
