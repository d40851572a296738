//! Serves a file system by reads and writes of `/dev/fuse`.
//!
//! Source: `fs/fuse/dev.c` of Linux 6.18. When requests come through a ring, the kernel still sends
//! `INIT`, forgets and interrupts this way.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::Sender;

use crate::protocol::{self, Header, IN_HEADER, MAX_WRITE, OUT_HEADER, opcode};
use crate::request::Request;
use crate::session::{Shared, now};
use crate::stats::count;

/// Room for a request: the kernel wants to have it for its headers beside the largest write.
const REQUEST_BYTES: usize = MAX_WRITE + 4096;

/// Reads and answers requests until the file system is unmounted. Tells how `INIT` went: whether
/// requests come through a ring, or an errno.
///
/// # Errors
/// What the kernel answered to a read or write, other than the end of the mount.
pub(crate) fn serve(shared: &Shared, started: &Sender<Result<bool, i32>>) -> io::Result<()> {
    let mut request = vec![0; REQUEST_BYTES];
    let mut answer = Vec::new();
    while let Some(len) = next(shared, &mut request)? {
        count(&shared.counted.by_reads);
        let request = &request[..len];
        if Header::parse(request).opcode == opcode::INIT {
            let granted = introduce(shared, request, &mut answer);
            send(shared, &answer)?;
            // Nobody listens any more if the mount was given up.
            let _ = started.send(granted);
        } else if take(shared, request, &mut answer) {
            send(shared, &answer)?;
        }
    }
    Ok(())
}

/// Waits for a request; `None` when the file system has been unmounted.
fn next(shared: &Shared, request: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match (&shared.device).read(request) {
            Ok(len) => return Ok(Some(len)),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENODEV | libc::ECONNABORTED) => {
                    shared.has_ended();
                    return Ok(None);
                }
                // The request was withdrawn while it was read.
                Some(libc::ENOENT | libc::EAGAIN) => {}
                _ if error.kind() == ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
    }
}

/// Makes the answer to `INIT`.
fn introduce(shared: &Shared, request: &[u8], answer: &mut Vec<u8>) -> Result<bool, i32> {
    let body = request.get(IN_HEADER..).unwrap_or_default();
    let mut introduction = Vec::new();
    let granted = protocol::init(body, shared.uring, &mut introduction);
    let outcome = granted.map(|_| introduction.as_slice());
    put(answer, Header::parse(request).unique, outcome);
    granted
}

/// Makes the answer to any other request; whether there is one.
fn take(shared: &Shared, bytes: &[u8], answer: &mut Vec<u8>) -> bool {
    let request = match Request::parse(bytes) {
        Ok(request) => request,
        Err(malformed) => {
            count(&shared.counted.malformed);
            tracing::debug!(%malformed, "from the device");
            put(answer, malformed.unique, Err(libc::EIO));
            return malformed.unique != 0;
        }
    };
    let mut files = shared.files();
    let Some(outcome) = files.handle(&request, now()) else {
        return false;
    };
    shared.note(&outcome);
    put(answer, request.header.unique, outcome);
    true
}

fn put(answer: &mut Vec<u8>, unique: u64, outcome: Result<&[u8], i32>) {
    let (body, errno) = match outcome {
        Ok(body) => (body, 0),
        Err(errno) => (&[][..], errno),
    };
    answer.clear();
    answer.reserve(OUT_HEADER + body.len());
    answer.extend_from_slice(&protocol::out_header(body.len(), errno, unique));
    answer.extend_from_slice(body);
}

fn send(shared: &Shared, answer: &[u8]) -> io::Result<()> {
    // The device takes all of an answer or none of it.
    match (&shared.device).write_all(answer) {
        Ok(()) => Ok(()),
        Err(error) => match error.raw_os_error() {
            // Nobody waits for it any more, or the mount has ended: the next read tells.
            Some(libc::ENOENT | libc::ENODEV | libc::ECONNABORTED | libc::EPERM) => {
                count(&shared.counted.withdrawn);
                Ok(())
            }
            _ => Err(error),
        },
    }
}
