//! What was asked of a device.

use crate::request::{Operation, Request};

/// Requests since the device was taken up, and the bytes that they moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Requests to read.
    pub reads: u64,
    /// Bytes of them.
    pub bytes_read: u64,
    /// Requests to write.
    pub writes: u64,
    /// Bytes of them.
    pub bytes_written: u64,
    /// Requests to make stable what was written, those with a write (FUA) not counted.
    pub flushes: u64,
    /// Requests to discard, or to fill with zeroes.
    pub ranges: u64,
    /// Requests of all kinds that failed.
    pub failed: u64,
}

impl Tally {
    pub(crate) fn begun(&mut self, request: &Request) {
        match request.operation {
            Operation::Read => {
                self.reads += 1;
                self.bytes_read += request.len;
            }
            Operation::Write => {
                self.writes += 1;
                self.bytes_written += request.len;
            }
            Operation::Flush => self.flushes += 1,
            Operation::Discard | Operation::WriteZeroes => self.ranges += 1,
            Operation::Other(_) => {}
        }
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        self.reads += other.reads;
        self.bytes_read += other.bytes_read;
        self.writes += other.writes;
        self.bytes_written += other.bytes_written;
        self.flushes += other.flushes;
        self.ranges += other.ranges;
        self.failed += other.failed;
    }
}
