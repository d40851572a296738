//! Commands of NVMe devices, passed through to them (Linux 5.19).
//!
//! Administration goes to the controller (`/dev/nvme0`), reading and writing to the generic character
//! device of a namespace (`/dev/ng0n1`), both around the block layer: no page cache, no file system,
//! no partitions. They need a ring of 128-byte entries and 32-byte completions.
//!
//! The kernel lets root do everything; others may identify and, with the rights of the file, read
//! and write. Sources: `drivers/nvme/host/ioctl.c` and `include/uapi/linux/nvme_ioctl.h` of Linux
//! 6.18; NVM Express Base Specification 2.0, sections 5.17 (Identify) and 4.2.3 (status), and NVM
//! Command Set Specification 1.0, sections 3.2.4 and 3.2.6 (read, write), 4.1.5.1 (namespace).
#![allow(unsafe_code)]

use zcn_pool::{Buf, SharedBuf};

use crate::command::CommandError;
use crate::completion::Completion;
use crate::op::Target;
use crate::payload::{Payload, kernel_space};
use crate::push::Op128;
use crate::slot::Kind;
use crate::sqe::{COMMAND_BYTES_128, Sqe, Sqe128};

/// `struct nvme_uring_cmd`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NvmeCommand {
    /// The command's opcode, of its command set.
    pub opcode: u8,
    /// Must be 0: fused commands are refused.
    pub flags: u8,
    /// Must be 0.
    pub rsvd1: u16,
    /// The namespace; 0 for commands of the controller.
    pub nsid: u32,
    /// Words 2 and 3 of the command.
    pub cdw2: u32,
    /// See [`cdw2`](Self::cdw2).
    pub cdw3: u32,
    /// Address of the metadata; 0 for none.
    pub metadata: u64,
    /// Address of the data.
    pub addr: u64,
    /// Bytes of the metadata.
    pub metadata_len: u32,
    /// Bytes of the data.
    pub data_len: u32,
    /// Words 10 to 15 of the command.
    pub cdw: [u32; 6],
    /// Milliseconds after which the kernel aborts the command; 0 for its default.
    pub timeout_ms: u32,
    /// Must be 0.
    pub rsvd2: u32,
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<NvmeCommand>() == 72 && align_of::<NvmeCommand>() == 8);
    assert!(size_of::<NvmeCommand>() <= COMMAND_BYTES_128);
    assert!(offset_of!(NvmeCommand, opcode) == 0);
    assert!(offset_of!(NvmeCommand, flags) == 1);
    assert!(offset_of!(NvmeCommand, rsvd1) == 2);
    assert!(offset_of!(NvmeCommand, nsid) == 4);
    assert!(offset_of!(NvmeCommand, cdw2) == 8);
    assert!(offset_of!(NvmeCommand, cdw3) == 12);
    assert!(offset_of!(NvmeCommand, metadata) == 16);
    assert!(offset_of!(NvmeCommand, addr) == 24);
    assert!(offset_of!(NvmeCommand, metadata_len) == 32);
    assert!(offset_of!(NvmeCommand, data_len) == 36);
    assert!(offset_of!(NvmeCommand, cdw) == 40);
    assert!(offset_of!(NvmeCommand, timeout_ms) == 64);
    assert!(offset_of!(NvmeCommand, rsvd2) == 68);
};

impl NvmeCommand {
    /// The bytes of the command as they stand in an entry.
    fn bytes(&self) -> [u8; COMMAND_BYTES_128] {
        let mut bytes = [0; COMMAND_BYTES_128];
        let words = [self.nsid, self.cdw2, self.cdw3]
            .into_iter()
            .zip([4, 8, 12])
            .chain([(self.metadata_len, 32), (self.data_len, 36)])
            .chain(self.cdw.into_iter().zip((40..).step_by(4)))
            .chain([(self.timeout_ms, 64), (self.rsvd2, 68)]);
        bytes[0] = self.opcode;
        bytes[1] = self.flags;
        bytes[2..4].copy_from_slice(&self.rsvd1.to_ne_bytes());
        for (word, at) in words {
            bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        bytes[16..24].copy_from_slice(&self.metadata.to_ne_bytes());
        bytes[24..32].copy_from_slice(&self.addr.to_ne_bytes());
        bytes
    }
}

/// `NVME_URING_CMD_IO` and `NVME_URING_CMD_ADMIN`: `_IOWR('N', 0x80, struct nvme_uring_cmd)`, and 0x82.
const IO: u32 = command_number(0x80);
const ADMIN: u32 = command_number(0x82);

const fn command_number(number: u32) -> u32 {
    const READ_WRITE: u32 = 3 << 30;
    READ_WRITE | (size_of::<NvmeCommand>() as u32) << 16 | (b'N' as u32) << 8 | number
}

/// Opcodes.
const IDENTIFY: u8 = 0x06;
const READ: u8 = 0x02;
const WRITE: u8 = 0x01;
/// Bytes that an identify brings.
pub const IDENTIFY_BYTES: usize = 4096;

/// Which structure an identify asks for (CNS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identify {
    /// The controller: [`Controller::parse`].
    Controller,
    /// The namespace of this number: [`Namespace::parse`].
    Namespace(u32),
}

/// A buffer whose length does not suit the command, given back.
#[derive(Debug, thiserror::Error)]
#[error("{bytes} bytes are not {wanted}")]
pub struct LengthError<B> {
    /// The buffer.
    pub buffer: B,
    /// How long it is, or how much room it has.
    pub bytes: usize,
    /// What would suit.
    pub wanted: &'static str,
}

const WHOLE_BLOCKS: &str = "between one and 65536 blocks, without a rest";

impl Op128 {
    /// Any command of an NVMe device; `admin` tells to which queue it goes. Where it reads, `payload`
    /// is a buffer that grows by `data_len` if it succeeds.
    ///
    /// # Safety
    /// As for [`Op::raw`](crate::Op::raw), for the addresses in the command; and the device moves no
    /// more than `data_len` bytes for what the command says.
    pub unsafe fn nvme(
        target: Target,
        admin: bool,
        command: &NvmeCommand,
        payload: Option<Payload>,
    ) -> Self {
        let mut entry = Sqe128 {
            sqe: Sqe {
                fd: target.number(),
                flags: target.sqe_flags(),
                off: if admin { ADMIN } else { IO }.into(),
                ..Sqe::default()
            },
            ..Sqe128::default()
        };
        entry.set_command(&command.bytes());
        let reads = match payload {
            Some(Payload::Buf(_)) => command.data_len,
            _ => 0,
        };
        // SAFETY: as the caller promises.
        unsafe { Self::command(entry, payload) }.of_nvme(reads)
    }

    /// Asks a device what it is, into the free space of a buffer, which grows by
    /// [`IDENTIFY_BYTES`]. A namespace's device tells of itself only.
    ///
    /// # Errors
    /// [`LengthError`]: the buffer has less room.
    pub fn nvme_identify(
        target: Target,
        what: Identify,
        mut buf: Buf,
    ) -> Result<Self, LengthError<Buf>> {
        let (at, room) = kernel_space(&mut buf);
        if room < IDENTIFY_BYTES {
            return Err(LengthError {
                buffer: buf,
                bytes: room,
                wanted: "4096 or more",
            });
        }
        let (nsid, cns) = match what {
            Identify::Controller => (0, 1),
            Identify::Namespace(nsid) => (nsid, 0),
        };
        let command = NvmeCommand {
            opcode: IDENTIFY,
            nsid,
            addr: at as u64,
            data_len: IDENTIFY_BYTES as u32,
            cdw: [cns, 0, 0, 0, 0, 0],
            ..NvmeCommand::default()
        };
        // SAFETY: the room is the buffer's, which goes with the operation; an identify moves 4096
        // bytes by its definition.
        Ok(unsafe { Self::nvme(target, true, &command, Some(Payload::Buf(buf))) })
    }

    /// Reads blocks from `block` on into the free space of a buffer: as many as it has room for.
    ///
    /// # Errors
    /// [`LengthError`]: not even one, more than 65536, or with a rest.
    ///
    /// # Safety
    /// `namespace` is what the device behind `target` tells of itself: with blocks that are larger
    /// than it says, the device would write beyond the buffer.
    pub unsafe fn nvme_read(
        target: Target,
        namespace: &Namespace,
        block: u64,
        mut buf: Buf,
    ) -> Result<Self, LengthError<Buf>> {
        let (at, room) = kernel_space(&mut buf);
        let Some(command) = namespace.transfer(READ, block, at as u64, room) else {
            return Err(LengthError {
                buffer: buf,
                bytes: room,
                wanted: WHOLE_BLOCKS,
            });
        };
        // SAFETY: the room is the buffer's, which goes with the operation, and as the caller
        // promises.
        Ok(unsafe { Self::nvme(target, false, &command, Some(Payload::Buf(buf))) })
    }

    /// Writes a slice to the blocks from `block` on.
    ///
    /// # Errors
    /// [`LengthError`]: not even one block, more than 65536, or with a rest.
    ///
    /// # Safety
    /// As for [`nvme_read`](Self::nvme_read): the device would read beyond the slice. And nobody
    /// relies on what these blocks hold, such as a mounted file system.
    pub unsafe fn nvme_write(
        target: Target,
        namespace: &Namespace,
        block: u64,
        data: SharedBuf,
    ) -> Result<Self, LengthError<SharedBuf>> {
        let (at, bytes) = (data.as_ptr() as u64, data.len());
        let Some(command) = namespace.transfer(WRITE, block, at, bytes) else {
            return Err(LengthError {
                buffer: data,
                bytes,
                wanted: WHOLE_BLOCKS,
            });
        };
        // SAFETY: the slice goes with the operation, and as the caller promises.
        Ok(unsafe { Self::nvme(target, false, &command, Some(Payload::Shared(data))) })
    }
}

/// What a controller tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Controller {
    /// Serial number.
    pub serial: String,
    /// Model.
    pub model: String,
    /// Revision of the firmware.
    pub firmware: String,
    /// Most namespaces.
    pub namespaces: u32,
}

impl Controller {
    /// Reads what an identify of a controller brought; `None` when it is too short.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; IDENTIFY_BYTES] = bytes.first_chunk()?;
        let text =
            |from: usize, to: usize| String::from_utf8_lossy(&bytes[from..to]).trim().to_owned();
        Some(Self {
            serial: text(4, 24),
            model: text(24, 64),
            firmware: text(64, 72),
            namespaces: u32::from_le_bytes(*bytes[516..].first_chunk()?),
        })
    }
}

/// A namespace: a row of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Namespace {
    /// Its number in the controller, from 1 on.
    pub nsid: u32,
    /// How many blocks it has.
    pub blocks: u64,
    /// Bytes of a block: a power of two from 512 on.
    pub block_bytes: u32,
}

impl Namespace {
    /// Reads what an identify of the namespace `nsid` brought. `None` when it is too short, when no
    /// such namespace is active, or when its blocks carry metadata, which is not read or written
    /// here.
    pub fn parse(nsid: u32, bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; IDENTIFY_BYTES] = bytes.first_chunk()?;
        let blocks = u64::from_le_bytes(*bytes.first_chunk()?);
        // Four bits below, two above the fifth.
        let format = usize::from(bytes[26] & 0xf | (bytes[26] >> 1) & 0x30);
        let [metadata_low, metadata_high, shift, _]: [u8; 4] =
            *bytes[128 + 4 * format..].first_chunk()?;
        let sound = blocks > 0 && (9..31).contains(&shift) && metadata_low | metadata_high == 0;
        sound.then(|| Self {
            nsid,
            blocks,
            block_bytes: 1 << shift,
        })
    }

    /// A command that moves whole blocks, if there is one.
    fn transfer(&self, opcode: u8, block: u64, addr: u64, bytes: usize) -> Option<NvmeCommand> {
        let data_len = u32::try_from(bytes).ok()?;
        // Counted from 0.
        let more = u16::try_from((data_len / self.block_bytes).checked_sub(1)?).ok()?;
        data_len
            .is_multiple_of(self.block_bytes)
            .then(|| NvmeCommand {
                opcode,
                nsid: self.nsid,
                addr,
                data_len,
                cdw: [block as u32, (block >> 32) as u32, more.into(), 0, 0, 0],
                ..NvmeCommand::default()
            })
    }
}

/// Why a command of an NVMe device failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NvmeError {
    /// The device refused it.
    #[error("the device refused: {0}")]
    Status(NvmeStatus),
    /// The kernel did.
    #[error(transparent)]
    Kernel(#[from] CommandError),
}

/// The status of a command, without its phase bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NvmeStatus(pub u16);

impl NvmeStatus {
    /// Status code type: 0 generic, 1 of the command, 2 of the medium, 3 of the path.
    pub fn code_type(self) -> u8 {
        (self.0 >> 8 & 7) as u8
    }

    /// Status code.
    pub fn code(self) -> u8 {
        self.0 as u8
    }

    /// The same command would fail again.
    pub fn do_not_retry(self) -> bool {
        self.0 & 1 << 14 != 0
    }
}

impl std::fmt::Display for NvmeStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (code_type, code) = (self.code_type(), self.code());
        let name = match (code_type, code) {
            (0, 0x01) => "invalid command opcode",
            (0, 0x02) => "invalid field in command",
            (0, 0x04) => "data transfer error",
            (0, 0x06) => "internal error",
            (0, 0x07) => "command abort requested",
            (0, 0x0b) => "invalid namespace or format",
            (0, 0x80) => "LBA out of range",
            (0, 0x81) => "capacity exceeded",
            (0, 0x82) => "namespace not ready",
            (2, 0x80) => "write fault",
            (2, 0x81) => "unrecovered read error",
            _ => return write!(f, "status {code_type}/{code:#04x}"),
        };
        write!(f, "{name} (status {code_type}/{code:#04x})")
    }
}

impl Completion<[u64; 2]> {
    /// The result of a command of an NVMe device: its first result word.
    ///
    /// # Errors
    /// [`NvmeError`]: the device's status, or the kernel's error.
    pub fn nvme_result(&self) -> Result<u64, NvmeError> {
        match self.command_result()? {
            0 => Ok(self.extra()[0]),
            // Sixteen bits; other kinds of operations have no status.
            status if self.kind() == Kind::Nvme => {
                Err(NvmeError::Status(NvmeStatus(status as u16)))
            }
            value => Ok(value.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!((IO, ADMIN), (0xc048_4e80, 0xc048_4e82));
    }

    #[test]
    fn a_command_lies_in_an_entry_as_in_memory() {
        let command = NvmeCommand {
            opcode: 1,
            flags: 2,
            rsvd1: 3,
            nsid: 4,
            cdw2: 5,
            cdw3: 6,
            metadata: 7,
            addr: 8,
            metadata_len: 9,
            data_len: 10,
            cdw: [11, 12, 13, 14, 15, 16],
            timeout_ms: 17,
            rsvd2: 18,
        };
        // SAFETY: 72 bytes without padding.
        let memory: [u8; 72] = unsafe { std::mem::transmute(command) };
        assert_eq!(command.bytes()[..72], memory);
        assert_eq!(command.bytes()[72..], [0; 8]);
    }

    #[test]
    fn a_namespace_is_read_and_one_with_metadata_refused() {
        let mut bytes = vec![0; IDENTIFY_BYTES];
        assert_eq!(Namespace::parse(1, &bytes), None, "not active");
        bytes[0] = 200;
        bytes[26] = 0x01;
        bytes[128 + 4 + 2] = 12;
        let namespace = Namespace::parse(7, &bytes).unwrap();
        let expected = Namespace {
            nsid: 7,
            blocks: 200,
            block_bytes: 4096,
        };
        assert_eq!(namespace, expected);
        assert_eq!(Namespace::parse(7, &bytes[1..]), None, "too short");
        bytes[128 + 4] = 8;
        assert_eq!(Namespace::parse(7, &bytes), None, "metadata");
        // Format 17: bits 5 and 6 are above the lower four.
        bytes[26] = 0x21;
        bytes[128 + 4 * 17 + 2] = 9;
        assert_eq!(Namespace::parse(7, &bytes).unwrap().block_bytes, 512);
    }

    #[test]
    fn only_whole_blocks_are_moved() {
        let namespace = Namespace {
            nsid: 1,
            blocks: 1 << 40,
            block_bytes: 512,
        };
        for bytes in [0, 1, 511, 513, 512 * 65537, usize::MAX] {
            assert!(namespace.transfer(READ, 0, 0, bytes).is_none(), "{bytes}");
        }
        let command = namespace.transfer(READ, 0x12_3456_789a, 8, 512 * 65536);
        let command = command.unwrap();
        assert_eq!(command.cdw[..3], [0x3456_789a, 0x12, 65535]);
        assert_eq!((command.data_len, command.addr), (32 << 20, 8));
    }

    #[test]
    fn a_status_says_its_name() {
        let status = NvmeStatus(0x4080);
        assert_eq!((status.code_type(), status.code()), (0, 0x80));
        assert!(status.do_not_retry());
        assert!(status.to_string().contains("LBA out of range"));
        assert_eq!(NvmeStatus(0x0199).to_string(), "status 1/0x99");
    }
}
