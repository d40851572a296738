//! A connection, plain or TLS, and what it can be waited for with.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use thiserror::Error;
use zcn::tls::TlsStream;
use zcn::{Buf, Result, SleepUntil, TcpStream};

use crate::signal::Signal;

/// A connected stream.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// Why a wait is over.
#[derive(Debug)]
pub(crate) enum Woken {
    /// Something was received.
    Bytes(Buf),
    /// The other side has ended the connection.
    End,
    /// The bell was rung.
    Signal,
    /// It is time.
    Time,
}

/// Why nothing could be sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection has died.
    #[error(transparent)]
    Net(#[from] zcn::Error),
    /// The other side does not read.
    #[error("the other side has not read anything for {0:?}")]
    Stuck(Duration),
}

/// Ends at `deadline`, if there is one.
pub(crate) fn timer(deadline: Option<Instant>) -> SleepUntil {
    // A year is as good as never.
    zcn::sleep_until(deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(31_536_000)))
}

impl Wire {
    fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Result<Option<Buf>>> {
        match self {
            Self::Plain(stream) => stream.poll_recv(context),
            Self::Tls(stream) => stream.poll_recv(context),
        }
    }

    /// Sends all of `bytes`; an error after `limit` if the other side does not take them.
    pub(crate) async fn send(
        &self,
        bytes: &[u8],
        limit: Duration,
    ) -> std::result::Result<(), SendError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let sending = async {
            match self {
                Self::Plain(stream) => stream.send_copy(bytes).await,
                Self::Tls(stream) => stream.send_copy(bytes).await,
            }
        };
        match zcn::timeout(limit, sending).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(SendError::Stuck(limit)),
        }
    }

    /// Waits for whatever comes first.
    pub(crate) async fn wait(
        &self,
        signal: &Signal,
        heard: &mut u64,
        deadline: Option<Instant>,
    ) -> Result<Woken> {
        self.wait_or(signal, heard, pin!(timer(deadline))).await
    }

    /// The same with a [`timer`] of the caller's, which can end when there is time for that.
    pub(crate) async fn wait_or(
        &self,
        signal: &Signal,
        heard: &mut u64,
        mut time: Pin<&mut SleepUntil>,
    ) -> Result<Woken> {
        std::future::poll_fn(|context| {
            if let Poll::Ready(received) = self.poll_recv(context) {
                return Poll::Ready(received.map(|buf| buf.map_or(Woken::End, Woken::Bytes)));
            }
            if signal.poll_heard(context, heard).is_ready() {
                return Poll::Ready(Ok(Woken::Signal));
            }
            time.as_mut().poll(context).map(|()| Ok(Woken::Time))
        })
        .await
    }
}
