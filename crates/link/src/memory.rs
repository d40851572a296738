//! Links through memory: two ends in one process, or one end that hears itself.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zcn_frame::{Capabilities, ChecksumOffload, Frame, GsoKinds, Medium, SLICES_MAX};
use zcn_sys::eventfd::EventFd;

use crate::admission::admit;
use crate::driver::Driver;
use crate::statistics::Statistics;
use crate::wait::{Spun, sleep, spin};

/// Frames that a memory link holds in each direction, if nothing else is asked for.
pub const MEMORY_FRAMES: usize = 1024;

/// One end of a link through memory.
///
/// Frames change owner and are never copied: what one end sends, head and body, is what
/// the other receives. The two ends may be on different threads; each direction holds a
/// bounded number of frames, and a sender that finds it full keeps its frames (it is woken
/// when there is room again). When one end is dropped, the other reads what was sent and
/// then gets `BrokenPipe`.
#[derive(Debug)]
pub struct MemoryLink {
    capabilities: Capabilities,
    /// What this end receives from; its event wakes this end.
    incoming: Arc<Direction>,
    /// What this end sends into; its event wakes the other one.
    outgoing: Arc<Direction>,
    statistics: Statistics,
}

#[derive(Debug)]
struct Direction {
    state: Mutex<State>,
    /// As many as the queue holds. Only a hint, so that asking needs no lock: relaxed.
    queued: AtomicUsize,
    /// Wakes the end that receives from this direction.
    event: EventFd,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Frame>,
    capacity: usize,
    /// The receiver sleeps, or is about to. Under the lock, as the queue is: whoever arms
    /// sees every frame sent before, and whoever sends afterwards sees it armed.
    reader_armed: bool,
    /// The sender found the queue full.
    writer_waits: bool,
    /// One of the ends is gone.
    closed: bool,
}

impl Direction {
    fn new(capacity: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            state: Mutex::new(State {
                queue: VecDeque::new(),
                capacity,
                reader_armed: false,
                writer_waits: false,
                closed: false,
            }),
            queued: AtomicUsize::new(0),
            event: EventFd::new()?,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that a link through memory can do: both checksums, all super-frames.
pub const fn memory_capabilities(medium: Medium, mtu: u32) -> Capabilities {
    Capabilities {
        medium,
        mtu,
        checksum: ChecksumOffload {
            transmit: true,
            receive: true,
        },
        gso: GsoKinds::ALL,
        gso_max_size: if mtu > 65535 { mtu } else { 65535 },
        queues: 1,
        scatter_max: SLICES_MAX + 1,
    }
}

impl MemoryLink {
    /// Two ends of one link, each with its capabilities (those of
    /// [`memory_capabilities`], or fewer), which are held against what that end sends.
    /// Each direction holds up to `frames` frames, at least one.
    ///
    /// # Errors
    /// Whatever eventfd(2) answers: no descriptors left.
    pub fn pair(one: Capabilities, other: Capabilities, frames: usize) -> io::Result<(Self, Self)> {
        let there = Direction::new(frames.max(1))?;
        let back = Direction::new(frames.max(1))?;
        Ok((
            Self::end(one, back.clone(), there.clone()),
            Self::end(other, there, back),
        ))
    }

    /// An end that receives what it sends.
    ///
    /// # Errors
    /// As [`pair`](Self::pair).
    pub fn loopback(capabilities: Capabilities, frames: usize) -> io::Result<Self> {
        let round = Direction::new(frames.max(1))?;
        Ok(Self::end(capabilities, round.clone(), round))
    }

    fn end(capabilities: Capabilities, incoming: Arc<Direction>, outgoing: Arc<Direction>) -> Self {
        Self {
            capabilities,
            incoming,
            outgoing,
            statistics: Statistics::default(),
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the other end of the memory link was dropped",
    )
}

impl Driver for MemoryLink {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let mut state = self.incoming.lock();
        if state.reader_armed {
            state.reader_armed = false;
            self.incoming.event.drain()?;
        }
        let count = max.min(state.queue.len());
        for frame in state.queue.range(..count) {
            self.statistics.count_in(frame.len());
        }
        if count == state.queue.len() && into.is_empty() {
            // As always: the memory changes owner, and no frame is copied.
            let emptied = std::mem::replace(into, Vec::from(std::mem::take(&mut state.queue)));
            state.queue = VecDeque::from(emptied);
        } else {
            into.extend(state.queue.drain(..count));
        }
        self.incoming
            .queued
            .store(state.queue.len(), Ordering::Relaxed);
        let wake = count > 0 && std::mem::take(&mut state.writer_waits);
        let gone = count == 0 && max > 0 && state.closed;
        drop(state);
        if wake {
            // The sender sleeps on what it receives from: the other direction.
            self.outgoing.event.wake()?;
        }
        if gone { Err(closed()) } else { Ok(count) }
    }

    fn transmit(&mut self, frames: &mut VecDeque<Frame>) -> io::Result<usize> {
        if frames.is_empty() {
            return Ok(0);
        }
        let mut taken = 0;
        let mut state = self.outgoing.lock();
        if state.closed {
            return Err(closed());
        }
        let fits = frames.len() <= state.capacity - state.queue.len();
        let mut bytes = 0;
        let mut admissible = |frame: &Frame| {
            bytes += frame.len() as u64;
            admit(&self.capabilities, frame).is_ok()
        };
        if fits && frames.iter().all(&mut admissible) {
            // As always: they move at once, with the memory that they lie in if they can.
            taken = frames.len();
            self.statistics.frames_out += taken as u64;
            self.statistics.bytes_out += bytes;
            if state.queue.is_empty() {
                std::mem::swap(&mut state.queue, frames);
            } else {
                state.queue.append(frames);
            }
        }
        while state.queue.len() < state.capacity && !frames.is_empty() {
            let room = frames.len().min(state.capacity - state.queue.len());
            taken += room;
            let statistics = &mut self.statistics;
            let admitted = frames.drain(..room).filter(|frame| {
                let admitted = admit(&self.capabilities, frame);
                match admitted {
                    Ok(()) => statistics.count_out(frame.len()),
                    Err(reason) => statistics.count_drops(reason, 1),
                }
                admitted.is_ok()
            });
            state.queue.extend(admitted);
        }
        state.writer_waits = !frames.is_empty();
        self.outgoing
            .queued
            .store(state.queue.len(), Ordering::Relaxed);
        let wake = state.reader_armed && !state.queue.is_empty();
        drop(state);
        if wake {
            self.outgoing.event.wake()?;
        }
        Ok(taken)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.incoming.event.as_fd()
    }

    fn arm(&mut self) -> io::Result<bool> {
        let mut state = self.incoming.lock();
        if !state.queue.is_empty() || state.closed {
            return Ok(true);
        }
        state.reader_armed = true;
        Ok(false)
    }

    fn wait(&mut self, spinning: Duration, timeout: Option<Duration>) -> io::Result<bool> {
        let queued = &self.incoming.queued;
        // While it spins nobody has to wake it.
        match spin(spinning, timeout, || Ok(queued.load(Ordering::Relaxed) > 0))? {
            Spun::Ready => Ok(true),
            Spun::Nothing(_) if self.arm()? => Ok(true),
            Spun::Nothing(left) => sleep(self.readiness(), left),
        }
    }

    fn statistics(&mut self) -> &Statistics {
        &self.statistics
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        for direction in [&self.incoming, &self.outgoing] {
            direction.lock().closed = true;
            // A full counter is readable already, and nothing else can fail here.
            let _ = direction.event.wake();
        }
    }
}
