//! Super-frames of arbitrary bytes and metadata, in arbitrary slices: cut into packets that
//! keep the payload, or refused; checksums finished inside the frame, or refused.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use zcn_frame::{Checksum, Frame, Gso, GsoKind, HEAD_MAX};
use zcn_link::segment::{SEGMENTS_MAX, complete_checksum, segment};
use zcn_link::{Impairment, Impairments};

#[derive(Arbitrary, Debug)]
struct Input {
    kind: u8,
    size: u16,
    hdr_len: u16,
    ecn: bool,
    partial: Option<(u8, u8)>,
    ethernet: bool,
    head: Vec<u8>,
    body: Vec<Vec<u8>>,
    pulls: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let mut frame = Frame::default();
    let head = &input.head[..input.head.len().min(HEAD_MAX)];
    frame.head.extend_from_slice(head).expect("as much as fits");
    for part in input.body {
        // A full chain takes no more.
        let _ = frame.push(Bytes::from(part).into());
    }
    if let Some((start, offset)) = input.partial {
        frame.meta.checksum = Checksum::Partial {
            start: start.into(),
            offset: offset.into(),
        };
    }
    frame.meta.gso = Some(Gso {
        kind: match input.kind % 3 {
            0 => GsoKind::Tcp4,
            1 => GsoKind::Tcp6,
            _ => GsoKind::UdpL4,
        },
        size: input.size,
        hdr_len: input.hdr_len,
        ecn: input.ecn,
    });
    let bytes = frame.to_vec();
    for count in input.pulls {
        let count = usize::from(count);
        assert!(frame.pull(count) || count > HEAD_MAX || count > bytes.len());
        assert_eq!(frame.to_vec(), bytes);
    }
    let link_header = if input.ethernet { 14 } else { 0 };
    let mut packets = Vec::new();
    if let Ok(count) = segment(frame.clone(), link_header, &mut packets) {
        assert!(count == packets.len() && count <= SEGMENTS_MAX);
        let mut payload = Vec::new();
        for packet in &mut packets {
            payload.extend(packet.body.to_vec());
            complete_checksum(packet).expect("it lies in the head");
            assert!(packet.head.len() + packet.body.len() <= bytes.len());
        }
        assert!(bytes.ends_with(&payload));
    } else {
        assert!(packets.is_empty());
    }
    // The same on a path that flips a bit of every packet.
    let settings = Impairments {
        corrupt: 1.0,
        ..Impairments::default()
    };
    let mut path = Impairment::new(settings, link_header, 1);
    path.push(frame.clone(), Default::default());
    while let Some(packet) = path.pop(Default::default()) {
        assert!(packet.len() <= bytes.len());
    }
    let _ = complete_checksum(&mut frame);
    assert_eq!(frame.len(), bytes.len());
});
