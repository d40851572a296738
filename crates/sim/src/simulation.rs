//! Virtual time: the next thing that happens, until nothing is left.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use zcn_frame::{Frame, Medium};
use zcn_link::Impairments;
use zcn_pool::PoolError;
use zcn_stack::{ConfigError, Instant, InterfaceConfig, InterfaceId, Stack};

use crate::application::Application;
use crate::link::{Direction, End, Link, LinkId, NodeId, Switch, SwitchId};
use crate::monitor::Monitor;
use crate::node::{Node, NodeConfig};
use crate::trace::{Frames, Lines, Trace};
use crate::violation::{Invariant, Violations};

/// Rounds of frames at one instant after which something spins.
const ROUNDS_MAX: usize = 10_000;
/// Steps of the smallest size in a row after which a timer spins.
const STEPS_MAX: usize = 10_000;
/// How far time goes on if somebody is due at once, but did nothing.
const STEP_MIN: Duration = Duration::from_micros(1);
/// Frames that one interface gives at once.
const BATCH: usize = 64;

/// Something to do to a running simulation.
type Change = Box<dyn FnOnce(&mut Simulation)>;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All programs have done their work.
    Done,
    /// The time is over.
    TimeOver,
    /// An invariant did not hold.
    Violated,
}

/// The seed of the secrets of a node.
pub(crate) fn node_seed(seed: u64, index: usize) -> u64 {
    seed.rotate_left(17) ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Stacks, links and programs in virtual time.
///
/// Build it (nodes, links, programs), then [`run`](Self::run) it. The same calls with the
/// same seed give the same run, to the bit: [`hash`](Self::hash) tells.
pub struct Simulation {
    now: Duration,
    seed: u64,
    nodes: Vec<Node>,
    links: Vec<Link>,
    switches: Vec<Switch>,
    changes: BTreeMap<(Duration, u64), Change>,
    changed: u64,
    trace: Trace,
    monitor: Monitor,
    violations: Violations,
    started: bool,
    small_steps: usize,
    watcher: Option<Frames>,
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("now", &self.now)
            .field("seed", &self.seed)
            .field("nodes", &self.nodes.len())
            .field("links", &self.links.len())
            .field("violations", &self.violations)
            .finish_non_exhaustive()
    }
}

impl Simulation {
    /// An empty one. All secrets and all fates of frames derive from the seed.
    pub fn new(seed: u64) -> Self {
        Self::with_trace(seed, None)
    }

    /// As [`new`](Self::new); the history goes to `lines` as text, line by line.
    pub fn with_trace(seed: u64, lines: Option<Lines>) -> Self {
        let violations = Violations::default();
        Self {
            now: Duration::ZERO,
            seed,
            nodes: Vec::new(),
            links: Vec::new(),
            switches: Vec::new(),
            changes: BTreeMap::new(),
            changed: 0,
            trace: Trace::new(lines),
            monitor: Monitor::new(violations.clone()),
            violations,
            started: false,
            small_steps: 0,
            watcher: None,
        }
    }

    /// Shows every frame that leaves a node to `watcher`, such as one that writes a capture
    /// ([`PcapngWriter`](zcn_link::PcapngWriter)). The run is the same with it and without.
    pub fn watch(&mut self, watcher: Frames) {
        self.watcher = Some(watcher);
    }

    /// Adds a host without interfaces.
    ///
    /// # Errors
    /// If there is no memory for its buffers.
    pub fn add_node(&mut self, config: NodeConfig) -> Result<NodeId, PoolError> {
        let id = NodeId(self.nodes.len());
        self.nodes
            .push(Node::new(id, config, node_seed(self.seed, id.0))?);
        Ok(id)
    }

    /// Adds an interface to a node; the answer is an end for a link.
    ///
    /// # Errors
    /// If the configuration makes no sense.
    pub fn add_interface(
        &mut self,
        node: NodeId,
        config: InterfaceConfig,
    ) -> Result<End, ConfigError> {
        let time = self.now;
        let node = &mut self.nodes[node.0];
        let interface = node.stack.add_interface(node.clock(time), &config)?;
        node.ports.push(crate::node::Port {
            config,
            link: None,
            arriving: Vec::new(),
        });
        Ok(End::Node(node.id, interface))
    }

    /// Adds a switch without ports.
    pub fn add_switch(&mut self) -> SwitchId {
        self.switches.push(Switch::default());
        SwitchId(self.switches.len() - 1)
    }

    /// Joins two ends, with what happens to frames from the first to the second, and back.
    ///
    /// # Panics
    /// If an interface has a link already.
    pub fn link(&mut self, ends: [End; 2], impairments: [Impairments; 2]) -> LinkId {
        let id = LinkId(self.links.len());
        let mut link_header = Medium::Ethernet { address: [0; 6] }.header_len();
        for (side, end) in ends.iter().enumerate() {
            match *end {
                End::Node(node, interface) => {
                    let port = &mut self.nodes[node.0].ports[usize::from(interface.0)];
                    assert!(port.link.is_none(), "an interface has one link");
                    port.link = Some((id, side));
                    link_header = port.config.capabilities.medium.header_len();
                }
                End::Switch(switch) => self.switches[switch.0].ports.push((id, side)),
            }
        }
        let seed = self.seed.rotate_left(40) ^ (id.0 as u64).wrapping_mul(0xd1b5_4a32_d192_ed03);
        self.links
            .push(Link::new(ends, impairments, link_header, seed));
        id
    }

    /// Puts a program on a node.
    pub fn run_on(&mut self, node: NodeId, application: impl Application + 'static) {
        self.nodes[node.0].applications.push(Box::new(application));
    }

    /// Does something at a time from the start of the run on.
    pub fn at(&mut self, time: Duration, change: impl FnOnce(&mut Self) + 'static) {
        self.changes.insert((time, self.changed), Box::new(change));
        self.changed += 1;
    }

    /// Changes what happens to frames that enter a link from now on.
    pub fn impair(
        &mut self,
        link: LinkId,
        directions: Direction,
        change: impl FnMut(&mut Impairments),
    ) {
        self.links[link.0].change(directions, change);
    }

    /// Cuts a link, or one direction of it.
    pub fn cut(&mut self, link: LinkId, directions: Direction) {
        self.note(1, || format!("{link:?} is cut, {directions:?}"));
        self.impair(link, directions, |settings| settings.cut = true);
    }

    /// Joins what was cut.
    pub fn heal(&mut self, link: LinkId) {
        self.note(2, || format!("{link:?} is healed"));
        self.impair(link, Direction::Both, |settings| settings.cut = false);
    }

    /// Loses the frame that enters a link at its end `side` (0 or 1) after `skip` others.
    pub fn lose(&mut self, link: LinkId, side: usize, skip: u64) {
        self.links[link.0].lose(side, skip);
    }

    /// Takes a node's power away, and gives it back at once: its stack knows nothing, its
    /// programs start again.
    pub fn restart(&mut self, node: NodeId) {
        self.note(3, || format!("{node:?} restarts"));
        let now = self.now;
        let node = &mut self.nodes[node.0];
        self.monitor.forget(node.id);
        node.restart(now, &self.violations);
    }

    /// Sets a node's clock forward, as after a sleep of the machine.
    pub fn jump_clock(&mut self, node: NodeId, by: Duration) {
        self.note(4, || format!("the clock of {node:?} jumps by {by:?}"));
        self.nodes[node.0].jump(by);
    }

    /// Takes all free buffers away from a node's stack.
    pub fn exhaust_buffers(&mut self, node: NodeId) {
        self.note(5, || format!("{node:?} has no buffers"));
        self.nodes[node.0].hoard(true);
    }

    /// Gives back what [`exhaust_buffers`](Self::exhaust_buffers) took.
    pub fn return_buffers(&mut self, node: NodeId) {
        self.note(6, || format!("{node:?} has its buffers again"));
        self.nodes[node.0].hoard(false);
    }

    fn note(&mut self, number: u64, text: impl FnOnce() -> String) {
        self.trace.event(self.now, number, text);
    }

    /// Runs until all programs are done, an invariant is violated, or it is `limit`.
    pub fn run(&mut self, limit: Duration) -> Ended {
        self.begin();
        loop {
            self.settle();
            if !self.violations.is_empty() {
                return Ended::Violated;
            }
            if self.is_done() {
                return Ended::Done;
            }
            if !self.advance(limit) {
                return Ended::TimeOver;
            }
        }
    }

    /// Runs until it is `limit`, whether the programs are done or not.
    pub fn run_until(&mut self, limit: Duration) -> Ended {
        self.begin();
        loop {
            self.settle();
            if !self.violations.is_empty() {
                return Ended::Violated;
            }
            if !self.advance(limit) {
                return Ended::TimeOver;
            }
        }
    }

    /// Asks all programs to give back what they hold.
    pub fn stop(&mut self) {
        let (now, violations) = (self.now, self.violations.clone());
        for node in &mut self.nodes {
            node.each_application(now, &violations, |application, context| {
                application.stop(context);
            });
        }
    }

    fn begin(&mut self) {
        if !self.started {
            self.started = true;
            for node in &mut self.nodes {
                node.start(self.now, &self.violations);
            }
        }
    }

    /// Lets everything happen that happens now.
    fn settle(&mut self) {
        while let Some(first) = self.changes.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            let change = first.remove();
            change(self);
        }
        for round in 0.. {
            let mut quiet = !self.carry();
            for index in 0..self.nodes.len() {
                quiet &= !self.turn(index);
            }
            if quiet {
                break;
            }
            if round > ROUNDS_MAX {
                self.violations.report(
                    self.now,
                    Invariant::Rest,
                    format!("{ROUNDS_MAX} rounds of frames without time passing"),
                );
                break;
            }
        }
        for node in &mut self.nodes {
            self.monitor.check_stack(self.now, node);
        }
    }

    /// Moves frames that are due. Answers whether there were any.
    fn carry(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.links.len() {
            for side in 0..2 {
                while let Some(frame) = self.links[index].pipes[side].pop(self.now) {
                    any = true;
                    let to = self.links[index].ends[1 - side];
                    self.deliver(LinkId(index), to, frame);
                }
            }
        }
        any
    }

    fn deliver(&mut self, link: LinkId, to: End, mut frame: Frame) {
        match to {
            End::Node(node, interface) => {
                self.trace.frame(self.now, (node.0, false), &frame);
                let node = &mut self.nodes[node.0];
                let medium = node.ports[usize::from(interface.0)]
                    .config
                    .capabilities
                    .medium;
                self.monitor
                    .delivered(self.now, node.id, medium, &frame, &mut self.trace);
                node.arrive(usize::from(interface.0), frame);
            }
            End::Switch(switch) => {
                let ports = self.switches[switch.0].ports_for(&mut frame, link);
                for (link, side) in ports {
                    self.links[link.0].push(side, frame.clone(), self.now);
                }
            }
        }
    }

    /// One turn of a node's loop. Answers whether it did anything.
    fn turn(&mut self, index: usize) -> bool {
        let Self {
            now,
            nodes,
            links,
            trace,
            monitor,
            violations,
            watcher,
            ..
        } = self;
        let (now, node) = (*now, &mut nodes[index]);
        let clock = node.clock(now);
        let mut busy = false;
        for (interface, port) in node.ports.iter_mut().enumerate() {
            if !port.arriving.is_empty() {
                busy = true;
                let interface = InterfaceId(interface as u16);
                node.stack
                    .handle_frames(clock, interface, &mut port.arriving);
            }
        }
        if node.stack.poll_timeout().is_some_and(|at| at <= clock) {
            node.stack.handle_timeout(clock);
        }
        node.each_application(now, violations, |application, context| {
            if application.poll_timeout().is_some_and(|at| at <= now) {
                busy = true;
                application.handle_timeout(context);
            }
        });
        while let Some(event) = node.stack.poll_event() {
            busy = true;
            trace.event(now, 16 + index as u64, || format!("n{index} {event:?}"));
            node.each_application(now, violations, |application, context| {
                application.handle_event(context, event);
            });
        }
        let mut frames = Vec::new();
        for interface in 0..node.ports.len() {
            loop {
                let pipes = monitor.before_output(node);
                let id = InterfaceId(interface as u16);
                let count = node.stack.poll_frames(clock, id, &mut frames, BATCH);
                if count == 0 {
                    break;
                }
                busy = true;
                monitor.after_output(now, node, &pipes);
                let port = &node.ports[interface];
                let (medium, link) = (port.config.capabilities.medium, port.link);
                for frame in frames.drain(..) {
                    trace.frame(now, (index, true), &frame);
                    if let Some(watcher) = watcher {
                        watcher(now, node.id, medium, &frame);
                    }
                    monitor.sent(now, node.id, medium, &frame, trace);
                    if let Some((link, side)) = link {
                        links[link.0].push(side, frame, now);
                    }
                }
            }
        }
        busy
    }

    /// Goes to the time of the next thing to happen; not beyond `limit`, and answers
    /// whether there was one before.
    fn advance(&mut self, limit: Duration) -> bool {
        let mut next = self.changes.first_key_value().map(|(key, _)| key.0);
        let mut consider = |at: Option<Duration>| {
            if let Some(at) = at {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        };
        for link in &self.links {
            consider(link.next_deadline());
        }
        for node in &mut self.nodes {
            let deadline = node.stack.poll_timeout();
            consider(deadline.map(|at| node.time_of(at)));
            for application in &node.applications {
                consider(application.poll_timeout());
            }
        }
        let Some(next) = next.filter(|&next| next < limit) else {
            self.now = self.now.max(limit);
            return false;
        };
        if next <= self.now {
            self.small_steps += 1;
            if self.small_steps > STEPS_MAX {
                self.violations.report(
                    self.now,
                    Invariant::Rest,
                    format!("a deadline in the past, {STEPS_MAX} times in a row"),
                );
            }
        } else {
            self.small_steps = 0;
        }
        self.now = next.max(self.now + STEP_MIN);
        true
    }

    fn is_done(&self) -> bool {
        let mut applications = self.nodes.iter().flat_map(|node| &node.applications);
        applications.all(|application| application.is_done())
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The hash of everything that happened.
    pub fn hash(&self) -> u64 {
        self.trace.hash()
    }

    /// How many frames were sent.
    pub fn frames(&self) -> u64 {
        self.trace.frames()
    }

    /// How many TCP segments were sent, as many as were on the wire.
    pub fn segments(&self) -> u64 {
        self.monitor.segments()
    }

    /// What was violated.
    pub fn violations(&self) -> &Violations {
        &self.violations
    }

    /// The stack of a node.
    pub fn stack(&self, node: NodeId) -> &Stack {
        &self.nodes[node.0].stack
    }

    /// What a node's clock says.
    pub fn clock(&self, node: NodeId) -> Instant {
        self.nodes[node.0].clock(self.now)
    }

    /// Buffers of a node's pool that somebody holds.
    pub fn buffers_in_use(&self, node: NodeId) -> usize {
        self.nodes[node.0].pool.stats().in_use
    }

    /// Tells the trace what each stack has dropped, by reason.
    pub(crate) fn say_drops(&mut self) {
        for node in &self.nodes {
            let stats = node.stack.stats();
            for (reason, count) in stats.drops.iter().filter(|drop| drop.1 > 0) {
                let id = node.id.0;
                self.trace.say(self.now, || {
                    format!("n{id} dropped {count}: {}", reason.name())
                });
            }
        }
    }

    /// The nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// What the programs that are not done are at.
    pub fn unfinished(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            for application in node.applications.iter().filter(|a| !a.is_done()) {
                text += &format!("[node {}: {}] ", node.id.0, application.describe());
            }
        }
        text
    }
}
