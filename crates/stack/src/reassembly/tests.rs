use proptest::prelude::*;

use super::*;
use crate::random::Random;

fn key(source: u32, identification: u32) -> FragmentKey {
    FragmentKey {
        source: IpAddr::V4((0x0a00_0000 + source).into()),
        destination: IpAddr::V4([10, 9, 9, 9].into()),
        identification,
        protocol: 17,
        interface: InterfaceId(0),
    }
}

struct Fixture {
    reassembly: Reassembly,
    now: Instant,
    evicted: u64,
}

impl Fixture {
    fn new(config: ReassemblyConfig) -> Self {
        Self {
            reassembly: Reassembly::new(config),
            now: Instant::ZERO,
            evicted: 0,
        }
    }

    fn put(
        &mut self,
        key: FragmentKey,
        offset: usize,
        bytes: &[u8],
        more: bool,
    ) -> Result<Option<Datagram>, DropReason> {
        let payload = Chain::from(SharedBuf::from(bytes::Bytes::copy_from_slice(bytes)));
        let fragment = Fragment {
            key,
            offset,
            more,
            ecn: 0,
            payload: &payload,
            header: b"header",
        };
        self.reassembly
            .insert(self.now, &fragment, &mut self.evicted)
    }
}

fn fixture() -> Fixture {
    Fixture::new(ReassemblyConfig::default())
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7) as u8).collect()
}

proptest! {
    #[test]
    fn any_order_gives_the_datagram(len in 1..20_000_usize, unit in 64..300_usize, seed: [u8; 32]) {
        let content = content(len);
        let unit = unit * 8;
        let mut parts: Vec<_> = content.chunks(unit).enumerate().collect();
        let mut random = Random::new(&seed, "order");
        for at in (1..parts.len()).rev() {
            parts.swap(at, random.below(at as u32 + 1) as usize);
        }
        let mut fixture = fixture();
        let mut whole = None;
        for (at, part) in &parts {
            let more = (at + 1) * unit < len;
            prop_assert!(whole.is_none());
            whole = fixture.put(key(1, 1), at * unit, part, more).unwrap();
            // A copy of it says nothing new.
            if whole.is_none() {
                prop_assert!(fixture.put(key(1, 1), at * unit, part, more).unwrap().is_none());
            }
        }
        let whole = whole.expect("every part is there");
        prop_assert_eq!(&whole.payload[..], &content[..]);
        prop_assert_eq!(&whole.header[..], b"header");
        prop_assert_eq!(fixture.reassembly.memory(), 0);
        prop_assert!(fixture.reassembly.sources.is_empty());
    }

    #[test]
    fn memory_keeps_within_the_caps_whatever_arrives(
        fragments in prop::collection::vec(
            (0..6_u32, 0..40_u32, 0..9_000_usize, 0..3_000_usize, any::<bool>(), 0..2_000_u64), 1..400,
        ),
    ) {
        let mut fixture = Fixture::new(ReassemblyConfig {
            total_bytes: 20_000,
            source_bytes: 8_000,
            datagrams: 12,
            pieces: 6,
            ..ReassemblyConfig::default()
        });
        for (source, id, offset, len, more, wait) in fragments {
            fixture.now += Duration::from_millis(wait);
            let _ = fixture.put(key(source, id), offset * 8, &content(len), more);
            let reassembly = &fixture.reassembly;
            prop_assert!(reassembly.memory() <= 20_000);
            prop_assert!(reassembly.pending.len() <= 12);
            prop_assert!(reassembly.order[0].len() <= 25);
            let charged: usize = reassembly.pending.values().map(|pending| pending.charge).sum();
            prop_assert_eq!(charged, reassembly.memory());
            for usage in reassembly.sources.values() {
                prop_assert!(usage.bytes <= 8_000 && usage.datagrams <= 3);
            }
        }
        fixture.now += Duration::from_secs(60);
        while fixture.reassembly.pop_expired(fixture.now).is_some() {}
        prop_assert_eq!(fixture.reassembly.memory(), 0);
        prop_assert!(fixture.reassembly.sources.is_empty());
    }
}

#[test]
fn teardrop_and_every_other_overlap_drops_the_whole_datagram() {
    // Second fragment (offset, length, more) over a first of 16..48.
    for (offset, len, more) in [
        (24, 4, false),
        (24, 8, true),
        (8, 16, true),
        (8, 64, true),
        (40, 16, true),
        (16, 24, true),
        (16, 40, true),
        (0, 24, true),
        (0, 8, false),
        (24, 16, false),
    ] {
        let mut fixture = fixture();
        let key = key(1, 1);
        assert!(fixture.put(key, 16, &content(32), true).unwrap().is_none());
        assert_eq!(
            fixture.put(key, offset, &content(len), more).unwrap_err(),
            DropReason::FragmentOverlap,
            "{offset} {len} {more}"
        );
        // RFC 5722: fragments not yet received go, too, and there is no second chance.
        for (offset, more) in [(0, true), (16, true), (32, false)] {
            assert_eq!(
                fixture.put(key, offset, &content(16), more).unwrap_err(),
                DropReason::FragmentOfDropped
            );
        }
        assert_eq!(fixture.reassembly.memory(), DATAGRAM_OVERHEAD);
        fixture.now += Duration::from_secs(30);
        assert!(fixture.reassembly.pop_expired(fixture.now).is_none());
        assert_eq!(fixture.reassembly.memory(), 0);
    }
}

#[test]
fn two_different_ends_are_a_contradiction() {
    let mut fixture = fixture();
    assert!(
        fixture
            .put(key(1, 1), 32, &content(8), false)
            .unwrap()
            .is_none()
    );
    let other = fixture.put(key(1, 1), 48, &content(8), false);
    assert_eq!(other.unwrap_err(), DropReason::FragmentOverlap);
    assert!(
        fixture
            .put(key(1, 2), 32, &content(8), false)
            .unwrap()
            .is_none()
    );
    let beyond = fixture.put(key(1, 2), 40, &content(8), true);
    assert_eq!(beyond.unwrap_err(), DropReason::FragmentOverlap);
}

#[test]
fn ping_of_death_is_refused() {
    let mut fixture = fixture();
    let beyond = fixture.put(key(1, 1), 65_528, &content(8), false);
    assert_eq!(beyond.unwrap_err(), DropReason::FragmentMalformed);
    assert!(
        fixture
            .put(key(1, 1), 65_528, &content(7), false)
            .unwrap()
            .is_none()
    );
    for (offset, len, more) in [(0, 0, true), (0, 0, false), (0, 7, true), (8, 9, true)] {
        let result = fixture.put(key(1, 2), offset, &content(len), more);
        assert_eq!(result.unwrap_err(), DropReason::FragmentMalformed);
    }
}

#[test]
fn fragment_smack_stays_within_its_cap() {
    let config = ReassemblyConfig::default();
    let (cap, source_cap) = (config.total_bytes, config.source_bytes);
    let mut fixture = Fixture::new(config);
    for number in 0..200_000_u32 {
        // Tiny pieces of many datagrams, of 50 sources, never whole.
        let offset = 8 * (1 + number as usize * 3 % 8_000);
        let _ = fixture.put(key(number % 50, number / 500), offset, &[0; 8], true);
        assert!(fixture.reassembly.memory() <= cap);
    }
    for usage in fixture.reassembly.sources.values() {
        assert!(usage.bytes <= source_cap);
    }
    // Another source still gets through.
    fixture.put(key(77, 1), 0, &content(800), true).unwrap();
    assert!(
        fixture
            .put(key(77, 1), 800, &content(9), false)
            .unwrap()
            .is_some()
    );
}

#[test]
fn expiry_gives_back_the_first_fragment_if_there_is_one() {
    let mut fixture = fixture();
    fixture.put(key(1, 1), 0, &content(16), true).unwrap();
    fixture.now = Instant::from_secs(1);
    fixture.put(key(1, 2), 8, &content(16), true).unwrap();
    assert_eq!(
        fixture.reassembly.next_deadline(),
        Some(Instant::from_secs(30))
    );
    assert!(
        fixture
            .reassembly
            .pop_expired(Instant::from_millis(29_999))
            .is_none()
    );
    let expired = fixture
        .reassembly
        .pop_expired(Instant::from_secs(31))
        .unwrap();
    let (header, bytes) = expired.first.unwrap();
    assert_eq!((&header[..], bytes.len()), (&b"header"[..], 16));
    assert_eq!(expired.key, key(1, 1));
    let expired = fixture
        .reassembly
        .pop_expired(Instant::from_secs(31))
        .unwrap();
    assert!(expired.first.is_none());
    assert!(
        fixture
            .reassembly
            .pop_expired(Instant::from_secs(31))
            .is_none()
    );
    assert_eq!(fixture.reassembly.next_deadline(), None);
}

#[test]
fn a_key_may_be_used_again() {
    let mut fixture = fixture();
    for _ in 0..3 {
        fixture.put(key(1, 1), 0, &content(16), true).unwrap();
        assert!(
            fixture
                .put(key(1, 1), 16, &content(3), false)
                .unwrap()
                .is_some()
        );
        fixture.now += Duration::from_secs(20);
    }
    fixture.put(key(1, 1), 0, &content(16), true).unwrap();
    // The order entries of the earlier ones must not end this one.
    assert!(
        fixture
            .reassembly
            .pop_expired(fixture.now + Duration::from_secs(29))
            .is_none()
    );
    assert_eq!(fixture.reassembly.pending.len(), 1);
}

#[test]
fn congestion_marks_survive() {
    for (fields, expected) in [
        ([0, 0], Some(0)),
        ([2, 2], Some(2)),
        ([1, 1], Some(1)),
        ([2, 3], Some(3)),
        ([1, 3], Some(3)),
        ([0, 2], Some(0)),
        ([0, 3], None),
    ] {
        let mut fixture = fixture();
        let mut last = Ok(None);
        for (at, ecn) in fields.into_iter().enumerate() {
            let payload = Chain::from(SharedBuf::from_static(&[0; 8]));
            let fragment = Fragment {
                key: key(1, 1),
                offset: at * 8,
                more: at == 0,
                ecn,
                payload: &payload,
                header: &[],
            };
            last = fixture.reassembly.insert(Instant::ZERO, &fragment, &mut 0);
        }
        let ecn = last.ok().flatten().map(|datagram| datagram.ecn);
        assert_eq!(ecn, expected, "{fields:?}");
    }
}
