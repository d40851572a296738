//! A stack by itself: its sockets by id, its events to one handler, on a runtime's loop.

use std::cell::RefMut;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zcn_frame::Capabilities;
use zcn_link::{Driver, Statistics};
use zcn_stack::event::Event;
use zcn_stack::{Instant, InterfaceId, Stack};

use super::config::StackConfig;
use super::error::StackError;
use super::host::{Hosted, StackHost};
use super::link::open_link;
use crate::net::half::Net;
use crate::runtime::cell::Guard;
use crate::runtime::{Handle, Runtime};

/// What an application makes of its sockets' events.
pub trait StackHandler {
    /// A socket became ready. Edges, not levels: take what there is until a call answers
    /// that it would block. What is sent here leaves with the next turn.
    fn on_event(&mut self, stack: &mut Stack, now: Instant, event: Event);
}

/// A stack on a link without sockets of `zcn` above it: for programs that want the calls and
/// events of [`Stack`] itself, such as ICMP echo.
///
/// It is a [`Runtime`] with one stack and nothing else, whose events go to a [`StackHandler`].
/// It belongs to the thread that made it; [`StackStopper`] wakes it from elsewhere.
pub struct StackLoop {
    runtime: Runtime,
    host: Rc<StackHost>,
    net: Net,
    stopped: Arc<AtomicBool>,
}

impl fmt::Debug for StackLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackLoop")
            .field("net", &self.net)
            .finish_non_exhaustive()
    }
}

/// Ends a [`StackLoop::run`], from any thread.
#[derive(Clone, Debug)]
pub struct StackStopper {
    /// Set before the wake-up, whose write orders it.
    asked: Arc<AtomicBool>,
    handle: Handle,
}

impl StackStopper {
    /// Ends the run in progress, or the next one.
    pub fn stop(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.handle.stop();
    }
}

/// The stack, for a moment. Dropped before the loop's next call.
pub struct BorrowedStack<'a>(Guard<RefMut<'a, Hosted>>);

impl fmt::Debug for BorrowedStack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.stack.fmt(f)
    }
}

impl Deref for BorrowedStack<'_> {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.0.stack
    }
}

impl DerefMut for BorrowedStack<'_> {
    fn deref_mut(&mut self) -> &mut Stack {
        &mut self.0.stack
    }
}

fn kernel(error: crate::Error) -> StackError {
    StackError::Kernel {
        action: "start the loop",
        source: error.into(),
    }
}

impl StackLoop {
    /// Opens the link and brings a stack up on it.
    ///
    /// # Errors
    /// What is wrong with the link or the settings, and what helps.
    pub fn open(config: &StackConfig) -> Result<Self, StackError> {
        Self::with_driver(config, open_link(&config.link)?)
    }

    /// Brings a stack up on a link that is open already; of the link's settings only the
    /// MTU and the address count, where they are given.
    ///
    /// # Errors
    /// What is wrong with the settings, and what helps.
    pub fn with_driver(config: &StackConfig, driver: Box<dyn Driver>) -> Result<Self, StackError> {
        let runtime = Runtime::builder()
            .buffers(RUNTIME_BUFFERS)
            .receive_buffers(RUNTIME_LENT)
            .build()
            .map_err(kernel)?;
        let net = runtime.open_stack_on(config, driver)?;
        let Some(host) = net.host().cloned() else {
            unreachable!("it was just opened")
        };
        host.keep_events();
        Ok(Self {
            runtime,
            host,
            net,
            stopped: Arc::default(),
        })
    }

    /// The stack, for calls on sockets outside of events.
    pub fn stack(&mut self) -> BorrowedStack<'_> {
        BorrowedStack(self.host.borrow())
    }

    /// The interface on the link.
    pub fn interface(&self) -> InterfaceId {
        self.host.interface()
    }

    /// The link's counters.
    pub fn link_statistics(&self) -> Statistics {
        self.host.link_statistics()
    }

    /// What the link can do.
    pub fn capabilities(&self) -> &Capabilities {
        self.host.capabilities()
    }

    /// The stack's time.
    pub fn now(&self) -> Instant {
        self.host.borrow().tick()
    }

    /// What ends [`run`](Self::run) from elsewhere.
    pub fn stopper(&self) -> StackStopper {
        StackStopper {
            asked: self.stopped.clone(),
            handle: self.runtime.handle(),
        }
    }

    /// Goes round until somebody stops it.
    ///
    /// # Errors
    /// If the link is gone.
    pub fn run(&mut self, handler: &mut impl StackHandler) -> Result<(), StackError> {
        while !self.stopped.swap(false, Ordering::SeqCst) {
            let told = self.turn(handler).map_err(StackError::LinkGone)?;
            if !told {
                self.wait(None).map_err(StackError::LinkGone)?;
            }
        }
        Ok(())
    }

    /// One turn without sleeping: frames out, frames in, deadlines, events. Answers whether
    /// there were events; if there were none, [`wait`](Self::wait).
    ///
    /// # Errors
    /// If the link is gone.
    pub fn turn(&mut self, handler: &mut impl StackHandler) -> io::Result<bool> {
        self.runtime.run_once()?;
        let mut told = false;
        let mut hosted = self.host.borrow();
        while let Some(event) = hosted.take_event() {
            told = true;
            let now = hosted.now;
            handler.on_event(&mut hosted.stack, now, event);
        }
        drop(hosted);
        match self.host.link_error() {
            Some(error) => Err(error),
            None => Ok(told),
        }
    }

    /// Waits for a frame, the stack's next deadline, a stop, or until `limit` is over:
    /// first looking for as long as the settings say, then asleep. Events that come up
    /// meanwhile are told by the next [`turn`](Self::turn).
    ///
    /// # Errors
    /// If the link is gone, or the kernel refuses to wait.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        if !self.stopped.load(Ordering::SeqCst) {
            self.runtime.run_for(limit.unwrap_or(LONGEST))?;
        }
        match self.host.link_error() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Buffers of a runtime that has no sockets of the kernel's, and how many of them it lends out.
const RUNTIME_BUFFERS: usize = 8;
const RUNTIME_LENT: u16 = 4;
/// A wait without a limit.
const LONGEST: Duration = Duration::from_secs(3600);
