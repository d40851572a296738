//! Datagrams in batches: one system call for many.
//!
//! A batch of sends on the ring costs one system call, too, but each send a submission and a
//! completion; `sendmmsg` saves those, which is a tenth of what a small datagram costs
//! (`zcn-bench udp`). So the ring serves the sends that must wait for room, and only those.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use zcn_pool::Buf;
use zcn_uring::{Msg, Payload, recv_msg};

use super::driver::Done;

/// Most datagrams received in one call, and how many are always asked for. In between it is twice
/// of what the last call found: a buffer and a header prepared in vain cost, too.
const RECEIVES: usize = 64;
const FEW_RECEIVES: usize = 8;
/// Lengths and flags in front of what a buffer receives, as the ring writes them.
const HEADER_BYTES: usize = 16;

/// Headers for `sendmmsg` and `recvmmsg`, kept to be filled again.
#[derive(Default)]
pub(super) struct Batch {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    bufs: Vec<Buf>,
    /// Datagrams that the last receive found.
    found: usize,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch")
    }
}

impl Batch {
    /// Sends messages in order for as long as the socket takes them at once; those that ended go
    /// to `ended` with `token`, the rest stays. Returns how many system calls that took.
    pub(super) fn send(
        &mut self,
        fd: RawFd,
        msgs: &mut VecDeque<Box<Msg>>,
        token: u64,
        ended: &mut Vec<Done>,
    ) -> u64 {
        let mut calls = 0;
        while !msgs.is_empty() {
            self.headers.clear();
            for msg in msgs.iter_mut() {
                // SAFETY: the header is inside the box, initialised by `prepare_send`.
                let msg_hdr = unsafe { msg.prepare_send().read() };
                self.headers.push(libc::mmsghdr {
                    msg_hdr,
                    msg_len: 0,
                });
            }
            calls += 1;
            // SAFETY: `headers` holds as many headers as its length says; each points into a box
            // of `msgs`, which nobody touches during the call, and the kernel only reads there.
            let sent = unsafe {
                libc::sendmmsg(
                    fd,
                    self.headers.as_mut_ptr(),
                    self.headers.len() as u32,
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            let Ok(sent) = usize::try_from(sent) else {
                let errno = errno();
                if errno == libc::EAGAIN {
                    break;
                }
                if errno != libc::EINTR {
                    // An error is that of the first message; the others have their own chance.
                    if let Some(msg) = msgs.pop_front() {
                        ended.push(Done::failed(token, errno, Some(Payload::Msg(msg))));
                    }
                }
                continue;
            };
            for (msg, header) in msgs.drain(..sent).zip(&self.headers) {
                let result = i32::try_from(header.msg_len).unwrap_or(i32::MAX);
                ended.push(Done::new(token, result, Some(Payload::Msg(msg))));
            }
        }
        // Nothing in there is valid beyond the calls.
        self.headers.clear();
        calls
    }

    /// Receives what is there, into buffers from `acquire`, each laid out as the ring's multishot
    /// `recvmsg` does it, so that one parser serves both. Returns how many went to `done`, with
    /// `token`, and whether there may be more.
    ///
    /// # Errors
    /// The errno when nothing was received: `EAGAIN`, `ENOBUFS` without a buffer, or an error of
    /// the socket's.
    pub(super) fn receive(
        &mut self,
        fd: RawFd,
        acquire: impl Fn() -> Option<Buf>,
        token: u64,
        done: &mut Vec<Done>,
    ) -> Result<bool, i32> {
        let wanted = (2 * self.found).clamp(FEW_RECEIVES, RECEIVES);
        while self.bufs.len() < wanted {
            let Some(buf) = acquire() else { break };
            self.bufs.push(buf);
        }
        if self.bufs.is_empty() {
            return Err(libc::ENOBUFS);
        }
        let outcome = self.receive_into_bufs(fd, token, done);
        // The rest goes home: another socket's buffers are of another size.
        self.bufs.clear();
        outcome
    }

    fn receive_into_bufs(
        &mut self,
        fd: RawFd,
        token: u64,
        done: &mut Vec<Done>,
    ) -> Result<bool, i32> {
        let asked = self.bufs.len();
        self.headers.clear();
        self.vectors.clear();
        // The headers point at the vectors, which must not move any more.
        self.vectors.reserve(asked);
        for buf in &mut self.bufs {
            let space = buf.spare_capacity();
            let (prefix, payload) = space.split_at_mut(recv_msg::PREFIX_BYTES);
            let (name, control) = prefix[HEADER_BYTES..].split_at_mut(recv_msg::NAME_BYTES);
            self.vectors.push(libc::iovec {
                iov_base: payload.as_mut_ptr().cast(),
                iov_len: payload.len(),
            });
            // SAFETY: an `mmsghdr` of zeroes is the empty one.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = name.len() as libc::socklen_t;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.len();
            self.headers.push(header);
        }
        for (header, vector) in self.headers.iter_mut().zip(&mut self.vectors) {
            header.msg_hdr.msg_iov = &raw mut *vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: each of the `asked` headers points at a name, control room and payload that are
        // disjoint parts of one writable buffer of `bufs`, each as long as the header says, and at
        // a vector of its own; nobody touches them during the call.
        let count = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                asked as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| errno())?;
        self.found = count;
        for (mut buf, header) in self.bufs.drain(..count).zip(&self.headers) {
            let space = buf.spare_capacity();
            space[0..4].copy_from_slice(&header.msg_hdr.msg_namelen.to_ne_bytes());
            let control_len = header.msg_hdr.msg_controllen as u32;
            space[4..8].copy_from_slice(&control_len.to_ne_bytes());
            space[8..12].copy_from_slice(&header.msg_len.to_ne_bytes());
            space[12..16].copy_from_slice(&header.msg_hdr.msg_flags.to_ne_bytes());
            let total = recv_msg::PREFIX_BYTES + header.msg_len as usize;
            buf.set_len(total);
            let mut end = Done::new(token, total as i32, Some(Payload::Buf(buf)));
            end.more = true;
            done.push(end);
        }
        Ok(count == asked)
    }
}

fn errno() -> i32 {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}
