//! Packet formats and checksums beside their peers, on one core.
//!
//! Frames are Ethernet, IPv4 and TCP with timestamps, as most segments of a connection are.
//! Bytes that go in and structs that come out pass a `black_box`.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire as peer;
use zcn_measure::core::allowed;
use zcn_wire::checksum::{Sum, copy_and_sum};
use zcn_wire::{
    EtherType, EthernetAddress, EthernetRepr, EthernetView, Ipv4Repr, Ipv4View, OptionLayout,
    Protocol, SeqNum, TcpFlags, TcpOptions, TcpRepr, TcpTimestamps, TcpView, tcp,
};

use crate::harness::{Contender, Ctx, Figure, Result, ns_per_op, repeat};

const BENCH: &str = "wire";
/// Operations between two looks at the clock.
const BLOCK: u64 = 1 << 10;

const ZCN: &str = "zcn";
const SCALAR: &str = "zcn, scalar";
const SMOLTCP: &str = "smoltcp";
const INTERNET_CHECKSUM: &str = "internet-checksum";
const COPY_THEN_SUM: &str = "copy, then sum";

/// Addresses and ports of the frames.
const SRC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Measures on one core.
pub fn run(ctx: &mut Ctx) -> Result {
    let core = *allowed()?.first().ok_or("no core to run on")?;
    for len in [0, 1448] {
        frames(ctx, core, len)?;
    }
    for len in [40, 128, 1460, 65_536] {
        sums(ctx, core, len)?;
        copies(ctx, core, len)?;
    }
    Ok(())
}

/// A frame with `len` bytes of payload, checksums filled in.
fn frame(len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0x5a; 66 + len];
    emit(&mut bytes, len)?;
    Ok(bytes)
}

fn segment() -> TcpRepr {
    TcpRepr {
        src_port: 80,
        dst_port: 5000,
        seq: SeqNum(1_000_000),
        ack: SeqNum(2_000_000),
        flags: TcpFlags::ACK | TcpFlags::PSH,
        window: 501,
        urgent: 0,
        options: TcpOptions {
            timestamps: Some(TcpTimestamps { val: 1, ecr: 2 }),
            ..TcpOptions::NONE
        },
    }
}

/// Writes all three headers before a payload that stands already, and both checksums.
fn emit(bytes: &mut [u8], len: usize) -> Result {
    let segment = black_box(segment());
    let ethernet = EthernetRepr {
        dst: EthernetAddress([2, 0, 0, 0, 0, 2]),
        src: EthernetAddress([2, 0, 0, 0, 0, 1]),
        ethertype: EtherType::IPV4,
        vlan: None,
    };
    let header_len = segment.header_len(OptionLayout::Linux);
    let packet = Ipv4Repr::new(SRC, DST, Protocol::TCP, header_len + len);
    let mut at = ethernet.emit(bytes)?;
    at += packet.emit(&mut bytes[at..])?;
    segment.emit(OptionLayout::Linux, &mut bytes[at..])?;
    tcp::fill_checksum(&mut bytes[at..], packet.pseudo_header())?;
    Ok(())
}

/// Takes a frame apart, checksums looked at.
fn parse(
    bytes: &[u8],
) -> std::result::Result<(EthernetRepr, Ipv4Repr, TcpRepr), zcn_wire::ParseError> {
    let ethernet = EthernetView::new(bytes)?;
    let packet = Ipv4View::new(ethernet.payload())?;
    packet.verify_checksum()?;
    let segment = TcpView::new(packet.payload())?;
    segment.verify_checksum(packet.pseudo_header())?;
    Ok((
        EthernetRepr::parse(&ethernet),
        Ipv4Repr::parse(&packet),
        TcpRepr::parse(&segment),
    ))
}

/// The same with smoltcp.
fn peer_parse(
    bytes: &[u8],
) -> std::result::Result<(peer::EthernetRepr, peer::Ipv4Repr, peer::TcpRepr<'_>), peer::Error> {
    let checks = ChecksumCapabilities::default();
    let ethernet = peer::EthernetFrame::new_checked(bytes)?;
    let packet = peer::Ipv4Packet::new_checked(ethernet.payload())?;
    let ip = peer::Ipv4Repr::parse(&packet, &checks)?;
    let segment = peer::TcpPacket::new_checked(packet.payload())?;
    let (src, dst) = (ip.src_addr.into(), ip.dst_addr.into());
    let tcp = peer::TcpRepr::parse(&segment, &src, &dst, &checks)?;
    Ok((peer::EthernetRepr::parse(&ethernet)?, ip, tcp))
}

/// The same with smoltcp; its emission copies the payload too, so the frame has none.
fn peer_emit(
    bytes: &mut [u8],
    ethernet: &peer::EthernetRepr,
    ip: &peer::Ipv4Repr,
    tcp: &peer::TcpRepr<'_>,
) {
    let checks = ChecksumCapabilities::default();
    let mut frame = peer::EthernetFrame::new_unchecked(bytes);
    ethernet.emit(&mut frame);
    let mut packet = peer::Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checks);
    let mut segment = peer::TcpPacket::new_unchecked(packet.payload_mut());
    let (src, dst) = (ip.src_addr.into(), ip.dst_addr.into());
    tcp.emit(&mut segment, &src, &dst, &checks);
}

fn frames(ctx: &mut Ctx, core: usize, len: usize) -> Result {
    let sample = ctx.sample;
    let bytes = frame(len)?;
    let (ours, theirs) = (
        parse(&bytes).map_err(|error| error.to_string())?,
        peer_parse(&bytes).map_err(|error| error.to_string())?,
    );
    if u32::from_be_bytes(bytes[38..42].try_into()?) != ours.2.seq.0
        || theirs.2.payload.len() != len
    {
        return Err("the peers disagree about the frame".into());
    }
    let situation = format!("parse TCP, {len} bytes of payload");
    let mut contenders = vec![
        Contender::new(ZCN, || {
            time(core, sample, || {
                let _ = black_box(parse(black_box(&bytes)));
            })
        }),
        Contender::new(SMOLTCP, || {
            time(core, sample, || {
                let _ = black_box(peer_parse(black_box(&bytes)));
            })
        }),
    ];
    let contest = ctx.alternate(&situation, &mut contenders)?;
    drop(contenders);
    ctx.report_all(contest.rows(BENCH, &situation, Some(SMOLTCP)))?;

    let situation = format!("emit TCP, {len} bytes of payload");
    let mut to = bytes.clone();
    let mut peer_to = bytes.clone();
    let mut contenders = vec![Contender::new(ZCN, || {
        time(core, sample, || {
            let _ = emit(black_box(&mut to), len);
        })
    })];
    if len == 0 {
        let (ethernet, ip, tcp) = &theirs;
        contenders.push(Contender::new(SMOLTCP, || {
            time(core, sample, || {
                peer_emit(black_box(&mut peer_to), ethernet, ip, black_box(tcp));
            })
        }));
    }
    let contest = ctx.alternate(&situation, &mut contenders)?;
    drop(contenders);
    let baseline = (len == 0).then_some(SMOLTCP);
    ctx.report_all(contest.rows(BENCH, &situation, baseline))
}

fn sums(ctx: &mut Ctx, core: usize, len: usize) -> Result {
    let sample = ctx.sample;
    let bytes = vec![0x5a; len];
    let expected = Sum::scalar(&bytes).checksum();
    if internet_checksum::checksum(&bytes) != expected.to_be_bytes()
        || Sum::of(&bytes).checksum() != expected
    {
        return Err("the peers disagree about the sum".into());
    }
    let situation = format!("sum of {len} bytes");
    let mut contenders = vec![
        Contender::new(ZCN, || {
            rate(core, sample, len, || {
                black_box(Sum::of(black_box(&bytes)).checksum());
            })
        }),
        Contender::new(SCALAR, || {
            rate(core, sample, len, || {
                black_box(Sum::scalar(black_box(&bytes)).checksum());
            })
        }),
        Contender::new(INTERNET_CHECKSUM, || {
            rate(core, sample, len, || {
                black_box(internet_checksum::checksum(black_box(&bytes)));
            })
        }),
    ];
    let contest = ctx.alternate(&situation, &mut contenders)?;
    drop(contenders);
    ctx.report_all(contest.rows(BENCH, &situation, Some(INTERNET_CHECKSUM)))
}

fn copies(ctx: &mut Ctx, core: usize, len: usize) -> Result {
    let sample = ctx.sample;
    let bytes = vec![0x5a; len];
    let (mut one, mut two) = (vec![0; len], vec![0; len]);
    let situation = format!("copy and sum of {len} bytes");
    let mut contenders = vec![
        Contender::new(ZCN, || {
            rate(core, sample, len, || {
                black_box(copy_and_sum(black_box(&mut one), black_box(&bytes)).checksum());
            })
        }),
        Contender::new(COPY_THEN_SUM, || {
            rate(core, sample, len, || {
                black_box(&mut two).copy_from_slice(black_box(&bytes));
                black_box(Sum::of(black_box(&two)).checksum());
            })
        }),
    ];
    let contest = ctx.alternate(&situation, &mut contenders)?;
    drop(contenders);
    ctx.report_all(contest.rows(BENCH, &situation, Some(COPY_THEN_SUM)))
}

fn time(core: usize, sample: Duration, step: impl FnMut() + Send) -> Result<Vec<Figure>> {
    let (elapsed, steps) = repeat(core, sample, BLOCK, step)?;
    Ok(vec![ns_per_op(elapsed, steps)])
}

fn rate(
    core: usize,
    sample: Duration,
    len: usize,
    step: impl FnMut() + Send,
) -> Result<Vec<Figure>> {
    let (elapsed, steps) = repeat(core, sample, BLOCK, step)?;
    let rate = (steps * len as u64) as f64 / elapsed.as_nanos() as f64;
    Ok(vec![Figure::new("rate", rate, "GB/s")])
}
