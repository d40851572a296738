//! What an operation owns from the push until its final completion.

use std::os::fd::OwnedFd;

use io_uring::types::Timespec;
use socket2::SockAddr;
use zcn_pool::{Buf, SharedBuf};

use crate::msg::Msg;

/// Resources lent to the kernel with an operation, given back with its final completion.
///
/// Everything the kernel reads or writes through a pointer is in here, at an address that does not
/// move when the payload does: pool memory, or a box.
#[derive(Debug)]
#[non_exhaustive]
pub enum Payload {
    /// A unique buffer; after a receive its length is what arrived.
    Buf(Buf),
    /// A counted slice.
    Shared(SharedBuf),
    /// Several buffers in order (bundle receive).
    Bufs(Vec<Buf>),
    /// Message header with its address, slices and control data.
    Msg(Box<Msg>),
    /// Address of a connect or bind.
    Addr(Box<SockAddr>),
    /// Descriptor of a close, back only if the close did not run.
    Fd(OwnedFd),
    /// Time limit.
    Timespec(Box<Timespec>),
}

impl Payload {
    /// The buffer, if that is what this is.
    pub fn into_buf(self) -> Option<Buf> {
        match self {
            Self::Buf(buf) => Some(buf),
            _ => None,
        }
    }
}

/// Where the kernel may write: the spare room of a buffer.
#[inline]
pub(crate) fn kernel_space(buf: &mut Buf) -> (*mut u8, usize) {
    let spare = buf.spare_capacity();
    (spare.as_mut_ptr(), spare.len())
}

/// Takes `received` bytes that the kernel wrote behind the buffer's bytes into its length.
#[inline]
pub(crate) fn grow(buf: &mut Buf, received: usize) {
    let len = (buf.len() + received).min(buf.capacity());
    buf.set_len(len);
}
