//! A stream as hyper wants it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use zcn::TcpStream;

/// Bytes handed to a stream at a time.
const CHUNK: usize = 64 << 10;

pub(crate) struct Io(pub(crate) TcpStream);

impl Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut buf) = ready!(self.0.poll_recv(context)).map_err(io::Error::from)? else {
            return Poll::Ready(Ok(()));
        };
        let count = buf.len().min(into.remaining());
        into.put_slice(&buf[..count]);
        buf.advance(count);
        self.0.unread(buf);
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A stream that is writable takes whatever it is given.
        ready!(self.0.poll_writable(context)).map_err(io::Error::from)?;
        let count = bytes.len().min(CHUNK);
        let mut chunk = Some(Bytes::copy_from_slice(&bytes[..count]).into());
        ready!(self.0.poll_send(context, &mut chunk)).map_err(io::Error::from)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(context).map_err(io::Error::from)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shutdown();
        Poll::Ready(Ok(()))
    }
}
