//! A buffer's name where ownership cannot be expressed.

#![allow(unsafe_code)]

use crate::buf::{Buf, Parts};
use crate::error::RawError;
use crate::meta::Claim;
use crate::pool::BufferPool;

/// Names one buffer that is away from its pool, as two plain numbers: for C, or for a
/// number that travels through the kernel.
///
/// It comes from [`Buf::into_raw`] and goes back through [`BufferPool::from_raw`] or
/// [`BufferPool::release_raw`], once; a copy of it that comes later is an error. A handle
/// that never comes back keeps its buffer, and so the pool's memory, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawBuf {
    /// Which buffer of the pool.
    pub index: u32,
    /// The how-manieth time it is out, from a number that differs from pool to pool.
    pub generation: u32,
}

impl Buf {
    /// Gives up the buffer for a handle of it. Bytes and headroom are kept for whoever
    /// presents the handle.
    #[inline]
    pub fn into_raw(self) -> RawBuf {
        let (offset, len) = (self.headroom() as u32, self.len() as u32);
        let meta = &self.core().metas[self.index() as usize];
        let generation = meta.send_out(offset, len);
        RawBuf {
            generation,
            index: self.into_parts().index,
        }
    }
}

impl BufferPool {
    /// The buffer that the handle names.
    ///
    /// # Errors
    /// If the handle was used before, forged, or of another pool. A handle of another
    /// pool can happen to fit one that is out here; then it gets that one's buffer, and
    /// the other comes too late: a mix-up, but never two owners.
    #[inline]
    pub fn from_raw(&self, raw: RawBuf) -> Result<Buf, RawError> {
        let RawBuf { index, generation } = raw;
        let core = self.core();
        let Some(meta) = core.metas.get(index as usize) else {
            return Err(RawError::OutOfRange {
                index,
                count: core.count(),
            });
        };
        match meta.claim(generation) {
            Claim::Granted { offset, len } => {
                // SAFETY: the claim gave us the buffer, which left as a `Buf` with this
                // offset and length.
                Ok(unsafe {
                    Buf::from_parts(Parts {
                        ptr: core.start(index).add(offset as usize),
                        core: self.core_ptr(),
                        len,
                        index,
                    })
                })
            }
            Claim::Released => Err(RawError::Released { index }),
            Claim::Stale { current } => Err(RawError::Stale {
                index,
                got: generation,
                current,
            }),
        }
    }

    /// Gives back the buffer that the handle names.
    ///
    /// # Errors
    /// As for [`from_raw`](Self::from_raw); a second release is one of them.
    pub fn release_raw(&self, raw: RawBuf) -> Result<(), RawError> {
        self.from_raw(raw).map(drop)
    }
}
