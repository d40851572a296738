//! Clocks that make a number wrap when it is wanted.

use std::net::SocketAddr;
use std::time::Duration;

use zcn_frame::{Capabilities, Medium};
use zcn_pool::LocalPool;
use zcn_stack::tcp::SocketOptions;
use zcn_stack::{Instant, InterfaceConfig, Stack, StackConfig};
use zcn_wire::{IpCidr, Ipv4View, Ipv6View, TcpOptions, TcpView};

use super::Wrap;
use crate::random::seed_bytes;

/// One tick of the clock that initial sequence numbers follow (RFC 6528): 64 ns.
const TICK_SHIFT: u32 = 6;

/// The first client, as its own stack would see it.
pub(super) struct First<'a> {
    pub(super) config: &'a StackConfig,
    pub(super) seed: u64,
    pub(super) address: IpCidr,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) start: Duration,
}

/// What the client's clock has to say at the start of the run, so that the number wraps
/// when it should: asks a stack with the same secrets what its SYN would say.
pub(super) fn epoch(first: &First<'_>, pool: LocalPool, wrap: Wrap) -> Option<Instant> {
    let now = Instant::from_secs(1_000);
    let (iss, timestamp) = syn(first, pool, now)?;
    let at = match wrap {
        Wrap::Sequence(bytes) => {
            let ticks = 0_u32.wrapping_sub(bytes).wrapping_sub(iss);
            now + Duration::from_nanos(u64::from(ticks) << TICK_SHIFT)
        }
        Wrap::Timestamp(millis) => {
            let ahead = 0_u32.wrapping_sub(millis).wrapping_sub(timestamp?);
            now + Duration::from_millis(u64::from(ahead))
        }
    };
    Some(at - first.start)
}

/// Sequence number and timestamp of the SYN that leaves at `now`.
fn syn(first: &First<'_>, pool: LocalPool, now: Instant) -> Option<(u32, Option<u32>)> {
    let mut stack = Stack::new(first.config.clone(), pool, &seed_bytes(first.seed), now);
    let bare = InterfaceConfig::new(Capabilities::plain(Medium::Ip, 1_500), &[first.address]);
    let interface = stack.add_interface(now, &bare).ok()?;
    // An IPv6 address may have to be probed first.
    let later = now + Duration::from_secs(3);
    stack.handle_timeout(later);
    let mut frames = Vec::new();
    stack.poll_frames(later, interface, &mut frames, 64);
    frames.clear();
    let options = SocketOptions::default();
    stack
        .tcp_connect(now, first.remote, Some(first.local), options)
        .ok()?;
    stack.poll_frames(now, interface, &mut frames, 64);
    let bytes = frames.last()?.to_vec();
    let segment = match bytes.first()? >> 4 {
        4 => Ipv4View::new(&bytes).ok()?.payload(),
        _ => Ipv6View::new(&bytes).ok()?.payload(),
    };
    let segment = TcpView::new(segment).ok()?;
    let options = TcpOptions::parse(segment.options());
    Some((segment.seq().0, options.timestamps.map(|ts| ts.val)))
}
