//! One end of one connection: what it says, how it listens, how it leaves.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use zcn_pool::SharedBuf;
use zcn_stack::event::Readiness;
use zcn_stack::slab::Id;
use zcn_stack::tcp::{RecvError, SendError, TcpError};

use super::ledger::Ledger;
use super::pattern;
use crate::application::Context;
use crate::violation::Invariant;

/// What an end of a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// So many bytes at once, then the end; 0 is a sink.
    Bulk(u64),
    /// So many bytes once the peer has ended: half-close.
    AfterEnd(u64),
    /// As many bytes as come; the end when the end comes.
    Echo,
    /// Asks: `rounds` times a request of so many bytes, each after the answer to the last.
    Ask {
        /// How often.
        rounds: u64,
        /// Bytes of a request, not 0.
        request: u64,
        /// Bytes of an answer, not 0.
        answer: u64,
    },
    /// Answers every `request` bytes with `answer` bytes; the end when the end comes.
    Answer {
        /// Bytes of a request, not 0.
        request: u64,
        /// Bytes of an answer.
        answer: u64,
    },
}

impl Role {
    /// How many bytes may be sent by now, and whether these are all.
    fn allows(self, received: u64, ended: bool) -> (u64, bool) {
        match self {
            Self::Bulk(bytes) => (bytes, true),
            Self::AfterEnd(bytes) => (if ended { bytes } else { 0 }, ended),
            Self::Echo => (received, ended),
            Self::Ask {
                rounds,
                request,
                answer,
            } => {
                let answered = received / answer.max(1);
                ((answered + 1).min(rounds) * request, answered >= rounds)
            }
            Self::Answer { request, answer } => (received / request.max(1) * answer, ended),
        }
    }
}

/// How an end leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Ends its side, reads until the peer ends its own, closes.
    Graceful,
    /// Closes as soon as it has said everything. The peer is reset if it sends more.
    Close,
    /// Resets the connection after so many bytes sent and received together.
    Abort(u64),
}

/// Reads slowly: rests after each so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Bytes between two rests.
    pub every: u64,
    /// How long each takes.
    pub rest: Duration,
}

/// What one end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What it says.
    pub role: Role,
    /// Bytes of one call that sends, at most.
    pub chunk: usize,
    /// Whether it hands over buffers instead of copying.
    pub own_buffers: bool,
    /// Whether what each call sends is urgent (MSG_OOB); it is received in line.
    pub urgent: bool,
    /// How it reads, if not as fast as it can.
    pub pause: Option<Pause>,
    /// How it leaves.
    pub ending: Ending,
}

impl Plan {
    /// A plan that does this as fast as it can, and leaves gracefully.
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            chunk: 16_384,
            own_buffers: false,
            urgent: false,
            pause: None,
            ending: Ending::Graceful,
        }
    }
}

/// How a conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    Open,
    /// It has done what its plan says, and its socket is closed.
    Done,
    /// It failed, and its socket is closed. `bool`: whether it had been established.
    Failed(TcpError, bool),
}

/// An end of a connection.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) id: Id,
    plan: Plan,
    ledger: Ledger,
    local: SocketAddr,
    remote: SocketAddr,
    outgoing: usize,
    incoming: Option<usize>,
    connected: bool,
    readable: bool,
    writable: bool,
    sent: u64,
    received: u64,
    /// We ended our side.
    ended: bool,
    /// The peer ended its side.
    peer_ended: bool,
    resting_until: Option<Duration>,
    until_rest: u64,
}

impl Conversation {
    /// Takes over a socket. `connected`: an accepted one.
    pub(super) fn new(
        context: &Context<'_>,
        id: Id,
        plan: Plan,
        ledger: &Ledger,
        connected: bool,
    ) -> Option<Self> {
        let (local, remote) = context.stack.tcp_addresses(id)?;
        Some(Self {
            id,
            plan,
            ledger: ledger.clone(),
            local,
            remote,
            outgoing: ledger.open(local, remote),
            incoming: None,
            connected,
            readable: connected,
            writable: true,
            sent: 0,
            received: 0,
            ended: false,
            peer_ended: false,
            resting_until: None,
            until_rest: plan.pause.map_or(u64::MAX, |pause| pause.every.max(1)),
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.resting_until
    }

    /// What it is at.
    pub(super) fn describe(&self) -> String {
        format!(
            "{} to {}: {:?}, sent {}{}, received {}{}, connected {}, readable {}, writable {}",
            self.local,
            self.remote,
            self.plan.role,
            self.sent,
            if self.ended { " and ended" } else { "" },
            self.received,
            if self.peer_ended { " and the end" } else { "" },
            self.connected,
            self.readable,
            self.writable,
        )
    }

    /// The stack told something.
    pub(super) fn handle(&mut self, context: &mut Context<'_>, what: Readiness) -> Progress {
        self.connected |= what.contains(Readiness::CONNECTED);
        self.readable |= what.contains(Readiness::READABLE);
        self.writable |= what.contains(Readiness::WRITABLE);
        if what.contains(Readiness::CLOSED) || what.contains(Readiness::ERROR) {
            // Whatever there is to learn, the calls tell.
            self.readable = true;
            self.writable = true;
        }
        self.work(context)
    }

    /// Does what can be done now.
    pub(super) fn work(&mut self, context: &mut Context<'_>) -> Progress {
        if self
            .resting_until
            .is_some_and(|until| until <= context.time)
        {
            self.resting_until = None;
        }
        loop {
            let before = (self.sent, self.received, self.peer_ended, self.ended);
            if let Err(error) = self.read(context).and_then(|()| self.write(context)) {
                return self.fail(context, error);
            }
            if let Ending::Abort(after) = self.plan.ending
                && self.sent + self.received >= after
            {
                // The peer may learn of it at any time.
                let _ = context.stack.tcp_abort(context.now, self.id);
                let _ = context.stack.tcp_close(context.now, self.id);
                self.ledger.complete();
                return Progress::Done;
            }
            let early = self.plan.ending == Ending::Close && self.connected;
            if self.ended && (self.peer_ended || early) {
                return self.close(context);
            }
            if before == (self.sent, self.received, self.peer_ended, self.ended) {
                return Progress::Open;
            }
        }
    }

    fn close(&mut self, context: &mut Context<'_>) -> Progress {
        if let Err(error) = context.stack.tcp_close(context.now, self.id) {
            self.report(context, Invariant::Failure, format!("close: {error}"));
        }
        self.ledger.complete();
        Progress::Done
    }

    fn report(&self, context: &Context<'_>, invariant: Invariant, what: String) {
        let node = context.node.0;
        let fault = format!("n{node} {} from {}: {what}", self.local, self.remote);
        context.violations.report(context.time, invariant, fault);
    }

    fn read(&mut self, context: &mut Context<'_>) -> Result<(), TcpError> {
        let mut copy = [0; 4_096];
        while self.readable && !self.peer_ended && self.resting_until.is_none() {
            let most = self.until_rest.min(copy.len() as u64) as usize;
            let result = if self.plan.own_buffers {
                let max = most.min(1_500);
                let slice = context.stack.tcp_recv_buf(context.now, self.id, max);
                slice.map(|slice| {
                    copy[..slice.len()].copy_from_slice(&slice);
                    slice.len()
                })
            } else {
                context
                    .stack
                    .tcp_recv(context.now, self.id, &mut copy[..most])
            };
            match result {
                Ok(0) => self.peer_end(context),
                Ok(count) => self.take(context, &copy[..count]),
                Err(RecvError::WouldBlock | RecvError::NotConnected) => self.readable = false,
                Err(RecvError::Connection(error)) => return Err(error),
                Err(error) => {
                    self.report(context, Invariant::Failure, format!("receive: {error}"));
                    return Err(TcpError::Aborted);
                }
            }
        }
        Ok(())
    }

    /// What the peer sent, as far as its end has told.
    fn source(&mut self) -> Option<super::ledger::Stream> {
        if self.incoming.is_none() {
            self.incoming = self.ledger.from(self.remote, self.local);
        }
        self.incoming.map(|index| self.ledger.stream(index))
    }

    fn take(&mut self, context: &Context<'_>, bytes: &[u8]) {
        let Some(source) = self.source() else {
            let fault = "data, but nobody sent any".to_owned();
            return self.report(context, Invariant::Content, fault);
        };
        if let Some(wrong) = pattern::first_difference(source.key, self.received, bytes) {
            let at = self.received + wrong as u64;
            self.report(context, Invariant::Content, format!("byte {at} is wrong"));
        }
        self.received += bytes.len() as u64;
        self.ledger.deliver(bytes.len() as u64);
        if self.received > source.accepted {
            let fault = format!("{} bytes of {}", self.received, source.accepted);
            self.report(context, Invariant::Content, fault);
        }
        if let Some(pause) = self.plan.pause {
            self.until_rest -= bytes.len() as u64;
            if self.until_rest == 0 {
                self.until_rest = pause.every.max(1);
                self.resting_until = Some(context.time + pause.rest);
            }
        }
    }

    fn peer_end(&mut self, context: &Context<'_>) {
        self.peer_ended = true;
        let source = self.source().unwrap_or_default();
        if !source.ended || source.accepted != self.received {
            let fault = format!(
                "the end after {} bytes; the peer sent {}, and {}",
                self.received,
                source.accepted,
                if source.ended { "ended" } else { "goes on" }
            );
            self.report(context, Invariant::End, fault);
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<(), TcpError> {
        while !self.ended {
            let (allowed, all) = self.plan.role.allows(self.received, self.peer_ended);
            if self.sent < allowed {
                if !self.writable {
                    return Ok(());
                }
                let count = (allowed - self.sent).min(self.plan.chunk.max(1) as u64);
                self.send(context, count as usize)?;
            } else if all && self.connected {
                self.end(context)?;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    fn send(&mut self, context: &mut Context<'_>, count: usize) -> Result<(), TcpError> {
        let key = self.ledger.stream(self.outgoing).key;
        let result = if self.plan.own_buffers {
            let (bytes, count) = slice(context, key, self.sent, count);
            let sent = context
                .stack
                .tcp_send_buf(context.now, self.id, bytes, false);
            sent.map(|()| count).map_err(|error| error.error)
        } else {
            let mut bytes = vec![0; count];
            pattern::fill(key, self.sent, &mut bytes);
            context.stack.tcp_send(context.now, self.id, &bytes, false)
        };
        match result {
            Ok(count) => {
                self.sent += count as u64;
                self.ledger.accept(self.outgoing, count as u64);
                if self.plan.urgent {
                    // It has just been sent: only the end of the connection can refuse.
                    let _ = context.stack.tcp_mark_urgent(context.now, self.id);
                }
            }
            Err(SendError::WouldBlock) => self.writable = false,
            Err(SendError::Connection(error)) => return Err(error),
            // What happened is told by reading, or by the error of the socket.
            Err(SendError::Closed) => {
                let error = context.stack.tcp_take_error(self.id);
                return Err(error.unwrap_or(TcpError::BrokenPipe));
            }
            Err(error) => {
                self.report(context, Invariant::Failure, format!("send: {error}"));
                return Err(TcpError::Aborted);
            }
        }
        Ok(())
    }

    fn end(&mut self, context: &mut Context<'_>) -> Result<(), TcpError> {
        if context
            .stack
            .tcp_shutdown_write(context.now, self.id)
            .is_err()
        {
            let error = context.stack.tcp_take_error(self.id);
            return Err(error.unwrap_or(TcpError::Reset));
        }
        self.ended = true;
        self.ledger.end(self.outgoing);
        Ok(())
    }

    fn fail(&self, context: &mut Context<'_>, error: TcpError) -> Progress {
        // There may be nothing left to close.
        let _ = context.stack.tcp_close(context.now, self.id);
        if self.connected {
            self.ledger.fail(self.local, self.remote, error);
        }
        Progress::Failed(error, self.connected)
    }
}

/// A buffer with the next part of a stream, of the node's pool while it has one.
fn slice(context: &Context<'_>, key: u64, offset: u64, count: usize) -> (SharedBuf, usize) {
    if let Some(mut buffer) = context.pool.acquire() {
        let count = count.min(buffer.capacity());
        pattern::fill(key, offset, &mut buffer.as_mut_capacity()[..count]);
        buffer.set_len(count);
        return (SharedBuf::from(buffer), count);
    }
    let mut bytes = vec![0; count];
    pattern::fill(key, offset, &mut bytes);
    (SharedBuf::from(Bytes::from(bytes)), count)
}
