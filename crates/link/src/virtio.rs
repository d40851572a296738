//! The virtio-net header as the frame's metadata.

use zcn_frame::{Checksum, FrameMeta, Gso, GsoKind};
use zcn_wire::VirtioNetHeader;
use zcn_wire::virtio as wire;

/// What a received header says of a frame of `len` bytes; `None` if it makes no sense, or
/// speaks of what nobody asked for.
pub(crate) fn parse(header: &[u8], len: usize) -> Option<FrameMeta> {
    let header = VirtioNetHeader::parse_header(header).ok()?;
    let checksum = match header.checksum {
        wire::ChecksumState::Unknown => Checksum::Unverified,
        wire::ChecksumState::Valid => Checksum::Verified,
        wire::ChecksumState::Needed { start, offset } => {
            if usize::from(start) + usize::from(offset) + 2 > len {
                return None;
            }
            Checksum::Partial { start, offset }
        }
    };
    let gso = match header.gso {
        None => None,
        Some(gso) => Some(Gso {
            kind: match gso.kind {
                wire::GsoKind::TcpV4 => GsoKind::Tcp4,
                wire::GsoKind::TcpV6 => GsoKind::Tcp6,
                wire::GsoKind::UdpL4 => GsoKind::UdpL4,
                wire::GsoKind::UdpFragments => return None,
            },
            size: gso.size,
            hdr_len: header.hdr_len,
            ecn: gso.ecn,
        }),
    };
    Some(FrameMeta { checksum, gso })
}

/// The header of `N` bytes for a frame to be sent.
pub(crate) fn emit<const N: usize>(meta: &FrameMeta) -> [u8; N] {
    const { assert!(N >= wire::HEADER_LEN) };
    let header = VirtioNetHeader {
        checksum: match meta.checksum {
            Checksum::Unverified | Checksum::Verified => wire::ChecksumState::Unknown,
            Checksum::Partial { start, offset } => wire::ChecksumState::Needed { start, offset },
        },
        gso: meta.gso.map(|gso| wire::Gso {
            kind: match gso.kind {
                GsoKind::Tcp4 => wire::GsoKind::TcpV4,
                GsoKind::Tcp6 => wire::GsoKind::TcpV6,
                GsoKind::UdpL4 => wire::GsoKind::UdpL4,
            },
            size: gso.size,
            ecn: gso.ecn,
        }),
        hdr_len: meta.gso.map_or(0, |gso| gso.hdr_len),
        num_buffers: 0,
    };
    let mut bytes = [0; N];
    // The only error is a buffer that is too small, which the assertion rules out.
    let written = header.emit(&mut bytes, N);
    debug_assert_eq!(written, Ok(N));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_survives_the_header() {
        for checksum in [
            Checksum::Unverified,
            Checksum::Partial {
                start: 34,
                offset: 16,
            },
        ] {
            for kind in [
                None,
                Some(GsoKind::Tcp4),
                Some(GsoKind::Tcp6),
                Some(GsoKind::UdpL4),
            ] {
                let gso = kind.map(|kind| Gso {
                    kind,
                    size: 1448,
                    hdr_len: 66,
                    ecn: kind == GsoKind::Tcp6,
                });
                let meta = FrameMeta { checksum, gso };
                assert_eq!(parse(&emit::<12>(&meta), 100), Some(meta));
                assert_eq!(parse(&emit::<10>(&meta), 100), Some(meta));
            }
        }
    }

    #[test]
    fn headers_that_make_no_sense_are_refused() {
        let meta = FrameMeta {
            checksum: Checksum::Partial {
                start: 34,
                offset: 16,
            },
            gso: None,
        };
        assert_eq!(parse(&emit::<10>(&meta), 51), None);
        // An unknown kind of super-frame, fragments of UDP, and a size of zero.
        assert_eq!(parse(&[0, 9, 0, 0, 1, 0, 0, 0, 0, 0], 100), None);
        assert_eq!(parse(&[0, 3, 0, 0, 1, 0, 0, 0, 0, 0], 100), None);
        assert_eq!(parse(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 100), None);
        assert_eq!(parse(&[0; 9], 100), None);
    }
}
