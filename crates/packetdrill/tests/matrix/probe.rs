//! The segments that a connection meets.

use std::fmt;

use super::connection::{Connection, stamp_option};
use super::start::{Start, syn_options};
use crate::driver::{ACK, FIN, PSH, RST, SYN, Segment};

pub const URG: u8 = 32;

/// Where a sequence number lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seq {
    /// So far from `RCV.NXT`.
    Next(i32),
    /// So far from the first number beyond the window.
    Edge(i32),
}

/// What is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    /// So far from `SND.NXT`.
    Next(i32),
    /// So far from `SND.UNA`.
    Una(i32),
    Zero,
}

/// The timestamp of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamped {
    /// As the connection has it.
    Usual,
    /// So much later than the last one.
    By(i32),
    /// Contrary to what the connection has.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub flags: u8,
    pub seq: Seq,
    pub ack: Acked,
    pub len: usize,
    pub stamped: Stamped,
}

/// In order, acknowledging all, without data.
pub const PLAIN: Probe = Probe {
    flags: ACK,
    seq: Seq::Next(0),
    ack: Acked::Next(0),
    len: 0,
    stamped: Stamped::Usual,
};

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in "FSRP.U".chars().enumerate() {
            if self.flags & 1 << at != 0 {
                write!(f, "{name}")?;
            }
        }
        let Self { seq, ack, len, .. } = self;
        write!(f, " seq {seq:?} len {len} ack {ack:?}")?;
        match self.stamped {
            Stamped::Usual => Ok(()),
            other => write!(f, " stamp {other:?}"),
        }
    }
}

impl Probe {
    /// The segment for this connection.
    pub fn segment(&self, it: &Connection) -> Segment {
        let seq = match self.seq {
            Seq::Next(by) => it.rcv_nxt.wrapping_add_signed(by),
            Seq::Edge(by) => it.edge.wrapping_add_signed(by),
        };
        let ack = match self.ack {
            Acked::Next(by) => it.snd_nxt.wrapping_add_signed(by),
            Acked::Una(by) => it.snd_una.wrapping_add_signed(by),
            Acked::Zero => 0,
        };
        let mut segment = it.segment(self.flags, seq, ack).payload(&vec![9; self.len]);
        // Without ACK the field means nothing, whatever it says.
        segment.ack = ack;
        segment.options = match self.stamped {
            _ if self.flags & SYN != 0 => syn_options(it),
            Stamped::Usual => segment.options,
            Stamped::By(by) => stamp_option(it.stamp.wrapping_add_signed(by), it.echo),
            Stamped::Other if it.stamps => Vec::new(),
            Stamped::Other => stamp_option(it.stamp, it.echo),
        };
        if self.flags & URG != 0 {
            segment.urgent = self.len as u16;
        }
        segment
    }
}

const FAR: i32 = i32::MIN;

/// Flags that mean something.
const FLAGS: [u8; 10] = [
    0,
    ACK,
    ACK | PSH,
    FIN | ACK,
    FIN,
    SYN,
    SYN | ACK,
    RST,
    RST | ACK,
    SYN | RST,
];

/// All probes for a state.
pub fn all(start: Start, stamps: bool) -> Vec<Probe> {
    let mut probes = Vec::new();
    for flags in 0..64 {
        for len in [0, 10] {
            probes.push(Probe {
                flags,
                len,
                ..PLAIN
            });
        }
    }
    let seqs = [
        Seq::Next(-11),
        Seq::Next(-10),
        Seq::Next(-5),
        Seq::Next(-1),
        Seq::Next(0),
        Seq::Next(1),
        Seq::Next(10),
        Seq::Next(20),
        Seq::Next(FAR),
        Seq::Next(FAR + 1),
        Seq::Next(-1_000_000),
        Seq::Edge(-10),
        Seq::Edge(-1),
        Seq::Edge(0),
        Seq::Edge(1),
        Seq::Edge(1_000_000),
    ];
    let acks = [
        Acked::Next(-1),
        Acked::Next(0),
        Acked::Next(1),
        Acked::Next(FAR),
        Acked::Una(-1),
        Acked::Una(0),
        Acked::Una(-100_000),
        Acked::Zero,
    ];
    for flags in FLAGS {
        for seq in seqs {
            for len in [0, 1, 10] {
                probes.push(Probe {
                    flags,
                    seq,
                    len,
                    ..PLAIN
                });
            }
        }
        for ack in acks {
            for len in [0, 10] {
                for seq in [Seq::Next(0), Seq::Next(-5), Seq::Next(5)] {
                    let stamped = Stamped::Usual;
                    probes.push(Probe {
                        flags,
                        seq,
                        ack,
                        len,
                        stamped,
                    });
                }
            }
        }
        if !start.is_synchronised() {
            continue;
        }
        for stamped in [
            Stamped::Other,
            Stamped::By(-1),
            Stamped::By(1),
            Stamped::By(-500_000),
        ] {
            if !stamps && stamped != Stamped::Other {
                continue;
            }
            for seq in [Seq::Next(0), Seq::Next(-10), Seq::Next(5), Seq::Edge(1)] {
                for len in [0, 10] {
                    probes.push(Probe {
                        flags,
                        seq,
                        len,
                        stamped,
                        ..PLAIN
                    });
                }
            }
        }
    }
    probes
}
