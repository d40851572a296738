//! Proportional rate reduction (RFC 9937): leads the window to `ssthresh` within a round.

/// Bytes of one reduction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prr {
    /// Delivered since it began.
    delivered: u32,
    /// Sent since it began.
    out: u32,
    /// The window before it: what RecoverFS of the RFC is when the window was full.
    prior_cwnd: u32,
}

impl Prr {
    /// Begins with a window of `cwnd`. As Linux, the share of what is delivered that may be sent is
    /// reckoned from that and not from what is in flight: what leaves by limited transmit does not
    /// count twice.
    pub(super) fn new(cwnd: u32) -> Self {
        Self {
            delivered: 0,
            out: 0,
            prior_cwnd: cwnd.max(1),
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
                .div_ceil(u64::from(self.prior_cwnd))
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
        Some(in_flight.saturating_add(send))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1_000;

    /// RFC 9937, section 6.2, step by step: flight 20, `ssthresh` 10, one lost.
    #[test]
    fn proportional_part() {
        let mut prr = Prr::new(20 * MSS);
        let mut pipe = 19 * MSS;
        let mut sent = 0;
        for delivered in 1..=16 {
            pipe -= MSS;
            let cwnd = prr
                .on_ack(MSS, pipe, 10 * MSS, MSS, false)
                .expect("delivered");
            let send = (cwnd - pipe) / MSS * MSS;
            prr.on_sent(send);
            pipe += send;
            sent += send;
            // Half of what was delivered, rounded up.
            assert_eq!(sent, (delivered * MSS / 2).next_multiple_of(MSS));
        }
    }

    #[test]
    fn bounds_below_ssthresh() {
        // (delivered, safe, expected to leave)
        for (delivered, safe, expected) in
            [(1, false, 1), (3, false, 3), (1, true, 2), (3, true, 4)]
        {
            let mut prr = Prr::new(20 * MSS);
            prr.on_sent(MSS);
            let cwnd = prr.on_ack(delivered * MSS, 2 * MSS, 10 * MSS, MSS, safe);
            assert_eq!(cwnd, Some((2 + expected) * MSS), "{delivered} {safe}");
        }
        // Never beyond ssthresh.
        let mut prr = Prr::new(20 * MSS);
        prr.on_sent(MSS);
        assert_eq!(
            prr.on_ack(9 * MSS, 8 * MSS, 10 * MSS, MSS, true),
            Some(10 * MSS)
        );
    }

    #[test]
    fn the_first_retransmission_never_waits() {
        let mut prr = Prr::new(100 * MSS);
        assert_eq!(
            prr.on_ack(1, 99 * MSS, 50 * MSS, MSS, false),
            Some(100 * MSS)
        );
        let mut prr = Prr::new(100 * MSS);
        assert_eq!(
            prr.on_ack(MSS, 50 * MSS, 50 * MSS, MSS, false),
            Some(51 * MSS)
        );
    }

    #[test]
    fn nothing_delivered_changes_nothing() {
        assert_eq!(Prr::new(0).on_ack(0, 0, 10 * MSS, MSS, true), None);
    }
}
