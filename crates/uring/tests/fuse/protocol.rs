//! The messages of FUSE that a small file system needs.
//!
//! Source: `include/uapi/linux/fuse.h` of Linux 6.18, protocol 7.45. Words are in the machine's byte
//! order; everything is built and read by offset, so no struct has to be trusted with a layout.

/// `enum fuse_opcode`.
pub(crate) mod opcode {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const SETATTR: u32 = 4;
    pub(crate) const OPEN: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const RELEASE: u32 = 18;
    pub(crate) const FLUSH: u32 = 25;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const OPENDIR: u32 = 27;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const RELEASEDIR: u32 = 29;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const DESTROY: u32 = 38;
    pub(crate) const BATCH_FORGET: u32 = 42;
}

/// `struct fuse_in_header`.
pub(crate) const IN_HEADER: usize = 40;
/// `struct fuse_out_header`.
pub(crate) const OUT_HEADER: usize = 16;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) opcode: u32,
    pub(crate) unique: u64,
    pub(crate) node: u64,
}

impl Header {
    /// Reads the first 40 bytes of a request.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self {
            opcode: word(bytes, 4),
            unique: long(bytes, 8),
            node: long(bytes, 16),
        }
    }
}

/// The 32-bit word at an offset; 0 behind the end.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    u32::from_ne_bytes(found.unwrap_or_default())
}

/// The 64-bit word at an offset; 0 behind the end.
pub(crate) fn long(bytes: &[u8], at: usize) -> u64 {
    let found = bytes
        .get(at..at + 8)
        .and_then(|eight| eight.try_into().ok());
    u64::from_ne_bytes(found.unwrap_or_default())
}

/// `struct fuse_out_header`.
pub(crate) fn out_header(len: usize, errno: i32, unique: u64) -> [u8; OUT_HEADER] {
    let mut header = [0; OUT_HEADER];
    header[..4].copy_from_slice(&(len as u32).to_ne_bytes());
    header[4..8].copy_from_slice(&(-errno).to_ne_bytes());
    header[8..].copy_from_slice(&unique.to_ne_bytes());
    header
}

/// `FUSE_OVER_IO_URING` and `FUSE_INIT_EXT`, as bits of the 64-bit flags.
const OVER_IO_URING: u64 = 1 << 41;
const INIT_EXT: u64 = 1 << 30;

/// Largest write that the kernel may send.
pub(crate) const MAX_WRITE: u32 = 65536;

/// Answers `FUSE_INIT` (`struct fuse_init_out`); whether the kernel offers the ring.
pub(crate) fn init(request: &[u8], ring: bool, out: &mut Vec<u8>) -> bool {
    let offered = u64::from(word(request, 12)) | u64::from(word(request, 16)) << 32;
    let ring = ring && offered & OVER_IO_URING != 0;
    let flags = match ring {
        true => OVER_IO_URING | INIT_EXT,
        false => 0,
    };
    // Version 7, and the lesser of the kernel's minor version and ours.
    out.extend(7_u32.to_ne_bytes());
    out.extend(word(request, 4).min(45).to_ne_bytes());
    // Read-ahead, flags, background requests and when they are congested.
    out.extend(0_u32.to_ne_bytes());
    out.extend((flags as u32).to_ne_bytes());
    out.extend(16_u16.to_ne_bytes());
    out.extend(12_u16.to_ne_bytes());
    out.extend(MAX_WRITE.to_ne_bytes());
    // Granularity of times, pages (by default), padding.
    out.extend(1_u32.to_ne_bytes());
    out.extend([0; 4]);
    out.extend(((flags >> 32) as u32).to_ne_bytes());
    out.resize(64, 0);
    ring
}
