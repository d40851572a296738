//! One event loop of the server, on a thread of its own.

use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;

use zcn::{Address, Handle, ReactorKind};
use zcn_measure::core;

use super::{EchoArgs, tcp, udp};
use crate::failure::Failure;

/// What the main thread waits for.
pub(super) enum News {
    /// A loop listens.
    Listening {
        address: Address,
        reactor: ReactorKind,
        handle: Handle,
    },
    /// A signal asks to stop.
    Signal,
    /// A loop has ended, asked or not.
    Ended,
}

/// What a loop did, and what became of its buffers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    pub(super) connections: u64,
    pub(super) panics: u64,
    pub(super) receives: u64,
    pub(super) bytes: u64,
    pub(super) system_calls: u64,
    pub(super) buffers: usize,
    pub(super) buffers_home: usize,
}

impl Report {
    /// With the buffers of a runtime that is gone.
    pub(super) fn with_buffers(mut self, pools: &[zcn::BufferPool]) -> Self {
        for pool in pools {
            let stats = pool.stats();
            self.buffers += stats.total;
            self.buffers_home += stats.total - stats.in_use;
        }
        self
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.panics += other.panics;
        self.receives += other.receives;
        self.bytes += other.bytes;
        self.system_calls += other.system_calls;
        self.buffers += other.buffers;
        self.buffers_home += other.buffers_home;
    }
}

/// A loop that listens.
pub(super) struct Worker {
    pub(super) address: Address,
    pub(super) reactor: ReactorKind,
    handle: Handle,
    thread: JoinHandle<Result<Report, Failure>>,
}

impl Worker {
    /// Starts loop `number` and waits until it listens.
    pub(super) fn start(
        args: &EchoArgs,
        address: &Address,
        number: u16,
        tell: Sender<News>,
        news: &Receiver<News>,
    ) -> Result<Self, Failure> {
        let core = own_core(args, number)?;
        let (args, address) = (args.clone(), address.clone());
        let thread = std::thread::Builder::new()
            .name(format!("echo-{number}"))
            .spawn(move || {
                let serve = if args.udp { udp::serve } else { tcp::serve };
                let outcome = serve(&args, &address, core, &tell);
                let _ = tell.send(News::Ended);
                outcome
            })
            .map_err(|error| {
                Failure::new("cannot start a thread")
                    .because(error)
                    .remedy("fewer --threads, or a higher limit of processes (`ulimit -u`)")
            })?;
        match news.recv() {
            Ok(News::Listening {
                address,
                reactor,
                handle,
            }) => Ok(Self {
                address,
                reactor,
                handle,
                thread,
            }),
            // Asked to stop before it began.
            Ok(News::Signal) => Err(Failure::new("stopped by a signal")),
            Ok(News::Ended) | Err(_) => match joined(thread) {
                Err(failure) => Err(failure),
                Ok(_) => Err(Failure::new("the server ended before it listened")),
            },
        }
    }

    /// Has the loop finish what is on its way and end.
    pub(super) fn stop(&self) {
        self.handle.stop();
    }

    /// Waits for its end.
    pub(super) fn join(self) -> Result<Report, Failure> {
        joined(self.thread)
    }
}

fn joined(thread: JoinHandle<Result<Report, Failure>>) -> Result<Report, Failure> {
    thread
        .join()
        .unwrap_or_else(|_| Err(Failure::new("a thread of the server panicked")))
}

/// The core of loop `number`, where there are several loops; one alone goes
/// where the kernel wants it.
fn own_core(args: &EchoArgs, number: u16) -> Result<Option<usize>, Failure> {
    if args.threads == 1 {
        return Ok(None);
    }
    let allowed = core::allowed()
        .map_err(|error| Failure::new("cannot spread threads over cores").because(error))?;
    // More loops than cores take turns.
    Ok(allowed
        .get(usize::from(number) % allowed.len().max(1))
        .copied())
}
