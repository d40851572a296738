//! A chain of slices of buffers.

use std::io::IoSlice;
use std::mem;

use smallvec::SmallVec;
use zcn_pool::SharedBuf;

/// Most slices of one [`Chain`]: a super-frame of 64 KiB out of buffers of 4 KiB takes 17
/// when it begins inside one.
pub const SLICES_MAX: usize = 20;

/// Slices that lie in the chain itself: a packet has one or two. More are in an allocation,
/// which a super-frame of so many is worth, while every packet pays for moving room.
const INLINE: usize = 2;

/// The chain has [`SLICES_MAX`] slices already; the slice comes back.
#[derive(Debug, thiserror::Error)]
#[error("a chain of {SLICES_MAX} slices takes no more; send what is there, or copy it together")]
pub struct ChainFull(pub SharedBuf);

/// The bytes of up to [`SLICES_MAX`] slices of buffers, one after the other.
///
/// Cutting and joining chains moves or clones slices (one atomic addition), never bytes.
/// No slice in it is empty.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// Those before `first` were taken, and are empty.
    slices: SmallVec<[SharedBuf; INLINE]>,
    first: usize,
    /// Sum of all lengths.
    len: usize,
}

const _: () = assert!(size_of::<Chain>() <= 96);

impl Chain {
    /// No bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that the slices keep from being used again: whole buffers, however short
    /// the slices; of buffers that others keep, too, and of foreign bytes, whose memory only their
    /// owner knows, the length of the slices.
    pub fn footprint(&self) -> usize {
        let of = |slice: &SharedBuf| slice.footprint().unwrap_or(slice.len());
        self.slices().iter().map(of).sum()
    }

    /// The slices, in order.
    #[inline]
    pub fn slices(&self) -> &[SharedBuf] {
        &self.slices[self.first..]
    }

    /// The bytes of the first slice; none if there is none.
    #[inline]
    pub fn first(&self) -> &[u8] {
        self.slices().first().map_or(&[], |slice| slice)
    }

    /// Drops all bytes.
    #[inline]
    pub fn clear(&mut self) {
        if !self.slices.is_empty() {
            self.slices.clear();
        }
        self.first = 0;
        self.len = 0;
    }

    /// Adds a slice at the end. An empty one is dropped.
    ///
    /// # Errors
    /// If there are [`SLICES_MAX`] already; the slice comes back.
    #[inline]
    pub fn push(&mut self, slice: SharedBuf) -> Result<(), ChainFull> {
        if slice.is_empty() {
            return Ok(());
        }
        if self.slices().len() == SLICES_MAX {
            return Err(ChainFull(slice));
        }
        self.len += slice.len();
        self.add(slice);
        Ok(())
    }

    /// Puts a slice at the end of fewer than [`SLICES_MAX`]; the sum is the caller's to mind.
    #[inline]
    fn add(&mut self, slice: SharedBuf) {
        if self.slices.len() == self.slices.capacity() {
            self.spill();
        }
        self.slices.push(slice);
    }

    /// Makes room for all that a chain may have: whoever has more than a packet mostly has many,
    /// and one allocation is less than the four of growing by halves.
    #[cold]
    fn spill(&mut self) {
        self.slices.grow(self.first + SLICES_MAX);
    }

    /// Moves all of `other` to the end of this one, and answers whether it did: not if
    /// both together have more than [`SLICES_MAX`] slices; then nothing is changed.
    #[must_use = "the bytes are where they were if it does not fit"]
    pub fn append(&mut self, other: &mut Self) -> bool {
        if self.slices().len() + other.slices().len() > SLICES_MAX {
            return false;
        }
        self.len += other.len;
        for slice in other.drain() {
            self.add(slice);
        }
        true
    }

    /// Takes all slices, in order; those that nobody asks for are dropped.
    #[inline]
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = SharedBuf> + '_ {
        self.len = 0;
        let taken = mem::take(&mut self.first);
        let mut slices = self.slices.drain(..);
        for _ in 0..taken {
            slices.next();
        }
        slices
    }

    /// Takes the first slice.
    #[inline]
    pub fn pop_front(&mut self) -> Option<SharedBuf> {
        if self.slices.len() == self.first + 1 {
            // The last one leaves nothing in its place.
            let slice = self.slices.pop()?;
            self.clear();
            return Some(slice);
        }
        let slice = mem::take(self.slices.get_mut(self.first)?);
        self.len -= slice.len();
        self.first += 1;
        Some(slice)
    }

    /// Drops the first `count` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advance beyond the bytes");
        while count > 0 {
            let first = &mut self.slices[self.first];
            if count < first.len() {
                first.advance(count);
                self.len -= count;
                return;
            }
            count -= first.len();
            self.pop_front();
        }
    }

    /// Keeps the first `len` bytes; no effect if there are no more.
    pub fn truncate(&mut self, len: usize) {
        while self.len > len {
            // There are bytes, so there is a slice, and no slice is empty.
            let last = self.slices.len() - 1;
            let excess = self.len - len;
            let last_len = self.slices[last].len();
            if excess < last_len {
                self.slices[last].truncate(last_len - excess);
                self.len = len;
            } else {
                self.slices.truncate(last);
                self.len -= last_len;
            }
        }
        if self.len == 0 {
            self.slices.clear();
            self.first = 0;
        }
    }

    /// Splits off and returns the first `at` bytes; the rest stays.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use = "use `advance` to drop the first bytes"]
    pub fn split_to(&mut self, at: usize) -> Self {
        assert!(at <= self.len, "split_to beyond the bytes");
        if at == self.len {
            return mem::take(self);
        }
        let mut head = Self::new();
        while head.len < at {
            let missing = at - head.len;
            let first = &mut self.slices[self.first];
            let part = if first.len() <= missing {
                // There is one, as `at` lies inside the bytes.
                self.pop_front().unwrap_or_default()
            } else {
                self.len -= missing;
                first.split_to(missing)
            };
            head.len += part.len();
            head.add(part);
        }
        head
    }

    /// Copies bytes from `offset` on into `target` and returns how many: as many as fit
    /// and are there.
    pub fn copy_to_slice(&self, mut offset: usize, target: &mut [u8]) -> usize {
        let mut done = 0;
        for slice in self.slices() {
            if offset >= slice.len() {
                offset -= slice.len();
                continue;
            }
            let part = &slice[offset..];
            offset = 0;
            let count = part.len().min(target.len() - done);
            target[done..done + count].copy_from_slice(&part[..count]);
            done += count;
            if done == target.len() {
                break;
            }
        }
        done
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        for slice in self.slices() {
            bytes.extend_from_slice(slice);
        }
        bytes
    }

    /// The slices for a vectored write.
    pub fn io_slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        self.slices().iter().map(|slice| IoSlice::new(slice))
    }
}

impl From<SharedBuf> for Chain {
    #[inline]
    fn from(slice: SharedBuf) -> Self {
        let mut chain = Self::new();
        if !slice.is_empty() {
            chain.len = slice.len();
            chain.slices.push(slice);
        }
        chain
    }
}

/// The slices of a chain, in order.
#[derive(Debug)]
pub struct IntoIter(smallvec::IntoIter<[SharedBuf; INLINE]>);

impl Iterator for IntoIter {
    type Item = SharedBuf;

    #[inline]
    fn next(&mut self) -> Option<SharedBuf> {
        self.0.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for IntoIter {}

impl IntoIterator for Chain {
    type Item = SharedBuf;
    type IntoIter = IntoIter;

    #[inline]
    fn into_iter(self) -> IntoIter {
        let mut slices = self.slices.into_iter();
        for _ in 0..self.first {
            slices.next(); // empty: taken before
        }
        IntoIter(slices)
    }
}
