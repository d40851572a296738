//! What the application does with a connection: send, receive, shut down, close, abort.

use zcn_pool::SharedBuf;

use super::config::TcpConfig;
use super::connection::{Common, Connection, Flags};
use super::error::{CloseError, OptionError, RecvError, SendError, TcpError};
use super::send_queue::is_small;
use super::socket_options::SocketOption;
use super::state::State;
use crate::event::Readiness;
use crate::time::Instant;

impl Connection {
    /// Memory for data to send: fixed by the application, or twice what the congestion
    /// window lets be in flight.
    #[inline]
    pub(crate) fn send_limit(&self, common: &Common) -> usize {
        let config = &common.config;
        let limit = self.options.send_buffer.unwrap_or_else(|| {
            self.sender
                .cwnd()
                .saturating_mul(2)
                .max(config.send_buffer)
                .min(config.send_buffer_max)
        });
        limit as usize
    }

    /// What of the send buffer is free, in bytes of memory.
    fn free_memory(&self, common: &Common) -> usize {
        let used = self.send_queue.as_ref().map_or(0, |queue| queue.cost());
        self.send_limit(common).saturating_sub(used)
    }

    /// How much may be queued now, in bytes of memory.
    #[inline]
    pub(crate) fn send_room(&self, common: &Common) -> usize {
        if self.unsent_room(common) == 0 {
            return 0;
        }
        self.free_memory(common)
    }

    /// Bytes that may be queued by [`SocketOptions::unsent_low_water`]. With super-frames as Linux makes
    /// them also what Linux takes: it looks at the mark when it begins another buffer, of the size of a
    /// super-frame, fills that, and sends meanwhile.
    ///
    /// [`SocketOptions::unsent_low_water`]: super::SocketOptions::unsent_low_water
    #[inline]
    fn unsent_room(&self, common: &Common) -> usize {
        let Some(mark) = self.options.unsent_low_water else {
            return usize::MAX;
        };
        let (mark, unsent) = (mark.max(1), self.unsent());
        if !common.config.tso_autosize {
            return if unsent < mark { usize::MAX } else { 0 };
        }
        let whole = self.size_goal();
        let end = mark.max(unsent).div_ceil(whole).saturating_mul(whole);
        let meanwhile = self.sender.sendable_now();
        end.saturating_sub(unsent).saturating_add(meanwhile) as usize
    }

    /// Whether enough room is free again to wake an application that waits for some: a third
    /// of the buffer, and half of what [`SocketOptions::unsent_low_water`] lets be unsent.
    pub(crate) fn is_writable(&self, common: &Common) -> bool {
        let fraction = common.config.writable_fraction.max(1) as usize;
        let low = self.options.unsent_low_water;
        low.is_none_or(|mark| self.unsent() <= mark.saturating_sub(1) / 2)
            && self.free_memory(common) >= self.send_limit(common) / fraction
    }

    /// Everything was sent that could be, or acknowledged: the sender measures what is waited
    /// for.
    #[inline]
    pub(crate) fn note_activity(&mut self, now: Instant) {
        let starved = self.has(Flags::WANTS_WRITABLE) && self.state.may_send();
        self.sender.note_activity(now, self.unsent(), starved);
    }

    /// Wakes the application if it waits for room and there is enough.
    #[inline]
    pub(crate) fn wake_writer(&mut self, common: &Common) {
        if self.has(Flags::WANTS_WRITABLE) && self.is_writable(common) {
            self.flags.set(Flags::WANTS_WRITABLE, false);
            self.signal(Readiness::WRITABLE);
        }
    }

    /// Whether the application would be woken to write; if not, it will be.
    pub(crate) fn poll_writable(&mut self, common: &Common) -> bool {
        let writable = self.is_writable(common);
        self.flags.set(Flags::WANTS_WRITABLE, !writable);
        writable
    }

    #[inline]
    fn may_send(&self) -> Result<(), SendError> {
        if let Some(error) = self.error {
            return Err(SendError::Connection(error));
        }
        if !self.state.may_send() || self.has(Flags::FIN_QUEUED) {
            return Err(SendError::Closed);
        }
        Ok(())
    }

    /// More is about to be queued.
    #[inline]
    fn note_written(&mut self, now: Instant) {
        if self.unsent() == 0 {
            self.sender.on_written(now);
        }
    }

    /// Queues a copy of as much of `bytes` as there is room for.
    #[inline]
    pub(crate) fn send(
        &mut self,
        now: Instant,
        common: &mut Common,
        bytes: &[u8],
        more: bool,
    ) -> Result<usize, SendError> {
        self.may_send()?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let room = self.send_room(common);
        let end = self.write_end;
        let mut sent = 0;
        if room > 0 {
            let taken = &bytes[..bytes.len().min(self.unsent_room(common))];
            let queue = Self::send_queue(&mut self.send_queue, &mut common.spares);
            sent = queue.copy_in(end, taken, !more, room, &common.pool);
        }
        if sent < bytes.len() {
            self.flags.set(Flags::WANTS_WRITABLE, true);
        }
        if sent == 0 {
            self.release_empty_queues(common);
            return Err(SendError::WouldBlock);
        }
        self.note_written(now);
        self.write_end += sent;
        self.flags.set(Flags::MORE, more && sent == bytes.len());
        Ok(sent)
    }

    /// Queues a slice whole, without a copy; only a small one is packed by copying. It
    /// comes back if there is no room.
    pub(crate) fn send_buf(
        &mut self,
        now: Instant,
        common: &mut Common,
        bytes: SharedBuf,
        more: bool,
    ) -> Result<(), (SendError, SharedBuf)> {
        if let Err(error) = self.may_send() {
            return Err((error, bytes));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if self.send_room(common) == 0 {
            self.flags.set(Flags::WANTS_WRITABLE, true);
            return Err((SendError::WouldBlock, bytes));
        }
        let (end, len) = (self.write_end, bytes.len());
        let small = is_small(&bytes, common.pool.pool());
        let queue = Self::send_queue(&mut self.send_queue, &mut common.spares);
        let copied = if small {
            queue.copy_in(end, &bytes, !more, usize::MAX, &common.pool)
        } else {
            0
        };
        if copied < len {
            let mut rest = bytes;
            rest.advance(copied);
            queue.push(end + copied, rest, !more);
        }
        self.note_written(now);
        self.write_end += len;
        self.flags.set(Flags::MORE, more);
        Ok(())
    }

    /// What was sent last ends a record: what follows begins a segment of its own.
    pub(crate) fn end_record(&mut self) -> Result<(), SendError> {
        self.may_send()?;
        if let Some(queue) = &mut self.send_queue {
            queue.end_record();
        }
        Ok(())
    }

    /// Everything sent so far, and not acknowledged, is urgent.
    pub(crate) fn mark_urgent(&mut self) -> Result<(), SendError> {
        self.may_send()?;
        let end = self.write_end;
        if let Some(queue) = &mut self.send_queue {
            queue.mark_urgent(end);
        }
        Ok(())
    }

    /// What a receive with nothing to read answers; `Ok` means the end of the stream.
    fn nothing_to_read(&self) -> Result<(), RecvError> {
        if self.has(Flags::FIN_RECEIVED) {
            // All was said and read, whatever became of our side afterwards.
            return Ok(());
        }
        if let Some(error) = self.error {
            return Err(RecvError::Connection(error));
        }
        if self.has(Flags::READ_SHUT) || self.state == State::Closed {
            return Ok(());
        }
        Err(RecvError::WouldBlock)
    }

    /// Copies what can be read; 0 is the end of the stream.
    #[inline]
    pub(crate) fn recv(
        &mut self,
        now: Instant,
        common: &mut Common,
        target: &mut [u8],
        peek: bool,
    ) -> Result<usize, RecvError> {
        let Some(queue) = self.receive_queue.as_mut().filter(|q| q.readable() > 0) else {
            return self.nothing_to_read().map(|()| 0);
        };
        let count = queue.copy_out(target, peek);
        if !peek {
            self.after_read(now, common, count);
        }
        Ok(count)
    }

    /// Hands out the next slice, of at most `max` bytes; an empty one is the end of the
    /// stream.
    pub(crate) fn recv_buf(
        &mut self,
        now: Instant,
        common: &mut Common,
        max: usize,
    ) -> Result<SharedBuf, RecvError> {
        let slice = self
            .receive_queue
            .as_mut()
            .and_then(|queue| queue.take(max));
        let Some(slice) = slice else {
            return self.nothing_to_read().map(|()| SharedBuf::new());
        };
        self.after_read(now, common, slice.len());
        Ok(slice)
    }

    /// The application read: the window may open, and what was pushed is acknowledged.
    #[inline]
    fn after_read(&mut self, now: Instant, common: &mut Common, count: usize) {
        if count == 0 {
            return;
        }
        let unacked = self.unacked_in();
        let drained = self.readable() == 0;
        self.release_empty_queues(common);
        let mss = u32::from(self.ack.rcv_mss);
        self.window
            .on_read(now, count as u32, u32::from(self.mss), &common.config);
        self.ack.on_read(unacked, drained);
        if self.state.may_receive() && self.window.should_update(self.waiting(), unacked, mss) {
            self.ack.send_now();
        }
    }

    /// Ends our side: FIN follows what is queued.
    pub(crate) fn shutdown_write(&mut self) -> Result<(), CloseError> {
        match self.state {
            State::Established => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            State::SynReceived => {}
            State::SynSent | State::Closed | State::Listen => {
                return Err(CloseError::NotConnected);
            }
            _ => return Ok(()),
        }
        self.flags.set(Flags::FIN_QUEUED, true);
        self.flags.set(Flags::MORE, false);
        if let Some(queue) = &mut self.send_queue {
            queue.push_last();
        }
        Ok(())
    }

    /// The application wants to read nothing more: what is there and what comes is dropped,
    /// though acknowledged. Once our side has ended, too, what is there stays, and what comes is
    /// answered with RST.
    pub(crate) fn shutdown_read(&mut self, common: &mut Common) -> Result<(), CloseError> {
        if matches!(self.state, State::SynSent | State::Closed) {
            return Err(CloseError::NotConnected);
        }
        self.flags.set(Flags::READ_SHUT, true);
        if self.state.may_send()
            && let Some(queue) = &mut self.receive_queue
        {
            while queue.take(usize::MAX).is_some() {}
        }
        self.release_empty_queues(common);
        Ok(())
    }

    /// The application lets go. What it has not read tells the peer by RST that it never
    /// will (RFC 2525 section 2.17); otherwise what is queued still goes out.
    pub(crate) fn close(&mut self, now: Instant, common: &mut Common) {
        let unread = self.readable() > 0;
        let at_once = self.options.linger.is_some_and(|time| time.is_zero());
        if unread || at_once {
            if unread {
                common.stats.abort_on_close += 1;
            }
            self.abort(now, common);
            return;
        }
        self.signals = Readiness::NONE;
        match self.state {
            State::SynSent => self.finish(None, common),
            State::FinWait2 => {
                let wait = self
                    .options
                    .fin_timeout
                    .unwrap_or(common.config.fin_timeout);
                self.long_deadline = now + wait;
            }
            _ => {
                let _ = self.shutdown_write(); // closed already: nothing to shut
            }
        }
        if let Some(time) = self.options.linger
            && self.state != State::Closed
            && self.state != State::FinWait2
        {
            self.flags.set(Flags::LINGERING, true);
            self.long_deadline = now + time;
            return;
        }
        self.flags.set(Flags::ORPHAN, true);
    }

    /// Ends the connection at once, with RST where the peer has one to reset.
    pub(crate) fn abort(&mut self, now: Instant, common: &mut Common) {
        // Both ends have ended, but the peer has not been told all: as Linux, and unlike RFC
        // 9293 section 3.10.5, it is told that nothing more comes (found by zcn-sim, seed
        // 3005).
        let cut_short = matches!(self.state, State::Closing | State::LastAck) && self.unsent() > 0;
        if cut_short
            || matches!(
                self.state,
                State::Established
                    | State::CloseWait
                    | State::FinWait1
                    | State::FinWait2
                    | State::SynReceived
            )
        {
            self.reset_peer(now, common);
        }
        self.finish(Some(TcpError::Aborted), common);
        self.flags.set(Flags::ORPHAN, true);
    }

    /// Changes an option.
    pub(crate) fn set_option(
        &mut self,
        now: Instant,
        common: &mut Common,
        option: SocketOption,
    ) -> Result<(), OptionError> {
        let options = std::sync::Arc::make_mut(&mut self.options);
        options.set(option)?;
        match option {
            SocketOption::QuickAck(on) => self.ack.set_quick(on),
            SocketOption::KeepAlive(_) | SocketOption::KeepAliveIdle(_) => {
                self.restart_keepalive(now);
            }
            SocketOption::ReceiveBuffer(_) | SocketOption::WindowClamp(_) => {
                if let Some(bytes) = self.options.receive_limit() {
                    self.window.set_buffer(bytes);
                }
            }
            SocketOption::MaxSegment(_) => {
                self.update_mss(&common.config);
            }
            SocketOption::Congestion(algorithm) => self.sender.set_congestion(algorithm),
            _ => {}
        }
        Ok(())
    }

    /// Something on which the segment size depends has changed.
    pub(crate) fn update_mss(&mut self, config: &TcpConfig) {
        let mss = self.effective_mss(config);
        if mss != self.mss {
            self.mss = mss;
            self.sender.set_mss(mss);
        }
    }
}
