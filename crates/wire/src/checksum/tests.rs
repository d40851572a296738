use super::*;
use proptest::prelude::*;

/// The sum as RFC 1071 writes it: big-endian words, one after the other.
fn reference(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn the_example_of_rfc_1071() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Sum::of(&bytes).folded(), 0xddf2);
    assert_eq!(checksum(&bytes), 0x220d);
}

#[test]
fn the_examples_of_rfc_1624() {
    // Section 4: the field 0x5555 becomes 0x3285, checksum 0xdd2f becomes 0x0000.
    assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
}

#[test]
fn sums_of_all_ones_and_of_nothing() {
    for len in 0..600 {
        let ones = vec![0xff; len];
        assert_eq!(Sum::of(&ones).folded(), reference(&ones), "{len}");
        assert_eq!(Sum::of(&vec![0; len]).folded(), 0);
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_sum(
        bytes in proptest::collection::vec(any::<u8>(), 0..700),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.push(0);
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut added = Sum::ZERO;
        let mut appended = Sum::ZERO;
        for cut in cuts.windows(2) {
            added.add(&bytes[cut[0]..cut[1]]);
            appended.append(Sum::of(&bytes[cut[0]..cut[1]]));
        }
        prop_assert_eq!(added.folded(), reference(&bytes));
        prop_assert_eq!(appended.folded(), reference(&bytes));
        prop_assert_eq!(Sum::of(&bytes).folded(), reference(&bytes));
    }

    #[test]
    fn an_update_is_as_good_as_a_new_sum(
        mut bytes in proptest::collection::vec(any::<u8>(), 4..64),
        at: proptest::sample::Index,
        new: u32,
    ) {
        let at = at.index(bytes.len() - 3) & !1;
        let old = crate::bytes::be32(&bytes, at);
        let before = checksum(&bytes);
        crate::bytes::put(&mut bytes, at, new.to_be_bytes());
        // A packet of zeros only has two sums, 0 and 0xffff; real headers are never that.
        prop_assume!(bytes.iter().any(|&byte| byte != 0));
        let updated = update_u32(before, old, new);
        prop_assert_eq!(updated, checksum(&bytes));
        let halves = update_u16(before, (old >> 16) as u16, (new >> 16) as u16);
        prop_assert_eq!(update_u16(halves, old as u16, new as u16), updated);
    }

    #[test]
    fn a_packet_with_its_checksum_is_valid(
        mut bytes in proptest::collection::vec(any::<u8>(), 20..64),
    ) {
        crate::bytes::put(&mut bytes, 10, [0, 0]);
        let sum = checksum(&bytes);
        crate::bytes::put(&mut bytes, 10, sum.to_be_bytes());
        prop_assert!(Sum::of(&bytes).is_valid());
    }

    #[test]
    fn copying_sums(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut to = vec![0; bytes.len() + 3];
        prop_assert_eq!(copy_and_sum(&mut to, &bytes).folded(), reference(&bytes));
        prop_assert_eq!(&to[..bytes.len()], &bytes[..]);
    }
}

#[test]
fn the_pseudo_header_is_the_same_both_ways() {
    let (a, b) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7));
    let there = PseudoHeader::v4(a, b, Protocol::TCP);
    let back = PseudoHeader::v4(b, a, Protocol::TCP);
    assert_eq!(there.partial(20), back.partial(20));
    let bytes = [192, 0, 2, 1, 198, 51, 100, 7, 0, 6, 0, 20];
    assert_eq!(there.partial(20), reference(&bytes));
    let (a, b): (Ipv6Addr, Ipv6Addr) = (
        "2001:db8::1".parse().expect("an address"),
        "fe80::1".parse().expect("an address"),
    );
    let mut bytes = Vec::new();
    bytes.extend(a.octets());
    bytes.extend(b.octets());
    bytes.extend([0, 1, 0, 0, 0, 0, 0, 58]);
    let six = PseudoHeader::v6(a, b, Protocol::ICMPV6);
    assert_eq!(six.partial(65_536), reference(&bytes));
    assert!(
        PseudoHeader::new(
            IpAddr::V6(a),
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            Protocol::UDP
        )
        .is_none()
    );
}
