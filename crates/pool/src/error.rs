//! What can go wrong: a setting, the kernel's answer, a handle, or lack of room.

use crate::builder::{MAX_BUFFER_SIZE, MAX_COUNT};

/// Why [`Builder::build`](crate::Builder::build) made no pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// `buffer_size` is zero, above [`MAX_BUFFER_SIZE`], or no multiple of the page size.
    #[error(
        "buffer_size {got} cannot be used: it must be a multiple of the page size {page}, \
         from {page} to {MAX_BUFFER_SIZE}; set buffer_size({suggested})"
    )]
    BufferSize {
        /// What was asked for, in bytes.
        got: usize,
        /// The page size, in bytes.
        page: usize,
        /// The nearest size that can be used, in bytes.
        suggested: usize,
    },
    /// `count` is zero or above [`MAX_COUNT`].
    #[error(
        "count {got} cannot be used: a pool has from 1 to {MAX_COUNT} buffers; \
         set count({suggested}), and use several pools or a larger buffer_size for more"
    )]
    Count {
        /// What was asked for.
        got: usize,
        /// The nearest count that can be used.
        suggested: usize,
    },
    /// The kernel refused the memory map.
    #[error(
        "no memory for the pool: buffer_size times count is {bytes} bytes: {}; \
         lower count or buffer_size, or raise the address-space and cgroup limits",
        os(*.errno)
    )]
    Map {
        /// Size of the map, in bytes.
        bytes: usize,
        /// The kernel's error number.
        errno: i32,
    },
    /// `huge_pages(HugePages::Require)`, and the kernel has too few of them.
    #[error(
        "huge_pages is Require, but {bytes} bytes of huge pages could not be mapped: {}; \
         reserve {pages} more with `sysctl vm.nr_hugepages`, or set huge_pages(HugePages::Try)",
        os(*.errno)
    )]
    HugePages {
        /// Size of the map, in bytes.
        bytes: usize,
        /// The same in huge pages.
        pages: usize,
        /// The kernel's error number.
        errno: i32,
    },
    /// The memory could not be placed on the NUMA node.
    #[error(
        "numa_node {node} cannot be used: {}; choose one listed in \
         /sys/devices/system/node/online, or set numa_node(None)",
        os(*.errno)
    )]
    NumaNode {
        /// The node asked for.
        node: u32,
        /// The kernel's error number.
        errno: i32,
    },
    /// `prefault(true)`, and the kernel could not back the map with memory.
    #[error(
        "prefault of {bytes} bytes failed: {}; lower count or buffer_size, raise the cgroup's \
         memory limit, or set prefault(false)",
        os(*.errno)
    )]
    Prefault {
        /// Size of the map, in bytes.
        bytes: usize,
        /// The kernel's error number.
        errno: i32,
    },
}

impl PoolError {
    /// What the kernel answered; nothing for a setting out of range.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::BufferSize { .. } | Self::Count { .. } => None,
            Self::Map { errno, .. }
            | Self::HugePages { errno, .. }
            | Self::NumaNode { errno, .. }
            | Self::Prefault { errno, .. } => Some(*errno),
        }
    }
}

fn os(errno: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno)
}

/// The bytes do not fit into the room that the buffer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needed} bytes do not fit into the {available} that the buffer has left")]
pub struct CapacityError {
    /// How many bytes were to be written.
    pub needed: usize,
    /// How many fit.
    pub available: usize,
}

/// Why a [`RawBuf`](crate::RawBuf) was not accepted. The caller holds a wrong handle; the
/// pool is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RawError {
    /// The pool has no buffer of this index: the handle is forged or of another pool.
    #[error("raw handle names buffer {index}, but the pool has {count}")]
    OutOfRange {
        /// The handle's index.
        index: u32,
        /// How many buffers the pool has.
        count: u32,
    },
    /// The handle was given back before: a double release.
    #[error("raw handle of buffer {index} was already given back")]
    Released {
        /// The handle's index.
        index: u32,
    },
    /// The buffer went out under another handle since, or the handle is of another pool.
    #[error("raw handle of buffer {index} has generation {got}, the buffer has {current}")]
    Stale {
        /// The handle's index.
        index: u32,
        /// The handle's generation.
        got: u32,
        /// The buffer's generation.
        current: u32,
    },
}

/// A [`FixedPool`](crate::FixedPool) is full; the value comes back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object pool is full")]
pub struct Full<T>(pub T);

impl<T> std::fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Full(..)")
    }
}

/// Why an [`Arena`](crate::Arena) or a [`FixedPool`](crate::FixedPool) got no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocError {
    /// The size overflows the address space; the caller asked for the impossible.
    #[error("{count} objects of {size} bytes exceed the address space; ask for fewer")]
    TooLarge {
        /// How many objects.
        count: usize,
        /// Size of one, in bytes.
        size: usize,
    },
    /// The system allocator refused.
    #[error("the system has no {bytes} bytes of memory left")]
    OutOfMemory {
        /// How many bytes were asked for.
        bytes: usize,
    },
}
