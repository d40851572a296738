//! The face of a stream for tasks: what they wait for.

use std::io;
use std::task::{Context, Poll};

use zcn_pool::Buf;

use crate::reactor::Reactor;
use crate::reactor::socket::Socket;
use crate::reactor::stream::{Closing, Receive, Shut, Stream};
use crate::table::Key;

/// Wakers kept for one stream's queue before they are all woken to make room.
const WRITERS_MAX: usize = 32;

impl Reactor {
    /// The next buffer for a task, the end of the stream (`None`), or the error it died of.
    pub(crate) fn poll_recv(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Buf>>> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Some(buf) = stream.arrived.pop_front() {
            return Poll::Ready(Ok(Some(buf)));
        }
        if stream.eof {
            return Poll::Ready(Ok(None));
        }
        if let Some(errno) = stream.error {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if stream.closing != Closing::No {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if let Socket::Stack(_) = stream.socket {
            return self.poll_stack(key, context);
        }
        stream.read_waker = Some(context.waker().clone());
        if stream.receive == Receive::Idle {
            stream.receive = Receive::Listed;
            self.list(key);
        }
        Poll::Pending
    }

    /// Waits until there is something to receive, the end included.
    pub(crate) fn poll_readable(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if !stream.arrived.is_empty() || stream.eof {
            return Poll::Ready(Ok(()));
        }
        if let Some(errno) = stream.error {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if stream.closing != Closing::No {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        stream.read_waker = Some(context.waker().clone());
        match &stream.socket {
            Socket::Stack(socket) if socket.is_readable() => return Poll::Ready(Ok(())),
            Socket::Stack(_) => stream.receive = Receive::Armed,
            Socket::Kernel(_) if stream.receive == Receive::Idle => {
                stream.receive = Receive::Listed;
                self.list(key);
            }
            Socket::Kernel(_) => {}
        }
        Poll::Pending
    }

    /// Room in the send queue for a task, or the error the stream died of.
    pub(crate) fn poll_writable(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_queue(key, context, |stream| !stream.full)
    }

    /// Waits until the kernel has taken everything queued.
    pub(crate) fn poll_flushed(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_queue(key, context, |stream| {
            stream.unsent == 0 && stream.shut != Shut::Wanted
        })
    }

    fn poll_queue(
        &mut self,
        key: Key,
        context: &mut Context<'_>,
        ready: fn(&Stream) -> bool,
    ) -> Poll<io::Result<()>> {
        let Some(stream) = self.streams.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Some(errno) = stream.error {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if stream.closing != Closing::No {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if ready(stream) {
            return Poll::Ready(Ok(()));
        }
        let wakers = &mut stream.write_wakers;
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            if wakers.len() >= WRITERS_MAX {
                // Those of futures long dropped, most likely; a live one registers again.
                self.wakers.append(wakers);
            }
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}
