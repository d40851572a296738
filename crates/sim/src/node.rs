//! A host: a stack, its clock, its buffers and its programs.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use zcn_frame::Frame;
use zcn_pool::{Buf, BufferPool, PoolError, SharedBuf};
use zcn_stack::{Instant, InterfaceConfig, Stack, StackConfig};

use crate::application::{Application, Context};
use crate::link::{LinkId, NodeId};
use crate::random::seed_bytes;
use crate::violation::Violations;

/// How a host is made.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Settings of its stack.
    pub stack: StackConfig,
    /// Buffers of 4 KiB that the stack has for what is sent by copying.
    pub buffers: usize,
    /// What its clock says when the run begins.
    pub epoch: Instant,
    /// Whether arriving frames are copied, as by a device with receive buffers of its own.
    /// Otherwise the slices of the sender arrive, as over a memory link.
    pub copy_received: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            stack: StackConfig::default(),
            buffers: 1_024,
            epoch: Instant::from_secs(1),
            copy_received: true,
        }
    }
}

/// Bytes of each buffer of a node's pool.
pub const BUFFER_SIZE: usize = 4_096;

/// An interface and what arrived at it.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) config: InterfaceConfig,
    /// The link and its end here.
    pub(crate) link: Option<(LinkId, usize)>,
    pub(crate) arriving: Vec<Frame>,
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) config: NodeConfig,
    pub(crate) pool: BufferPool,
    pub(crate) stack: Stack,
    pub(crate) ports: Vec<Port>,
    pub(crate) applications: Vec<Box<dyn Application>>,
    /// How far the clock has jumped.
    jumped: Duration,
    /// Restarts so far: each has secrets of its own.
    starts: u64,
    seed: u64,
    /// Buffers held back from the stack.
    hoard: Vec<Buf>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("stack", &self.stack)
            .finish_non_exhaustive()
    }
}

impl Node {
    pub(crate) fn new(id: NodeId, config: NodeConfig, seed: u64) -> Result<Self, PoolError> {
        let pool = BufferPool::builder()
            .buffer_size(BUFFER_SIZE)
            .count(config.buffers.max(1))
            .huge_pages(zcn_pool::HugePages::Never)
            .build()?;
        let stack = Stack::new(
            config.stack.clone(),
            pool.local(),
            &seed_bytes(seed),
            config.epoch,
        );
        Ok(Self {
            id,
            config,
            pool,
            stack,
            ports: Vec::new(),
            applications: Vec::new(),
            jumped: Duration::ZERO,
            starts: 0,
            seed,
            hoard: Vec::new(),
        })
    }

    /// What the node's clock says at a virtual time.
    pub(crate) fn clock(&self, time: Duration) -> Instant {
        self.config.epoch + self.jumped + time
    }

    /// The virtual time at which the node's clock says `at`.
    pub(crate) fn time_of(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.config.epoch + self.jumped)
    }

    pub(crate) fn jump(&mut self, by: Duration) {
        self.jumped += by;
    }

    /// A frame arrives at an interface.
    pub(crate) fn arrive(&mut self, interface: usize, frame: Frame) {
        let frame = if self.config.copy_received && frame.meta.gso.is_none() {
            let mut copy = Frame::from(SharedBuf::from(Bytes::from(frame.to_vec())));
            copy.meta = frame.meta;
            copy
        } else {
            frame
        };
        self.ports[interface].arriving.push(frame);
    }

    /// Forgets everything, as a machine that lost its power.
    pub(crate) fn restart(&mut self, time: Duration, violations: &Violations) {
        let now = self.clock(time);
        self.starts += 1;
        let seed = seed_bytes(self.seed.wrapping_add(self.starts << 32));
        let mut stack = Stack::new(self.config.stack.clone(), self.pool.local(), &seed, now);
        for port in &mut self.ports {
            port.arriving.clear();
            // It was accepted when the node was made.
            let added = stack.add_interface(now, &port.config);
            assert!(added.is_ok(), "an interface that was possible before");
        }
        self.stack = stack;
        self.start(time, violations);
    }

    /// Calls all programs.
    pub(crate) fn each_application(
        &mut self,
        time: Duration,
        violations: &Violations,
        mut call: impl FnMut(&mut dyn Application, &mut Context<'_>),
    ) {
        let mut context = Context {
            node: self.id,
            time,
            now: self.config.epoch + self.jumped + time,
            stack: &mut self.stack,
            pool: &self.pool,
            violations,
        };
        for application in &mut self.applications {
            call(application.as_mut(), &mut context);
        }
    }

    pub(crate) fn start(&mut self, time: Duration, violations: &Violations) {
        self.each_application(time, violations, |application, context| {
            application.start(context);
        });
    }

    /// Takes all buffers that are free, or gives them back.
    pub(crate) fn hoard(&mut self, all: bool) {
        self.hoard.clear();
        if all {
            self.hoard
                .extend(std::iter::from_fn(|| self.pool.acquire()));
        }
    }
}
