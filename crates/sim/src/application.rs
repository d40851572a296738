//! Programs that run on the nodes: state machines on the sockets of a stack.

use std::time::Duration;

use zcn_pool::BufferPool;
use zcn_stack::event::Event;
use zcn_stack::{Instant, Stack};

use crate::link::NodeId;
use crate::violation::Violations;

/// What a program can do while it is called.
#[derive(Debug)]
pub struct Context<'a> {
    /// On which node it runs.
    pub node: NodeId,
    /// Virtual time since the start of the run: the same for all nodes.
    pub time: Duration,
    /// What the clock of the node says; what calls of the stack want.
    pub now: Instant,
    /// The stack of the node.
    pub stack: &'a mut Stack,
    /// Where the stack has its buffers from.
    pub pool: &'a BufferPool,
    /// Where to say that something is wrong.
    pub violations: &'a Violations,
}

/// A program on a node.
///
/// It hears of its sockets by the events of the stack only, as a program on a real one
/// does, so that a wake-up that the stack forgets becomes a program that never ends.
pub trait Application {
    /// The node has started, or started again: sockets of before are gone.
    fn start(&mut self, context: &mut Context<'_>);

    /// Something happened to a socket of the node, maybe of another program.
    fn handle_event(&mut self, context: &mut Context<'_>, event: Event);

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, in virtual time.
    fn poll_timeout(&self) -> Option<Duration> {
        None
    }

    /// The time has come.
    fn handle_timeout(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Whether the program has done what it is for. A run is over when all have.
    fn is_done(&self) -> bool;

    /// The run is over: give back what is held.
    fn stop(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// What it is at, for whoever reads why a run did not end.
    fn describe(&self) -> String {
        String::new()
    }
}
