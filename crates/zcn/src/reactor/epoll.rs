//! The driver on epoll, for where io_uring is refused: the same operations, done by plain system
//! calls as soon as the descriptor is ready.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::event::epoll;
use socket2::SockAddr;
use zcn_pool::{Buf, BufferPool, LocalPool, SharedBuf};
use zcn_uring::{Msg, OpId, Payload, RegisterError};

use super::batch::Batch;
use super::driver::{Attached, Done, DriverStats, Source, Wait};

/// Most completions that one multishot operation produces in one turn, so that a flooded
/// descriptor does not starve the others.
const BURST: usize = 64;

/// Most boxes kept for reuse.
const SPARES: usize = 1024;

/// What waits for a descriptor to become readable.
#[derive(Debug)]
enum Reading {
    Recv(Source),
    Accept,
    RecvMsg(Source),
    Poll,
}

/// What waits for a descriptor to become writable.
#[derive(Debug)]
enum Writing {
    Send {
        data: SharedBuf,
        sent: usize,
    },
    SendMsg(Box<Msg>),
    /// The address until connect(2) has been called, then nothing.
    Connect(Option<Box<SockAddr>>),
    /// Nothing but to be told of it.
    Poll,
}

/// One attached descriptor. Edge-triggered: readiness is remembered here until a call finds the
/// descriptor not ready.
#[derive(Debug)]
struct Entry {
    fd: RawFd,
    readable: bool,
    writable: bool,
    /// The peer has finished or the connection is broken: only a read of 0 ends the reading.
    hung_up: bool,
    /// A receive may end before the socket is empty: behind a passed descriptor or other credentials
    /// (unix(7)), or at urgent data (tcp(7)). Only a receive of nothing tells then that it is.
    in_parts: bool,
    /// In the ready list, so that it is there once.
    listed: bool,
    reading: Option<(Reading, u64)>,
    writing: VecDeque<(Writing, u64)>,
}

/// epoll: operations wait in a table until their descriptor is ready.
pub(crate) struct EpollDriver {
    epoll: OwnedFd,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    ready: VecDeque<u32>,
    /// Ends that need no readiness: cancelled operations.
    ended: Vec<Done>,
    /// Pool of each source; `None` after the source was removed.
    sources: Vec<Option<LocalPool>>,
    // Boxed because a message's header points into its own box.
    #[allow(clippy::vec_box)]
    spare_msgs: Vec<Box<Msg>>,
    events: Vec<epoll::Event>,
    batch: Batch,
    stats: DriverStats,
}

impl std::fmt::Debug for EpollDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EpollDriver")
            .field("epoll", &self.epoll)
            .finish_non_exhaustive()
    }
}

/// Events taken from the kernel in one call.
const EVENTS: usize = 512;

impl EpollDriver {
    pub(crate) fn new(pool: &BufferPool) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            entries: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            ended: Vec::new(),
            sources: vec![Some(pool.local())],
            spare_msgs: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            batch: Batch::default(),
            stats: DriverStats::default(),
        })
    }

    pub(crate) fn attach(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attached> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() as u32 - 1
        });
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::PRI
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        self.stats.system_calls += 2;
        let data = epoll::EventData::new_u64(place.into());
        if let Err(errno) = epoll::add(&self.epoll, fd, data, flags) {
            self.free.push(place);
            return Err(errno.into());
        }
        self.entries[place as usize] = Some(Entry {
            fd: fd.as_raw_fd(),
            // Taken to be ready until a call says otherwise; the kernel reports the first edge too.
            readable: true,
            writable: true,
            hung_up: false,
            in_parts: in_parts(fd),
            listed: false,
            reading: None,
            writing: VecDeque::new(),
        });
        Ok(Attached {
            fd: fd.as_raw_fd(),
            place,
        })
    }

    pub(crate) fn detach(&mut self, at: Attached) {
        let Some(entry) = self.entries[at.place as usize].take() else {
            return;
        };
        self.stats.system_calls += 1;
        // SAFETY: the owner detaches before it closes, so the descriptor is open.
        let fd = unsafe { BorrowedFd::borrow_raw(entry.fd) };
        // It can only fail for a descriptor that is not in the set, which is what we want.
        let _ = epoll::delete(&self.epoll, fd);
        self.free.push(at.place);
    }

    fn entry(&mut self, at: Attached) -> Option<&mut Entry> {
        self.entries.get_mut(at.place as usize)?.as_mut()
    }

    #[inline]
    fn start_read(&mut self, at: Attached, reading: Reading, token: u64) {
        self.stats.operations += 1;
        let Some(entry) = self.entry(at) else { return };
        debug_assert!(entry.reading.is_none(), "one receive at a time");
        entry.reading = Some((reading, token));
        if entry.readable && !entry.listed {
            entry.listed = true;
            self.ready.push_back(at.place);
        }
    }

    #[inline]
    fn start_write(&mut self, at: Attached, writing: Writing, token: u64) {
        self.stats.operations += 1;
        let Some(entry) = self.entry(at) else { return };
        entry.writing.push_back((writing, token));
        if entry.writable && !entry.listed {
            entry.listed = true;
            self.ready.push_back(at.place);
        }
    }

    #[inline]
    pub(crate) fn recv(&mut self, at: Attached, source: Source, _likely: bool, token: u64) {
        self.start_read(at, Reading::Recv(source), token);
    }

    #[inline]
    pub(crate) fn send(&mut self, at: Attached, data: SharedBuf, _zero_copy: bool, token: u64) {
        self.start_write(at, Writing::Send { data, sent: 0 }, token);
    }

    pub(crate) fn sendmsg(&mut self, at: Attached, msg: Box<Msg>, _zero_copy: bool, token: u64) {
        self.start_write(at, Writing::SendMsg(msg), token);
    }

    pub(crate) fn send_datagrams(
        &mut self,
        at: Attached,
        msgs: &mut VecDeque<Box<Msg>>,
        token: u64,
    ) {
        let Some(Some(entry)) = self.entries.get_mut(at.place as usize) else {
            return;
        };
        if entry.writable && entry.writing.is_empty() {
            self.stats.operations += msgs.len() as u64;
            self.stats.system_calls += self.batch.send(at.fd, msgs, token, &mut self.ended);
            self.stats.operations -= msgs.len() as u64;
        }
        for msg in msgs.drain(..) {
            self.sendmsg(at, msg, false, token);
        }
    }

    /// accept(2) and connect(2) take no flag for a single call, unlike the receives and sends.
    fn set_nonblocking(&mut self, at: Attached) {
        self.stats.system_calls += 2;
        // SAFETY: the descriptor is open while attached.
        let fd = unsafe { BorrowedFd::borrow_raw(at.fd) };
        // Fails only for a descriptor that is not open.
        let _ = rustix::fs::fcntl_getfl(fd)
            .and_then(|flags| rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK));
    }

    pub(crate) fn accept(&mut self, at: Attached, token: u64) {
        self.set_nonblocking(at);
        self.start_read(at, Reading::Accept, token);
    }

    pub(crate) fn connect(&mut self, at: Attached, address: SockAddr, token: u64) {
        self.set_nonblocking(at);
        self.start_write(at, Writing::Connect(Some(Box::new(address))), token);
    }

    pub(crate) fn recvmsg(&mut self, at: Attached, source: Source, token: u64) -> OpId {
        self.start_read(at, Reading::RecvMsg(source), token);
        // One receive at a time: the descriptor names it.
        OpId::NONE
    }

    pub(crate) fn cancel_recvmsg(&mut self, at: Attached, _op: OpId) {
        let reading = self.entry(at).and_then(|entry| entry.reading.take());
        if let Some((_, token)) = reading {
            self.ended.push(Done::failed(token, libc::ECANCELED, None));
        }
    }

    pub(crate) fn poll_in(&mut self, at: Attached, token: u64) {
        self.start_read(at, Reading::Poll, token);
    }

    pub(crate) fn poll_out(&mut self, at: Attached, token: u64) {
        if let Some(entry) = self.entry(at) {
            // There was none a moment ago, as the caller found out; the next edge tells.
            entry.writable = false;
        }
        self.start_write(at, Writing::Poll, token);
    }

    pub(crate) fn cancel(&mut self, at: Attached) {
        let Some(entry) = self
            .entries
            .get_mut(at.place as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        if let Some((_, token)) = entry.reading.take() {
            self.ended.push(Done::failed(token, libc::ECANCELED, None));
        }
        for (writing, token) in entry.writing.drain(..) {
            self.ended
                .push(Done::failed(token, libc::ECANCELED, writing.into_payload()));
        }
    }

    // As fallible as the ring driver's.
    #[allow(clippy::unnecessary_wraps)]
    pub(crate) fn add_source(
        &mut self,
        pool: &BufferPool,
        _entries: u16,
    ) -> Result<Source, RegisterError> {
        let index = match self.sources.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.sources.push(None);
                self.sources.len() - 1
            }
        };
        self.sources[index] = Some(pool.local());
        Ok(Source(index))
    }

    pub(crate) fn remove_source(&mut self, source: Source) {
        self.sources[source.0] = None;
    }

    pub(crate) fn available(&mut self, source: Source) -> usize {
        let Some(local) = &self.sources[source.0] else {
            return 0;
        };
        // What lies in other threads' magazines is free, but not to be had from here.
        if local.acquire().is_none() {
            return 0;
        }
        local.pool().stats().free
    }

    fn acquire(&self, source: Source) -> Option<Buf> {
        self.sources[source.0].as_ref()?.acquire()
    }

    pub(crate) fn turn(&mut self, wait: Wait, done: &mut Vec<Done>) -> io::Result<()> {
        let before = done.len();
        done.append(&mut self.ended);
        self.serve_ready(done);
        let wait = if done.len() > before || !self.ready.is_empty() {
            Wait::No
        } else {
            wait
        };
        self.poll(wait)?;
        self.serve_ready(done);
        done.append(&mut self.ended);
        Ok(())
    }

    /// Asks the kernel which descriptors became ready.
    fn poll(&mut self, wait: Wait) -> io::Result<()> {
        let timeout = wait.timeout().map(|limit| rustix::time::Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        self.events.clear();
        self.stats.system_calls += 1;
        let waited = epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            timeout.as_ref(),
        );
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &self.events {
            let place = event.data.u64() as u32;
            let Some(Some(entry)) = self.entries.get_mut(place as usize) else {
                continue;
            };
            let flags = event.flags;
            let broken = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
            entry.hung_up |= flags.intersects(epoll::EventFlags::RDHUP | broken);
            entry.in_parts |= flags.contains(epoll::EventFlags::PRI);
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP | broken) {
                entry.readable = true;
            }
            if flags.intersects(epoll::EventFlags::OUT | broken) {
                entry.writable = true;
            }
            let wanted = (entry.readable && entry.reading.is_some())
                || (entry.writable && !entry.writing.is_empty());
            if wanted && !entry.listed {
                entry.listed = true;
                self.ready.push_back(place);
            }
        }
        Ok(())
    }

    /// Does what the ready descriptors wait for. Each descriptor gets one burst a turn.
    fn serve_ready(&mut self, done: &mut Vec<Done>) {
        for _ in 0..self.ready.len() {
            let Some(place) = self.ready.pop_front() else {
                return;
            };
            let Some(mut entry) = self.entries.get_mut(place as usize).and_then(Option::take)
            else {
                continue;
            };
            entry.listed = false;
            self.serve_writes(&mut entry, done);
            self.serve_read(&mut entry, done);
            let again = (entry.readable && entry.reading.is_some())
                || (entry.writable && !entry.writing.is_empty());
            entry.listed = again;
            self.entries[place as usize] = Some(entry);
            if again {
                self.ready.push_back(place);
            }
        }
    }

    fn serve_writes(&mut self, entry: &mut Entry, done: &mut Vec<Done>) {
        while entry.writable {
            let Some((writing, token)) = entry.writing.pop_front() else {
                return;
            };
            match self.write(entry.fd, writing) {
                Ok(end) => done.push(Done { token, ..end }),
                Err(writing) => {
                    entry.writable = false;
                    entry.writing.push_front((writing, token));
                }
            }
        }
    }

    /// One attempt; the operation comes back when the descriptor is not ready.
    fn write(&mut self, fd: RawFd, writing: Writing) -> Result<Done, Writing> {
        self.stats.system_calls += 1;
        match writing {
            Writing::Send { data, mut sent } => {
                let rest = &data[sent..];
                // SAFETY: `rest` is readable for its length; the call only reads it.
                let result = check(unsafe {
                    libc::send(
                        fd,
                        rest.as_ptr().cast(),
                        rest.len(),
                        libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                    )
                });
                match result {
                    Ok(count) => {
                        sent += count as usize;
                        if sent < data.len() {
                            // As MSG_WAITALL on the ring: go on when there is room again.
                            self.stats.short_sends += 1;
                            return Err(Writing::Send { data, sent });
                        }
                        Ok(end(sent as i32, Some(Payload::Shared(data))))
                    }
                    Err(errno) if would_block(errno) => Err(Writing::Send { data, sent }),
                    Err(_) if sent > 0 => Ok(end(sent as i32, Some(Payload::Shared(data)))),
                    Err(errno) => Ok(end(-errno, Some(Payload::Shared(data)))),
                }
            }
            Writing::SendMsg(mut msg) => {
                let header = msg.prepare_send();
                // SAFETY: the header and all it points to live in the box, which outlives the call.
                let result = check(unsafe {
                    libc::sendmsg(fd, header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
                });
                match result {
                    Ok(count) => {
                        if (count as usize) < msg.bytes() {
                            self.stats.short_sends += 1;
                        }
                        Ok(end(count, Some(Payload::Msg(msg))))
                    }
                    Err(errno) if would_block(errno) => Err(Writing::SendMsg(msg)),
                    Err(errno) => Ok(end(-errno, Some(Payload::Msg(msg)))),
                }
            }
            Writing::Poll => Ok(end(libc::POLLOUT.into(), None)),
            Writing::Connect(Some(address)) => {
                // SAFETY: address and length are a `SockAddr`'s own.
                let result = check(unsafe {
                    libc::connect(fd, address.as_ptr().cast(), address.len()) as isize
                });
                match result {
                    Ok(_) => Ok(end(0, Some(Payload::Addr(address)))),
                    Err(libc::EINPROGRESS | libc::EINTR) => Err(Writing::Connect(None)),
                    Err(errno) => Ok(end(-errno, Some(Payload::Addr(address)))),
                }
            }
            Writing::Connect(None) => {
                // SAFETY: the descriptor is open while attached.
                let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
                match rustix::net::sockopt::socket_error(borrowed) {
                    Ok(Ok(())) => {
                        if rustix::net::getpeername(borrowed).is_ok() {
                            return Ok(end(0, None));
                        }
                        Err(Writing::Connect(None))
                    }
                    Ok(Err(errno)) | Err(errno) => Ok(end(-errno.raw_os_error(), None)),
                }
            }
        }
    }

    fn serve_read(&mut self, entry: &mut Entry, done: &mut Vec<Done>) {
        for _ in 0..BURST {
            if !entry.readable {
                return;
            }
            let Some((reading, token)) = entry.reading.take() else {
                return;
            };
            if let Reading::RecvMsg(source) = reading {
                self.receive_datagrams(entry, source, token, done);
                return;
            }
            match self.read(entry.fd, &reading) {
                Ok(Some(end)) => {
                    // A short read has emptied the socket (epoll(7)); the next bytes are a new
                    // edge. Not so when something else may have ended it, or when the end of the
                    // stream may be waiting behind.
                    if let (Reading::Recv(_), Some(Payload::Buf(buf))) = (&reading, &end.payload) {
                        entry.readable =
                            entry.hung_up || entry.in_parts || buf.len() == buf.capacity();
                    }
                    if end.more {
                        entry.reading = Some((reading, token));
                    }
                    done.push(Done { token, ..end });
                }
                Ok(None) => {
                    // Readiness reported; the next edge reports it again.
                    entry.readable = false;
                    entry.reading = Some((reading, token));
                    done.push(Done {
                        token,
                        more: true,
                        ..end(libc::POLLIN.into(), None)
                    });
                }
                Err(()) => {
                    entry.readable = false;
                    entry.reading = Some((reading, token));
                }
            }
        }
    }

    /// One attempt: `Err` when the descriptor is not ready, `Ok(None)` for a readiness report.
    fn read(&mut self, fd: RawFd, reading: &Reading) -> Result<Option<Done>, ()> {
        match reading {
            Reading::Poll => Ok(None),
            Reading::Recv(source) => {
                let Some(mut buf) = self.acquire(*source) else {
                    self.stats.no_buffers += 1;
                    return Ok(Some(end(-libc::ENOBUFS, None)));
                };
                self.stats.system_calls += 1;
                let space = buf.spare_capacity();
                // SAFETY: `space` is writable for its length.
                let result = check(unsafe {
                    libc::recv(
                        fd,
                        space.as_mut_ptr().cast(),
                        space.len(),
                        libc::MSG_DONTWAIT,
                    )
                });
                match result {
                    Ok(0) => Ok(Some(end(0, None))),
                    Ok(count) => {
                        buf.set_len(count as usize);
                        Ok(Some(end(count, Some(Payload::Buf(buf)))))
                    }
                    Err(errno) if would_block(errno) => Err(()),
                    Err(errno) => Ok(Some(end(-errno, None))),
                }
            }
            Reading::Accept => {
                self.stats.system_calls += 1;
                // SAFETY: no address is asked for, so null pointers are allowed.
                let result = check(unsafe {
                    libc::accept4(
                        fd,
                        std::ptr::null_mut(),
                        std::ptr::null_mut(),
                        libc::SOCK_CLOEXEC,
                    ) as isize
                });
                match result {
                    Ok(new) => Ok(Some(Done {
                        more: true,
                        ..end(new, None)
                    })),
                    Err(errno) if would_block(errno) => Err(()),
                    Err(errno) => Ok(Some(end(-errno, None))),
                }
            }
            // Served in batches.
            Reading::RecvMsg(_) => Err(()),
        }
    }

    /// One batch of datagrams; the rest of a flood waits for the next turn.
    fn receive_datagrams(
        &mut self,
        entry: &mut Entry,
        source: Source,
        token: u64,
        done: &mut Vec<Done>,
    ) {
        self.stats.system_calls += 1;
        let Some(Some(local)) = self.sources.get(source.0) else {
            return;
        };
        let received = self
            .batch
            .receive(entry.fd, || local.acquire(), token, done);
        match received {
            // A batch that is not full has emptied the socket; the next datagram is a new edge.
            Ok(more) => entry.readable = more,
            Err(errno) if would_block(errno) => entry.readable = false,
            Err(errno) => {
                // Also for an error that the network reports: the receive is started again.
                self.stats.no_buffers += u64::from(errno == libc::ENOBUFS);
                done.push(Done::failed(token, errno, None));
                return;
            }
        }
        entry.reading = Some((Reading::RecvMsg(source), token));
    }

    pub(crate) fn wait_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.ready.is_empty() && self.ended.is_empty()
    }

    pub(crate) fn take_msg(&mut self) -> Box<Msg> {
        self.spare_msgs.pop().unwrap_or_else(Msg::new)
    }

    pub(crate) fn give_msg(&mut self, mut msg: Box<Msg>) {
        msg.clear();
        if self.spare_msgs.len() < SPARES {
            self.spare_msgs.push(msg);
        }
    }

    pub(crate) fn stats(&self) -> DriverStats {
        self.stats
    }
}

impl Writing {
    fn into_payload(self) -> Option<Payload> {
        match self {
            Self::Send { data, .. } => Some(Payload::Shared(data)),
            Self::SendMsg(msg) => Some(Payload::Msg(msg)),
            Self::Connect(address) => address.map(Payload::Addr),
            Self::Poll => None,
        }
    }
}

/// Whether receives of a new descriptor may end before it is empty.
fn in_parts(fd: BorrowedFd<'_>) -> bool {
    use rustix::net::{AddressFamily, sockopt};
    match sockopt::socket_domain(fd) {
        Ok(family) => family != AddressFamily::INET && family != AddressFamily::INET6,
        // No socket.
        Err(_) => false,
    }
}

fn end(result: i32, payload: Option<Payload>) -> Done {
    Done::new(0, result, payload)
}

fn would_block(errno: i32) -> bool {
    // EINTR cannot happen on a call that does not block; if it does, another attempt is right.
    errno == libc::EAGAIN || errno == libc::EINTR
}

fn check(result: isize) -> Result<i32, i32> {
    if result < 0 {
        return Err(io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO));
    }
    Ok(i32::try_from(result).unwrap_or(i32::MAX))
}

/// Lends the descriptor of a driver for as long as its owner is borrowed.
pub(crate) fn borrowed<T>(fd: RawFd, _owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the caller passes the owner of the driver, which keeps it open while it lives.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Takes a descriptor that an accept reported.
pub(crate) fn accepted(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just opened it for this accept, whose completion is seen once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
