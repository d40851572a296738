//! The virtio-net header that TAP, TUN and packet sockets put before a frame (virtio 1.2,
//! section 5.1.6; `linux/virtio_net.h`).

use crate::bytes::{array, put};
use crate::error::{EmitError, ParseError};

/// Bytes of the header as packet sockets and TAP have it by default.
pub const HEADER_LEN: usize = 10;
/// Bytes of the header with the number of merged buffers (`VIRTIO_NET_F_MRG_RXBUF`).
pub const MERGED_HEADER_LEN: usize = 12;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_UDP: u8 = 3;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// What is known about the transport checksum of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChecksumState {
    /// Nothing: the packet carries a whole checksum that nobody has looked at.
    #[default]
    Unknown,
    /// The field holds the sum of the pseudo header only. Whoever puts the packet on a real
    /// wire sums from `start` to the end, complements, and stores at `start + offset`. Within
    /// one machine such a packet counts as sound.
    Needed {
        /// Where the transport header begins, in bytes from the start of the frame.
        start: u16,
        /// Where its checksum field stands, from there.
        offset: u16,
    },
    /// The device found the checksum right.
    Valid,
}

/// How a super-frame is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GsoKind {
    /// TCP over IPv4 segments.
    TcpV4,
    /// TCP over IPv6 segments.
    TcpV6,
    /// UDP datagrams, each with its own header (USO).
    UdpL4,
    /// Fragments of one UDP datagram (UFO), which Linux no longer makes.
    UdpFragments,
}

/// A super-frame: a packet longer than the MTU, to be cut or made by joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gso {
    /// How it is cut.
    pub kind: GsoKind,
    /// Payload bytes of each piece but the last.
    pub size: u16,
    /// TCP with CWR on: only the first segment carries it.
    pub ecn: bool,
}

/// A virtio-net header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VirtioNetHeader {
    /// What is known about the checksum.
    pub checksum: ChecksumState,
    /// How the frame is cut, if it is a super-frame.
    pub gso: Option<Gso>,
    /// Bytes of all headers, from the start of the frame up to the payload; a hint for
    /// super-frames, 0 otherwise.
    pub hdr_len: u16,
    /// How many buffers the frame takes; only in the header of 12 bytes.
    pub num_buffers: u16,
}

impl VirtioNetHeader {
    /// The header of a plain frame with a whole checksum.
    pub const PLAIN: Self = Self {
        checksum: ChecksumState::Unknown,
        gso: None,
        hdr_len: 0,
        num_buffers: 0,
    };

    /// Splits `bytes` into the header of `header_len` bytes ([`HEADER_LEN`] or
    /// [`MERGED_HEADER_LEN`], or longer: the rest is skipped) and the frame.
    ///
    /// Fields are in the machine's byte order, as the kernel has them unless told otherwise
    /// (`TUNSETVNETLE`, `TUNSETVNETBE`).
    ///
    /// # Errors
    ///
    /// [`Truncated`](ParseError::Truncated);
    /// [`BadHeaderLength`](ParseError::BadHeaderLength) if `header_len` is below 10;
    /// [`Unsupported`](ParseError::Unsupported) for an unknown kind of super-frame;
    /// [`BadLength`](ParseError::BadLength) if a super-frame has size 0, or the checksum field
    /// or the headers are not inside the frame.
    #[inline]
    pub fn parse(bytes: &[u8], header_len: usize) -> Result<(Self, &[u8]), ParseError> {
        let (raw, frame) = bytes
            .split_at_checked(header_len)
            .ok_or(ParseError::Truncated)?;
        let header = Self::parse_header(raw)?;
        if let ChecksumState::Needed { start, offset } = header.checksum {
            let end = usize::from(start) + usize::from(offset) + 2;
            if end > frame.len() {
                return Err(ParseError::BadLength);
            }
        }
        if header.gso.is_some() && usize::from(header.hdr_len) > frame.len() {
            return Err(ParseError::BadLength);
        }
        Ok((header, frame))
    }

    /// Reads a header that stands apart from its frame; `raw` is 10 bytes or more. Unlike
    /// [`parse`](Self::parse) it cannot compare offsets with the frame.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    #[inline]
    pub fn parse_header(raw: &[u8]) -> Result<Self, ParseError> {
        let fields = raw
            .first_chunk::<HEADER_LEN>()
            .ok_or(ParseError::BadHeaderLength)?;
        let field = |at| u16::from_ne_bytes(array(fields, at));
        let checksum = if fields[0] & NEEDS_CSUM != 0 {
            ChecksumState::Needed {
                start: field(6),
                offset: field(8),
            }
        } else if fields[0] & DATA_VALID != 0 {
            ChecksumState::Valid
        } else {
            ChecksumState::Unknown
        };
        let kind = match fields[1] & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCPV4 => Some(GsoKind::TcpV4),
            GSO_TCPV6 => Some(GsoKind::TcpV6),
            GSO_UDP_L4 => Some(GsoKind::UdpL4),
            GSO_UDP => Some(GsoKind::UdpFragments),
            _ => return Err(ParseError::Unsupported),
        };
        let gso = kind.map(|kind| Gso {
            kind,
            size: field(4),
            ecn: fields[1] & GSO_ECN != 0,
        });
        if gso.is_some_and(|gso| gso.size == 0) {
            return Err(ParseError::BadLength);
        }
        let num_buffers = raw.get(HEADER_LEN..MERGED_HEADER_LEN);
        Ok(Self {
            checksum,
            gso,
            hdr_len: field(2),
            num_buffers: num_buffers.map_or(0, |field| u16::from_ne_bytes(array(field, 0))),
        })
    }

    /// Writes the header to the start of `bytes`, `header_len` bytes of it, and tells that
    /// length.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`] if `bytes` is shorter than `header_len`, or that is below
    /// 10.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8], header_len: usize) -> Result<usize, EmitError> {
        let raw = bytes
            .get_mut(..header_len)
            .ok_or(EmitError::BufferTooSmall)?;
        let (fields, rest) = raw
            .split_first_chunk_mut::<HEADER_LEN>()
            .ok_or(EmitError::BufferTooSmall)?;
        let (flags, start, offset) = match self.checksum {
            ChecksumState::Unknown => (0, 0, 0),
            ChecksumState::Needed { start, offset } => (NEEDS_CSUM, start, offset),
            ChecksumState::Valid => (DATA_VALID, 0, 0),
        };
        let (kind, size) = match self.gso {
            None => (GSO_NONE, 0),
            Some(gso) => {
                let kind = match gso.kind {
                    GsoKind::TcpV4 => GSO_TCPV4,
                    GsoKind::TcpV6 => GSO_TCPV6,
                    GsoKind::UdpL4 => GSO_UDP_L4,
                    GsoKind::UdpFragments => GSO_UDP,
                };
                (kind | if gso.ecn { GSO_ECN } else { 0 }, gso.size)
            }
        };
        fields[0] = flags;
        fields[1] = kind;
        put(fields, 2, self.hdr_len.to_ne_bytes());
        put(fields, 4, size.to_ne_bytes());
        put(fields, 6, start.to_ne_bytes());
        put(fields, 8, offset.to_ne_bytes());
        rest.fill(0);
        if let Some(field) = rest.first_chunk_mut::<2>() {
            *field = self.num_buffers.to_ne_bytes();
        }
        Ok(header_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> impl Strategy<Value = VirtioNetHeader> {
        let checksum = prop_oneof![
            Just(ChecksumState::Unknown),
            Just(ChecksumState::Valid),
            any::<(u16, u16)>().prop_map(|(start, offset)| ChecksumState::Needed { start, offset }),
        ];
        let kind = prop_oneof![
            Just(GsoKind::TcpV4),
            Just(GsoKind::TcpV6),
            Just(GsoKind::UdpL4),
            Just(GsoKind::UdpFragments),
        ];
        let gso = (kind, 1..=u16::MAX, any::<bool>());
        (
            checksum,
            proptest::option::of(gso),
            any::<u16>(),
            any::<u16>(),
        )
            .prop_map(|(checksum, gso, hdr_len, num_buffers)| VirtioNetHeader {
                checksum,
                gso: gso.map(|(kind, size, ecn)| Gso { kind, size, ecn }),
                hdr_len,
                num_buffers,
            })
    }

    proptest! {
        #[test]
        fn headers_survive_a_round_trip(header in header()) {
            let mut bytes = [0xaa; MERGED_HEADER_LEN];
            prop_assert_eq!(header.emit(&mut bytes, MERGED_HEADER_LEN), Ok(MERGED_HEADER_LEN));
            prop_assert_eq!(VirtioNetHeader::parse_header(&bytes), Ok(header));
            let short = VirtioNetHeader { num_buffers: 0, ..header };
            prop_assert_eq!(VirtioNetHeader::parse_header(&bytes[..HEADER_LEN]), Ok(short));
            prop_assert!(header.emit(&mut bytes, 13).is_err());
            prop_assert!(header.emit(&mut bytes, 9).is_err());
        }

        #[test]
        fn offsets_of_a_parsed_header_are_inside_the_frame(
            bytes in proptest::collection::vec(any::<u8>(), 0..80), header_len in 0..16_usize,
        ) {
            if let Ok((header, frame)) = VirtioNetHeader::parse(&bytes, header_len)
                && let ChecksumState::Needed { start, offset } = header.checksum
            {
                prop_assert!(usize::from(start) + usize::from(offset) + 2 <= frame.len());
            }
        }
    }

    #[test]
    fn a_super_frame_of_tcp_as_the_kernel_writes_it() {
        // TAP of Linux 6.18, little-endian: NEEDS_CSUM, TCPV4, 66 bytes of headers, size 1448,
        // checksum from 34, field 16 behind.
        let mut bytes = vec![1, 1, 66, 0, 0xa8, 0x05, 34, 0, 16, 0];
        bytes.extend([0; 100]);
        let (header, frame) = VirtioNetHeader::parse(&bytes, HEADER_LEN).expect("sound");
        assert_eq!(frame.len(), 100);
        if cfg!(target_endian = "little") {
            let gso = Gso {
                kind: GsoKind::TcpV4,
                size: 1448,
                ecn: false,
            };
            let checksum = ChecksumState::Needed {
                start: 34,
                offset: 16,
            };
            let wanted = VirtioNetHeader {
                checksum,
                gso: Some(gso),
                hdr_len: 66,
                num_buffers: 0,
            };
            assert_eq!(header, wanted);
            assert_eq!(
                VirtioNetHeader::parse(&bytes[..60], HEADER_LEN),
                Err(ParseError::BadLength)
            );
        }
        assert_eq!(
            VirtioNetHeader::parse(&bytes[..9], HEADER_LEN),
            Err(ParseError::Truncated)
        );
    }
}
