//! What a sender goes through: a few lines of text.
//!
//! ```text
//! == name: settings           settings: rto, probes or path, cubic, nosack, stamps, ecn, push,
//!                             small, mss=N, window=N
//! write 20                    segments of 1,000 bytes; 0.5 is 500 bytes, `more` is MSG_MORE
//! ack 1; ack 3 sack 5-7       numbers count from the first byte, in segments
//! ack 3 sack 5-7 win 20 ece   the window stays until the next `win`; `data`, `fin`, `echo N`
//! differs WHY                 the stack does otherwise, on purpose
//! ```
//!
//! Between two lines a round trip passes; what a semicolon parts, happens at once. `await N` is a round trip
//! from when so many segments have left. With `rto` the retransmission timer is 400 ms and more, with `probes` that
//! of tail loss probes runs, too, and without either nothing is sent again for want of time.

use std::fmt;

/// Bytes of a segment, unless the settings say otherwise.
pub(crate) const MSS: u32 = 1_000;

/// Timers that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Group {
    #[default]
    Calm,
    /// None, and the kernel learns of a path's MTU, which holds for all connections.
    Path,
    Timeouts,
    Probes,
}

/// What the connection is like.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub group: Group,
    pub cubic: bool,
    pub sack: bool,
    pub stamps: bool,
    pub ecn: bool,
    /// The MSS that the peer announces, without options.
    pub mss: u32,
    /// The peer's window in bytes, from the SYN on.
    pub window: u32,
    /// As much of PSH as depends on what was written is compared.
    pub push: bool,
    /// Segments are small: windows are not compared.
    pub small: bool,
}

/// An acknowledgement of the peer's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ack {
    pub ack: u32,
    pub sack: Vec<(u32, u32)>,
    pub window: Option<u32>,
    pub ece: bool,
    pub data: u32,
    pub fin: bool,
    /// The timestamp echoed is that of the segment that left as this one of all.
    pub echo: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// So many bytes, and flags of send(2).
    Write(u32, i32),
    Ack(Ack),
    /// The last acknowledgement again, without blocks.
    Duplicate,
    /// An integer option of TCP.
    Option(i32, i32),
    SendBuffer(i32),
    Shut,
    Close,
    /// Fragmentation needed, and this MTU, about the segment at this number.
    TooBig(u32, u32),
    /// Until so many segments have left.
    Await(usize),
    /// Milliseconds.
    Wait(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub name: String,
    pub settings: Settings,
    /// Why the stack does otherwise, on purpose.
    pub differs: Option<String>,
    pub lines: Vec<Vec<Op>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            group: Group::Calm,
            cubic: false,
            sack: true,
            stamps: false,
            ecn: false,
            mss: MSS,
            window: 500 * MSS,
            push: false,
            small: false,
        }
    }
}

impl Settings {
    pub(crate) fn parse(words: &str) -> Self {
        let mut settings = Self::default();
        let mut mss = None;
        for word in words.split_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("rto", "") => settings.group = Group::Timeouts,
                ("probes", "") => settings.group = Group::Probes,
                ("path", "") => settings.group = Group::Path,
                ("cubic", "") => settings.cubic = true,
                ("nosack", "") => settings.sack = false,
                ("stamps", "") => settings.stamps = true,
                ("ecn", "") => settings.ecn = true,
                ("push", "") => settings.push = true,
                ("small", "") => settings.small = true,
                ("mss", value) => mss = Some(value.parse().expect("a number")),
                ("window", value) => settings.window = value.parse().expect("a number"),
                _ => panic!("no setting {word}"),
            }
        }
        let options = if settings.stamps { 12 } else { 0 };
        settings.mss = mss.unwrap_or(MSS + options);
        settings
    }
}

/// A number of segments, in bytes.
fn bytes(word: &str) -> u32 {
    let number: f64 = word.parse().unwrap_or_else(|_| panic!("no number: {word}"));
    (number * f64::from(MSS)).round() as u32
}

fn parse_op(text: &str) -> Op {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |at: usize| words[at].parse().expect("a number");
    let switch = |name| Op::Option(name, i32::from(words[1] == "on"));
    match words[0] {
        "write" => {
            let flags = match words.get(2) {
                Some(&"more") => libc::MSG_MORE,
                Some(&"eor") => libc::MSG_EOR,
                _ => 0,
            };
            Op::Write(bytes(words[1]), flags)
        }
        "ack" => Op::Ack(parse_ack(&words)),
        "dup" => Op::Duplicate,
        "nodelay" => switch(libc::TCP_NODELAY),
        "cork" => switch(libc::TCP_CORK),
        "maxseg" => Op::Option(libc::TCP_MAXSEG, number(1)),
        "sndbuf" => Op::SendBuffer(number(1)),
        "shut" => Op::Shut,
        "close" => Op::Close,
        "icmp" => Op::TooBig(number(1) as u32, bytes(words[2])),
        "await" => Op::Await(number(1) as usize),
        "wait" => Op::Wait(number(1) as u32),
        other => panic!("no operation {other}"),
    }
}

fn parse_ack(words: &[&str]) -> Ack {
    let mut ack = Ack {
        ack: bytes(words[1]),
        ..Ack::default()
    };
    let mut rest = words[2..].iter();
    while let Some(word) = rest.next() {
        match *word {
            "sack" => {}
            "ece" => ack.ece = true,
            "fin" => ack.fin = true,
            "win" => ack.window = rest.next().map(|word| bytes(word)),
            "data" => ack.data = rest.next().map_or(0, |word| bytes(word)),
            "echo" => ack.echo = rest.next().and_then(|word| word.parse().ok()),
            block => {
                let (left, right) = block.split_once('-').expect("a block");
                ack.sack.push((bytes(left), bytes(right)));
            }
        }
    }
    ack
}

/// All scenarios of a text.
pub(crate) fn parse(text: &str) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(head) = line.strip_prefix("==") {
            let (name, settings) = head.split_once(':').unwrap_or((head, ""));
            scenarios.push(Scenario {
                name: name.trim().to_owned(),
                settings: Settings::parse(settings),
                differs: None,
                lines: Vec::new(),
            });
        } else if let Some(reason) = line.strip_prefix("differs ") {
            let scenario = scenarios.last_mut().expect("a name before");
            scenario.differs = Some(reason.to_owned());
        } else if !line.is_empty() {
            let scenario = scenarios.last_mut().expect("a name before");
            let ops = line.split(';').map(parse_op);
            scenario.lines.push(ops.collect());
        }
    }
    scenarios
}

/// Bytes as a number of segments.
pub(crate) struct Segments(pub i64);

impl fmt::Display for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mss = i64::from(MSS);
        if self.0 % mss == 0 {
            write!(f, "{}", self.0 / mss)
        } else {
            write!(f, "{}", self.0 as f64 / mss as f64)
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |bytes: u32| Segments(bytes.into());
        match self {
            Self::Write(len, 0) => write!(f, "write {}", of(*len)),
            Self::Write(len, flags) if *flags == libc::MSG_MORE => {
                write!(f, "write {} more", of(*len))
            }
            Self::Write(len, _) => write!(f, "write {} eor", of(*len)),
            Self::Ack(ack) => {
                write!(f, "ack {}", of(ack.ack))?;
                if !ack.sack.is_empty() {
                    write!(f, " sack")?;
                }
                for (left, right) in &ack.sack {
                    write!(f, " {}-{}", of(*left), of(*right))?;
                }
                if let Some(window) = ack.window {
                    write!(f, " win {}", of(window))?;
                }
                if ack.ece {
                    write!(f, " ece")?;
                }
                if ack.data > 0 {
                    write!(f, " data {}", of(ack.data))?;
                }
                if let Some(echo) = ack.echo {
                    write!(f, " echo {echo}")?;
                }
                if ack.fin { write!(f, " fin") } else { Ok(()) }
            }
            Self::Duplicate => write!(f, "dup"),
            Self::Option(name, value) if *name == libc::TCP_MAXSEG => write!(f, "maxseg {value}"),
            Self::Option(name, value) => {
                let name = if *name == libc::TCP_CORK {
                    "cork"
                } else {
                    "nodelay"
                };
                write!(f, "{name} {}", if *value == 0 { "off" } else { "on" })
            }
            Self::SendBuffer(size) => write!(f, "sndbuf {size}"),
            Self::Shut => write!(f, "shut"),
            Self::Close => write!(f, "close"),
            Self::TooBig(mtu, at) => write!(f, "icmp {mtu} {}", of(*at)),
            Self::Await(count) => write!(f, "await {count}"),
            Self::Wait(millis) => write!(f, "wait {millis}"),
        }
    }
}
