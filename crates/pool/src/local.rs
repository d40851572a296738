//! The handle of one thread.

#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::buf::Buf;
use crate::pool::BufferPool;
use crate::shard::Shard;
use crate::thread;

/// One thread's handle of a [`BufferPool`], from [`BufferPool::local`]. Not `Send`.
///
/// Acquiring takes a buffer from this thread's magazines, and dropping a buffer on this
/// thread puts it there: plain loads and stores, the last one released comes first. One
/// operation in 64 moves a magazine from or to the store that all threads share. A thread
/// keeps at most an eighth of the pool, and at most 128 buffers, in its magazines; when
/// its last local handle is dropped they go back.
pub struct LocalPool {
    /// Open as long as this is: see `thread`.
    shard: NonNull<Shard>,
    /// Dropped after the shard was closed.
    pool: BufferPool,
    _of_this_thread: PhantomData<*const ()>,
}

impl LocalPool {
    pub(crate) fn new(pool: BufferPool) -> Self {
        Self {
            shard: thread::open(pool.core_ptr()),
            pool,
            _of_this_thread: PhantomData,
        }
    }

    /// Takes a buffer, empty and without headroom; `None` if this thread has none and the
    /// shared store is empty. Never blocks, so buffers that another thread is just moving
    /// are not waited for; and those in other threads' magazines are not to be had:
    /// [`PoolStats::cached`](crate::PoolStats::cached) counts them.
    #[inline]
    pub fn acquire(&self) -> Option<Buf> {
        // SAFETY: open since `new`, on this thread.
        let shard = unsafe { self.shard.as_ref() };
        let index = shard.acquire(self.pool.core())?;
        // SAFETY: the index was taken from the pool's own stores, so it is ours alone.
        Some(unsafe { Buf::new(self.pool.core_ptr(), index) })
    }

    /// The pool that this is a handle of.
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }
}

impl Clone for LocalPool {
    fn clone(&self) -> Self {
        Self::new(self.pool.clone())
    }
}

impl Drop for LocalPool {
    fn drop(&mut self) {
        // SAFETY: opened in `new` on this thread, left once, and the handle in `pool` is
        // dropped after this.
        unsafe { thread::close(self.pool.core_ptr(), self.shard) };
    }
}

impl fmt::Debug for LocalPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LocalPool").field(&self.pool).finish()
    }
}
