//! The invariants, looked after while a simulation runs.

mod connection;
mod flow;
mod ranges;
mod segment;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use zcn_frame::{Frame, Medium};

use crate::link::NodeId;
use crate::node::Node;
use crate::trace::Trace;
use crate::violation::{Invariant, Violations};

use connection::Pipes;
use flow::Flow;
use segment::{Packet, Segment, packets};

/// Looks at every frame on the wire, and at every connection between.
#[derive(Debug)]
pub(crate) struct Monitor {
    violations: Violations,
    /// What the host at the first address sends to the second.
    flows: BTreeMap<(SocketAddr, SocketAddr), Flow>,
    segments: u64,
}

impl Monitor {
    pub(crate) fn new(violations: Violations) -> Self {
        Self {
            violations,
            flows: BTreeMap::new(),
            segments: 0,
        }
    }

    /// How many TCP segments were sent.
    pub(crate) fn segments(&self) -> u64 {
        self.segments
    }

    /// A node has forgotten all its connections.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.flows.retain(|_, flow| flow.node != node);
    }

    /// A frame leaves a node: it has to be well-formed, and to keep the rules of TCP.
    pub(crate) fn sent(
        &mut self,
        at: Duration,
        node: NodeId,
        medium: Medium,
        frame: &Frame,
        trace: &mut Trace,
    ) {
        let packets = match packets(frame, medium) {
            Ok(packets) => packets,
            Err(fault) => {
                trace.say(at, || format!("n{} sends {fault}", node.0));
                self.violations.report(at, Invariant::Wire, fault);
                return;
            }
        };
        for packet in packets {
            trace.say(at, || format!("n{} > {packet}", node.0));
            if let Packet::Tcp(segment) = packet {
                self.segments += 1;
                self.segment_sent(at, node, &segment);
            }
        }
    }

    fn segment_sent(&mut self, at: Duration, node: NodeId, segment: &Segment) {
        let flow = self
            .flows
            .entry((segment.src, segment.dst))
            .or_insert_with(|| Flow::new(node));
        if let Err((invariant, fault)) = flow.sent(segment) {
            self.violations.report(
                at,
                invariant,
                format!("n{} sends {segment}: {fault}", node.0),
            );
        }
    }

    /// A frame reaches a node. Those that were damaged on the way count for nothing.
    pub(crate) fn delivered(
        &mut self,
        at: Duration,
        node: NodeId,
        medium: Medium,
        frame: &Frame,
        trace: &mut Trace,
    ) {
        let Ok(packets) = packets(frame, medium) else {
            trace.say(at, || {
                format!("n{} < damaged, {} bytes", node.0, frame.len())
            });
            return;
        };
        for packet in packets {
            trace.say(at, || format!("n{} < {packet}", node.0));
            let Packet::Tcp(segment) = packet else {
                continue;
            };
            self.flows
                .entry((segment.dst, segment.src))
                .or_insert_with(|| Flow::new(node))
                .delivered(&segment);
        }
    }

    /// What a node's connections have under way, before it sends.
    pub(crate) fn before_output(&self, node: &Node) -> Pipes {
        Pipes::of(node)
    }

    /// New data may only have left while there was room in the congestion window.
    pub(crate) fn after_output(&self, at: Duration, node: &Node, before: &Pipes) {
        before.check(at, node, &self.violations);
    }

    /// Every connection that waits for its peer has a timer.
    pub(crate) fn check_stack(&self, at: Duration, node: &mut Node) {
        connection::check_timers(at, node, &self.violations);
    }
}
