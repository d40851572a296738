//! Kernel constants that the `io-uring` crate keeps private or does not know.
//!
//! Source: `include/uapi/linux/io_uring.h` of Linux 6.18.

/// `IORING_RECVSEND_POLL_FIRST`: wait for readiness before the first attempt.
pub const RECVSEND_POLL_FIRST: u16 = 1 << 0;
/// `IORING_RECV_MULTISHOT`.
pub const RECV_MULTISHOT: u16 = 1 << 1;
/// `IORING_RECVSEND_FIXED_BUF`: `buf_index` names a registered buffer.
pub const RECVSEND_FIXED_BUF: u16 = 1 << 2;
/// `IORING_SEND_ZC_REPORT_USAGE`: the notification tells whether the kernel copied.
pub const SEND_ZC_REPORT_USAGE: u16 = 1 << 3;
/// `IORING_RECVSEND_BUNDLE`: one operation may span several provided buffers.
pub const RECVSEND_BUNDLE: u16 = 1 << 4;
/// `IORING_NOTIF_USAGE_ZC_COPIED`: set in a notification's result when the kernel copied.
pub const NOTIF_USAGE_ZC_COPIED: u32 = 1 << 31;

/// `IORING_ACCEPT_MULTISHOT`.
pub const ACCEPT_MULTISHOT: u16 = 1 << 0;
/// `IORING_ACCEPT_POLL_FIRST`: wait for readiness before the first attempt (6.10).
pub const ACCEPT_POLL_FIRST: u16 = 1 << 2;

/// `IORING_POLL_ADD_MULTI`.
pub const POLL_ADD_MULTI: u32 = 1 << 0;

/// `IORING_ASYNC_CANCEL_ALL`: every match, not only the first.
pub const ASYNC_CANCEL_ALL: u32 = 1 << 0;
/// `IORING_ASYNC_CANCEL_FD`: match by descriptor.
pub const ASYNC_CANCEL_FD: u32 = 1 << 1;
/// `IORING_ASYNC_CANCEL_ANY`: match everything.
pub const ASYNC_CANCEL_ANY: u32 = 1 << 2;
/// `IORING_ASYNC_CANCEL_FD_FIXED`: the descriptor is an index into the registered files.
pub const ASYNC_CANCEL_FD_FIXED: u32 = 1 << 3;

/// `IORING_TIMEOUT_ABS`: the time is a point on the clock, not a span.
pub const TIMEOUT_ABS: u32 = 1 << 0;

/// `IORING_FILE_INDEX_ALLOC`: the kernel picks the slot of a direct descriptor.
pub const FILE_INDEX_ALLOC: u32 = !0;

/// `IORING_REGISTER_PBUF_STATUS`: head of a provided-buffer ring (6.8).
pub const REGISTER_PBUF_STATUS: u32 = 26;
/// `IORING_REGISTER_FILE_ALLOC_RANGE` (6.0).
pub const REGISTER_FILE_ALLOC_RANGE: u32 = 25;

/// `IOU_PBUF_RING_INC`: buffers of the ring are consumed piece by piece (6.12).
pub const PBUF_RING_INC: u16 = 2;

/// `IORING_MSG_DATA`.
pub const MSG_DATA: u64 = 0;

/// Commands of sockets (`enum io_uring_socket_op`), and what their completions carry.
pub mod socket {
    #![allow(missing_docs)] // The names are the kernel's.
    pub const SIOCINQ: u32 = 0;
    pub const SIOCOUTQ: u32 = 1;
    pub const GETSOCKOPT: u32 = 2;
    pub const SETSOCKOPT: u32 = 3;
    pub const TX_TIMESTAMP: u32 = 4;
    pub const GETSOCKNAME: u32 = 5;
    /// `IORING_CQE_F_TSTAMP_HW`.
    pub const CQE_F_TSTAMP_HW: u32 = 1 << 16;
    /// `IORING_TIMESTAMP_TYPE_SHIFT`.
    pub const TIMESTAMP_TYPE_SHIFT: u32 = 17;
}

/// Opcodes (`enum io_uring_op`); the value is the position in the kernel's list.
pub mod opcode {
    #![allow(missing_docs)] // The names are the kernel's.
    pub const NOP: u8 = 0;
    pub const FSYNC: u8 = 3;
    pub const READ_FIXED: u8 = 4;
    pub const WRITE_FIXED: u8 = 5;
    pub const POLL_ADD: u8 = 6;
    pub const SENDMSG: u8 = 9;
    pub const RECVMSG: u8 = 10;
    pub const TIMEOUT: u8 = 11;
    pub const ACCEPT: u8 = 13;
    pub const ASYNC_CANCEL: u8 = 14;
    pub const LINK_TIMEOUT: u8 = 15;
    pub const CONNECT: u8 = 16;
    pub const FALLOCATE: u8 = 17;
    pub const CLOSE: u8 = 19;
    pub const READ: u8 = 22;
    pub const WRITE: u8 = 23;
    pub const SEND: u8 = 26;
    pub const RECV: u8 = 27;
    pub const SHUTDOWN: u8 = 34;
    pub const MSG_RING: u8 = 40;
    pub const SOCKET: u8 = 45;
    pub const URING_CMD: u8 = 46;
    pub const SEND_ZC: u8 = 47;
    pub const SENDMSG_ZC: u8 = 48;
    pub const FIXED_FD_INSTALL: u8 = 54;
    pub const BIND: u8 = 56;
    pub const LISTEN: u8 = 57;
    pub const RECV_ZC: u8 = 58;
}
