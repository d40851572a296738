//! Cutting a packet into fragments (RFC 791, RFC 8200 section 4.5).

use zcn_frame::{Chain, Frame, Head};
use zcn_wire::ipv6::FRAGMENT_LEN;

use crate::ip::IpHeader;
use crate::packet::HEADROOM;

/// Cuts `head` and `body`, the payload of an IP packet, into packets with `header`.
/// `room` is what the link takes behind an IP header. `None` if that is too little.
pub(crate) fn cut(
    header: &IpHeader,
    head: Head,
    mut body: Chain,
    room: usize,
) -> Option<Vec<Frame>> {
    let overhead = if header.destination.is_ipv6() {
        FRAGMENT_LEN
    } else {
        0
    };
    let unit = room.checked_sub(overhead)? & !7;
    if unit < head.len() || unit == 0 {
        return None;
    }
    let total = head.len() + body.len();
    let mut frames = Vec::with_capacity(total.div_ceil(unit));
    let mut offset = 0;
    let mut next_head = head;
    loop {
        let of_body = body.len().min(unit - next_head.len());
        let mut frame = Frame {
            head: next_head,
            body: body.split_to(of_body),
            ..Frame::default()
        };
        let len = frame.len();
        let more = !body.is_empty();
        let piece = IpHeader {
            fragment: Some((u16::try_from(offset).ok()?, more)),
            ..*header
        };
        if !piece.write(&mut frame) {
            return None;
        }
        frames.push(frame);
        offset += len;
        if !more {
            return Some(frames);
        }
        next_head = Head::with_room(HEADROOM);
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use proptest::prelude::*;
    use zcn_pool::SharedBuf;
    use zcn_wire::{Ipv4View, Ipv6View, Protocol, TrafficClass};

    use super::*;

    fn header(v6: bool) -> IpHeader {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (source, destination) = if v6 {
            (address("fd00::1"), address("fd00::2"))
        } else {
            (address("192.0.2.1"), address("192.0.2.2"))
        };
        IpHeader {
            source,
            destination,
            protocol: Protocol::UDP,
            hop_limit: 64,
            traffic_class: TrafficClass(0),
            dont_fragment: false,
            identification: 7,
            fragment: None,
        }
    }

    proptest! {
        #[test]
        fn fragments_fit_and_make_the_whole(v6: bool, len in 0..65_000_usize, room in 40..1_500_usize) {
            let content: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut head = Head::with_room(HEADROOM);
            head.extend_from_slice(b"udp head").unwrap();
            let body = Chain::from(SharedBuf::from(bytes::Bytes::from(content.clone())));
            let frames = cut(&header(v6), head, body, room);
            let frames = frames.unwrap();
            let mut whole = Vec::new();
            let last = frames.len() - 1;
            for (at, frame) in frames.iter().enumerate() {
                let bytes = frame.to_vec();
                let (payload, offset, more) = if v6 {
                    let view = Ipv6View::new(&bytes).unwrap();
                    prop_assert_eq!(view.next_header(), Protocol::FRAGMENT);
                    let payload = view.payload();
                    prop_assert!(payload.len() <= room);
                    prop_assert_eq!(&payload[..2], &[17, 0]);
                    prop_assert_eq!(&payload[4..8], &[0, 0, 0, 7]);
                    let field = u16::from_be_bytes([payload[2], payload[3]]);
                    (payload[8..].to_vec(), field & !7, field & 1 == 1)
                } else {
                    let view = Ipv4View::new(&bytes).unwrap();
                    prop_assert!(view.verify_checksum().is_ok());
                    prop_assert!(view.payload().len() <= room);
                    (view.payload().to_vec(), view.fragment_offset(), view.more_fragments())
                };
                prop_assert_eq!(usize::from(offset), whole.len());
                prop_assert_eq!(more, at != last);
                whole.extend(payload);
            }
            prop_assert_eq!(&whole[..8], b"udp head");
            prop_assert_eq!(&whole[8..], &content[..]);
        }
    }

    #[test]
    fn a_link_that_takes_nothing_gets_nothing() {
        let mut head = Head::with_room(HEADROOM);
        head.extend_from_slice(&[0; 8]).unwrap();
        assert!(cut(&header(true), head.clone(), Chain::new(), 15).is_none());
        assert!(cut(&header(false), head, Chain::new(), 7).is_none());
    }
}
