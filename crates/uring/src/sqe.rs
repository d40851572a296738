//! The submission queue entry, field by field.
//!
//! The `io-uring` crate's builders do not reach every field (`ioprio` of multishot and bundle
//! operations, `buf_index` of `SENDMSG_ZC`, cancel by operation), so entries are filled here and
//! handed to the crate's queue, whose entry type is transparent over the same 64 bytes.
#![allow(unsafe_code)]

use io_uring::squeue::{Entry, Entry128};

/// The first 64 bytes of `struct io_uring_sqe`; the unions are named by their commonest use.
///
/// For `URING_CMD` the number of the command lies in `off`, and its own bytes begin at `addr3`: 16
/// of them here, 80 in an [`Sqe128`].
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
    /// Zero, or the second eight bytes of a command.
    pub pad: u64,
}

/// A whole entry of a ring of 128-byte entries.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Sqe128 {
    /// The part that every ring has.
    pub sqe: Sqe,
    /// What a command has more than 16 bytes of, in the order of memory.
    pub rest: [u8; 64],
}

/// Bytes of a command in a [`Sqe`].
pub const COMMAND_BYTES: usize = 16;
/// Bytes of a command in a [`Sqe128`].
pub const COMMAND_BYTES_128: usize = 80;

const _: () = {
    assert!(size_of::<Sqe128>() == 128 && size_of::<Entry128>() == 128);
    assert!(align_of::<Sqe128>() == align_of::<Entry128>());
    assert!(std::mem::offset_of!(Sqe128, sqe) == 0);
    assert!(std::mem::offset_of!(Sqe128, rest) == 64);
    assert!(size_of::<Sqe128>() - std::mem::offset_of!(Sqe, addr3) == COMMAND_BYTES_128);
    assert!(size_of::<Sqe>() - std::mem::offset_of!(Sqe, addr3) == COMMAND_BYTES);
    assert!(std::mem::offset_of!(Sqe, opcode) == 0);
    assert!(std::mem::offset_of!(Sqe, flags) == 1);
    assert!(std::mem::offset_of!(Sqe, ioprio) == 2);
    assert!(std::mem::offset_of!(Sqe, fd) == 4);
    assert!(std::mem::offset_of!(Sqe, op_flags) == 28);
    assert!(std::mem::offset_of!(Sqe, personality) == 42);
    assert!(std::mem::offset_of!(Sqe, pad) == 56);
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

impl Sqe128 {
    /// The same bytes as the crate's entry type.
    #[inline]
    pub(crate) fn entry(&self) -> &Entry128 {
        // SAFETY: as for `Sqe::entry`; the crate's `Entry128` is `repr(C)` over an `Entry` and 64
        // bytes, of equal size and alignment (asserted above).
        unsafe { &*std::ptr::from_ref(self).cast::<Entry128>() }
    }

    /// Writes a command: 16 bytes into the part that every ring has, 64 behind it.
    pub fn set_command(&mut self, bytes: &[u8; COMMAND_BYTES_128]) {
        let (first, rest) = bytes.split_at(COMMAND_BYTES);
        for (word, bytes) in [&mut self.sqe.addr3, &mut self.sqe.pad]
            .into_iter()
            .zip(first.as_chunks().0)
        {
            *word = u64::from_ne_bytes(*bytes);
        }
        self.rest.copy_from_slice(rest);
    }
}

impl Default for Sqe128 {
    fn default() -> Self {
        Self {
            sqe: Sqe::default(),
            rest: [0; 64],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_lies_in_the_last_eighty_bytes_in_order() {
        let mut sqe = Sqe128::default();
        sqe.set_command(&std::array::from_fn(|byte| byte as u8));
        // SAFETY: 128 bytes without padding.
        let bytes: [u8; 128] = unsafe { std::mem::transmute(sqe) };
        assert_eq!(bytes[..48], [0; 48]);
        let counted: Vec<u8> = (0..80).collect();
        assert_eq!(bytes[48..], counted);
    }
}
