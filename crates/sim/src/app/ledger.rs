//! What was sent and what was received, told by both ends of every stream.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use zcn_stack::tcp::TcpError;

/// One direction of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    /// Decides what its bytes are.
    pub(crate) key: u64,
    /// Bytes that the sending stack accepted.
    pub(crate) accepted: u64,
    /// The sender ended it.
    pub(crate) ended: bool,
    /// A server has taken the other end of its connection.
    pub(crate) served: bool,
}

/// A connection that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The end that was told.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// What it was told.
    pub error: TcpError,
}

#[derive(Debug, Default)]
struct Inner {
    streams: Vec<Stream>,
    /// The newest stream from the first address to the second.
    newest: BTreeMap<(SocketAddr, SocketAddr), usize>,
    failures: Vec<Failure>,
    delivered: u64,
    completed: u64,
}

/// The book that all programs of a run keep. Clones are the same book.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Rc<RefCell<Inner>>);

impl Ledger {
    /// A connection's sending side begins.
    pub(crate) fn open(&self, local: SocketAddr, remote: SocketAddr) -> usize {
        let mut inner = self.0.borrow_mut();
        let index = inner.streams.len();
        inner.streams.push(Stream {
            key: (index as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93),
            ..Stream::default()
        });
        inner.newest.insert((local, remote), index);
        index
    }

    /// What the other end of a connection sends.
    pub(crate) fn from(&self, remote: SocketAddr, local: SocketAddr) -> Option<usize> {
        self.0.borrow().newest.get(&(remote, local)).copied()
    }

    pub(crate) fn stream(&self, index: usize) -> Stream {
        self.0.borrow().streams[index].clone()
    }

    /// A server takes the other end; false if one did before.
    pub(crate) fn serve(&self, index: usize) -> bool {
        let served = &mut self.0.borrow_mut().streams[index].served;
        !std::mem::replace(served, true)
    }

    pub(crate) fn accept(&self, index: usize, bytes: u64) {
        self.0.borrow_mut().streams[index].accepted += bytes;
    }

    pub(crate) fn end(&self, index: usize) {
        self.0.borrow_mut().streams[index].ended = true;
    }

    pub(crate) fn deliver(&self, bytes: u64) {
        self.0.borrow_mut().delivered += bytes;
    }

    pub(crate) fn complete(&self) {
        self.0.borrow_mut().completed += 1;
    }

    pub(crate) fn fail(&self, local: SocketAddr, remote: SocketAddr, error: TcpError) {
        self.0.borrow_mut().failures.push(Failure {
            local,
            remote,
            error,
        });
    }

    /// Bytes that programs received, each of them checked.
    pub fn delivered(&self) -> u64 {
        self.0.borrow().delivered
    }

    /// Ends of connections that did all they were to do.
    pub fn completed(&self) -> u64 {
        self.0.borrow().completed
    }

    /// Established connections that failed.
    pub fn failures(&self) -> Vec<Failure> {
        self.0.borrow().failures.clone()
    }
}
