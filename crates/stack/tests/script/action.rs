//! Scripts as text, and what their lines mean.

use std::path::Path;

use zcn_wire::{AccEcn, AccEcnOrder, FastOpenCookie, TcpFlags};

/// A segment as a script writes it. What is `None` is not compared, or is the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    /// Which connection, from 1 on.
    pub(crate) flow: usize,
    pub(crate) flags: TcpFlags,
    pub(crate) seq: Option<u32>,
    pub(crate) len: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) win: Option<u32>,
    pub(crate) mss: Option<u16>,
    pub(crate) ws: Option<u8>,
    pub(crate) sackok: bool,
    pub(crate) ts: Option<(Option<u32>, Option<u32>)>,
    pub(crate) sack: Vec<(u32, u32)>,
    pub(crate) urg: u16,
    /// The two ECN bits of the IP header.
    pub(crate) ecn: u8,
    pub(crate) fast_open: Option<FastOpenCookie>,
    pub(crate) acc_ecn: Option<AccEcn>,
    /// Options are not compared.
    pub(crate) any_options: bool,
    /// Segments of the wire that it stands for.
    pub(crate) segments: u16,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    In(Segment),
    Out(Segment),
    Silence,
    /// Verb, socket (from 1 on), arguments, expected result.
    Call(String, usize, Vec<String>, Option<String>),
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: usize,
    /// Nanoseconds after the line before: from, to.
    pub(crate) time: (u64, u64),
    pub(crate) action: Action,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) config: Vec<(usize, String, String)>,
    pub(crate) options: Vec<(usize, String, String)>,
    pub(crate) lines: Vec<Line>,
    /// Why Linux does other than the script expects.
    pub(crate) differs: Option<String>,
    /// Why every socket does, those of the plugin, too.
    pub(crate) sockets_differ: Option<String>,
}

/// Reads a script; prologues are in a folder of that name among the `scripts`.
pub(crate) fn parse(text: &str, scripts: &Path) -> Result<Script, String> {
    let mut script = Script::default();
    parse_into(&mut script, text, scripts)?;
    Ok(script)
}

/// The lines of a prologue, as if they stood in the script.
fn include(script: &mut Script, name: &str, scripts: &Path) -> Result<(), String> {
    let path = scripts.join("prologue").join(name).with_extension("script");
    let text = std::fs::read_to_string(path).map_err(|_| format!("no prologue {name}"))?;
    parse_into(script, &text, scripts).map_err(|error| format!("in {name}:{error}"))
}

fn parse_into(script: &mut Script, text: &str, scripts: &Path) -> Result<(), String> {
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let fail = |what: String| format!("{number}: {what}: {line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        if matches!(words[0], "config" | "option") {
            for word in &words[1..] {
                let (name, value) = word
                    .split_once('=')
                    .ok_or_else(|| fail("expected name=value".into()))?;
                let list = match words[0] {
                    "config" => &mut script.config,
                    _ => &mut script.options,
                };
                list.push((number, name.to_owned(), value.to_owned()));
            }
            continue;
        }
        if words[0] == "differs" {
            script.differs = Some(words[1..].join(" "));
            continue;
        }
        if words[0] == "sockets-differ" {
            script.sockets_differ = Some(words[1..].join(" "));
            continue;
        }
        if let ["use", name] = words[..] {
            include(script, name, scripts).map_err(fail)?;
            continue;
        }
        let time = parse_time(words[0]).map_err(fail)?;
        let verb = *words.get(1).ok_or_else(|| fail("nothing to do".into()))?;
        let action = match verb.as_bytes()[0] {
            b'<' => Action::In(parse_segment(&verb[1..], &words[2..]).map_err(fail)?),
            b'>' => Action::Out(parse_segment(&verb[1..], &words[2..]).map_err(fail)?),
            _ if verb == "silence" => Action::Silence,
            _ => {
                let (verb, socket) = match verb.split_once('@') {
                    Some((verb, socket)) => (verb, parse_number(socket).map_err(fail)?),
                    None => (verb, 1),
                };
                let mut rest: Vec<String> = words[2..].iter().map(|&w| w.to_owned()).collect();
                let compares = matches!(verb, "info" | "stat" | "drop");
                let result = rest
                    .iter()
                    .position(|word| word == "=")
                    .filter(|_| !compares)
                    .map(|at| rest.split_off(at)[1..].join(" "));
                Action::Call(verb.to_owned(), socket, rest, result)
            }
        };
        script.lines.push(Line {
            number,
            time,
            action,
        });
    }
    Ok(())
}

fn parse_time(word: &str) -> Result<(u64, u64), String> {
    let text = word
        .strip_prefix('+')
        .ok_or("a line begins with +seconds")?;
    let nanos = |text: &str| {
        text.trim_start_matches('+')
            .parse::<f64>()
            .map(|seconds| (seconds * 1e9).round() as u64)
            .map_err(|_| format!("not a time: {text}"))
    };
    match text.split_once('~') {
        Some((from, to)) => Ok((nanos(from)?, nanos(to)?)),
        None => nanos(text).map(|time| (time, time)),
    }
}

fn parse_number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

/// Bytes as pairs of hexadecimal digits.
pub(crate) fn hex(digits: &str) -> Result<Vec<u8>, String> {
    let pair = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
    bytes.ok_or(format!("not hexadecimal: {digits}"))
}

/// Counters in the order of the wire, with commas between them; none is `-`.
fn counters(order: AccEcnOrder, word: &str) -> Result<Option<AccEcn>, String> {
    let numbers = word.split(',').filter(|number| *number != "-");
    let numbers: Vec<u32> = numbers.map(parse_number).collect::<Result<_, _>>()?;
    match AccEcn::new(order, &numbers) {
        None => Err(format!("three counters at most: {word}")),
        counters => Ok(counters),
    }
}

fn parse_segment(flow: &str, words: &[&str]) -> Result<Segment, String> {
    let mut segment = Segment {
        flow: if flow.is_empty() {
            1
        } else {
            parse_number(flow)?
        },
        segments: 1,
        ..Segment::default()
    };
    let mut words = words.iter().copied().peekable();
    for letter in words.next().ok_or("a segment has flags")?.chars() {
        segment.flags |= match letter {
            'S' => TcpFlags::SYN,
            'A' => TcpFlags::ACK,
            'F' => TcpFlags::FIN,
            'P' => TcpFlags::PSH,
            'R' => TcpFlags::RST,
            'U' => TcpFlags::URG,
            'E' => TcpFlags::ECE,
            'W' => TcpFlags::CWR,
            'N' => TcpFlags::AE,
            '-' => TcpFlags::NONE,
            _ => return Err(format!("unknown flag {letter}")),
        };
    }
    while let Some(word) = words.next() {
        let mut next = || words.next().ok_or(format!("{word} needs a value"));
        match word {
            "seq" => segment.seq = Some(parse_number::<i64>(next()?)? as u32),
            "len" => segment.len = parse_number(next()?)?,
            "ack" => segment.ack = Some(parse_number::<i64>(next()?)? as u32),
            "win" => segment.win = Some(parse_number(next()?)?),
            "mss" => segment.mss = Some(parse_number(next()?)?),
            "ws" => segment.ws = Some(parse_number(next()?)?),
            "sackok" => segment.sackok = true,
            "fo" => {
                let cookie = match next()? {
                    "request" => Vec::new(),
                    digits => hex(digits)?,
                };
                segment.fast_open = FastOpenCookie::new(&cookie);
            }
            "ace" => {
                let ace: u16 = parse_number(next()?)?;
                segment.flags |= TcpFlags::from_bits((ace & 7) << 6);
            }
            "acc0" => segment.acc_ecn = counters(AccEcnOrder::Zero, next()?)?,
            "acc1" => segment.acc_ecn = counters(AccEcnOrder::One, next()?)?,
            "ect1" => segment.ecn = 1,
            "ect0" => segment.ecn = 2,
            "ce" => segment.ecn = 3,
            "urg" => segment.urg = parse_number(next()?)?,
            "segments" => segment.segments = parse_number(next()?)?,
            "..." => segment.any_options = true,
            "ts" => {
                let stamp = |word: &str| match word {
                    "*" => Ok(None),
                    _ => parse_number::<i64>(word).map(|value| Some(value as u32)),
                };
                segment.ts = Some((stamp(next()?)?, stamp(next()?)?));
            }
            "sack" => {
                while let Some((left, right)) = words.peek().and_then(|word| word.split_once('-')) {
                    segment
                        .sack
                        .push((parse_number(left)?, parse_number(right)?));
                    words.next();
                }
            }
            _ => return Err(format!("unknown word {word}")),
        }
    }
    Ok(segment)
}
