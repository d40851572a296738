//! Random walks: some segments and calls one after the other.

use std::fmt;

use zcn_stack::random::Random;

use super::Outcome;
use super::connection::Connection;
use super::probe::{self, Acked, Probe, Seq, Stamped, URG};
use super::start::Start;
use super::subject::Subject;
use crate::driver::{ACK, FIN, RST, SYN};

/// Numbers from a seed.
struct Numbers(Random);

impl Numbers {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(Random::new(&bytes, "walk"))
    }

    /// One below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0.below(limit as u32) as usize
    }
}

/// One step of a walk.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Segment(Probe),
    /// So many bytes at most.
    Read(usize),
    Write(usize),
    ShutWrite,
    ShutRead,
    Error,
    Close,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(probe) => write!(f, "< {probe}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Where a walk begins, and its steps.
#[derive(Clone, Debug)]
pub struct Walk {
    pub seed: u64,
    pub start: Start,
    pub stamps: bool,
    pub steps: Vec<Step>,
}

/// Where walks begin.
const STARTS: [Start; 6] = [
    Start::Idle,
    Start::IdleActive,
    Start::EstablishedUnread,
    Start::EstablishedHole,
    Start::FinWait2,
    Start::CloseWait,
];

impl Walk {
    /// The walk of a seed, of so many steps.
    pub fn new(seed: u64, length: usize) -> Self {
        let mut numbers = Numbers::new(seed);
        let start = STARTS[numbers.below(STARTS.len())];
        let stamps = numbers.below(2) == 1;
        let mut probes = probe::all(start, stamps);
        probes.retain(is_for_walks);
        let mut steps = Vec::new();
        while steps.len() < length {
            steps.push(match numbers.below(20) {
                0 => Step::ShutWrite,
                1 => Step::ShutRead,
                2 => Step::Error,
                3 if numbers.below(2) == 0 => Step::Close,
                3..=5 => Step::Read(1 + numbers.below(20)),
                6..=8 => Step::Write(1 + numbers.below(10)),
                9..=12 => Step::Segment(next(&mut numbers)),
                _ => {
                    let probe = probes[numbers.below(probes.len())];
                    // Most resets end the walk.
                    if probe.flags & RST != 0 && numbers.below(4) > 0 {
                        continue;
                    }
                    Step::Segment(probe)
                }
            });
        }
        Self {
            seed,
            start,
            stamps,
            steps,
        }
    }
}

/// A segment as it should be, with some data or none.
fn next(numbers: &mut Numbers) -> Probe {
    Probe {
        len: numbers.below(3) * 5,
        flags: ACK,
        ..probe::PLAIN
    }
}

/// Whether a segment is for a walk: the kernel does otherwise with some (`exceptions.rs`), as with
/// a FIN below what came behind a hole, and a SYN would begin something whose timers go on. Of the
/// next segment its header prediction takes data and timestamp whatever it acknowledges.
fn is_for_walks(probe: &Probe) -> bool {
    let old = match probe.ack {
        Acked::Next(by) | Acked::Una(by) => by < 0,
        Acked::Zero => true,
    };
    probe.flags & (URG | FIN) == 0
        && probe.flags & (SYN | ACK) != SYN
        && probe.stamped != Stamped::By(-1)
        && !matches!(probe.seq, Seq::Edge(-10..=0))
        && !(old && (probe.len > 0 || probe.seq == Seq::Next(0)))
}

/// Plays walks side by side, one step of each at a time, and answers what came of each step.
pub fn play(subject: &mut Subject<'_>, walks: &[Walk]) -> Vec<Vec<Outcome>> {
    let mut connections: Vec<Connection> = Vec::new();
    for walk in walks {
        connections.push(walk.start.reach(subject, walk.stamps));
    }
    subject.pause();
    for connection in &mut connections {
        connection.learn(subject);
    }
    let mut told = vec![Vec::new(); walks.len()];
    let length = walks.iter().map(|walk| walk.steps.len()).max();
    for at in 0..length.unwrap_or(0) {
        for (walk, connection) in walks.iter().zip(&mut connections) {
            if connection.snd_una != connection.snd_nxt {
                // Nothing waits to be sent again.
                connection.snd_una = connection.snd_nxt;
                let (next, all) = (connection.rcv_nxt, connection.snd_nxt);
                subject.inject(&connection.segment(ACK, next, all));
            }
            if let Some(step) = walk.steps.get(at) {
                take(*step, connection, subject);
            }
        }
        subject.pause();
        for (told, connection) in told.iter_mut().zip(&mut connections) {
            told.push(connection.follow(subject));
        }
    }
    for connection in &mut connections {
        connection.end(subject);
    }
    subject.sync();
    told
}

fn take(step: Step, connection: &mut Connection, subject: &mut Subject<'_>) {
    let tool = subject.tool;
    if let Step::Segment(probe) = step {
        subject.inject(&probe.segment(connection));
        if let Stamped::By(by @ 1..) = probe.stamped {
            connection.stamp = connection.stamp.wrapping_add_signed(by);
        }
        return;
    }
    let Some(fd) = connection.fd else {
        return;
    };
    let answer = match step {
        Step::Segment(_) => return,
        Step::Read(max) => format!("{:?}", tool.read(fd, max).map(|bytes| bytes.len())),
        Step::Write(len) => format!("{:?}", tool.write(fd, &[7; 10][..len])),
        Step::ShutWrite => format!("{:?}", tool.shutdown(fd, libc::SHUT_WR)),
        Step::ShutRead => format!("{:?}", tool.shutdown(fd, libc::SHUT_RD)),
        Step::Error => {
            let error = tool.option(fd, libc::SOL_SOCKET, libc::SO_ERROR, 4);
            format!("{:?}", error.map(|bytes| bytes[0]))
        }
        Step::Close => {
            connection.fd = None;
            format!("{:?}", tool.close(fd))
        }
    };
    connection.answers.push(format!("{step:?} {answer}"));
}
