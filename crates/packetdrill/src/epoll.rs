//! epoll(7) over the sockets here.

use std::collections::BTreeMap;

use libc::c_int;

use crate::core::Core;
use crate::descriptor;
use crate::errno::{Errno, Result, WOULD_BLOCK};

/// What is told whether it was asked for or not.
const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
const EDGE: u32 = libc::EPOLLET as u32;
const ONE_SHOT: u32 = libc::EPOLLONESHOT as u32;

#[derive(Clone, Copy, Debug)]
struct Interest {
    events: u32,
    data: u64,
    /// The socket's edges when it was last told of; edges only.
    told: Option<Edges>,
}

/// How often a socket had something new: to read, room, or what everybody is woken for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Edges {
    pub(crate) input: u64,
    pub(crate) output: u64,
    /// It is connected, ended or failed, or its error queue has something.
    pub(crate) other: u64,
}

impl Edges {
    /// Whether something came since `told` that wakes who waits for `events`.
    fn wakes(&self, told: Edges, events: u32) -> bool {
        let waits = |mask: c_int| events & mask.cast_unsigned() != 0;
        self.other != told.other
            || self.input != told.input && waits(libc::EPOLLIN | libc::EPOLLRDNORM | libc::EPOLLPRI)
            || self.output != told.output && waits(libc::EPOLLOUT | libc::EPOLLWRNORM)
    }
}

/// An instance, by descriptor.
#[derive(Debug, Default)]
pub(crate) struct Epoll {
    interests: BTreeMap<c_int, Interest>,
}

impl Core {
    /// epoll_create(2)
    pub(crate) fn epoll_create(&mut self, size: c_int) -> Result<c_int> {
        if size <= 0 {
            return Err(Errno(libc::EINVAL));
        }
        let fd = descriptor::open()?;
        self.epolls.insert(fd, Epoll::default());
        Ok(fd)
    }

    /// epoll_ctl(2)
    pub(crate) fn epoll_control(
        &mut self,
        epoll: c_int,
        operation: c_int,
        fd: c_int,
        event: Option<(u32, u64)>,
    ) -> Result<()> {
        let known = self.sockets.contains_key(&fd);
        let epoll = self.epolls.get_mut(&epoll).ok_or(Errno(libc::EBADF))?;
        if !known {
            return Err(Errno(libc::EBADF));
        }
        let present = epoll.interests.contains_key(&fd);
        match operation {
            libc::EPOLL_CTL_ADD if present => return Err(Errno(libc::EEXIST)),
            libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL if !present => {
                return Err(Errno(libc::ENOENT));
            }
            libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD => {
                let (events, data) = event.ok_or(Errno(libc::EFAULT))?;
                let interest = Interest {
                    events: events | ALWAYS,
                    data,
                    told: None,
                };
                epoll.interests.insert(fd, interest);
            }
            libc::EPOLL_CTL_DEL => drop(epoll.interests.remove(&fd)),
            _ => return Err(Errno(libc::EINVAL)),
        }
        Ok(())
    }

    /// Tries epoll_wait(2): events and data, at most `max`.
    pub(crate) fn epoll_poll(&mut self, epoll: c_int, max: usize) -> Result<Vec<(u32, u64)>> {
        let entry = self.epolls.get(&epoll).ok_or(Errno(libc::EBADF))?;
        let interests: Vec<_> = entry.interests.iter().map(|(fd, i)| (*fd, *i)).collect();
        let mut told = Vec::new();
        for (fd, mut interest) in interests {
            if told.len() == max {
                break;
            }
            // The low bits of EPOLL* are those of POLL*.
            let ready = u32::from(self.readiness(fd).cast_unsigned());
            let ready = ready & (interest.events | ALWAYS);
            let edges = self.sockets.get(&fd).map(|socket| socket.edges);
            let silent = interest.events & !(EDGE | ONE_SHOT) == 0;
            let woken = match (interest.told, edges) {
                (Some(told), Some(edges)) => edges.wakes(told, interest.events),
                _ => true,
            };
            let old_edge = interest.events & EDGE != 0 && !woken;
            if ready == 0 || silent || old_edge {
                continue;
            }
            told.push((ready, interest.data));
            interest.told = edges;
            if interest.events & ONE_SHOT != 0 {
                interest.events &= EDGE | ONE_SHOT;
            }
            if let Some(entry) = self.epolls.get_mut(&epoll) {
                entry.interests.insert(fd, interest);
            }
        }
        if told.is_empty() {
            return Err(WOULD_BLOCK);
        }
        Ok(told)
    }

    /// A descriptor is closed, or begins anew.
    pub(crate) fn forget(&mut self, fd: c_int) {
        for epoll in self.epolls.values_mut() {
            epoll.interests.remove(&fd);
        }
    }
}
