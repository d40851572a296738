use super::*;
use crate::icmpv6::Icmpv6Repr;
use proptest::prelude::*;

const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

fn ip(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn parse(bytes: &[u8]) -> Result<NdpRepr<'_>, ParseError> {
    NdpRepr::parse(&Icmpv6View::new(bytes).expect("a header"))
}

fn link_address() -> impl Strategy<Value = Option<EthernetAddress>> {
    proptest::option::of(any::<[u8; 6]>().prop_map(EthernetAddress))
}

proptest! {
    #[test]
    fn messages_survive_a_round_trip(
        kind in 0..4, first: [u8; 16], second: [u8; 16], link in link_address(),
        flags: (bool, bool, bool), redirected in proptest::option::of(0..4_usize),
        nonce in proptest::option::of(0..3_usize),
    ) {
        let packet = [0x60; 32];
        let message = match kind {
            0 => NdpRepr::RouterSolicitation { source_link_address: link },
            1 => NdpRepr::NeighborSolicitation {
                target: first.into(),
                source_link_address: link,
                nonce: nonce.map(|units| &packet[..6 + units * 8]),
            },
            2 => NdpRepr::NeighborAdvertisement {
                router: flags.0,
                solicited: flags.1,
                override_entry: flags.2,
                target: first.into(),
                target_link_address: link,
            },
            _ => NdpRepr::Redirect {
                target: first.into(),
                destination: second.into(),
                target_link_address: link,
                redirected: redirected.map(|len| &packet[..len * 8]),
            },
        };
        let mut bytes = vec![0xaa; message.buffer_len()];
        prop_assert_eq!(message.emit(&mut bytes), Ok(message.buffer_len()));
        prop_assert_eq!(parse(&bytes), Ok(message));
        let cut = bytes.len() - 1;
        prop_assert_eq!(message.emit(&mut bytes[..cut]), Err(EmitError::BufferTooSmall));
    }

    #[test]
    fn any_options_are_taken(
        kind in 133..=137_u8,
        mut bytes in proptest::collection::vec(prop_oneof![0..8_u8, any::<u8>()], 8..200),
    ) {
        bytes[..2].copy_from_slice(&[kind, 0]);
        if let Ok(message) = parse(&bytes) {
            let mut again = vec![0; message.buffer_len()];
            message.emit(&mut again).expect("room");
            prop_assert_eq!(parse(&again), Ok(message));
        }
    }
}

#[test]
fn advertisements_carry_every_option() {
    let server = ip("2001:db8::53").octets();
    let prefix = PrefixInformation {
        prefix_len: 64,
        on_link: true,
        autonomous: false,
        valid_s: 86_400,
        preferred_s: u32::MAX,
        prefix: ip("2001:db8::"),
    };
    let options = [
        NdpOption::SourceLinkAddress(MAC),
        NdpOption::Mtu(1400),
        NdpOption::PrefixInformation(prefix),
        NdpOption::Rdnss {
            lifetime_s: 600,
            servers: &[server],
        },
        NdpOption::Nonce(&[9, 8, 7, 6, 5, 4]),
        NdpOption::Other {
            kind: 99,
            data: &[1, 2, 3, 4, 5, 6],
        },
    ];
    let mut raw = [0; 128];
    let mut len = 0;
    for option in options {
        len += option.emit(&mut raw[len..]).expect("room");
    }
    let advertisement = RouterAdvertisement {
        hop_limit: 64,
        managed: true,
        other_config: false,
        lifetime_s: 1800,
        reachable_ms: 30_000,
        retransmit_ms: 1000,
        options: NdpOptions::new(&raw[..len]).expect("sound"),
    };
    let message = NdpRepr::RouterAdvertisement(advertisement);
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes).expect("room");
    assert_eq!(parse(&bytes), Ok(message));
    let found: Vec<_> = advertisement.options.iter().collect();
    assert_eq!(found, options);
    assert_eq!(advertisement.options.source_link_address(), Some(MAC));
    assert_eq!(advertisement.options.mtu(), Some(1400));
    assert_eq!(advertisement.options.nonce(), Some(&[9, 8, 7, 6, 5, 4][..]));
    assert_eq!(
        advertisement.options.prefixes().collect::<Vec<_>>(),
        [prefix]
    );
}

#[test]
fn malformed_options_are_refused() {
    for bad in [
        &[1, 0, 0, 0, 0, 0, 0, 0][..],
        &[1, 2, 0, 0, 0, 0, 0, 0],
        &[1],
        &[5, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[3, 1, 0, 0, 0, 0, 0, 0],
        &[25, 1, 0, 0, 0, 0, 0, 0],
        &[25, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(NdpOptions::new(bad), Err(ParseError::BadOption), "{bad:?}");
    }
    assert_eq!(parse(&[135, 1, 0, 0, 0, 0, 0, 0]), Err(ParseError::BadCode));
    assert_eq!(
        parse(&[135, 0, 0, 0, 0, 0, 0, 0]),
        Err(ParseError::Truncated)
    );
    assert_eq!(
        parse(&[128, 0, 0, 0, 0, 0, 0, 0]),
        Err(ParseError::Unsupported)
    );
}

#[test]
fn a_redirected_packet_has_a_limit() {
    let packet = [0; 2033];
    let redirect = |len| NdpRepr::Redirect {
        target: ip("fe80::1"),
        destination: ip("2001:db8::1"),
        target_link_address: None,
        redirected: Some(&packet[..len]),
    };
    let mut bytes = [0; 2100];
    assert_eq!(redirect(2032).emit(&mut bytes), Ok(8 + 32 + 8 + 2032));
    assert_eq!(redirect(2033).emit(&mut bytes), Err(EmitError::TooLong));
}

#[test]
fn messages_are_checked_against_their_packet() {
    let (any, host, router) = (Ipv6Addr::UNSPECIFIED, ip("2001:db8::1"), ip("fe80::1"));
    let group = ip("ff02::1");
    let solicit = |target, source_link_address| NdpRepr::NeighborSolicitation {
        target,
        source_link_address,
        nonce: None,
    };
    let advert = |target, solicited| NdpRepr::NeighborAdvertisement {
        router: false,
        solicited,
        override_entry: true,
        target,
        target_link_address: Some(MAC),
    };
    let redirect = |target, destination| NdpRepr::Redirect {
        target,
        destination,
        target_link_address: None,
        redirected: None,
    };
    let router_solicit = |source_link_address| NdpRepr::RouterSolicitation {
        source_link_address,
    };
    let router_advert = NdpRepr::RouterAdvertisement(RouterAdvertisement {
        hop_limit: 64,
        managed: false,
        other_config: false,
        lifetime_s: 0,
        reachable_ms: 0,
        retransmit_ms: 0,
        options: NdpOptions::default(),
    });
    let solicited = solicited_node(host);
    assert_eq!(solicited, ip("ff02::1:ff00:1"));
    let (address, option) = (Err(ParseError::BadAddress), Err(ParseError::BadOption));
    for (message, src, dst, expected) in [
        (router_solicit(Some(MAC)), host, group, Ok(())),
        (router_solicit(None), any, group, Ok(())),
        (router_solicit(Some(MAC)), any, group, option),
        (router_advert, router, group, Ok(())),
        (router_advert, host, group, address),
        (solicit(host, None), any, solicited, Ok(())),
        (solicit(host, Some(MAC)), any, solicited, option),
        (solicit(host, None), any, group, address),
        (solicit(host, Some(MAC)), router, host, Ok(())),
        (solicit(group, Some(MAC)), router, host, address),
        (advert(host, true), host, router, Ok(())),
        (advert(host, false), host, group, Ok(())),
        (advert(host, true), host, group, Err(ParseError::BadCode)),
        (advert(group, false), host, router, address),
        (redirect(router, host), router, host, Ok(())),
        (redirect(host, host), router, host, Ok(())),
        (redirect(host, router), router, host, address),
        (redirect(router, host), host, host, address),
        (redirect(router, group), router, host, address),
    ] {
        assert_eq!(message.validate(src, dst, 255), expected, "{message:?}");
        let near = message.validate(src, dst, 254);
        assert_eq!(near, Err(ParseError::BadHopLimit));
        let is_redirect = matches!(message, NdpRepr::Redirect { .. });
        assert_eq!(Icmpv6Repr::Ndp(message).is_error(), is_redirect);
    }
}
