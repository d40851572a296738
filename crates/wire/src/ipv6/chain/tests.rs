use super::*;
use proptest::prelude::*;

const HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const OPTIONS: u8 = 60;
const UDP: u8 = 17;

const HOST: Ipv6Addr = Ipv6Addr::LOCALHOST;
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn walk(first: u8, payload: &[u8]) -> Result<Chain<'_>, ChainError> {
    Chain::walk_from(Protocol(first), payload)
}

/// An options header of 8 bytes with one option of `kind`, 4 bytes long with its data.
fn options(next: u8, kind: u8) -> Vec<u8> {
    vec![next, 0, kind, 4, 0, 0, 0, 0]
}

fn fragment(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    let ident = 7;
    let header = FragmentHeader {
        next_header: Protocol(next),
        offset,
        more,
        ident,
    };
    header.emit(&mut bytes).expect("room");
    bytes
}

/// Code and pointer of an answer.
type Answer = Option<(u8, u32)>;

/// What the walk of `payload` refuses it for, and what it answers to a host and a group.
fn refused(first: u8, payload: &[u8]) -> (ParseError, Answer, Answer) {
    let error = walk(first, payload).expect_err("to be refused");
    let answers = [HOST, GROUP].map(|dst| error.parameter_problem(dst));
    (error.reason, answers[0], answers[1])
}

#[test]
fn no_extension_header_is_the_short_way() {
    let chain = walk(UDP, b"datagram").expect("sound");
    assert_eq!((chain.upper, chain.offset), (Protocol::UDP, 40));
    assert_eq!(chain.payload, b"datagram");
    assert!(!chain.is_fragment());
}

#[test]
fn headers_are_walked_in_order() {
    let mut payload = vec![ROUTING, 0, 5, 2, 0, 0, 1, 0];
    payload.extend([OPTIONS, 1, 0, 0]);
    payload.extend([0; 12]);
    payload.extend([FRAGMENT, 0, PAD_N, 4, 0, 0, 0, 0]);
    payload.extend(fragment(UDP, 0, false));
    payload.extend(b"datagram");
    let chain = walk(HOP, &payload).expect("sound");
    assert_eq!((chain.upper, chain.offset), (Protocol::UDP, 40 + 40));
    assert_eq!(chain.payload, b"datagram");
    assert!(chain.fragment.is_some_and(|fragment| fragment.is_atomic()));
    assert!(!chain.is_fragment());
}

#[test]
fn unknown_options_act_by_their_high_bits() {
    let told = Some((UNRECOGNIZED_OPTION, 42));
    let bad = ParseError::BadOption;
    assert!(walk(OPTIONS, &options(UDP, 0x1e)).is_ok());
    assert_eq!(refused(OPTIONS, &options(UDP, 0x5e)), (bad, None, None));
    assert_eq!(refused(OPTIONS, &options(UDP, 0x9e)), (bad, told, told));
    assert_eq!(refused(OPTIONS, &options(UDP, 0xde)), (bad, told, None));
}

#[test]
fn an_option_beyond_its_header_is_refused() {
    for payload in [[UDP, 0, 0x1e, 5, 0, 0, 0, 0], [UDP, 0, 1, 3, 0, 0, 0, 0x1e]] {
        assert_eq!(refused(OPTIONS, &payload).0, ParseError::BadOption);
    }
}

#[test]
fn hop_by_hop_stands_first_or_not_at_all() {
    let mut payload = options(HOP, PAD_N);
    payload.extend(options(UDP, PAD_N));
    let told = Some((UNRECOGNIZED_NEXT_HEADER, 40));
    assert_eq!(
        refused(OPTIONS, &payload),
        (ParseError::BadCode, told, None)
    );
}

#[test]
fn routing_header_type_0_with_segments_left_is_refused() {
    let mut payload = vec![UDP, 2, 0, 1];
    payload.extend([0; 20]);
    let told = Some((ERRONEOUS_FIELD, 42));
    assert_eq!(
        refused(ROUTING, &payload),
        (ParseError::Unsupported, told, None)
    );
    payload[3] = 0;
    assert!(walk(ROUTING, &payload).is_ok());
}

#[test]
fn the_walk_is_bounded() {
    let mut payload = Vec::new();
    for _ in 0..8 {
        payload.extend(options(OPTIONS, PAD_N));
    }
    payload[7 * 8] = UDP;
    assert!(walk(OPTIONS, &payload).is_ok());
    payload[7 * 8] = OPTIONS;
    payload.extend(options(UDP, PAD_N));
    assert_eq!(refused(OPTIONS, &payload).0, ParseError::TooManyHeaders);
    let mut long = vec![OPTIONS, 255];
    long.resize(2048, 0);
    long.extend(options(UDP, PAD_N));
    assert_eq!(refused(OPTIONS, &long).0, ParseError::TooManyHeaders);
    let mut many = vec![UDP, 3];
    many.resize(32, 0);
    for option in 0..9 {
        many[2 + option * 2] = 0x1e;
    }
    assert_eq!(refused(OPTIONS, &many).0, ParseError::TooManyHeaders);
    many[2 + 8 * 2] = PAD_N;
    assert!(walk(OPTIONS, &many).is_ok());
}

#[test]
fn fragments_end_the_walk() {
    let mut payload = fragment(UDP, 1480, true);
    payload.extend([0; 16]);
    let chain = walk(FRAGMENT, &payload).expect("sound");
    assert!(chain.is_fragment());
    assert_eq!((chain.offset, chain.payload.len()), (48, 16));
    let header = chain.fragment.expect("a fragment");
    assert_eq!((header.offset, header.more, header.ident), (1480, true, 7));
    // Offset and length beyond the largest packet.
    let mut beyond = fragment(UDP, 65_528, false);
    beyond.extend([0; 8]);
    let told = Some((ERRONEOUS_FIELD, 42));
    assert_eq!(
        refused(FRAGMENT, &beyond),
        (ParseError::BadLength, told, None)
    );
    // More to come, but no multiple of 8.
    payload.pop();
    let told = Some((ERRONEOUS_FIELD, 4));
    assert_eq!(
        refused(FRAGMENT, &payload),
        (ParseError::BadLength, told, None)
    );
}

#[test]
fn the_first_fragment_holds_the_upper_header() {
    let told = Some((INCOMPLETE_CHAIN, 0));
    let mut tcp = fragment(6, 0, true);
    tcp.extend([0; 16]);
    assert_eq!(refused(FRAGMENT, &tcp), (ParseError::Truncated, told, None));
    tcp.extend([0; 8]);
    assert!(walk(FRAGMENT, &tcp).is_ok());
    let mut chain = fragment(OPTIONS, 0, true);
    chain.extend([UDP, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        refused(FRAGMENT, &chain),
        (ParseError::Truncated, told, None)
    );
    chain.extend([0; 16]);
    let sound = walk(FRAGMENT, &chain).expect("sound");
    assert_eq!(sound.upper, Protocol::DESTINATION_OPTIONS);
}

#[test]
fn a_second_fragment_header_is_refused() {
    for more in [false, true] {
        let mut payload = fragment(FRAGMENT, 0, more);
        payload.extend(fragment(UDP, 0, true));
        payload.extend([0; 8]);
        assert_eq!(refused(FRAGMENT, &payload).0, ParseError::BadCode);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_taken(
        first in prop_oneof![Just(HOP), Just(ROUTING), Just(FRAGMENT), Just(OPTIONS), any::<u8>()],
        kinds in proptest::collection::vec(
            prop_oneof![Just(HOP), Just(ROUTING), Just(FRAGMENT), Just(OPTIONS), any::<u8>()], 0..400),
    ) {
        match walk(first, &kinds) {
            Ok(chain) => {
                prop_assert_eq!(chain.offset + chain.payload.len(), 40 + kinds.len());
                prop_assert!(chain.is_fragment() || !chain.upper.is_extension_header());
            }
            Err(error) => if let Some((code, pointer)) = error.parameter_problem(HOST) {
                prop_assert!(code <= 3 && (pointer as usize) < 40 + kinds.len());
            }
        }
    }
}
