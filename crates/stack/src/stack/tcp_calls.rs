//! Calls on TCP sockets: those of [`Tcp`](crate::tcp::Tcp), with the ways of this stack.

use core::net::{IpAddr, SocketAddr};

use zcn_pool::SharedBuf;

use super::Stack;
use crate::demux::canonical;
use crate::slab::Id;
use crate::tcp::{
    AcceptError, CloseError, ConnectError, ListenError, OptionError, RecvError, SendBufError,
    SendError, SocketOption, SocketOptions, State, TcpError, TcpInfo,
};
use crate::time::Instant;

impl Stack {
    /// Listens; see [`Tcp::listen`](crate::tcp::Tcp::listen).
    ///
    /// # Errors
    /// If the address is taken or not ours, or no port is free.
    pub fn tcp_listen(
        &mut self,
        local: SocketAddr,
        backlog: usize,
        options: SocketOptions,
    ) -> Result<Id, ListenError> {
        let local = canonical(local);
        if !local.ip().is_unspecified() && !self.ip.is_own(local.ip()) {
            return Err(ListenError::AddressNotLocal);
        }
        self.tcp.listen(local, backlog, options)
    }

    /// The address of a listener, with the port it was given.
    pub fn tcp_listener_address(&self, listener: Id) -> Option<SocketAddr> {
        self.tcp.listener_address(listener)
    }

    /// How many connections wait to be accepted.
    pub fn tcp_acceptable(&self, listener: Id) -> usize {
        self.tcp.acceptable(listener)
    }

    /// Takes the connection that has waited longest, with its peer.
    ///
    /// # Errors
    /// If none is waiting.
    pub fn tcp_accept(
        &mut self,
        now: Instant,
        listener: Id,
    ) -> Result<(Id, SocketAddr), AcceptError> {
        self.tcp.accept(now, listener)
    }

    /// Ends a listener; see [`Tcp::close_listener`](crate::tcp::Tcp::close_listener).
    ///
    /// # Errors
    /// If there is no such listener.
    pub fn tcp_close_listener(&mut self, now: Instant, listener: Id) -> Result<(), CloseError> {
        self.tcp.close_listener(now, listener)
    }

    /// Begins a connection; see [`Tcp::connect`](crate::tcp::Tcp::connect).
    ///
    /// # Errors
    /// If there is no way, no port, or no room.
    pub fn tcp_connect(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        local: Option<SocketAddr>,
        options: SocketOptions,
    ) -> Result<Id, ConnectError> {
        let (remote, local) = (canonical(remote), local.map(canonical));
        self.tcp.connect(now, remote, local, options, &mut self.ip)
    }

    /// Whether data sent after a connect to this server would go with the SYN (RFC 7413).
    pub fn tcp_knows_fast_open(&self, server: IpAddr) -> bool {
        self.tcp.knows_fast_open(server)
    }

    /// Bytes of data that go with the SYN of a connect which has just been asked for with
    /// [`fast_open_connect`](crate::tcp::SocketOptions::fast_open_connect), if they are queued before
    /// it leaves; `None` if none do, as there is no cookie or it is no such connect.
    pub fn tcp_fast_open_room(&self, now: Instant, id: Id) -> Option<u32> {
        self.tcp.fast_open_room(now, id)
    }

    /// Queues a copy of as much of `bytes` as there is room for; see
    /// [`Tcp::send`](crate::tcp::Tcp::send).
    ///
    /// # Errors
    /// If nothing was queued.
    pub fn tcp_send(
        &mut self,
        now: Instant,
        connection: Id,
        bytes: &[u8],
        more: bool,
    ) -> Result<usize, SendError> {
        self.tcp.send(now, connection, bytes, more)
    }

    /// Ends a record; see [`Tcp::end_record`](crate::tcp::Tcp::end_record).
    ///
    /// # Errors
    /// If nothing can be sent any more.
    pub fn tcp_end_record(&mut self, connection: Id) -> Result<(), SendError> {
        self.tcp.end_record(connection)
    }

    /// Makes what was sent urgent; see [`Tcp::mark_urgent`](crate::tcp::Tcp::mark_urgent).
    ///
    /// # Errors
    /// If nothing can be sent any more.
    pub fn tcp_mark_urgent(&mut self, now: Instant, connection: Id) -> Result<(), SendError> {
        self.tcp.mark_urgent(now, connection)
    }

    /// Queues a slice whole, without copying it.
    ///
    /// # Errors
    /// If it was not queued; it comes back.
    pub fn tcp_send_buf(
        &mut self,
        now: Instant,
        connection: Id,
        bytes: SharedBuf,
        more: bool,
    ) -> Result<(), SendBufError> {
        self.tcp.send_buf(now, connection, bytes, more)
    }

    /// Copies what was received into `target`; 0 is the end of the stream.
    ///
    /// # Errors
    /// If nothing is there, or the connection failed.
    pub fn tcp_recv(
        &mut self,
        now: Instant,
        connection: Id,
        target: &mut [u8],
    ) -> Result<usize, RecvError> {
        self.tcp.recv(now, connection, target)
    }

    /// As [`tcp_recv`](Self::tcp_recv), but leaves the data where it is.
    ///
    /// # Errors
    /// As there.
    pub fn tcp_peek(
        &mut self,
        now: Instant,
        connection: Id,
        target: &mut [u8],
    ) -> Result<usize, RecvError> {
        self.tcp.peek(now, connection, target)
    }

    /// The next received slice, of at most `max` bytes, without copying it; an empty one is
    /// the end of the stream.
    ///
    /// # Errors
    /// If nothing is there, or the connection failed.
    pub fn tcp_recv_buf(
        &mut self,
        now: Instant,
        connection: Id,
        max: usize,
    ) -> Result<SharedBuf, RecvError> {
        self.tcp.recv_buf(now, connection, max)
    }

    /// As [`Tcp::poll_writable`](crate::tcp::Tcp::poll_writable).
    pub fn tcp_poll_writable(&mut self, connection: Id) -> bool {
        self.tcp.poll_writable(connection)
    }

    /// As [`Tcp::timestamp`](crate::tcp::Tcp::timestamp).
    pub fn tcp_timestamp(&self, now: Instant, connection: Id) -> Option<u32> {
        self.tcp.timestamp(now, connection)
    }

    /// As [`Tcp::room`](crate::tcp::Tcp::room).
    pub fn tcp_send_room(&self, connection: Id) -> usize {
        self.tcp.room(connection)
    }

    /// Bytes that can be received now.
    pub fn tcp_readable(&self, connection: Id) -> usize {
        self.tcp.readable(connection)
    }

    /// Bytes sent by the application and not acknowledged.
    pub fn tcp_unacknowledged(&self, connection: Id) -> u32 {
        self.tcp.unacknowledged(connection)
    }

    /// Ends our side; receiving goes on.
    ///
    /// # Errors
    /// If the connection is not established.
    pub fn tcp_shutdown_write(&mut self, now: Instant, connection: Id) -> Result<(), CloseError> {
        self.tcp.shutdown_write(now, connection)
    }

    /// Receives no more.
    ///
    /// # Errors
    /// If the connection is not established.
    pub fn tcp_shutdown_read(&mut self, now: Instant, connection: Id) -> Result<(), CloseError> {
        self.tcp.shutdown_read(now, connection)
    }

    /// Lets go of a connection; see [`Tcp::close`](crate::tcp::Tcp::close).
    ///
    /// # Errors
    /// If there is no such connection.
    pub fn tcp_close(&mut self, now: Instant, connection: Id) -> Result<(), CloseError> {
        self.tcp.close(now, connection)
    }

    /// Ends a connection at once; the peer is reset.
    ///
    /// # Errors
    /// If there is no such connection.
    pub fn tcp_abort(&mut self, now: Instant, connection: Id) -> Result<(), CloseError> {
        self.tcp.abort(now, connection)
    }

    /// Changes an option of a connection.
    ///
    /// # Errors
    /// If the value is out of range, or there is no such connection.
    pub fn tcp_set_option(
        &mut self,
        now: Instant,
        connection: Id,
        option: SocketOption,
    ) -> Result<(), OptionError> {
        self.tcp.set_option(now, connection, option)
    }

    /// Changes an option of a listener, for the connections to come.
    ///
    /// # Errors
    /// If the value is out of range, or there is no such listener.
    pub fn tcp_set_listener_option(
        &mut self,
        listener: Id,
        option: SocketOption,
    ) -> Result<(), OptionError> {
        self.tcp.set_listener_option(listener, option)
    }

    /// The options of a connection.
    pub fn tcp_options(&self, connection: Id) -> Option<&SocketOptions> {
        self.tcp.options(connection)
    }

    /// Why a connection failed, if that was not told yet (EPOLLERR).
    pub fn tcp_error(&self, connection: Id) -> Option<TcpError> {
        self.tcp.error(connection)
    }

    /// Why a connection failed; told once (SO_ERROR).
    pub fn tcp_take_error(&mut self, connection: Id) -> Option<TcpError> {
        self.tcp.take_error(connection)
    }

    /// Whether acknowledgements leave at once just now (TCP_QUICKACK).
    pub fn tcp_quick_ack(&self, connection: Id) -> Option<bool> {
        self.tcp.quick_ack(connection)
    }

    /// Both ends of a connection, ours first.
    pub fn tcp_addresses(&self, connection: Id) -> Option<(SocketAddr, SocketAddr)> {
        self.tcp.addresses(connection)
    }

    /// The connections that applications hold.
    pub fn tcp_connections(&self) -> impl Iterator<Item = Id> {
        self.tcp.ids()
    }

    /// The state of a connection.
    pub fn tcp_state(&self, connection: Id) -> Option<State> {
        self.tcp.state(connection)
    }

    /// When the next timer of a connection is due; `None` if it waits for nothing.
    pub fn tcp_deadline(&self, connection: Id) -> Option<Instant> {
        self.tcp.deadline(connection)
    }

    /// The listeners.
    pub fn tcp_listeners(&self) -> impl Iterator<Item = Id> {
        self.tcp.listener_ids()
    }

    /// How many entries the tables of TCP hold: connections with an application or
    /// without, half-open ones, and those in TIME-WAIT.
    pub fn tcp_table_sizes(&self) -> (usize, usize, usize) {
        let tcp = &self.tcp;
        (tcp.connections(), tcp.half_open(), tcp.time_waits())
    }

    /// A snapshot for TCP_INFO.
    pub fn tcp_info(&self, now: Instant, connection: Id) -> Option<TcpInfo> {
        self.tcp.info(now, connection)
    }
}
