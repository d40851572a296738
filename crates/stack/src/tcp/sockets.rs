//! The calls of the application, by socket.

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use zcn_pool::SharedBuf;
use zcn_wire::SeqNum;

use super::connection::{Connection, Flags};
use super::error::{
    AcceptError, CloseError, ConnectError, ListenError, OptionError, RecvError, SendBufError,
    SendError, TcpError,
};
use super::info::TcpInfo;
use super::listener::Listener;
use super::open::Opening;
use super::path::Paths;
use super::socket_options::{SocketOption, SocketOptions};
use super::state::State;
use super::syncache::LISTENERS_MAX;
use super::timestamps::clock;
use super::{Place, STARVED_WAIT, Tcp, Tuple, find};
use crate::demux::Binding;
use crate::slab::{Id, Slab};
use crate::time::Instant;

/// Least age of TIME-WAIT before its ends may be used again by a connect (RFC 6191).
const REUSE_AFTER_MS: u32 = 1000;

impl Tcp {
    /// Listens at `local`; with an unspecified address at all of its family (`::` at both,
    /// unless the options say IPv6 only), with port 0 at one that is drawn. `backlog`
    /// connections may wait to be accepted.
    ///
    /// # Errors
    /// If the address is taken, or no port is free.
    pub fn listen(
        &mut self,
        local: SocketAddr,
        backlog: usize,
        options: SocketOptions,
    ) -> Result<Id, ListenError> {
        let mut binding = Binding {
            address: local,
            v6_only: options.v6_only,
            reuse_address: options.reuse_address,
        };
        if local.port() == 0 {
            let bindings = &self.bindings;
            let port = self
                .ports
                .draw(&local, &local, |port| {
                    let mut binding = binding;
                    binding.address.set_port(port);
                    binding.reuse_address = false;
                    !bindings.conflicts(&binding)
                })
                .ok_or(ListenError::NoPort)?;
            binding.address.set_port(port);
        }
        if self.bindings.conflicts(&binding) {
            return Err(ListenError::AddressInUse);
        }
        if self.listeners.len() >= LISTENERS_MAX {
            return Err(ListenError::NoPort);
        }
        let id = self
            .listeners
            .insert(Listener::new(binding, backlog, options));
        self.bindings
            .insert(binding, id)
            .map_err(|_| ListenError::AddressInUse)?;
        Ok(id)
    }

    /// The address of a listener, with the port it was given.
    pub fn listener_address(&self, listener: Id) -> Option<SocketAddr> {
        self.listeners.get(listener).map(|l| l.binding.address)
    }

    /// How many connections wait to be accepted.
    pub fn acceptable(&self, listener: Id) -> usize {
        let alive = |id: &&Id| self.connections.get(**id).is_some();
        self.listeners
            .get(listener)
            .map_or(0, |listener| listener.ready.iter().filter(alive).count())
    }

    /// Takes the connection that has waited longest.
    ///
    /// # Errors
    /// If none is waiting, or there is no such listener.
    pub fn accept(&mut self, now: Instant, listener: Id) -> Result<(Id, SocketAddr), AcceptError> {
        let queue = &mut self
            .listeners
            .get_mut(listener)
            .ok_or(AcceptError::NotFound)?
            .ready;
        while let Some(id) = queue.pop_front() {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            connection.flags.set(Flags::UNACCEPTED, false);
            let remote = connection.remote();
            // What happened while nobody held it is told now.
            if connection.readable() > 0 || connection.has(Flags::FIN_RECEIVED) {
                connection.signal(crate::event::Readiness::READABLE);
            }
            if connection.state == State::Closed {
                connection.signal(crate::event::Readiness::CLOSED);
            }
            self.settle(now, id);
            return Ok((id, remote));
        }
        Err(AcceptError::WouldBlock)
    }

    /// Ends a listener. Connections that wait to be accepted are reset; half-open ones are
    /// forgotten.
    ///
    /// # Errors
    /// If there is no such listener.
    pub fn close_listener(&mut self, now: Instant, listener: Id) -> Result<(), CloseError> {
        let entry = self
            .listeners
            .remove(listener)
            .ok_or(CloseError::NotFound)?;
        self.bindings.remove(entry.binding.address.port(), listener);
        for id in entry.ready {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.flags.set(Flags::UNACCEPTED, false);
                connection.abort(now, &mut self.common);
                self.settle(now, id);
            }
        }
        for (id, entry) in self.half_open.remove_of(listener) {
            self.forget_half_open(id, &entry.tuple.local(), &entry.tuple.remote());
        }
        Ok(())
    }

    /// Begins a connection to `remote`, from `local` if that is given (its port may be 0).
    /// An event tells when it is established, or failed. Data may be sent at once; it is
    /// queued until then.
    ///
    /// # Errors
    /// If there is no way, no port, or no room.
    pub fn connect(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: SocketOptions,
        paths: &mut dyn Paths,
    ) -> Result<Id, ConnectError> {
        if remote.port() == 0 || local.is_some_and(|l| l.is_ipv4() != remote.is_ipv4()) {
            return Err(ConnectError::Invalid);
        }
        if self.connections.len() >= self.common.config.connections {
            return Err(ConnectError::TooMany);
        }
        let wished = local
            .map(|local| local.ip())
            .filter(|address| !address.is_unspecified());
        let path = paths.path(now, wished, remote.ip())?;
        let local_port = local.map_or(0, |local| local.port());
        let local = self.free_ends(now, path.local, local_port, remote, options.reuse_address)?;
        let tuple = Tuple::new(local, remote);
        let hash = self.ends.hash(&local, &remote);
        let mut iss = self.isn.number(now, &local, &remote);
        let mut recent = None;
        if let Some(Place::TimeWait(id)) = self.find(hash, &tuple) {
            // Numbers beyond those of the old connection, and its last timestamp, so that
            // the peer takes neither for the other.
            if let Some(old) = self.time_waits.remove(id) {
                self.ends.remove(hash, |place| place == Place::TimeWait(id));
                self.common.stats.time_wait_recycled += 1;
                let next = old.snd_nxt + (65_535 + 2_u32);
                iss = if next == SeqNum(0) { SeqNum(1) } else { next };
                recent = Some((old.ts_recent, old.ts_recent_at));
            }
        }
        let opening = Opening {
            now,
            tuple,
            path: &path,
            options: Arc::new(options),
            iss,
            offset: self.isn.timestamp_offset(&local, &remote),
        };
        let mut connection = Connection::active(&self.common, opening);
        if let Some((value, at)) = recent {
            connection.timestamps.recent = value;
            connection.timestamps.recent_at = at;
        }
        let id = self.connections.insert(connection);
        self.ends.insert(hash, Place::Connection(id));
        self.common.stats.active_opens += 1;
        self.settle(now, id);
        Ok(id)
    }

    /// Whether data sent after a connect to this server would go with the SYN (RFC 7413).
    pub fn knows_fast_open(&self, server: IpAddr) -> bool {
        self.common.fast_open.knows(server)
    }

    /// Bytes of data that can go with the SYN of a connect that has just been asked for, if it is one
    /// of fast open and the server's cookie is known or not needed.
    pub fn fast_open_room(&self, now: Instant, id: Id) -> Option<u32> {
        let connection = self.connections.get(id)?;
        connection.fast_open_room(now, &self.common)
    }

    /// Our end for a connection to `remote`, free of other connections.
    fn free_ends(
        &mut self,
        now: Instant,
        address: IpAddr,
        port: u16,
        remote: SocketAddr,
        reuse: bool,
    ) -> Result<SocketAddr, ConnectError> {
        let local = |port| match (SocketAddr::new(address, port), remote) {
            (SocketAddr::V6(mut local), SocketAddr::V6(remote)) => {
                local.set_scope_id(remote.scope_id());
                crate::demux::canonical(local.into())
            }
            (local, _) => local,
        };
        let Self {
            common,
            connections,
            bindings,
            ends,
            half_open,
            time_waits,
            ports,
            ..
        } = self;
        let reusable = |id| {
            common.config.time_wait_reuse
                && time_waits.get(id).is_some_and(|entry| {
                    entry.ts_enabled
                        && clock(now).wrapping_sub(entry.ts_recent_at) >= REUSE_AFTER_MS
                })
        };
        let free = |port| {
            let local = local(port);
            let tuple = Tuple::new(local, remote);
            let hash = ends.hash(&local, &remote);
            match find(ends, connections, half_open, time_waits, hash, &tuple) {
                None => true,
                Some(Place::TimeWait(id)) => reusable(id),
                Some(_) => false,
            }
        };
        let found = if port != 0 {
            free(port).then_some(port).ok_or(ConnectError::AddressInUse)
        } else {
            ports
                .draw(&local(0), &remote, |port| {
                    let binding = Binding::new(local(port));
                    (reuse || !bindings.conflicts(&binding)) && free(port)
                })
                .ok_or(ConnectError::NoPort)
        };
        found.map(local)
    }

    /// A connection that the application holds.
    fn held(&mut self, id: Id) -> Option<&mut Connection> {
        held(&mut self.connections, id)
    }

    /// Queues a copy of as much of `bytes` as there is room for, and tells how much. `more`:
    /// further data follows soon (MSG_MORE), what does not fill a segment may wait for it.
    ///
    /// # Errors
    /// If nothing was queued. After [`SendError::WouldBlock`] an event tells when there is
    /// room.
    pub fn send(
        &mut self,
        now: Instant,
        id: Id,
        bytes: &[u8],
        more: bool,
    ) -> Result<usize, SendError> {
        let connection = held(&mut self.connections, id).ok_or(SendError::NotFound)?;
        let result = connection.send(now, &mut self.common, bytes, more);
        let listed = connection.has(Flags::DIRTY);
        if result == Err(SendError::WouldBlock) && connection.queued() == 0 {
            // The pool is empty, and no acknowledgement to come will wake the application.
            self.starved.push(id);
            self.starved_until = self.starved_until.min(now + STARVED_WAIT);
        }
        // Of data to send nothing follows but output.
        if !listed {
            self.settle(now, id);
        }
        result
    }

    /// Ends a record (MSG_EOR): what is sent from now on begins a segment of its own. Says
    /// nothing to the peer; for those who send one message in one segment.
    ///
    /// # Errors
    /// If nothing can be sent any more.
    pub fn end_record(&mut self, id: Id) -> Result<(), SendError> {
        let connection = held(&mut self.connections, id).ok_or(SendError::NotFound)?;
        connection.end_record()
    }

    /// Makes what was sent so far urgent (MSG_OOB, after the data): every segment until its
    /// end carries the urgent pointer. New protocols should not use it (RFC 6093 section 6);
    /// call before the next output.
    ///
    /// # Errors
    /// If nothing can be sent any more.
    pub fn mark_urgent(&mut self, now: Instant, id: Id) -> Result<(), SendError> {
        let connection = held(&mut self.connections, id).ok_or(SendError::NotFound)?;
        let result = connection.mark_urgent();
        self.settle(now, id);
        result
    }

    /// Queues a slice whole, without copying it.
    ///
    /// # Errors
    /// If it was not queued; it comes back.
    pub fn send_buf(
        &mut self,
        now: Instant,
        id: Id,
        bytes: SharedBuf,
        more: bool,
    ) -> Result<(), SendBufError> {
        let error = |(error, bytes)| SendBufError { error, bytes };
        let Some(connection) = held(&mut self.connections, id) else {
            return Err(error((SendError::NotFound, bytes)));
        };
        let result = connection.send_buf(now, &mut self.common, bytes, more);
        if !connection.has(Flags::DIRTY) {
            self.settle(now, id);
        }
        result.map_err(error)
    }

    /// Copies what was received into `target` and tells how much; 0 is the end of the
    /// stream.
    ///
    /// # Errors
    /// If nothing is there, or the connection failed.
    pub fn recv(&mut self, now: Instant, id: Id, target: &mut [u8]) -> Result<usize, RecvError> {
        self.recv_with(now, id, target, false)
    }

    /// As [`recv`](Self::recv), but leaves the data where it is.
    ///
    /// # Errors
    /// As there.
    pub fn peek(&mut self, now: Instant, id: Id, target: &mut [u8]) -> Result<usize, RecvError> {
        self.recv_with(now, id, target, true)
    }

    #[inline]
    fn recv_with(
        &mut self,
        now: Instant,
        id: Id,
        target: &mut [u8],
        peek: bool,
    ) -> Result<usize, RecvError> {
        let connection = held(&mut self.connections, id).ok_or(RecvError::NotFound)?;
        let result = connection.recv(now, &mut self.common, target, peek);
        if connection.ack.is_due() && !connection.has(Flags::DIRTY) {
            self.settle(now, id);
        }
        result
    }

    /// Hands out the next received slice, of at most `max` bytes, without copying it; an
    /// empty one is the end of the stream.
    ///
    /// # Errors
    /// If nothing is there, or the connection failed.
    pub fn recv_buf(&mut self, now: Instant, id: Id, max: usize) -> Result<SharedBuf, RecvError> {
        let connection = held(&mut self.connections, id).ok_or(RecvError::NotFound)?;
        let result = connection.recv_buf(now, &mut self.common, max);
        if connection.ack.is_due() && !connection.has(Flags::DIRTY) {
            self.settle(now, id);
        }
        result
    }

    /// Whether a third of the send buffer is free, and no more than half of what may be unsent
    /// is: what poll(2) calls writable. If not, an event will tell when.
    pub fn poll_writable(&mut self, id: Id) -> bool {
        self.connections
            .get_mut(id)
            .is_some_and(|connection| connection.poll_writable(&self.common))
    }

    /// What a segment that leaves now has for a timestamp (TCP_TIMESTAMP); none without.
    pub fn timestamp(&self, now: Instant, id: Id) -> Option<u32> {
        let stamps = &self.connections.get(id)?.timestamps;
        stamps.enabled.then(|| stamps.value(now))
    }

    /// Bytes for which there is room in the send buffer; of those that are copied some room is
    /// for keeping count of them.
    pub fn room(&self, id: Id) -> usize {
        let connection = self.connections.get(id);
        connection.map_or(0, |connection| connection.send_room(&self.common))
    }

    /// Bytes that can be received now (SIOCINQ).
    pub fn readable(&self, id: Id) -> usize {
        self.connections.get(id).map_or(0, Connection::readable)
    }

    /// Bytes sent by the application and not acknowledged (SIOCOUTQ).
    pub fn unacknowledged(&self, id: Id) -> u32 {
        self.connections.get(id).map_or(0, Connection::queued)
    }

    /// Ends our side: the end of the stream follows what is queued. Receiving goes on.
    ///
    /// # Errors
    /// If the connection is not established.
    pub fn shutdown_write(&mut self, now: Instant, id: Id) -> Result<(), CloseError> {
        let result = self.held(id).ok_or(CloseError::NotFound)?.shutdown_write();
        self.settle(now, id);
        result
    }

    /// Receives no more: what is there and what comes is dropped, though acknowledged.
    ///
    /// # Errors
    /// If the connection is not established.
    pub fn shutdown_read(&mut self, now: Instant, id: Id) -> Result<(), CloseError> {
        self.held(id).ok_or(CloseError::NotFound)?;
        let Some(connection) = self.connections.get_mut(id) else {
            return Err(CloseError::NotFound);
        };
        let result = connection.shutdown_read(&mut self.common);
        self.settle(now, id);
        result
    }

    /// Lets go of a connection. What is queued still goes out, unless data was left unread
    /// or the linger time is zero: then the peer is reset. `id` is stale afterwards; with a
    /// linger time, only after the event that says that the connection is closed.
    ///
    /// # Errors
    /// If there is no such connection.
    pub fn close(&mut self, now: Instant, id: Id) -> Result<(), CloseError> {
        self.held(id).ok_or(CloseError::NotFound)?;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.close(now, &mut self.common);
        }
        self.settle_orphan(now, id);
        self.settle(now, id);
        Ok(())
    }

    /// Counts a connection that has just been let go of; resets it if there are too many.
    pub(super) fn settle_orphan(&mut self, now: Instant, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !connection.has(Flags::ORPHAN)
            || connection.has(Flags::COUNTED_ORPHAN)
            || connection.state == State::Closed
        {
            return;
        }
        connection.flags.set(Flags::COUNTED_ORPHAN, true);
        self.orphans += 1;
        if self.orphans > self.common.config.orphans {
            self.common.stats.abort_on_memory += 1;
            connection.abort(now, &mut self.common);
        }
    }

    /// Ends a connection at once; the peer is reset. `id` is stale afterwards.
    ///
    /// # Errors
    /// If there is no such connection.
    pub fn abort(&mut self, now: Instant, id: Id) -> Result<(), CloseError> {
        self.held(id).ok_or(CloseError::NotFound)?;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.abort(now, &mut self.common);
        }
        self.settle(now, id);
        Ok(())
    }

    /// Changes an option of a connection.
    ///
    /// # Errors
    /// If the value is out of range, or there is no such connection.
    pub fn set_option(
        &mut self,
        now: Instant,
        id: Id,
        option: SocketOption,
    ) -> Result<(), OptionError> {
        self.held(id).ok_or(OptionError::NotFound)?;
        let Some(connection) = self.connections.get_mut(id) else {
            return Err(OptionError::NotFound);
        };
        let result = connection.set_option(now, &mut self.common, option);
        self.settle(now, id);
        result
    }

    /// Changes an option of a listener, for the connections to come.
    ///
    /// # Errors
    /// If the value is out of range, or there is no such listener.
    pub fn set_listener_option(
        &mut self,
        listener: Id,
        option: SocketOption,
    ) -> Result<(), OptionError> {
        let listener = self
            .listeners
            .get_mut(listener)
            .ok_or(OptionError::NotFound)?;
        Arc::make_mut(&mut listener.options).set(option)
    }

    /// The options of a connection.
    pub fn options(&self, id: Id) -> Option<&SocketOptions> {
        self.connections.get(id).map(|c| &*c.options)
    }

    /// Why a connection failed; told once, afterwards it is only closed (SO_ERROR).
    pub fn take_error(&mut self, id: Id) -> Option<TcpError> {
        self.connections.get_mut(id)?.error.take()
    }

    /// Why a connection failed, if that was not told yet (EPOLLERR).
    pub fn error(&self, id: Id) -> Option<TcpError> {
        self.connections.get(id)?.error
    }

    /// Whether acknowledgements leave at once just now (TCP_QUICKACK); the traffic decides.
    pub fn quick_ack(&self, id: Id) -> Option<bool> {
        self.connections
            .get(id)
            .map(|connection| connection.ack.may_be_quick())
    }

    /// Both ends of a connection, ours first.
    pub fn addresses(&self, id: Id) -> Option<(SocketAddr, SocketAddr)> {
        self.connections
            .get(id)
            .map(|connection| (connection.local(), connection.remote()))
    }

    /// The listeners.
    pub fn listener_ids(&self) -> impl Iterator<Item = Id> {
        self.listeners.iter().map(|(id, _)| id)
    }

    /// The connections that applications hold.
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        self.connections.iter().map(|(id, _)| id)
    }

    /// The state of a connection.
    pub fn state(&self, id: Id) -> Option<State> {
        self.connections.get(id).map(|connection| connection.state)
    }

    /// When the next timer of a connection is due; `None` if it waits for nothing.
    pub fn deadline(&self, id: Id) -> Option<Instant> {
        self.connections.get(id)?.next_deadline()
    }

    /// A snapshot for TCP_INFO.
    pub fn info(&self, now: Instant, id: Id) -> Option<TcpInfo> {
        self.connections
            .get(id)
            .map(|connection| connection.info(now))
    }
}

/// A connection that the application holds.
fn held(connections: &mut Slab<Connection>, id: Id) -> Option<&mut Connection> {
    connections
        .get_mut(id)
        .filter(|connection| !connection.has(Flags::ORPHAN | Flags::UNACCEPTED | Flags::LINGERING))
}
