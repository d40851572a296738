use proptest::prelude::*;
use zcn_frame::Chain;
use zcn_pool::SharedBuf;
use zcn_wire::{TcpOptions, TcpTimestamps, TrafficClass};

use super::*;
use crate::id::InterfaceId;

const MSS: usize = 100;

/// A segment of the flow from `port` that begins at `seq`.
fn segment(port: u16, seq: u32, len: usize, flags: TcpFlags) -> Arrived {
    let payload: Vec<u8> = (0..len).map(|at| (seq as usize + at) as u8).collect();
    Arrived {
        segment: SegmentIn {
            remote: ([10, 0, 0, 2], port).into(),
            local: ([10, 0, 0, 1], 80).into(),
            interface: InterfaceId(0),
            ecn: 0,
            tcp: TcpRepr {
                src_port: port,
                dst_port: 80,
                seq: SeqNum(seq),
                ack: SeqNum(7),
                flags,
                window: 1_000,
                urgent: 0,
                options: TcpOptions::default(),
            },
            payload: Chain::from(SharedBuf::from(bytes::Bytes::from(payload))),
            segments: 1,
            psh_seen: flags.contains(TcpFlags::PSH),
        },
        unit: len,
    }
}

fn data(port: u16, seq: u32) -> Arrived {
    segment(port, seq, MSS, TcpFlags::ACK)
}

/// What comes of these: port, number, length and segments of the wire.
fn coalesced(arrived: Vec<Arrived>) -> Vec<(u16, u32, usize, u16)> {
    let mut gro = Gro::default();
    let mut out = Vec::new();
    let mut take = |segment: &mut SegmentIn| out.push(core::mem::take(segment));
    for mut arrived in arrived {
        gro.push(&mut arrived, &mut take);
    }
    gro.flush(&mut take);
    assert!(gro.held.is_empty());
    for segment in &out {
        let seq = segment.tcp.seq.0 as usize;
        let bytes = segment.payload.to_vec();
        assert!(
            bytes
                .iter()
                .enumerate()
                .all(|(at, &byte)| byte == (seq + at) as u8)
        );
    }
    out.iter()
        .map(|s| (s.tcp.src_port, s.tcp.seq.0, s.payload.len(), s.segments))
        .collect()
}

#[test]
fn segments_in_order_become_one() {
    let train = (0..10).map(|at| data(1, at * 100)).collect();
    assert_eq!(coalesced(train), [(1, 0, 1_000, 10)]);
}

#[test]
fn flows_are_kept_apart() {
    let train = (0..10)
        .map(|at| data(at as u16 % 2, at / 2 * 100))
        .collect();
    assert_eq!(coalesced(train), [(0, 0, 500, 5), (1, 0, 500, 5)]);
}

#[test]
fn push_and_a_short_segment_are_the_last() {
    let push = TcpFlags::ACK | TcpFlags::PSH;
    let train = vec![data(1, 0), segment(1, 100, MSS, push), data(1, 200)];
    assert_eq!(coalesced(train), [(1, 0, 200, 2), (1, 200, 100, 1)]);
    let train = vec![data(1, 0), segment(1, 100, 50, TcpFlags::ACK), data(1, 150)];
    assert_eq!(coalesced(train), [(1, 0, 150, 2), (1, 150, 100, 1)]);
}

#[test]
fn what_differs_is_kept_apart_and_in_order() {
    let differ: [fn(&mut SegmentIn); 8] = [
        |segment| segment.tcp.seq = SeqNum(300),
        |segment| segment.tcp.ack = SeqNum(8),
        |segment| segment.tcp.window = 1_001,
        |segment| segment.ecn = 3,
        |segment| segment.tcp.flags |= TcpFlags::FIN,
        |segment| segment.tcp.flags |= TcpFlags::URG,
        |segment| segment.tcp.options.timestamps = Some(TcpTimestamps { val: 1, ecr: 2 }),
        |segment| segment.interface = InterfaceId(1),
    ];
    for (at, change) in differ.into_iter().enumerate() {
        let mut other = data(1, 100);
        change(&mut other.segment);
        if at == 0 {
            other = data(1, 300);
        }
        let result = coalesced(vec![data(1, 0), other, data(1, 200)]);
        assert!(result.len() >= 2, "{at}: {result:?}");
        assert_eq!(result[0], (1, 0, 100, 1), "{at}");
    }
}

#[test]
fn a_pure_acknowledgement_does_not_overtake_data() {
    let train = vec![data(1, 0), segment(1, 100, 0, TcpFlags::ACK), data(1, 100)];
    assert_eq!(
        coalesced(train),
        [(1, 0, 100, 1), (1, 100, 0, 1), (1, 100, 100, 1)]
    );
}

#[test]
fn a_super_segment_is_bounded() {
    let train = (0..200)
        .map(|at| segment(1, at * 1_448, 1_448, TcpFlags::ACK))
        .collect();
    let result = coalesced(train);
    assert_eq!(result.iter().map(|r| r.2).sum::<usize>(), 200 * 1_448);
    assert_eq!(result.iter().map(|r| u32::from(r.3)).sum::<u32>(), 200);
    assert!(result.iter().all(|r| r.2 <= BYTES_MAX));
    assert!(result.len() <= 11, "{}", result.len());
}

#[test]
fn many_flows_are_bounded() {
    let train = (0..1_000).map(|at| data(at as u16, 0)).collect();
    assert_eq!(coalesced(train).len(), 1_000);
}

#[test]
fn super_frames_join_when_their_pieces_have_one_size() {
    let super_frame = |seq, len: usize, unit: usize| {
        let mut arrived = segment(1, seq, len, TcpFlags::ACK);
        arrived.unit = unit;
        arrived.segment.segments = len.div_ceil(unit) as u16;
        arrived
    };
    let train = vec![super_frame(0, 400, 100), super_frame(400, 250, 100)];
    assert_eq!(coalesced(train), [(1, 0, 650, 7)]);
    let train = vec![super_frame(0, 400, 100), super_frame(400, 400, 200)];
    assert_eq!(coalesced(train), [(1, 0, 400, 4), (1, 400, 400, 2)]);
    let train = vec![super_frame(0, 450, 100), super_frame(450, 400, 100)];
    assert_eq!(coalesced(train), [(1, 0, 450, 5), (1, 450, 400, 4)]);
}

#[test]
fn the_same_counter_of_accurate_ecn_becomes_one() {
    let ace = |ace: u16| TcpFlags::ACK | TcpFlags::from_bits(ace << 6);
    let train = vec![
        segment(1, 0, MSS, ace(5)),
        segment(1, 100, MSS, ace(5)),
        segment(1, 200, MSS, ace(6)),
        segment(1, 300, MSS, ace(6) | TcpFlags::PSH),
    ];
    assert_eq!(coalesced(train), [(1, 0, 200, 2), (1, 200, 200, 2)]);
}

/// What of a segment differs from the one that would simply go on.
fn oddities() -> impl Strategy<Value = u16> {
    prop_oneof![4 => Just(0), 1 => (0_u32..10).prop_map(|bit| 1 << bit)]
}

proptest! {
    /// Whether what goes on is written down first makes no difference.
    #[test]
    fn what_simply_goes_on_comes_to_the_same_either_way(
        odd in prop::collection::vec(oddities(), 0..60),
    ) {
        let put_together = |extends: bool| {
            let (mut gro, mut out) = (Gro::default(), Vec::new());
            let mut take = |segment: &mut SegmentIn| out.push(core::mem::take(segment));
            let mut seq = 0;
            for &odd in &odd {
                let is = |bit: u32| odd & (1 << bit) != 0;
                let len = if is(0) { 0 } else if is(1) { MSS / 2 } else if is(2) { 2 * MSS } else { MSS };
                let header = Tcp4Segment {
                    src: [10, 0, 0, if is(3) { 3 } else { 2 }].into(),
                    dst: [10, 0, 0, 1].into(),
                    ttl: 64,
                    traffic_class: TrafficClass(if is(4) { 2 } else { 0 }),
                    src_port: 1,
                    dst_port: 80,
                    seq: SeqNum(seq),
                    ack: SeqNum(if is(5) { 8 } else { 7 }),
                    push: is(6),
                    window: if is(7) { 2 } else { 1 },
                    timestamps: (!is(8)).then_some(TcpTimestamps { val: 1, ecr: 2 }),
                    payload_len: len,
                };
                let interface = InterfaceId(u16::from(is(9)));
                let bytes: Vec<u8> = (0..len).map(|at| (seq as usize + at) as u8).collect();
                let mut payload = Chain::from(SharedBuf::from(bytes::Bytes::from(bytes)));
                if !(extends && gro.extend(&header, interface, &mut payload)) {
                    let mut arrived = Arrived::default();
                    arrived.fill(&header, interface, payload);
                    gro.push(&mut arrived, &mut take);
                }
                seq += len as u32;
            }
            gro.flush(&mut take);
            out.iter()
                .map(|s| (format!("{:?}", (s.remote, s.local, s.interface, s.ecn, &s.tcp, s.segments, s.psh_seen)), s.payload.to_vec()))
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(put_together(true), put_together(false));
    }
}
