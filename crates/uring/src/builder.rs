//! Builds a ring: the flag ladder, then the opt-ins.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use io_uring::IoUring;

use crate::error::SetupError;
use crate::features::Features;
use crate::queues::Raw;
use crate::ring::Ring;
use crate::sizes::{Completion16, Completion32, CompletionSize, Entry64, Entry128, EntrySize};

/// Rungs of the ladder, best first. A kernel that answers `EINVAL` gets the next one.
///
/// Each rung drops the youngest flag of the one above: no submission array (6.6), deferred task
/// run (6.1) with cooperative task run instead, single issuer (6.0).
const LADDER: [Rung; 4] = [
    Rung {
        no_sqarray: true,
        defer: true,
        single: true,
    },
    Rung {
        no_sqarray: false,
        defer: true,
        single: true,
    },
    Rung {
        no_sqarray: false,
        defer: false,
        single: true,
    },
    Rung {
        no_sqarray: false,
        defer: false,
        single: false,
    },
];

#[derive(Clone, Copy)]
struct Rung {
    no_sqarray: bool,
    defer: bool,
    single: bool,
}

/// Largest number of submission entries (`IORING_MAX_ENTRIES`).
pub const MAX_ENTRIES: u32 = 32768;
/// Largest number of completion entries (`IORING_MAX_CQ_ENTRIES`).
pub const MAX_CQ_ENTRIES: u32 = 2 * MAX_ENTRIES;

/// Settings of a [`Ring`].
#[derive(Clone, Debug)]
pub struct RingBuilder<E: EntrySize = Entry64, C: CompletionSize = Completion16> {
    entries: u32,
    cq_entries: Option<u32>,
    napi: Option<Duration>,
    min_wait: Duration,
    skip_rungs: usize,
    register_ring: bool,
    sizes: PhantomData<(E, C)>,
}

impl Default for RingBuilder {
    fn default() -> Self {
        Self {
            entries: 256,
            cq_entries: None,
            napi: None,
            min_wait: Duration::ZERO,
            skip_rungs: 0,
            register_ring: true,
            sizes: PhantomData,
        }
    }
}

impl<E: EntrySize, C: CompletionSize> RingBuilder<E, C> {
    /// Submission entries (256). A batch larger than this takes more than one system call.
    pub fn entries(mut self, entries: u32) -> Self {
        self.entries = entries;
        self
    }

    /// Completion entries (four times the submissions): room for what multishot operations post
    /// between two turns.
    pub fn cq_entries(mut self, entries: u32) -> Self {
        self.cq_entries = Some(entries);
        self
    }

    /// Entries of 128 bytes: what commands of ublk, NVMe and FUSE need. Every operation works on
    /// such a ring as well.
    pub fn entries_of_128_bytes(self) -> RingBuilder<Entry128, C> {
        self.with_sizes()
    }

    /// Completions of 32 bytes: what transmit timestamps and NVMe results need.
    pub fn completions_of_32_bytes(self) -> RingBuilder<E, Completion32> {
        self.with_sizes()
    }

    fn with_sizes<E2: EntrySize, C2: CompletionSize>(self) -> RingBuilder<E2, C2> {
        RingBuilder {
            entries: self.entries,
            cq_entries: self.cq_entries,
            napi: self.napi,
            min_wait: self.min_wait,
            skip_rungs: self.skip_rungs,
            register_ring: self.register_ring,
            sizes: PhantomData,
        }
    }

    /// Opt-in: busy-poll the network devices of the ring's sockets for this long in each wait
    /// (6.9). Helps with real devices that have NAPI ids, not on loopback.
    pub fn napi_busy_poll(mut self, time: Duration) -> Self {
        self.napi = Some(time);
        self
    }

    /// Opt-in: a wait for several completions settles for one after this time (6.12).
    pub fn min_wait(mut self, time: Duration) -> Self {
        self.min_wait = time;
        self
    }

    /// Starts the flag ladder some rungs down, as an older kernel would; for tests and
    /// comparisons. 3 leaves no flag but the unconditional ones.
    pub fn skip_rungs(mut self, rungs: usize) -> Self {
        self.skip_rungs = rungs.min(LADDER.len() - 1);
        self
    }

    /// Whether to register the ring's own descriptor (yes): saves a lookup in each enter.
    pub fn register_ring(mut self, yes: bool) -> Self {
        self.register_ring = yes;
        self
    }

    /// Sets the ring up on the calling thread, which becomes its only user.
    ///
    /// # Errors
    /// [`SetupError`]: refused, unsupported, out of memory or descriptors, or a number out of
    /// range.
    pub fn build(&self) -> Result<Ring<E, C>, SetupError> {
        if self.entries == 0 || self.entries > MAX_ENTRIES {
            return Err(SetupError::Config {
                setting: "ring entries",
                value: self.entries.into(),
                range: "1 to 32768",
            });
        }
        let cq_entries = self
            .cq_entries
            .unwrap_or(self.entries.saturating_mul(4).min(MAX_CQ_ENTRIES));
        if cq_entries < self.entries || cq_entries > MAX_CQ_ENTRIES {
            return Err(SetupError::Config {
                setting: "completion entries",
                value: cq_entries.into(),
                range: "at least the submission entries, at most 65536",
            });
        }
        let (ring, mut features) = self.climb(cq_entries)?;
        features
            .probe(&ring)
            .map_err(|source| self.classify(source))?;
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            let source = io::Error::from_raw_os_error(libc::ENOSYS);
            return Err(SetupError::Unsupported { source });
        }
        if let Some(time) = self.napi {
            let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
            let mut napi = io_uring::types::Napi::new()
                .set_busy_poll_timeout(micros)
                .set_prefer_busy_poll(true);
            features.napi = ring.submitter().register_napi(&mut napi).is_ok();
        }
        let min_wait_us = match features.min_wait {
            true => u32::try_from(self.min_wait.as_micros()).unwrap_or(u32::MAX),
            false => 0,
        };
        Ok(Ring::assemble(
            ring,
            features,
            self.register_ring,
            min_wait_us,
        ))
    }

    fn climb(&self, cq_entries: u32) -> Result<(Raw<E, C>, Features), SetupError> {
        let mut last = io::Error::from_raw_os_error(libc::EINVAL);
        for rung in &LADDER[self.skip_rungs..] {
            let mut builder = IoUring::<E::Raw, C::Raw>::builder();
            builder
                .setup_cqsize(cq_entries)
                .setup_clamp()
                .setup_submit_all();
            builder.setup_taskrun_flag().dontfork();
            if rung.single {
                builder.setup_single_issuer();
            }
            if rung.defer {
                builder.setup_defer_taskrun();
            } else {
                builder.setup_coop_taskrun();
            }
            if rung.no_sqarray {
                builder.setup_no_sqarray();
            }
            match builder.build(self.entries) {
                Ok(ring) => {
                    let features = Features {
                        single_issuer: rung.single,
                        defer_taskrun: rung.defer,
                        coop_taskrun: !rung.defer,
                        taskrun_flag: true,
                        submit_all: true,
                        clamp: true,
                        no_sqarray: rung.no_sqarray,
                        ..Features::default()
                    };
                    return Ok((ring, features));
                }
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => last = error,
                Err(error) => return Err(self.classify(error)),
            }
        }
        Err(SetupError::Unsupported { source: last })
    }

    fn classify(&self, source: io::Error) -> SetupError {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => SetupError::Refused { source },
            Some(libc::ENOMEM) => SetupError::OutOfMemory {
                entries: self.entries,
                source,
            },
            Some(libc::EMFILE | libc::ENFILE) => SetupError::Descriptors { source },
            _ => SetupError::Unsupported { source },
        }
    }
}
