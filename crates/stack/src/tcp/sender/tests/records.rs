//! The records against the plainest model: the marks of every single number.

use zcn_wire::{SackBlock, SeqNum};

use crate::random::Random;
use crate::tcp::sender::records::{Record, Records};
use crate::time::Instant;

const MSS: u16 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    sacked: bool,
    lost: bool,
    again: bool,
}

/// The numbers from `base` on.
struct Model {
    base: SeqNum,
    marks: Vec<Marks>,
}

impl Model {
    fn of(records: &Records, base: SeqNum) -> Self {
        let marks = records
            .iter()
            .flat_map(|r| {
                let marks = Marks {
                    sacked: r.is_sacked(),
                    lost: r.is_lost(),
                    again: r.is_retransmitted(),
                };
                std::iter::repeat_n(marks, r.len as usize)
            })
            .collect();
        Self { base, marks }
    }

    fn count(&self, what: impl Fn(&Marks) -> bool) -> u32 {
        self.marks.iter().filter(|m| what(m)).count() as u32
    }
}

fn assert_same(records: &Records, model: &Model) {
    let real = Model::of(records, model.base);
    assert_eq!(real.marks, model.marks);
    assert_eq!(records.outstanding(), model.marks.len() as u32);
    assert_eq!(records.sacked(), model.count(|m| m.sacked));
    assert_eq!(records.lost(), model.count(|m| m.lost));
    assert_eq!(records.retransmitted(), model.count(|m| m.again));
    let pipe = model.count(|m| !m.sacked && !m.lost) + model.count(|m| m.again);
    assert_eq!(records.pipe(), pipe);
    records.check(true);
    let mut expected = model.base;
    for record in records.iter() {
        assert_eq!(record.seq, expected, "a gap");
        assert!(record.len > 0);
        expected = record.end();
    }
    // Runs of SACKed numbers are one record each.
    let mut last = false;
    for record in records.iter() {
        assert!(!(last && record.is_sacked()), "neighbours not joined");
        last = record.is_sacked();
    }
}

fn random_operations(seed: u64) {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = &mut Random::new(&bytes, "records");
    let mut records = Records::default();
    let mut model = Model {
        base: SeqNum(u32::MAX - random.below(2_000)),
        marks: Vec::new(),
    };
    let mss = u32::from(MSS);
    for step in 0..200 {
        let len = model.marks.len() as u32;
        match random.below(7) {
            0 | 1 => {
                let segments = (random.below(8) + 1) * mss;
                let now = Instant::from_millis(step);
                records.push(Record::new(model.base + len, segments, MSS, false, now));
                model
                    .marks
                    .extend(std::iter::repeat_n(Marks::default(), segments as usize));
            }
            2 if len > 0 => {
                // Acknowledged at a segment's edge, so that blocks stay whole segments.
                let acked = random.below(len / mss + 1) * mss;
                let mut seen = 0;
                records.acknowledge(model.base + acked, |piece| seen += piece.len);
                assert_eq!(seen, acked);
                model.base += acked;
                model.marks.drain(..acked as usize);
            }
            3 | 4 if len > 0 => {
                let left = random.below(len);
                let right = left + 1 + random.below(len - left);
                let block = SackBlock::new(model.base + left, model.base + right);
                let mut seen = 0;
                records.sack(block, |piece| {
                    assert!(!piece.is_sacked());
                    seen += piece.len;
                });
                // Only whole segments count.
                let (from, to) = (left.next_multiple_of(mss), right / mss * mss);
                let mut fresh = 0;
                for at in from..to.max(from) {
                    let marks = &mut model.marks[at as usize];
                    fresh += u32::from(!marks.sacked);
                    *marks = Marks {
                        sacked: true,
                        ..Marks::default()
                    };
                }
                assert_eq!(seen, fresh);
            }
            5 if len > 0 => {
                let at = model.base + random.below(len);
                let index = records.find(at).expect("in flight");
                let record = *records.get(index).expect("found");
                assert!(at.in_window(record.seq, record.len));
                if record.is_sacked() {
                    continue;
                }
                records.mark_lost(index);
                let from = record.seq.distance(model.base) as usize;
                for marks in &mut model.marks[from..from + record.len as usize] {
                    *marks = Marks {
                        lost: true,
                        again: false,
                        sacked: false,
                    };
                }
            }
            6 => {
                let expected = model.marks.iter().position(|m| m.lost && !m.again);
                let found = records.next_lost();
                let Some(index) = found else {
                    assert_eq!(expected, None);
                    continue;
                };
                let record = *records.get(index).expect("found");
                let from = record.seq.distance(model.base);
                assert_eq!(Some(from as usize), expected);
                let run = records.lost_run(index, u32::from(MSS), u32::MAX, true);
                let waiting = model.marks[from as usize..]
                    .iter()
                    .take_while(|m| m.lost && !m.again);
                assert_eq!(run as usize, waiting.count());
                let len = (random.below(run / mss) + 1) * mss;
                records.reshape(index, len);
                records.mark_retransmitted(index, MSS, Instant::from_millis(step));
                for marks in &mut model.marks[from as usize..(from + len) as usize] {
                    marks.again = true;
                }
            }
            _ => {}
        }
        assert_same(&records, &model);
    }
    records.unmark_lost();
    records.unmark_sacked();
    assert_eq!((records.lost(), records.sacked()), (0, 0));
}

#[test]
fn records_agree_with_a_mark_for_every_number() {
    for seed in 0..500 {
        let run = std::panic::catch_unwind(|| random_operations(seed));
        assert!(run.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_fin_is_counted_with_the_segment_that_carries_it() {
    let segments = |len, fin| Record::new(SeqNum(0), len, MSS, fin, Instant::ZERO).segments();
    assert_eq!(segments(10, false), 1);
    assert_eq!(segments(11, false), 2);
    assert_eq!(segments(11, true), 1);
    assert_eq!(segments(1, true), 1);
}
