//! The parts of the kernel's io_uring interface that the probes need: bits,
//! opcodes and structures, as `linux/io_uring.h` of 6.18 lays them out.

/// Bits of `io_uring_params.flags`.
pub mod setup {
    #![allow(missing_docs)]
    pub const IOPOLL: u32 = 1 << 0;
    pub const SQPOLL: u32 = 1 << 1;
    pub const CLAMP: u32 = 1 << 4;
    pub const R_DISABLED: u32 = 1 << 6;
    pub const SUBMIT_ALL: u32 = 1 << 7;
    pub const COOP_TASKRUN: u32 = 1 << 8;
    pub const TASKRUN_FLAG: u32 = 1 << 9;
    pub const SQE128: u32 = 1 << 10;
    pub const CQE32: u32 = 1 << 11;
    pub const SINGLE_ISSUER: u32 = 1 << 12;
    pub const DEFER_TASKRUN: u32 = 1 << 13;
    pub const NO_SQARRAY: u32 = 1 << 16;
    pub const HYBRID_IOPOLL: u32 = 1 << 17;
    pub const CQE_MIXED: u32 = 1 << 18;
    pub const SQE_MIXED: u32 = 1 << 19;
    pub const SQ_REWIND: u32 = 1 << 20;
}

/// Bits of `io_uring_params.features`.
pub mod feature {
    #![allow(missing_docs)]
    pub const RECVSEND_BUNDLE: u32 = 1 << 14;
    pub const MIN_TIMEOUT: u32 = 1 << 15;

    /// Each bit with its name.
    pub const NAMES: &[(u32, &str)] = &[
        (1 << 0, "SINGLE_MMAP"),
        (1 << 1, "NODROP"),
        (1 << 2, "SUBMIT_STABLE"),
        (1 << 3, "RW_CUR_POS"),
        (1 << 4, "CUR_PERSONALITY"),
        (1 << 5, "FAST_POLL"),
        (1 << 6, "POLL_32BITS"),
        (1 << 7, "SQPOLL_NONFIXED"),
        (1 << 8, "EXT_ARG"),
        (1 << 9, "NATIVE_WORKERS"),
        (1 << 10, "RSRC_TAGS"),
        (1 << 11, "CQE_SKIP"),
        (1 << 12, "LINKED_FILE"),
        (1 << 13, "REG_REG_RING"),
        (RECVSEND_BUNDLE, "RECVSEND_BUNDLE"),
        (MIN_TIMEOUT, "MIN_TIMEOUT"),
        (1 << 16, "RW_ATTR"),
        (1 << 17, "NO_IOWAIT"),
    ];
}

/// Opcodes and bits of `io_uring_register(2)`.
pub(crate) mod register {
    pub(crate) const PROBE: u32 = 8;
    pub(crate) const PBUF_RING: u32 = 22;
    pub(crate) const UNREGISTER_PBUF_RING: u32 = 23;
    pub(crate) const NAPI: u32 = 27;
    pub(crate) const UNREGISTER_NAPI: u32 = 28;
    /// `IOU_PBUF_RING_INC`.
    pub(crate) const PBUF_RING_INC: u16 = 2;
    /// `IO_URING_OP_SUPPORTED`.
    pub(crate) const OP_SUPPORTED: u16 = 1;
}

/// The operations that zcn uses, by number.
pub(crate) const NAMED_OPS: &[(u8, &str)] = &[
    (0, "NOP"),
    (6, "POLL_ADD"),
    (7, "POLL_REMOVE"),
    (9, "SENDMSG"),
    (10, "RECVMSG"),
    (11, "TIMEOUT"),
    (12, "TIMEOUT_REMOVE"),
    (13, "ACCEPT"),
    (14, "ASYNC_CANCEL"),
    (15, "LINK_TIMEOUT"),
    (16, "CONNECT"),
    (19, "CLOSE"),
    (20, "FILES_UPDATE"),
    (22, "READ"),
    (23, "WRITE"),
    (26, "SEND"),
    (27, "RECV"),
    (34, "SHUTDOWN"),
    (40, "MSG_RING"),
    (45, "SOCKET"),
    (46, "URING_CMD"),
    (47, "SEND_ZC"),
    (48, "SENDMSG_ZC"),
    (49, "READ_MULTISHOT"),
    (54, "FIXED_FD_INSTALL"),
    (56, "BIND"),
    (57, "LISTEN"),
    (58, "RECV_ZC"),
    (59, "EPOLL_WAIT"),
];

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Params {
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) flags: u32,
    pub(crate) sq_thread_cpu: u32,
    pub(crate) sq_thread_idle: u32,
    pub(crate) features: u32,
    pub(crate) wq_fd: u32,
    pub(crate) resv: [u32; 3],
    /// `sq_off` and `cq_off`, which the probes never read.
    pub(crate) offsets: [u64; 10],
}

/// `struct io_uring_probe_op`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProbeOp {
    pub(crate) op: u8,
    pub(crate) resv: u8,
    pub(crate) flags: u16,
    pub(crate) resv2: u32,
}

/// `struct io_uring_probe` with room for every opcode that fits its type.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) last_op: u8,
    pub(crate) ops_len: u8,
    pub(crate) resv: u16,
    pub(crate) resv2: [u32; 3],
    pub(crate) ops: [ProbeOp; 256],
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            last_op: 0,
            ops_len: 0,
            resv: 0,
            resv2: [0; 3],
            ops: [ProbeOp::default(); 256],
        }
    }
}

/// `struct io_uring_buf_reg`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BufReg {
    pub(crate) ring_addr: u64,
    pub(crate) ring_entries: u32,
    pub(crate) bgid: u16,
    pub(crate) flags: u16,
    pub(crate) resv: [u64; 3],
}

/// `struct io_uring_napi`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Napi {
    /// Microseconds.
    pub(crate) busy_poll_to: u32,
    pub(crate) prefer_busy_poll: u8,
    pub(crate) opcode: u8,
    pub(crate) pad: [u8; 2],
    pub(crate) op_param: u32,
    pub(crate) resv: u32,
}

/// The largest page of the machines that zcn runs on.
pub(crate) const PAGE_BYTES: usize = 65_536;

/// Memory that begins and ends on a page.
#[repr(C, align(65536))]
pub(crate) struct Page(pub(crate) [u8; PAGE_BYTES]);

const _: () = {
    assert!(size_of::<Params>() == 120);
    assert!(size_of::<ProbeOp>() == 8);
    assert!(size_of::<Probe>() == 16 + 256 * 8);
    assert!(size_of::<BufReg>() == 40);
    assert!(size_of::<Napi>() == 16);
};
