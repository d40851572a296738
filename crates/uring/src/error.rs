//! Errors of the ring, by whose fault they are.

use std::io;

/// Why a ring could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// io_uring is switched off for this process (sysctl, seccomp, container profile).
    #[error(
        "io_uring is not permitted here ({source}): check sysctl kernel.io_uring_disabled and the \
         container's seccomp profile, or use the epoll reactor"
    )]
    Refused {
        /// `EPERM` or `EACCES`.
        source: io::Error,
    },
    /// The kernel has no io_uring, or lacks something zcn cannot do without (6.1 is the floor).
    #[error(
        "this kernel has no usable io_uring ({source}): Linux 6.1 or newer is needed, or use the epoll reactor"
    )]
    Unsupported {
        /// `ENOSYS`, or the error of the last rung of the flag ladder.
        source: io::Error,
    },
    /// Memory for the rings could not be had.
    #[error(
        "no memory for a ring of {entries} entries ({source}): ask for fewer entries, or raise \
         RLIMIT_MEMLOCK (`ulimit -l`)"
    )]
    OutOfMemory {
        /// Submission entries asked for.
        entries: u32,
        /// `ENOMEM`.
        source: io::Error,
    },
    /// The process is out of descriptors.
    #[error("no descriptor left for a ring ({source}): raise RLIMIT_NOFILE (`ulimit -n`)")]
    Descriptors {
        /// `EMFILE` or `ENFILE`.
        source: io::Error,
    },
    /// An argument was out of range.
    #[error("{setting} = {value} is out of range: {range}")]
    Config {
        /// Name of the setting.
        setting: &'static str,
        /// What was asked.
        value: u64,
        /// What is possible.
        range: &'static str,
    },
}

impl SetupError {
    /// What the kernel answered; nothing for an argument out of range.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Refused { source }
            | Self::Unsupported { source }
            | Self::OutOfMemory { source, .. }
            | Self::Descriptors { source } => source.raw_os_error(),
            Self::Config { .. } => None,
        }
    }

    /// Whether falling back to epoll is the remedy.
    pub fn wants_fallback(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unsupported { .. })
    }
}

/// Why something could not be registered with a ring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Locked memory is limited.
    #[error(
        "registering {bytes} bytes exceeds the locked-memory limit ({source}): raise \
         RLIMIT_MEMLOCK (`ulimit -l`), grant CAP_IPC_LOCK, or use a smaller pool"
    )]
    MemLock {
        /// Bytes that were to be pinned.
        bytes: usize,
        /// `ENOMEM`.
        source: io::Error,
    },
    /// An argument was out of range.
    #[error("{setting} = {value} is out of range: {range}")]
    Config {
        /// Name of the setting.
        setting: &'static str,
        /// What was asked.
        value: u64,
        /// What is possible.
        range: &'static str,
    },
    /// The pool has too few free buffers for what was asked.
    #[error(
        "the pool has no {wanted} free buffers for the ring ({had} found): build a larger pool"
    )]
    PoolExhausted {
        /// Buffers asked for.
        wanted: u32,
        /// Buffers that could be acquired.
        had: u32,
    },
    /// The kernel said no.
    #[error("{what}: {source}")]
    Kernel {
        /// What was being registered.
        what: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}
