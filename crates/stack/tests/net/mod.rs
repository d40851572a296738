//! Two stacks joined by a wire in virtual time.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by test files, each of which uses a part of it"
)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use zcn_frame::{Capabilities, ChecksumOffload, Frame, GsoKinds, Medium};
use zcn_pool::{BufferPool, LocalPool, SharedBuf};
use zcn_stack::event::{Event, Readiness};
use zcn_stack::stats::DropReason;
use zcn_stack::{Instant, InterfaceConfig, InterfaceId, SocketId, Stack, StackConfig};

/// The one interface of each stack.
pub const IF: InterfaceId = InterfaceId(0);

/// Link addresses of the two ends.
pub const MAC: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address with port")
}

pub fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// An Ethernet link of plain packets.
pub fn plain(end: usize, mtu: u32) -> Capabilities {
    Capabilities::plain(Medium::Ethernet { address: MAC[end] }, mtu)
}

/// An Ethernet link that takes super-frames and finishes checksums.
pub fn offloading(end: usize, mtu: u32) -> Capabilities {
    Capabilities {
        checksum: ChecksumOffload {
            transmit: true,
            receive: true,
        },
        gso: GsoKinds::ALL,
        gso_max_size: 65_535,
        ..plain(end, mtu)
    }
}

/// Quick to start: no probes for duplicates.
pub fn config() -> StackConfig {
    let mut config = StackConfig::default();
    config.dad_transmits = 0;
    config.icmp.errors_per_host = 1_000;
    config.icmp.errors_per_host_burst = 1_000;
    config.icmp.errors_burst = 1_000;
    config
}

pub fn pool() -> LocalPool {
    let pool = BufferPool::builder().buffer_size(4_096).count(1_024);
    pool.build().expect("memory").local()
}

/// A stack with one interface, `10.0.0.end+1/24` and `fd00::end+1/64`.
pub fn stack(end: usize, config: StackConfig, capabilities: Capabilities) -> Stack {
    let number = end + 1;
    let mut addresses = vec![format!("10.0.0.{number}/24").parse().expect("an address")];
    if capabilities.mtu >= 1_280 {
        addresses.push(format!("fd00::{number}/64").parse().expect("an address"));
    }
    let mut stack = Stack::new(config, pool(), &[end as u8; 32], Instant::ZERO);
    stack
        .add_interface(
            Instant::ZERO,
            &InterfaceConfig::new(capabilities, &addresses),
        )
        .expect("a sound configuration");
    stack
}

/// What the wire does to frames: the end they come from, and the frame; an answer of
/// `None` loses it.
type Filter = Box<dyn FnMut(usize, Frame) -> Option<Frame>>;

/// Two stacks and the wire between them. Frames arrive without delay, as single slices
/// unless the link offloads.
pub struct Net {
    pub now: Instant,
    pub stacks: [Stack; 2],
    pub filter: Option<Filter>,
    /// Every frame that was on the wire, with the end it came from.
    pub log: Vec<(usize, Vec<u8>)>,
    pub events: [Vec<Event>; 2],
}

impl Net {
    pub fn new(stacks: [Stack; 2]) -> Self {
        Self {
            now: Instant::from_secs(1),
            stacks,
            filter: None,
            log: Vec::new(),
            events: [Vec::new(), Vec::new()],
        }
    }

    /// Two plain stacks.
    pub fn plain(mtu: u32) -> Self {
        Self::with(config(), mtu)
    }

    pub fn with(config: StackConfig, mtu: u32) -> Self {
        Self::new([0, 1].map(|end| stack(end, config.clone(), plain(end, mtu))))
    }

    pub fn offloading(mtu: u32) -> Self {
        Self::new([0, 1].map(|end| stack(end, config(), offloading(end, mtu))))
    }

    /// Carries frames until none is left; time stands still.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            let mut quiet = true;
            for end in 0..2 {
                self.stacks[end].handle_timeout(self.now);
                let mut frames = Vec::new();
                self.stacks[end].poll_frames(self.now, IF, &mut frames, 64);
                let mut arriving = Vec::new();
                for frame in frames {
                    quiet = false;
                    self.log.push((end, frame.to_vec()));
                    let frame = match &mut self.filter {
                        Some(filter) => filter(end, frame),
                        None => Some(frame),
                    };
                    if let Some(mut frame) = frame {
                        // As from a device that has one buffer for a frame.
                        if frame.meta.gso.is_none() {
                            let meta = frame.meta;
                            frame = wire(&frame.to_vec());
                            frame.meta = meta;
                        }
                        arriving.push(frame);
                    }
                }
                let now = self.now;
                self.stacks[1 - end].handle_frames(now, IF, &mut arriving);
            }
            for end in 0..2 {
                while let Some(event) = self.stacks[end].poll_event() {
                    self.events[end].push(event);
                    quiet = false;
                }
            }
            if quiet {
                return;
            }
        }
        panic!("the stacks never fall silent");
    }

    /// Runs for this long, jumping from deadline to deadline.
    pub fn run_for(&mut self, length: Duration) {
        let end = self.now + length;
        loop {
            self.run();
            let next = self
                .stacks
                .iter_mut()
                .filter_map(Stack::poll_timeout)
                .min()
                .filter(|&next| next <= end);
            let Some(next) = next else {
                self.now = end;
                return;
            };
            self.now = next.max(self.now + Duration::from_micros(1));
        }
    }

    /// Gives frames to an end, and carries what follows.
    pub fn inject(&mut self, end: usize, frames: &[&[u8]]) {
        let mut frames = frames.iter().map(|bytes| wire(bytes)).collect();
        self.stacks[end].handle_frames(self.now, IF, &mut frames);
        self.run();
    }

    /// What an end became ready for since the last call.
    pub fn ready(&mut self, end: usize, socket: SocketId) -> Readiness {
        let mut readiness = Readiness::NONE;
        self.events[end].retain(|event| {
            if event.socket == socket {
                readiness |= event.readiness;
            }
            event.socket != socket
        });
        readiness
    }

    /// The frames that came from `end` since the last call.
    pub fn sent(&mut self, end: usize) -> Vec<Vec<u8>> {
        let log = std::mem::take(&mut self.log);
        log.into_iter()
            .filter(|&(from, _)| from == end)
            .map(|(_, bytes)| bytes)
            .collect()
    }

    /// What an end dropped, but for what its peer told routers of its groups.
    pub fn faults(&self, end: usize) -> u64 {
        let drops = self.stacks[end].stats().drops;
        drops.total() - drops.get(DropReason::GroupNotJoined)
    }

    pub fn drops(&self, end: usize, name: &str) -> u64 {
        let counters = self.stacks[end].stats();
        let name = format!("drop.{name}");
        let found = counters.iter().find(|(other, _)| *other == name);
        found.expect("a reason").1
    }
}

/// A frame as a device hands it up.
pub fn wire(bytes: &[u8]) -> Frame {
    Frame::from(SharedBuf::from(bytes::Bytes::copy_from_slice(bytes)))
}
