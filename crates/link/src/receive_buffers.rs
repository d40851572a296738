//! Where frames from the kernel are put.

use std::io::IoSliceMut;

use zcn_frame::{Chain, Frame, FrameMeta, Head};
use zcn_pool::{Buf, BufferPool, PoolError};

/// Buffers that frames are received into, and how many of them.
///
/// Each frame begins in a small buffer, so that a small packet that the application keeps
/// does not keep a large one; what does not fit there goes on in a large one. When all are
/// in use, frames are dropped and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveBuffers {
    /// How many buffers of 4 KiB \[1024\]; a frame takes one.
    pub small: usize,
    /// How many buffers of 68 KiB \[64\]; a frame above 4 KiB takes one besides. Used only
    /// where such frames can come.
    pub large: usize,
}

impl Default for ReceiveBuffers {
    fn default() -> Self {
        Self {
            small: 1024,
            large: 64,
        }
    }
}

const SMALL_BYTES: usize = 4096;
/// 64 KiB for the largest IP packet, and 4 for its link header and the page size.
const LARGE_BYTES: usize = 68 * 1024;

/// Room at the start of a small buffer, for a VLAN tag that is put back.
pub(crate) const HEADROOM: usize = 4;

/// The buffers, and the two that the next frame goes to.
#[derive(Debug)]
pub(crate) struct ReceivePool {
    small: BufferPool,
    large: Option<BufferPool>,
    next_small: Option<Buf>,
    next_large: Option<Buf>,
}

impl ReceivePool {
    /// For frames of up to `frame_max` bytes.
    pub(crate) fn new(buffers: ReceiveBuffers, frame_max: usize) -> Result<Self, PoolError> {
        let small = BufferPool::builder()
            .buffer_size(SMALL_BYTES)
            .count(buffers.small)
            .build()?;
        // One byte beyond the largest frame tells a frame that was cut off from one that fits.
        let large = if frame_max + HEADROOM < SMALL_BYTES {
            None
        } else {
            let pool = BufferPool::builder()
                .buffer_size(LARGE_BYTES)
                .count(buffers.large);
            Some(pool.build()?)
        };
        Ok(Self {
            small,
            large,
            next_small: None,
            next_large: None,
        })
    }

    /// Sees to it that there are buffers for the next frame; `false` if there are none.
    pub(crate) fn prepare(&mut self) -> bool {
        if self.next_small.is_none() {
            self.next_small = self.small.acquire().map(|buf| buf.with_headroom(HEADROOM));
        }
        if self.next_large.is_none() {
            self.next_large = self.large.as_ref().and_then(BufferPool::acquire);
        }
        self.next_small.is_some()
    }

    /// Whether frames are dropped because the large buffers are all in use, not because
    /// they are longer than those.
    pub(crate) fn lacks_large(&self) -> bool {
        self.large.is_some() && self.next_large.is_none()
    }

    /// Room for the next frame, after [`prepare`](Self::prepare): one part or two.
    pub(crate) fn parts(&mut self) -> impl Iterator<Item = IoSliceMut<'_>> {
        let small = self.next_small.as_mut().map(Buf::as_mut_capacity);
        let large = self.next_large.as_mut().map(Buf::as_mut_capacity);
        small.into_iter().chain(large).map(IoSliceMut::new)
    }

    /// How many bytes the next frame may have.
    pub(crate) fn capacity(&self) -> usize {
        let of = |buf: &Option<Buf>| buf.as_ref().map_or(0, Buf::capacity);
        of(&self.next_small) + of(&self.next_large)
    }

    /// The frame whose `len` bytes were written into the [`parts`](Self::parts).
    pub(crate) fn take(&mut self, len: usize, meta: FrameMeta) -> Option<Frame> {
        let mut small = self.next_small.take()?;
        let of_small = len.min(small.capacity());
        small.set_len(of_small);
        let mut body = Chain::from(zcn_pool::SharedBuf::from(small));
        if len > of_small {
            let mut large = self.next_large.take()?;
            large.set_len(len - of_small);
            body.push(large.into()).ok()?;
        }
        Some(Frame {
            meta,
            head: Head::new(),
            body,
        })
    }

    /// As [`take`](Self::take), of a frame from which the kernel took the VLAN tag: puts it
    /// back behind the addresses.
    pub(crate) fn take_tagged(
        &mut self,
        len: usize,
        meta: FrameMeta,
        tag: [u8; 4],
    ) -> Option<Frame> {
        const ADDRESSES: usize = 12;
        let small = self.next_small.as_mut()?;
        if len < ADDRESSES {
            return None;
        }
        small.set_len(ADDRESSES);
        // There is headroom, for just this.
        small.prepend(&[0; 4]).ok()?;
        small.copy_within(4..4 + ADDRESSES, 0);
        small[ADDRESSES..ADDRESSES + 4].copy_from_slice(&tag);
        self.take(len + 4, meta)
    }

    /// Writes a whole frame that lies elsewhere, for a ring that is shared with the kernel.
    pub(crate) fn copy_in(&mut self, pieces: &[&[u8]], meta: FrameMeta) -> Option<Frame> {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        if len > self.capacity() {
            return None;
        }
        let mut parts = self.parts();
        let mut target = parts.next()?;
        let mut at = 0;
        for piece in pieces {
            let mut piece = *piece;
            while !piece.is_empty() {
                if at == target.len() {
                    target = parts.next()?;
                    at = 0;
                }
                let count = piece.len().min(target.len() - at);
                target[at..at + count].copy_from_slice(&piece[..count]);
                at += count;
                piece = &piece[count..];
            }
        }
        drop(parts);
        self.take(len, meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(small: usize, large: usize) -> ReceivePool {
        ReceivePool::new(ReceiveBuffers { small, large }, 65_549).expect("memory")
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn small_frames_take_no_large_buffer() {
        let mut pool = pool(8, 1);
        let mut kept = Vec::new();
        for _ in 0..7 {
            assert!(pool.prepare());
            kept.extend(pool.copy_in(&[&bytes(1500)], FrameMeta::default()));
        }
        assert!(pool.prepare() && !pool.lacks_large());
        let large = pool.copy_in(&[&bytes(100), &bytes(60_000)], FrameMeta::default());
        let large = large.expect("the large buffer is free");
        assert_eq!(large.parts(), 2);
        assert_eq!(large.to_vec(), [bytes(100), bytes(60_000)].concat());
        assert!(!pool.prepare());
        drop(kept);
        assert!(pool.prepare() && pool.lacks_large());
        assert!(
            pool.copy_in(&[&bytes(60_000)], FrameMeta::default())
                .is_none()
        );
    }

    #[test]
    fn a_tag_is_put_back_behind_the_addresses() {
        for len in [14, 60, 4092, 4093, 5000] {
            let mut pool = pool(1, 1);
            assert!(pool.prepare());
            let mut left = bytes(len);
            let wanted = [&left[..12], &[0x81, 0, 0x20, 5], &left[12..]].concat();
            for mut part in pool.parts() {
                let count = part.len().min(left.len());
                part[..count].copy_from_slice(&left[..count]);
                left.drain(..count);
            }
            let frame = pool.take_tagged(len, FrameMeta::default(), [0x81, 0, 0x20, 5]);
            assert_eq!(frame.expect("a whole header").to_vec(), wanted, "{len}");
        }
    }
}
