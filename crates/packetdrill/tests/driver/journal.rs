//! What a script sees of its subject, written down: the same scenario on the kernel and on the plugin
//! has the same lines.

use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, mpsc};

use super::kernel::{self, Settings};
use super::{ACK, Answer, SYN, Segment, Tool};

/// The subject's port, and the script's.
const LOCAL: &str = "192.168.0.1:8080";
pub const REMOTE: &str = "192.0.2.1:40000";
const PORT: u16 = 40_000;
/// What poll(2) is asked for.
const EVERYTHING: i16 =
    libc::POLLIN | libc::POLLPRI | libc::POLLOUT | libc::POLLRDNORM | libc::POLLRDHUP;
const SIOCINQ: u64 = 0x541b;
const SIOCOUTQ: u64 = 0x5411;
/// A state, as TCP_INFO has it.
const CLOSED: u8 = 7;

/// How often the kernel may play until it does as we do.
const TRIES: usize = 4;
/// Held by the test that plays on the kernel.
static ALONE: Mutex<()> = Mutex::new(());

/// A subject, and what was noted of it.
pub struct Journal<'a> {
    pub tool: &'a Tool,
    lines: Vec<String>,
    /// The subject's initial sequence number; that of the script is 0.
    pub iss: u32,
    /// The last timestamp of the subject.
    pub stamp: u32,
    /// Whence segments come that say nothing else.
    pub port: u16,
    /// Whether windows are noted.
    pub windows: bool,
}

impl<'a> Journal<'a> {
    fn new(tool: &'a Tool) -> Self {
        Self {
            tool,
            lines: Vec::new(),
            iss: 0,
            stamp: 0,
            port: PORT,
            windows: true,
        }
    }

    /// Notes what a call answered.
    pub fn note(&mut self, what: &str, answer: impl Debug) {
        self.lines.push(format!("{what}: {answer:?}"));
    }

    /// Notes where the scenario is.
    pub fn head(&mut self, text: &str) {
        self.lines.push(format!("-- {text}"));
    }

    /// A socket that does not block, at the local port.
    pub fn bound(&mut self) -> i32 {
        let fd = self.tool.socket(false);
        self.tool.nonblocking(fd);
        let reuse = self.int(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        assert_eq!(reuse, Ok(0));
        self.tool.bind(fd, LOCAL).expect("bound");
        fd
    }

    /// Calls connect(2) to the script's side, and notes its answer.
    pub fn connects(&mut self, fd: i32) {
        self.note("connect", self.tool.connect(fd, REMOTE));
    }

    /// Sets an option that is an int.
    pub fn int(&mut self, fd: i32, level: i32, name: i32, value: i32) -> Answer<i32> {
        self.tool.set(fd, level, name, &value.to_ne_bytes())
    }

    /// An option that is an int.
    pub fn get(&self, fd: i32, level: i32, name: i32) -> Answer<i32> {
        let bytes = self.tool.option(fd, level, name, 4)?;
        Ok(bytes.first_chunk().copied().map_or(-77, i32::from_ne_bytes))
    }

    /// Closes a socket at once (SO_LINGER of 0), and notes what leaves.
    pub fn abort(&mut self, fd: i32) {
        let linger = [1_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
        let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
        assert_eq!(self.tool.set(fd, level, name, &linger), Ok(0));
        self.note("close", self.tool.close(fd));
        self.left();
    }

    /// Lets a segment of the script's arrive; `ack` counts from the subject's initial number.
    pub fn inject(&mut self, mut segment: Segment) {
        if segment.flags & ACK != 0 {
            segment.ack = segment.ack.wrapping_add(self.iss);
        }
        if segment.from == PORT {
            segment.from = self.port;
        }
        self.tool.inject(&segment.v4());
    }

    /// Notes all that has left by now.
    pub fn left(&mut self) -> Vec<Segment> {
        let left = self.tool.fence();
        for segment in &left {
            self.note_segment(segment);
        }
        if left.is_empty() {
            self.lines.push("> nothing".to_owned());
        }
        left
    }

    /// Waits for a segment, and notes it.
    pub fn next(&mut self) -> Segment {
        let (segment, _) = self.tool.expect();
        self.note_segment(&segment);
        segment
    }

    fn note_segment(&mut self, segment: &Segment) {
        if segment.flags & SYN != 0 {
            self.iss = segment.seq;
        }
        let mut text = String::from("> ");
        for (at, name) in "FSRP.UEC".chars().enumerate() {
            if segment.flags & 1 << at != 0 {
                text.push(name);
            }
        }
        let Segment {
            seq, ack, window, ..
        } = segment;
        let seq = if segment.flags & super::RST != 0 && *seq == 0 {
            0
        } else {
            seq.wrapping_sub(self.iss)
        };
        let _ = write!(text, " {seq}({}) ack {ack}", segment.payload.len());
        if self.windows {
            let _ = write!(text, " win {window}");
        }
        let mut rest = &segment.options[..];
        while let [kind, after @ ..] = rest {
            let len = match (kind, after.first()) {
                (0 | 1, _) | (_, None) => 1,
                (_, Some(len)) => usize::from(*len).clamp(2, rest.len()),
            };
            match (kind, &rest[..len]) {
                (8, [_, _, value @ .., _, _, _, _]) => {
                    self.stamp = value.first_chunk().copied().map_or(0, u32::from_be_bytes);
                    text.push_str(" ts");
                }
                (_, option) => drop(write!(text, " {option:?}")),
            }
            rest = &rest[len..];
        }
        self.lines.push(text);
    }

    /// Notes what poll(2), TCP_INFO and the queues say of a connection.
    pub fn state(&mut self, fd: i32) {
        let info = self.tool.option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 248);
        let info = info.map(|info| {
            let fastopen_client_fail = info[7] >> 1 & 3;
            (info[0], info[5], fastopen_client_fail)
        });
        let poll = self.tool.poll(fd, EVERYTHING, 0);
        let unread = self.tool.ioctl(fd, SIOCINQ);
        // Of what is over, the kernel tells what it happens to remember.
        let over = info.as_ref().is_ok_and(|info| info.0 == CLOSED);
        let unsent = (!over).then(|| self.tool.ioctl(fd, SIOCOUTQ));
        self.lines.push(format!(
            "state {info:?} poll {poll:#x} unread {unread:?} unsent {unsent:?}"
        ));
    }
}

/// Plays a scenario on the plugin with `flags`, and on the kernel with `settings` where the machine
/// has the means; what they say must be the same. What a busy machine delayed has more chances.
pub fn alike(settings: Settings<'static>, flags: &str, scenario: fn(&mut Journal<'_>)) {
    let play = move |tool: &Tool| {
        let mut journal = Journal::new(tool);
        scenario(&mut journal);
        journal.lines
    };
    let ours = play(&Tool::new(flags));
    // A program that is started elsewhere has our descriptors for a moment: closing closes nothing then.
    let alone = ALONE.lock();
    let _alone = alone.unwrap_or_else(|failed| failed.into_inner());
    let mut found = None;
    for _ in 0..TRIES {
        let (tell, told) = mpsc::channel();
        kernel::on_the_kernel(settings.clone(), move |tool| {
            tell.send(play(tool)).expect("somebody listens");
        });
        match told.try_recv() {
            Ok(theirs) if theirs != ours => found = Some(theirs),
            _ => return,
        }
    }
    let theirs = found.expect("it was tried");
    panic!("the subjects differ:\n{}", differences(&ours, &theirs));
}

/// All lines, side by side where they differ.
fn differences(ours: &[String], theirs: &[String]) -> String {
    let mut text = String::new();
    for at in 0..ours.len().max(theirs.len()) {
        let (ours, theirs) = (ours.get(at), theirs.get(at));
        if let Some(line) = ours.filter(|_| ours == theirs) {
            let _ = writeln!(text, "         {line}");
        } else {
            let _ = writeln!(text, "  ours   {ours:?}\n  kernel {theirs:?}");
        }
    }
    text
}
