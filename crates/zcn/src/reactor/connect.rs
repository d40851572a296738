//! Connections being made.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, Waker};

use socket2::SockAddr;

use super::Reactor;
use super::driver::{Attached, Done};
use super::stream::{Owner, WaterMarks};
use super::token::{Class, Token, Way};
use crate::table::Key;

/// A socket whose connect has been started.
#[derive(Debug)]
pub(crate) struct Connecting {
    fd: OwnedFd,
    at: Attached,
    waker: Option<Waker>,
    /// Negative errno or 0, once it has ended.
    result: Option<i32>,
    abandoned: bool,
}

impl Reactor {
    /// Starts a connect.
    pub(crate) fn start_connect(&mut self, fd: OwnedFd, address: SockAddr) -> io::Result<Key> {
        let at = self.driver.attach(fd.as_fd())?;
        let key = self.connecting.insert(Connecting {
            fd,
            at,
            waker: None,
            result: None,
            abandoned: false,
        });
        self.driver.connect(
            at,
            address,
            Token::new(Class::Connect, Way::Out, key).encode(),
        );
        Ok(key)
    }

    pub(super) fn connected(&mut self, key: Key, done: Done) {
        let Some(connecting) = self.connecting.get_mut(key) else {
            return;
        };
        if connecting.abandoned {
            // It may have succeeded after all (rule 7); either way nobody wants it.
            if let Some(connecting) = self.connecting.remove(key) {
                self.driver.detach(connecting.at);
            }
            return;
        }
        connecting.result = Some(done.result);
        Self::wake_later(&mut self.wakers, &mut connecting.waker);
    }

    /// The connected stream, or why there is none.
    pub(crate) fn poll_connect(
        &mut self,
        key: Key,
        marks: WaterMarks,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Key>> {
        let Some(connecting) = self.connecting.get_mut(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Some(result) = connecting.result else {
            connecting.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let Some(Connecting { fd, at, .. }) = self.connecting.remove(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if result < 0 {
            self.driver.detach(at);
            return Poll::Ready(Err(io::Error::from_raw_os_error(-result)));
        }
        Poll::Ready(Ok(self.adopt_stream(fd, at, Owner::Task, marks)))
    }

    /// The owner of a connect goes away: it is cancelled and its socket closed at its end.
    pub(crate) fn abandon_connect(&mut self, key: Key) {
        let Some(connecting) = self.connecting.get_mut(key) else {
            return;
        };
        connecting.abandoned = true;
        if connecting.result.is_some() {
            if let Some(connecting) = self.connecting.remove(key) {
                self.driver.detach(connecting.at);
            }
            return;
        }
        self.driver.cancel(connecting.at);
    }
}
