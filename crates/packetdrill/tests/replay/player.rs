//! Plays a script on sockets behind the tool's table: in the virtual time of the plugin, or in
//! the real time of the kernel.

use std::collections::VecDeque;

use zcn_wire::{OptionLayout, TcpFlags, TcpRepr, TcpView};

use super::action::{Action, Line, Script, Segment as Wanted};
use super::driver::{Segment, Tool};
use super::judge::{Flows, Left, take};
use super::plan::Plan;
use super::probe::EcnWord;

/// Microseconds of one sleep.
const MAX_SLEEP: u64 = 1_000_000_000;

/// How exactly times are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Nanoseconds that a segment may be early, and late, and by how many hundredths of its wait.
    pub(crate) early: (u64, u64),
    pub(crate) late: (u64, u64),
    /// Microseconds from look to look.
    pub(crate) step: u32,
    /// Whether what is told beside segments (under `/proc`) can be asked.
    pub(crate) real: bool,
}

pub(crate) struct Player<'a> {
    pub(crate) tool: &'a Tool,
    pub(crate) plan: &'a Plan,
    pub(crate) clock: Clock,
    pub(crate) flows: Flows,
    pub(crate) listener: Option<i32>,
    /// In the order in which they were made; one that was closed stays.
    pub(crate) sockets: Vec<Socket>,
    pub(crate) fences: u32,
    /// How the subject's TCP_INFO tells of ECN.
    pub(crate) ecn: EcnWord,
    out: VecDeque<Left>,
}

#[derive(Clone, Debug)]
pub(crate) struct Socket {
    pub(crate) fd: i32,
    pub(crate) open: bool,
    pub(crate) sent: u64,
    pub(crate) read: u64,
}

impl<'a> Player<'a> {
    pub(crate) fn new(tool: &'a Tool, plan: &'a Plan, clock: Clock) -> Self {
        let mut flows = Flows::new(plan.peer_isn);
        if clock.real {
            flows.stamp_tolerance = (30, 14);
        }
        Self {
            tool,
            plan,
            clock,
            flows,
            listener: None,
            sockets: Vec::new(),
            fences: 0,
            ecn: if clock.real {
                EcnWord::of_the_kernel()
            } else {
                EcnWord::Halves
            },
            out: VecDeque::new(),
        }
    }

    /// Plays all lines; the error begins with the number of one.
    pub(crate) fn run(&mut self, script: &Script) -> Result<(), String> {
        let mut last = self.now();
        for line in &script.lines {
            last = match self.step(line, last) {
                Ok(last) => last,
                Err(error) => return Err(format!("{}: {error}{}", line.number, self.rest())),
            };
        }
        self.collect();
        match self.out.front() {
            Some(left) => Err(format!(
                "at the end, unexpected: {}",
                self.flows.describe(left)
            )),
            None => Ok(()),
        }
    }

    /// What leaves after what was expected, to find out why.
    fn rest(&mut self) -> String {
        self.tool.sleep(300_000);
        self.collect();
        let texts = self.out.iter().map(|left| self.flows.describe(left));
        texts.map(|text| format!("\n      then {text}")).collect()
    }

    /// Nanoseconds.
    fn now(&self) -> u64 {
        self.tool.clock() as u64 * 1_000
    }

    fn sleep_until(&self, time: u64) {
        loop {
            let rest = time.saturating_sub(self.now()) / 1_000;
            if rest == 0 {
                return;
            }
            self.tool.sleep(rest.min(MAX_SLEEP) as u32);
        }
    }

    fn step(&mut self, line: &Line, last: u64) -> Result<u64, String> {
        let from = last + line.time.0;
        if let Action::Out(segment) = &line.action {
            return self.expect(segment, line.time, last);
        }
        self.sleep_until(from);
        let began = self.now();
        match &line.action {
            Action::In(segment) => self.inject(segment),
            Action::Call(verb, socket, arguments, result) => {
                self.call(verb, *socket, arguments, result.as_deref())?;
            }
            Action::Silence | Action::Out(_) => {
                self.collect();
                if let Some(left) = self.out.front() {
                    return Err(format!(
                        "expected silence, left {:.3} s before its end: {}",
                        began.saturating_sub(left.at) as f64 / 1e9,
                        self.flows.describe(left)
                    ));
                }
            }
        }
        // What comes next is timed from when this was done; virtual time need not drift.
        Ok(if self.clock.real {
            began.max(from)
        } else {
            from
        })
    }

    /// Takes what has left by now.
    fn collect(&mut self) {
        self.fences += 1;
        for (packet, at) in self.tool.fence_packets() {
            let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
            // Checks the checksums.
            let class = Segment::parse(&packet).traffic_class;
            let view = TcpView::new(&packet[header..]).expect("a segment");
            self.out.push_back(Left {
                at: at as u64 * 1_000,
                tcp: TcpRepr::parse(&view),
                payload: view.payload().to_vec(),
                traffic_class: class,
            });
        }
    }

    fn expect(&mut self, wanted: &Wanted, time: (u64, u64), last: u64) -> Result<u64, String> {
        let (from, to) = (last + time.0, last + time.1);
        let lenient = |(fixed, share): (u64, u64), wait: u64| fixed + wait / 100 * share;
        let earliest = from.saturating_sub(lenient(self.clock.early, time.0));
        let latest = to + lenient(self.clock.late, time.1);
        self.collect();
        if self.out.is_empty() {
            self.sleep_until(earliest);
            self.collect();
        }
        while self.have() < wanted.len.max(1) {
            let now = self.now();
            if now > latest {
                break;
            }
            self.tool.sleep(self.clock.step);
            self.collect();
        }
        let Some(mut got) = take(&mut self.out, wanted.len) else {
            let state = self.sockets.first().and_then(|socket| self.state(socket));
            return Err(format!(
                "expected a segment, nothing left (state {state:?})"
            ));
        };
        if !self.plan.autosize && !got.payload.is_empty() {
            // Where super-frames end, PSH is.
            let push = wanted.flags.without(wanted.flags.without(TcpFlags::PSH));
            got.tcp.flags = got.tcp.flags.without(TcpFlags::PSH) | push;
        }
        self.flows.compare(wanted, &got)?;
        if got.at < earliest || got.at > latest {
            return Err(format!(
                "left after {:.3} s, expected after {:.3} to {:.3}: {}",
                got.at.saturating_sub(last) as f64 / 1e9,
                time.0 as f64 / 1e9,
                time.1 as f64 / 1e9,
                self.flows.describe(&got)
            ));
        }
        Ok(if self.clock.real {
            got.at.max(last)
        } else {
            from.max(got.at.min(to))
        })
    }

    /// Bytes that have left and were not expected yet, an empty segment being one.
    fn have(&self) -> u32 {
        let lengths = self.out.iter().map(|left| left.payload.len().max(1) as u32);
        lengths.sum()
    }

    fn inject(&mut self, wanted: &Wanted) {
        let (tcp, payload) = self.flows.segment(wanted);
        let mut header = [0; 60];
        let len = tcp
            .emit(OptionLayout::Linux, &mut header)
            .expect("a header that can be written");
        let segment = Segment {
            from: tcp.src_port,
            to: tcp.dst_port,
            seq: tcp.seq.0,
            ack: tcp.ack.0,
            flags: header[13],
            accurate: header[12] & 1 != 0,
            window: tcp.window,
            urgent: tcp.urgent,
            options: header[20..len].to_vec(),
            payload,
            traffic_class: wanted.ecn,
        };
        self.tool.inject(&match self.plan.ipv6 {
            true => segment.v6(),
            false => segment.v4(),
        });
    }
}
