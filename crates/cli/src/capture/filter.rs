//! Which frames are wanted.

use std::fmt;
use std::net::IpAddr;

use clap::ValueEnum;
use zcn_link::Frame;
use zcn_wire::ipv6::Chain;
use zcn_wire::{ArpView, EtherType, EthernetView, Ipv4View, Ipv6View, Protocol};

/// Bytes that are looked at: all headers of any sensible packet.
const LOOKED_AT: usize = 256;

/// Kinds of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// ARP.
    Arp,
    /// ICMP and ICMPv6.
    Icmp,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// What a frame says of itself in its headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Packet {
    /// Ethernet address of the sender.
    pub(super) source: [u8; 6],
    kind: Option<Kind>,
    addresses: Option<(IpAddr, IpAddr)>,
    ports: Option<(u16, u16)>,
}

impl Packet {
    /// Reads the headers; what is malformed stays unknown.
    pub(super) fn of(frame: &Frame) -> Self {
        let mut bytes = [0; LOOKED_AT];
        let len = frame.copy_to_slice(0, &mut bytes);
        Self::read(&bytes[..len])
    }

    fn read(bytes: &[u8]) -> Self {
        let mut packet = Self::default();
        let Ok(ethernet) = EthernetView::new(bytes) else {
            return packet;
        };
        packet.source = ethernet.src().0;
        let payload = ethernet.payload();
        match ethernet.ethertype() {
            EtherType::ARP => {
                packet.kind = Some(Kind::Arp);
                if let Ok(arp) = ArpView::new(payload) {
                    packet.addresses =
                        Some((arp.sender_protocol().into(), arp.target_protocol().into()));
                }
            }
            EtherType::IPV4 => {
                // Quoted: the packet goes on behind what we look at.
                if let Ok(ip) = Ipv4View::quoted(payload) {
                    packet.addresses = Some((ip.src().into(), ip.dst().into()));
                    let first = ip.fragment_offset() == 0;
                    packet.upper(ip.protocol(), first.then(|| ip.payload()));
                }
            }
            EtherType::IPV6 => {
                if let Ok(ip) = Ipv6View::quoted(payload) {
                    packet.addresses = Some((ip.src().into(), ip.dst().into()));
                    match Chain::walk(&ip) {
                        Ok(chain) => {
                            let first = chain.fragment.is_none_or(|fragment| fragment.offset == 0);
                            packet.upper(chain.upper, first.then_some(chain.payload));
                        }
                        Err(_) => packet.upper(ip.next_header(), None),
                    }
                }
            }
            _ => {}
        }
        packet
    }

    fn upper(&mut self, protocol: Protocol, payload: Option<&[u8]>) {
        self.kind = match protocol {
            Protocol::TCP => Some(Kind::Tcp),
            Protocol::UDP => Some(Kind::Udp),
            Protocol::ICMP | Protocol::ICMPV6 => Some(Kind::Icmp),
            _ => None,
        };
        if let (Some(Kind::Tcp | Kind::Udp), Some([a, b, c, d, ..])) = (self.kind, payload) {
            self.ports = Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])));
        }
    }
}

/// As in `10.9.0.1:40000 > 10.9.0.2:80 tcp`.
impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |f: &mut fmt::Formatter<'_>, address: IpAddr, port: Option<u16>| match port {
            Some(port) => write!(f, "{}", std::net::SocketAddr::from((address, port))),
            None => write!(f, "{address}"),
        };
        if let Some((from, to)) = self.addresses {
            end(f, from, self.ports.map(|ports| ports.0))?;
            f.write_str(" > ")?;
            end(f, to, self.ports.map(|ports| ports.1))?;
            f.write_str(" ")?;
        }
        f.write_str(match self.kind {
            Some(Kind::Arp) => "arp",
            Some(Kind::Icmp) => "icmp",
            Some(Kind::Udp) => "udp",
            Some(Kind::Tcp) => "tcp",
            None => "other",
        })
    }
}

/// What a frame must be: of each list that is not empty, one.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) ports: Vec<u16>,
    pub(super) hosts: Vec<IpAddr>,
    pub(super) kinds: Vec<Kind>,
}

impl Filter {
    pub(super) fn passes(&self, packet: &Packet) -> bool {
        let port = |port| self.ports.contains(&port);
        let host = |host| self.hosts.contains(&host);
        (self.ports.is_empty()
            || packet
                .ports
                .is_some_and(|(from, to)| port(from) || port(to)))
            && (self.hosts.is_empty()
                || packet
                    .addresses
                    .is_some_and(|(from, to)| host(from) || host(to)))
            && (self.kinds.is_empty() || packet.kind.is_some_and(|kind| self.kinds.contains(&kind)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zcn_wire::{EthernetAddress, EthernetRepr, Ipv4Repr, Ipv6Repr};

    const FROM: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

    fn ethernet(ethertype: EtherType, rest: &[u8]) -> Vec<u8> {
        let header = EthernetRepr {
            dst: EthernetAddress([2, 0, 0, 0, 0, 2]),
            src: FROM,
            ethertype,
            vlan: None,
        };
        let mut bytes = vec![0; header.header_len()];
        header.emit(&mut bytes).expect("room");
        bytes.extend(rest);
        bytes
    }

    /// Longer than what is looked at.
    fn datagram() -> Vec<u8> {
        let mut udp = vec![0x9c, 0x40, 0, 53, 0, 0, 0, 0];
        udp.resize(1000, 7);
        udp
    }

    fn v4() -> Packet {
        let udp = datagram();
        let ip = Ipv4Repr::new(
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            Protocol::UDP,
            udp.len(),
        );
        let mut bytes = vec![0; ip.header_len()];
        ip.emit(&mut bytes).expect("room");
        bytes.extend(udp);
        let frame = ethernet(EtherType::IPV4, &bytes);
        Packet::read(&frame[..LOOKED_AT])
    }

    #[test]
    fn headers_are_read() {
        let packet = v4();
        assert_eq!(packet.source, FROM.0);
        assert_eq!(packet.to_string(), "10.0.0.1:40000 > 10.0.0.2:53 udp");

        let udp = datagram();
        let to = "fd00::2".parse().expect("an address");
        let from = "fd00::1".parse().expect("an address");
        let ip = Ipv6Repr::new(from, to, Protocol::UDP, udp.len());
        let mut bytes = vec![0; ip.header_len()];
        ip.emit(&mut bytes).expect("room");
        bytes.extend(udp);
        let frame = ethernet(EtherType::IPV6, &bytes);
        assert_eq!(
            Packet::read(&frame[..LOOKED_AT]).to_string(),
            "[fd00::1]:40000 > [fd00::2]:53 udp"
        );
        for nonsense in [&[][..], &[0; 13], &ethernet(EtherType::IPV4, &[0x45; 3])] {
            assert_eq!(Packet::read(nonsense).kind, None);
        }
    }

    #[test]
    fn each_list_must_have_one_that_fits() {
        let packet = v4();
        let all = Filter::default();
        assert!(all.passes(&packet) && all.passes(&Packet::default()));
        let fitting = Filter {
            ports: vec![80, 53],
            hosts: vec![[10, 0, 0, 1].into()],
            kinds: vec![Kind::Udp],
        };
        assert!(fitting.passes(&packet));
        assert!(!fitting.passes(&Packet::default()));
        for other in [
            Filter {
                ports: vec![80],
                ..fitting.clone()
            },
            Filter {
                hosts: vec![[10, 0, 0, 3].into()],
                ..fitting.clone()
            },
            Filter {
                kinds: vec![Kind::Tcp, Kind::Arp],
                ..fitting
            },
        ] {
            assert!(!other.passes(&packet), "{other:?}");
        }
    }
}
