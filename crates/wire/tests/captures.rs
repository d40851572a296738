//! Frames of other systems, taken apart and put together again to the byte.

use std::collections::BTreeMap;

use zcn_wire::ipv6::Chain;
use zcn_wire::{
    ArpRepr, ArpView, EtherType, EthernetRepr, EthernetView, Icmpv4Repr, Icmpv4View, Icmpv6Repr,
    Icmpv6View, Ipv4Repr, Ipv4View, Ipv6Repr, Ipv6View, MldRepr, NdpRepr, OptionLayout, Protocol,
    PseudoHeader, QuotedPacket, TcpRepr, TcpView, UdpRepr, UdpView, tcp, udp,
};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn frames(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let pairs = line.as_bytes().chunks(2);
        let byte = |pair| {
            let digits = std::str::from_utf8(pair).expect("hexadecimal digits");
            u8::from_str_radix(digits, 16).expect("hexadecimal digits")
        };
        pairs.map(byte).collect()
    })
}

/// Takes `frame` apart with every check there is and writes it anew; tells what it was.
fn again(frame: &[u8]) -> Result<(&'static str, Vec<u8>)> {
    let mut bytes = vec![0; frame.len()];
    let view = EthernetView::new(frame)?;
    let at = EthernetRepr::parse(&view).emit(&mut bytes)?;
    let (payload, to) = (view.payload(), &mut bytes[at..]);
    let kind = match view.ethertype() {
        EtherType::ARP => {
            ArpRepr::parse(&ArpView::new(payload)?)?.emit(to)?;
            "ARP"
        }
        EtherType::IPV4 => ipv4(payload, to)?,
        EtherType::IPV6 => ipv6(payload, to)?,
        other => return Err(format!("an unexpected type {other}").into()),
    };
    Ok((kind, bytes))
}

fn ipv4(packet: &[u8], to: &mut [u8]) -> Result<&'static str> {
    let view = Ipv4View::new(packet)?;
    view.verify_checksum()?;
    let header = Ipv4Repr::parse(&view);
    header
        .options
        .iter()
        .try_for_each(|option| option.map(drop))?;
    let at = header.emit(to)?;
    let to = &mut to[at..];
    if view.is_fragment() {
        to.copy_from_slice(view.payload());
        return Ok("fragment");
    }
    if view.protocol() == Protocol::ICMP {
        let view = Icmpv4View::new(view.payload())?;
        view.verify_checksum()?;
        let message = Icmpv4Repr::parse(&view);
        message.emit(to)?;
        if let Icmpv4Repr::DestinationUnreachable { quoted, .. } = message {
            let quoted = QuotedPacket::v4(quoted)?;
            assert_eq!(quoted.src, std::net::IpAddr::V4(header.dst));
            assert_eq!(quoted.ports().map(|ports| ports.1), Some(9));
            return Ok("unreachable");
        }
        return Ok("echo");
    }
    transport(view.protocol(), view.payload(), view.pseudo_header(), to)
}

fn ipv6(packet: &[u8], to: &mut [u8]) -> Result<&'static str> {
    let view = Ipv6View::new(packet)?;
    let header = Ipv6Repr::parse(&view);
    header.emit(to)?;
    let chain = Chain::walk(&view)?;
    // The chain as it is: only what the crate writes itself is written anew.
    to[40..chain.offset].copy_from_slice(&packet[40..chain.offset]);
    let to = &mut to[chain.offset..];
    if let Some(fragment) = chain.fragment {
        let mut written = [0; 8];
        fragment.emit(&mut written)?;
        assert_eq!(written, packet[40..48]);
        to.copy_from_slice(chain.payload);
        return Ok("fragment");
    }
    let pseudo = view.pseudo_header(chain.upper);
    if chain.upper == Protocol::ICMPV6 {
        let view = Icmpv6View::new(chain.payload)?;
        view.verify_checksum(pseudo)?;
        let message = Icmpv6Repr::parse(&view)?;
        message.emit(pseudo, to)?;
        return Ok(match message {
            Icmpv6Repr::Ndp(ndp) => {
                ndp.validate(header.src, header.dst, header.hop_limit)?;
                match ndp {
                    NdpRepr::RouterSolicitation { .. } => "router solicitation",
                    NdpRepr::NeighborSolicitation { .. } => "neighbor solicitation",
                    _ => "neighbor advertisement",
                }
            }
            Icmpv6Repr::DestinationUnreachable { quoted, .. } => {
                assert_eq!(
                    QuotedPacket::v6(quoted)?.ports().map(|ports| ports.1),
                    Some(9)
                );
                "unreachable"
            }
            Icmpv6Repr::Mld(MldRepr::Report(_)) => "listener report",
            _ => "echo",
        });
    }
    transport(chain.upper, chain.payload, pseudo, to)
}

fn transport(
    protocol: Protocol,
    packet: &[u8],
    pseudo: PseudoHeader,
    to: &mut [u8],
) -> Result<&'static str> {
    Ok(match protocol {
        Protocol::TCP => {
            let view = TcpView::new(packet)?;
            view.verify_checksum(pseudo)?;
            let at = TcpRepr::parse(&view).emit(OptionLayout::Linux, to)?;
            to[at..].copy_from_slice(view.payload());
            tcp::fill_checksum(to, pseudo)?;
            "TCP"
        }
        Protocol::UDP => {
            let view = UdpView::new(packet)?;
            view.verify_checksum(pseudo)?;
            let at = UdpRepr::parse(&view).emit(to)?;
            to[at..].copy_from_slice(view.payload());
            udp::fill_checksum(to, pseudo)?;
            "UDP"
        }
        other => return Err(format!("an unexpected {other}").into()),
    })
}

#[test]
fn frames_of_linux_come_out_as_they_went_in() {
    let mut kinds = BTreeMap::new();
    for (number, frame) in frames(include_str!("data/linux.txt")).enumerate() {
        let (kind, written) = again(&frame).unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(written, frame, "frame {number}, {kind}");
        *kinds.entry(kind).or_insert(0) += 1;
    }
    // As tshark counts them.
    let counted = [
        ("ARP", 2),
        ("TCP", 24),
        ("UDP", 2),
        ("echo", 6),
        ("fragment", 4),
        ("listener report", 9),
        ("neighbor advertisement", 1),
        ("neighbor solicitation", 5),
        ("router solicitation", 2),
        ("unreachable", 2),
    ];
    assert_eq!(kinds, counted.into_iter().collect());
}

#[test]
fn a_cut_frame_is_refused_and_does_no_harm() {
    for frame in frames(include_str!("data/linux.txt")) {
        for len in 0..frame.len() {
            assert!(again(&frame[..len]).is_err());
        }
    }
}
