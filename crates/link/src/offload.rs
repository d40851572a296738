//! Offloads in software, for a link that has none.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bytes::Bytes;
use zcn_frame::{Capabilities, Chain, Checksum, Frame, GsoKinds, Head, SLICES_MAX};
use zcn_pool::SharedBuf;

use crate::admission::admit;
use crate::driver::Driver;
use crate::segment::{SegmentError, complete_checksum, segment};
use crate::statistics::{DropReason, Statistics};

/// How many packets are prepared before the link below is asked to take them; one
/// super-frame may go beyond it.
const BATCH: usize = 64;

/// A driver that takes super-frames and unfinished checksums whatever the link below can
/// do: it cuts and finishes, at the last step, only what that one cannot.
#[derive(Debug)]
pub struct SoftwareOffload<D> {
    inner: D,
    capabilities: Capabilities,
    /// Cut, and not yet taken by the link.
    pending: VecDeque<Frame>,
    packets: Vec<Frame>,
    /// The inner driver's, and the frames dropped here.
    statistics: Statistics,
    dropped: Statistics,
}

impl<D: Driver> SoftwareOffload<D> {
    /// Offloads on top of `inner`.
    pub fn new(inner: D) -> Self {
        let mut capabilities = *inner.capabilities();
        capabilities.checksum.transmit = true;
        capabilities.gso = GsoKinds::ALL;
        capabilities.gso_max_size = capabilities.gso_max_size.max(65535);
        capabilities.scatter_max = SLICES_MAX + 1;
        Self {
            inner,
            capabilities,
            pending: VecDeque::new(),
            packets: Vec::new(),
            statistics: Statistics::default(),
            dropped: Statistics::default(),
        }
    }

    /// The link below.
    pub const fn inner(&self) -> &D {
        &self.inner
    }

    /// Makes of a frame what the link below takes, and queues that.
    fn prepare(&mut self, frame: Frame) {
        let below = *self.inner.capabilities();
        let as_it_is = match frame.meta.gso {
            Some(gso) => below.gso.contains(gso.kind) && (below.gso.ecn || !gso.ecn),
            None => true,
        };
        if as_it_is {
            self.packets.push(frame);
        } else if let Err(error) = segment(frame, below.medium.header_len(), &mut self.packets) {
            self.count(error);
        }
        for mut frame in std::mem::take(&mut self.packets).drain(..) {
            let partial = matches!(frame.meta.checksum, Checksum::Partial { .. });
            if partial
                && !below.checksum.transmit
                && let Err(error) = complete_checksum(&mut frame)
            {
                self.count(error);
                continue;
            }
            if frame.parts() > below.scatter_max {
                let bytes = Bytes::from(frame.to_vec());
                frame.head = Head::new();
                frame.body = Chain::from(SharedBuf::from(bytes));
            }
            self.pending.push_back(frame);
        }
    }

    fn count(&mut self, error: SegmentError) {
        let reason = match error {
            SegmentError::Malformed => DropReason::Malformed,
            _ => DropReason::Unsupported,
        };
        self.dropped.count_drops(reason, 1);
    }
}

impl<D: Driver> Driver for SoftwareOffload<D> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        self.inner.receive(into, max)
    }

    fn transmit(&mut self, frames: &mut VecDeque<Frame>) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            self.inner.transmit(&mut self.pending)?;
            if !self.pending.is_empty() || frames.is_empty() {
                return Ok(taken);
            }
            while self.pending.len() < BATCH
                && let Some(frame) = frames.pop_front()
            {
                taken += 1;
                match admit(&self.capabilities, &frame) {
                    Ok(()) => self.prepare(frame),
                    Err(reason) => self.dropped.count_drops(reason, 1),
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.transmit(&mut self.pending)?;
        self.inner.flush()
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.inner.readiness()
    }

    fn arm(&mut self) -> io::Result<bool> {
        self.inner.arm()
    }

    fn wait(&mut self, spin: Duration, timeout: Option<Duration>) -> io::Result<bool> {
        self.inner.wait(spin, timeout)
    }

    fn statistics(&mut self) -> &Statistics {
        self.statistics = self.inner.statistics().clone();
        self.statistics.add_drops(&self.dropped);
        &self.statistics
    }
}
