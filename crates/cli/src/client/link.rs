//! A connection of the client, over TCP or a Unix socket.

use std::future::poll_fn;
use std::ops::Deref;
use std::task::{Context, Poll};
use std::time::Duration;

use zcn::{Address, ConnectOptions, SharedBuf, Stream, TcpStream, UnixStream, WaterMarks};
use zcn_measure::pattern::Pattern;

use super::PATIENCE;
use crate::failure::Failure;

/// Bytes that all connections together may keep queued.
const QUEUED_BYTES: u32 = 4 << 20;
/// Bytes of one buffer to send from.
pub(crate) const BUFFER_BYTES: usize = 16 << 10;

/// A connection, and how far each direction has come.
pub(crate) struct Link {
    socket: Socket,
    pattern: Pattern,
    /// Bytes handed to the socket.
    pub(crate) sent: u64,
    /// Bytes that came back right.
    pub(crate) returned: u64,
    next: Option<SharedBuf>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Deref for Socket {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }
}

/// What one look at the receiving side found.
pub(crate) enum Arrival {
    /// So many bytes.
    Bytes(usize),
    /// The server has finished sending.
    End,
}

impl Link {
    /// Connection `number` of `connections`.
    pub(crate) async fn connect(
        address: &Address,
        number: usize,
        connections: u32,
    ) -> Result<Self, Failure> {
        let socket = match address {
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
            Address::Ip(address) => {
                let high = (QUEUED_BYTES / connections).clamp(16 << 10, 256 << 10);
                let mut options = ConnectOptions::default();
                options.timeout = Some(PATIENCE);
                options.marks = WaterMarks {
                    high,
                    low: high / 4,
                };
                Socket::Tcp(TcpStream::connect_with(*address, &options).await?)
            }
        };
        Ok(Self {
            socket,
            pattern: Pattern::new(number),
            sent: 0,
            returned: 0,
            next: None,
        })
    }

    /// Sends the stream on until `sent` is `goal` or the socket takes no more;
    /// true at the goal.
    pub(crate) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        goal: u64,
    ) -> Poll<Result<(), Failure>> {
        loop {
            if self.next.is_none() {
                if self.sent >= goal {
                    return Poll::Ready(Ok(()));
                }
                let Some(mut buf) = zcn::buffer() else {
                    // They come home as sends complete: this connection's, or
                    // another's, of which it is not told.
                    if self.socket.poll_flush(context)?.is_ready() {
                        context.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                };
                let count = (goal - self.sent).min(buf.capacity() as u64) as usize;
                buf.set_len(count);
                self.pattern.fill(self.sent, &mut buf);
                self.sent += count as u64;
                self.next = Some(buf.into());
            }
            match self.socket.poll_send(context, &mut self.next) {
                Poll::Ready(outcome) => outcome?,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Receives once, and compares with what was sent when `check`.
    pub(crate) fn poll_arrival(
        &mut self,
        context: &mut Context<'_>,
        check: bool,
    ) -> Poll<Result<Arrival, Failure>> {
        let buf = match self.socket.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(received) => match received? {
                None => return Poll::Ready(Ok(Arrival::End)),
                Some(buf) => buf,
            },
        };
        if check {
            let right = match self.returned + buf.len() as u64 > self.sent {
                true => Err(self.sent),
                false => self.pattern.check(self.returned, &buf),
            };
            if let Err(offset) = right {
                return Poll::Ready(Err(wrong(offset)));
            }
        }
        self.returned += buf.len() as u64;
        Poll::Ready(Ok(Arrival::Bytes(buf.len())))
    }

    /// Sends one message and takes its echo, both at the same time, so that a
    /// message may be larger than what fits between the two ends.
    pub(crate) async fn exchange(&mut self, bytes: usize) -> Result<(), Failure> {
        let goal = self.sent + bytes as u64;
        poll_fn(|context| {
            let sent = self.poll_fill(context, goal)?;
            while self.returned < goal {
                match self.poll_arrival(context, true)? {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Arrival::Bytes(_)) => {}
                    Poll::Ready(Arrival::End) => {
                        return Poll::Ready(Err(closed(self.returned)));
                    }
                }
            }
            // An echo cannot be complete before the message is.
            sent.map(Ok)
        })
        .await
    }

    /// Ends the sending side after what is queued.
    pub(crate) fn finish(&self) {
        self.socket.shutdown();
    }

    /// Bytes that the kernel has not taken yet.
    pub(crate) fn unsent(&self) -> usize {
        self.socket.unsent()
    }
}

/// The server sent something else back.
fn wrong(offset: u64) -> Failure {
    Failure::new(format!(
        "the byte at offset {offset} came back wrong, or was never sent"
    ))
    .remedy("is the server an echo server, such as `zcn echo`?")
}

/// The server closed a connection in use.
pub(crate) fn closed(returned: u64) -> Failure {
    Failure::new(format!(
        "the server closed the connection after {returned} bytes"
    ))
    .remedy("is the server an echo server, such as `zcn echo`?")
}

/// Nothing moved for too long.
pub(crate) fn silent(patience: Duration) -> Failure {
    Failure::new(format!(
        "nothing came from the server within {} s",
        patience.as_secs()
    ))
    .remedy("is the server an echo server, such as `zcn echo`, and not overloaded?")
}
