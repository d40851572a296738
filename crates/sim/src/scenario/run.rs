//! Runs a scenario, and looks at what is left.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use zcn_frame::{Capabilities, ChecksumOffload, GsoKinds, Medium};
use zcn_pool::BufferPool;
use zcn_stack::InterfaceConfig;
use zcn_wire::IpCidr;

use super::wrap::{First, epoch};
use super::{Fault, Scenario, Traffic};
use crate::app::{Client, ClientPlan, Ending, Ledger, Server};
use crate::link::{Direction, LinkId, NodeId};
use crate::simulation::{Ended, Simulation, node_seed};
use crate::trace::{Frames, Lines};
use crate::violation::{Invariant, Violation};

/// How long after the end everything may take that nobody waits for: TIME-WAIT, orphans
/// whose peer has gone, entries of neighbours.
const AFTERMATH: Duration = Duration::from_secs(1_200);
/// How long it is then listened whether the network is silent.
const SILENCE: Duration = Duration::from_secs(300);

/// How to run.
#[derive(Default)]
pub struct RunOptions {
    /// Who reads the trace.
    pub lines: Option<Lines>,
    /// Who is shown every frame that leaves a node.
    pub frames: Option<Frames>,
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOptions")
            .field("lines", &self.lines.is_some())
            .field("frames", &self.frames.is_some())
            .finish()
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was violated; nothing, if all is well.
    pub violations: Vec<Violation>,
    /// The hash of everything that happened.
    pub hash: u64,
    /// Virtual time until all programs were done.
    pub took: Duration,
    /// Frames that were sent.
    pub frames: u64,
    /// TCP segments that were sent.
    pub segments: u64,
    /// Bytes that programs received.
    pub delivered: u64,
    /// Ends of connections that did what they were to do.
    pub completed: u64,
    /// Established connections that failed, as the scenario permits.
    pub failed: usize,
}

impl Outcome {
    /// Whether every invariant held.
    pub fn is_sound(&self) -> bool {
        self.violations.is_empty()
    }
}

/// The violations, and how to see the run.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            hash,
            took,
            frames,
            delivered,
            completed,
            failed,
            ..
        } = self;
        write!(
            f,
            "seed {seed}: trace {hash:016x}, {:.3} s, {frames} frames, {delivered} bytes, \
             {completed} ends completed, {failed} failed",
            took.as_secs_f64()
        )?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        if !self.is_sound() {
            write!(
                f,
                "\n  replay: cargo run -p zcn-sim --bin zcn-sim -- --seed {seed} --trace"
            )?;
        }
        Ok(())
    }
}

impl Scenario {
    /// Runs it. A panic of the stack is a violation as any other.
    pub fn run(&self, options: RunOptions) -> Outcome {
        let ledger = Ledger::default();
        let result = catch_unwind(AssertUnwindSafe(|| self.run_unguarded(options, &ledger)));
        result.unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Outcome {
                seed: self.seed,
                violations: vec![Violation {
                    at: Duration::ZERO,
                    invariant: Invariant::Panic,
                    detail: text.unwrap_or("a panic without words").to_owned(),
                }],
                hash: 0,
                took: Duration::ZERO,
                frames: 0,
                segments: 0,
                delivered: ledger.delivered(),
                completed: ledger.completed(),
                failed: 0,
            }
        })
    }

    fn run_unguarded(&self, options: RunOptions, ledger: &Ledger) -> Outcome {
        let mut sim = Simulation::with_trace(self.seed, options.lines);
        if let Some(watcher) = options.frames {
            sim.watch(watcher);
        }
        self.build(&mut sim, ledger);
        let ended = sim.run(self.deadline);
        let took = sim.now();
        let report = |sim: &Simulation, invariant, fault: String| {
            sim.violations().report(sim.now(), invariant, fault);
        };
        if ended == Ended::TimeOver {
            let calm = self.faults.is_empty() && self.deadline < Duration::from_secs(600);
            let invariant = if calm {
                Invariant::Goodput
            } else {
                Invariant::Liveness
            };
            report(&sim, invariant, sim.unfinished());
        }
        let failures = ledger.failures();
        if let Some(failure) = failures.first()
            && !self.may_fail
        {
            report(&sim, Invariant::Failure, format!("{failure:?}"));
        }
        if sim.violations().is_empty() {
            self.check_aftermath(&mut sim);
        }
        sim.say_drops();
        Outcome {
            seed: self.seed,
            violations: sim.violations().to_vec(),
            hash: sim.hash(),
            took,
            frames: sim.frames(),
            segments: sim.segments(),
            delivered: ledger.delivered(),
            completed: ledger.completed(),
            failed: failures.len(),
        }
    }

    /// When everybody has left, nothing is left, and nobody says anything.
    fn check_aftermath(&self, sim: &mut Simulation) {
        sim.stop();
        sim.run_until(sim.now() + AFTERMATH);
        let segments = sim.segments();
        for node in sim.nodes() {
            let sizes = sim.stack(node).tcp_table_sizes();
            let buffers = sim.buffers_in_use(node);
            if sizes != (0, 0, 0) || buffers > 0 {
                let fault = format!(
                    "{node:?}: connections, half-open, TIME-WAIT: {sizes:?}; {buffers} buffers in use"
                );
                sim.violations()
                    .report(sim.now(), Invariant::Baseline, fault);
            }
        }
        sim.run_until(sim.now() + SILENCE);
        let more = sim.segments() - segments;
        if more > 0 {
            let fault = format!("{more} segments, but nobody has a connection");
            sim.violations()
                .report(sim.now(), Invariant::Silence, fault);
        }
    }

    fn build(&self, sim: &mut Simulation, ledger: &Ledger) {
        let epoch = self.wrapping_epoch();
        let mut ends = Vec::new();
        for (index, config) in self.nodes.iter().enumerate() {
            let mut config = config.clone();
            if let Some((node, epoch)) = epoch
                && node == index
            {
                config.epoch = epoch;
            }
            // Out of memory is nothing that a test could be about.
            let node = sim.add_node(config).expect("memory for a pool");
            let interface = sim.add_interface(node, self.interface(index));
            ends.push(interface.expect("addresses that are possible"));
        }
        match ends[..] {
            [first, second] => {
                sim.link([first, second], self.paths[0].clone());
            }
            _ => {
                let switch = sim.add_switch();
                for (end, path) in ends.into_iter().zip(&self.paths) {
                    sim.link([end, switch.into()], path.clone());
                }
            }
        }
        for (index, traffic) in self.traffic.iter().enumerate() {
            self.place(sim, index, traffic, ledger);
        }
        for (at, fault) in &self.faults {
            let fault = fault.clone();
            sim.at(*at, move |sim| strike(sim, &fault));
        }
    }

    /// Address of the interface of a node.
    fn address(&self, node: usize) -> IpAddr {
        let host = node as u8 + 1;
        if self.ipv6 {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()).into()
        } else {
            Ipv4Addr::new(10, 0, 0, host).into()
        }
    }

    fn cidr(&self, node: usize) -> IpCidr {
        let length = if self.ipv6 { 64 } else { 24 };
        // Both lengths are possible.
        IpCidr::new(self.address(node), length).expect("a prefix length")
    }

    fn interface(&self, node: usize) -> InterfaceConfig {
        let medium = if self.bare_ip {
            Medium::Ip
        } else {
            let address = [2, 0, 0, 0, 0, node as u8 + 1];
            Medium::Ethernet { address }
        };
        let mut capabilities = Capabilities::plain(medium, self.mtu);
        if self.offload {
            capabilities.checksum = ChecksumOffload {
                transmit: true,
                receive: true,
            };
            capabilities.gso = GsoKinds::ALL;
            capabilities.gso_max_size = 65_535;
        }
        InterfaceConfig::new(capabilities, &[self.cidr(node)])
    }

    /// Ports of a client and its server.
    fn ends(&self, index: usize, traffic: &Traffic) -> (SocketAddr, SocketAddr) {
        let client = SocketAddr::new(self.address(traffic.client), 20_000 + index as u16);
        let server = SocketAddr::new(self.address(traffic.server), 1_000 + index as u16);
        (client, server)
    }

    fn place(&self, sim: &mut Simulation, index: usize, traffic: &Traffic, ledger: &Ledger) {
        let (client, server) = self.ends(index, traffic);
        // A port that is used again may have to wait for the end of TIME-WAIT.
        let wraps = index == 0 && self.wrap.is_some();
        let fixed = traffic.simultaneous || wraps && traffic.connections == 1;
        // A server that has the data of a SYN may have aborted before its client is connected,
        // to whom that is a connect that was refused.
        let aborts = matches!(traffic.answer.ending, Ending::Abort(_));
        let refuses = self.options.fast_open_connect && aborts;
        let plan = ClientPlan {
            remote: server,
            local: fixed.then_some(client),
            plan: traffic.ask,
            connections: traffic.connections,
            // Of two clients one may have finished before the other begins.
            attempts: if traffic.simultaneous || refuses {
                5
            } else {
                u64::MAX
            },
            parallel: if fixed { 1 } else { traffic.parallel },
            start: traffic.start,
            options: self.options.clone(),
        };
        if traffic.simultaneous {
            let other = ClientPlan {
                remote: client,
                local: Some(server),
                plan: traffic.answer,
                ..plan.clone()
            };
            sim.run_on(NodeId(traffic.server), Client::new(other, ledger));
        } else {
            let (backlog, options) = (16, self.options.clone());
            // Its own address may have to be probed first.
            let any = SocketAddr::new(unspecified(server.ip()), server.port());
            let server = Server::new(any, backlog, traffic.answer, options, ledger);
            sim.run_on(NodeId(traffic.server), server);
        }
        sim.run_on(NodeId(traffic.client), Client::new(plan, ledger));
    }

    /// The node and the clock that make the wanted number wrap.
    fn wrapping_epoch(&self) -> Option<(usize, zcn_stack::Instant)> {
        let wrap = self.wrap?;
        let traffic = self.traffic.first()?;
        let (local, remote) = self.ends(0, traffic);
        let first = First {
            config: &self.nodes[traffic.client].stack,
            seed: node_seed(self.seed, traffic.client),
            address: self.cidr(traffic.client),
            local,
            remote,
            start: traffic.start,
        };
        let pool = BufferPool::builder().count(16).build().ok()?;
        Some((traffic.client, epoch(&first, pool.local(), wrap)?))
    }
}

/// Any address of the same family.
fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn strike(sim: &mut Simulation, fault: &Fault) {
    match *fault {
        Fault::Cut(link, direction) => sim.cut(LinkId(link), direction),
        Fault::Shrink(link, most) => {
            sim.impair(LinkId(link), Direction::Both, |path| {
                path.frame_max = Some(most);
            });
        }
        Fault::Heal(link) => {
            sim.heal(LinkId(link));
            sim.impair(LinkId(link), Direction::Both, |path| path.frame_max = None);
        }
        Fault::Lose { link, side, skip } => sim.lose(LinkId(link), side, skip),
        Fault::Restart(node) => sim.restart(NodeId(node)),
        Fault::Jump(node, by) => sim.jump_clock(NodeId(node), by),
        Fault::Exhaust(node) => sim.exhaust_buffers(NodeId(node)),
        Fault::Return(node) => sim.return_buffers(NodeId(node)),
    }
}
