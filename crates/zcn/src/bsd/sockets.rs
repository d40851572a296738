//! The table of sockets by number.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use zcn_pool::{Buf, SharedBuf};

use super::mux::{Interest, Mux, Signal};
use crate::net::half::Net;
use crate::net::listener::TcpListener;
use crate::net::socket::{ConnectOptions, ListenOptions};
use crate::net::stream::TcpStream;
use crate::net::udp::UdpSocket;
use crate::net::udp_options::UdpOptions;
use crate::reactor::datagram::Datagram;

/// Names a socket of a [`Sockets`]: the lowest free number, as a descriptor. No descriptor of the
/// kernel's.
pub type SocketNumber = i32;

/// Kinds of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

type Connecting = Pin<Box<dyn Future<Output = crate::Result<TcpStream>>>>;

enum State {
    /// Neither bound nor connected: a stream remembers where to bind to.
    Fresh(Kind, Option<SocketAddr>),
    Listener(TcpListener),
    Connecting(Connecting, SocketAddr),
    Stream(TcpStream),
    Datagram(UdpSocket),
    /// A connect that failed, with its errno until that is taken.
    Failed(Option<i32>),
}

struct Entry {
    state: State,
    watch: Option<(Arc<Signal>, Interest)>,
}

/// Sockets by number.
#[derive(Default)]
pub(super) struct Table {
    entries: Vec<Option<Entry>>,
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// The answer of a call that never waits.
fn now<T>(polled: Poll<crate::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(answer) => answer.map_err(io::Error::from),
        Poll::Pending => Err(errno(libc::EAGAIN)),
    }
}

impl Entry {
    fn waker(&self) -> Waker {
        match &self.watch {
            Some((signal, _)) => Waker::from(signal.clone()),
            None => Waker::noop().clone(),
        }
    }

    /// Takes a connect as far as it has come.
    fn advance(&mut self, waker: &Waker) {
        let State::Connecting(connecting, _) = &mut self.state else {
            return;
        };
        match connecting.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Pending => {}
            Poll::Ready(Ok(stream)) => self.state = State::Stream(stream),
            Poll::Ready(Err(error)) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                self.state = State::Failed(Some(errno));
            }
        }
    }

    fn readiness(&mut self, waker: &Waker, interest: Interest) -> Interest {
        self.advance(waker);
        let mut context = Context::from_waker(waker);
        let mut ready = Interest::NONE;
        let mut add = |polled: Poll<crate::Result<()>>, what: Interest| match polled {
            Poll::Ready(Ok(())) => ready |= what,
            Poll::Ready(Err(_)) => ready |= what | Interest::ERROR,
            Poll::Pending => {}
        };
        let (reads, writes) = (
            interest.contains(Interest::READABLE),
            interest.contains(Interest::WRITABLE),
        );
        match &self.state {
            State::Listener(listener) if reads => {
                add(listener.poll_acceptable(&mut context), Interest::READABLE);
            }
            State::Stream(stream) => {
                if reads {
                    add(stream.poll_readable(&mut context), Interest::READABLE);
                }
                if writes {
                    add(stream.poll_writable(&mut context), Interest::WRITABLE);
                }
            }
            State::Datagram(socket) => {
                if reads {
                    add(socket.poll_readable(&mut context), Interest::READABLE);
                }
                if writes {
                    add(socket.poll_writable(&mut context), Interest::WRITABLE);
                }
            }
            State::Failed(_) => ready |= interest | Interest::ERROR,
            State::Fresh(..) | State::Listener(_) | State::Connecting(..) => {}
        }
        ready
    }
}

impl Table {
    fn get(&mut self, socket: SocketNumber) -> io::Result<&mut Entry> {
        usize::try_from(socket)
            .ok()
            .and_then(|index| self.entries.get_mut(index)?.as_mut())
            .ok_or_else(|| errno(libc::EBADF))
    }

    fn insert(&mut self, state: State) -> io::Result<SocketNumber> {
        let free = self.entries.iter().position(Option::is_none);
        let index = free.unwrap_or(self.entries.len());
        let socket = SocketNumber::try_from(index).map_err(|_| errno(libc::EMFILE))?;
        if index == self.entries.len() {
            self.entries.push(None);
        }
        self.entries[index] = Some(Entry { state, watch: None });
        Ok(socket)
    }

    pub(super) fn watch(
        &mut self,
        socket: SocketNumber,
        interest: Interest,
        signal: Arc<Signal>,
    ) -> io::Result<()> {
        let entry = self.get(socket)?;
        if entry.watch.is_some() {
            return Err(errno(libc::EEXIST));
        }
        entry.watch = Some((signal, interest));
        Ok(())
    }

    pub(super) fn change(
        &mut self,
        socket: SocketNumber,
        interest: Interest,
    ) -> io::Result<Arc<Signal>> {
        match &mut self.get(socket)?.watch {
            Some((signal, wanted)) => {
                *wanted = interest;
                Ok(signal.clone())
            }
            None => Err(errno(libc::ENOENT)),
        }
    }

    pub(super) fn unwatch(&mut self, socket: SocketNumber) -> io::Result<()> {
        match self.get(socket)?.watch.take() {
            Some(_) => Ok(()),
            None => Err(errno(libc::ENOENT)),
        }
    }

    /// A multiplexer is gone.
    pub(super) fn leave(&mut self, is_of: impl Fn(&Signal) -> bool) {
        for entry in self.entries.iter_mut().flatten() {
            entry.watch.take_if(|(signal, _)| is_of(signal));
        }
    }

    /// What a watched socket is ready for; nothing if it is another one by now.
    pub(super) fn look(&mut self, signal: &Arc<Signal>, waker: &Waker) -> Interest {
        let Ok(entry) = self.get(signal.socket) else {
            return Interest::NONE;
        };
        match &entry.watch {
            Some((own, interest)) if Arc::ptr_eq(own, signal) => {
                let interest = *interest;
                entry.readiness(waker, interest)
            }
            _ => Interest::NONE,
        }
    }
}

/// Sockets of one net by number, with calls that never wait.
///
/// Errors are those of the kernel's calls of the same names, by number: `EBADF`, `EAGAIN`,
/// `EINPROGRESS`, `ENOTCONN`, `EINVAL`, … A clone is a handle of the same table.
#[derive(Clone)]
pub struct Sockets {
    net: Net,
    table: Rc<RefCell<Table>>,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets")
            .field("net", &self.net)
            .finish_non_exhaustive()
    }
}

impl Sockets {
    /// An empty table of sockets on this net.
    pub fn new(net: &Net) -> Self {
        Self {
            net: net.clone(),
            table: Rc::default(),
        }
    }

    /// A multiplexer for sockets of this table.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn mux(&self) -> io::Result<Mux> {
        Mux::new(self.table.clone())
    }

    /// A new socket.
    ///
    /// # Errors
    /// `EMFILE`: there are 2^31 already.
    pub fn socket(&self, kind: Kind) -> io::Result<SocketNumber> {
        self.table.borrow_mut().insert(State::Fresh(kind, None))
    }

    fn with<T>(
        &self,
        socket: SocketNumber,
        call: impl FnOnce(&mut Entry, &Waker) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut table = self.table.borrow_mut();
        let entry = table.get(socket)?;
        let waker = entry.waker();
        entry.advance(&waker);
        call(entry, &waker)
    }

    /// Binds to an address; port 0 picks a free one. A stream socket is bound when it listens or
    /// connects, which tells whether the address is to be had.
    ///
    /// # Errors
    /// The address is in use or not this net's; `EINVAL` for a socket that is bound already.
    pub fn bind(&self, socket: SocketNumber, address: SocketAddr) -> io::Result<()> {
        self.bind_with(socket, address, &UdpOptions::default())
    }

    /// [`bind`](Self::bind), with options for a datagram socket.
    ///
    /// # Errors
    /// As there.
    pub fn bind_with(
        &self,
        socket: SocketNumber,
        address: SocketAddr,
        options: &UdpOptions,
    ) -> io::Result<()> {
        self.with(socket, |entry, _| {
            match &mut entry.state {
                State::Fresh(Kind::Stream, local @ None) => *local = Some(address),
                State::Fresh(Kind::Datagram, None) => {
                    entry.state = State::Datagram(self.net.udp_bind(address, options)?);
                }
                _ => return Err(errno(libc::EINVAL)),
            }
            Ok(())
        })
    }

    /// Listens for connections, of which `backlog` may wait.
    ///
    /// # Errors
    /// `EDESTADDRREQ`: it was not bound; as [`bind`](Self::bind) otherwise.
    pub fn listen(&self, socket: SocketNumber, backlog: u32) -> io::Result<()> {
        let options = ListenOptions {
            backlog,
            ..ListenOptions::default()
        };
        self.listen_with(socket, &options)
    }

    /// [`listen`](Self::listen) with options.
    ///
    /// # Errors
    /// As there.
    pub fn listen_with(&self, socket: SocketNumber, options: &ListenOptions) -> io::Result<()> {
        self.with(socket, |entry, _| {
            let address = match entry.state {
                State::Fresh(Kind::Stream, Some(address)) => address,
                State::Fresh(Kind::Stream, None) => return Err(errno(libc::EDESTADDRREQ)),
                State::Fresh(Kind::Datagram, _) | State::Datagram(_) => {
                    return Err(errno(libc::EOPNOTSUPP));
                }
                _ => return Err(errno(libc::EINVAL)),
            };
            entry.state = State::Listener(self.net.tcp_listen(address, options)?);
            Ok(())
        })
    }

    /// The next connection, and its peer.
    ///
    /// # Errors
    /// `EAGAIN`: none is waiting; `EINVAL`: it does not listen.
    pub fn accept(&self, socket: SocketNumber) -> io::Result<(SocketNumber, SocketAddr)> {
        let (stream, peer) = self.with(socket, |entry, waker| match &entry.state {
            State::Listener(listener) => now(listener.poll_accept(&mut Context::from_waker(waker))),
            _ => Err(errno(libc::EINVAL)),
        })?;
        let accepted = self.table.borrow_mut().insert(State::Stream(stream))?;
        Ok((accepted, peer))
    }

    /// Connects a stream socket, or fixes the peer of a datagram socket.
    ///
    /// # Errors
    /// `EINPROGRESS`: a stream socket is writable when it is connected, or has failed
    /// ([`take_error`](Self::take_error)); `EALREADY`, `EISCONN`; or there is no way.
    pub fn connect(&self, socket: SocketNumber, peer: SocketAddr) -> io::Result<()> {
        self.connect_with(socket, peer, ConnectOptions::default())
    }

    /// [`connect`](Self::connect) with options. Their time limit counts only while a task of the
    /// runtime could wait for it, so it is not used here.
    ///
    /// # Errors
    /// As there.
    pub fn connect_with(
        &self,
        socket: SocketNumber,
        peer: SocketAddr,
        mut options: ConnectOptions,
    ) -> io::Result<()> {
        options.timeout = None;
        self.with(socket, |entry, waker| {
            let local = match &mut entry.state {
                State::Fresh(Kind::Stream, local) => *local,
                State::Fresh(Kind::Datagram, None) => {
                    let any = match peer {
                        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
                        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
                    };
                    let bound = self.net.udp_bind(any, &UdpOptions::default())?;
                    bound.connect(peer)?;
                    entry.state = State::Datagram(bound);
                    return Ok(());
                }
                State::Datagram(socket) => return Ok(socket.connect(peer)?),
                State::Connecting(..) => return Err(errno(libc::EALREADY)),
                State::Stream(_) => return Err(errno(libc::EISCONN)),
                State::Failed(error) => {
                    return Err(errno(error.take().unwrap_or(libc::ECONNABORTED)));
                }
                _ => return Err(errno(libc::EINVAL)),
            };
            options.local = local.or(options.local);
            let net = self.net.clone();
            let connecting = async move { net.tcp_connect(peer, &options).await };
            entry.state = State::Connecting(Box::pin(connecting), peer);
            entry.advance(waker);
            match &mut entry.state {
                State::Connecting(..) => Err(errno(libc::EINPROGRESS)),
                State::Failed(error) => Err(errno(error.take().unwrap_or(libc::EIO))),
                _ => Ok(()),
            }
        })
    }

    /// Copies received bytes, or one datagram, into `into`; 0 is the end of a stream.
    ///
    /// # Errors
    /// `EAGAIN`: nothing is there; `ENOTCONN`; or what the connection died of.
    pub fn read(&self, socket: SocketNumber, into: &mut [u8]) -> io::Result<usize> {
        self.with(socket, |entry, waker| {
            let mut context = Context::from_waker(waker);
            match &entry.state {
                State::Stream(stream) => now(stream.poll_read(&mut context, into)),
                State::Datagram(socket) => {
                    let datagram = now(socket.poll_recv(&mut context))?;
                    Ok(socket.take_first(datagram, into).0)
                }
                state => Err(not_open(state)),
            }
        })
    }

    /// The next bytes of a stream in a buffer on loan, without a copy; `None` at its end.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn recv(&self, socket: SocketNumber) -> io::Result<Option<Buf>> {
        self.with(socket, |entry, waker| match &entry.state {
            State::Stream(stream) => now(stream.poll_recv(&mut Context::from_waker(waker))),
            State::Datagram(_) => Err(errno(libc::EOPNOTSUPP)),
            state => Err(not_open(state)),
        })
    }

    /// Copies the next datagram into `into` and tells its length and sender; what does not fit is
    /// lost.
    ///
    /// # Errors
    /// `EAGAIN`: nothing is there; or what the network reported.
    pub fn read_from(
        &self,
        socket: SocketNumber,
        into: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        self.with(socket, |entry, waker| match &entry.state {
            State::Datagram(socket) => {
                let datagram = now(socket.poll_recv(&mut Context::from_waker(waker)))?;
                Ok(socket.take_first(datagram, into))
            }
            State::Stream(_) => Err(errno(libc::EOPNOTSUPP)),
            state => Err(not_open(state)),
        })
    }

    /// The next datagram in a buffer on loan.
    ///
    /// # Errors
    /// As [`read_from`](Self::read_from).
    pub fn recv_from(&self, socket: SocketNumber) -> io::Result<Datagram> {
        self.with(socket, |entry, waker| match &entry.state {
            State::Datagram(socket) => now(socket.poll_recv(&mut Context::from_waker(waker))),
            State::Stream(_) => Err(errno(libc::EOPNOTSUPP)),
            state => Err(not_open(state)),
        })
    }

    /// Copies as much of `bytes` as there is room for into the send queue, and tells how much; of a
    /// datagram all or nothing.
    ///
    /// # Errors
    /// `EAGAIN`: there is no room, or no buffer to copy to; `EPIPE`, `ENOTCONN`,
    /// `EDESTADDRREQ`; or what the connection died of.
    pub fn write(&self, socket: SocketNumber, bytes: &[u8]) -> io::Result<usize> {
        self.with(socket, |entry, waker| match &entry.state {
            State::Stream(stream) => {
                now(stream.poll_writable(&mut Context::from_waker(waker)))?;
                let Some(mut buf) = self.net.inner.buffer() else {
                    // Buffers come home as sends end; the next look finds out.
                    waker.wake_by_ref();
                    return Err(errno(libc::EAGAIN));
                };
                let count = bytes.len().min(buf.capacity());
                // It fits by construction.
                let _ = buf.extend_from_slice(&bytes[..count]);
                put(stream, buf.into(), waker)?;
                Ok(count)
            }
            State::Datagram(socket) => write_datagram(socket, bytes, None, waker),
            state => Err(not_open(state)),
        })
    }

    /// Queues a slice whole, without copying it.
    ///
    /// # Errors
    /// As [`write`](Self::write); it is dropped then.
    pub fn send(&self, socket: SocketNumber, data: impl Into<SharedBuf>) -> io::Result<()> {
        self.with(socket, |entry, waker| match &entry.state {
            State::Stream(stream) => put(stream, data.into(), waker),
            State::Datagram(_) => Err(errno(libc::EOPNOTSUPP)),
            state => Err(not_open(state)),
        })
    }

    /// Sends a copy of `bytes` as one datagram to `peer`.
    ///
    /// # Errors
    /// As [`write`](Self::write); `EMSGSIZE`: it is too long.
    pub fn write_to(
        &self,
        socket: SocketNumber,
        bytes: &[u8],
        peer: SocketAddr,
    ) -> io::Result<usize> {
        self.with(socket, |entry, waker| match &entry.state {
            State::Datagram(socket) => write_datagram(socket, bytes, Some(peer), waker),
            State::Stream(_) => Err(errno(libc::EISCONN)),
            state => Err(not_open(state)),
        })
    }

    /// Ends one side of a stream or both.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn shutdown(&self, socket: SocketNumber, how: Shutdown) -> io::Result<()> {
        self.with(socket, |entry, _| match &entry.state {
            State::Stream(stream) => {
                stream.shutdown_how(how);
                Ok(())
            }
            state => Err(not_open(state)),
        })
    }

    /// Closes: what is queued still leaves. The number is free for another.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn close(&self, socket: SocketNumber) -> io::Result<()> {
        let mut table = self.table.borrow_mut();
        table.get(socket)?;
        let entry = usize::try_from(socket)
            .ok()
            .and_then(|index| table.entries.get_mut(index)?.take());
        // Dropped with nothing borrowed.
        drop(table);
        drop(entry);
        Ok(())
    }

    /// Why a connect failed (`SO_ERROR`); told once.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn take_error(&self, socket: SocketNumber) -> io::Result<Option<io::Error>> {
        self.with(socket, |entry, _| match &mut entry.state {
            State::Failed(error) => Ok(error.take().map(errno)),
            _ => Ok(None),
        })
    }

    /// Address of this end.
    ///
    /// # Errors
    /// `EINVAL` for one that has none yet.
    pub fn local_addr(&self, socket: SocketNumber) -> io::Result<SocketAddr> {
        self.with(socket, |entry, _| match &entry.state {
            State::Fresh(_, local) => local.ok_or_else(|| errno(libc::EINVAL)),
            State::Listener(listener) => Ok(listener.local_addr()),
            State::Stream(stream) => stream
                .local_addr()?
                .ip()
                .ok_or_else(|| errno(libc::ENOTCONN)),
            State::Datagram(socket) => Ok(socket.local_addr()),
            State::Connecting(..) | State::Failed(_) => Err(errno(libc::EINVAL)),
        })
    }

    /// Address of the peer.
    ///
    /// # Errors
    /// `ENOTCONN`.
    pub fn peer_addr(&self, socket: SocketNumber) -> io::Result<SocketAddr> {
        self.with(socket, |entry, _| {
            let peer = match &entry.state {
                State::Stream(stream) => stream.peer_addr()?.ip(),
                State::Datagram(socket) => socket.peer_addr(),
                State::Connecting(_, peer) => Some(*peer),
                _ => None,
            };
            peer.ok_or_else(|| errno(libc::ENOTCONN))
        })
    }

    /// What a socket is ready for now.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn readiness(&self, socket: SocketNumber) -> io::Result<Interest> {
        self.with(socket, |entry, waker| {
            Ok(entry.readiness(waker, Interest::READABLE | Interest::WRITABLE))
        })
    }

    /// A stream by its type, for what has no call here: options, `TCP_INFO`.
    ///
    /// # Errors
    /// `ENOTCONN`: it is no connected stream.
    pub fn with_stream<T>(
        &self,
        socket: SocketNumber,
        call: impl FnOnce(&TcpStream) -> T,
    ) -> io::Result<T> {
        self.with(socket, |entry, _| match &entry.state {
            State::Stream(stream) => Ok(call(stream)),
            state => Err(not_open(state)),
        })
    }
}

fn not_open(state: &State) -> io::Error {
    errno(match state {
        State::Connecting(..) => libc::EAGAIN,
        State::Failed(Some(error)) => *error,
        State::Listener(_) => libc::EINVAL,
        _ => libc::ENOTCONN,
    })
}

/// Queues a slice of a stream.
fn put(stream: &TcpStream, data: SharedBuf, waker: &Waker) -> io::Result<()> {
    now(stream.poll_send(&mut Context::from_waker(waker), &mut Some(data)))
}

fn write_datagram(
    socket: &UdpSocket,
    bytes: &[u8],
    peer: Option<SocketAddr>,
    waker: &Waker,
) -> io::Result<usize> {
    now(socket.poll_writable(&mut Context::from_waker(waker)))?;
    // There is room, so it ends at once.
    let mut sending = std::pin::pin!(socket.send_copy(bytes, peer));
    now(sending.as_mut().poll(&mut Context::from_waker(waker)))?;
    Ok(bytes.len())
}
