//! A bad network, in given time and from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use zcn_frame::{Chain, Frame, Head};
use zcn_pool::SharedBuf;

use crate::mark::mark;
use crate::segment::{complete_checksum, segment};
use crate::statistics::{DropReason, Statistics};

/// What one direction of a path does to its frames. The default does nothing.
///
/// Probabilities are from 0 to 1 and are drawn for each frame on its own. The effects come
/// in the order of the fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Impairments {
    /// The path is cut: everything is lost. Cut one direction, or both.
    pub cut: bool,
    /// Super-frames pass as one frame, with one fate. Otherwise they are cut first, so
    /// that loss and the like are of packets, as on a real path.
    pub keep_super_frames: bool,
    /// Frames that are longer are lost silently, as behind a router that sends no ICMP:
    /// bytes, link header included.
    pub frame_max: Option<usize>,
    /// Probability of loss, each frame on its own.
    pub loss: f64,
    /// Loss in bursts.
    pub burst: Option<BurstLoss>,
    /// Probability that a frame of an ECN-capable transport is marked: congestion experienced
    /// (RFC 3168).
    pub mark: f64,
    /// Probability that a frame comes twice.
    pub duplicate: f64,
    /// Probability that one bit of the frame, behind the link header, is flipped. A
    /// super-frame that it hits goes on as packets, one of them damaged.
    pub corrupt: f64,
    /// A bottleneck.
    pub rate: Option<Rate>,
    /// How long each frame is under way.
    pub delay: Duration,
    /// Up to so much is added to the delay, evenly spread. Frames stay in order.
    pub jitter: Duration,
    /// Probability that a frame is held back by `reorder_by` more, and those after it
    /// overtake it.
    pub reorder: f64,
    /// By how much; a millisecond if not set.
    pub reorder_by: Duration,
    /// How many frames may be under way; more are dropped as `QueueFull`.
    pub frames: usize,
}

impl Default for Impairments {
    fn default() -> Self {
        Self {
            cut: false,
            keep_super_frames: false,
            frame_max: None,
            loss: 0.0,
            burst: None,
            mark: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            rate: None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: 0.0,
            reorder_by: Duration::from_millis(1),
            frames: 16_384,
        }
    }
}

/// Loss in bursts, after Gilbert and Elliott: the path is good or bad, and may change
/// before each frame. Bursts are `1 / leave` frames long on average, and the path is bad
/// for `enter / (enter + leave)` of the frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BurstLoss {
    /// Probability of going from good to bad.
    pub enter: f64,
    /// Probability of going from bad to good.
    pub leave: f64,
    /// Probability of loss while it is bad.
    pub loss_bad: f64,
    /// Probability of loss while it is good.
    pub loss_good: f64,
}

/// A bottleneck: frames leave one after the other, at this rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bits per second, link headers included; not zero.
    pub bits_per_second: u64,
    /// How many bytes may wait; a frame that finds so many waiting is dropped.
    pub queue_bytes: u64,
}

/// Makes of a seed that of the marks.
const MARKS: u64 = 0x6d61_726b_7365_6564;

/// With this probability. Draws nothing where it is none.
fn chance(random: &mut Pcg64Mcg, probability: f64) -> bool {
    if probability <= 0.0 {
        return false;
    }
    // 53 bits are what the type holds, so the number is even from 0 to below 1.
    let drawn = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    drawn < probability
}

/// One direction of an impaired path: frames go in, and come out when they are due, if at
/// all.
///
/// It reads no clock: `now` is the time since whatever moment the caller chose, and never
/// goes back. The same seed, frames and times give the same fate to every frame.
#[derive(Debug)]
pub struct Impairment {
    settings: Impairments,
    random: Pcg64Mcg,
    /// Draws who is marked: marks leave the other fates of a seed as they are.
    marks: Pcg64Mcg,
    bad: bool,
    /// When the bottleneck will have sent what it holds.
    busy_until: Duration,
    /// When the last frame that was not held back is due: others do not overtake it.
    last_due: Duration,
    /// Those under way: the next one due on top.
    under_way: BinaryHeap<Reverse<UnderWay>>,
    sequence: u64,
    link_header: usize,
    statistics: Statistics,
    /// Cut, and not yet under way.
    packets: Vec<Frame>,
}

#[derive(Debug)]
struct UnderWay {
    due: Duration,
    sequence: u64,
    frame: Frame,
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for UnderWay {}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.sequence).cmp(&(other.due, other.sequence))
    }
}

impl Impairment {
    /// A path for frames whose link header has `link_header` bytes
    /// ([`Medium::header_len`](zcn_frame::Medium::header_len)).
    pub fn new(settings: Impairments, link_header: usize, seed: u64) -> Self {
        Self {
            settings,
            random: Pcg64Mcg::seed_from_u64(seed),
            marks: Pcg64Mcg::seed_from_u64(seed ^ MARKS),
            bad: false,
            busy_until: Duration::ZERO,
            last_due: Duration::ZERO,
            under_way: BinaryHeap::new(),
            sequence: 0,
            link_header,
            statistics: Statistics::default(),
            packets: Vec::new(),
        }
    }

    /// The settings.
    pub const fn settings(&self) -> &Impairments {
        &self.settings
    }

    /// Changes what happens to frames from now on. Those under way keep their fate.
    pub fn set(&mut self, settings: Impairments) {
        self.settings = settings;
    }

    /// Takes a frame at the time `now`.
    pub fn push(&mut self, frame: Frame, now: Duration) {
        self.statistics.count_in(frame.len());
        if self.settings.cut {
            self.statistics.count_drops(DropReason::Disconnected, 1);
            return;
        }
        if self.settings.keep_super_frames || frame.meta.gso.is_none() {
            self.push_packet(frame, now);
            return;
        }
        let mut packets = std::mem::take(&mut self.packets);
        match segment(frame, self.link_header, &mut packets) {
            Ok(_) => {
                for packet in packets.drain(..) {
                    self.push_packet(packet, now);
                }
            }
            Err(_) => self.statistics.count_drops(DropReason::Malformed, 1),
        }
        self.packets = packets;
    }

    fn push_packet(&mut self, mut frame: Frame, now: Duration) {
        if (self.settings.frame_max).is_some_and(|max| frame.len() > max) {
            self.statistics.count_drops(DropReason::AboveMtu, 1);
            return;
        }
        if self.chance(self.settings.loss) || self.burst_takes_it() {
            self.statistics.count_drops(DropReason::Lost, 1);
            return;
        }
        if chance(&mut self.marks, self.settings.mark) {
            frame = mark(frame, self.link_header);
        }
        let copy = self.chance(self.settings.duplicate).then(|| frame.clone());
        if self.chance(self.settings.corrupt) {
            if frame.meta.gso.is_some() {
                self.send_cut_with_a_bit_flipped(frame, now);
            } else {
                frame = self.flip_a_bit(frame);
                self.send(frame, now);
            }
        } else {
            self.send(frame, now);
        }
        if let Some(copy) = copy {
            self.send(copy, now);
        }
    }

    fn send(&mut self, frame: Frame, now: Duration) {
        if self.under_way.len() >= self.settings.frames {
            self.statistics.count_drops(DropReason::QueueFull, 1);
            return;
        }
        let Some(sent) = self.pass_bottleneck(frame.len(), now) else {
            self.statistics.count_drops(DropReason::QueueFull, 1);
            return;
        };
        let jitter = self.up_to(self.settings.jitter);
        let mut due = sent
            .saturating_add(self.settings.delay)
            .saturating_add(jitter)
            .max(self.last_due);
        if self.chance(self.settings.reorder) {
            due = due.saturating_add(self.settings.reorder_by);
        } else {
            self.last_due = due;
        }
        self.under_way.push(Reverse(UnderWay {
            due,
            sequence: self.sequence,
            frame,
        }));
        self.sequence += 1;
    }

    /// A super-frame whose bit is flipped must be cut before: whoever cut it afterwards
    /// would give the packets checksums that are right for the wrong bytes.
    fn send_cut_with_a_bit_flipped(&mut self, frame: Frame, now: Duration) {
        let mut packets = Vec::new();
        if segment(frame, self.link_header, &mut packets).is_err() {
            self.statistics.count_drops(DropReason::Malformed, 1);
            return;
        }
        let hit = self.below(packets.len() as u64) as usize;
        for (index, packet) in packets.into_iter().enumerate() {
            let packet = if index == hit {
                self.flip_a_bit(packet)
            } else {
                packet
            };
            self.send(packet, now);
        }
    }

    /// When the frame has left the bottleneck; `None` if its queue is full.
    fn pass_bottleneck(&mut self, bytes: usize, now: Duration) -> Option<Duration> {
        let Some(rate) = self.settings.rate else {
            return Some(now);
        };
        let bits_per_second = u128::from(rate.bits_per_second.max(1));
        let wait = self.busy_until.saturating_sub(now);
        let waiting_bytes = wait.as_nanos() * bits_per_second / 8_000_000_000;
        if waiting_bytes > u128::from(rate.queue_bytes) {
            return None;
        }
        let nanos = bytes as u128 * 8_000_000_000 / bits_per_second;
        let transmission = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.busy_until = self.busy_until.max(now).saturating_add(transmission);
        Some(self.busy_until)
    }

    /// The next frame that is due at `now`.
    pub fn pop(&mut self, now: Duration) -> Option<Frame> {
        if self.next_deadline()? > now {
            return None;
        }
        let Reverse(UnderWay { frame, .. }) = self.under_way.pop()?;
        self.statistics.count_out(frame.len());
        Some(frame)
    }

    /// When the next frame is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.under_way.peek().map(|Reverse(next)| next.due)
    }

    /// How many frames are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// What went in (`in`, super-frames once), came out (`out`) and was dropped.
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn burst_takes_it(&mut self) -> bool {
        let Some(burst) = self.settings.burst else {
            return false;
        };
        if self.chance(if self.bad { burst.leave } else { burst.enter }) {
            self.bad = !self.bad;
        }
        self.chance(if self.bad {
            burst.loss_bad
        } else {
            burst.loss_good
        })
    }

    /// With this probability.
    fn chance(&mut self, probability: f64) -> bool {
        chance(&mut self.random, probability)
    }

    /// Evenly from none to `most`.
    fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }

    /// Evenly below `end`, which is not zero.
    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.random.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// The frame with one bit behind its link header flipped, on a copy of its bytes: the
    /// sender may keep the buffers for a retransmission. Its checksum is completed first
    /// and no longer vouched for, or else nobody would notice.
    fn flip_a_bit(&mut self, mut frame: Frame) -> Frame {
        if frame.len() <= self.link_header || complete_checksum(&mut frame).is_err() {
            return frame;
        }
        let mut bytes = frame.to_vec();
        let bits = (bytes.len() - self.link_header) as u64 * 8;
        let bit = self.below(bits) as usize;
        bytes[self.link_header + bit / 8] ^= 1 << (bit % 8);
        frame.meta.checksum = zcn_frame::Checksum::Unverified;
        frame.head = Head::new();
        frame.body = Chain::from(SharedBuf::from(bytes::Bytes::from(bytes)));
        frame
    }
}
