//! A network in virtual time: one sender, a receiver that knows only sequence numbers, and
//! a path between them that loses, delays, reorders and duplicates.

use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use zcn_wire::{SackBlock, SeqNum};

use crate::random::Random;
use crate::tcp::sender::{
    Ack, Sender, SenderConfig, Transmission, TransmissionKind, timestamp_clock,
};
use crate::time::Instant;

/// What the path does. Probabilities are per million packets.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// One way.
    pub(super) delay: Duration,
    /// Bytes per second; zero: no limit.
    pub(super) rate: u64,
    /// Bytes that the queue before the bottleneck holds.
    pub(super) queue: u64,
    pub(super) loss: u32,
    pub(super) ack_loss: u32,
    pub(super) reorder: u32,
    /// By how much a reordered packet is late.
    pub(super) reorder_delay: Duration,
    pub(super) duplicate: u32,
    /// Nothing gets through from..to, either way.
    pub(super) outage: Option<(Duration, Duration)>,
    /// From..to everything is held back, and then comes.
    pub(super) stall: Option<(Duration, Duration)>,
}

impl Path {
    pub(super) fn clean(delay_ms: u64) -> Self {
        Self {
            delay: Duration::from_millis(delay_ms),
            rate: 0,
            queue: 0,
            loss: 0,
            ack_loss: 0,
            reorder: 0,
            reorder_delay: Duration::ZERO,
            duplicate: 0,
            outage: None,
            stall: None,
        }
    }
}

/// How the receiver behaves.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) sack: bool,
    pub(super) dsack: bool,
    pub(super) timestamps: bool,
    /// Acknowledges every second segment, or after this long.
    pub(super) delayed_ack: Duration,
    pub(super) window: u32,
    /// Forgets what came out of order, once, after this many bytes were delivered.
    pub(super) renege_after: Option<u32>,
    /// Its acknowledgments carry a SACK block of nothing where they would carry none: it is
    /// ignored, and keeps them from being taken for plain ones.
    pub(super) babbles: bool,
}

impl Peer {
    pub(super) fn modern() -> Self {
        Self {
            sack: true,
            dsack: true,
            timestamps: true,
            delayed_ack: Duration::from_millis(40),
            window: 4 << 20,
            renege_after: None,
            babbles: false,
        }
    }
}

/// How the application writes.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) bytes: u32,
    /// Bytes of one write, and the time between two; zero: all at once.
    pub(super) write: u32,
    pub(super) pause: Duration,
    /// Largest super-segment.
    pub(super) burst: u32,
}

impl Load {
    pub(super) fn bulk(bytes: u32) -> Self {
        Self {
            bytes,
            write: bytes,
            pause: Duration::ZERO,
            burst: 65_535,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Data {
        offset: u32,
        len: u32,
        ts: u32,
    },
    Ack {
        acked: u32,
        sack: Vec<(u32, u32)>,
        ecr: u32,
    },
    DelayedAck,
    Write,
}

/// The receiver: what arrived, in offsets from the first number.
#[derive(Default)]
struct Receiver {
    next: u32,
    /// Out of order, most recent first.
    islands: Vec<(u32, u32)>,
    dsack: Option<(u32, u32)>,
    ts_recent: u32,
    unacked_segments: u32,
    ack_due: Option<Instant>,
    reneged: bool,
}

impl Receiver {
    /// Takes a segment in. Whether it must be acknowledged at once.
    fn take(&mut self, offset: u32, len: u32, ts: u32) -> bool {
        let end = offset + len;
        if offset <= self.next {
            self.ts_recent = ts; // The last in order (RFC 7323, section 4.3), near enough.
        }
        if end <= self.next {
            self.dsack = Some((offset, end));
            return true;
        }
        if let Some(&island) = self.islands.iter().find(|i| i.0 <= offset && end <= i.1) {
            self.dsack = Some((offset, end));
            self.islands.retain(|i| *i != island);
            self.islands.insert(0, island);
            return true;
        }
        let had_hole = !self.islands.is_empty();
        let mut merged = (offset, end);
        self.islands.retain(|&(from, to)| {
            let apart = to < merged.0 || merged.1 < from;
            if !apart {
                merged = (merged.0.min(from), merged.1.max(to));
            }
            apart
        });
        if merged.0 <= self.next {
            self.next = merged.1;
        } else {
            self.islands.insert(0, merged);
        }
        self.unacked_segments += 1;
        had_hole || !self.islands.is_empty() || self.unacked_segments >= 2
    }

    fn ack(&mut self, peer: &Peer) -> Happening {
        let mut sack = Vec::new();
        let dsack = self.dsack.take();
        if peer.sack {
            if peer.dsack {
                sack.extend(dsack);
            }
            let room = if peer.timestamps { 3 } else { 4 };
            sack.extend(self.islands.iter().take(room - sack.len()));
        }
        self.unacked_segments = 0;
        self.ack_due = None;
        Happening::Ack {
            acked: self.next,
            sack,
            ecr: self.ts_recent,
        }
    }
}

/// What a run showed.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) took: Duration,
    pub(super) sent_again: u64,
    pub(super) undone: u32,
    pub(super) timeouts: u32,
    pub(super) probes: u32,
    pub(super) most_in_flight: u32,
    /// A digest of all that left, for replays.
    pub(super) digest: u64,
}

pub(super) struct Network<'a> {
    pub(super) sender: Sender,
    now: Instant,
    began: Instant,
    path: &'a Path,
    peer: &'a Peer,
    load: &'a Load,
    random: Random,
    start: SeqNum,
    written: u32,
    receiver: Receiver,
    queue: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    serial: u64,
    link_free_at: Instant,
    /// What the sender was told to be SACKed.
    told: Vec<(u32, u32)>,
    right_edge: u32,
    report: Report,
}

/// Runs until all is acknowledged, or panics when that takes longer than `limit`.
pub(super) fn run(
    config: &SenderConfig,
    path: &Path,
    peer: &Peer,
    load: &Load,
    seed: u64,
    limit: Duration,
) -> Report {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let now = Instant::from_secs(seed % 10_000);
    let mut config = *config;
    config.sack = peer.sack;
    config.timestamps = peer.timestamps;
    config.snd_wnd = peer.window;
    let mut network = Network {
        sender: Sender::new(&config, now),
        now,
        began: now,
        path,
        peer,
        load,
        random: Random::new(&bytes, "model network"),
        start: config.snd_una,
        written: 0,
        receiver: Receiver::default(),
        queue: BinaryHeap::new(),
        serial: 0,
        link_free_at: now,
        told: Vec::new(),
        right_edge: peer.window,
        report: Report::default(),
    };
    network.schedule(now, Happening::Write);
    network.run(limit);
    network.report
}

impl Network<'_> {
    fn schedule(&mut self, at: Instant, what: Happening) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial, what)));
    }

    fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.random.below(1_000_000) < per_million
    }

    fn run(&mut self, limit: Duration) {
        let all = self.load.bytes;
        while self.sender.snd_una() != self.start + all {
            let next_event = self.queue.peek().map(|Reverse((at, ..))| *at);
            let next_timeout = self.sender.next_timeout();
            let next = match (next_event, next_timeout) {
                (Some(a), Some(b)) => a.min(b),
                (Some(at), None) | (None, Some(at)) => at,
                (None, None) => panic!("nothing will ever happen again: {:?}", self.sender),
            };
            self.now = self.now.max(next);
            let elapsed = self.now.saturating_duration_since(self.began);
            assert!(
                elapsed < limit,
                "not done after {elapsed:?}: {:?}",
                self.sender
            );
            if next_timeout.is_some_and(|at| at <= self.now) {
                self.sender.handle_timeout(self.now);
            }
            while let Some(Reverse((at, ..))) = self.queue.peek()
                && *at <= self.now
            {
                let Some(Reverse((_, _, what))) = self.queue.pop() else {
                    break;
                };
                self.happen(what);
            }
            self.transmit();
        }
        let info = self.sender.info(self.now);
        assert_eq!((info.unacked, info.lost, info.retrans), (0, 0, 0));
        assert_eq!(self.sender.next_timeout(), None, "a timer without data");
        self.report.took = self.now.saturating_duration_since(self.began);
        self.report.sent_again = info.bytes_retrans;
        self.report.undone = info.total_undone;
        self.report.timeouts = info.total_rto;
        self.report.probes = info.total_probes;
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Write => {
                self.written = (self.written + self.load.write).min(self.load.bytes);
                if self.written < self.load.bytes {
                    let at = self.now + self.load.pause;
                    self.schedule(at, Happening::Write);
                }
            }
            Happening::Data { offset, len, ts } => {
                let at_once = self.receiver.take(offset, len, ts);
                if self
                    .peer
                    .renege_after
                    .is_some_and(|n| self.receiver.next >= n)
                    && !self.receiver.reneged
                    && !self.receiver.islands.is_empty()
                {
                    self.receiver.reneged = true;
                    self.receiver.islands.clear();
                    self.told.clear();
                }
                if at_once {
                    self.send_ack();
                } else if self.receiver.ack_due.is_none() {
                    let at = self.now + self.peer.delayed_ack;
                    self.receiver.ack_due = Some(at);
                    self.schedule(at, Happening::DelayedAck);
                }
            }
            Happening::DelayedAck => {
                if self.receiver.ack_due.is_some_and(|at| at <= self.now) {
                    self.send_ack();
                }
            }
            Happening::Ack { acked, sack, ecr } => self.hear(acked, &sack, ecr),
        }
    }

    fn send_ack(&mut self) {
        let ack = self.receiver.ack(self.peer);
        if self.chance(self.path.ack_loss) {
            return;
        }
        let at = self.now + self.path.delay;
        if let Some(at) = self.impaired(at) {
            self.schedule(at, ack);
        }
    }

    /// When something that would arrive at `at` does, or never.
    fn impaired(&self, at: Instant) -> Option<Instant> {
        let within = |span: Option<(Duration, Duration)>| {
            span.filter(|s| at >= self.began + s.0 && at < self.began + s.1)
        };
        if within(self.path.outage).is_some() {
            return None;
        }
        Some(within(self.path.stall).map_or(at, |(_, to)| self.began + to))
    }

    fn hear(&mut self, acked: u32, sack: &[(u32, u32)], ecr: u32) {
        let mut blocks: Vec<SackBlock> = sack
            .iter()
            .map(|&(from, to)| SackBlock::new(self.start + from, self.start + to))
            .collect();
        if self.peer.babbles && blocks.is_empty() && self.sender.flight_size() > 0 {
            blocks.push(SackBlock::new(self.start, self.start));
        }
        let before = self.sender.snd_una();
        let ack = Ack {
            ack: self.start + acked,
            sack: &blocks,
            window: self.peer.window,
            segment_seq: SeqNum(7),
            ts_ecr: self.peer.timestamps.then_some(ecr),
            carries_data: false,
            ece: false,
        };
        let outcome = self.sender.handle_ack(self.now, &ack, None);
        let outcome = outcome.expect("the receiver acknowledges what was sent");
        assert!(!self.sender.snd_una().before(before), "snd_una went back");
        assert_eq!(self.sender.snd_una().distance(before), outcome.acked);
        let una = self.sender.snd_una().distance(self.start);
        self.right_edge = self.right_edge.max(acked + self.peer.window);
        if !self.receiver.reneged {
            self.told.extend(sack.iter().filter(|s| s.0 > acked));
        }
        self.told.retain(|t| t.1 > una);
    }

    fn transmit(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "transmits for ever: {:?}", self.sender);
            let unsent = self.written - self.sender.snd_nxt().distance(self.start);
            let pipe = self.sender.bytes_in_flight();
            let asked = self.sender.next_transmission(unsent, self.load.burst);
            let Some(sent) = asked else { break };
            self.check(&sent, unsent, pipe);
            self.sender.on_transmitted(self.now, &sent, false);
            let flight = self.sender.flight_size();
            self.report.most_in_flight = self.report.most_in_flight.max(flight);
            self.put_on_the_wire(&sent);
        }
    }

    fn check(&self, sent: &Transmission, unsent: u32, pipe: u32) {
        let from = sent.seq.distance(self.start);
        let to = from + sent.len;
        assert!(sent.len > 0);
        assert!(to <= self.right_edge, "beyond the peer's window");
        if sent.seq == self.sender.snd_nxt() {
            assert!(sent.len <= unsent);
            if sent.kind != TransmissionKind::TailLossProbe {
                assert!(
                    pipe + sent.len <= self.sender.cwnd(),
                    "new data beyond cwnd"
                );
            }
            return;
        }
        assert!(
            sent.seq.after_eq(self.sender.snd_una()),
            "sends what is acknowledged"
        );
        // Where segments are not all full, what is cut anew may have a SACKed part that is no
        // whole segment any more.
        let mss = u32::from(self.sender.mss());
        let all_full = self.load.write.is_multiple_of(mss) && self.peer.window.is_multiple_of(mss);
        let slack = if all_full { 0 } else { mss };
        for &(left, right) in &self.told {
            let twice = to.min(right).saturating_sub(from.max(left));
            assert!(
                twice <= slack,
                "{from}..{to} again, {left}..{right} is SACKed"
            );
        }
    }

    fn put_on_the_wire(&mut self, sent: &Transmission) {
        let mss = u32::from(self.sender.mss());
        let first = sent.seq.distance(self.start);
        let ts = timestamp_clock(self.now);
        self.report.digest = (self.report.digest ^ self.now.as_nanos() ^ u64::from(first))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(23);
        let mut offset = first;
        while offset < first + sent.len {
            let len = mss.min(first + sent.len - offset);
            self.put_segment(Happening::Data { offset, len, ts }, u64::from(len) + 40);
            offset += len;
        }
    }

    fn put_segment(&mut self, data: Happening, size: u64) {
        if self.chance(self.path.loss) {
            return;
        }
        let mut at = self.now;
        if self.path.rate > 0 {
            let backlog = self.link_free_at.saturating_duration_since(self.now);
            let queued = backlog.as_nanos() as u64 / 1_000 * self.path.rate / 1_000_000;
            if queued > self.path.queue {
                return;
            }
            let takes = Duration::from_nanos(size * 1_000_000_000 / self.path.rate);
            self.link_free_at = self.link_free_at.max(self.now) + takes;
            at = self.link_free_at;
        }
        at += self.path.delay;
        if self.chance(self.path.reorder) {
            at += self.path.reorder_delay;
        }
        let Some(at) = self.impaired(at) else { return };
        if self.chance(self.path.duplicate) {
            self.schedule(at + Duration::from_micros(50), data.clone());
        }
        self.schedule(at, data);
    }
}
