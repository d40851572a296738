//! Numbers and layouts of FUSE's protocol, as far as a small file system needs them.
//!
//! Source: `include/uapi/linux/fuse.h` of Linux 6.18, protocol 7.45. Words are in the machine's byte
//! order; everything is built and read by offset, so no struct has to be trusted with a layout.

/// What a request asks for (`enum fuse_opcode`).
pub mod opcode {
    #![allow(missing_docs)] // The names are the kernel's.
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const RENAME2: u32 = 45;
}

/// Which attributes a `SETATTR` sets (`FATTR_*`).
pub mod fattr {
    #![allow(missing_docs)] // The names are the kernel's.
    pub const MODE: u32 = 1 << 0;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const MTIME: u32 = 1 << 5;
}

/// Bytes of `struct fuse_in_header`.
pub const IN_HEADER: usize = 40;
/// Bytes of `struct fuse_out_header`.
pub const OUT_HEADER: usize = 16;
/// The number of the root folder (`FUSE_ROOT_ID`).
pub const ROOT: u64 = 1;
/// Most bytes in one write, and in one read.
pub const MAX_WRITE: usize = 128 << 10;

/// Bytes of the struct that stands before the names and data of a request; 0 for one that begins
/// with a name. `None` for opcodes that this file system does not know.
pub(crate) fn arguments_of(opcode: u32) -> Option<usize> {
    Some(match opcode {
        opcode::LOOKUP
        | opcode::UNLINK
        | opcode::RMDIR
        | opcode::STATFS
        | opcode::DESTROY => 0,
        opcode::FORGET
        | opcode::MKDIR
        | opcode::RENAME
        | opcode::OPEN
        | opcode::OPENDIR
        | opcode::INTERRUPT => 8,
        opcode::GETATTR
        | opcode::FSYNC
        | opcode::FSYNCDIR
        | opcode::CREATE
        | opcode::RENAME2
        // Older kernels send less of this.
        | opcode::INIT => 16,
        // The rest of it is a list.
        opcode::BATCH_FORGET => 8,
        opcode::RELEASE | opcode::RELEASEDIR | opcode::FLUSH => 24,
        opcode::READ | opcode::READDIR | opcode::WRITE => 40,
        opcode::SETATTR => 88,
        _ => return None,
    })
}

/// `struct fuse_in_header`, or what of it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole request.
    pub len: u32,
    /// What is asked ([`opcode`]).
    pub opcode: u32,
    /// The request's own number.
    pub unique: u64,
    /// The file or folder that it is about.
    pub node: u64,
    /// Who asks: user and group.
    pub uid: u32,
    /// See [`uid`](Self::uid).
    pub gid: u32,
}

impl Header {
    /// Reads the first [`IN_HEADER`] bytes of a request; zeros stand for bytes that are missing.
    pub fn parse(bytes: &[u8]) -> Self {
        Self {
            len: word(bytes, 0),
            opcode: word(bytes, 4),
            unique: long(bytes, 8),
            node: long(bytes, 16),
            uid: word(bytes, 24),
            gid: word(bytes, 28),
        }
    }
}

/// The 32-bit word at an offset; 0 behind the end.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_ne_bytes(found.copied().unwrap_or_default())
}

/// The 64-bit word at an offset; 0 behind the end.
pub(crate) fn long(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    u64::from_ne_bytes(found.copied().unwrap_or_default())
}

/// `struct fuse_out_header` of an answer with `body` bytes; `errno` is 0 or positive.
pub(crate) fn out_header(body: usize, errno: i32, unique: u64) -> [u8; OUT_HEADER] {
    let mut header = [0; OUT_HEADER];
    header[..4].copy_from_slice(&((OUT_HEADER + body) as u32).to_ne_bytes());
    header[4..8].copy_from_slice(&(-errno).to_ne_bytes());
    header[8..].copy_from_slice(&unique.to_ne_bytes());
    header
}

/// `FUSE_OVER_IO_URING`, `FUSE_INIT_EXT`, `FUSE_BIG_WRITES` and `FUSE_PARALLEL_DIROPS`, as bits of the
/// 64-bit flags.
const OVER_IO_URING: u64 = 1 << 41;
const INIT_EXT: u64 = 1 << 30;
const BIG_WRITES: u64 = 1 << 5;
const PARALLEL_DIROPS: u64 = 1 << 18;

/// The version of the protocol that is spoken here.
const MAJOR: u32 = 7;
const MINOR: u32 = 45;

/// Answers `INIT` (`struct fuse_init_in`, `fuse_init_out`): `want_uring` asks for requests through
/// the ring. Puts the answer into `out`, which is empty; whether the ring was granted.
///
/// # Errors
/// `EPROTO` for a kernel of another major version.
pub(crate) fn init(request: &[u8], want_uring: bool, out: &mut Vec<u8>) -> Result<bool, i32> {
    if word(request, 0) != MAJOR {
        return Err(libc::EPROTO);
    }
    let offered = u64::from(word(request, 12)) | u64::from(word(request, 16)) << 32;
    let uring = want_uring && offered & OVER_IO_URING != 0;
    let mut flags = offered & (BIG_WRITES | PARALLEL_DIROPS);
    if uring {
        flags |= OVER_IO_URING | INIT_EXT;
    }
    // Version: the lesser of the two.
    out.extend(MAJOR.to_ne_bytes());
    out.extend(word(request, 4).min(MINOR).to_ne_bytes());
    // Read-ahead, flags, background requests and when they are congested.
    out.extend(0_u32.to_ne_bytes());
    out.extend((flags as u32).to_ne_bytes());
    out.extend(16_u16.to_ne_bytes());
    out.extend(12_u16.to_ne_bytes());
    out.extend((MAX_WRITE as u32).to_ne_bytes());
    // Granularity of times, pages (by default), padding, the upper half of the flags.
    out.extend(1_u32.to_ne_bytes());
    out.extend([0; 4]);
    out.extend(((flags >> 32) as u32).to_ne_bytes());
    out.resize(64, 0);
    Ok(uring)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_of_a_request_reads_as_zero() {
        assert_eq!(Header::parse(&[]), Header::default());
        assert_eq!(word(&[1, 0, 0, 0], 0), 1_u32.to_le());
        assert_eq!(word(&[1, 0, 0, 0], 1), 0);
        assert_eq!(long(&[1; 8], usize::MAX), 0);
    }

    fn offer(major: u32, flags: u64) -> Vec<u8> {
        let words = [major, 99, 0, flags as u32, (flags >> 32) as u32];
        words.into_iter().flat_map(u32::to_ne_bytes).collect()
    }

    #[test]
    fn the_ring_is_granted_when_both_sides_want_it() {
        for (offered, wanted) in [(0, false), (0, true), (OVER_IO_URING, false)] {
            let mut out = Vec::new();
            assert_eq!(init(&offer(7, offered), wanted, &mut out), Ok(false));
            assert_eq!((out.len(), word(&out, 4)), (64, MINOR));
            assert_eq!((word(&out, 12), word(&out, 32)), (0, 0), "no flags");
        }
        let mut out = Vec::new();
        assert_eq!(init(&offer(7, OVER_IO_URING), true, &mut out), Ok(true));
        assert_eq!(word(&out, 32), 1 << (41 - 32));
        assert_eq!(
            init(&offer(8, OVER_IO_URING), true, &mut out),
            Err(libc::EPROTO)
        );
    }
}
