use super::*;
use proptest::prelude::*;

fn header() -> impl Strategy<Value = Ipv4Repr> {
    (
        any::<([u8; 4], [u8; 4], u8, u8, u8, u16)>(),
        any::<(bool, bool)>(),
        0..0x2000_u16,
        0..2000_usize,
        proptest::collection::vec(any::<u8>(), 0..=10),
    )
        .prop_map(|(fields, flags, offset, payload_len, options)| {
            let (src, dst, protocol, ttl, class, ident) = fields;
            let options: Vec<u8> = options.iter().flat_map(|&byte| [byte; 4]).collect();
            Ipv4Repr {
                src: src.into(),
                dst: dst.into(),
                protocol: Protocol(protocol),
                ttl,
                traffic_class: TrafficClass(class),
                ident,
                dont_fragment: flags.0,
                more_fragments: flags.1,
                fragment_offset: offset * 8,
                payload_len,
                options: Ipv4Options::new(&options).expect("at most 40"),
            }
        })
}

proptest! {
    #[test]
    fn headers_survive_a_round_trip(header in header(), padding in 0..8_usize) {
        let mut bytes = vec![0xaa; header.buffer_len() + padding];
        let len = header.emit(&mut bytes).expect("room");
        prop_assert_eq!(len, header.header_len());
        let view = Ipv4View::new(&bytes).expect("sound");
        prop_assert_eq!(view.verify_checksum(), Ok(()));
        prop_assert_eq!(Ipv4Repr::parse(&view), header);
        prop_assert_eq!(view.payload().len(), header.payload_len);
        prop_assert_eq!(view.is_fragment(), header.more_fragments || header.fragment_offset > 0);
        let cut = &bytes[..header.buffer_len() - 1];
        prop_assert_eq!(Ipv4View::new(cut).err(), Some(ParseError::Truncated));
    }

    #[test]
    fn a_changed_bit_is_noticed(header in header(), bit in 0..160_usize) {
        let mut bytes = vec![0; header.buffer_len()];
        header.emit(&mut bytes).expect("room");
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(view) = Ipv4View::quoted(&bytes) {
            prop_assert_eq!(view.verify_checksum(), Err(ParseError::BadChecksum));
        }
    }

    #[test]
    fn a_hop_less_keeps_the_checksum_sound(header in header()) {
        let mut bytes = vec![0; header.buffer_len()];
        header.emit(&mut bytes).expect("room");
        prop_assert_eq!(decrement_ttl(&mut bytes), Ok(header.ttl.saturating_sub(1)));
        let view = Ipv4View::new(&bytes).expect("sound");
        prop_assert_eq!(view.verify_checksum(), Ok(()));
        let before = bytes.clone();
        fill_checksum(&mut bytes).expect("sound");
        prop_assert_eq!(before, bytes);
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(view) = Ipv4View::quoted(&bytes) {
            let header = Ipv4Repr::parse(&view);
            prop_assert!(header.options.iter().count() <= MAX_OPTIONS_LEN);
            let _ = view.verify_checksum();
        }
    }
}

#[test]
fn each_fault_has_its_name() {
    let header = Ipv4Repr::new(
        [192, 0, 2, 1].into(),
        [192, 0, 2, 2].into(),
        Protocol::UDP,
        8,
    );
    let mut sound = [0; 28];
    header.emit(&mut sound).expect("room");
    let fault = |at: usize, value: u8| {
        let mut bytes = sound;
        bytes[at] = value;
        Ipv4View::new(&bytes).err()
    };
    assert_eq!(fault(0, 0x65), Some(ParseError::BadVersion));
    assert_eq!(fault(0, 0x44), Some(ParseError::BadHeaderLength));
    assert_eq!(fault(0, 0x4f), Some(ParseError::BadLength));
    assert_eq!(fault(3, 19), Some(ParseError::BadLength));
    assert_eq!(fault(3, 29), Some(ParseError::Truncated));
    assert_eq!(
        Ipv4View::new(&sound[..19]).err(),
        Some(ParseError::Truncated)
    );
    let too_long = Ipv4Repr {
        payload_len: 65_516,
        ..header
    };
    assert_eq!(too_long.emit(&mut sound), Err(EmitError::TooLong));
    let crooked = Ipv4Repr {
        fragment_offset: 4,
        ..header
    };
    assert_eq!(crooked.emit(&mut sound), Err(EmitError::FieldTooWide));
}

#[test]
fn options_are_walked_and_malformed_ones_end_the_walk() {
    let route = [7, 7, 4, 0, 0, 0, 0];
    let mut raw = vec![1, 148, 4, 0, 0];
    raw.extend(route);
    raw.extend([0, 99, 99]);
    let options = Ipv4Options::new(&raw).expect("at most 40");
    let walked: Result<Vec<_>, _> = options.iter().collect();
    let walked = walked.expect("sound");
    assert_eq!(walked.len(), 2);
    assert_eq!(walked[0].kind, Ipv4Option::ROUTER_ALERT);
    assert!(walked[0].is_copied());
    assert_eq!(walked[1].data, &route[2..]);
    for bad in [&[7][..], &[7, 0], &[7, 1], &[7, 3], &[131, 200, 4]] {
        let options = Ipv4Options::new(bad).expect("at most 40");
        let walked: Vec<_> = options.iter().collect();
        assert_eq!(walked, [Err(ParseError::BadOption)], "{bad:?}");
    }
    assert_eq!(Ipv4Options::new(&[1; 41]), Err(EmitError::BadOptions));
}
