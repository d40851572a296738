//! Whatever arrives, whatever is called: nothing panics, nothing grows, and afterwards the
//! stack still answers.
//!
//! proptest prints the seed and the smallest input of a failure.

mod net;

use std::time::Duration;

use net::*;
use proptest::prelude::*;
use zcn_frame::{Chain, Checksum, Gso, GsoKind};
use zcn_pool::SharedBuf;
use zcn_stack::Stack;
use zcn_stack::demux::Binding;
use zcn_stack::tcp::SocketOptions;

/// Frames that two stacks exchanged doing a bit of everything: what is mutated here.
fn corpus() -> Vec<Vec<u8>> {
    let mut net = Net::plain(1_500);
    net.run_for(Duration::from_secs(5));
    populate(&mut net.stacks[0]);
    populate(&mut net.stacks[1]);
    let now = net.now;
    for to in ["10.0.0.2:80", "[fd00::2]:80"] {
        let client = net.stacks[0]
            .tcp_connect(now, at(to), None, SocketOptions::default())
            .unwrap();
        net.run();
        net.stacks[0]
            .tcp_send(now, client, &content(3_000), false)
            .unwrap();
        net.run();
        net.stacks[0].tcp_close(now, client).unwrap();
        net.run();
    }
    let socket = net.stacks[0]
        .udp_bind(Binding::new(at("[::]:6000")))
        .unwrap();
    for to in ["10.0.0.2:7", "10.0.0.2:9", "[fd00::2]:7", "[fd00::2]:9"] {
        for size in [10, 2_000] {
            net.stacks[0]
                .udp_send(now, socket, Some(at(to)), &content(size))
                .unwrap();
            net.run();
        }
    }
    net.run_for(Duration::from_secs(60));
    net.log.iter().map(|(_, bytes)| bytes.clone()).collect()
}

/// Sockets of every kind, so that there is something to confuse.
fn populate(stack: &mut Stack) {
    stack.udp_bind(Binding::new(at("[::]:7"))).unwrap();
    stack
        .tcp_listen(at("[::]:80"), 8, SocketOptions::default())
        .unwrap();
    stack.echo_open().unwrap();
}

#[derive(Clone, Debug)]
struct Mutation {
    /// Which frame, and from where on it is taken from another one.
    frame: prop::sample::Index,
    other: Option<(prop::sample::Index, prop::sample::Index)>,
    bytes: Vec<(prop::sample::Index, u8)>,
    cut: Option<prop::sample::Index>,
    /// Give the stack a checksum that is taken for right, and a segment size.
    trusted: bool,
    gso: Option<(u8, u16)>,
    /// Where the frame is in two pieces.
    pieces: Option<prop::sample::Index>,
    wait_ms: u32,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    (
        any::<prop::sample::Index>(),
        prop::option::weighted(0.2, any::<(prop::sample::Index, prop::sample::Index)>()),
        prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4),
        prop::option::weighted(0.2, any::<prop::sample::Index>()),
        any::<bool>(),
        prop::option::weighted(0.3, (0..3_u8, 0..2_000_u16)),
        prop::option::weighted(0.3, any::<prop::sample::Index>()),
        prop_oneof![8 => Just(0), 2 => 0..3_000_u32, 1 => Just(100_000)],
    )
        .prop_map(
            |(frame, other, bytes, cut, trusted, gso, pieces, wait_ms)| Mutation {
                frame,
                other,
                bytes,
                cut,
                trusted,
                gso,
                pieces,
                wait_ms,
            },
        )
}

/// What no input may exceed.
fn within_caps(stack: &Stack) {
    assert!(stack.reassembly_memory() <= 4 << 20);
    assert!(stack.neighbours(IF).count() <= 1_024);
    assert!(stack.waiting_for_neighbours() <= 1_024);
    assert!(stack.path_mtus() <= 4_096);
}

/// Afterwards everything works as on the first day.
fn still_answers(mut stack: Stack, now: zcn_stack::Instant) {
    stack.handle_timeout(now + Duration::from_secs(300));
    let mut net = Net::new([stack, self::stack(1, config(), plain(1, 1_500))]);
    net.now = now + Duration::from_secs(300);
    net.run_for(Duration::from_secs(5));
    let now = net.now;
    let socket = net.stacks[1]
        .udp_bind(Binding::new(at("0.0.0.0:1234")))
        .unwrap();
    net.stacks[1]
        .udp_send(now, socket, Some(at("10.0.0.1:4321")), b"x")
        .unwrap();
    net.run_for(Duration::from_secs(30));
    assert!(
        net.stacks[1].udp_take_error(socket).is_some(),
        "port unreachable"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn mutated_frames_do_no_harm(mutations in prop::collection::vec(mutation(), 1..120)) {
        let corpus = corpus();
        let mut stack = stack(0, config(), plain(0, 1_500));
        populate(&mut stack);
        let mut now = zcn_stack::Instant::from_secs(10);
        for mutation in &mutations {
            now += Duration::from_millis(mutation.wait_ms.into());
            let mut bytes = mutation.frame.get(&corpus).clone();
            if let Some((other, at)) = &mutation.other {
                let other = other.get(&corpus);
                let at = at.index(bytes.len().min(other.len()));
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at..]);
            }
            for (at, value) in &mutation.bytes {
                // Headers are what matters.
                let at = at.index(bytes.len().min(100));
                bytes[at] = *value;
            }
            if let Some(cut) = &mutation.cut {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            let mut frame = wire(&bytes);
            if let Some(at) = &mutation.pieces {
                let at = at.index(bytes.len() + 1);
                let mut chain = Chain::new();
                for part in [&bytes[..at], &bytes[at..]] {
                    chain.push(SharedBuf::from(bytes::Bytes::copy_from_slice(part))).unwrap();
                }
                frame.body = chain;
            }
            if mutation.trusted {
                frame.meta.checksum = Checksum::Verified;
            }
            frame.meta.gso = mutation.gso.map(|(kind, size)| Gso {
                kind: [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::UdpL4][usize::from(kind)],
                size,
                hdr_len: size,
                ecn: false,
            });
            let mut frames = vec![frame.clone(), frame];
            stack.handle_frames(now, IF, &mut frames);
            stack.handle_timeout(now);
            stack.poll_frames(now, IF, &mut frames, 64);
            while stack.poll_event().is_some() {}
            stack.poll_timeout();
            within_caps(&stack);
        }
        still_answers(stack, now);
    }

    #[test]
    fn random_bytes_do_no_harm(frames in prop::collection::vec(
        (any::<bool>(), prop::sample::select(vec![[8_u8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]]), prop::collection::vec(any::<u8>(), 0..200)), 1..100)
    ) {
        let mut stack = stack(0, config(), plain(0, 1_500));
        populate(&mut stack);
        let now = zcn_stack::Instant::from_secs(10);
        for (group, kind, rest) in &frames {
            let mut bytes = if *group { vec![0xff; 6] } else { MAC[0].to_vec() };
            bytes.extend([2, 0, 0, 0, 0, 9]);
            bytes.extend(kind);
            bytes.extend(rest);
            stack.handle_frames(now, IF, &mut vec![wire(&bytes)]);
            within_caps(&stack);
        }
        still_answers(stack, now);
    }
}
