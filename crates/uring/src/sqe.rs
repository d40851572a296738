//! The submission queue entry, field by field.
//!
//! The `io-uring` crate's builders do not reach every field (`ioprio` of multishot and bundle
//! operations, `buf_index` of `SENDMSG_ZC`, cancel by operation), so entries are filled here and
//! handed to the crate's queue, whose entry type is transparent over the same 64 bytes.
#![allow(unsafe_code)]

use io_uring::squeue::Entry;

/// `struct io_uring_sqe` for a 64-byte ring; the unions are named by their commonest use.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Sqe {
    /// Which operation (`IORING_OP_*`).
    pub opcode: u8,
    /// `IOSQE_*` flags.
    pub flags: u8,
    /// `IORING_RECV*`, `IORING_SEND*` and `IORING_ACCEPT*` flags live here for socket operations.
    pub ioprio: u16,
    /// Descriptor, or index of a registered file with `IOSQE_FIXED_FILE`.
    pub fd: i32,
    /// Offset, second address or command, by operation.
    pub off: u64,
    /// Address of the buffer or argument.
    pub addr: u64,
    /// Length of the buffer, or a small integer argument.
    pub len: u32,
    /// Message, poll, timeout, accept or cancel flags.
    pub op_flags: u32,
    /// Returned in the completion.
    pub user_data: u64,
    /// Registered buffer index or provided-buffer group.
    pub buf: u16,
    /// Credentials to run under; 0 = the ring's own.
    pub personality: u16,
    /// Slot of a direct descriptor plus one, or address length of a send.
    pub file_index: u32,
    /// Third address.
    pub addr3: u64,
    /// Must be zero.
    pub pad: u64,
}

const _: () = {
    assert!(size_of::<Sqe>() == 64 && size_of::<Entry>() == 64);
    assert!(align_of::<Sqe>() == align_of::<Entry>());
    assert!(std::mem::offset_of!(Sqe, off) == 8);
    assert!(std::mem::offset_of!(Sqe, addr) == 16);
    assert!(std::mem::offset_of!(Sqe, len) == 24);
    assert!(std::mem::offset_of!(Sqe, user_data) == 32);
    assert!(std::mem::offset_of!(Sqe, buf) == 40);
    assert!(std::mem::offset_of!(Sqe, file_index) == 44);
    assert!(std::mem::offset_of!(Sqe, addr3) == 48);
};

/// `IOSQE_FIXED_FILE`.
pub const FIXED_FILE: u8 = 1 << 0;
/// `IOSQE_IO_DRAIN`.
pub const IO_DRAIN: u8 = 1 << 1;
/// `IOSQE_IO_LINK`.
pub const IO_LINK: u8 = 1 << 2;
/// `IOSQE_IO_HARDLINK`.
pub const IO_HARDLINK: u8 = 1 << 3;
/// `IOSQE_ASYNC`.
pub const ASYNC: u8 = 1 << 4;
/// `IOSQE_BUFFER_SELECT`.
pub const BUFFER_SELECT: u8 = 1 << 5;

impl Sqe {
    /// The same bytes as the crate's entry type.
    #[inline]
    pub(crate) fn entry(&self) -> &Entry {
        // SAFETY: both are `repr(C)` over the kernel's 64-byte `struct io_uring_sqe` with equal
        // size and alignment (asserted above), and every bit pattern is valid for both: the
        // crate's `Entry` wraps the bindgen struct of plain integers.
        unsafe { &*std::ptr::from_ref(self).cast::<Entry>() }
    }
}
