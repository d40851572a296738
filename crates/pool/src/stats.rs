//! The figures of a buffer pool.

/// The pages under a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageKind {
    /// Normal pages.
    Normal,
    /// Normal pages, aligned so that the kernel can make huge ones of them, and asked to;
    /// how many it does is its decision.
    Transparent,
    /// Reserved huge pages, all of them.
    Huge,
}

impl std::fmt::Display for PageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Normal => "normal",
            Self::Transparent => "transparent huge",
            Self::Huge => "huge",
        })
    }
}

/// A pool's figures, from [`BufferPool::stats`](crate::BufferPool::stats).
///
/// All of them are exact while no thread is acquiring or releasing and what those threads
/// did happened before the call (they were joined, or sent a message). Otherwise each
/// thread's share is as recent as that thread's last visible store, and the counts of a
/// thread that is just exchanging a magazine with the depot can be off by one magazine
/// (at most 64); `in_use` and `free` are kept between 0 and `total`, and add up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Buffers the pool has.
    pub total: usize,
    /// Buffers that somebody holds: as `Buf`, `SharedBuf`, `Bytes` or raw handle.
    pub in_use: usize,
    /// Buffers at home: in the shared depot or in a thread's magazines.
    pub free: usize,
    /// The part of `free` that lies in the magazines of threads. Only the thread itself
    /// gets at them, so others can meet exhaustion while this many are free.
    pub cached: usize,
    /// Acquisitions since the pool was made.
    pub acquired: u64,
    /// Releases since the pool was made.
    pub released: u64,
    /// Acquisitions that were answered `None`.
    pub exhausted: u64,
    /// Threads that have a `LocalPool` now.
    pub locals: usize,
    /// Size of one buffer, in bytes.
    pub buffer_size: usize,
    /// The pages under the buffers.
    pub page_kind: PageKind,
    /// The NUMA node asked for.
    pub numa_node: Option<u32>,
}
