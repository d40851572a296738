//! One buffer with one owner.

#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use crate::core::Core;
use crate::error::CapacityError;
use crate::pool::{BufferPool, PoolId};
use crate::thread;

/// One buffer of a [`BufferPool`]: unique and mutable; dropping it gives it back.
///
/// ```text
/// 0          headroom          headroom + len        buffer_size
/// |  headroom  |     the bytes     |  spare capacity  |
///              |------------- capacity() -------------|
/// ```
///
/// It dereferences to its bytes, none at first. Headroom is room before them, for headers
/// that are known last. All bytes of the buffer are initialised memory, but those that
/// nobody wrote since the buffer was acquired are left over from earlier owners.
///
/// A buffer may be sent to and dropped on any thread, and may outlive every handle of its
/// pool. 24 bytes, and so is an `Option` of it.
pub struct Buf {
    /// First of the bytes, in the buffer `index`.
    ptr: NonNull<u8>,
    /// The pool; alive because this buffer is away from home.
    core: NonNull<Core>,
    len: u32,
    index: u32,
}

const _: () = assert!(size_of::<Option<Buf>>() == 24);

// SAFETY: the memory belongs to the `Buf` alone, and its pool may be reached from any
// thread.
unsafe impl Send for Buf {}
// SAFETY: shared methods only read.
unsafe impl Sync for Buf {}

/// The parts of a `Buf`, for the other kinds of owner in this crate.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) ptr: NonNull<u8>,
    pub(crate) core: NonNull<Core>,
    pub(crate) len: u32,
    pub(crate) index: u32,
}

impl Buf {
    /// The empty buffer `index`.
    ///
    /// # Safety
    /// The caller owns the buffer, which is away from home and so keeps `core` alive, and
    /// gives it to the new `Buf`.
    #[inline(always)]
    pub(crate) unsafe fn new(core: NonNull<Core>, index: u32) -> Self {
        Self {
            // SAFETY: the core is alive.
            ptr: unsafe { core.as_ref() }.start(index),
            core,
            len: 0,
            index,
        }
    }

    /// # Safety
    /// As for [`new`](Self::new), and `ptr` with `len` lies inside the buffer.
    #[inline]
    pub(crate) unsafe fn from_parts(parts: Parts) -> Self {
        Self {
            ptr: parts.ptr,
            core: parts.core,
            len: parts.len,
            index: parts.index,
        }
    }

    /// The parts, which own the buffer from now on.
    #[inline]
    pub(crate) fn into_parts(self) -> Parts {
        let this = ManuallyDrop::new(self);
        Parts {
            ptr: this.ptr,
            core: this.core,
            len: this.len,
            index: this.index,
        }
    }

    #[inline(always)]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: alive while this buffer is away from home.
        unsafe { self.core.as_ref() }
    }

    #[inline(always)]
    fn start(&self) -> NonNull<u8> {
        self.core().start(self.index)
    }

    /// Which buffer of the pool this is, from 0 on: what io_uring knows it by.
    #[inline]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The pool it is of.
    pub fn pool_id(&self) -> PoolId {
        self.core().id()
    }

    /// A handle of the pool it is of.
    pub fn pool(&self) -> BufferPool {
        BufferPool::of(self.core())
    }

    /// Whether it is of this pool.
    #[inline]
    pub fn belongs_to(&self, pool: &BufferPool) -> bool {
        self.core == pool.core_ptr()
    }

    /// Room before the bytes.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.ptr.as_ptr().addr() - self.start().as_ptr().addr()
    }

    /// How many bytes there can be: from the first one to the end of the buffer.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.buffer_size() - self.headroom()
    }

    /// Size of the whole buffer, headroom included.
    #[inline]
    pub fn buffer_size(&self) -> usize {
        self.core().buffer_size()
    }

    /// The first of the bytes, for a kernel that writes up to
    /// [`capacity`](Self::capacity) of them; then [`set_len`](Self::set_len). The
    /// pointer is good for as long as the `Buf` exists, and moving the `Buf` changes
    /// nothing about it.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// All of the capacity: the bytes and the room after them.
    #[inline]
    pub fn as_mut_capacity(&mut self) -> &mut [u8] {
        let capacity = self.capacity();
        // SAFETY: from `ptr` to the end of the buffer, which is initialised and ours.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), capacity) }
    }

    /// The room after the bytes.
    #[inline]
    pub fn spare_capacity(&mut self) -> &mut [u8] {
        let len = self.len as usize;
        &mut self.as_mut_capacity()[len..]
    }

    /// Says that there are `len` bytes. Those beyond the old length are what was last
    /// written there, by whoever that was.
    ///
    /// # Panics
    /// If `len` is above the capacity.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "set_len beyond the capacity");
        self.len = len as u32;
    }

    /// Keeps the first `len` bytes; no effect if there are no more.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// Drops the bytes and the headroom: as freshly acquired.
    #[inline]
    pub fn clear(&mut self) {
        self.ptr = self.start();
        self.len = 0;
    }

    /// Drops the first `count` bytes, which become headroom.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advance beyond the bytes");
        self.len -= count as u32;
        // SAFETY: inside the bytes or at their end.
        self.ptr = unsafe { self.ptr.add(count) };
    }

    /// The same empty buffer with `headroom` bytes of room before the bytes to come.
    ///
    /// # Panics
    /// If there are bytes already, or if the headroom is above the buffer's size.
    #[inline]
    #[must_use]
    pub fn with_headroom(mut self, headroom: usize) -> Self {
        assert!(self.is_empty(), "headroom is set before the first byte");
        assert!(
            headroom <= self.buffer_size(),
            "headroom above the buffer's size"
        );
        // SAFETY: inside the buffer or at its end.
        self.ptr = unsafe { self.start().add(headroom) };
        self
    }

    /// Writes `bytes` before those that are there.
    ///
    /// # Errors
    /// If the headroom is too small; then nothing is changed.
    #[inline]
    pub fn prepend(&mut self, bytes: &[u8]) -> Result<(), CapacityError> {
        let headroom = self.headroom();
        if bytes.len() > headroom {
            return Err(CapacityError {
                needed: bytes.len(),
                available: headroom,
            });
        }
        // SAFETY: not below the start of the buffer.
        self.ptr = unsafe { self.ptr.sub(bytes.len()) };
        self.len += bytes.len() as u32;
        self[..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// Writes `bytes` after those that are there.
    ///
    /// # Errors
    /// If the spare capacity is too small; then nothing is changed.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), CapacityError> {
        let spare = self.spare_capacity();
        let available = spare.len();
        let Some(target) = spare.get_mut(..bytes.len()) else {
            return Err(CapacityError {
                needed: bytes.len(),
                available,
            });
        };
        target.copy_from_slice(bytes);
        self.len += bytes.len() as u32;
        Ok(())
    }
}

impl Drop for Buf {
    #[inline]
    fn drop(&mut self) {
        let index = self.index;
        thread::with_shard(
            self.core,
            |shard| shard.release(index),
            // SAFETY: the buffer is ours, and nothing uses the core after this.
            || unsafe { Core::release_shared(self.core, index) },
        );
    }
}

impl Deref for Buf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes lie inside the buffer, are initialised, and ours.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Buf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len as usize) }
    }
}

impl AsRef<[u8]> for Buf {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Buf {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buf")
            .field("index", &self.index)
            .field("headroom", &self.headroom())
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
