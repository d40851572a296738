//! Whole runs, drawn from a seed.

mod generate;
mod run;
mod wrap;

use std::fmt;
use std::time::Duration;

use zcn_link::Impairments;
use zcn_stack::tcp::SocketOptions;

pub use run::{Outcome, RunOptions};

use crate::app::Plan;
use crate::link::Direction;
use crate::node::NodeConfig;

/// What a run consists of. [`Scenario::of`] draws one; its fields can be changed, and the
/// same scenario always runs the same way.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed of all secrets and fates.
    pub seed: u64,
    /// Two nodes have one link between them, more have a link each to a switch.
    pub nodes: Vec<NodeConfig>,
    /// A link without Ethernet, as a TUN device; two nodes only.
    pub bare_ip: bool,
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// MTU of all interfaces.
    pub mtu: u32,
    /// Whether interfaces take super-frames and finish checksums.
    pub offload: bool,
    /// What each link does to frames, from the first end to the second, and back.
    pub paths: Vec<[Impairments; 2]>,
    /// Options of all sockets.
    pub options: SocketOptions,
    /// Who says what to whom.
    pub traffic: Vec<Traffic>,
    /// What goes wrong, and when.
    pub faults: Vec<(Duration, Fault)>,
    /// Which number wraps soon after the first client's start.
    pub wrap: Option<Wrap>,
    /// Whether a connection may fail: something resets connections, or cuts them off for
    /// longer than they wait.
    pub may_fail: bool,
    /// When the network is as good as it will be.
    pub healed: Duration,
    /// By when the programs have to be done.
    pub deadline: Duration,
}

/// One client, its server, and what they do on each connection.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The node of the client.
    pub client: usize,
    /// The node of the server; another one.
    pub server: usize,
    /// What the client does on a connection.
    pub ask: Plan,
    /// What the server does on a connection.
    pub answer: Plan,
    /// Connections in all.
    pub connections: u64,
    /// Connections at a time.
    pub parallel: usize,
    /// When the client starts.
    pub start: Duration,
    /// Both are clients, each of the other, on one pair of ports (RFC 9293 section
    /// 3.5, figure 7).
    pub simultaneous: bool,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A link is cut, or a direction of it.
    Cut(usize, Direction),
    /// Frames longer than this vanish on a link.
    Shrink(usize, usize),
    /// A link is healed of both.
    Heal(usize),
    /// The frame that enters a link at the end `side` after `skip` others is lost.
    Lose {
        /// Which link.
        link: usize,
        /// Which end of it.
        side: usize,
        /// How many pass before.
        skip: u64,
    },
    /// A node forgets everything and starts again.
    Restart(usize),
    /// A node's clock jumps forward.
    Jump(usize, Duration),
    /// A node's buffers are taken.
    Exhaust(usize),
    /// And given back.
    Return(usize),
}

/// A number that wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrap {
    /// The sequence number, this many bytes into the stream of the first client.
    Sequence(u32),
    /// The timestamp, so many milliseconds after the first client's start.
    Timestamp(u32),
}

impl Scenario {
    /// The same run with every segment on the long way through the stacks: its trace is the
    /// same, too ([`StackConfig::header_prediction`](zcn_stack::StackConfig)).
    #[must_use]
    pub fn unpredicted(mut self) -> Self {
        for node in &mut self.nodes {
            node.stack.header_prediction = false;
        }
        self
    }
}

/// A few lines that say what is special.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} nodes, {}, MTU {}{}{}, wrap {:?}, may fail: {}, healed {:?}, deadline {:?}",
            self.seed,
            self.nodes.len(),
            if self.ipv6 { "IPv6" } else { "IPv4" },
            self.mtu,
            if self.bare_ip { ", no Ethernet" } else { "" },
            if self.offload { ", offloads" } else { "" },
            self.wrap,
            self.may_fail,
            self.healed,
            self.deadline,
        )?;
        for (link, path) in self.paths.iter().enumerate() {
            for (arrow, path) in ["->", "<-"].iter().zip(path) {
                write!(f, "  link {link} {arrow} delay {:?}", path.delay)?;
                write!(f, " jitter {:?} loss {:.3}", path.jitter, path.loss)?;
                write!(f, " reorder {:.3}", path.reorder)?;
                write!(f, " duplicate {:.3}", path.duplicate)?;
                write!(f, " corrupt {:.3} mark {:.3}", path.corrupt, path.mark)?;
                writeln!(f, " burst {:?} rate {:?}", path.burst, path.rate)?;
            }
        }
        for (node, config) in self.nodes.iter().enumerate() {
            let tcp = &config.stack.tcp;
            write!(f, "  node {node}: {} buffers", config.buffers)?;
            write!(f, ", SACK {}, timestamps {}", tcp.sack, tcp.timestamps)?;
            write!(f, ", scaling {}", tcp.window_scaling)?;
            write!(f, ", receive {}", tcp.receive_buffer_max)?;
            writeln!(f, ", cookies {:?}", tcp.syn_cookies)?;
        }
        for traffic in &self.traffic {
            writeln!(f, "  {traffic:?}")?;
        }
        for (at, fault) in &self.faults {
            writeln!(f, "  at {at:?}: {fault:?}")?;
        }
        Ok(())
    }
}
