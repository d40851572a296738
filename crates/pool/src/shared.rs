//! A counted slice of a buffer.

#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Bound, Deref, RangeBounds};
use std::slice;

use bytes::Bytes;

use crate::buf::{Buf, Parts};
use crate::core::Core;
use crate::foreign::Foreign;
use crate::sync::{AtomicUsize, Ordering};

/// A slice of a buffer that others may hold slices of, too: immutable, cheap to clone and
/// to cut.
///
/// The buffer goes home when the last slice of it is dropped. The count lies in the pool,
/// so making one from a [`Buf`] allocates nothing; with one owner it costs no atomic
/// read-modify-write either. It can hold [`Bytes`] instead, and goes in and out of them
/// without a copy.
#[derive(Clone, Default)]
pub struct SharedBuf(Repr);

const _: () = assert!(size_of::<SharedBuf>() <= 32);

#[derive(Clone)]
enum Repr {
    Pool(PoolSlice),
    /// Foreign, static or no bytes.
    Bytes(Foreign),
}

impl Default for Repr {
    fn default() -> Self {
        Self::Bytes(Foreign::nothing())
    }
}

impl SharedBuf {
    /// No bytes.
    pub const fn new() -> Self {
        Self(Repr::Bytes(Foreign::nothing()))
    }

    /// Bytes that are always there.
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self(Repr::Bytes(Foreign::new(Bytes::from_static(bytes))))
    }

    /// Splits off and returns the first `at` bytes; the rest stays.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use = "use `advance` to drop the first bytes"]
    pub fn split_to(&mut self, at: usize) -> Self {
        assert!(at <= self.len(), "split_to beyond the bytes");
        if at == 0 {
            return Self::new();
        }
        if at == self.len() {
            return std::mem::take(self);
        }
        let mut head = self.clone();
        head.truncate(at);
        self.advance(at);
        head
    }

    /// Splits off and returns the bytes from `at` on; the first ones stay.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use = "use `truncate` to drop the last bytes"]
    pub fn split_off(&mut self, at: usize) -> Self {
        assert!(at <= self.len(), "split_off beyond the bytes");
        let head = self.split_to(at);
        std::mem::replace(self, head)
    }

    /// A part of the bytes.
    ///
    /// # Panics
    /// If the range is not inside them.
    #[must_use]
    #[inline]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let from = match range.start_bound() {
            Bound::Included(&at) => at,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&last) => last.saturating_add(1),
            Bound::Excluded(&at) => at,
            Bound::Unbounded => self.len(),
        };
        assert!(from <= to && to <= self.len(), "slice beyond the bytes");
        if from == to {
            return Self::new();
        }
        let mut part = self.clone();
        part.truncate(to);
        part.advance(from);
        part
    }

    /// Drops the first `count` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advance beyond the bytes");
        match &mut self.0 {
            Repr::Pool(slice) => {
                slice.0.len -= count as u32;
                // SAFETY: inside the bytes or at their end.
                slice.0.ptr = unsafe { slice.0.ptr.add(count) };
            }
            Repr::Bytes(foreign) => bytes::Buf::advance(foreign.bytes_mut(), count),
        }
    }

    /// Keeps the first `len` bytes; no effect if there are no more.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        match &mut self.0 {
            Repr::Pool(slice) => {
                slice.0.len = slice.0.len.min(u32::try_from(len).unwrap_or(u32::MAX));
            }
            Repr::Bytes(foreign) => foreign.bytes_mut().truncate(len),
        }
    }

    /// The buffer, if this is the only slice of it; what was before the slice becomes
    /// headroom, and what was after it spare capacity.
    ///
    /// # Errors
    /// If there are other slices, or if it is no buffer of a pool: then itself, unchanged.
    pub fn try_into_buf(self) -> Result<Buf, Self> {
        match self.0 {
            Repr::Pool(slice) if slice.is_only() => Ok(slice.into_buf()),
            other => Err(Self(other)),
        }
    }

    /// Bytes of memory that it alone keeps from being used again: all of the pool's buffer,
    /// however short the slice. `None` if other slices keep the buffer, too, and for foreign and
    /// static bytes, of which only the owner knows.
    #[inline]
    pub fn footprint(&self) -> Option<usize> {
        match &self.0 {
            Repr::Pool(slice) if slice.is_only() => Some(slice.0.core().buffer_size()),
            _ => None,
        }
    }

    /// Whether no other slice of the buffer exists. Never of foreign or static bytes.
    pub fn is_unique(&self) -> bool {
        matches!(&self.0, Repr::Pool(slice) if slice.is_only())
    }
}

/// A slice of a pool's buffer, with a share in it.
struct PoolSlice(Parts);

// SAFETY: the bytes are only read while they are shared, the count is atomic, and the
// pool may be reached from any thread.
unsafe impl Send for PoolSlice {}
// SAFETY: as above.
unsafe impl Sync for PoolSlice {}

impl Parts {
    #[inline]
    fn core(&self) -> &Core {
        // SAFETY: alive while this buffer is away from home.
        unsafe { self.core.as_ref() }
    }

    #[inline]
    fn shares(&self) -> &AtomicUsize {
        &self.core().metas[self.index as usize].shares
    }
}

impl PoolSlice {
    #[inline]
    fn new(buf: Buf) -> Self {
        let parts = buf.into_parts();
        // No read-modify-write: the buffer had one owner, us. Others learn of it through
        // what hands them a clone.
        parts.shares().store(1, Ordering::Relaxed);
        Self(parts)
    }

    #[inline]
    fn shares(&self) -> &AtomicUsize {
        self.0.shares()
    }

    /// Whether this share is all. If so it stays so, as only a share makes another one.
    #[inline]
    fn is_only(&self) -> bool {
        // Acquire: what the others did with the bytes happened before they let go.
        self.shares().load(Ordering::Acquire) == 1
    }

    /// The buffer of the last share.
    #[inline]
    fn into_buf(self) -> Buf {
        let this = ManuallyDrop::new(self);
        // SAFETY: the caller saw that this is the only share, so we own the buffer; the
        // parts lie inside it, as slices only shrink.
        unsafe { Buf::from_parts(this.0) }
    }
}

/// One more share, or none if they are as many as can be counted with room for races.
fn add_share(shares: &AtomicUsize) -> bool {
    // Relaxed: the new share is made from one that has seen everything already.
    if shares.fetch_add(1, Ordering::Relaxed) <= isize::MAX as usize {
        return true;
    }
    shares.fetch_sub(1, Ordering::Relaxed);
    false
}

impl Clone for PoolSlice {
    #[inline]
    fn clone(&self) -> Self {
        // So many exist only if they are leaked in a loop; a wrapped count would free
        // the buffer under all of them.
        assert!(add_share(self.shares()), "too many shares of one buffer");
        Self(self.0)
    }
}

impl Drop for PoolSlice {
    #[inline]
    fn drop(&mut self) {
        // Release: our reads happen before the next owner's writes; acquire, for the last
        // one, which hands the buffer on.
        if self.is_only() || self.shares().fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: that was the last share, so the buffer is ours to give back.
            drop(unsafe { Buf::from_parts(self.0) });
        }
    }
}

impl Deref for PoolSlice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes lie inside the buffer, are initialised, and nobody writes
        // them while there are shares.
        unsafe { slice::from_raw_parts(self.0.ptr.as_ptr(), self.0.len as usize) }
    }
}

impl AsRef<[u8]> for PoolSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for SharedBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Pool(slice) => slice,
            Repr::Bytes(foreign) => foreign.bytes(),
        }
    }
}

impl AsRef<[u8]> for SharedBuf {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Buf> for SharedBuf {
    #[inline]
    fn from(buf: Buf) -> Self {
        Self(Repr::Pool(PoolSlice::new(buf)))
    }
}

/// Holds the `Bytes`; converting back gives them back.
impl From<Bytes> for SharedBuf {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Bytes(Foreign::new(bytes)))
    }
}

impl From<&'static [u8]> for SharedBuf {
    fn from(bytes: &'static [u8]) -> Self {
        Self::from_static(bytes)
    }
}

/// Lends the buffer to the `Bytes`: no copy, one allocation; the buffer goes home when
/// the last clone of them is dropped.
impl From<Buf> for Bytes {
    fn from(buf: Buf) -> Self {
        Self::from_owner(buf)
    }
}

/// Lends the slice to the `Bytes`: no copy, one allocation; or none, if it was made from
/// `Bytes`.
impl From<SharedBuf> for Bytes {
    fn from(shared: SharedBuf) -> Self {
        match shared.0 {
            Repr::Pool(slice) => Self::from_owner(slice),
            Repr::Bytes(foreign) => foreign.into_bytes(),
        }
    }
}

impl PartialEq for SharedBuf {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for SharedBuf {}

impl PartialEq<[u8]> for SharedBuf {
    fn eq(&self, other: &[u8]) -> bool {
        self[..] == *other
    }
}

impl fmt::Debug for SharedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuf")
            .field("len", &self.len())
            .field("pooled", &matches!(self.0, Repr::Pool(_)))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn count_of_shares_does_not_wrap() {
        let shares = AtomicUsize::new(isize::MAX as usize);
        assert!(add_share(&shares));
        assert!(!add_share(&shares));
        assert_eq!(shares.load(Ordering::Relaxed), isize::MAX as usize + 1);
    }
}
