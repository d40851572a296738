//! The IPv4 and TCP headers of nearly every segment of an open connection, read and written
//! as one.

use std::net::Ipv4Addr;

use crate::bytes::{array, be16, be32, put};
use crate::checksum::{PseudoHeader, Sum};
use crate::error::EmitError;
use crate::ipv4;
use crate::protocol::{Protocol, TrafficClass};
use crate::seq::SeqNum;
use crate::tcp::{self, TcpFlags, TcpTimestamps};

/// Bytes of both headers without timestamps.
pub const HEADER_LEN: usize = ipv4::HEADER_LEN + tcp::HEADER_LEN;
/// Bytes of both headers with timestamps.
pub const TIMESTAMPS_HEADER_LEN: usize = HEADER_LEN + 12;
/// Where the checksum of TCP stands.
pub const CHECKSUM_AT: usize = ipv4::HEADER_LEN + tcp::CHECKSUM_OFFSET as usize;

/// Version 4, and a header without options.
const VERSION_AND_LENGTH: u8 = 0x45;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;
/// `NOP NOP timestamps`, as everybody writes it (RFC 7323, appendix A).
const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];

/// A whole IPv4 packet without options, with a segment that has ACK, perhaps PSH and nothing
/// else, and timestamps in their usual place or no option at all.
///
/// What a segment must look like so that a receiver can predict all of its header but the
/// numbers. Every other one is read by [`Ipv4View`](crate::Ipv4View) and
/// [`TcpView`](crate::TcpView), which agree with this one wherever it has an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp4Segment {
    /// The source.
    pub src: Ipv4Addr,
    /// The destination.
    pub dst: Ipv4Addr,
    /// Time to live, in hops.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: TrafficClass,
    /// The source port.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
    /// The number of the first byte of payload.
    pub seq: SeqNum,
    /// The next number expected.
    pub ack: SeqNum,
    /// Whether PSH is set.
    pub push: bool,
    /// The window field, not scaled.
    pub window: u16,
    /// Timestamps.
    pub timestamps: Option<TcpTimestamps>,
    /// Bytes of the payload.
    pub payload_len: usize,
}

impl Tcp4Segment {
    /// The headers at the start of `bytes`, if they are of this kind and IPv4's checksum is
    /// right. The one of TCP is not looked at, nor whether the payload is there.
    #[inline]
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let flags = be16(header, ipv4::HEADER_LEN + 12);
        let timestamps = match flags >> 12 {
            5 => None,
            8 => {
                let header: &[u8; TIMESTAMPS_HEADER_LEN] = bytes.first_chunk()?;
                if header[HEADER_LEN..HEADER_LEN + 4] != TIMESTAMPS {
                    return None;
                }
                Some(TcpTimestamps {
                    val: be32(header, HEADER_LEN + 4),
                    ecr: be32(header, HEADER_LEN + 8),
                })
            }
            _ => return None,
        };
        let flags = flags & 0xfff; // with the reserved bits
        let push = flags & TcpFlags::PSH.bits() != 0;
        let ip: &[u8; ipv4::HEADER_LEN] = header.first_chunk()?;
        let plain = ip[0] == VERSION_AND_LENGTH
            && ip[9] == Protocol::TCP.0
            && be16(ip, 6) & MORE_FRAGMENTS_AND_OFFSET == 0
            && flags & !TcpFlags::PSH.bits() == TcpFlags::ACK.bits();
        if !plain || !Sum::of_ipv4_header(ip).is_valid() {
            return None;
        }
        let headers = HEADER_LEN + if timestamps.is_some() { 12 } else { 0 };
        let payload_len = usize::from(be16(ip, 2)).checked_sub(headers)?;
        let tcp: &[u8; tcp::HEADER_LEN] = header.last_chunk()?;
        Some(Self {
            src: array(ip, 12).into(),
            dst: array(ip, 16).into(),
            ttl: ip[8],
            traffic_class: TrafficClass(ip[1]),
            src_port: be16(tcp, 0),
            dst_port: be16(tcp, 2),
            seq: SeqNum(be32(tcp, 4)),
            ack: SeqNum(be32(tcp, 8)),
            push,
            window: be16(tcp, 14),
            timestamps,
            payload_len,
        })
    }

    /// Bytes of both headers.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        match self.timestamps {
            Some(_) => TIMESTAMPS_HEADER_LEN,
            None => HEADER_LEN,
        }
    }

    /// Bytes of the whole packet.
    #[inline]
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        self.header_len() + self.payload_len
    }

    /// The pseudo header for the checksum of TCP.
    #[inline]
    #[must_use]
    pub fn pseudo_header(&self) -> PseudoHeader {
        PseudoHeader::v4(self.src, self.dst, Protocol::TCP)
    }

    /// The checksum of the IPv4 header of `total` bytes of packet. Out of the fields: to read
    /// them back would wait until they are written.
    #[inline]
    fn ipv4_checksum(&self, total: u16) -> u16 {
        let (src, dst) = (self.src.to_bits(), self.dst.to_bits());
        let sum = u32::from_be_bytes([0, 0, VERSION_AND_LENGTH, self.traffic_class.0])
            + u32::from(total)
            + u32::from(DONT_FRAGMENT)
            + u32::from_be_bytes([0, 0, self.ttl, Protocol::TCP.0])
            + (src >> 16)
            + (src & 0xffff)
            + (dst >> 16)
            + (dst & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        !((sum >> 16) + (sum & 0xffff)) as u16
    }

    /// Writes both headers to `bytes`, which is as long as they are: don't-fragment,
    /// identification zero (RFC 6864), IPv4's checksum filled in, that of TCP
    /// ([`CHECKSUM_AT`]) zero.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`] for another length; [`EmitError::TooLong`] beyond 65,535
    /// bytes.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8]) -> Result<(), EmitError> {
        let total = u16::try_from(self.buffer_len()).map_err(|_| EmitError::TooLong)?;
        let too_small = EmitError::BufferTooSmall;
        let words: u16 = match self.timestamps {
            None if bytes.len() == HEADER_LEN => 5,
            Some(timestamps) => {
                let bytes: &mut [u8; TIMESTAMPS_HEADER_LEN] =
                    bytes.try_into().map_err(|_| too_small)?;
                put(bytes, HEADER_LEN, TIMESTAMPS);
                put(bytes, HEADER_LEN + 4, timestamps.val.to_be_bytes());
                put(bytes, HEADER_LEN + 8, timestamps.ecr.to_be_bytes());
                8
            }
            None => return Err(too_small),
        };
        let header: &mut [u8; HEADER_LEN] = bytes.first_chunk_mut().ok_or(too_small)?;
        let (ip, tcp) = header
            .split_first_chunk_mut::<{ ipv4::HEADER_LEN }>()
            .ok_or(too_small)?;
        let tcp: &mut [u8; tcp::HEADER_LEN] = tcp.first_chunk_mut().ok_or(too_small)?;
        put(ip, 0, [VERSION_AND_LENGTH, self.traffic_class.0]);
        put(ip, 2, total.to_be_bytes());
        put(ip, 4, [0, 0]);
        put(ip, 6, DONT_FRAGMENT.to_be_bytes());
        put(ip, 8, [self.ttl, Protocol::TCP.0]);
        put(ip, 10, self.ipv4_checksum(total).to_be_bytes());
        put(ip, 12, self.src.octets());
        put(ip, 16, self.dst.octets());
        let push = if self.push { TcpFlags::PSH.bits() } else { 0 };
        let flags = words << 12 | TcpFlags::ACK.bits() | push;
        put(tcp, 0, self.src_port.to_be_bytes());
        put(tcp, 2, self.dst_port.to_be_bytes());
        put(tcp, 4, self.seq.0.to_be_bytes());
        put(tcp, 8, self.ack.0.to_be_bytes());
        put(tcp, 12, flags.to_be_bytes());
        put(tcp, 14, self.window.to_be_bytes());
        put(tcp, 16, [0; 4]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ipv4Repr, Ipv4View, OptionLayout, TcpOptions, TcpRepr, TcpView};
    use proptest::prelude::*;

    /// What the views read, if it is such a segment.
    fn by_views(bytes: &[u8]) -> Option<Tcp4Segment> {
        let ip = Ipv4View::quoted(bytes).ok()?;
        ip.verify_checksum().ok()?;
        let tcp = TcpView::new(bytes.get(ip.header_len()..)?).ok()?;
        let (ip_repr, tcp_repr) = (Ipv4Repr::parse(&ip), TcpRepr::parse(&tcp));
        let push = tcp.flags().contains(TcpFlags::PSH);
        let flags = if push {
            TcpFlags::ACK | TcpFlags::PSH
        } else {
            TcpFlags::ACK
        };
        let timestamps = tcp_repr.options.timestamps;
        let options = TcpOptions {
            timestamps,
            ..TcpOptions::NONE
        };
        let plain = ip.options().is_empty()
            && !ip.is_fragment()
            && ip.protocol() == Protocol::TCP
            && tcp.flags() == flags
            && tcp_repr.options == options;
        plain.then_some(Tcp4Segment {
            src: ip.src(),
            dst: ip.dst(),
            ttl: ip.ttl(),
            traffic_class: ip.traffic_class(),
            src_port: tcp.src_port(),
            dst_port: tcp.dst_port(),
            seq: tcp.seq(),
            ack: tcp.ack(),
            push,
            window: tcp.window(),
            timestamps,
            payload_len: ip_repr.payload_len.checked_sub(tcp.header_len())?,
        })
    }

    prop_compose! {
        fn segments()(
            hosts: (u32, u32), ports: (u16, u16), numbers: (u32, u32), window: u16, ttl: u8,
            class: u8, push: bool, stamps: Option<(u32, u32)>, payload_len in 0..65_400_usize,
        ) -> Tcp4Segment {
            Tcp4Segment {
                src: Ipv4Addr::from_bits(hosts.0),
                dst: Ipv4Addr::from_bits(hosts.1),
                ttl,
                traffic_class: TrafficClass(class),
                src_port: ports.0,
                dst_port: ports.1,
                seq: SeqNum(numbers.0),
                ack: SeqNum(numbers.1),
                push,
                window,
                timestamps: stamps.map(|(val, ecr)| TcpTimestamps { val, ecr }),
                payload_len,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_the_long_way_writes(segment in segments()) {
            let mut bytes = vec![0xaa; segment.header_len()];
            segment.emit(&mut bytes).unwrap();
            let mut expected = vec![0x55; segment.header_len()];
            let tcp_len = segment.header_len() - ipv4::HEADER_LEN + segment.payload_len;
            let ip = Ipv4Repr {
                ttl: segment.ttl,
                traffic_class: segment.traffic_class,
                ..Ipv4Repr::new(segment.src, segment.dst, Protocol::TCP, tcp_len)
            };
            let at = ip.emit(&mut expected).unwrap();
            let tcp = TcpRepr {
                src_port: segment.src_port,
                dst_port: segment.dst_port,
                seq: segment.seq,
                ack: segment.ack,
                flags: if segment.push { TcpFlags::ACK | TcpFlags::PSH } else { TcpFlags::ACK },
                window: segment.window,
                urgent: 0,
                options: TcpOptions { timestamps: segment.timestamps, ..TcpOptions::NONE },
            };
            tcp.emit(OptionLayout::Linux, &mut expected[at..]).unwrap();
            prop_assert_eq!(&bytes, &expected);
            prop_assert_eq!(Tcp4Segment::parse(&bytes), Some(segment));
            prop_assert_eq!(by_views(&bytes), Some(segment));
            bytes.pop();
            prop_assert_eq!(segment.emit(&mut bytes), Err(EmitError::BufferTooSmall));
        }

        /// One that was changed on the way is read as the views read it, or not at all.
        #[test]
        fn it_never_says_what_the_views_do_not(
            segment in segments(), cut in 0..60_usize, at in 0..52_usize, value: u8, mend: bool,
        ) {
            let mut bytes = vec![0; segment.header_len()];
            segment.emit(&mut bytes).unwrap();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            if mend {
                // May not be possible any more, as the header may be none.
                let _ = ipv4::fill_checksum(&mut bytes);
            }
            bytes.truncate(cut.max(1));
            if let Some(read) = Tcp4Segment::parse(&bytes) {
                prop_assert_eq!(by_views(&bytes), Some(read));
            }
        }
    }

    #[test]
    fn a_packet_beyond_all_lengths_is_refused() {
        let mut bytes = [0; HEADER_LEN];
        let segment = Tcp4Segment {
            src: Ipv4Addr::LOCALHOST,
            dst: Ipv4Addr::LOCALHOST,
            ttl: 64,
            traffic_class: TrafficClass(0),
            src_port: 1,
            dst_port: 2,
            seq: SeqNum(0),
            ack: SeqNum(0),
            push: false,
            window: 0,
            timestamps: None,
            payload_len: 65_536 - HEADER_LEN,
        };
        assert_eq!(segment.emit(&mut bytes), Err(EmitError::TooLong));
    }
}
