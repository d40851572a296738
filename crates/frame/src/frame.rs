//! The packet itself.

use std::io::IoSlice;

use bytes::Bytes;
use zcn_pool::SharedBuf;

use crate::chain::{Chain, ChainFull};
use crate::head::{HEAD_MAX, Head};
use crate::meta::FrameMeta;

/// One packet on its way, or several of one flow as a super-frame.
///
/// Its bytes are those of the head, then those of the body. A frame from a device has an
/// empty head, and all its headers in the first slice of the body unless the driver says
/// otherwise; one that the stack made has its headers in the head, and comes out of a
/// memory link just so. A reader of headers takes them from [`linear`](Self::linear), and
/// where these are too few asks for more with [`pull`](Self::pull).
///
/// It owns its bytes, may go to another thread, and never copies them but where a method
/// says so.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// What is known of it beside its bytes.
    pub meta: FrameMeta,
    /// The first bytes, if the stack wrote them.
    pub head: Head,
    /// The bytes after the head.
    pub body: Chain,
}

impl Frame {
    /// A frame of these headers, without body.
    pub fn new(head: Head) -> Self {
        Self::of(head, Chain::new())
    }

    /// A frame of these headers and this body.
    pub fn of(head: Head, body: Chain) -> Self {
        Self {
            meta: FrameMeta::default(),
            head,
            body,
        }
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Whether there are no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    /// Of how many contiguous parts it consists.
    pub fn parts(&self) -> usize {
        usize::from(!self.head.is_empty()) + self.body.slices().len()
    }

    /// The first bytes, as many as lie together.
    #[inline]
    pub fn linear(&self) -> &[u8] {
        if self.head.is_empty() {
            self.body.first()
        } else {
            &self.head
        }
    }

    /// Sees to it that the first `count` bytes lie together in [`linear`](Self::linear),
    /// by copying what is missing into the head. Answers whether they do: not if there are
    /// fewer, or if they are more than [`HEAD_MAX`].
    #[inline]
    pub fn pull(&mut self, count: usize) -> bool {
        count <= self.linear().len() || self.pull_apart(count)
    }

    /// As [`pull`](Self::pull), but into the head, where they can be written.
    #[inline]
    pub fn pull_into_head(&mut self, count: usize) -> bool {
        count <= self.head.len() || self.pull_apart(count)
    }

    #[cold]
    fn pull_apart(&mut self, count: usize) -> bool {
        if count > HEAD_MAX || count > self.len() {
            return false;
        }
        let missing = count - self.head.len();
        let mut head = Head::new();
        // Both fit, as `count` does.
        let copied = head
            .extend_from_slice(&self.head)
            .and_then(|()| head.grow(missing))
            .map(|target| self.body.copy_to_slice(0, target));
        if copied != Ok(missing) {
            return false;
        }
        self.head = head;
        self.body.advance(missing);
        true
    }

    /// Drops the first `count` bytes. What [`meta`](Self::meta) says of positions still
    /// counts from where the frame began.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn advance(&mut self, count: usize) {
        let of_head = count.min(self.head.len());
        self.head.advance(of_head);
        self.body.advance(count - of_head);
    }

    /// Keeps the first `len` bytes (padding is dropped so); no effect if there are no more.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        let of_head = len.min(self.head.len());
        self.head.truncate(of_head);
        self.body.truncate(len - of_head);
    }

    /// Adds a slice at the end.
    ///
    /// # Errors
    /// As [`Chain::push`].
    #[inline]
    pub fn push(&mut self, slice: SharedBuf) -> Result<(), ChainFull> {
        self.body.push(slice)
    }

    /// All bytes as a chain of slices: what is left of the head, if anything, copied into
    /// an allocation, and the body as it is. After [`advance`](Self::advance) over the
    /// headers this is the payload.
    #[inline]
    pub fn into_body(mut self) -> Chain {
        self.take_body()
    }

    /// As [`into_body`](Self::into_body), out of a frame that stays where it is: its body is
    /// empty afterwards.
    #[inline]
    pub fn take_body(&mut self) -> Chain {
        let body = core::mem::take(&mut self.body);
        if self.head.is_empty() {
            return body;
        }
        self.joined_with(body)
    }

    #[cold]
    fn joined_with(&self, mut body: Chain) -> Chain {
        let mut chain = Chain::from(self.head.to_shared());
        if !chain.append(&mut body) {
            // One slice more than a chain takes: together they are one.
            let bytes = [chain.to_vec(), body.to_vec()].concat();
            chain = Chain::from(SharedBuf::from(Bytes::from(bytes)));
        }
        chain
    }

    /// Copies bytes from `offset` on into `target` and returns how many: as many as fit
    /// and are there.
    pub fn copy_to_slice(&self, offset: usize, target: &mut [u8]) -> usize {
        let from_head = self.head.get(offset..).unwrap_or(&[]);
        let count = from_head.len().min(target.len());
        target[..count].copy_from_slice(&from_head[..count]);
        let offset = offset.saturating_sub(self.head.len());
        count + self.body.copy_to_slice(offset, &mut target[count..])
    }

    /// A copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        self.copy_to_slice(0, &mut bytes);
        bytes
    }

    /// Its parts for a vectored write: the head, if it has one, then the body's slices.
    pub fn io_slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        let head = (!self.head.is_empty()).then(|| IoSlice::new(&self.head));
        head.into_iter().chain(self.body.io_slices())
    }
}

/// A frame as a device hands it up: its bytes in one slice.
impl From<SharedBuf> for Frame {
    #[inline]
    fn from(bytes: SharedBuf) -> Self {
        Self {
            meta: FrameMeta::default(),
            head: Head::new(),
            body: Chain::from(bytes),
        }
    }
}
