//! Proportional rate reduction (RFC 9937): leads the window to `ssthresh` within a round.

/// Bytes of one reduction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prr {
    /// Delivered since it began.
    delivered: u32,
    /// Sent since it began.
    out: u32,
    /// In flight when it began (RecoverFS).
    recover_fs: u32,
}

impl Prr {
    /// Begins with `flight` outstanding, of which `sacked` was SACKed before the
    /// acknowledgment at hand.
    pub(super) fn new(flight: u32, sacked: u32) -> Self {
        Self {
            delivered: 0,
            out: 0,
            recover_fs: flight.saturating_sub(sacked).max(1),
        }
    }

    /// `bytes` left, new or again.
    pub(super) fn on_sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
    }

    /// The new window after an acknowledgment that delivered `delivered` bytes and leaves
    /// `in_flight` (RFC 9937, section 6). `safe_ack`: it advanced `snd_una` and told of no
    /// further loss. `None` when it delivered nothing.
    pub(super) fn on_ack(
        &mut self,
        delivered: u32,
        in_flight: u32,
        ssthresh: u32,
        mss: u32,
        safe_ack: bool,
    ) -> Option<u32> {
        if delivered == 0 {
            return None;
        }
        self.delivered = self.delivered.saturating_add(delivered);
        let mut send = if in_flight > ssthresh {
            // Whole segments, rounded up, as the examples of the RFC reckon.
            let share = u64::from(self.delivered) * u64::from(ssthresh);
            let out = share
                .div_ceil(u64::from(self.recover_fs))
                .next_multiple_of(mss.into());
            u32::try_from(out)
                .unwrap_or(u32::MAX)
                .saturating_sub(self.out)
        } else {
            let mut send = self.delivered.saturating_sub(self.out).max(delivered);
            if safe_ack {
                send = send.saturating_add(mss);
            }
            send.min(ssthresh - in_flight)
        };
        if self.out == 0 {
            // The first retransmission must not wait.
            send = send.max(mss);
        }
        Some(in_flight.saturating_add(send).max(mss))
    }
}
