//! A pool whose region is registered with the ring.
#![allow(unsafe_code)]

use zcn_pool::BufferPool;

use crate::error::RegisterError;
use crate::ring::Ring;
use crate::sizes::{CompletionSize, EntrySize};

/// Largest piece the kernel takes as one registered buffer (`SZ_1G`).
const FIXED_CHUNK: usize = 1 << 30;

impl<E: EntrySize, C: CompletionSize> Ring<E, C> {
    /// Registers the whole region of a pool as fixed buffers, so that reads, writes and zero-copy
    /// sends of its buffers need not map pages each time. Returns the index of the registered
    /// buffer in which each pool buffer lies: pool regions over 1 GiB take several.
    ///
    /// # Errors
    /// [`RegisterError::MemLock`] when the locked-memory limit is too small.
    pub fn register_pool(&mut self, pool: &BufferPool) -> Result<(), RegisterError> {
        if self.registered_pool.is_some() {
            return Err(RegisterError::Config {
                setting: "registered pools",
                value: 2,
                range: "one pool on one ring",
            });
        }
        let (start, bytes) = pool.region();
        let iovecs: Vec<libc::iovec> = (0..bytes)
            .step_by(FIXED_CHUNK)
            .map(|offset| libc::iovec {
                // SAFETY: `offset` lies inside the pool's map.
                iov_base: unsafe { start.as_ptr().add(offset) }.cast(),
                iov_len: (bytes - offset).min(FIXED_CHUNK),
            })
            .collect();
        // SAFETY: the region stays mapped for as long as a handle of the pool exists, and the ring
        // keeps one until it is closed.
        unsafe { self.queues.submitter().register_buffers(&iovecs) }.map_err(
            |source| match source.raw_os_error() {
                Some(libc::ENOMEM) => RegisterError::MemLock { bytes, source },
                _ => RegisterError::Kernel {
                    what: "fixed buffers",
                    source,
                },
            },
        )?;
        self.registered_pool = Some(pool.clone());
        Ok(())
    }

    /// Index of the registered buffer that `bytes` lie in, for [`Op::registered`](crate::Op::registered) and
    /// [`Op::fixed_buffer`](crate::Op::fixed_buffer); `None` if they are not of the registered pool.
    pub fn registered_index(&self, bytes: &[u8]) -> Option<u16> {
        let (start, len) = self.registered_pool.as_ref()?.region();
        let offset = (bytes.as_ptr() as usize).checked_sub(start.as_ptr() as usize)?;
        if offset + bytes.len() > len {
            return None;
        }
        u16::try_from(offset / FIXED_CHUNK).ok()
    }
}
