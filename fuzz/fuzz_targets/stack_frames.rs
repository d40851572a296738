//! The whole stack, in several states, fed arbitrary frames.
//!
//! The first byte chooses the state; then come records: one byte that says how the frame
//! arrives, one byte of time that passes before, two bytes of its length, the frame.
//! Checksums count as verified unless the record says otherwise, as no fuzzer finds them.

#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use zcn_frame::{Capabilities, Chain, Checksum, Frame, Gso, GsoKind, Medium};
use zcn_pool::{BufferPool, SharedBuf};
use zcn_stack::demux::Binding;
use zcn_stack::slab::Id;
use zcn_stack::tcp::SocketOptions;
use zcn_stack::{Instant, InterfaceConfig, InterfaceId, Stack, StackConfig};

const IF: InterfaceId = InterfaceId(0);

fn pool() -> &'static BufferPool {
    static POOL: OnceLock<BufferPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let pool = BufferPool::builder().buffer_size(4_096).count(2_048);
        pool.build().expect("memory")
    })
}

fn stack(end: u8) -> Stack {
    let mut config = StackConfig::default();
    // Small, so that the caps are reached.
    config.dad_transmits = 0;
    config.neighbours.entries = 8;
    config.path_mtus = 4;
    config.output_queue = 64;
    let address = [2, 0, 0, 0, 0, end];
    let capabilities = Capabilities::plain(Medium::Ethernet { address }, 1_500);
    let addresses = [format!("10.0.0.{end}/24"), format!("fd00::{end}/64")]
        .map(|text| text.parse().expect("an address"));
    let mut stack = Stack::new(config, pool().local(), &[end; 32], Instant::ZERO);
    stack
        .add_interface(
            Instant::ZERO,
            &InterfaceConfig::new(capabilities, &addresses),
        )
        .expect("a sound configuration");
    stack
}

/// Carries frames between two stacks until they fall silent.
fn settle(now: Instant, stacks: [&mut Stack; 2]) {
    let [a, b] = stacks;
    let mut frames = Vec::new();
    for _ in 0..50 {
        a.poll_frames(now, IF, &mut frames, 64);
        b.handle_frames(now, IF, &mut frames);
        if b.poll_frames(now, IF, &mut frames, 64) == 0 {
            break;
        }
        a.handle_frames(now, IF, &mut frames);
    }
}

/// A stack with sockets in the state that `choice` names, and its connections.
fn in_state(choice: u8, now: Instant) -> (Stack, Vec<Id>) {
    let (mut us, mut peer) = (stack(1), stack(2));
    let options = SocketOptions::default;
    us.udp_bind(Binding::new("[::]:7".parse().expect("an address")))
        .expect("free");
    us.tcp_listen("[::]:80".parse().expect("an address"), 8, options())
        .expect("free");
    peer.tcp_listen("[::]:80".parse().expect("an address"), 8, options())
        .expect("free");
    let mut connections = Vec::new();
    if choice & 3 != 0 {
        for remote in ["10.0.0.2:80", "[fd00::2]:80"] {
            let remote = remote.parse().expect("an address");
            if let Ok(id) = us.tcp_connect(now, remote, None, options()) {
                connections.push(id);
            }
        }
    }
    // 1: opening, 2: established with data on its way, 3: closing.
    if choice & 3 > 1 {
        settle(now, [&mut us, &mut peer]);
        for &id in &connections {
            let _ = us.tcp_send(now, id, &[7; 3_000], false);
            if choice & 3 == 3 {
                let _ = us.tcp_shutdown_write(now, id);
            }
        }
    }
    (us, connections)
}

fn frame(how: u8, bytes: &[u8]) -> Frame {
    let shared = |bytes: &[u8]| SharedBuf::from(bytes::Bytes::copy_from_slice(bytes));
    let mut frame = Frame::from(shared(bytes));
    if how & 1 == 0 {
        frame.meta.checksum = Checksum::Verified;
    }
    if how & 2 != 0 {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        frame.body = Chain::from(shared(first));
        let _ = frame.push(shared(second));
    }
    let kinds = [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::UdpL4];
    if let Some(&kind) = kinds.get(usize::from(how >> 2 & 3)) {
        frame.meta.gso = Some(Gso {
            kind,
            size: u16::from(how >> 4) * 37,
            hdr_len: 54,
            ecn: false,
        });
    }
    frame
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut rest)) = input.split_first() else {
        return;
    };
    let mut now = Instant::from_secs(1);
    let (mut stack, connections) = in_state(choice, now);
    let mut out = Vec::new();
    while let [how, wait, high, low, more @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
        let (bytes, next) = more.split_at(len);
        rest = next;
        now += Duration::from_millis(u64::from(*wait).pow(2));
        let mut frames = vec![frame(*how, bytes)];
        stack.handle_frames(now, IF, &mut frames);
        if choice & 4 != 0 || *wait > 0 {
            stack.handle_timeout(now);
            stack.poll_frames(now, IF, &mut out, 64);
            out.clear();
        }
        if choice & 8 != 0 {
            for &id in &connections {
                let _ = stack.tcp_recv_buf(now, id, usize::MAX);
            }
        }
        while stack.poll_event().is_some() {}
        assert!(stack.reassembly_memory() <= 4 << 20);
        assert!(stack.neighbours(IF).count() <= 8);
        assert!(stack.path_mtus() <= 4);
    }
    // Time goes on, and it falls silent: no deadline is for ever in the past.
    for _ in 0..10_000 {
        let Some(deadline) = stack.poll_timeout() else {
            return;
        };
        now = deadline.max(now + Duration::from_millis(1));
        stack.handle_timeout(now);
        stack.poll_frames(now, IF, &mut out, 1_000);
        out.clear();
    }
    panic!("the stack never falls silent");
});
