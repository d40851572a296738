//! Serves the file system: by reads and writes of /dev/fuse, and through the ring.
//!
//! Source: `fs/fuse/dev_uring.c` of Linux 6.18. The kernel sends `INIT`, forgets and interrupts to
//! the device in any case. When the ring has been negotiated, everything else goes to one of as
//! many queues as there may be CPUs: each entry of a queue is a command that waits for a request,
//! and whose successor brings the answer.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Mutex;

use zcn_pool::{Buf, BufferPool};
use zcn_uring::sqe::{Sqe, Sqe128};
use zcn_uring::{Entry128, Op128, Payload, Ring};

use crate::files::{Files, Served, serve};
use crate::protocol::{self, Header, MAX_WRITE, long, opcode, word};

/// `enum fuse_uring_cmd`.
const REGISTER: u64 = 1;
const COMMIT_AND_FETCH: u64 = 2;

/// `struct fuse_uring_req_header`: request and answer headers, arguments of the operation, and what
/// is about the entry itself.
const HEADERS: usize = 288;
const ARGUMENTS: usize = 128;
const COMMIT_ID: usize = 264;
const PAYLOAD_BYTES: usize = 272;
/// Two `struct iovec`, for the registration.
const VECTORS: usize = 512;
/// Data of the request and of the answer.
const DATA: usize = 4096;
/// At least the largest write, and 32 pages.
const DATA_BYTES: usize = 2 * MAX_WRITE as usize;

/// Reads requests from the device until the file system is unmounted. Tells through `ready` which
/// way requests come.
pub(crate) fn by_reads(
    device: &File,
    files: &Mutex<Files>,
    ring: bool,
    ready: impl Fn(bool),
) -> std::io::Result<()> {
    let mut request = vec![0; MAX_WRITE as usize + 4096];
    let mut answer = Vec::new();
    loop {
        let len = match (&*device).read(&mut request) {
            Ok(len) => len,
            // Unmounted.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            // Interrupted, or the request was withdrawn.
            Err(error)
                if error.kind() == ErrorKind::Interrupted
                    || error.raw_os_error() == Some(libc::ENOENT) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut files = files.lock().expect("no panic under the lock");
        let served = serve(&mut files, &request[..len], ring, &mut answer);
        drop(files);
        if served != Served::Silent {
            match (&*device).write(&answer) {
                Ok(_) => {}
                // Withdrawn meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        if let Served::Init { ring } = served {
            ready(ring);
        }
    }
}

/// The queues of the ring, all on one thread.
pub(crate) struct Queues<'a> {
    ring: Ring<Entry128>,
    device: &'a File,
    pool: BufferPool,
}

impl<'a> Queues<'a> {
    /// Registers `depth` entries with each of `queues` queues.
    pub(crate) fn register(device: &'a File, queues: u16, depth: u16) -> Self {
        let entries = u32::from(queues) * u32::from(depth);
        let builder = Ring::builder().entries(entries.next_power_of_two());
        let pool = BufferPool::builder()
            .count(entries as usize)
            .buffer_size(DATA + DATA_BYTES)
            .build()
            .expect("a pool");
        let mut all = Self {
            ring: builder.entries_of_128_bytes().build().expect("a ring"),
            device,
            pool,
        };
        for entry in 0..queues * depth {
            let mut buf = all.pool.acquire().expect("a buffer");
            let zeros = vec![0; buf.capacity()];
            buf.extend_from_slice(&zeros).expect("room");
            let start = buf.as_ptr() as u64;
            for (at, word) in [
                start,
                HEADERS as u64,
                start + DATA as u64,
                DATA_BYTES as u64,
            ]
            .into_iter()
            .enumerate()
            {
                buf[VECTORS + 8 * at..][..8].copy_from_slice(&word.to_ne_bytes());
            }
            all.push(REGISTER, entry % queues, 0, buf);
        }
        all.ring.submit().expect("a submit");
        all
    }

    fn push(&mut self, command: u64, queue: u16, commit_id: u64, buf: Buf) {
        let mut entry = Sqe128 {
            sqe: Sqe {
                fd: self.device.as_fd().as_raw_fd(),
                off: command,
                ..Sqe::default()
            },
            ..Sqe128::default()
        };
        if command == REGISTER {
            entry.sqe.addr = buf.as_ptr() as u64 + VECTORS as u64;
            entry.sqe.len = 2;
        }
        // `struct fuse_uring_cmd_req`.
        let mut request = [0; 80];
        request[8..16].copy_from_slice(&commit_id.to_ne_bytes());
        request[16..18].copy_from_slice(&queue.to_ne_bytes());
        entry.set_command(&request);
        // SAFETY: what the entry and the vectors of its registration point to is the buffer, which
        // goes with the command and comes back with its completion; between two commands the
        // kernel does not touch it.
        let op = unsafe { Op128::command(entry, Some(Payload::Buf(buf))) };
        self.ring.push(op.token(queue.into())).expect("a push");
    }

    pub(crate) fn ring_fd(&self) -> std::os::fd::OwnedFd {
        self.ring
            .as_fd()
            .try_clone_to_owned()
            .expect("a descriptor")
    }

    /// Drops the ring with whatever is in flight; the pool, and how much that was.
    pub(crate) fn drop_ring(mut self) -> (BufferPool, usize) {
        self.ring.submit().expect("a submit");
        (self.pool, self.ring.in_flight())
    }

    /// Answers requests until the file system is unmounted. Gives the errno with which an entry
    /// could not be registered.
    pub(crate) fn run(mut self, files: &Mutex<Files>) -> Result<(), i32> {
        let mut came = Vec::new();
        let mut refused = None;
        while self.ring.in_flight() > 0 {
            self.ring.wait(1, None).expect("a wait");
            came.extend(self.ring.completions());
            for done in came.drain(..) {
                let queue = done.token as u16;
                match (done.raw_result(), done.payload) {
                    (0, Some(Payload::Buf(mut buf))) => {
                        let commit_id = long(&buf, COMMIT_ID);
                        let mut files = files.lock().expect("no panic under the lock");
                        answer(&mut files, &mut buf);
                        drop(files);
                        self.push(COMMIT_AND_FETCH, queue, commit_id, buf);
                    }
                    // Unmounted.
                    (result, _) if result == -libc::ENOTCONN => {}
                    (result, _) => refused = Some(-result),
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

/// Answers the request in an entry's buffer, in place.
fn answer(files: &mut Files, buf: &mut [u8]) {
    let header = Header::parse(buf);
    // How much of the arguments stands in the header; the rest is data.
    let head = match header.opcode {
        opcode::LOOKUP => 0,
        opcode::CREATE => 16,
        opcode::WRITE => 40,
        _ => 128,
    };
    let len = word(buf, PAYLOAD_BYTES) as usize;
    let mut arguments = buf[ARGUMENTS..ARGUMENTS + head].to_vec();
    arguments.extend_from_slice(&buf[DATA..DATA + len.min(DATA_BYTES)]);
    let mut out = Vec::new();
    let answer = files.answer(header, &arguments, &mut out).unwrap_or(Ok(()));
    let errno = answer.err().unwrap_or(0);
    if errno != 0 {
        out.clear();
    }
    let bytes = protocol::OUT_HEADER + out.len();
    let head = protocol::out_header(bytes, errno, header.unique);
    buf[..head.len()].copy_from_slice(&head);
    buf[PAYLOAD_BYTES..PAYLOAD_BYTES + 4].copy_from_slice(&(out.len() as u32).to_ne_bytes());
    buf[DATA..DATA + out.len()].copy_from_slice(&out);
}
