//! Serves a file system through an io_uring.
//!
//! Source: `fs/fuse/dev_uring.c` of Linux 6.18. The kernel has a queue for each CPU that there may
//! be, and sends a request to the queue of the CPU that it was made on. An entry of a queue is a
//! command that waits for a request; its successor brings the answer and waits for the next one.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

use zcn_pool::{Buf, BufferPool};
use zcn_uring::sqe::{Sqe, Sqe128};
use zcn_uring::{CommandError, Entry128, Op128, Payload, Ring};

use crate::error::MountError;
use crate::protocol::{self, MAX_WRITE, long, word};
use crate::request::Request;
use crate::session::{Shared, now};
use crate::stats::count;

/// `enum fuse_uring_cmd`.
const REGISTER: u64 = 1;
const COMMIT_AND_FETCH: u64 = 2;

// An entry's buffer. First `struct fuse_uring_req_header`: request and answer headers, arguments of
// the operation, and what is about the entry itself.
const ARGUMENTS: usize = 128;
const COMMIT_ID: usize = 264;
const PAYLOAD_BYTES: usize = 272;
const HEADER_BYTES: usize = 288;
/// Two `struct iovec`, which the registration points to.
const VECTORS: usize = 512;
/// Data of the request and of the answer, on pages of its own.
const DATA: usize = 4096;
/// The kernel asks for the largest write, and for 32 pages.
const DATA_BYTES: usize = MAX_WRITE;
const ENTRY_BYTES: usize = DATA + DATA_BYTES;

const _: () = {
    assert!(HEADER_BYTES <= VECTORS && VECTORS + 32 <= DATA);
    assert!(DATA_BYTES >= 32 * 4096);
};

/// Some of the queues, on one thread with a ring of its own.
pub(crate) struct Queues<'a> {
    ring: Ring<Entry128>,
    shared: &'a Shared,
    pool: BufferPool,
}

impl<'a> Queues<'a> {
    /// Registers `depth` entries with each of the queues.
    pub(crate) fn register(
        shared: &'a Shared,
        queues: &[u16],
        depth: u16,
    ) -> Result<Self, MountError> {
        let entries = queues.len() * usize::from(depth);
        let ring = Ring::builder()
            .entries((entries as u32).next_power_of_two())
            .entries_of_128_bytes()
            .build()?;
        let resources = |source: io::Error| MountError::Resources {
            what: "buffers for the ring's entries",
            source,
        };
        let pool = BufferPool::builder()
            .count(entries)
            .buffer_size(ENTRY_BYTES)
            .build()
            .map_err(|error| resources(io::Error::other(error)))?;
        let mut all = Self { ring, shared, pool };
        for queue in queues {
            for _ in 0..depth {
                let buf = all.pool.acquire();
                let mut buf = buf.ok_or_else(|| resources(io::ErrorKind::OutOfMemory.into()))?;
                buf.set_len(ENTRY_BYTES);
                all.push(REGISTER, *queue, 0, buf);
            }
        }
        all.ring.submit().map_err(resources)?;
        // An entry that is registered waits; one that is refused has ended at once.
        let refused = all.ring.completions().find(|done| done.raw_result() < 0);
        match refused.map(|done| done.command_result()) {
            Some(Err(error)) => Err(error.into()),
            _ => Ok(all),
        }
    }

    fn push(&mut self, command: u64, queue: u16, commit_id: u64, mut buf: Buf) {
        let mut entry = Sqe128 {
            sqe: Sqe {
                fd: self.shared.device.as_raw_fd(),
                off: command,
                ..Sqe::default()
            },
            ..Sqe128::default()
        };
        if command == REGISTER {
            let start = buf.as_mut_ptr() as u64;
            let vectors = [
                [start, HEADER_BYTES as u64],
                [start + DATA as u64, DATA_BYTES as u64],
            ];
            let words = vectors.as_flattened().iter();
            for (place, word) in buf[VECTORS..].as_chunks_mut::<8>().0.iter_mut().zip(words) {
                *place = word.to_ne_bytes();
            }
            entry.sqe.addr = start + VECTORS as u64;
            entry.sqe.len = 2;
        }
        // `struct fuse_uring_cmd_req`: flags, the request that is answered, the queue.
        let mut request = [0; 80];
        request[8..16].copy_from_slice(&commit_id.to_ne_bytes());
        request[16..18].copy_from_slice(&queue.to_ne_bytes());
        entry.set_command(&request);
        // SAFETY: what the entry and the vectors of its registration point to is the buffer, which
        // goes with the command and comes back with its completion; between two commands the
        // kernel does not touch it.
        let op = unsafe { Op128::command(entry, Some(Payload::Buf(buf))) };
        if let Err(refused) = self.ring.push(op.token(queue.into())) {
            // Fewer entries are in flight than a ring can have operations.
            count(&self.shared.counted.lost_entries);
            tracing::error!(%refused, "an entry cannot wait for requests");
        }
    }

    /// Answers requests until the file system is unmounted and no entry is left.
    ///
    /// # Errors
    /// The ring could not be entered, or every entry was lost.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut came = Vec::new();
        let mut lost = None;
        while self.ring.in_flight() > 0 {
            self.ring.wait(1, None)?;
            came.extend(self.ring.completions());
            for done in came.drain(..) {
                match (done.command_result(), done.payload) {
                    (Ok(_), Some(Payload::Buf(mut buf))) => {
                        count(&self.shared.counted.by_uring);
                        let commit_id = long(&buf, COMMIT_ID);
                        answer(self.shared, &mut buf);
                        self.push(COMMIT_AND_FETCH, done.token as u16, commit_id, buf);
                    }
                    (Err(CommandError::Gone { .. }), _) => self.shared.has_ended(),
                    (Err(error), _) if error.raw_os_error() == Some(libc::ECONNABORTED) => {
                        self.shared.has_ended();
                    }
                    (Err(error), _) => {
                        count(&self.shared.counted.lost_entries);
                        lost = error.raw_os_error();
                    }
                    (Ok(_), _) => count(&self.shared.counted.lost_entries),
                }
            }
        }
        lost.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }
}

/// Answers the request in an entry's buffer, in place.
fn answer(shared: &Shared, buf: &mut [u8]) {
    let (head, data) = buf.split_at_mut(DATA);
    let arguments = &head[ARGUMENTS..2 * ARGUMENTS];
    let sent = word(head, PAYLOAD_BYTES) as usize;
    let sent = data.get(..sent).unwrap_or_default();
    let request = Request::from_parts(&head[..ARGUMENTS], arguments, sent);
    let unique = protocol::Header::parse(head).unique;
    let mut files;
    let outcome = match &request {
        Ok(request) => {
            files = shared.files();
            let outcome = files.handle(request, now()).unwrap_or(Ok(&[]));
            shared.note(&outcome);
            outcome
        }
        Err(malformed) => {
            count(&shared.counted.malformed);
            tracing::debug!(%malformed, "through the ring");
            Err(libc::EIO)
        }
    };
    let (body, errno) = match outcome {
        Ok(body) if body.len() <= data.len() => (body, 0),
        // No request of the kernel asks for more than it has room for.
        Ok(_) => (&[][..], libc::EIO),
        Err(errno) => (&[][..], errno),
    };
    let header = protocol::out_header(body.len(), errno, unique);
    data[..body.len()].copy_from_slice(body);
    head[..header.len()].copy_from_slice(&header);
    head[PAYLOAD_BYTES..][..4].copy_from_slice(&(body.len() as u32).to_ne_bytes());
}

#[cfg(test)]
impl Queues<'_> {
    /// Gives the ring up with whatever is in flight; the pool of its buffers.
    pub(crate) fn into_parts(self) -> (Ring<Entry128>, BufferPool) {
        (self.ring, self.pool)
    }
}
