//! What stands behind a block device: memory, or a file.

mod file;
mod memory;

use std::path::Path;
use std::sync::Arc;

use zcn_pool::Buf;
use zcn_uring::{Op, Payload, Ring};

use crate::error::UblkError;
use crate::request::{Operation, Request};
use file::Backing;
use memory::Memory;

/// What stands behind a block device; shared by all its queues.
#[derive(Debug)]
pub struct Target {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Memory(Memory),
    File(Backing),
}

impl Target {
    /// Memory of `size` bytes, which is taken as it is written and holds zeroes at first. It ends
    /// with the server.
    ///
    /// # Errors
    /// [`UblkError::Resources`]: not even the table of its pieces could be had.
    pub fn memory(size: u64) -> Result<Self, UblkError> {
        let kind = Kind::Memory(Memory::new(size)?);
        Ok(Self { kind })
    }

    /// A file or block device, with the bytes it has now. A flush of the device is a
    /// `fdatasync(2)` of the file, a write with FUA a write with `RWF_DSYNC`, and a discarded
    /// range a hole.
    ///
    /// The file is locked (`flock(2)`) against a second server, shared if it is only read.
    ///
    /// # Errors
    /// [`UblkError::File`]: missing, not permitted, no file or block device, or in use.
    pub fn file(path: impl AsRef<Path>, read_only: bool) -> Result<Self, UblkError> {
        let path = path.as_ref();
        let backing = Backing::open(path, read_only).map_err(|source| UblkError::File {
            path: path.to_owned(),
            source,
        })?;
        let kind = Kind::File(backing);
        Ok(Self { kind })
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::Memory(memory) => memory.size(),
            Kind::File(file) => file.size(),
        }
    }

    /// Whether what was written may be lost until it is flushed.
    pub(crate) fn has_cache(&self) -> bool {
        matches!(self.kind, Kind::File(_))
    }

    /// Refuses memory, which another server would find empty.
    pub(crate) fn outlives_server(&self) -> Result<(), UblkError> {
        match self.kind {
            Kind::File(_) => Ok(()),
            Kind::Memory(_) => Err(UblkError::Config {
                setting: "recoverable",
                value: 1,
                range: "for a device on a file only: memory ends with its server",
            }),
        }
    }

    /// Refuses a file that was opened for reading only, unless its device is read-only too.
    pub(crate) fn may_be_written_unless(&self, read_only: bool) -> Result<(), UblkError> {
        match &self.kind {
            Kind::File(file) if file.is_read_only() && !read_only => Err(UblkError::Config {
                setting: "read-only",
                value: 0,
                range: "set, where the file was opened for reading only",
            }),
            Kind::File(_) | Kind::Memory(_) => Ok(()),
        }
    }
}

/// What became of a step of a request.
#[derive(Debug)]
pub(crate) enum Step {
    /// It is done: the buffer, and what to tell the driver.
    Answer(Buf, i32),
    /// An operation is under way on the ring, with the tag as token, and brings the buffer back.
    Waits,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Job {
    request: Request,
    /// Bytes that have been moved.
    done: u64,
}

/// Requests of one queue, by tag, as they are carried out on a target.
#[derive(Debug)]
pub(crate) struct Work {
    target: Arc<Target>,
    jobs: Vec<Option<Job>>,
}

impl Work {
    /// For tags below `depth`.
    pub(crate) fn new(target: Arc<Target>, depth: u16) -> Self {
        Self {
            target,
            jobs: vec![None; depth.into()],
        }
    }

    /// Begins a request. The data to be written is at the start of the buffer's capacity; what is
    /// read goes there.
    pub(crate) fn begin(
        &mut self,
        ring: &mut Ring,
        tag: u16,
        request: Request,
        mut buf: Buf,
    ) -> Step {
        if let Operation::Other(number) = request.operation {
            tracing::warn!(number, "unknown request");
            return Step::Answer(buf, -libc::EOPNOTSUPP);
        }
        let room = buf.as_mut_capacity();
        if !request.fits(self.target.size(), room.len()) {
            tracing::warn!(?request, "request out of range");
            return Step::Answer(buf, -libc::EIO);
        }
        match &self.target.kind {
            Kind::Memory(memory) => {
                let result = match memory.carry_out(&request, room) {
                    Ok(()) => request.success(),
                    Err(errno) => -errno,
                };
                Step::Answer(buf, result)
            }
            Kind::File(file) => {
                let job = Job { request, done: 0 };
                let op = file.operation(&request, 0, buf);
                self.push(ring, tag, job, op)
            }
        }
    }

    /// Goes on with a request whose operation has completed.
    pub(crate) fn go_on(&mut self, ring: &mut Ring, tag: u16, result: i32, mut buf: Buf) -> Step {
        let job = self.jobs.get_mut(usize::from(tag)).and_then(Option::take);
        let (Some(mut job), Kind::File(file)) = (job, &self.target.kind) else {
            return Step::Answer(buf, -libc::EIO);
        };
        let request = job.request;
        if matches!(-result, libc::EINTR | libc::EAGAIN) {
            let op = file.operation(&request, job.done, buf);
            return self.push(ring, tag, job, op);
        }
        if result < 0 {
            tracing::warn!(?request, errno = -result, "the file failed");
            return Step::Answer(buf, -told(-result));
        }
        if !request.has_data() {
            return Step::Answer(buf, request.success());
        }
        job.done += u64::from(result.unsigned_abs());
        if job.done >= request.len {
            return Step::Answer(buf, request.success());
        }
        match (result, request.operation) {
            // The file has become shorter: what is not there reads as zeroes.
            (0, Operation::Read) => {
                buf.as_mut_capacity()[job.done as usize..request.len as usize].fill(0);
                Step::Answer(buf, request.success())
            }
            (0, _) => Step::Answer(buf, -libc::EIO),
            _ => {
                let op = file.operation(&request, job.done, buf);
                self.push(ring, tag, job, op)
            }
        }
    }

    fn push(&mut self, ring: &mut Ring, tag: u16, job: Job, op: Op) -> Step {
        match ring.push(op.token(tag.into())) {
            Ok(_) => {
                self.jobs[usize::from(tag)] = Some(job);
                Step::Waits
            }
            Err(refused) => {
                tracing::error!(reason = %refused.reason, "no operation could be started");
                match refused.op.into_payload().and_then(Payload::into_buf) {
                    Some(buf) => Step::Answer(buf, -libc::EIO),
                    // Every operation here has a buffer.
                    None => Step::Waits,
                }
            }
        }
    }
}

/// Which error of a file the block layer is told: those that it does something about, and `EIO`
/// for the rest.
fn told(errno: i32) -> i32 {
    match errno {
        libc::EOPNOTSUPP => libc::EOPNOTSUPP,
        libc::ENOSPC | libc::EDQUOT => libc::ENOSPC,
        _ => libc::EIO,
    }
}

#[cfg(test)]
mod tests;
