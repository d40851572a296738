//! What is taken for sending, before any of it is sent.

use zcn_pool::SharedBuf;

use super::Reactor;
use super::stream::{Closing, Shut, Stream};
use crate::table::{Key, Table};

/// Why a stream takes nothing for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The queue is above its high-water mark.
    Full,
    /// The stream is closing, shut down, broken or gone; with an errno.
    Closed(i32),
    /// The pool cannot hold a copy.
    NoBuffer,
}

impl Stream {
    /// Whether bytes are taken for sending.
    #[inline]
    pub(crate) fn admits(&self) -> Result<(), Refusal> {
        if self.closing != Closing::No || self.shut != Shut::Open || self.error.is_some() {
            return Err(Refusal::Closed(self.error.unwrap_or(libc::EPIPE)));
        }
        match self.full {
            true => Err(Refusal::Full),
            false => Ok(()),
        }
    }

    /// Notes that there is something to send.
    #[inline]
    pub(super) fn mark_dirty(&mut self, dirty: &mut Vec<Key>, key: Key) {
        if !self.dirty {
            self.dirty = true;
            dirty.push(key);
        }
    }
}

/// The stream of this key, if it takes bytes for sending.
#[inline]
fn admitted(streams: &mut Table<Stream>, key: Key) -> Result<&mut Stream, Refusal> {
    let stream = streams
        .get_mut(key)
        .ok_or(Refusal::Closed(libc::ENOTCONN))?;
    stream.admits()?;
    Ok(stream)
}

/// Puts a slice into the queue. It is sent in the next flush, together with what else is queued.
#[inline]
fn enqueue(stream: &mut Stream, dirty: &mut Vec<Key>, now_ms: u32, key: Key, data: SharedBuf) {
    if stream.unsent == 0 {
        stream.last_write_ms = now_ms;
    }
    stream.unsent += data.len();
    stream.full = stream.unsent >= stream.high_water as usize;
    if stream.queue.capacity() == 0 {
        // Most connections never have more waiting than one, and the standard first room for four
        // would be 96 bytes more on each that ever sent.
        stream.queue.reserve_exact(1);
    }
    stream.queue.push_back(data);
    if !stream.sending {
        stream.mark_dirty(dirty, key);
    }
}

impl Reactor {
    /// Accepts a slice for sending; what is refused comes back with the answer.
    // Inlined, or the slice would go through memory twice on its way into the queue.
    #[inline(always)]
    pub(crate) fn send(&mut self, key: Key, data: SharedBuf) -> Result<(), (Refusal, SharedBuf)> {
        match admitted(&mut self.streams, key) {
            Ok(stream) => {
                if !data.is_empty() {
                    enqueue(stream, &mut self.dirty, self.now_ms, key, data);
                }
                Ok(())
            }
            Err(refusal) => Err((refusal, data)),
        }
    }

    /// Copies bytes into pool buffers for sending: all or nothing.
    #[inline]
    pub(crate) fn send_copy(&mut self, key: Key, data: &[u8]) -> Result<(), Refusal> {
        let stream = admitted(&mut self.streams, key)?;
        if data.is_empty() {
            return Ok(());
        }
        let mut buf = self.outgoing.acquire().ok_or(Refusal::NoBuffer)?;
        if buf.extend_from_slice(data).is_err() {
            // The common case is one buffer.
            drop(buf);
            return self.send_copies(key, data);
        }
        enqueue(stream, &mut self.dirty, self.now_ms, key, buf.into());
        Ok(())
    }

    /// [`Self::send_copy`] of what needs more than one buffer: the queue takes the whole message
    /// even if its beginning fills it up.
    #[inline(never)]
    fn send_copies(&mut self, key: Key, mut data: &[u8]) -> Result<(), Refusal> {
        let mut copies = std::mem::take(&mut self.copies);
        while !data.is_empty() {
            let Some(mut buf) = self.outgoing.acquire() else {
                copies.clear();
                self.copies = copies;
                return Err(Refusal::NoBuffer);
            };
            let (head, rest) = data.split_at(data.len().min(buf.capacity()));
            // It fits by construction.
            let _ = buf.extend_from_slice(head);
            copies.push(buf);
            data = rest;
        }
        if let Some(stream) = self.streams.get_mut(key) {
            for buf in copies.drain(..) {
                enqueue(stream, &mut self.dirty, self.now_ms, key, buf.into());
            }
        }
        self.copies = copies;
        Ok(())
    }
}
