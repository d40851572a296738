//! What a driver counts.

use std::fmt;

/// Counters of one driver, from its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames received and handed up; a super-frame counts once.
    pub frames_in: u64,
    /// Their bytes, link headers included.
    pub bytes_in: u64,
    /// Frames sent; a super-frame counts once.
    pub frames_out: u64,
    /// Their bytes, link headers included.
    pub bytes_out: u64,
    drops: [u64; DropReason::ALL.len()],
}

/// Why a driver dropped a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// Received, and the pool had no buffer for it.
    NoBuffer,
    /// Received longer than the buffers for it.
    TooLong,
    /// Received with a virtio-net header that makes no sense, or without a whole link header.
    Malformed,
    /// Received, but the ring between kernel and driver was full (the kernel's count).
    RingFull,
    /// To be sent, but larger than the MTU, or a super-frame larger than the link takes.
    AboveMtu,
    /// To be sent, but neither the link nor the segmenter can do what its metadata asks.
    Unsupported,
    /// To be sent, and refused by the kernel for good (not for want of room).
    Refused,
    /// The other end is gone, or the link is cut.
    Disconnected,
    /// An impairment took it: loss, burst loss.
    Lost,
    /// An impairment's queue was full.
    QueueFull,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NoBuffer,
        Self::TooLong,
        Self::Malformed,
        Self::RingFull,
        Self::AboveMtu,
        Self::Unsupported,
        Self::Refused,
        Self::Disconnected,
        Self::Lost,
        Self::QueueFull,
    ];

    /// A short name, as in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoBuffer => "no buffer",
            Self::TooLong => "too long",
            Self::Malformed => "malformed",
            Self::RingFull => "ring full",
            Self::AboveMtu => "above MTU",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
            Self::Disconnected => "disconnected",
            Self::Lost => "lost",
            Self::QueueFull => "queue full",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Statistics {
    /// How many frames were dropped for this reason.
    pub const fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// How many frames were dropped in all.
    pub fn drops_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Counts `frames` more dropped.
    pub fn count_drops(&mut self, reason: DropReason, frames: u64) {
        self.drops[reason as usize] += frames;
    }

    /// Adds what another counted as dropped.
    pub fn add_drops(&mut self, other: &Self) {
        for (own, other) in self.drops.iter_mut().zip(other.drops) {
            *own += other;
        }
    }

    /// Counts one frame of `bytes` received.
    pub fn count_in(&mut self, bytes: usize) {
        self.frames_in += 1;
        self.bytes_in += bytes as u64;
    }

    /// Counts one frame of `bytes` sent.
    pub fn count_out(&mut self, bytes: usize) {
        self.frames_out += 1;
        self.bytes_out += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let mut statistics = Statistics::default();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason}");
            statistics.count_drops(reason, index as u64 + 1);
        }
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(statistics.drops(reason), index as u64 + 1, "{reason}");
        }
        assert_eq!(statistics.drops_total(), 55);
    }
}
