//! Typed operations: constructors that fill an entry and take what the kernel will point to.
//!
//! An [`Op`] owns its buffers, addresses and times. Pushing it moves them into the ring until the
//! final completion; dropping it unpushed gives them back. Sources: io_uring_enter(2) and the
//! `io_uring_prep_*` manual pages.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::Timespec;
use socket2::SockAddr;
use zcn_pool::{Buf, SharedBuf};

use crate::buf_ring::GroupId;
use crate::constants::{self as uapi, opcode};
use crate::msg::Msg;
use crate::payload::{Payload, kernel_space};
use crate::slot::{Kind, OpId};
use crate::sqe::{self, Sqe};

/// What an operation works on: an ordinary descriptor, or a slot of the ring's own file table.
///
/// A number, not an identity: the caller keeps the descriptor open until the operation has ended
/// (rule 4: shutdown, cancel, await, close).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Ordinary descriptor.
    Fd(RawFd),
    /// Registered file or direct descriptor.
    Direct(u32),
}

impl From<BorrowedFd<'_>> for Target {
    fn from(fd: BorrowedFd<'_>) -> Self {
        Self::Fd(fd.as_raw_fd())
    }
}

impl From<&OwnedFd> for Target {
    fn from(fd: &OwnedFd) -> Self {
        Self::Fd(fd.as_raw_fd())
    }
}

impl Target {
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Fd(fd) => fd,
            Self::Direct(index) => index as i32,
        }
    }

    pub(crate) fn sqe_flags(self) -> u8 {
        match self {
            Self::Fd(_) => 0,
            Self::Direct(_) => sqe::FIXED_FILE,
        }
    }
}

/// Where a new descriptor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewFd {
    /// Into the process's descriptor table.
    Ordinary,
    /// Into this slot of the ring's file table; the result is 0.
    Direct(u32),
    /// Into a free slot of the ring's file table; the result is its number.
    DirectAuto,
}

impl NewFd {
    fn file_index(self) -> u32 {
        match self {
            Self::Ordinary => 0,
            Self::Direct(slot) => slot + 1,
            Self::DirectAuto => uapi::FILE_INDEX_ALLOC,
        }
    }
}

/// One operation, ready to be pushed.
#[derive(Debug)]
#[must_use = "an operation does nothing until it is pushed"]
pub struct Op {
    pub(crate) sqe: Sqe,
    pub(crate) kind: Kind,
    pub(crate) group: u8,
    pub(crate) token: u64,
    /// What the completion must be seen against: bytes asked of a send, slot chosen for a direct
    /// descriptor ([`NewFd::Direct`]), 1 for a bundle receive, attempt of a cancel of an orphan, bytes
    /// that an NVMe command reads.
    pub(crate) detail: u32,
    pub(crate) payload: Option<Payload>,
}

/// Group byte of an operation that yields an ordinary descriptor.
pub(crate) const ORDINARY: u8 = 0;
/// Group byte of an operation that yields a direct descriptor where the kernel chooses.
const ANY_PLACE: u8 = 1;
/// Group byte of an operation that yields a direct descriptor where the caller chose; its result
/// does not tell the place.
pub(crate) const CHOSEN_PLACE: u8 = 2;

impl std::fmt::Debug for Sqe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Sqe(op {}, fd {}, len {})",
            self.opcode, self.fd, self.len
        )
    }
}

fn timespec(time: Duration) -> Box<Timespec> {
    Box::new(Timespec::from(time))
}

impl Op {
    #[inline]
    fn new(kind: Kind, opcode: u8) -> Self {
        Self {
            sqe: Sqe {
                opcode,
                ..Sqe::default()
            },
            kind,
            group: 0,
            token: 0,
            detail: 0,
            payload: None,
        }
    }

    #[inline]
    pub(crate) fn on(kind: Kind, opcode: u8, target: Target) -> Self {
        let mut op = Self::new(kind, opcode);
        op.sqe.fd = target.number();
        op.sqe.flags = target.sqe_flags();
        op
    }

    /// A word returned with every completion of this operation; the caller's own meaning.
    #[inline]
    pub fn token(mut self, token: u64) -> Self {
        self.token = token;
        self
    }

    /// Start the next pushed operation only when this one has succeeded (`IOSQE_IO_LINK`).
    pub fn link(mut self) -> Self {
        self.sqe.flags |= sqe::IO_LINK;
        self
    }

    /// Start the next pushed operation when this one has ended, however (`IOSQE_IO_HARDLINK`).
    pub fn hard_link(mut self) -> Self {
        self.sqe.flags |= sqe::IO_HARDLINK;
        self
    }

    /// Start only when everything submitted before has ended (`IOSQE_IO_DRAIN`).
    pub fn drain(mut self) -> Self {
        self.sqe.flags |= sqe::IO_DRAIN;
        self
    }

    /// Give the operation to a kernel worker at once (`IOSQE_ASYNC`).
    pub fn force_async(mut self) -> Self {
        self.sqe.flags |= sqe::ASYNC;
        self
    }

    /// Wait for readiness before the first attempt: saves an attempt that would find nothing.
    /// For sends, receives and accepts; no effect on others, whose field means something else.
    pub fn poll_first(mut self) -> Self {
        self.sqe.ioprio |= match self.kind {
            kind if kind.is_send() || kind.is_receive() => uapi::RECVSEND_POLL_FIRST,
            Kind::Accept | Kind::AcceptMulti => uapi::ACCEPT_POLL_FIRST,
            _ => 0,
        };
        self
    }

    /// Adds `MSG_*` flags to a send or receive; no effect on others. `MSG_TRUNC` is left out of
    /// receives from a group: it makes the result larger than what lies in the buffers.
    pub fn msg_flags(mut self, flags: i32) -> Self {
        let allowed = match self.kind {
            kind if kind.is_send() => flags,
            kind if kind.is_receive() && self.sqe.flags & sqe::BUFFER_SELECT == 0 => flags,
            kind if kind.is_receive() => flags & !libc::MSG_TRUNC,
            _ => 0,
        };
        self.sqe.op_flags |= allowed as u32;
        self
    }

    pub(crate) fn is_bundle(&self) -> bool {
        self.kind == Kind::Recv && self.detail != 0
    }

    /// What kind of operation this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The caller's word, as set by [`Op::token`].
    pub fn user_token(&self) -> u64 {
        self.token
    }

    /// Gives the resources back to a caller who decides not to push.
    pub fn into_payload(self) -> Option<Payload> {
        self.payload
    }

    /// Nothing at all.
    #[inline]
    pub fn nop() -> Self {
        Self::new(Kind::Nop, opcode::NOP)
    }

    /// Receives up to the free space of `buf`; completes with the buffer, its length grown by what
    /// arrived. 0 is the end of the stream.
    pub fn recv(target: Target, mut buf: Buf) -> Self {
        let mut op = Self::on(Kind::Recv, opcode::RECV, target);
        let (at, len) = kernel_space(&mut buf);
        op.sqe.addr = at as u64;
        op.sqe.len = len as u32;
        op.payload = Some(Payload::Buf(buf));
        op
    }

    /// Receives once into a buffer the kernel picks from `group` when data is there, so that a
    /// waiting connection holds none. Completes with the buffer, or `ENOBUFS`.
    #[inline]
    pub fn recv_from_group(target: Target, group: GroupId) -> Self {
        let mut op = Self::on(Kind::Recv, opcode::RECV, target);
        op.select(group);
        op
    }

    /// Receives until cancelled, at the end of the stream, on an error, or out of buffers; each
    /// completion carries one buffer.
    pub fn recv_multi(target: Target, group: GroupId) -> Self {
        let mut op = Self::on(Kind::RecvMulti, opcode::RECV, target);
        op.sqe.ioprio = uapi::RECV_MULTISHOT;
        op.select(group);
        op
    }

    /// Receives into as many buffers of `group` as one go fills (6.10); completes with
    /// [`Payload::Bufs`]. For bulk data, and groups of whole buffers only.
    pub fn recv_bundle(target: Target, group: GroupId) -> Self {
        let mut op = Self::on(Kind::Recv, opcode::RECV, target);
        op.sqe.ioprio = uapi::RECVSEND_BUNDLE;
        op.detail = 1;
        op.select(group);
        op
    }

    #[inline]
    fn select(&mut self, group: GroupId) {
        self.sqe.flags |= sqe::BUFFER_SELECT;
        self.sqe.buf = u16::from(group.0);
        self.group = group.0;
    }

    /// `recvmsg` once: datagram, sender and control data; completes with the [`Msg`].
    pub fn recvmsg(target: Target, mut msg: Box<Msg>) -> Self {
        let mut op = Self::on(Kind::RecvMsg, opcode::RECVMSG, target);
        op.sqe.addr = msg.prepare_recv() as u64;
        op.sqe.len = 1;
        op.payload = Some(Payload::Msg(msg));
        op
    }

    /// `recvmsg` until cancelled; each completion carries a buffer that
    /// [`recv_msg::parse`](crate::recv_msg::parse) takes apart. `msg` is only the template.
    pub fn recvmsg_multi(target: Target, group: GroupId, mut msg: Box<Msg>) -> Self {
        let mut op = Self::on(Kind::RecvMsgMulti, opcode::RECVMSG, target);
        op.sqe.addr = msg.prepare_recv_multi() as u64;
        op.sqe.len = 1;
        op.sqe.ioprio = uapi::RECV_MULTISHOT;
        op.select(group);
        op.payload = Some(Payload::Msg(msg));
        op
    }

    /// Sends a slice. `MSG_WAITALL` makes the kernel go on after a short send where it can;
    /// a short result must be handled all the same (rule 10). No `SIGPIPE` is raised.
    #[inline]
    pub fn send(target: Target, data: SharedBuf) -> Self {
        let mut op = Self::on(Kind::Send, opcode::SEND, target);
        op.sqe.addr = data.as_ptr() as u64;
        op.sqe.len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        op.sqe.op_flags = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32;
        op.detail = op.sqe.len;
        op.payload = Some(Payload::Shared(data));
        op
    }

    /// Sends a slice without the kernel copying it where the device allows. Completes twice: first
    /// with the result, later with a notification that carries the slice (rule 2).
    pub fn send_zc(target: Target, data: SharedBuf) -> Self {
        let mut op = Self::send(target, data);
        op.kind = Kind::SendZc;
        op.sqe.opcode = opcode::SEND_ZC;
        op.sqe.ioprio = uapi::SEND_ZC_REPORT_USAGE;
        op
    }

    /// Uses the registered buffer `index` for a zero-copy send; the slice must lie inside it.
    /// No effect on other operations.
    pub fn fixed_buffer(mut self, index: u16) -> Self {
        if matches!(self.kind, Kind::SendZc | Kind::SendMsgZc) {
            self.sqe.ioprio |= uapi::RECVSEND_FIXED_BUF;
            self.sqe.buf = index;
        }
        self
    }

    /// Sends a message: several slices in one go, an address, control data.
    pub fn sendmsg(target: Target, mut msg: Box<Msg>) -> Self {
        let mut op = Self::on(Kind::SendMsg, opcode::SENDMSG, target);
        op.sqe.addr = msg.prepare_send() as u64;
        op.sqe.len = 1;
        op.sqe.op_flags = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32;
        op.detail = u32::try_from(msg.bytes()).unwrap_or(u32::MAX);
        op.payload = Some(Payload::Msg(msg));
        op
    }

    /// [`Op::sendmsg`] without the kernel's copy; completes twice like [`Op::send_zc`].
    pub fn sendmsg_zc(target: Target, msg: Box<Msg>) -> Self {
        let mut op = Self::sendmsg(target, msg);
        op.kind = Kind::SendMsgZc;
        op.sqe.opcode = opcode::SENDMSG_ZC;
        op.sqe.ioprio = uapi::SEND_ZC_REPORT_USAGE;
        op
    }

    /// Accepts one connection (close-on-exec); the result is its descriptor.
    pub fn accept(target: Target, new: NewFd) -> Self {
        let mut op = Self::on(Kind::Accept, opcode::ACCEPT, target);
        op.new_fd(new);
        if new == NewFd::Ordinary {
            op.sqe.op_flags = libc::SOCK_CLOEXEC as u32;
        }
        op
    }

    /// Notes in `user_data` too whether the result is a slot of the file table: a stale completion
    /// must not close an ordinary descriptor of the same number.
    fn new_fd(&mut self, new: NewFd) {
        self.sqe.file_index = new.file_index();
        self.group = match new {
            NewFd::Ordinary => ORDINARY,
            NewFd::DirectAuto => ANY_PLACE,
            NewFd::Direct(place) => {
                self.detail = place;
                CHOSEN_PLACE
            }
        };
    }

    /// Accepts connections until cancelled or out of descriptors (rule 11).
    pub fn accept_multi(target: Target, new: NewFd) -> Self {
        let mut op = Self::accept(target, new);
        op.kind = Kind::AcceptMulti;
        op.sqe.ioprio = uapi::ACCEPT_MULTISHOT;
        op
    }

    /// Connects a socket.
    pub fn connect(target: Target, address: SockAddr) -> Self {
        let mut op = Self::on(Kind::Connect, opcode::CONNECT, target);
        op.take_address(address);
        op.sqe.off = u64::from(op.address_len());
        op
    }

    /// Binds a socket (6.11).
    pub fn bind(target: Target, address: SockAddr) -> Self {
        let mut op = Self::on(Kind::Bind, opcode::BIND, target);
        op.take_address(address);
        op.sqe.off = u64::from(op.address_len());
        op
    }

    fn take_address(&mut self, address: SockAddr) {
        let address = Box::new(address);
        self.sqe.addr = address.as_ptr() as u64;
        self.payload = Some(Payload::Addr(address));
    }

    fn address_len(&self) -> u32 {
        match &self.payload {
            Some(Payload::Addr(address)) => address.len(),
            _ => 0,
        }
    }

    /// Listens on a socket (6.11).
    pub fn listen(target: Target, backlog: u32) -> Self {
        let mut op = Self::on(Kind::Listen, opcode::LISTEN, target);
        op.sqe.len = backlog;
        op
    }

    /// Creates a socket (close-on-exec); `domain`, `kind` and `protocol` as in socket(2).
    pub fn socket(domain: i32, kind: i32, protocol: i32, new: NewFd) -> Self {
        let mut op = Self::new(Kind::Socket, opcode::SOCKET);
        op.sqe.fd = domain;
        op.sqe.off = kind as u64;
        if new == NewFd::Ordinary {
            op.sqe.off |= libc::SOCK_CLOEXEC as u64;
        }
        op.sqe.len = protocol as u32;
        op.new_fd(new);
        op
    }

    /// Shuts down one or both directions, as in shutdown(2).
    pub fn shutdown(target: Target, how: std::net::Shutdown) -> Self {
        let mut op = Self::on(Kind::Shutdown, opcode::SHUTDOWN, target);
        op.sqe.len = match how {
            std::net::Shutdown::Read => libc::SHUT_RD,
            std::net::Shutdown::Write => libc::SHUT_WR,
            std::net::Shutdown::Both => libc::SHUT_RDWR,
        } as u32;
        op
    }

    /// Closes a descriptor that is handed over. Should the close not run (its chain was broken),
    /// it completes with the descriptor; dropped unpushed, it closes it on the spot.
    pub fn close(fd: OwnedFd) -> Self {
        let mut op = Self::new(Kind::Close, opcode::CLOSE);
        op.sqe.fd = fd.as_raw_fd();
        op.payload = Some(Payload::Fd(fd));
        op
    }

    /// Empties a slot of the ring's file table.
    pub fn close_direct(slot: u32) -> Self {
        let mut op = Self::new(Kind::Close, opcode::CLOSE);
        op.sqe.file_index = slot + 1;
        op
    }

    /// Gives an ordinary descriptor for a direct one (6.8); the result is the descriptor.
    pub fn install_fd(slot: u32) -> Self {
        Self::on(
            Kind::InstallFd,
            opcode::FIXED_FD_INSTALL,
            Target::Direct(slot),
        )
    }

    /// Completes with `ETIME` after `after`, or with 0 when `completions` others came first (0 =
    /// only the time counts).
    pub fn timeout(after: Duration, completions: u32) -> Self {
        let mut op = Self::new(Kind::Timeout, opcode::TIMEOUT);
        let time = timespec(after);
        op.sqe.fd = -1;
        op.sqe.addr = std::ptr::from_ref(&*time) as u64;
        op.sqe.len = 1;
        op.sqe.off = u64::from(completions);
        op.payload = Some(Payload::Timespec(time));
        op
    }

    /// Cancels the operation pushed just before (which must be [`Op::link`]ed) after `after`. The
    /// completions of the two come in either order (rule 15).
    pub fn link_timeout(after: Duration) -> Self {
        let mut op = Self::timeout(after, 0);
        op.kind = Kind::LinkTimeout;
        op.sqe.opcode = opcode::LINK_TIMEOUT;
        op
    }

    /// Cancels every operation on a descriptor; the result is how many, or `ENOENT`.
    pub fn cancel_target(target: Target) -> Self {
        let mut op = Self::new(Kind::Cancel, opcode::ASYNC_CANCEL);
        op.sqe.fd = target.number();
        op.sqe.op_flags = uapi::ASYNC_CANCEL_FD | uapi::ASYNC_CANCEL_ALL;
        if let Target::Direct(_) = target {
            op.sqe.op_flags |= uapi::ASYNC_CANCEL_FD_FIXED;
        }
        op
    }

    pub(crate) fn cancel_user_data(user_data: u64) -> Self {
        let mut op = Self::new(Kind::Cancel, opcode::ASYNC_CANCEL);
        op.sqe.fd = -1;
        op.sqe.addr = user_data;
        op
    }

    /// Notes in a cancel which orphan it is after and which attempt this is.
    pub(crate) fn pursuing(mut self, id: OpId, attempt: u32) -> Self {
        self.token = u64::from(id.generation) << 32 | u64::from(id.slot);
        self.detail = attempt;
        self
    }

    pub(crate) fn cancel_all() -> Self {
        let mut op = Self::new(Kind::Cancel, opcode::ASYNC_CANCEL);
        op.sqe.fd = -1;
        op.sqe.op_flags = uapi::ASYNC_CANCEL_ANY | uapi::ASYNC_CANCEL_ALL;
        op
    }

    /// Waits until one of `events` (`POLLIN`, …) holds; the result is the set that does.
    pub fn poll(target: Target, events: i16) -> Self {
        let mut op = Self::on(Kind::Poll, opcode::POLL_ADD, target);
        op.sqe.op_flags = u32::from(events as u16);
        op
    }

    /// Reports `events` each time they come up, until cancelled.
    pub fn poll_multi(target: Target, events: i16) -> Self {
        let mut op = Self::poll(target, events);
        op.kind = Kind::PollMulti;
        op.sqe.len = uapi::POLL_ADD_MULTI;
        op
    }

    /// Reads at `offset` (or the file's own position: `u64::MAX`) into the free space of `buf`.
    pub fn read(target: Target, mut buf: Buf, offset: u64) -> Self {
        let mut op = Self::on(Kind::Read, opcode::READ, target);
        let (at, len) = kernel_space(&mut buf);
        op.sqe.addr = at as u64;
        op.sqe.len = len as u32;
        op.sqe.off = offset;
        op.payload = Some(Payload::Buf(buf));
        op
    }

    /// Writes a slice at `offset` (or the file's own position: `u64::MAX`).
    pub fn write(target: Target, data: SharedBuf, offset: u64) -> Self {
        let mut op = Self::on(Kind::Write, opcode::WRITE, target);
        op.sqe.addr = data.as_ptr() as u64;
        op.sqe.len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        op.sqe.off = offset;
        op.payload = Some(Payload::Shared(data));
        op
    }

    /// Makes a read or write use the registered buffer `index` instead of mapping pages each time;
    /// the buffer must lie inside it ([`Ring::register_pool`](crate::Ring::register_pool)).
    /// No effect on other operations.
    pub fn registered(mut self, index: u16) -> Self {
        self.sqe.opcode = match self.kind {
            Kind::Read => opcode::READ_FIXED,
            Kind::Write => opcode::WRITE_FIXED,
            _ => return self,
        };
        self.sqe.buf = index;
        self
    }

    /// Wakes another ring: it sees a completion of kind [`Kind::Message`] with `value` as result
    /// and `token` (its lower 56 bits, [`MESSAGE_TOKEN_MASK`]) as token.
    pub fn msg_ring(ring: BorrowedFd<'_>, value: i32, token: u64) -> Self {
        let mut op = Self::new(Kind::MsgRing, opcode::MSG_RING);
        op.sqe.fd = ring.as_raw_fd();
        op.sqe.addr = uapi::MSG_DATA;
        op.sqe.len = value as u32;
        op.sqe.off = (Kind::Message as u64) << 56 | (token & MESSAGE_TOKEN_MASK);
        op
    }

    /// Any operation at all. `user_data` is overwritten; `payload` is owned until the final
    /// completion.
    ///
    /// # Safety
    /// Every address in `sqe` must stay valid and unaliased until the final completion, which the
    /// caller ensures by handing the memory over in `payload` or by keeping it for as long as the
    /// ring lives. `IOSQE_CQE_SKIP_SUCCESS` must not be set: the slot would never be freed. With
    /// `IOSQE_BUFFER_SELECT` the operation must take one buffer for each completion.
    #[allow(unsafe_code)]
    pub unsafe fn raw(sqe: Sqe, payload: Option<Payload>) -> Self {
        Self::filled(Kind::Raw, sqe, payload)
    }

    /// A command of a driver, file system or socket type (`URING_CMD`), whose number and 16 bytes
    /// are in `sqe` ([`Sqe`] says where). [`Op128::command`](crate::Op128::command) has room for
    /// more.
    ///
    /// # Safety
    /// As for [`raw`](Self::raw). The opcode is set here.
    #[allow(unsafe_code)]
    pub unsafe fn command(mut sqe: Sqe, payload: Option<Payload>) -> Self {
        sqe.opcode = opcode::URING_CMD;
        Self::filled(Kind::Command, sqe, payload)
    }

    fn filled(kind: Kind, sqe: Sqe, payload: Option<Payload>) -> Self {
        // Groups have numbers below 256: the push refuses others.
        let selects = sqe.flags & sqe::BUFFER_SELECT != 0;
        Self {
            sqe,
            kind,
            group: if selects { sqe.buf as u8 } else { 0 },
            token: 0,
            detail: 0,
            payload,
        }
    }
}

/// Bits of a message's token that survive the way to the other ring.
pub const MESSAGE_TOKEN_MASK: u64 = (1 << 56) - 1;

/// Cancel of one operation by identity.
pub(crate) fn cancel_tag(kind: Kind, group: u8, id: OpId) -> u64 {
    crate::slot::Tag {
        kind,
        generation: id.generation,
        group,
        slot: id.slot,
    }
    .encode()
}
