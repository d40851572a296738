//! Settings of a runtime.

use std::time::Duration;

use zcn_pool::HugePages;

/// Which of the kernel's interfaces a runtime waits on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReactorKind {
    /// io_uring, or epoll where io_uring is refused; says so once in the log.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// epoll.
    Epoll,
}

/// What a runtime does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sleep {
    /// Sleep in the kernel at once. A wake-up costs some 20 µs.
    #[default]
    Block,
    /// Look for work for this long after the last event, then sleep. Burns the core meanwhile.
    Spin(Duration),
}

/// When sends may avoid the kernel's copy (`SEND_ZC`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroCopy {
    /// From 16 KiB on, except on loopback, and given up on a connection whose kernel reports that
    /// it copied all the same.
    #[default]
    Auto,
    /// Every send of 16 KiB and more; for tests and comparisons.
    Always,
    /// Never.
    Never,
}

/// Smallest send for which zero-copy pays: pinning pages costs more than copying less.
pub const ZERO_COPY_MIN: usize = 16 * 1024;

/// Settings of a [`Runtime`](crate::Runtime); made by [`RuntimeBuilder`](crate::RuntimeBuilder).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Which reactor.
    pub reactor: ReactorKind,
    /// How to wait.
    pub sleep: Sleep,
    /// Submission entries of the ring: how many operations one system call can carry.
    pub ring_entries: u32,
    /// Buffers to receive into, and as many again for what the application writes itself.
    pub buffers: usize,
    /// Size of each, bytes; whole pages.
    pub buffer_size: usize,
    /// How many of the buffers are lent to the kernel to receive into; a power of two.
    pub receive_buffers: u16,
    /// Whether the pool wants huge pages.
    pub huge_pages: HugePages,
    /// Core to pin the thread to.
    pub cpu: Option<usize>,
    /// When to use zero-copy sends.
    pub zero_copy: ZeroCopy,
    /// Opt-in: NAPI busy polling inside the wait.
    pub napi: Option<Duration>,
    /// Seed of the runtime's own random choices; the kernel draws one if absent.
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reactor: ReactorKind::Auto,
            sleep: Sleep::Block,
            // One turn of 400 busy connections (a send and a receive each) fits.
            ring_entries: 1024,
            // 512 lent to the kernel, as many again in the application's hands.
            buffers: 1024,
            buffer_size: 16 * 1024,
            receive_buffers: 512,
            huge_pages: HugePages::Try,
            cpu: None,
            zero_copy: ZeroCopy::Auto,
            napi: None,
            seed: None,
        }
    }
}
