//! What a stack tells switches and routers of the groups it listens to (RFC 9777, RFC 2710).

mod net;

use std::net::Ipv6Addr;
use std::time::Duration;

use net::*;
use zcn_stack::{Instant, Stack};
use zcn_wire::ipv6::Chain;
use zcn_wire::mld::{self, ALL_MLDV2_ROUTERS, ALL_ROUTERS};
use zcn_wire::ndp::solicited_node;
use zcn_wire::{
    EtherType, EthernetAddress, EthernetRepr, EthernetView, Icmpv6Repr, Icmpv6View, Ipv6Repr,
    Ipv6View, MldQuerier, MldQuery, MldRecordKind, MldRepr, NdpRepr, Protocol,
};

/// An address of the first stack.
const OTHER: &str = "fd00::77/64";
const ROUTER: &str = "fe80::99";
const ANY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;

fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

/// A message that the stack sent, in words, with its source and destination.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Records(Vec<(MldRecordKind, Ipv6Addr)>),
    Listening(Ipv6Addr),
    Done(Ipv6Addr),
    Probe(Ipv6Addr),
}

/// Listener messages and probes for duplicates among frames, each checked.
fn said(frames: &[Vec<u8>]) -> Vec<(Ipv6Addr, Ipv6Addr, Said)> {
    let mut all = Vec::new();
    for bytes in frames {
        let frame = EthernetView::new(bytes).expect("a frame");
        if frame.ethertype() != EtherType::IPV6 {
            continue;
        }
        let packet = Ipv6View::new(frame.payload()).expect("a packet");
        let chain = Chain::walk(&packet).expect("sound headers");
        if chain.upper != Protocol::ICMPV6 {
            continue;
        }
        let view = Icmpv6View::new(chain.payload).expect("a message");
        view.verify_checksum(packet.pseudo_header(Protocol::ICMPV6))
            .expect("a right checksum");
        let message = match Icmpv6Repr::parse(&view).expect("a sound message") {
            Icmpv6Repr::Mld(message) => {
                assert_eq!(packet.hop_limit(), 1);
                assert!(chain.router_alert);
                let to = EthernetAddress::from_ipv6_multicast(packet.dst());
                assert_eq!(frame.dst(), to);
                match message {
                    MldRepr::Report(records) => Said::Records(
                        records
                            .iter()
                            .inspect(|record| assert!(record.sources.is_empty()))
                            .map(|record| (record.kind, record.group))
                            .collect(),
                    ),
                    MldRepr::ReportV1 { group } => Said::Listening(group),
                    MldRepr::Done { group } => Said::Done(group),
                    MldRepr::Query(query) => panic!("a host asks: {query:?}"),
                }
            }
            Icmpv6Repr::Ndp(NdpRepr::NeighborSolicitation { target, .. })
                if packet.src() == ANY =>
            {
                Said::Probe(target)
            }
            _ => continue,
        };
        all.push((packet.src(), packet.dst(), message));
    }
    all
}

/// Only the listener messages.
fn reports(frames: &[Vec<u8>]) -> Vec<(Ipv6Addr, Ipv6Addr, Said)> {
    let mut all = said(frames);
    all.retain(|(_, _, said)| !matches!(said, Said::Probe(_)));
    all
}

/// How a query gets to the stack.
#[derive(Clone, Copy)]
struct Way {
    source: &'static str,
    hop_limit: u8,
    alert: bool,
}

const SOUND: Way = Way {
    source: ROUTER,
    hop_limit: 1,
    alert: true,
};

fn frame(way: Way, destination: Ipv6Addr, message: MldRepr<'_>) -> Vec<u8> {
    let message = Icmpv6Repr::Mld(message);
    let header = EthernetRepr {
        dst: EthernetAddress::from_ipv6_multicast(destination),
        src: EthernetAddress([2, 0, 0, 0, 0, 0x99]),
        ethertype: EtherType::IPV6,
        vlan: None,
    };
    let alert: &[u8] = if way.alert { &mld::router_alert() } else { &[] };
    let first = if way.alert {
        Protocol::HOP_BY_HOP
    } else {
        Protocol::ICMPV6
    };
    let packet = Ipv6Repr {
        hop_limit: way.hop_limit,
        ..Ipv6Repr::new(
            v6(way.source),
            destination,
            first,
            alert.len() + message.buffer_len(),
        )
    };
    let mut bytes = vec![0; 14 + packet.buffer_len()];
    header.emit(&mut bytes).expect("room");
    packet.emit(&mut bytes[14..]).expect("room");
    bytes[54..54 + alert.len()].copy_from_slice(alert);
    let pseudo = packet.pseudo_header(Protocol::ICMPV6);
    message
        .emit(pseudo, &mut bytes[54 + alert.len()..])
        .expect("room");
    bytes
}

fn query(group: Ipv6Addr, version: u8) -> MldRepr<'static> {
    MldRepr::Query(MldQuery {
        max_response_code: 1_000,
        group,
        querier: (version == 2).then_some(MldQuerier {
            suppress: false,
            robustness: 2,
            interval_code: 125,
            sources: &[],
        }),
    })
}

fn all_nodes() -> Ipv6Addr {
    v6("ff02::1")
}

/// The groups of the first stack of a [`Net`].
fn own_groups(stack: &Stack) -> Vec<Ipv6Addr> {
    let own = stack
        .addresses(IF)
        .filter_map(|(cidr, _)| match cidr.address() {
            std::net::IpAddr::V6(own) => Some(solicited_node(own)),
            std::net::IpAddr::V4(_) => None,
        });
    let mut groups: Vec<_> = own.collect();
    groups.sort();
    groups.dedup();
    groups
}

/// Two stacks, the first with an address more, whose group is not that of its others.
fn start(dad_transmits: u8) -> Net {
    let mut config = config();
    config.dad_transmits = dad_transmits;
    let mut net = Net::with(config, 1_500);
    let (now, cidr) = (net.now, OTHER.parse().expect("a network"));
    net.stacks[0].add_address(now, IF, cidr).expect("free");
    net
}

/// Two stacks that have told what they listen to.
fn settled() -> Net {
    let mut net = start(0);
    net.run_for(Duration::from_secs(5));
    net.sent(0);
    net
}

#[test]
fn a_group_is_reported_before_its_address_is_probed() {
    let mut net = start(1);
    net.run_for(Duration::from_secs(5));
    let frames = net.sent(0);
    let all = said(&frames);
    let (source, destination, first) = &all[0];
    assert_eq!((*source, *destination), (ANY, ALL_MLDV2_ROUTERS), "{all:?}");
    let groups = own_groups(&net.stacks[0]);
    assert_eq!(groups.len(), 2);
    let mut reported = match first {
        Said::Records(records) => records.clone(),
        other => panic!("{other:?}"),
    };
    reported.sort_by_key(|record| record.1);
    let joined = |group: &Ipv6Addr| (MldRecordKind::ToExclude, *group);
    let expected: Vec<_> = groups.iter().map(joined).collect();
    assert_eq!(reported, expected);
    assert!(matches!(all[1].2, Said::Probe(_)), "{all:?}");
    // Again without a source, and twice from the address that was found to be free.
    let sources: Vec<_> = reports(&frames).iter().map(|said| said.0).collect();
    let (with, without): (Vec<_>, Vec<_>) = sources.into_iter().partition(|source| *source != ANY);
    assert!((1..=2).contains(&without.len()), "{all:?}");
    assert_eq!(with, [v6("fe80::ff:fe00:1"); 2]);
    assert_eq!(
        net.stacks[0].stats().icmpv6.out_mldv2_reports,
        (with.len() + without.len()) as u64
    );
}

#[test]
fn queries_of_either_version_are_answered() {
    let mut net = settled();
    let groups = own_groups(&net.stacks[0]);
    net.inject(0, &[&frame(SOUND, all_nodes(), query(ANY, 2))]);
    net.run_for(Duration::from_secs(1));
    let answers = reports(&net.sent(0));
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].1, ALL_MLDV2_ROUTERS);
    match &answers[0].2 {
        Said::Records(records) => {
            let mut of: Vec<_> = records.iter().map(|record| record.1).collect();
            of.sort();
            assert_eq!(of, groups);
            assert!(records.iter().all(|r| r.0 == MldRecordKind::IsExclude));
        }
        other => panic!("{other:?}"),
    }
    // About one group, to that group.
    let one = groups[0];
    net.inject(0, &[&frame(SOUND, one, query(one, 2))]);
    net.run_for(Duration::from_secs(1));
    let answers = reports(&net.sent(0));
    let expected = Said::Records(vec![(MldRecordKind::IsExclude, one)]);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].2, expected);
    // Version 1.
    net.inject(0, &[&frame(SOUND, all_nodes(), query(ANY, 1))]);
    net.run_for(Duration::from_secs(1));
    let mut answers = reports(&net.sent(0));
    answers.sort_by_key(|said| said.1);
    for ((_, destination, said), group) in answers.iter().zip(&groups) {
        assert_eq!((destination, said), (group, &Said::Listening(*group)));
    }
    assert_eq!(answers.len(), groups.len());
    let now = net.now;
    net.stacks[0]
        .remove_address(now, IF, ip("fd00::77"))
        .expect("assigned");
    net.run_for(Duration::from_secs(2));
    let left = solicited_node(v6("fd00::77"));
    let answers = reports(&net.sent(0));
    assert_eq!(answers.len(), 1, "{answers:?}");
    let said = (answers[0].1, &answers[0].2);
    assert_eq!(said, (ALL_ROUTERS, &Said::Done(left)));
    let stats = net.stacks[0].stats().icmpv6;
    assert_eq!(stats.in_group_memb_queries, 3);
    assert_eq!(stats.out_group_memb_responses, groups.len() as u64);
    assert_eq!(net.drops(0, "mld-malformed"), 0);
}

#[test]
fn queries_from_afar_or_without_an_alert_are_dropped() {
    let mut net = settled();
    for (number, way) in [
        Way {
            hop_limit: 2,
            ..SOUND
        },
        Way {
            hop_limit: 255,
            ..SOUND
        },
        Way {
            source: "2001:db8::1",
            ..SOUND
        },
        Way {
            source: "::",
            ..SOUND
        },
        Way {
            alert: false,
            ..SOUND
        },
    ]
    .into_iter()
    .enumerate()
    {
        for version in [1, 2] {
            net.inject(0, &[&frame(way, all_nodes(), query(ANY, version))]);
        }
        net.run_for(Duration::from_secs(2));
        assert_eq!(reports(&net.sent(0)), []);
        assert_eq!(net.drops(0, "mld-malformed"), 2 * (number as u64 + 1));
    }
    let mut cut = frame(SOUND, all_nodes(), query(ANY, 2));
    // A source is announced that is not there.
    cut[62 + 27] = 1;
    let sum = u16::from_be_bytes([cut[64], cut[65]]) - 1;
    cut[64..66].copy_from_slice(&sum.to_be_bytes());
    net.inject(0, &[&cut]);
    assert_eq!(net.drops(0, "mld-malformed"), 11);
    assert_eq!(net.stacks[0].stats().icmpv6.in_errors, 11);
}

#[test]
fn reports_of_others_are_for_routers() {
    let mut net = settled();
    let group = own_groups(&net.stacks[0])[0];
    net.inject(0, &[&frame(SOUND, group, MldRepr::ReportV1 { group })]);
    net.inject(0, &[&frame(SOUND, group, MldRepr::Done { group })]);
    net.run_for(Duration::from_secs(2));
    assert_eq!(reports(&net.sent(0)), []);
    let stats = net.stacks[0].stats().icmpv6;
    assert_eq!((stats.in_msgs, stats.in_group_memb_responses), (2, 1));
}

#[test]
fn a_thousand_addresses_are_reported_in_messages_that_fit() {
    let mut net = Net::plain(1_280);
    net.run_for(Duration::from_secs(5));
    let before = own_groups(&net.stacks[0]);
    let now = net.now;
    for number in 0..1_000 {
        let cidr = format!("fd00::1:{number:x}/64").parse().expect("a network");
        net.stacks[0].add_address(now, IF, cidr).expect("free");
    }
    net.sent(0);
    net.run_for(Duration::from_secs(5));
    let frames = net.sent(0);
    assert!(frames.iter().all(|bytes| bytes.len() <= 1_294));
    let mut told = std::collections::BTreeMap::new();
    for (_, _, said) in reports(&frames) {
        if let Said::Records(records) = said {
            for (kind, group) in records {
                assert_eq!(kind, MldRecordKind::ToExclude);
                *told.entry(group).or_insert(0) += 1;
            }
        }
    }
    let groups = own_groups(&net.stacks[0]);
    assert_eq!(groups.len(), before.len() + 1_000);
    for group in groups {
        // Those of the start were told before.
        let times = (!before.contains(&group)).then_some(2);
        assert_eq!(told.remove(&group), times, "{group}");
    }
    assert!(told.is_empty());
}

#[test]
fn a_duplicate_is_not_listened_for() {
    let mut net = start(1);
    net.run_for(Duration::from_secs(5));
    net.sent(1);
    let now = net.now;
    // The first stack has it.
    net.stacks[1]
        .add_address(now, IF, OTHER.parse().expect("a network"))
        .expect("unknown here");
    net.run_for(Duration::from_secs(5));
    let group = solicited_node(v6("fd00::77"));
    let kinds: Vec<_> = reports(&net.sent(1))
        .into_iter()
        .flat_map(|(_, _, said)| match said {
            Said::Records(records) => records,
            other => panic!("{other:?}"),
        })
        .inspect(|(_, of)| assert_eq!(*of, group))
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds.first(), Some(&MldRecordKind::ToExclude));
    assert_eq!(kinds[kinds.len() - 2..], [MldRecordKind::ToInclude; 2]);
}

#[test]
fn a_flood_of_queries_is_one_answer() {
    let mut net = settled();
    let bytes = frame(SOUND, all_nodes(), query(ANY, 2));
    let now: Instant = net.now;
    for _ in 0..100 {
        let mut frames = (0..100).map(|_| wire(&bytes)).collect();
        net.stacks[0].handle_frames(now, IF, &mut frames);
    }
    net.run_for(Duration::from_secs(2));
    assert_eq!(reports(&net.sent(0)).len(), 1);
}
