//! The handle of a buffer pool.

#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;

use crate::buf::Buf;
use crate::builder::Builder;
use crate::core::Core;
use crate::local::LocalPool;
use crate::stats::PoolStats;
use crate::thread;

/// Tells pools of one process apart; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolId(pub(crate) u64);

/// A pool of page-aligned buffers of one size in one memory map.
///
/// This is a handle: cloning it costs one atomic addition, and every thread may have one.
/// A thread that acquires more than now and then wants a [`LocalPool`]. Buffers may
/// outlive all handles; the memory goes when the last handle is gone and the last buffer
/// is home.
///
/// No operation on buffers blocks or allocates. Only [`local`](Self::local), its drop and
/// [`stats`](Self::stats) take a lock.
pub struct BufferPool {
    /// One reference of `Core` is this handle's.
    core: NonNull<Core>,
}

// SAFETY: the handle is a counted reference to a `Core`, which is `Send` and `Sync`.
unsafe impl Send for BufferPool {}
// SAFETY: as above.
unsafe impl Sync for BufferPool {}

impl BufferPool {
    /// The settings of a new pool.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Takes over one reference.
    pub(crate) fn from_core(core: NonNull<Core>) -> Self {
        Self { core }
    }

    #[inline(always)]
    pub(crate) fn core_ptr(&self) -> NonNull<Core> {
        self.core
    }

    #[inline(always)]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: this handle's reference keeps it alive.
        unsafe { self.core.as_ref() }
    }

    /// This thread's handle, for fast acquisition. While there is one, buffers that are
    /// dropped on this thread stay in its magazines, ready to be acquired again. All
    /// local handles of one pool on one thread share one set of magazines.
    pub fn local(&self) -> LocalPool {
        LocalPool::new(self.clone())
    }

    /// Takes a buffer, empty and without headroom; `None` if there is none left.
    ///
    /// On a thread with a [`LocalPool`] this is a little slower than acquiring from that;
    /// on others it costs an exchange on a shared word. Never blocks.
    #[inline]
    pub fn acquire(&self) -> Option<Buf> {
        let index = thread::with_shard(
            self.core,
            |shard| shard.acquire(self.core()),
            || self.core().acquire_shared(),
        )?;
        // SAFETY: the index was taken from the pool's own stores, so it is ours alone.
        Some(unsafe { Buf::new(self.core, index) })
    }

    /// One more handle.
    pub(crate) fn of(core: &Core) -> Self {
        core.add_handle();
        Self { core: core.into() }
    }

    /// Size of each buffer, in bytes.
    pub fn buffer_size(&self) -> usize {
        self.core().buffer_size()
    }

    /// How many buffers the pool has.
    pub fn count(&self) -> usize {
        self.core().count() as usize
    }

    /// Tells this pool apart from all others of the process.
    pub fn id(&self) -> PoolId {
        self.core().id()
    }

    /// The memory of all buffers: its first byte, page-aligned, and its length in bytes,
    /// which is [`buffer_size`](Self::buffer_size) times [`count`](Self::count). Buffer
    /// `i` lies at `i * buffer_size`. For registering it with the kernel: the bytes
    /// belong to the holders of the buffers, and the memory stays while any handle does.
    pub fn region(&self) -> (NonNull<u8>, usize) {
        self.core().region()
    }

    /// Where each buffer lies and how long it is, in the order of their indices.
    pub fn buffers(&self) -> impl ExactSizeIterator<Item = (NonNull<u8>, usize)> + '_ {
        let core = self.core();
        (0..core.count()).map(|index| (core.start(index), core.buffer_size()))
    }

    /// The figures, from any thread. Takes a lock and visits the magazines of every
    /// thread; see [`PoolStats`] for how exact they are.
    pub fn stats(&self) -> PoolStats {
        self.core().stats()
    }
}

impl Clone for BufferPool {
    fn clone(&self) -> Self {
        Self::of(self.core())
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        // SAFETY: gives up this handle's reference, once.
        unsafe { Core::drop_handle(self.core) };
    }
}

/// Two handles are equal if they are of the same pool.
impl PartialEq for BufferPool {
    fn eq(&self, other: &Self) -> bool {
        self.core == other.core
    }
}

impl Eq for BufferPool {}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("id", &self.id().0)
            .field("buffer_size", &self.buffer_size())
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}
