//! A file or block device as a target: its operations, for the ring.
#![allow(unsafe_code)]

use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use zcn_pool::Buf;
use zcn_uring::constants::opcode;
use zcn_uring::sqe::Sqe;
use zcn_uring::{Op, Payload};

use crate::request::{Operation, Request};

/// `IORING_FSYNC_DATASYNC`.
const DATASYNC: u32 = 1 << 0;

/// The file, open for as long as there are operations on it.
#[derive(Debug)]
pub(super) struct Backing {
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) read_only: bool,
}

impl Backing {
    pub(super) fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        let mut file = File::options().read(true).write(!read_only).open(path)?;
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            let source = "neither a file nor a block device";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, source));
        }
        let locked = match read_only {
            true => file.try_lock_shared(),
            false => file.try_lock(),
        };
        match locked {
            Err(TryLockError::WouldBlock) => {
                let source = "in use by another server (flock)";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, source));
            }
            // Some file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self {
            file,
            size,
            read_only,
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The operation that carries a request on from its byte `done`. The buffer goes with it, and
    /// holds the data from the start of its capacity.
    pub(super) fn operation(&self, request: &Request, done: u64, mut buf: Buf) -> Op {
        // The ring adds to the length what an operation brings.
        buf.clear();
        let mut sqe = Sqe {
            fd: self.file.as_raw_fd(),
            ..Sqe::default()
        };
        match request.operation {
            Operation::Read | Operation::Write => {
                let writes = request.operation == Operation::Write;
                let part = &mut buf.as_mut_capacity()[done as usize..request.len as usize];
                sqe.opcode = if writes { opcode::WRITE } else { opcode::READ };
                sqe.off = request.offset + done;
                sqe.addr = part.as_mut_ptr() as u64;
                // A buffer has 32 MiB at most.
                sqe.len = part.len() as u32;
                if writes && request.durable {
                    sqe.op_flags = libc::RWF_DSYNC as u32;
                }
            }
            Operation::Discard | Operation::WriteZeroes => {
                // A hole reads as zeroes; who wants zeroes that keep their space gets those.
                let mode = match request.keeps_space {
                    false => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                    true => libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
                };
                sqe.opcode = opcode::FALLOCATE;
                sqe.off = request.offset;
                // Here the length of the range is where the address is elsewhere.
                sqe.addr = request.len;
                sqe.len = mode as u32;
            }
            // Others do not come here.
            Operation::Flush | Operation::Other(_) => {
                sqe.opcode = opcode::FSYNC;
                sqe.op_flags = DATASYNC;
            }
        }
        // SAFETY: the only address is that of a part of `buf`, taken with its bounds checked; the
        // ring owns the buffer until the final completion.
        unsafe { Op::raw(sqe, Some(Payload::Buf(buf))) }
    }
}
