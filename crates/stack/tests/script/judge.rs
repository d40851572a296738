//! Segments as scripts count and write them: what left is compared with what was expected, what is
//! to come is made.

use std::collections::VecDeque;

use zcn_wire::{
    AccEcnOrder, OptionLayout, SackBlock, SeqNum, TcpFlags, TcpOptions, TcpRepr, TcpTimestamps,
    TcpView,
};

use super::action::Segment;

/// The port of ours that listens.
pub(crate) const PORT: u16 = 8080;
/// Ports of the peer: this one and the number of the connection.
pub(crate) const PEER_PORTS: u16 = 40_000;
/// Connections that a script can have.
const FLOWS: usize = 200;

/// What byte the peer, and we, send at a place of the stream.
pub(crate) fn pattern(offset: u64) -> u8 {
    (offset.wrapping_mul(7) % 251) as u8
}

/// A segment of ours that left.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// Nanoseconds.
    pub(crate) at: u64,
    pub(crate) tcp: TcpRepr,
    pub(crate) payload: Vec<u8>,
    pub(crate) traffic_class: u8,
}

/// Takes the next segment, and those that go on where it ends, up to `len` bytes.
pub(crate) fn take(out: &mut VecDeque<Left>, len: u32) -> Option<Left> {
    let mut got = out.pop_front()?;
    while (got.payload.len() as u32) < len
        && let Some(next) = out.pop_front_if(|next| {
            got.tcp.dst_port == next.tcp.dst_port
                && got.tcp.seq + got.payload.len() == next.tcp.seq
                && !next.payload.is_empty()
        })
    {
        got.tcp.flags = next.tcp.flags;
        got.tcp.window = next.tcp.window;
        got.payload.extend(next.payload);
    }
    Some(got)
}

/// Numbers of one connection as the script counts them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    pub(crate) peer_isn: SeqNum,
    pub(crate) our_isn: Option<SeqNum>,
    /// Our first timestamp.
    our_stamp: Option<u32>,
    /// Our port, once known.
    pub(crate) local_port: Option<u16>,
}

/// All connections of a script.
#[derive(Clone, Debug)]
pub(crate) struct Flows {
    flows: Vec<Flow>,
    /// By how many milliseconds timestamps may differ, and how many hundredths.
    pub(crate) stamp_tolerance: (u32, u32),
}

fn number_of(tcp: &TcpRepr) -> usize {
    usize::from(tcp.dst_port.wrapping_sub(PEER_PORTS)).min(FLOWS - 1)
}

impl Flows {
    pub(crate) fn new(peer_isn: u32) -> Self {
        let flow = Flow {
            peer_isn: SeqNum(peer_isn),
            ..Flow::default()
        };
        Self {
            flows: vec![flow; FLOWS],
            stamp_tolerance: (5, 0),
        }
    }

    /// The connection of a number, from 1 on.
    pub(crate) fn get(&self, number: usize) -> &Flow {
        &self.flows[number]
    }

    /// A segment of ours in the script's words.
    pub(crate) fn describe(&self, segment: &Left) -> String {
        let number = number_of(&segment.tcp);
        let flow = &self.flows[number];
        let tcp = &segment.tcp;
        let base = flow.our_isn.unwrap_or(tcp.seq);
        let mut text = if number == 1 {
            String::new()
        } else {
            format!("(connection {number}) ")
        };
        for (flag, letter) in [
            (TcpFlags::SYN, 'S'),
            (TcpFlags::FIN, 'F'),
            (TcpFlags::PSH, 'P'),
            (TcpFlags::RST, 'R'),
            (TcpFlags::ACK, 'A'),
            (TcpFlags::URG, 'U'),
            (TcpFlags::ECE, 'E'),
            (TcpFlags::CWR, 'W'),
            (TcpFlags::AE, 'N'),
        ] {
            if tcp.flags.contains(flag) {
                text.push(letter);
            }
        }
        text.push_str(&format!(
            " seq {} len {}",
            tcp.seq.offset_from(base),
            segment.payload.len()
        ));
        if tcp.flags.ack() {
            text.push_str(&format!(" ack {}", tcp.ack.distance(flow.peer_isn)));
        }
        text.push_str(&format!(" win {}", tcp.window));
        if segment.traffic_class & 3 == 2 {
            text.push_str(" ect0");
        }
        if let Some(option) = tcp.options.acc_ecn {
            let kind = match option.order() {
                AccEcnOrder::Zero => "acc0",
                AccEcnOrder::One => "acc1",
            };
            let counters: Vec<String> = option.counters().iter().map(u32::to_string).collect();
            text.push_str(&format!(" {kind} {}", counters.join(",")));
        }
        if tcp.flags.contains(TcpFlags::URG) {
            text.push_str(&format!(" urg {}", tcp.urgent));
        }
        if let Some(mss) = tcp.options.mss {
            text.push_str(&format!(" mss {mss}"));
        }
        if tcp.options.sack_permitted {
            text.push_str(" sackok");
        }
        if let Some(stamps) = tcp.options.timestamps {
            let value = stamps
                .val
                .wrapping_sub(flow.our_stamp.unwrap_or(stamps.val));
            text.push_str(&format!(" ts {value} {}", stamps.ecr));
        }
        if let Some(shift) = tcp.options.window_scale {
            text.push_str(&format!(" ws {shift}"));
        }
        if let Some(cookie) = tcp.options.fast_open {
            text.push_str(&format!(" fo {cookie:?}"));
        }
        if !tcp.options.sack.is_empty() {
            text.push_str(" sack");
            for block in tcp.options.sack.iter() {
                text.push_str(&format!(
                    " {}-{}",
                    block.left.distance(flow.peer_isn),
                    block.right.distance(flow.peer_isn)
                ));
            }
        }
        text
    }

    /// Whether a segment is what was expected.
    pub(crate) fn compare(&mut self, wanted: &Segment, got: &Left) -> Result<(), String> {
        let number = number_of(&got.tcp);
        let (fixed, share) = self.stamp_tolerance;
        let flow = &mut self.flows[number];
        let tcp = &got.tcp;
        flow.local_port = Some(tcp.src_port);
        if tcp.flags.syn() && flow.our_isn.is_none() {
            flow.our_isn = Some(tcp.seq);
        }
        if let Some(stamps) = tcp.options.timestamps {
            flow.our_stamp.get_or_insert(stamps.val);
        }
        let flow = self.flows[number].clone();
        let base = flow.our_isn.unwrap_or(SeqNum(0));
        let mut wrong = Vec::new();
        let mut check = |name: &str, same: bool| {
            if !same {
                wrong.push(name.to_owned());
            }
        };
        check("connection", number == wanted.flow);
        check("flags", tcp.flags == wanted.flags);
        if let Some(seq) = wanted.seq {
            // An RST out of nothing has an absolute number.
            let relative = tcp.seq.distance(base);
            check(
                "seq",
                relative == seq || (tcp.flags.rst() && tcp.seq.0 == seq),
            );
        }
        check("len", got.payload.len() as u32 == wanted.len);
        check("ecn", got.traffic_class & 3 == wanted.ecn);
        check("urg", tcp.urgent == wanted.urg);
        if let Some(ack) = wanted.ack {
            check("ack", tcp.ack.distance(flow.peer_isn) == ack);
        }
        if let Some(window) = wanted.win {
            check("win", u32::from(tcp.window) == window);
        }
        if !wanted.any_options {
            let options = &tcp.options;
            check("mss", wanted.mss.is_none_or(|mss| options.mss == Some(mss)));
            check("mss", tcp.flags.syn() == options.mss.is_some());
            check("ws", options.window_scale == wanted.ws);
            check("fo", options.fast_open == wanted.fast_open);
            check("option of AccECN", options.acc_ecn == wanted.acc_ecn);
            check("sackok", options.sack_permitted == wanted.sackok);
            let blocks: Vec<(u32, u32)> = options
                .sack
                .iter()
                .map(|block| {
                    (
                        block.left.distance(flow.peer_isn),
                        block.right.distance(flow.peer_isn),
                    )
                })
                .collect();
            check("sack", blocks == wanted.sack);
            if let Some((value, echo)) = wanted.ts {
                match options.timestamps {
                    None => check("ts", false),
                    Some(stamps) => {
                        let relative = stamps.val.wrapping_sub(flow.our_stamp.unwrap_or(0));
                        let near = |value: u32| {
                            let tolerance = fixed + value / 100 * share;
                            relative.wrapping_sub(value).wrapping_add(tolerance) <= 2 * tolerance
                        };
                        check("ts", value.is_none_or(near));
                        check("ts", echo.is_none_or(|echo| echo == stamps.ecr));
                    }
                }
            }
        }
        // The payload is what the application sent at that place.
        if !got.payload.is_empty() && flow.our_isn.is_some() {
            let first = tcp.seq + u32::from(tcp.flags.syn());
            let start = u64::from(first.distance(base)).wrapping_sub(1);
            let good = got
                .payload
                .iter()
                .zip(start..)
                .all(|(&byte, at)| byte == pattern(at));
            check("payload", good);
        }
        // Every header can be written, in both layouts.
        let mut header = [0; 60];
        for layout in [OptionLayout::Linux, OptionLayout::FreeBsd] {
            let written = tcp
                .emit(layout, &mut header)
                .map_err(|error| format!("header: {error}"))?;
            let view = TcpView::new(&header[..written]).map_err(|error| error.to_string())?;
            check("header", TcpRepr::parse(&view) == *tcp);
        }
        if wrong.is_empty() {
            return Ok(());
        }
        wrong.dedup();
        Err(format!(
            "differs in {}: got {}",
            wrong.join(", "),
            self.describe(got)
        ))
    }

    /// The peer's segment, header and payload.
    pub(crate) fn segment(&self, segment: &Segment) -> (TcpRepr, Vec<u8>) {
        let flow = &self.flows[segment.flow];
        let our_isn = flow.our_isn.unwrap_or(SeqNum(0));
        let options = TcpOptions {
            mss: segment.mss,
            window_scale: segment.ws,
            sack_permitted: segment.sackok,
            fast_open: segment.fast_open,
            acc_ecn: segment.acc_ecn,
            timestamps: segment.ts.map(|(value, echo)| TcpTimestamps {
                val: value.unwrap_or(0),
                ecr: match flow.our_stamp {
                    Some(first) => first.wrapping_add(echo.unwrap_or(0)),
                    None => 0,
                },
            }),
            sack: segment
                .sack
                .iter()
                .map(|&(left, right)| SackBlock::new(our_isn + left, our_isn + right))
                .collect(),
            ..TcpOptions::NONE
        };
        let seq = segment.seq.unwrap_or(0);
        let syn = u64::from(segment.flags.syn());
        let bytes: Vec<u8> = (0..u64::from(segment.len))
            .map(|at| pattern((u64::from(seq) + syn).wrapping_sub(1).wrapping_add(at)))
            .collect();
        let tcp = TcpRepr {
            src_port: PEER_PORTS + segment.flow as u16,
            dst_port: flow.local_port.unwrap_or(PORT),
            seq: flow.peer_isn + seq,
            ack: match segment.ack {
                Some(ack) => our_isn + ack,
                None => SeqNum(0),
            },
            flags: segment.flags,
            window: segment.win.unwrap_or(65_535).min(65_535) as u16,
            urgent: segment.urg,
            options,
        };
        (tcp, bytes)
    }
}

/// Whether a number is as a script says.
pub(crate) fn compare(name: &str, got: u64, operator: &str, wanted: &str) -> Result<(), String> {
    let wanted: u64 = wanted
        .parse()
        .map_err(|_| format!("not a number: {wanted}"))?;
    let holds = match operator {
        "=" => got == wanted,
        "!=" => got != wanted,
        "<" => got < wanted,
        "<=" => got <= wanted,
        ">" => got > wanted,
        ">=" => got >= wanted,
        _ => return Err(format!("unknown comparison {operator}")),
    };
    if holds {
        Ok(())
    } else {
        Err(format!("{name} is {got}, expected {operator} {wanted}"))
    }
}
