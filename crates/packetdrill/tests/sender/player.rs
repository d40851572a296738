//! Plays scenarios side by side on the stack or on the kernel.

use std::fmt::Write as _;

use super::matrix::subject::{LISTENING, Subject};
use super::probe::{EcnWord, field};
use super::scenario::{Ack, Op, Scenario, Segments};
use crate::driver::{ACK, FIN, PSH, RST, SYN, Segment, pattern};

/// A round trip of the handshake, and what passes after the first line and after others. The first is
/// the longest, so that the smoothed time is longer than any other, and the second the shortest, so that
/// none is below the least: what is judged by either does not depend on how busy the machine is.
const HANDSHAKE_MICROS: u32 = 200_000;
const FIRST_LINE_MICROS: i64 = 30_000;
const LINE_MICROS: i64 = 80_000;
/// From look to look.
const STEP_MICROS: u32 = 1_000;
/// How long what must leave may take.
const PATIENCE_MICROS: i64 = 20_000_000;
/// Window scale of the peer.
const SCALE: u8 = 3;
const ECE: u8 = 64;
const CWR: u8 = 128;

/// What is compared of `TCP_INFO`.
const FIELDS: [&str; 20] = [
    "snd_cwnd",
    "snd_ssthresh",
    "ca_state",
    "unacked",
    "sacked",
    "lost",
    "retrans",
    "retransmits",
    "backoff",
    "probes",
    "snd_mss",
    "pmtu",
    "reordering",
    "reord_seen",
    "dsack_dups",
    "total_retrans",
    "delivered",
    "delivered_ce",
    "notsent_bytes",
    "snd_wnd",
];

/// What came of a line: of each operation one line, and one of the time after them.
pub(crate) type Told = Vec<String>;

/// A connection on its way through a scenario.
pub(crate) struct Playing<'a> {
    scenario: &'a Scenario,
    port: u16,
    fd: Option<i32>,
    iss: u32,
    /// What the peer sends next, and the last acknowledgement it sent.
    seq: u32,
    last: Ack,
    window: u32,
    stamp: u32,
    /// The timestamps of all data segments.
    stamps: Vec<u32>,
    written: u32,
    /// Highest number seen, from the first byte.
    pub sent: u32,
    at: usize,
    due: i64,
    awaited: usize,
    ending: bool,
    told: Vec<Told>,
}

impl<'a> Playing<'a> {
    fn new(scenario: &'a Scenario, port: u16) -> Self {
        Self {
            scenario,
            port,
            fd: None,
            iss: 0,
            seq: 1,
            last: Ack::default(),
            window: scenario.settings.window,
            stamp: 1_000,
            stamps: Vec::new(),
            written: 0,
            sent: 0,
            at: 0,
            due: 0,
            awaited: 0,
            ending: false,
            told: Vec::new(),
        }
    }

    fn segment(&mut self, flags: u8, ack: u32) -> Segment {
        let mut segment = Segment::new(flags, self.seq, if flags & ACK == 0 { 0 } else { ack });
        (segment.from, segment.to) = (self.port, LISTENING);
        segment.window = (self.window >> SCALE).min(65_535) as u16;
        segment
    }

    fn stamp_option(&mut self, echo: u32) -> Vec<u8> {
        self.stamp += 1;
        let mut option = vec![1, 1, 8, 10];
        option.extend(self.stamp.to_be_bytes());
        option.extend(echo.to_be_bytes());
        option
    }

    fn syn(&mut self) -> Segment {
        let settings = &self.scenario.settings;
        let mut options = vec![2, 4, (settings.mss >> 8) as u8, settings.mss as u8];
        match (settings.sack, settings.stamps) {
            (true, false) => options.extend([1, 1, 4, 2]),
            (false, false) => {}
            (sack, true) => {
                options.extend(if sack { [4, 2] } else { [1, 1] });
                options.extend([8, 10, 0, 0, 3, 232, 0, 0, 0, 0]);
            }
        }
        options.extend([1, 3, 3, SCALE]);
        let flags = if settings.ecn { SYN | ECE | CWR } else { SYN };
        let window = self.window.min(65_535) as u16;
        self.seq = 0;
        let mut syn = self.segment(flags, 0).options(&options);
        syn.window = window;
        self.seq = 1;
        syn
    }

    /// Takes in what left; answers it as text.
    fn collect(&mut self, subject: &mut Subject<'_>) -> String {
        let mut text = String::new();
        for segment in subject.take(self.port) {
            self.note(&segment, &mut text);
        }
        text
    }

    fn note(&mut self, segment: &Segment, text: &mut String) {
        if segment.flags & SYN != 0 {
            self.iss = segment.seq;
            self.note_stamp(segment);
            return;
        }
        let at = segment.seq.wrapping_sub(self.iss).wrapping_sub(1);
        let len = segment.payload.len() as u32;
        let _ = write!(text, " {}", Segments(at.cast_signed().into()));
        if len > 0 {
            let end = at.wrapping_add(len);
            let _ = write!(text, "-{}", Segments(end.into()));
            self.sent = self.sent.max(end);
            for (index, byte) in segment.payload.iter().enumerate() {
                assert_eq!(
                    *byte,
                    ((at as usize + index) % 251) as u8,
                    "the bytes written"
                );
            }
            self.note_stamp(segment);
        }
        for (flag, name) in [(FIN, 'F'), (RST, 'R'), (ECE, 'E'), (CWR, 'C')] {
            if segment.flags & flag != 0 {
                text.push(name);
            }
        }
        if self.scenario.settings.push && segment.flags & PSH != 0 {
            text.push('P');
        }
        if segment.flags & FIN != 0 {
            self.sent = self.sent.max(at.wrapping_add(len).wrapping_add(1));
        }
        if self.scenario.settings.ecn && segment.traffic_class & 3 != 0 {
            text.push('e');
        }
    }

    fn note_stamp(&mut self, segment: &Segment) {
        let mut options = &segment.options[..];
        while let [kind, rest @ ..] = options {
            if *kind < 2 {
                options = rest;
                continue;
            }
            if let [8, 10, value @ ..] = options {
                let word = value.first_chunk().expect("a whole option");
                self.stamps.push(u32::from_be_bytes(*word));
            }
            options = &options[usize::from(options[1])..];
        }
    }

    fn acknowledge(&mut self, subject: &Subject<'_>, ack: &Ack) {
        if let Some(window) = ack.window {
            self.window = window;
        }
        let number = |bytes: u32| self.iss.wrapping_add(1).wrapping_add(bytes);
        let mut flags = ACK;
        if ack.ece {
            flags |= ECE;
        }
        if ack.fin {
            flags |= FIN;
        }
        if ack.data > 0 {
            flags |= PSH;
        }
        let mut options = Vec::new();
        if !ack.sack.is_empty() {
            options.extend([1, 1, 5, 2 + 8 * ack.sack.len() as u8]);
            for (left, right) in &ack.sack {
                options.extend(number(*left).to_be_bytes());
                options.extend(number(*right).to_be_bytes());
            }
        }
        let number = number(ack.ack);
        if self.scenario.settings.stamps {
            // The SYN-ACK's is the first.
            let echo = match ack.echo {
                Some(at) => self.stamps.get(at + 1),
                None => self.stamps.last(),
            };
            let echo = echo.copied().unwrap_or_default();
            options.splice(0..0, self.stamp_option(echo));
        }
        let mut segment = self.segment(flags, number).options(&options);
        segment.payload = vec![0; ack.data as usize];
        subject.inject(&segment);
        self.seq = self.seq.wrapping_add(ack.data + u32::from(ack.fin));
        self.last = Ack {
            ack: ack.ack,
            ..Ack::default()
        };
    }

    fn act(&mut self, op: &Op, subject: &mut Subject<'_>) -> String {
        let tool = subject.tool;
        let Some(fd) = self
            .fd
            .filter(|_| !matches!(op, Op::Ack(_) | Op::Duplicate))
        else {
            match op {
                Op::Ack(ack) => self.acknowledge(subject, ack),
                Op::Duplicate => self.acknowledge(subject, &self.last.clone()),
                _ => {}
            }
            return String::new();
        };
        let answer = match op {
            Op::Write(len, flags) => {
                let end = (self.written + len) as usize;
                let bytes = &pattern(end)[self.written as usize..];
                let sent = tool.send(fd, bytes, *flags);
                if let Ok(count) = sent {
                    self.written += count as u32;
                }
                sent.map(|count| count as i32)
            }
            Op::Option(name, value) => tool.set(fd, libc::IPPROTO_TCP, *name, &value.to_ne_bytes()),
            Op::SendBuffer(size) => {
                tool.set_send_buffer(fd, *size);
                Ok(0)
            }
            Op::Shut => tool.shutdown(fd, libc::SHUT_WR),
            Op::Close => {
                self.fd = None;
                tool.close(fd)
            }
            Op::TooBig(mtu, at) => {
                let seq = self.iss.wrapping_add(1).wrapping_add(*at);
                let mut about = Segment::new(ACK, seq, self.seq);
                (about.from, about.to) = (LISTENING, self.port);
                about.payload = vec![0; 1_000];
                tool.inject(&about.icmp(false, 3, 4, *mtu));
                Ok(0)
            }
            Op::Await(_) | Op::Wait(_) | Op::Ack(_) | Op::Duplicate => Ok(0),
        };
        match answer {
            Ok(0) => String::new(),
            other => format!(" = {other:?}"),
        }
    }

    /// What leaves and how the sender stands.
    fn tell(&mut self, subject: &mut Subject<'_>, what: &str) {
        let left = self.collect(subject);
        let mut line = format!("{what} >{left} |");
        if let Some(fd) = self.fd {
            let info = subject
                .tool
                .option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 256);
            let info = info.expect("a connection");
            for name in FIELDS {
                let value = field(&info, name, EcnWord::Halves).expect("a field");
                let plain = match name {
                    "snd_ssthresh" => 0x7fff_ffff,
                    "reordering" => 3,
                    _ => 0,
                };
                // Ours is in bytes, the kernel's in segments of any size.
                let window = matches!(name, "snd_cwnd" | "snd_ssthresh");
                if value != plain && !(self.scenario.settings.small && window) {
                    let _ = write!(line, " {name} {value}");
                }
            }
        }
        self.told.last_mut().expect("a line").push(line);
    }

    /// Begins the next line. False: there is none.
    fn begin(&mut self, subject: &mut Subject<'_>) -> bool {
        let scenario = self.scenario;
        let Some(line) = scenario.lines.get(self.at) else {
            return false;
        };
        self.at += 1;
        self.told.push(Told::new());
        self.awaited = 0;
        let mut pause = match self.at {
            1 => FIRST_LINE_MICROS,
            _ => LINE_MICROS,
        };
        for op in line {
            // Nothing happens at the very same time as something else.
            subject.tool.sleep(20);
            match op {
                Op::Await(count) => {
                    self.awaited = *count;
                    pause = PATIENCE_MICROS;
                }
                Op::Wait(millis) => pause = i64::from(*millis) * 1_000,
                _ => {
                    let answer = self.act(op, subject);
                    subject.sync();
                    self.tell(subject, &format!("{op}{answer}"));
                }
            }
        }
        self.due = subject.tool.clock() + pause;
        true
    }

    /// Ends the connection.
    fn end(&mut self, subject: &mut Subject<'_>) {
        let seq = self.seq;
        let mut reset = self.segment(RST | ACK, self.iss.wrapping_add(1));
        reset.seq = seq;
        if self.scenario.settings.stamps {
            reset.options = self.stamp_option(0);
        }
        subject.inject(&reset);
        if let Some(fd) = self.fd.take() {
            let _ = subject.tool.close(fd);
        }
    }
}

/// Plays all of them, and answers what came of each line of each.
pub(crate) fn play(scenarios: &[&Scenario], subject: &mut Subject<'_>) -> Vec<Vec<Told>> {
    let tool = subject.tool;
    let mut playing: Vec<Playing<'_>> = Vec::new();
    for scenario in scenarios {
        let mut it = Playing::new(scenario, subject.port());
        let syn = it.syn();
        subject.inject(&syn);
        playing.push(it);
    }
    subject.sync();
    tool.sleep(HANDSHAKE_MICROS);
    for it in &mut playing {
        it.collect(subject);
        it.acknowledge(subject, &Ack::default());
        subject.sync();
        subject.accept_all();
        it.fd = subject.accepted(it.port);
        let fd = it.fd.expect("accepted");
        let congestion: &[u8] = if it.scenario.settings.cubic {
            b"cubic"
        } else {
            b"reno"
        };
        let set = tool.set(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, congestion);
        assert_eq!(set, Ok(0), "congestion control");
        it.due = tool.clock() + LINE_MICROS;
    }
    loop {
        let mut over = true;
        for it in &mut playing {
            if it.ending {
                continue;
            }
            over = false;
            let now = tool.clock();
            if it.awaited > 0 && subject.waiting(it.port) >= it.awaited {
                // What answers it comes a round trip later.
                (it.awaited, it.due) = (0, now + LINE_MICROS);
            }
            if now < it.due {
                continue;
            }
            if it.at > 0 {
                it.tell(subject, "after");
            }
            if !it.begin(subject) {
                it.end(subject);
                it.ending = true;
            }
        }
        if over {
            break;
        }
        tool.sleep(STEP_MICROS);
        subject.sync();
    }
    subject.sync();
    playing.into_iter().map(|it| it.told).collect()
}
