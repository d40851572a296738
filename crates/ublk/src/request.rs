//! One request of the block layer.

use crate::uapi::{self, IoDesc, op};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    /// Everything that was written before is stable afterwards.
    Flush,
    /// The range is not needed any more.
    Discard,
    /// The range reads as zeroes afterwards.
    WriteZeroes,
    /// Something that no parameter of the device asked for.
    Other(u32),
}

/// A request, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// Stable before it is answered (FUA).
    pub(crate) durable: bool,
    /// Zeroes keep their space.
    pub(crate) keeps_space: bool,
}

impl Request {
    pub(crate) fn new(desc: &IoDesc) -> Self {
        let operation = match desc.op_flags & 0xff {
            op::READ => Operation::Read,
            op::WRITE => Operation::Write,
            op::FLUSH => Operation::Flush,
            op::DISCARD => Operation::Discard,
            op::WRITE_ZEROES => Operation::WriteZeroes,
            other => Operation::Other(other),
        };
        Self {
            operation,
            offset: desc.start_sector.saturating_mul(uapi::SECTOR),
            len: u64::from(desc.nr_sectors) * uapi::SECTOR,
            durable: desc.op_flags & uapi::IO_F_FUA != 0,
            keeps_space: desc.op_flags & uapi::IO_F_NOUNMAP != 0,
        }
    }

    /// Whether it moves data by way of its buffer.
    pub(crate) fn has_data(&self) -> bool {
        matches!(self.operation, Operation::Read | Operation::Write)
    }

    /// Whether it lies within a target of `size` bytes and, if it moves data, within a buffer of
    /// `capacity` bytes. The block layer sees to both.
    pub(crate) fn fits(&self, size: u64, capacity: usize) -> bool {
        if self.operation == Operation::Flush {
            return true;
        }
        let ends = self.offset.checked_add(self.len);
        ends.is_some_and(|end| end <= size) && (!self.has_data() || self.len <= capacity as u64)
    }

    /// What the driver is told of a request that went well: bytes moved, or 0.
    pub(crate) fn success(&self) -> i32 {
        match self.has_data() {
            // A buffer has 32 MiB at most.
            true => self.len as i32,
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_read() {
        let request = Request::new(&IoDesc {
            op_flags: op::WRITE | uapi::IO_F_FUA,
            nr_sectors: 8,
            start_sector: 2,
            addr: 0,
        });
        assert_eq!(request.operation, Operation::Write);
        assert_eq!((request.offset, request.len), (1024, 4096));
        assert!(request.durable && !request.keeps_space);
        assert_eq!(request.success(), 4096);
        assert!(request.fits(5120, 4096));
        assert!(!request.fits(5119, 4096));
        assert!(!request.fits(5120, 4095));
    }

    #[test]
    fn a_range_without_data_needs_no_buffer_and_a_flush_no_range() {
        let mut desc = IoDesc {
            op_flags: op::WRITE_ZEROES | uapi::IO_F_NOUNMAP,
            nr_sectors: u32::MAX,
            start_sector: 0,
            addr: 0,
        };
        let zeroes = Request::new(&desc);
        assert!(zeroes.keeps_space && zeroes.fits(1 << 50, 0));
        assert_eq!(zeroes.success(), 0);
        desc.op_flags = op::FLUSH;
        desc.start_sector = u64::MAX;
        assert!(Request::new(&desc).fits(512, 0));
        desc.op_flags = 77;
        assert_eq!(Request::new(&desc).operation, Operation::Other(77));
        assert!(!Request::new(&desc).fits(u64::MAX, 0));
    }
}
