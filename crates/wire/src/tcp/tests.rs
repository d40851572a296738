use super::*;
use crate::protocol::Protocol;
use proptest::prelude::*;

fn pseudo() -> PseudoHeader {
    PseudoHeader::v4([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), Protocol::TCP)
}

fn blocks(max: usize) -> impl Strategy<Value = SackBlocks> {
    proptest::collection::vec(any::<(u32, u32)>(), 0..=max).prop_map(|blocks| {
        blocks
            .into_iter()
            .map(|(left, right)| SackBlock::new(SeqNum(left), SeqNum(right)))
            .collect()
    })
}

/// Options of every kind; many more than fit.
fn options() -> impl Strategy<Value = TcpOptions> {
    let counters = proptest::collection::vec(0..1_u32 << 24, 0..=3);
    let cookie = prop_oneof![Just(0), (2..=8_usize)].prop_map(|half| vec![0xc0; half * 2]);
    (
        any::<(
            Option<u16>,
            Option<u8>,
            bool,
            Option<(u32, u32)>,
            Option<u16>,
        )>(),
        blocks(4),
        proptest::option::weighted(0.2, cookie),
        proptest::option::weighted(0.2, (any::<bool>(), counters)),
    )
        .prop_map(|(plain, sack, cookie, counters)| TcpOptions {
            mss: plain.0,
            window_scale: plain.1,
            sack_permitted: plain.2,
            timestamps: plain.3.map(|(val, ecr)| TcpTimestamps { val, ecr }),
            user_timeout: plain.4,
            sack,
            fast_open: cookie.map(|cookie| {
                let experimental = cookie.len() % 8 == 4;
                let cookie = FastOpenCookie::new(&cookie).expect("a length");
                cookie.in_experiment(experimental)
            }),
            acc_ecn: counters.map(|(one, counters)| {
                let order = if one {
                    AccEcnOrder::One
                } else {
                    AccEcnOrder::Zero
                };
                AccEcn::new(order, &counters).expect("at most three")
            }),
        })
}

fn layout() -> impl Strategy<Value = OptionLayout> {
    prop_oneof![Just(OptionLayout::Linux), Just(OptionLayout::FreeBsd)]
}

prop_compose! {
    fn header()(
        ports: (u16, u16), seq: u32, ack: u32, flags: u16, window: u16, urgent: u16,
        options in options(),
    ) -> TcpRepr {
        TcpRepr {
            src_port: ports.0,
            dst_port: ports.1,
            seq: SeqNum(seq),
            ack: SeqNum(ack),
            flags: TcpFlags::from_bits(flags),
            window,
            urgent,
            options,
        }
    }
}

proptest! {
    #[test]
    fn segments_survive_a_round_trip(
        header in header(),
        layout in layout(),
        payload in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let len = header.header_len(layout);
        prop_assert_eq!(len % 4, 0);
        let mut bytes = vec![0xaa; len];
        if len > MAX_HEADER_LEN {
            prop_assert_eq!(header.emit(layout, &mut bytes), Err(EmitError::BadOptions));
            return Ok(());
        }
        prop_assert_eq!(header.emit(layout, &mut bytes), Ok(len));
        prop_assert_eq!(header.emit(layout, &mut bytes[..len - 1]), Err(EmitError::BufferTooSmall));
        let mut first = bytes.clone();
        fill_checksum_parts(&mut first, &[&payload], pseudo()).expect("a header");
        bytes.extend(&payload);
        fill_checksum(&mut bytes, pseudo()).expect("a header");
        prop_assert_eq!(&first[..], &bytes[..len]);
        let view = TcpView::new(&bytes).expect("sound");
        prop_assert_eq!(TcpRepr::parse(&view), header);
        prop_assert_eq!(view.payload(), &payload[..]);
        prop_assert_eq!(view.seq_len(), payload.len() as u32 + header.flags.seq_len());
        prop_assert_eq!(view.verify_checksum(pseudo()), Ok(()));
        let view = TcpView::new(&first).expect("sound");
        prop_assert_eq!(view.verify_checksum_parts(&[&payload], pseudo()), Ok(()));
        bytes[0] ^= 1;
        let view = TcpView::new(&bytes).expect("sound");
        prop_assert_eq!(view.verify_checksum(pseudo()), Err(ParseError::BadChecksum));
        prop_assert_eq!(TcpView::new(&bytes[..len - 1]).err(), Some(ParseError::Truncated));
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(view) = TcpView::new(&bytes) {
            let header = TcpRepr::parse(&view);
            let mut again = [0; MAX_HEADER_LEN];
            for layout in [OptionLayout::Linux, OptionLayout::FreeBsd] {
                if let Ok(len) = header.emit(layout, &mut again) {
                    let view = TcpView::new(&again[..len]).expect("sound");
                    prop_assert_eq!(TcpRepr::parse(&view), header);
                }
            }
        }
    }

    #[test]
    fn the_order_of_options_does_not_matter(
        header in header(),
        order in Just([0, 1, 2, 3, 4, 5, 6]).prop_shuffle(),
    ) {
        let wanted = header.options;
        let mut raw = Vec::new();
        for kind in order {
            let mut one = TcpOptions::NONE;
            match kind {
                0 => one.mss = wanted.mss,
                1 => one.window_scale = wanted.window_scale,
                2 => one.sack_permitted = wanted.sack_permitted,
                3 => one.timestamps = wanted.timestamps,
                4 => one.sack = wanted.sack,
                5 => one.fast_open = wanted.fast_open,
                _ => {
                    one.acc_ecn = wanted.acc_ecn;
                    one.user_timeout = wanted.user_timeout;
                }
            }
            let mut bytes = vec![0; one.len(OptionLayout::Linux)];
            one.emit(OptionLayout::Linux, &mut bytes).expect("room");
            raw.extend(bytes);
        }
        prop_assert_eq!(TcpOptions::parse(&raw), wanted);
    }

    #[test]
    fn the_short_way_is_as_good_as_the_long_one(val: u32, ecr: u32) {
        let timestamps = Some(TcpTimestamps { val, ecr });
        let options = TcpOptions { timestamps, ..TcpOptions::NONE };
        for layout in [OptionLayout::Linux, OptionLayout::FreeBsd] {
            let mut bytes = [0; 12];
            options.emit(layout, &mut bytes).expect("room");
            prop_assert_eq!(aligned(&bytes), options);
        }
    }
}

fn aligned(bytes: &[u8]) -> TcpOptions {
    let short = TcpOptions::parse(bytes);
    // Another NOP behind takes the long way.
    let mut long = bytes.to_vec();
    long.extend([1, 1, 1, 1]);
    assert_eq!(TcpOptions::parse(&long), short);
    short
}

/// The options of a SYN as most systems send it.
fn syn() -> TcpOptions {
    TcpOptions {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(TcpTimestamps {
            val: 0x0102_0304,
            ecr: 0,
        }),
        ..TcpOptions::NONE
    }
}

fn emitted(options: &TcpOptions, layout: OptionLayout) -> Vec<u8> {
    let mut bytes = vec![0xaa; options.len(layout)];
    options.emit(layout, &mut bytes).expect("room");
    bytes
}

#[test]
fn a_syn_looks_like_linux() {
    let with_timestamps = [
        2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
    ];
    assert_eq!(emitted(&syn(), OptionLayout::Linux), with_timestamps);
    let plain = TcpOptions {
        timestamps: None,
        ..syn()
    };
    let without = [2, 4, 0x05, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7];
    assert_eq!(emitted(&plain, OptionLayout::Linux), without);
    let cookie = TcpOptions {
        fast_open: Some(FastOpenCookie::REQUEST),
        ..plain
    };
    let mut with_request = without.to_vec();
    with_request.extend([34, 2, 1, 1]);
    assert_eq!(emitted(&cookie, OptionLayout::Linux), with_request);
}

#[test]
fn counters_take_the_place_of_padding() {
    let counters = |count| TcpOptions {
        acc_ecn: AccEcn::new(AccEcnOrder::One, &[1, 2, 3][..count]),
        ..TcpOptions::NONE
    };
    let three = [174, 11, 0, 0, 1, 0, 0, 2, 0, 0, 3, 1];
    assert_eq!(emitted(&counters(3), OptionLayout::Linux), three);
    // One counter and its lowest byte where SACK and window scale have a NOP.
    let scale = TcpOptions {
        window_scale: Some(7),
        ..counters(1)
    };
    let bytes = [174, 5, 0, 0, 1, 3, 3, 7];
    assert_eq!(emitted(&scale, OptionLayout::Linux), bytes);
    let mut blocks = counters(1);
    blocks.sack.push(SackBlock::default());
    let bytes = [174, 5, 0, 0, 1, 1, 5, 10, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(emitted(&blocks, OptionLayout::Linux), bytes);
}

#[test]
fn a_syn_looks_like_freebsd() {
    let with_timestamps = [
        2, 4, 0x05, 0xb4, 1, 3, 3, 7, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0,
    ];
    assert_eq!(emitted(&syn(), OptionLayout::FreeBsd), with_timestamps);
    let plain = TcpOptions {
        timestamps: None,
        ..syn()
    };
    let without = [2, 4, 0x05, 0xb4, 1, 3, 3, 7, 4, 2, 0, 0];
    assert_eq!(emitted(&plain, OptionLayout::FreeBsd), without);
}

#[test]
fn data_segments_align_timestamps_and_blocks() {
    let options = TcpOptions {
        timestamps: Some(TcpTimestamps { val: 1, ecr: 2 }),
        sack: [SackBlock::new(SeqNum(3), SeqNum(4))].into_iter().collect(),
        ..TcpOptions::NONE
    };
    let bytes = [
        1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 10, 0, 0, 0, 3, 0, 0, 0, 4,
    ];
    assert_eq!(emitted(&options, OptionLayout::Linux), bytes);
    assert_eq!(emitted(&options, OptionLayout::FreeBsd), bytes);
}

#[test]
fn three_blocks_fit_beside_timestamps_and_four_without() {
    let mut options = TcpOptions {
        sack: [SackBlock::default(); 4].into_iter().collect(),
        ..TcpOptions::NONE
    };
    assert_eq!(options.len(OptionLayout::Linux), 36);
    options.timestamps = Some(TcpTimestamps::default());
    assert_eq!(options.len(OptionLayout::Linux), 48);
    options.sack.truncate(3);
    assert_eq!(options.len(OptionLayout::Linux), 40);
}

#[test]
fn malformed_lengths_end_the_list_and_keep_what_came_before() {
    let mss = [2, 4, 0x02, 0x18];
    for bad in [
        &[8, 0][..],
        &[8, 1],
        &[8, 11, 0, 0, 0, 0],
        &[3],
        &[255, 255, 1],
    ] {
        let mut bytes = mss.to_vec();
        bytes.extend(bad);
        let options = TcpOptions {
            mss: Some(536),
            ..TcpOptions::NONE
        };
        assert_eq!(TcpOptions::parse(&bytes), options, "{bad:?}");
    }
}

#[test]
fn known_kinds_with_wrong_lengths_and_unknown_kinds_are_skipped() {
    // MSS of length 3, window scale of length 4, SACK of length 9, MD5, unknown; then an MSS.
    let mut bytes = vec![2, 3, 9, 3, 4, 1, 1, 5, 9, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([19, 18]);
    bytes.extend([0; 16]);
    bytes.extend([99, 2, 2, 4, 0x05, 0xb4, 0, 2, 4, 0, 1]);
    let options = TcpOptions {
        mss: Some(1460),
        ..TcpOptions::NONE
    };
    assert_eq!(TcpOptions::parse(&bytes), options);
}

#[test]
fn the_experimental_fast_open_is_understood() {
    let bytes = [254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8];
    let cookie = FastOpenCookie::new(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let experimental = cookie.map(|cookie| cookie.in_experiment(true));
    assert_eq!(TcpOptions::parse(&bytes).fast_open, experimental);
    assert_ne!(experimental, cookie);
    assert_eq!(TcpOptions::parse(&[254, 4, 0xf9, 0x88]).fast_open, None);
}

#[test]
fn a_partial_sum_is_finished_by_summing_the_segment() {
    let header = TcpRepr {
        src_port: 1,
        dst_port: 2,
        seq: SeqNum(3),
        ack: SeqNum(4),
        flags: TcpFlags::ACK,
        window: 5,
        urgent: 0,
        options: TcpOptions::NONE,
    };
    assert_eq!(header.ack_number(), Some(SeqNum(4)));
    let mut bytes = *b"....................hello";
    header.emit(OptionLayout::Linux, &mut bytes).expect("room");
    fill_partial(&mut bytes, 25, pseudo()).expect("a header");
    let finished = crate::checksum::checksum(&bytes);
    fill_checksum(&mut bytes, pseudo()).expect("a header");
    assert_eq!(be16(&bytes, 16), finished);
}

#[test]
fn each_fault_has_its_name() {
    let mut bytes = [0; 20];
    assert_eq!(
        TcpView::new(&bytes).err(),
        Some(ParseError::BadHeaderLength)
    );
    bytes[12] = 0x60;
    assert_eq!(TcpView::new(&bytes).err(), Some(ParseError::Truncated));
    bytes[12] = 0x50;
    assert!(TcpView::new(&bytes).is_ok());
    assert_eq!(
        TcpView::new(&bytes[..19]).err(),
        Some(ParseError::Truncated)
    );
}
