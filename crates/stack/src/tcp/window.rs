//! The receive window: how much is offered (RFC 9293 section 3.8.6.2.2), and how the
//! buffer behind it grows with what the application reads.

use core::time::Duration;

use super::config::TcpConfig;
use super::stamp::Stamp;
use crate::time::Instant;

/// The window we offer, and the buffer it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveWindow {
    /// Bytes offered with the last acknowledgement, counted from what that acknowledged.
    pub(crate) wnd: u32,
    /// Our shift count; 0 if scaling is off.
    pub(crate) scale: u8,
    /// Whether the buffer may grow.
    autotune: bool,
    /// Bytes that may wait for the application.
    buffer: u32,
    /// Bytes that the application read in the last round trip in which it read most.
    space: u32,
    /// Bytes read since `since`.
    copied: u32,
    since: Stamp,
    /// Round-trip time seen by the receiver, in microseconds; 0: not known.
    rtt_us: u32,
}

impl ReceiveWindow {
    /// The window of a new connection: whole segments of `mss`, at most what fits the
    /// field of a SYN, which is not scaled, as Linux has it.
    pub(crate) fn new(
        now: Instant,
        buffer: u32,
        autotune: bool,
        scale: u8,
        mss: u32,
        initial_segments: Option<u32>,
    ) -> Self {
        let mut wnd = buffer;
        if wnd > mss && mss > 0 {
            wnd -= wnd % mss;
        }
        wnd = wnd.min(65_535);
        if let Some(segments) = initial_segments {
            wnd = wnd.min(segments.saturating_mul(mss));
        }
        Self {
            wnd,
            scale,
            autotune,
            buffer: if autotune { wnd } else { buffer },
            space: wnd.min(10 * mss),
            copied: 0,
            since: Stamp::of(now),
            rtt_us: 0,
        }
    }

    /// Bytes that may wait for the application.
    #[inline]
    pub(crate) fn buffer(&self) -> u32 {
        self.buffer
    }

    /// SO_RCVBUF: the application fixes the buffer; it no longer follows the traffic. What
    /// was offered stays offered.
    pub(crate) fn set_buffer(&mut self, bytes: u32) {
        self.buffer = bytes;
        self.autotune = false;
    }

    /// The largest window that the header can say.
    #[inline]
    fn field_max(&self) -> u32 {
        65_535 << self.scale
    }

    /// What is left of the window after `unacked` bytes arrived since it was offered.
    #[inline]
    pub(crate) fn left(&self, unacked: u32) -> u32 {
        self.wnd.saturating_sub(unacked)
    }

    /// The window to offer with `waiting` bytes queued: never less than what is left of
    /// the last one (RFC 9293 section 3.8.6.2.1), and not one that the peer would fill
    /// with a small segment (silly window syndrome).
    #[inline]
    pub(crate) fn select(&self, waiting: u32, unacked: u32, mss: u32) -> u32 {
        let unit = 1_u32 << self.scale;
        // A power of two, which the compiler cannot know: divisions would cost more than all else.
        let round_up = |bytes: u32| bytes.saturating_add(unit - 1) & !(unit - 1);
        let left = round_up(self.left(unacked));
        let full = self.buffer.min(self.field_max());
        let mss = mss.min(full);
        let mut free = full.saturating_sub(waiting);
        if free < full / 2 {
            free &= !(unit - 1);
            if free < full / 16 || free < mss {
                return left.min(self.field_max());
            }
        }
        let wanted = if self.scale > 0 {
            round_up(free)
        } else if self.wnd + mss <= free || self.wnd > free {
            // Unscaled windows move in whole segments.
            free - free % mss.max(1)
        } else {
            self.wnd
        };
        wanted.max(left).min(self.field_max())
    }

    /// What goes into the header for the window offered: shifted, or not in a SYN.
    #[inline]
    pub(crate) fn field(&self, syn: bool) -> u16 {
        let shift = if syn { 0 } else { self.scale };
        (self.wnd >> shift).min(65_535) as u16
    }

    /// A sample of the round-trip time, taken from an echoed timestamp.
    pub(crate) fn on_rtt(&mut self, rtt: Duration) {
        let sample = rtt.as_micros().clamp(1, u128::from(u32::MAX)) as u32;
        self.rtt_us = match self.rtt_us {
            0 => sample,
            old => (u64::from(old) * 7 / 8 + u64::from(sample) / 8) as u32,
        };
    }

    /// The round-trip time seen by the receiver; zero if not known.
    pub(crate) fn rtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.rtt_us))
    }

    /// What `tcpi_rcv_space` tells: the most that was read in a round trip.
    pub(crate) fn space(&self) -> u32 {
        self.space
    }

    /// The application read `bytes`. Once in a round trip the buffer becomes twice what
    /// was read in it, and room for the burst of a growing congestion window, so that the
    /// window is never what holds the sender back (dynamic right-sizing).
    #[inline]
    pub(crate) fn on_read(&mut self, now: Instant, bytes: u32, mss: u32, config: &TcpConfig) {
        self.copied = self.copied.saturating_add(bytes);
        let elapsed_us = u64::from(self.since.elapsed_ms(now)) * 1_000;
        let rtt_us = match self.rtt_us {
            0 => 100_000,
            rtt_us => u64::from(rtt_us),
        };
        if elapsed_us < rtt_us {
            return;
        }
        if self.copied > self.space {
            if self.autotune {
                let growth = u64::from(self.copied - self.space);
                let mut window = 2 * u64::from(self.copied) + 16 * u64::from(mss);
                window += 2 * window * growth / u64::from(self.space.max(1));
                let window = window.min(u64::from(config.receive_buffer_max)) as u32;
                self.buffer = self.buffer.max(window);
            }
            self.space = self.copied;
        }
        self.copied = 0;
        self.since = Stamp::of(now);
    }

    /// Whether a read opened the window so far that the peer should hear of it at once
    /// (RFC 9293 section 3.8.6.2.2): to twice what it believes.
    #[inline]
    pub(crate) fn should_update(&self, waiting: u32, unacked: u32, mss: u32) -> bool {
        let left = self.left(unacked);
        if left.saturating_mul(2) > self.buffer {
            return false;
        }
        let new = self.select(waiting, unacked, mss);
        new > 0 && new >= left.saturating_mul(2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(1);

    fn window(buffer: u32, scale: u8) -> ReceiveWindow {
        ReceiveWindow::new(NOW, buffer, true, scale, 1460, None)
    }

    #[test]
    fn the_first_window_is_whole_segments() {
        assert_eq!(window(65_536, 7).wnd, 64_240);
        assert_eq!(
            ReceiveWindow::new(NOW, 65_536, true, 7, 1448, None).wnd,
            65_160
        );
        assert_eq!(window(65_536, 7).field(true), 64_240);
        assert_eq!(window(65_536, 7).field(false), 501);
        let small = ReceiveWindow::new(NOW, 65_536, true, 7, 1460, Some(10));
        assert_eq!(small.wnd, 14_600);
    }

    #[test]
    fn the_right_edge_never_moves_back() {
        let mut window = window(65_536, 0);
        for unacked in [0, 1, 1000, 30_000, 64_240, 70_000] {
            for waiting in [0, 1000, 64_000, 65_536, 100_000] {
                let offered = window.select(waiting, unacked, 1460);
                assert!(offered >= window.left(unacked));
            }
        }
        // A smaller buffer takes nothing back either.
        window.set_buffer(2000);
        assert_eq!(window.select(2000, 0, 1460), window.wnd);
    }

    #[test]
    fn a_silly_window_is_not_offered() {
        let mut window = window(16_384, 0);
        window.wnd = 0;
        assert_eq!(window.select(16_384, 0, 1460), 0);
        assert_eq!(window.select(15_000, 0, 1460), 0);
        assert_eq!(window.select(14_000, 0, 1460), 1460);
        assert!(!window.should_update(15_000, 0, 1460));
        assert!(window.should_update(0, 0, 1460));
    }

    #[test]
    fn the_buffer_grows_with_what_is_read_and_stops_at_its_cap() {
        let config = TcpConfig::default();
        let mut window = window(65_536, 8);
        window.on_rtt(Duration::from_millis(10));
        let mut now = NOW;
        let mut read = 30_000;
        for _ in 0..30 {
            now += Duration::from_millis(10);
            window.on_read(now, read, 1460, &config);
            read = window.buffer();
        }
        assert_eq!(window.buffer(), config.receive_buffer_max);
        let mut fixed = window;
        fixed.set_buffer(10_000);
        fixed.on_read(now + Duration::from_secs(1), 5 << 20, 1460, &config);
        assert_eq!(fixed.buffer(), 10_000);
    }
}
