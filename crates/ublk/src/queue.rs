//! One hardware queue: a thread with a ring, on which each tag waits for a request, has it carried
//! out, and answers it with the command that waits for the next.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use zcn_pool::{Buf, BufferPool};
use zcn_uring::{Completion, Kind, Op, Payload, Ring};

use crate::command;
use crate::descriptors::Descriptors;
use crate::error::UblkError;
use crate::shared::Shared;
use crate::tally::Tally;
use crate::target::{Step, Work};
use crate::uapi::{IoCmd, io as number};

/// How the work of a queue ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The device was stopped: every tag came back.
    Stopped,
    /// The bell was rung.
    Abandoned,
}

/// A queue whose tags wait for requests. Belongs to the thread that made it: the driver takes
/// answers from no other.
#[derive(Debug)]
pub(crate) struct Queue {
    // Before what its operations are about.
    ring: Ring,
    descriptors: Descriptors,
    work: Work,
    number: u16,
    /// Tags that the device has not taken back.
    tags: u16,
    tally: Tally,
    shared: Arc<Shared>,
}

/// The token of the bell; tags are smaller.
const BELL: u64 = 1 << 32;

impl Queue {
    /// Lets every tag of queue `number` wait for a request.
    pub(crate) fn new(shared: Arc<Shared>, number: u16) -> Result<Self, UblkError> {
        let info = &shared.info;
        let id = info.dev_id;
        let depth = info.queue_depth;
        let resources = |what| move |source| UblkError::Resources { what, source };
        let pool = BufferPool::builder()
            .count(depth.into())
            .buffer_size(info.max_io_buf_bytes as usize)
            .build()
            .map_err(|error| resources("buffers of a queue")(io::Error::other(error)))?;
        // A tag has one operation at a time, and the bell has one.
        let entries = (u32::from(depth) + 1).next_power_of_two();
        let ring = Ring::builder().entries(entries).build()?;
        let descriptors = Descriptors::map(shared.device.as_fd(), number, depth)
            .map_err(resources("the descriptors of a queue"))?;
        let mut queue = Self {
            ring,
            descriptors,
            work: Work::new(Arc::clone(&shared.target), depth),
            number,
            tags: depth,
            tally: Tally::default(),
            shared,
        };
        for tag in 0..depth {
            let buf = pool.acquire().ok_or_else(|| {
                resources("a buffer of a queue")(io::ErrorKind::OutOfMemory.into())
            })?;
            queue.command(number::FETCH_REQ, tag, 0, buf)?;
        }
        queue
            .ring
            .submit()
            .map_err(resources("the ring of a queue"))?;
        // What the driver refuses it refuses at once. A stop that comes this early is found by
        // `run`, where it is expected.
        let early: Vec<_> = queue.ring.completions().collect();
        for done in early {
            if let Err(source) = done.command_result() {
                return Err(UblkError::command("FETCH_REQ", id, source));
            }
            queue.handle(done)?;
        }
        // Last, so that nobody but `run` can hear it: it may have been rung already.
        let bell = Op::poll(queue.shared.bell.as_fd().into(), libc::POLLIN).token(BELL);
        queue.push(bell)?;
        Ok(queue)
    }

    /// Serves until the device is stopped or the bell is rung.
    pub(crate) fn run(mut self) -> (Result<End, UblkError>, Tally) {
        let mut came = Vec::new();
        while self.tags > 0 {
            if let Err(source) = self.ring.wait(1, None) {
                let what = "the ring of a queue";
                return (Err(UblkError::Resources { what, source }), self.tally);
            }
            came.extend(self.ring.completions());
            for done in came.drain(..) {
                match self.handle(done) {
                    Ok(None) => {}
                    Ok(Some(end)) => return (Ok(end), self.tally),
                    Err(error) => return (Err(error), self.tally),
                }
            }
        }
        self.shared.stopped.store(true, Ordering::Relaxed);
        (Ok(End::Stopped), self.tally)
    }

    fn handle(&mut self, done: Completion) -> Result<Option<End>, UblkError> {
        if done.token == BELL {
            return Ok(Some(End::Abandoned));
        }
        // Other tokens are tags.
        let tag = done.token as u16;
        let (kind, result) = (done.kind(), done.raw_result());
        let refused = done.command_result();
        let Some(buf) = done.payload.and_then(Payload::into_buf) else {
            // Every operation of a tag has its buffer.
            return Ok(None);
        };
        let step = match kind {
            Kind::Command if result == -libc::ENODEV => {
                self.tags -= 1;
                return Ok(None);
            }
            Kind::Command => match (refused, self.descriptors.request(tag)) {
                (Ok(_), Some(request)) => {
                    self.tally.begun(&request);
                    self.work.begin(&mut self.ring, tag, request, buf)
                }
                (Ok(_), None) => return Ok(None),
                (Err(source), _) => {
                    let id = self.shared.info.dev_id;
                    let command = "COMMIT_AND_FETCH_REQ";
                    return Err(UblkError::Command {
                        command,
                        id,
                        source,
                    });
                }
            },
            _ => self.work.go_on(&mut self.ring, tag, result, buf),
        };
        if let Step::Answer(buf, result) = step {
            self.tally.failed += u64::from(result < 0);
            self.command(number::COMMIT_AND_FETCH_REQ, tag, result, buf)?;
        }
        Ok(None)
    }

    fn command(&mut self, number: u32, tag: u16, result: i32, buf: Buf) -> Result<(), UblkError> {
        let command = IoCmd {
            q_id: self.number,
            tag,
            result,
            addr: 0,
        };
        let op = command::queue(self.shared.device.as_fd(), number, command, buf);
        self.push(op.token(tag.into()))
    }

    fn push(&mut self, op: Op) -> Result<(), UblkError> {
        match self.ring.push(op) {
            Ok(_) => Ok(()),
            Err(refused) => Err(UblkError::Resources {
                what: "the ring of a queue",
                source: io::Error::other(refused.reason),
            }),
        }
    }
}
