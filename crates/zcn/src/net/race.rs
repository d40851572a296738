//! Connecting to the first of several addresses that answers (after RFC 8305).

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::half::Net;
use super::socket::ConnectOptions;
use super::stream::TcpStream;
use crate::error::{Action, Error, Result};
use crate::runtime::time::{SleepUntil, sleep};

/// RFC 8305, section 5: how long one attempt has the field for itself.
const HEAD_START: Duration = Duration::from_millis(250);

type Attempt = Pin<Box<dyn Future<Output = Result<TcpStream>>>>;

/// Tries `addresses` in order: the next one after 250 ms, or as soon as one has failed. The first
/// to connect wins and the others are cancelled.
pub(super) async fn connect_any(
    net: &Net,
    target: &str,
    addresses: Vec<SocketAddr>,
    options: &ConnectOptions,
) -> Result<TcpStream> {
    let mut race = Race {
        waiting: addresses.into_iter(),
        running: Vec::new(),
        failed: Vec::new(),
        next: None,
    };
    poll_fn(|context| race.poll(net, target, options, context)).await
}

struct Race {
    waiting: std::vec::IntoIter<SocketAddr>,
    running: Vec<Attempt>,
    failed: Vec<Error>,
    /// When the next address's turn comes.
    next: Option<SleepUntil>,
}

impl Race {
    fn poll(
        &mut self,
        net: &Net,
        target: &str,
        options: &ConnectOptions,
        context: &mut Context<'_>,
    ) -> Poll<Result<TcpStream>> {
        loop {
            let mut failed = false;
            let mut index = 0;
            while let Some(attempt) = self.running.get_mut(index) {
                match attempt.as_mut().poll(context) {
                    Poll::Pending => index += 1,
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        self.failed.push(error);
                        drop(self.running.remove(index));
                        failed = true;
                    }
                }
            }
            let due = failed
                || match &mut self.next {
                    Some(next) => Pin::new(next).poll(context).is_ready(),
                    None => self.running.is_empty(),
                };
            if !due {
                return Poll::Pending;
            }
            self.next = None;
            match self.waiting.next() {
                Some(address) => {
                    let (net, options) = (net.clone(), options.clone());
                    self.running.push(Box::pin(
                        async move { net.tcp_connect(address, &options).await },
                    ));
                    if self.waiting.len() > 0 {
                        self.next = Some(sleep(HEAD_START));
                    }
                }
                None if self.running.is_empty() => return Poll::Ready(Err(self.failure(target))),
                None => return Poll::Pending,
            }
        }
    }

    /// The first address's error stands for all; the others are told beside it.
    fn failure(&mut self, target: &str) -> Error {
        let mut failed = std::mem::take(&mut self.failed).into_iter();
        let Some(first) = failed.next() else {
            return Error::setting(Action::Connect, "there is no address to connect to");
        };
        let others: Vec<String> = failed.map(|error| error.to_string()).collect();
        if others.is_empty() {
            return first;
        }
        let target = format!("{target} ({})", first.target());
        let hint = format!("other addresses: {}", others.join("; "));
        Error::new(Action::Connect, target, first.into()).hinted(hint)
    }
}
