//! How a runtime is set up.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use zcn_pool::HugePages;

use super::remote::Inbox;
use super::{Inner, Runtime};
use crate::config::{Config, ReactorKind, Sleep, ZeroCopy};
use crate::error::{Action, Error, Result};
use crate::reactor::Reactor;
use crate::stack::StackConfig;

/// Settings of a [`Runtime`] to be.
#[derive(Clone, Debug, Default)]
pub struct RuntimeBuilder {
    config: Config,
    stack: Option<StackConfig>,
}

macro_rules! setter {
    ($(#[$doc:meta])* $name:ident: $kind:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $kind) -> Self {
            self.config.$name = $name;
            self
        }
    };
}

impl RuntimeBuilder {
    setter!(
        /// Which reactor \[[`ReactorKind::Auto`]\].
        reactor: ReactorKind
    );
    setter!(
        /// What to do when there is nothing to do \[[`Sleep::Block`]\].
        sleep: Sleep
    );
    setter!(
        /// Submission entries of the ring \[1024\].
        ring_entries: u32
    );
    setter!(
        /// Buffers to receive into, and as many again for what the application writes itself
        /// \[1024\].
        buffers: usize
    );
    setter!(
        /// Size of a buffer in bytes, whole pages \[16384\].
        buffer_size: usize
    );
    setter!(
        /// Buffers lent to the kernel to receive into, a power of two \[512\].
        receive_buffers: u16
    );
    setter!(
        /// Huge pages for the pool \[[`HugePages::Try`]\].
        huge_pages: HugePages
    );
    setter!(
        /// When to send without the kernel's copy \[[`ZeroCopy::Auto`]\].
        zero_copy: ZeroCopy
    );

    /// Pins the runtime's thread to a core.
    #[must_use]
    pub fn cpu(mut self, core: usize) -> Self {
        self.config.cpu = Some(core);
        self
    }

    /// Opt-in: busy-poll network devices inside the wait, for this long (6.9).
    #[must_use]
    pub fn napi_busy_poll(mut self, time: Duration) -> Self {
        self.config.napi = Some(time);
        self
    }

    /// Seed of the runtime's own random choices, such as how long a pool of connections rests after
    /// a failure \[drawn by the kernel\]: the same seed makes the same choices.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Opens a stack in the runtime and makes it the default [`Net`](crate::Net): sockets are on it
    /// unless they name another. This is the line in which an application changes the half it runs
    /// on. [`Runtime::open_stack`] adds further stacks, and tells in more detail what is wrong with
    /// one.
    #[must_use]
    pub fn stack(mut self, stack: StackConfig) -> Self {
        self.stack = Some(stack);
        self
    }

    /// Starts the runtime on the calling thread.
    ///
    /// # Errors
    /// A setting out of range, io_uring refused although asked for, memory or descriptors short;
    /// a stack's link or settings; each with the setting and the remedy.
    pub fn build(self) -> Result<Runtime> {
        let config = self.config;
        if !config.receive_buffers.is_power_of_two() || config.receive_buffers > 32768 {
            return Err(Error::setting(
                Action::Start,
                format!(
                    "receive_buffers = {} is out of range: a power of two from 1 to 32768",
                    config.receive_buffers
                ),
            ));
        }
        if config.buffers > zcn_pool::MAX_COUNT {
            return Err(Error::setting(
                Action::Start,
                format!(
                    "buffers = {} is out of range: at most {}; a larger buffer_size holds more",
                    config.buffers,
                    zcn_pool::MAX_COUNT
                ),
            ));
        }
        if config.buffers <= usize::from(config.receive_buffers) {
            return Err(Error::setting(
                Action::Start,
                format!(
                    "buffers = {} leaves none to send with, as receive_buffers = {} are lent to \
                     the kernel: raise the first or lower the second",
                    config.buffers, config.receive_buffers
                ),
            ));
        }
        if !(1..=zcn_uring::MAX_ENTRIES).contains(&config.ring_entries) {
            return Err(Error::setting(
                Action::Start,
                format!(
                    "ring_entries = {} is out of range: 1 to {}",
                    config.ring_entries,
                    zcn_uring::MAX_ENTRIES
                ),
            ));
        }
        if let Some(core) = config.cpu {
            zcn_sys::affinity::pin_current_thread(core).map_err(|error| {
                Error::new(Action::Start, format_args!("core {core}"), error)
                    .hinted("`nproc` and `taskset -p $$` tell which cores are there and allowed")
            })?;
        }
        let reactor = Reactor::new(&config)?;
        let wake = reactor
            .wake_fd()
            .map_err(|error| Error::bare(Action::Start, error))?;
        let inbox = Arc::new(Inbox::new(wake));
        let spin = match config.sleep {
            Sleep::Block => Duration::ZERO,
            Sleep::Spin(time) => time,
        };
        let runtime = Runtime {
            inner: Rc::new(Inner::new(reactor, inbox, spin, config.seed)),
        };
        if let Some(stack) = &self.stack {
            let net = runtime.open_stack(stack).map_err(|error| {
                Error::refused(Action::Start, error.raw_os_error(), error.to_string())
            })?;
            runtime.set_net(&net)?;
        }
        Ok(runtime)
    }
}
