//! What can be pushed onto which ring, and why not.
#![allow(unsafe_code)]

use crate::op::Op;
use crate::payload::Payload;
use crate::sizes::{Entry128, EntrySize};
use crate::slot::Kind;
use crate::sqe::Sqe128;

/// An operation that fits into the entries of a ring: an [`Op`] into all, an [`Op128`] into those
/// of 128 bytes.
///
/// ```compile_fail
/// let mut ring = zcn_uring::Ring::builder().build().unwrap();
/// let sqe = zcn_uring::sqe::Sqe128::default();
/// // A command of more than 16 bytes does not fit into this ring.
/// ring.push(unsafe { zcn_uring::Op128::command(sqe, None) }).unwrap();
/// ```
pub trait Fits<E: EntrySize>: sealed::Parts<E> {}

impl<E: EntrySize> Fits<E> for Op {}
impl Fits<Entry128> for Op128 {}

pub(crate) mod sealed {
    use super::{EntrySize, Op};

    pub trait Parts<E: EntrySize>: Sized {
        /// The part that every ring has.
        fn op(&self) -> &Op;
        fn split(self) -> (Op, E::Rest);
        fn with_token(self, token: u64) -> Self;
    }
}

impl<E: EntrySize> sealed::Parts<E> for Op {
    #[inline(always)]
    fn op(&self) -> &Op {
        self
    }

    #[inline(always)]
    fn split(self) -> (Op, E::Rest) {
        (self, E::NO_REST)
    }

    fn with_token(self, token: u64) -> Self {
        self.token(token)
    }
}

impl sealed::Parts<Entry128> for Op128 {
    #[inline(always)]
    fn op(&self) -> &Op {
        &self.op
    }

    #[inline(always)]
    fn split(self) -> (Op, [u8; 64]) {
        (self.op, self.rest)
    }

    fn with_token(self, token: u64) -> Self {
        self.token(token)
    }
}

/// An operation that needs an entry of 128 bytes: a command with up to 80 bytes of its own.
#[derive(Debug)]
#[must_use = "an operation does nothing until it is pushed"]
pub struct Op128 {
    op: Op,
    rest: [u8; 64],
}

impl Op128 {
    /// A command of a driver or file system (`URING_CMD`): its number in `off` of the entry, its
    /// 80 bytes by [`Sqe128::set_command`].
    ///
    /// # Safety
    /// As for [`Op::raw`], for every address in the entry and in the command. The opcode is set
    /// here.
    pub unsafe fn command(entry: Sqe128, payload: Option<Payload>) -> Self {
        // SAFETY: as the caller promises.
        let op = unsafe { Op::command(entry.sqe, payload) };
        Self {
            op,
            rest: entry.rest,
        }
    }

    /// Makes this a command of an NVMe device that reads so many bytes.
    pub(crate) fn of_nvme(mut self, reads: u32) -> Self {
        self.op.kind = Kind::Nvme;
        self.op.detail = reads;
        self
    }

    /// A word returned with the completion; the caller's own meaning.
    #[inline]
    pub fn token(mut self, token: u64) -> Self {
        self.op = self.op.token(token);
        self
    }

    /// Start the next pushed operation only when this one has succeeded (`IOSQE_IO_LINK`).
    pub fn link(mut self) -> Self {
        self.op = self.op.link();
        self
    }

    /// Gives the resources back to a caller who decides not to push.
    pub fn into_payload(self) -> Option<Payload> {
        self.op.into_payload()
    }
}

/// A push that could not be done, with the operation back.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct PushError<O = Op> {
    /// The operation, with everything it owns.
    pub op: O,
    /// Why.
    pub reason: PushReason,
}

/// Why an operation could not be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushReason {
    /// The most operations are in flight ([`MAX_OPS`](crate::MAX_OPS)).
    #[error("too many operations in flight on this ring")]
    TooManyOps,
    /// The named group is not registered with this ring.
    #[error("no such provided-buffer group on this ring")]
    NoSuchGroup,
    /// A bundle needs a group of whole buffers.
    #[error("a bundle receive cannot pick from an incrementally consumed group")]
    BundleOfPieces,
    /// The submission queue is full: flush the batch, or build a ring with more entries.
    #[error("the batch fills the submission queue: flush it first")]
    BatchFull,
}
