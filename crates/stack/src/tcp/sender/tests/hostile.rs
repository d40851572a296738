//! A peer that says anything: nothing panics, nothing grows, and an honest acknowledgment of
//! everything always ends it.

use core::time::Duration;

use zcn_wire::{SackBlock, SackBlocks, SeqNum};

use crate::random::Random;
use crate::tcp::congestion::{Algorithm, MAX_CWND};
use crate::tcp::sender::records::MAX_RECORDS;
use crate::tcp::sender::{Ack, Sender, SenderConfig, timestamp_clock};
use crate::time::Instant;

struct Storm {
    sender: Sender,
    now: Instant,
    random: Random,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut bytes = [3; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut random = Random::new(&bytes, "hostile peer");
        let now = Instant::from_millis(random.next_u64() >> 30);
        let config = SenderConfig {
            congestion: Algorithm::ALL[random.below(2) as usize],
            sack: random.below(4) != 0,
            timestamps: random.below(2) != 0,
            snd_wnd: random.below(1 << 20),
            initial_window: 1 + random.below(100),
            handshake_rtt: (random.below(2) == 0)
                .then(|| Duration::from_micros(random.next_u64() >> (20 + random.below(44)))),
            syn_retransmissions: random.below(4) as u8,
            ..SenderConfig::new(SeqNum(random.next_u32()), random.next_u32() as u16)
        };
        Self {
            sender: Sender::new(&config, now),
            now,
            random,
        }
    }

    /// A number near those in flight, or anywhere.
    fn number(&mut self) -> SeqNum {
        let una = self.sender.snd_una();
        let flight = self.sender.flight_size();
        let mss = u32::from(self.sender.mss());
        match self.random.below(8) {
            0 => SeqNum(self.random.next_u32()),
            1 => una,
            2 => self.sender.snd_nxt(),
            3 => una - self.random.below(5 * mss),
            4 => una + self.random.below(flight / mss + 1) * mss,
            _ => una + self.random.below(flight + 1),
        }
    }

    fn hear(&mut self) {
        let mut sack = SackBlocks::EMPTY;
        for _ in 0..self.random.below(5) {
            let (left, right) = (self.number(), self.number());
            sack.push(SackBlock::new(left, right));
        }
        let echo = timestamp_clock(self.now).wrapping_sub(self.random.next_u32() >> 12);
        let ack = Ack {
            ack: self.number(),
            sack: &sack,
            window: self.random.next_u32() >> self.random.below(32),
            segment_seq: SeqNum(self.random.below(10)),
            ts_ecr: (self.random.below(2) == 0).then_some(echo),
            carries_data: self.random.below(2) == 0,
            ece: self.random.below(20) == 0,
        };
        let before = self.sender.snd_una();
        match self.sender.handle_ack(self.now, &ack, None) {
            Ok(outcome) => {
                assert_eq!(self.sender.snd_una().distance(before), outcome.acked);
            }
            Err(_) => assert_eq!(self.sender.snd_una(), before),
        }
    }

    fn send(&mut self) {
        let unsent = self.random.next_u32() >> self.random.below(32);
        let burst = self.random.below(100_000);
        for _ in 0..self.random.below(50) {
            let Some(mut sent) = self.sender.next_transmission(unsent, burst) else {
                break;
            };
            if self.random.below(10) == 0 {
                sent.len = 1 + self.random.below(sent.len);
            }
            let new = sent.seq == self.sender.snd_nxt();
            let fin = new && self.random.below(10) == 0;
            self.sender.on_transmitted(self.now, &sent, fin);
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_nanos(self.random.next_u64() >> (28 + self.random.below(36)));
        match self.random.below(20) {
            0..10 => self.hear(),
            10..16 => self.send(),
            16..19 => {
                if let Some(at) = self.sender.next_timeout()
                    && self.random.below(2) == 0
                {
                    self.now = self.now.max(at);
                }
                self.sender.handle_timeout(self.now);
            }
            _ => match self.random.below(4) {
                0 => self.sender.set_mss(self.random.next_u32() as u16),
                1 => self
                    .sender
                    .set_congestion(Algorithm::ALL[self.random.below(2) as usize]),
                2 => drop(self.sender.info(self.now)),
                _ => drop(self.sender.window_probe(self.random.next_u32())),
            },
        }
        assert!(self.sender.records.iter().count() <= 3 * MAX_RECORDS);
        assert!(self.sender.cwnd() <= MAX_CWND);
        assert!(self.sender.cwnd() >= u32::from(self.sender.mss()));
        assert!(self.sender.next_timeout().is_some() || self.sender.flight_size() == 0);
    }
}

#[test]
fn a_hostile_peer_breaks_nothing() {
    let seeds = std::env::var("ZCN_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(500);
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| {
            let mut storm = Storm::new(seed);
            for _ in 0..500 {
                storm.step();
            }
            let ack = Ack {
                ack: storm.sender.snd_nxt(),
                sack: &[],
                window: 1,
                segment_seq: SeqNum(0),
                ts_ecr: None,
                carries_data: false,
                ece: false,
            };
            storm
                .sender
                .handle_ack(storm.now, &ack, None)
                .expect("what was sent");
            assert_eq!(storm.sender.flight_size(), 0);
            assert_eq!(storm.sender.next_timeout(), None);
        });
        assert!(run.is_ok(), "failed with seed {seed}");
    }
}
