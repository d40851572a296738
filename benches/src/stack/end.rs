//! A stack of ours on a driver, turned by hand.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant as Clock;

use zcn_link::{Driver, Frame};
use zcn_pool::{BufferPool, LocalPool};
use zcn_stack::{Instant, InterfaceConfig, InterfaceId, Stack, StackConfig};

use crate::harness::Result;

/// Frames taken from, or given to, the link at a time.
const BATCH: usize = 64;

/// One end.
pub struct End<D> {
    pub stack: Stack,
    pub driver: D,
    pub now: Instant,
    interface: InterfaceId,
    start: Clock,
    received: Vec<Frame>,
    leaving: VecDeque<Frame>,
}

impl<D: Driver> End<D> {
    /// Brings up a stack with one address.
    pub fn new(driver: D, address: IpAddr, number: u8, config: StackConfig) -> Result<Self> {
        let now = Instant::from_secs(1);
        let mut stack = Stack::new(config, pool(4096, 2048)?, &[number; 32], now);
        let cidr = format!("{address}/24").parse()?;
        let settings = InterfaceConfig::new(*driver.capabilities(), &[cidr]);
        let interface = stack.add_interface(now, &settings)?;
        Ok(Self {
            stack,
            driver,
            now,
            interface,
            start: Clock::now(),
            received: Vec::new(),
            leaving: VecDeque::new(),
        })
    }

    /// Asks for the time.
    pub fn tick(&mut self) {
        self.now = Instant::from_secs(1) + self.start.elapsed();
    }

    /// Frames in and deadlines. Answers how many frames there were.
    pub fn receive(&mut self) -> Result<usize> {
        let count = self.driver.receive(&mut self.received, BATCH)?;
        self.stack
            .handle_frames(self.now, self.interface, &mut self.received);
        if self.stack.poll_timeout().is_some_and(|due| due <= self.now) {
            self.stack.handle_timeout(self.now);
        }
        Ok(count)
    }

    /// Frames out, until there are no more or the link takes no more. Answers how many.
    pub fn send(&mut self) -> Result<usize> {
        let mut count = 0;
        loop {
            let room = BATCH.saturating_sub(self.leaving.len());
            let leaving = &mut self.leaving;
            let polled = self
                .stack
                .poll_frames(self.now, self.interface, leaving, room);
            if self.leaving.is_empty() {
                break;
            }
            count += self.driver.transmit(&mut self.leaving)?;
            if !self.leaving.is_empty() || polled < room {
                break;
            }
        }
        if count > 0 {
            self.driver.flush()?;
        }
        Ok(count)
    }

    /// Forgets what became ready: whoever asks all sockets anyway need not be told.
    pub fn skip_events(&mut self) {
        while self.stack.poll_event().is_some() {}
    }
}

/// A pool for this thread.
pub fn pool(buffer_size: usize, count: usize) -> Result<LocalPool> {
    let pool = BufferPool::builder()
        .buffer_size(buffer_size)
        .count(count)
        .build()?;
    Ok(pool.local())
}
