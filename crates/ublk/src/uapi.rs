//! The driver's interface: numbers of commands, flags, and structures.
//!
//! Source: `include/uapi/linux/ublk_cmd.h` of Linux 7.2. The names are the kernel's, without their
//! `ublk` prefixes. Everything is in the machine's byte order. Layouts are checked when this is
//! compiled: `zerocopy` refuses padding, and the sizes and offsets below are those of the header.

use std::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A number of a command, as `ioctl(2)` encodes it: direction, size of the structure, `'u'`, number.
const fn encode(direction: u32, size: usize, number: u32) -> u32 {
    direction << 30 | (size as u32) << 16 | (b'u' as u32) << 8 | number
}

const READ: u32 = 2;
const READ_WRITE: u32 = 3;

const fn control(direction: u32, number: u32) -> u32 {
    encode(direction, size_of::<CtrlCmd>(), number)
}

/// Commands of `/dev/ublk-control` (`UBLK_U_CMD_*`).
pub(crate) mod cmd {
    use super::{READ, READ_WRITE, control};

    pub(crate) const GET_DEV_INFO: u32 = control(READ, 0x02);
    pub(crate) const ADD_DEV: u32 = control(READ_WRITE, 0x04);
    pub(crate) const DEL_DEV: u32 = control(READ_WRITE, 0x05);
    pub(crate) const START_DEV: u32 = control(READ_WRITE, 0x06);
    pub(crate) const STOP_DEV: u32 = control(READ_WRITE, 0x07);
    pub(crate) const SET_PARAMS: u32 = control(READ_WRITE, 0x08);
    pub(crate) const GET_PARAMS: u32 = control(READ, 0x09);
    pub(crate) const START_USER_RECOVERY: u32 = control(READ_WRITE, 0x10);
    pub(crate) const END_USER_RECOVERY: u32 = control(READ_WRITE, 0x11);
    pub(crate) const GET_FEATURES: u32 = control(READ, 0x13);
    pub(crate) const DEL_DEV_ASYNC: u32 = control(READ, 0x14);
}

/// Commands of `/dev/ublkcN` (`UBLK_U_IO_*`).
pub(crate) mod io {
    use super::{IoCmd, READ_WRITE, encode};

    pub(crate) const FETCH_REQ: u32 = encode(READ_WRITE, size_of::<IoCmd>(), 0x20);
    pub(crate) const COMMIT_AND_FETCH_REQ: u32 = encode(READ_WRITE, size_of::<IoCmd>(), 0x21);
}

/// What a request asks for (`UBLK_IO_OP_*`): the low eight bits of [`IoDesc::op_flags`].
pub(crate) mod op {
    pub(crate) const READ: u32 = 0;
    pub(crate) const WRITE: u32 = 1;
    pub(crate) const FLUSH: u32 = 2;
    pub(crate) const DISCARD: u32 = 3;
    pub(crate) const WRITE_ZEROES: u32 = 5;
}

/// `UBLK_IO_F_FUA`: on stable storage before it is answered.
pub(crate) const IO_F_FUA: u32 = 1 << 13;
/// `UBLK_IO_F_NOUNMAP`: zeroes keep their space on the device.
pub(crate) const IO_F_NOUNMAP: u32 = 1 << 15;

/// `UBLK_F_USER_RECOVERY`: another server may take the device over.
pub(crate) const F_USER_RECOVERY: u64 = 1 << 3;
/// `UBLK_F_USER_RECOVERY_REISSUE`: the new server gets what the old one had not answered.
pub(crate) const F_USER_RECOVERY_REISSUE: u64 = 1 << 4;

/// `UBLK_S_DEV_*`.
pub(crate) mod state {
    pub(crate) const DEAD: u16 = 0;
    pub(crate) const LIVE: u16 = 1;
    pub(crate) const QUIESCED: u16 = 2;
    pub(crate) const FAIL_IO: u16 = 3;
}

/// `UBLK_ATTR_READ_ONLY`.
pub(crate) const ATTR_READ_ONLY: u32 = 1 << 0;
/// `UBLK_ATTR_VOLATILE_CACHE`: a write is stable only after a flush.
pub(crate) const ATTR_VOLATILE_CACHE: u32 = 1 << 2;
/// `UBLK_ATTR_FUA`: single writes can be asked to be stable.
pub(crate) const ATTR_FUA: u32 = 1 << 3;

/// `UBLK_PARAM_TYPE_BASIC`.
pub(crate) const PARAM_TYPE_BASIC: u32 = 1 << 0;
/// `UBLK_PARAM_TYPE_DISCARD`.
pub(crate) const PARAM_TYPE_DISCARD: u32 = 1 << 1;

/// `UBLK_MAX_QUEUE_DEPTH`.
pub(crate) const MAX_QUEUE_DEPTH: u16 = 4096;
/// `UBLK_MAX_NR_QUEUES`.
pub(crate) const MAX_QUEUES: u16 = 4096;
/// Ids are minor numbers.
pub(crate) const MAX_ID: u32 = (1 << 20) - 1;
/// Bytes of a sector, the unit of everything that the block layer counts.
pub(crate) const SECTOR: u64 = 512;

/// `struct ublksrv_ctrl_cmd`: what every command of the control device carries, in the last 80
/// bytes of a 128-byte entry.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct CtrlCmd {
    pub(crate) dev_id: u32,
    /// Of no queue: [`NO_QUEUE`].
    pub(crate) queue_id: u16,
    /// Bytes at `addr`.
    pub(crate) len: u16,
    pub(crate) addr: u64,
    pub(crate) data: u64,
    pub(crate) dev_path_len: u16,
    pub(crate) pad: u16,
    pub(crate) reserved: u32,
}

/// `queue_id` of a command that is about the whole device.
pub(crate) const NO_QUEUE: u16 = u16::MAX;
/// `dev_id` of an `ADD_DEV` that leaves the choice to the driver.
pub(crate) const ANY_ID: u32 = u32::MAX;

/// `struct ublksrv_ctrl_dev_info`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DevInfo {
    pub(crate) nr_hw_queues: u16,
    pub(crate) queue_depth: u16,
    pub(crate) state: u16,
    pub(crate) pad0: u16,
    pub(crate) max_io_buf_bytes: u32,
    pub(crate) dev_id: u32,
    pub(crate) ublksrv_pid: i32,
    pub(crate) pad1: u32,
    pub(crate) flags: u64,
    pub(crate) ublksrv_flags: u64,
    pub(crate) owner_uid: u32,
    pub(crate) owner_gid: u32,
    pub(crate) reserved1: u64,
    pub(crate) reserved2: u64,
}

/// `struct ublk_param_basic`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ParamBasic {
    pub(crate) attrs: u32,
    pub(crate) logical_bs_shift: u8,
    pub(crate) physical_bs_shift: u8,
    pub(crate) io_opt_shift: u8,
    pub(crate) io_min_shift: u8,
    pub(crate) max_sectors: u32,
    pub(crate) chunk_sectors: u32,
    pub(crate) dev_sectors: u64,
    pub(crate) virt_boundary_mask: u64,
}

/// `struct ublk_param_discard`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ParamDiscard {
    pub(crate) discard_alignment: u32,
    pub(crate) discard_granularity: u32,
    pub(crate) max_discard_sectors: u32,
    pub(crate) max_write_zeroes_sectors: u32,
    pub(crate) max_discard_segments: u16,
    pub(crate) reserved0: u16,
}

/// The start of `struct ublk_params`: as much of it as is used here. `len` tells the driver, whose
/// own may be longer, how much that is.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Params {
    pub(crate) len: u32,
    pub(crate) types: u32,
    pub(crate) basic: ParamBasic,
    pub(crate) discard: ParamDiscard,
    /// Where the header's next member begins; not ours to fill.
    pub(crate) end: u32,
}

/// How many bytes of [`Params`] are set.
pub(crate) const PARAMS_LEN: u32 = offset_of!(Params, end) as u32;

/// `struct ublksrv_io_desc`: a request, in the memory of a queue, by its tag.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IoDesc {
    pub(crate) op_flags: u32,
    pub(crate) nr_sectors: u32,
    pub(crate) start_sector: u64,
    pub(crate) addr: u64,
}

/// `struct ublksrv_io_cmd`: the 16 bytes of a command of a queue.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IoCmd {
    pub(crate) q_id: u16,
    pub(crate) tag: u16,
    /// Of the request that is answered.
    pub(crate) result: i32,
    /// Where the data of the next request goes, or comes from.
    pub(crate) addr: u64,
}

/// Checks one structure: size, alignment, and the offset of each of its fields.
macro_rules! layout {
    ($name:ident, $size:literal, $align:literal, $($field:ident: $offset:literal),+ $(,)?) => {
        assert!(size_of::<$name>() == $size && align_of::<$name>() == $align);
        $(assert!(offset_of!($name, $field) == $offset);)+
    };
}

const _: () = {
    layout!(CtrlCmd, 32, 8,
        dev_id: 0, queue_id: 4, len: 6, addr: 8, data: 16, dev_path_len: 24, pad: 26, reserved: 28);
    layout!(DevInfo, 64, 8,
        nr_hw_queues: 0, queue_depth: 2, state: 4, pad0: 6, max_io_buf_bytes: 8, dev_id: 12,
        ublksrv_pid: 16, pad1: 20, flags: 24, ublksrv_flags: 32, owner_uid: 40, owner_gid: 44,
        reserved1: 48, reserved2: 56);
    layout!(ParamBasic, 32, 8,
        attrs: 0, logical_bs_shift: 4, physical_bs_shift: 5, io_opt_shift: 6, io_min_shift: 7,
        max_sectors: 8, chunk_sectors: 12, dev_sectors: 16, virt_boundary_mask: 24);
    layout!(ParamDiscard, 20, 4,
        discard_alignment: 0, discard_granularity: 4, max_discard_sectors: 8,
        max_write_zeroes_sectors: 12, max_discard_segments: 16, reserved0: 18);
    layout!(Params, 64, 8, len: 0, types: 4, basic: 8, discard: 40, end: 60);
    layout!(IoDesc, 24, 8, op_flags: 0, nr_sectors: 4, start_sector: 8, addr: 16);
    layout!(IoCmd, 16, 8, q_id: 0, tag: 2, result: 4, addr: 8);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that the header's macros come to on this architecture, computed by a C compiler.
    #[test]
    fn commands_are_numbered_as_the_header_numbers_them() {
        for (ours, header) in [
            (cmd::GET_DEV_INFO, 0x8020_7502),
            (cmd::ADD_DEV, 0xc020_7504),
            (cmd::DEL_DEV, 0xc020_7505),
            (cmd::START_DEV, 0xc020_7506),
            (cmd::STOP_DEV, 0xc020_7507),
            (cmd::SET_PARAMS, 0xc020_7508),
            (cmd::GET_PARAMS, 0x8020_7509),
            (cmd::START_USER_RECOVERY, 0xc020_7510),
            (cmd::END_USER_RECOVERY, 0xc020_7511),
            (cmd::GET_FEATURES, 0x8020_7513),
            (cmd::DEL_DEV_ASYNC, 0x8020_7514),
            (io::FETCH_REQ, 0xc010_7520),
            (io::COMMIT_AND_FETCH_REQ, 0xc010_7521),
        ] {
            assert_eq!(ours, header, "{header:#x}");
        }
    }
}
