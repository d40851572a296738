use super::*;
use crate::checksum::PseudoHeader;
use crate::ipv6::{Chain, Ipv6Repr, Ipv6View};
use crate::{Icmpv6Repr, Protocol};
use proptest::prelude::*;

fn ip(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn parse(bytes: &[u8]) -> Result<MldRepr<'_>, ParseError> {
    MldRepr::parse(&Icmpv6View::new(bytes).expect("a header"))
}

fn sources() -> impl Strategy<Value = Vec<[u8; 16]>> {
    proptest::collection::vec(any::<[u8; 16]>(), 0..5)
}

/// Emits, parses, and emits into a place that is a byte too small.
fn round_trip(message: MldRepr<'_>) {
    let mut bytes = vec![0xaa; message.buffer_len() + 3];
    let len = message.emit(&mut bytes).expect("room");
    assert_eq!(len, message.buffer_len());
    assert_eq!(parse(&bytes[..len]), Ok(message));
    let cut = message.emit(&mut bytes[..len - 1]);
    assert_eq!(cut, Err(EmitError::BufferTooSmall));
}

proptest! {
    #[test]
    fn queries_survive_a_round_trip(
        max_response_code: u16, group: [u8; 16], of_version_2: bool, suppress: bool,
        robustness in 0..8_u8, interval_code: u8, sources in sources(),
    ) {
        round_trip(MldRepr::Query(MldQuery {
            max_response_code,
            group: group.into(),
            querier: of_version_2.then_some(MldQuerier {
                suppress,
                robustness,
                interval_code,
                sources: &sources,
            }),
        }));
    }

    #[test]
    fn reports_survive_a_round_trip(
        records in proptest::collection::vec((0..9_u8, any::<[u8; 16]>(), sources(), 0..3_usize), 0..6),
        group: [u8; 16],
    ) {
        let mut bytes = vec![0xaa; 2_000];
        let mut len = 0;
        let mut all = Vec::new();
        for (kind, group, sources, words) in &records {
            let record = MldRecord {
                kind: MldRecordKind::from_number(*kind),
                group: (*group).into(),
                sources,
                auxiliary: &[7; 8][..words * 4],
            };
            len += record.emit(&mut bytes[len..]).expect("room");
            all.push(record);
        }
        let of_all = MldRecords::new(&bytes[..len]).expect("whole");
        prop_assert_eq!(usize::from(of_all.len()), all.len());
        prop_assert_eq!(of_all.iter().collect::<Vec<_>>(), all);
        round_trip(MldRepr::Report(of_all));
        round_trip(MldRepr::ReportV1 { group: group.into() });
        round_trip(MldRepr::Done { group: group.into() });
    }

    #[test]
    fn any_bytes_are_taken(
        kind in prop_oneof![Just(130_u8), Just(131), Just(132), Just(143)],
        mut bytes in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 8..200),
    ) {
        bytes[0] = kind;
        if let Ok(message) = parse(&bytes) {
            let mut again = vec![0; message.buffer_len()];
            prop_assert_eq!(message.emit(&mut again), Ok(again.len()));
            prop_assert_eq!(parse(&again), Ok(message));
            if let MldRepr::Report(records) = message {
                prop_assert_eq!(records.iter().count(), usize::from(records.len()));
            }
        }
    }
}

/// The examples of RFC 9777, sections 5.1.3 and 5.1.9: below the first float the code is the
/// number; the smallest and the largest float.
#[test]
fn long_times_are_floats() {
    let query = |max_response_code, interval_code| MldQuery {
        max_response_code,
        group: Ipv6Addr::UNSPECIFIED,
        querier: Some(MldQuerier {
            suppress: false,
            robustness: 2,
            interval_code,
            sources: &[],
        }),
    };
    for (code, ms) in [
        (0, 0),
        (10_000, 10_000),
        (0x7fff, 32_767),
        (0x8000, 32_768),
        (0x8001, 32_776),
        (0xffff, 8_387_584),
    ] {
        let delay = query(code, 0).max_response_delay();
        assert_eq!(delay, Duration::from_millis(ms), "{code:#x}");
    }
    for (code, seconds) in [
        (0, 0),
        (125, 125),
        (127, 127),
        (128, 128),
        (0x91, 272),
        (255, 31_744),
    ] {
        let interval = query(0, code).querier.expect("there").interval();
        assert_eq!(interval, Duration::from_secs(seconds), "{code}");
    }
    let first = MldQuery {
        querier: None,
        ..query(0xffff, 0)
    };
    assert_eq!(first.max_response_delay(), Duration::from_millis(65_535));
}

#[test]
fn the_length_of_a_query_tells_its_version() {
    let mut bytes = [0; 64];
    bytes[0] = 130;
    let version = |bytes: &[u8]| match parse(bytes) {
        Ok(MldRepr::Query(query)) => Ok(1 + u8::from(query.querier.is_some())),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    assert_eq!(version(&bytes[..23]), Err(ParseError::Truncated));
    assert_eq!(version(&bytes[..24]), Ok(1));
    for len in 25..28 {
        assert_eq!(version(&bytes[..len]), Err(ParseError::BadLength), "{len}");
    }
    assert_eq!(version(&bytes[..28]), Ok(2));
    assert_eq!(version(&bytes[..40]), Ok(2));
    // One source.
    bytes[27] = 1;
    assert_eq!(version(&bytes[..43]), Err(ParseError::Truncated));
    assert_eq!(version(&bytes[..44]), Ok(2));
}

#[test]
fn records_that_are_cut_off_are_refused() {
    let group = ip("ff02::1:ff00:2");
    let source = [ip("fd00::7").octets()];
    let record = MldRecord {
        sources: &source,
        auxiliary: &[0; 4],
        ..MldRecord::new(MldRecordKind::Allow, group)
    };
    let mut bytes = [0; 64];
    let len = record.emit(&mut bytes).expect("room");
    assert_eq!(len, 40);
    for cut in 1..len {
        assert_eq!(MldRecords::new(&bytes[..cut]), Err(ParseError::Truncated));
        let told = MldRecords::parse(1, &bytes[..cut]);
        assert_eq!(told, Err(ParseError::Truncated));
    }
    let odd = MldRecord {
        auxiliary: &[0; 3],
        ..record
    };
    assert_eq!(odd.emit(&mut bytes), Err(EmitError::FieldTooWide));
    let robust = MldRepr::Query(MldQuery {
        max_response_code: 0,
        group,
        querier: Some(MldQuerier {
            suppress: false,
            robustness: 8,
            interval_code: 0,
            sources: &[],
        }),
    });
    assert_eq!(robust.emit(&mut bytes), Err(EmitError::FieldTooWide));
    assert_eq!(parse(&[128; 8]), Err(ParseError::Unsupported));
}

/// Byte by byte from the figures of RFC 9777, section 5.2, and RFC 2711, section 2.1.
#[test]
fn a_report_with_its_alert_is_as_the_figures_draw_it() {
    let group = ip("ff02::1:ff00:2");
    let mut records = [0; 20];
    MldRecord::new(MldRecordKind::ToExclude, group)
        .emit(&mut records)
        .expect("room");
    let message = Icmpv6Repr::Mld(MldRepr::Report(MldRecords::new(&records).expect("whole")));
    let source = ip("fe80::1");
    let mut packet = vec![0; 40];
    packet.extend(router_alert());
    packet.resize(48 + message.buffer_len(), 0);
    let len = packet.len() - 40;
    Ipv6Repr {
        hop_limit: HOP_LIMIT,
        ..Ipv6Repr::new(source, ALL_MLDV2_ROUTERS, Protocol::HOP_BY_HOP, len)
    }
    .emit(&mut packet)
    .expect("room");
    let pseudo = PseudoHeader::v6(source, ALL_MLDV2_ROUTERS, Protocol::ICMPV6);
    message.emit(pseudo, &mut packet[48..]).expect("room");
    assert_eq!(packet[40..50], [58, 0, 5, 2, 0, 0, 1, 0, 143, 0]);
    assert_eq!(packet[52..60], [0, 0, 0, 1, 4, 0, 0, 0]);
    assert_eq!(packet[60..76], group.octets());
    let chain = Chain::walk(&Ipv6View::new(&packet).expect("sound")).expect("sound");
    assert!(chain.router_alert);
    assert_eq!((chain.upper, chain.offset), (Protocol::ICMPV6, 48));
    // Another value is for somebody else (RFC 2711: 1 is RSVP).
    packet[45] = 1;
    let chain = Chain::walk(&Ipv6View::new(&packet).expect("sound")).expect("sound");
    assert!(!chain.router_alert);
}
