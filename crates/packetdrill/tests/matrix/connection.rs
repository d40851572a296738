//! A connection as its peer knows it.

use std::fmt::Write as _;

use super::Outcome;
use super::subject::{LISTENING, Subject};
use crate::driver::{ACK, Segment};

/// What poll(2) is asked for.
const EVERYTHING: i16 =
    libc::POLLIN | libc::POLLPRI | libc::POLLOUT | libc::POLLRDNORM | libc::POLLRDHUP;
/// The window scale that the peer's subject is known to offer.
const SCALE: u32 = 8;
/// The first timestamp of a peer.
pub const STAMP: u32 = 1_000;

pub struct Connection {
    /// The remote port, which names it.
    pub port: u16,
    pub local: u16,
    pub fd: Option<i32>,
    /// The subject's initial sequence number.
    pub iss: u32,
    /// What the subject sends next, and the first that it does not know to have arrived.
    pub snd_nxt: u32,
    pub snd_una: u32,
    /// What the subject expects next.
    pub rcv_nxt: u32,
    /// The first number beyond its window.
    pub edge: u32,
    pub stamps: bool,
    /// The peer's last timestamp, and the last that it has seen.
    pub stamp: u32,
    pub echo: u32,
    /// What calls answered since it was last followed.
    pub answers: Outcome,
}

impl Connection {
    pub fn new(port: u16, stamps: bool) -> Self {
        Self {
            port,
            local: LISTENING,
            fd: None,
            iss: 0,
            snd_nxt: 0,
            snd_una: 0,
            rcv_nxt: 0,
            edge: 0,
            stamps,
            stamp: STAMP,
            echo: 0,
            answers: Outcome::new(),
        }
    }

    /// A segment of the peer's with these flags, in order, which acknowledges up to `ack`.
    pub fn segment(&self, flags: u8, seq: u32, ack: u32) -> Segment {
        let mut segment = Segment::new(flags, seq, if flags & ACK == 0 { 0 } else { ack });
        (segment.from, segment.to) = (self.port, self.local);
        if self.stamps {
            segment.options = stamp_option(self.stamp, self.echo);
        }
        segment
    }

    /// Takes in what the subject sent.
    pub fn learn(&mut self, subject: &mut Subject<'_>) -> Vec<Segment> {
        let left = subject.take(self.port);
        for segment in &left {
            self.note(segment);
        }
        left
    }

    fn note(&mut self, segment: &Segment) {
        use crate::driver::{FIN, RST, SYN};
        if segment.flags & RST != 0 {
            return;
        }
        self.local = segment.from;
        if segment.flags & SYN != 0 {
            self.iss = segment.seq;
            self.snd_una = segment.seq;
        }
        let controls = segment.flags & (SYN | FIN);
        let end = segment
            .seq
            .wrapping_add(segment.payload.len() as u32 + controls.count_ones());
        if end.wrapping_sub(self.snd_nxt).cast_signed() > 0 || segment.flags & SYN != 0 {
            self.snd_nxt = end;
        }
        let shift = if segment.flags & SYN != 0 { 0 } else { SCALE };
        self.edge = segment.ack.wrapping_add(u32::from(segment.window) << shift);
        if let Some(stamp) = stamp_of(&segment.options) {
            self.echo = stamp.0;
        }
    }

    /// What calls answered and what left since the last time; what was acknowledged is known.
    pub fn follow(&mut self, subject: &mut Subject<'_>) -> Outcome {
        let mut told = std::mem::take(&mut self.answers);
        for segment in self.learn(subject) {
            told.push(self.describe(&segment));
            if segment.ack.wrapping_sub(self.rcv_nxt).cast_signed() > 0 {
                self.rcv_nxt = segment.ack;
            }
        }
        told
    }

    /// What left for the peer, in numbers that count from those of the handshake.
    pub fn tell_segments(&mut self, subject: &mut Subject<'_>) -> Outcome {
        let left = subject.take(self.port);
        left.iter().map(|segment| self.describe(segment)).collect()
    }

    fn describe(&self, segment: &Segment) -> String {
        let mut text = String::new();
        for (at, name) in "FSRP.UEC".chars().enumerate() {
            if segment.flags & 1 << at != 0 {
                text.push(name);
            }
        }
        // A reset takes its number from what it answers, a SYN for a new connection from nowhere.
        let seq = if segment.flags & crate::driver::SYN != 0 && segment.seq != self.iss {
            "new".to_owned()
        } else if self.iss == 0 || segment.seq == 0 {
            segment.seq.to_string()
        } else {
            segment.seq.wrapping_sub(self.iss).cast_signed().to_string()
        };
        let _ = write!(
            text,
            " {seq}({}) ack {} opts",
            segment.payload.len(),
            segment.ack.cast_signed()
        );
        for option in options(&segment.options) {
            let _ = match option {
                Part::Single(kind) => write!(text, " {kind}"),
                Part::Full(8, data) if data.len() == 8 => write!(text, " ts(.,{})", words(data)[1]),
                Part::Full(5, data) => write!(text, " sack{:?}", words(data)),
                Part::Full(kind, data) => write!(text, " {kind}{data:?}"),
                Part::Broken => write!(text, " broken"),
            };
        }
        text
    }

    /// What calls answer now, in one of several orders.
    pub fn tell_calls(&mut self, subject: &mut Subject<'_>, at: usize, told: &mut Outcome) {
        if let Some(fd) = subject.accepted(self.port) {
            told.push("accepted".to_owned());
            self.fd = Some(fd);
        }
        let Some(fd) = self.fd else {
            return;
        };
        let tool = subject.tool;
        let info = tool.option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 8);
        told.push(format!("state {:?}", info.map(|info| info[0])));
        told.push(format!("poll {:#x}", tool.poll(fd, EVERYTHING, 0)));
        const ORDERS: [&str; 3] = ["rewr", "erwe", "wrew"];
        for call in ORDERS[at % ORDERS.len()].chars() {
            told.push(match call {
                'r' => format!("read {:?}", tool.read(fd, 100).map(|bytes| bytes.len())),
                'w' => format!("write {:?}", tool.write(fd, &[7; 5])),
                _ => {
                    let error = tool.option(fd, libc::SOL_SOCKET, libc::SO_ERROR, 4);
                    format!("error {:?}", error.map(|bytes| bytes[0]))
                }
            });
        }
    }

    /// Ends it without a trace.
    pub fn end(&mut self, subject: &mut Subject<'_>) {
        if let Some(fd) = self.fd.take() {
            let linger = [1_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
            let tool = subject.tool;
            let _ = tool.set(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
            let _ = tool.close(fd);
        }
    }
}

pub fn stamp_option(value: u32, echo: u32) -> Vec<u8> {
    let mut option = vec![1, 1, 8, 10];
    option.extend(value.to_be_bytes());
    option.extend(echo.to_be_bytes());
    option
}

/// Value and echo of a timestamps option.
fn stamp_of(bytes: &[u8]) -> Option<(u32, u32)> {
    options(bytes).find_map(|option| match option {
        Part::Full(8, data) if data.len() == 8 => Some((words(data)[0], words(data)[1])),
        _ => None,
    })
}

/// One of TCP's options.
enum Part<'a> {
    Single(u8),
    /// Its kind, and what follows the length.
    Full(u8, &'a [u8]),
    Broken,
}

fn options(mut rest: &[u8]) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        let (&kind, after) = rest.split_first()?;
        if kind < 2 {
            rest = after;
            return Some(Part::Single(kind));
        }
        let len = after.first().copied().map_or(0, usize::from);
        if len < 2 || len > rest.len() {
            rest = &[];
            return Some(Part::Broken);
        }
        let data = &rest[2..len];
        rest = &rest[len..];
        Some(Part::Full(kind, data))
    })
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| u32::from_be_bytes(*word)).collect()
}
