//! Reads frames as a strict receiver would.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use zcn_frame::{Frame, Medium};
use zcn_link::segment::{complete_checksum, segment};
use zcn_wire::ipv6::Chain;
use zcn_wire::{
    EtherType, EthernetView, Ipv4View, Ipv6View, Protocol, PseudoHeader, SeqNum, TcpFlags,
    TcpOptions, TcpView, UdpView,
};

/// What a packet is, as far as the invariants are concerned.
#[derive(Debug)]
pub(super) enum Packet {
    Tcp(Box<Segment>),
    /// Something else, in words.
    Other(String),
}

/// A TCP segment with right checksums.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
    pub(super) seq: SeqNum,
    /// `None` without ACK.
    pub(super) ack: Option<SeqNum>,
    pub(super) flags: TcpFlags,
    pub(super) window: u16,
    pub(super) options: TcpOptions,
    pub(super) len: u32,
}

impl Segment {
    /// The number behind the last one that it takes.
    pub(super) fn end(&self) -> SeqNum {
        self.seq + self.len + u32::from(self.flags.syn()) + u32::from(self.flags.fin())
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(segment) => segment.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// As `tcpdump` would say it.
impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (TcpFlags::SYN, 'S'),
            (TcpFlags::FIN, 'F'),
            (TcpFlags::RST, 'R'),
            (TcpFlags::PSH, 'P'),
            (TcpFlags::ACK, '.'),
        ];
        let flags: String = letters
            .iter()
            .filter(|(flag, _)| self.flags.contains(*flag))
            .map(|(_, letter)| *letter)
            .collect();
        write!(f, "{} > {} [{flags}]", self.src, self.dst)?;
        write!(f, " seq {}", self.seq.0)?;
        if self.len > 0 {
            write!(f, "+{}", self.len)?;
        }
        if let Some(ack) = self.ack {
            write!(f, " ack {}", ack.0)?;
        }
        write!(f, " win {}", self.window)?;
        for block in self.options.sack.iter() {
            write!(f, " sack {}-{}", block.left.0, block.right.0)?;
        }
        if let Some(timestamps) = self.options.timestamps {
            write!(f, " ts {} {}", timestamps.val, timestamps.ecr)?;
        }
        Ok(())
    }
}

/// The packets of a frame: one, or those that a super-frame stands for.
pub(super) fn packets(frame: &Frame, medium: Medium) -> Result<Vec<Packet>, String> {
    let mut frames = Vec::new();
    segment(frame.clone(), medium.header_len(), &mut frames)
        .map_err(|error| format!("a super-frame of {} bytes: {error}", frame.len()))?;
    frames
        .into_iter()
        .map(|mut frame| {
            complete_checksum(&mut frame).map_err(|error| error.to_string())?;
            let bytes = frame.to_vec();
            packet(&bytes, medium)
                .map_err(|error| format!("{error} in a frame of {} bytes", bytes.len()))
        })
        .collect()
}

fn packet(bytes: &[u8], medium: Medium) -> Result<Packet, String> {
    let wrong = |what: &str, error: zcn_wire::ParseError| format!("{what}: {error}");
    let payload = match medium {
        Medium::Ethernet { .. } => {
            let view = EthernetView::new(bytes).map_err(|e| wrong("Ethernet", e))?;
            match view.ethertype() {
                EtherType::IPV4 | EtherType::IPV6 => view.payload(),
                other => return Ok(Packet::Other(format!("{other}"))),
            }
        }
        Medium::Ip => bytes,
    };
    let (src, dst, protocol, transport): (IpAddr, IpAddr, _, _);
    match payload.first().map(|first| first >> 4) {
        Some(4) => {
            let view = Ipv4View::new(payload).map_err(|e| wrong("IPv4", e))?;
            view.verify_checksum().map_err(|e| wrong("IPv4", e))?;
            if view.is_fragment() {
                return Ok(Packet::Other("a fragment".to_owned()));
            }
            (src, dst) = (view.src().into(), view.dst().into());
            (protocol, transport) = (view.protocol(), view.payload());
        }
        Some(6) => {
            let view = Ipv6View::new(payload).map_err(|e| wrong("IPv6", e))?;
            let chain = Chain::walk(&view).map_err(|e| format!("IPv6: {e}"))?;
            if chain.is_fragment() {
                return Ok(Packet::Other("a fragment".to_owned()));
            }
            (src, dst) = (view.src().into(), view.dst().into());
            (protocol, transport) = (chain.upper, chain.payload);
        }
        _ => return Err("neither IPv4 nor IPv6".to_owned()),
    }
    let pseudo = PseudoHeader::new(src, dst, protocol).ok_or("two families")?;
    match protocol {
        Protocol::TCP => {
            let view = TcpView::new(transport).map_err(|e| wrong("TCP", e))?;
            view.verify_checksum(pseudo).map_err(|e| wrong("TCP", e))?;
            Ok(Packet::Tcp(Box::new(Segment {
                src: SocketAddr::new(src, view.src_port()),
                dst: SocketAddr::new(dst, view.dst_port()),
                seq: view.seq(),
                ack: view.flags().ack().then(|| view.ack()),
                flags: view.flags(),
                window: view.window(),
                options: TcpOptions::parse(view.options()),
                len: view.payload().len() as u32,
            })))
        }
        Protocol::UDP => {
            let view = UdpView::new(transport).map_err(|e| wrong("UDP", e))?;
            view.verify_checksum(pseudo).map_err(|e| wrong("UDP", e))?;
            Ok(Packet::Other(format!(
                "{src}:{} > {dst}:{} UDP {}",
                view.src_port(),
                view.dst_port(),
                view.payload().len()
            )))
        }
        other => Ok(Packet::Other(format!(
            "{src} > {dst} {other} type {}",
            transport.first().copied().unwrap_or_default()
        ))),
    }
}
