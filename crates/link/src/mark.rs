//! The mark of a router that is congested (RFC 3168 section 5).

use zcn_frame::{Chain, Frame, Head};
use zcn_pool::SharedBuf;
use zcn_wire::Ecn;
use zcn_wire::checksum::update_u16;

/// Marks a packet of an ECN-capable transport; another one stays as it is. `link_header`: bytes
/// before the IP header.
pub(crate) fn mark(mut frame: Frame, link_header: usize) -> Frame {
    let mut bytes = frame.to_vec();
    let is_ip = match link_header
        .checked_sub(2)
        .and_then(|at| bytes.get(at..at + 2))
    {
        Some(kind) => matches!(kind, [0x08, 0x00] | [0x86, 0xdd]),
        None => link_header == 0,
    };
    let marked = bytes
        .get_mut(link_header..)
        .filter(|_| is_ip)
        .is_some_and(|ip| match ip.first().map(|byte| byte >> 4) {
            Some(4) => mark_v4(ip),
            Some(6) => mark_v6(ip),
            _ => false,
        });
    if marked {
        frame.head = Head::new();
        frame.body = Chain::from(SharedBuf::from(bytes::Bytes::from(bytes)));
    }
    frame
}

fn is_capable(bits: u8) -> bool {
    matches!(Ecn::from_bits(bits), Ecn::Ect0 | Ecn::Ect1)
}

/// The type of service is the second byte; the header's checksum covers it.
fn mark_v4(ip: &mut [u8]) -> bool {
    let Some(header) = ip.first_chunk_mut::<20>() else {
        return false;
    };
    if !is_capable(header[1]) {
        return false;
    }
    let old = u16::from_be_bytes([header[0], header[1]]);
    header[1] |= Ecn::Ce.bits();
    let new = u16::from_be_bytes([header[0], header[1]]);
    let checksum = u16::from_be_bytes([header[10], header[11]]);
    let checksum = update_u16(checksum, old, new).to_be_bytes();
    header[10..12].copy_from_slice(&checksum);
    true
}

/// The low half of the traffic class is the high half of the second byte.
fn mark_v6(ip: &mut [u8]) -> bool {
    let Some(second) = ip.get_mut(1) else {
        return false;
    };
    if !is_capable(*second >> 4) {
        return false;
    }
    *second |= Ecn::Ce.bits() << 4;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Frame {
        Frame::from(SharedBuf::from(bytes::Bytes::copy_from_slice(bytes)))
    }

    fn v4(class: u8) -> Vec<u8> {
        let mut ip = vec![
            0x45, class, 0, 20, 0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        let checksum = zcn_wire::checksum::checksum(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        ip
    }

    #[test]
    fn what_is_capable_is_marked_and_its_checksum_stays_right() {
        for (class, marked) in [(0x28, 0x28), (0x29, 0x2b), (0x2a, 0x2b), (0x2b, 0x2b)] {
            let after = mark(frame(&v4(class)), 0).to_vec();
            assert_eq!(after, v4(marked));
            let mut v6 = vec![0x62, class << 4, 0, 0];
            v6.resize(40, 0);
            let after = mark(frame(&v6), 0).to_vec();
            assert_eq!(after[..2], [0x62, (class << 4) | ((marked & 3) << 4)]);
        }
    }

    #[test]
    fn behind_ethernet_only_ip_is_marked() {
        for (kind, marked) in [([0x08, 0x00], true), ([0x08, 0x06], false)] {
            let mut bytes = vec![0; 12];
            bytes.extend(kind);
            bytes.extend(v4(2));
            let after = mark(frame(&bytes), 14).to_vec();
            assert_eq!(after[15] == 3, marked);
        }
        for short in [&[][..], &[0x45], &[0x60]] {
            assert_eq!(mark(frame(short), 0).to_vec(), short);
        }
    }
}
