//! What a stack of its own needs to know.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use zcn_wire::{EthernetAddress, IpCidr};

/// Settings of a stack on a link. Change fields of [`StackConfig::new`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StackConfig {
    /// Where frames come from and go to.
    pub link: LinkConfig,
    /// Addresses of the stack with their networks; routes to the networks come with them.
    pub addresses: Vec<IpCidr>,
    /// Further routes.
    pub routes: Vec<RouteConfig>,
    /// How long to look for frames before going to sleep \[not at all\]. A wake-up costs
    /// some 20 µs, looking costs the core. A runtime looks for as long as its own settings
    /// or those of one of its stacks say.
    pub spin: Duration,
    /// Frames taken from the link, and given to it, at a time \[32\].
    pub batch: usize,
    /// Buffers of 4 KiB for what is sent by copying \[4096\].
    pub buffers: usize,
    /// What all secrets of the stack derive from \[drawn by the kernel\]: the same seed draws the
    /// same ports and sequence numbers.
    pub seed: Option<[u8; 32]>,
    /// The protocols.
    pub protocols: zcn_stack::StackConfig,
}

impl StackConfig {
    /// A stack on this link, without addresses.
    pub fn new(link: LinkConfig) -> Self {
        Self {
            link,
            addresses: Vec::new(),
            routes: Vec::new(),
            spin: Duration::ZERO,
            batch: 32,
            buffers: 4096,
            seed: None,
            protocols: zcn_stack::StackConfig::default(),
        }
    }
}

/// A link to be opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkConfig {
    /// Of what kind, and its name.
    pub kind: LinkKind,
    /// Largest IP packet in bytes \[what the device has\]. A TAP or TUN device is set to
    /// it; on an interface of others only the stack keeps to it.
    pub mtu: Option<u32>,
    /// Ethernet address of the stack \[one derived from the kernel's end\].
    pub address: Option<EthernetAddress>,
    /// Whether to use checksum offload and super-frames as far as the link has them \[yes\].
    pub offload: bool,
    /// Buffers of 4 KiB to receive into \[2048\].
    pub small_buffers: usize,
    /// Buffers of 68 KiB to receive super-frames into \[256\].
    pub large_buffers: usize,
    /// Addresses for the kernel's end of a TAP or TUN device, as `ip address add` gives
    /// them \[none\].
    pub kernel_addresses: Vec<IpCidr>,
    /// A pcapng file to write every frame to, as the stack sees them: super-frames whole,
    /// and with checksums that were left to the link finished \[none\]. What is in it is
    /// complete whenever the stack sleeps.
    pub capture: Option<PathBuf>,
}

impl LinkConfig {
    fn new(kind: LinkKind) -> Self {
        Self {
            kind,
            mtu: None,
            address: None,
            offload: true,
            small_buffers: 2048,
            large_buffers: 256,
            kernel_addresses: Vec::new(),
            capture: None,
        }
    }

    /// A TAP device, made if there is none: Ethernet to the kernel's stack.
    pub fn tap(name: impl Into<String>) -> Self {
        Self::new(LinkKind::Tap(name.into()))
    }

    /// A TUN device, made if there is none: IP packets to the kernel's stack.
    pub fn tun(name: impl Into<String>) -> Self {
        Self::new(LinkKind::Tun(name.into()))
    }

    /// A packet socket on an interface that exists: one end of a veth pair, or a device of
    /// the machine.
    pub fn packet(interface: impl Into<String>) -> Self {
        Self::new(LinkKind::Packet(interface.into()))
    }

    /// Memory that carries back what is sent: the stack meets nobody but itself.
    pub fn memory() -> Self {
        Self::new(LinkKind::Memory)
    }
}

/// Kinds of links.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkKind {
    /// A TAP device of this name.
    Tap(String),
    /// A TUN device of this name.
    Tun(String),
    /// A packet socket on the interface of this name.
    Packet(String),
    /// Memory.
    Memory,
}

/// As on a command line: `TAP zcn0`.
impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tap(name) => write!(f, "TAP {name}"),
            Self::Tun(name) => write!(f, "TUN {name}"),
            Self::Packet(interface) => write!(f, "packet socket on {interface}"),
            Self::Memory => f.write_str("memory"),
        }
    }
}

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// Where it leads; `0.0.0.0/0` and `::/0` are the default routes.
    pub to: IpCidr,
    /// The router, or none if the network is on the link.
    pub via: Option<IpAddr>,
    /// Of two routes to one network, that with the smaller metric is taken.
    pub metric: u32,
    /// Largest packet, where it is smaller than the link's.
    pub mtu: Option<u32>,
}
