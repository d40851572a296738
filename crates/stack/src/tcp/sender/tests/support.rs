//! A sender and the little that a test has to do for it.

use core::ops::Range;
use core::time::Duration;

use zcn_wire::{SackBlock, SeqNum};

use crate::tcp::congestion::Algorithm;
use crate::tcp::sender::{
    Ack, AckOutcome, Sender, SenderConfig, TimeoutOutcome, Transmission, TransmissionKind,
};
use crate::time::Instant;

/// A sender with endless data, whose numbers count segments of [`Bench::MSS`] bytes from
/// its first.
pub(super) struct Bench {
    pub(super) sender: Sender,
    pub(super) now: Instant,
    pub(super) start: SeqNum,
    /// Largest super-segment in segments.
    pub(super) burst: u32,
    pub(super) window: u32,
}

/// `count` segments from `first` on, one by one.
pub(super) fn each(first: u32, count: u32, kind: TransmissionKind) -> Vec<Sent> {
    (first..first + count).map(|n| (n, 1, kind)).collect()
}

/// What left: first segment, how many, why.
pub(super) type Sent = (u32, u32, TransmissionKind);

impl Bench {
    pub(super) const MSS: u32 = 1000;

    pub(super) fn config() -> SenderConfig {
        SenderConfig {
            // Wraps in the middle of most tests.
            snd_una: SeqNum(u32::MAX - 4 * Self::MSS),
            snd_wnd: 1 << 20,
            congestion: Algorithm::NewReno,
            handshake_rtt: Some(Duration::from_millis(100)),
            ..SenderConfig::new(SeqNum(0), Self::MSS as u16)
        }
    }

    pub(super) fn new(config: &SenderConfig) -> Self {
        let now = Instant::from_secs(1);
        Self {
            sender: Sender::new(config, now),
            now,
            start: config.snd_una,
            burst: 1,
            window: config.snd_wnd,
        }
    }

    pub(super) fn wait(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    pub(super) fn seq(&self, segment: u32) -> SeqNum {
        self.start + segment * Self::MSS
    }

    /// Sends `segments` new ones, if the sender lets it, after whatever must leave first.
    pub(super) fn send(&mut self, segments: u32) -> Vec<Sent> {
        let mut unsent = segments * Self::MSS;
        if unsent > 0 {
            self.sender.on_written(self.now);
        }
        let mut sent = Vec::new();
        while let Some(t) = self
            .sender
            .next_transmission(unsent, self.burst * Self::MSS)
        {
            if t.seq == self.sender.snd_nxt() {
                unsent -= t.len;
            }
            self.sender.on_transmitted(self.now, &t, false);
            sent.push(self.describe(&t));
            assert!(sent.len() < 10_000, "sends for ever");
        }
        sent
    }

    pub(super) fn describe(&self, t: &Transmission) -> Sent {
        let offset = t.seq.distance(self.start);
        (offset / Self::MSS, t.len.div_ceil(Self::MSS), t.kind)
    }

    /// An acknowledgment of everything before `segment`, with SACK blocks in segments.
    pub(super) fn ack(&mut self, segment: u32, sacks: &[Range<u32>]) -> AckOutcome {
        self.ack_echoing(segment, sacks, None)
    }

    /// The same with a timestamp echo.
    pub(super) fn ack_echoing(
        &mut self,
        segment: u32,
        sacks: &[Range<u32>],
        ts_ecr: Option<u32>,
    ) -> AckOutcome {
        let blocks: Vec<SackBlock> = sacks
            .iter()
            .map(|r| SackBlock::new(self.seq(r.start), self.seq(r.end)))
            .collect();
        self.hear(self.seq(segment), &blocks, ts_ecr, false)
    }

    pub(super) fn ack_blocks(&mut self, segment: u32, blocks: &[SackBlock]) -> AckOutcome {
        self.hear(self.seq(segment), blocks, None, false)
    }

    pub(super) fn ack_with_ece(&mut self, segment: u32) -> AckOutcome {
        self.hear(self.seq(segment), &[], None, true)
    }

    /// An acknowledgment of the first `bytes` numbers.
    pub(super) fn ack_byte(&mut self, bytes: u32) -> AckOutcome {
        self.hear(self.start + bytes, &[], None, false)
    }

    fn hear(
        &mut self,
        ack: SeqNum,
        sack: &[SackBlock],
        ts_ecr: Option<u32>,
        ece: bool,
    ) -> AckOutcome {
        let ack = Ack {
            ack,
            sack,
            window: self.window,
            segment_seq: SeqNum(0),
            ts_ecr,
            carries_data: false,
            ece,
        };
        self.sender
            .handle_ack(self.now, &ack, None)
            .expect("acceptable")
    }

    /// Goes to the deadline and through it.
    pub(super) fn expire(&mut self) -> TimeoutOutcome {
        self.now = self.sender.next_timeout().expect("a deadline");
        self.sender.handle_timeout(self.now)
    }

    /// Congestion window in segments.
    pub(super) fn cwnd(&self) -> u32 {
        self.sender.cwnd() / Self::MSS
    }

    /// In flight, in segments.
    pub(super) fn pipe(&self) -> u32 {
        self.sender.bytes_in_flight() / Self::MSS
    }
}
