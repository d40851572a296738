//! The settings of a buffer pool and their checks.

use std::num::NonZeroU32;

use crate::core::Core;
use crate::error::PoolError;
use crate::pool::BufferPool;
use crate::region::{self, Region};

/// Largest `buffer_size`: 1 GiB, which is also the most that the kernel registers as one
/// fixed buffer.
pub const MAX_BUFFER_SIZE: usize = 1 << 30;

/// Largest `count`: 2^24 buffers, 64 GiB of them at 4096 bytes.
pub const MAX_COUNT: usize = 1 << 24;

/// Whether a pool's memory lies on huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Reserved huge pages if there are enough, else transparent ones if the kernel gives
    /// them, else normal pages. [`PoolStats::page_kind`](crate::PoolStats::page_kind)
    /// tells which it was.
    #[default]
    Try,
    /// Normal pages only.
    Never,
    /// Reserved huge pages, or an error.
    Require,
}

/// Settings of a [`BufferPool`]; made by [`BufferPool::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    buffer_size: usize,
    count: usize,
    huge_pages: HugePages,
    numa_node: Option<u32>,
    prefault: bool,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            buffer_size: 4096,
            count: 1024,
            huge_pages: HugePages::Try,
            numa_node: None,
            prefault: false,
        }
    }

    /// Size of each buffer in bytes, a multiple of the page size \[4096\].
    pub fn buffer_size(mut self, bytes: usize) -> Self {
        self.buffer_size = bytes;
        self
    }

    /// How many buffers \[1024\].
    pub fn count(mut self, buffers: usize) -> Self {
        self.count = buffers;
        self
    }

    /// Whether to use huge pages \[[`HugePages::Try`]\].
    pub fn huge_pages(mut self, wish: HugePages) -> Self {
        self.huge_pages = wish;
        self
    }

    /// NUMA node whose memory is preferred, or none \[`None`\]. When that node runs out,
    /// the kernel takes memory of another one.
    pub fn numa_node(mut self, node: Option<u32>) -> Self {
        self.numa_node = node;
        self
    }

    /// Whether to back the whole map with memory at once, rather than at the first touch
    /// of each page \[`false`\].
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Maps the memory and makes the pool.
    ///
    /// # Errors
    /// Each names the setting at fault and what to set instead; see [`PoolError`].
    pub fn build(self) -> Result<BufferPool, PoolError> {
        let page = region::page_size();
        if self.buffer_size == 0
            || self.buffer_size > MAX_BUFFER_SIZE
            || !self.buffer_size.is_multiple_of(page)
        {
            let rounded = self.buffer_size.clamp(1, MAX_BUFFER_SIZE).div_ceil(page) * page;
            return Err(PoolError::BufferSize {
                got: self.buffer_size,
                page,
                suggested: rounded,
            });
        }
        if self.count == 0 || self.count > MAX_COUNT {
            return Err(PoolError::Count {
                got: self.count,
                suggested: self.count.clamp(1, MAX_COUNT),
            });
        }
        // At most 2^30 times 2^24: no overflow on a 64-bit machine.
        let region = Region::map(
            self.buffer_size * self.count,
            self.huge_pages,
            self.numa_node,
            self.prefault,
        )?;
        Ok(BufferPool::from_core(Core::new(
            region,
            self.buffer_size,
            NonZeroU32::new(self.count as u32).expect("count was checked above"),
            self.numa_node,
        )))
    }
}
