//! The driver on io_uring.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::SockAddr;
use zcn_pool::{BufferPool, SharedBuf};
use zcn_sys::eventfd::EventFd;
use zcn_uring::{Consumption, GroupId, Kind, Msg, NewFd, Op, OpId, RegisterError, Ring, Target};

use super::batch::Batch;
use super::driver::{Attached, Done, DriverStats, Source, Wait};
use super::files::{FileTable, NO_PLACE};
use crate::config::Config;
use crate::error::{Action, Error};

/// io_uring: operations go into the ring, one `io_uring_enter` a turn starts them all.
#[derive(Debug)]
pub(crate) struct UringDriver {
    ring: Ring,
    files: FileTable,
    /// Buffer group of each source.
    groups: Vec<GroupId>,
    /// Sources that were removed; their groups are stale.
    vacant: Vec<Source>,
    /// Operations that ended without the ring, reported in the next turn: they could not even be
    /// pushed, or were done on the spot.
    ended: Vec<Done>,
    batch: Batch,
    /// System calls beside the ring's own.
    other_calls: u64,
    rearmed: u64,
    /// Signalled for a thread that sleeps elsewhere; from the first that asked for it on.
    signal: Option<EventFd>,
}

impl UringDriver {
    pub(crate) fn new(config: &Config, pool: &BufferPool) -> Result<Self, SetupFailure> {
        let mut builder = Ring::builder().entries(config.ring_entries);
        if let Some(time) = config.napi {
            builder = builder.napi_busy_poll(time);
        }
        let mut ring = builder.build().map_err(SetupFailure::Ring)?;
        let files = FileTable::new(&mut ring);
        let mut driver = Self {
            ring,
            files,
            groups: Vec::new(),
            vacant: Vec::new(),
            ended: Vec::new(),
            batch: Batch::default(),
            other_calls: 0,
            rearmed: 0,
            signal: None,
        };
        driver
            .add_source(pool, config.receive_buffers)
            .map_err(|error| {
                SetupFailure::Pool(Error::setting(Action::Start, error.to_string()))
            })?;
        Ok(driver)
    }

    #[inline]
    fn push(&mut self, op: Op) {
        if let Err(error) = self.ring.push(op) {
            self.refuse(error);
        }
    }

    #[cold]
    fn refuse(&mut self, error: zcn_uring::PushError) {
        let token = error.op.user_token();
        self.ended
            .push(Done::failed(token, libc::EBUSY, error.op.into_payload()));
    }

    // As fallible as the epoll driver's.
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)]
    pub(crate) fn attach(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attached> {
        Ok(Attached {
            fd: fd.as_raw_fd(),
            place: NO_PLACE,
        })
    }

    pub(crate) fn detach(&mut self, at: Attached) {
        if at.place != NO_PLACE {
            self.other_calls += 1;
            self.files.remove(&mut self.ring, at.place);
        }
    }

    pub(crate) fn favour(&mut self, fd: BorrowedFd<'_>, at: &mut Attached) {
        if at.place == NO_PLACE {
            self.other_calls += 1;
            at.place = self.files.install(&mut self.ring, fd);
        }
    }

    /// How an operation of a stream names its socket.
    #[inline]
    fn target(at: Attached) -> Target {
        match at.place {
            NO_PLACE => Target::Fd(at.fd),
            place => Target::Direct(place),
        }
    }

    #[inline]
    pub(crate) fn recv(&mut self, at: Attached, source: Source, likely: bool, token: u64) {
        let op = Op::recv_from_group(Self::target(at), self.groups[source.0]).token(token);
        self.push(if likely { op } else { op.poll_first() });
    }

    #[inline]
    pub(crate) fn send(&mut self, at: Attached, data: SharedBuf, zero_copy: bool, token: u64) {
        let target = Self::target(at);
        let op = if zero_copy && self.ring.features().send_zc {
            Op::send_zc(target, data)
        } else {
            Op::send(target, data)
        };
        self.push(op.token(token));
    }

    pub(crate) fn sendmsg(&mut self, at: Attached, msg: Box<Msg>, zero_copy: bool, token: u64) {
        let target = Self::target(at);
        let op = if zero_copy && self.ring.features().sendmsg_zc {
            Op::sendmsg_zc(target, msg)
        } else {
            Op::sendmsg(target, msg)
        };
        self.push(op.token(token));
    }

    pub(crate) fn send_datagrams(
        &mut self,
        at: Attached,
        msgs: &mut VecDeque<Box<Msg>>,
        token: u64,
    ) {
        self.other_calls += self.batch.send(at.fd, msgs, token, &mut self.ended);
        for msg in msgs.drain(..) {
            self.sendmsg(at, msg, false, token);
        }
    }

    pub(crate) fn accept(&mut self, at: Attached, token: u64) {
        self.push(Op::accept_multi(Target::Fd(at.fd), NewFd::Ordinary).token(token));
    }

    pub(crate) fn connect(&mut self, at: Attached, address: SockAddr, token: u64) {
        self.push(Op::connect(Target::Fd(at.fd), address).token(token));
    }

    pub(crate) fn recvmsg(&mut self, at: Attached, source: Source, token: u64) -> OpId {
        let template = self.ring.take_msg();
        let group = self.groups[source.0];
        let op = Op::recvmsg_multi(Target::Fd(at.fd), group, template).token(token);
        self.ring.push(op).unwrap_or_else(|error| {
            self.refuse(error);
            OpId::NONE
        })
    }

    pub(crate) fn cancel_recvmsg(&mut self, _at: Attached, op: OpId) {
        // Without a slot for the cancel the receive goes on until its buffers are used up.
        if let Ok(Some(cancel)) = self.ring.cancel(op, 0) {
            self.ring.hide(cancel);
        }
    }

    pub(crate) fn poll_in(&mut self, at: Attached, token: u64) {
        self.push(Op::poll_multi(Target::Fd(at.fd), libc::POLLIN).token(token));
    }

    pub(crate) fn poll_once(&mut self, at: Attached, events: i16, token: u64) {
        self.push(Op::poll(Target::Fd(at.fd), events).token(token));
    }

    pub(crate) fn cancel(&mut self, at: Attached) {
        if let Ok(id) = self.ring.push(Op::cancel_target(Target::Fd(at.fd))) {
            self.ring.hide(id);
        }
    }

    pub(crate) fn add_source(
        &mut self,
        pool: &BufferPool,
        entries: u16,
    ) -> Result<Source, RegisterError> {
        let group = self
            .ring
            .register_group(entries, pool.local(), Consumption::Whole)?;
        let source = self.vacant.pop().unwrap_or_else(|| {
            self.groups.push(group);
            Source(self.groups.len() - 1)
        });
        self.groups[source.0] = group;
        Ok(source)
    }

    pub(crate) fn remove_source(&mut self, source: Source) {
        self.ring.unregister_group(self.groups[source.0]);
        self.vacant.push(source);
    }

    pub(crate) fn available(&mut self, source: Source) -> usize {
        self.ring.refill_groups();
        self.ring
            .group_stats(self.groups[source.0])
            .map_or(0, |stats| stats.available as usize)
    }

    pub(crate) fn turn(&mut self, wait: Wait, done: &mut Vec<Done>) -> io::Result<()> {
        done.append(&mut self.ended);
        match wait {
            _ if !done.is_empty() => self.ring.submit()?,
            Wait::No => self.ring.submit()?,
            Wait::Forever => self.ring.wait(1, None)?,
            Wait::AtMost(limit) => self.ring.wait(1, Some(limit))?,
        }
        let mut rearmed = 0;
        self.ring.completions().for_each(|completion| {
            if completion.kind() == Kind::Cancel {
                return;
            }
            rearmed += u64::from(completion.kind().is_multishot() && !completion.more());
            done.push(Done {
                token: completion.token,
                result: completion.raw_result(),
                more: completion.more(),
                notification: completion.notification(),
                copied: completion.copied(),
                nonempty: completion.nonempty(),
                payload: completion.payload,
            });
        });
        self.rearmed += rearmed;
        Ok(())
    }

    #[inline]
    pub(crate) fn has_news(&mut self) -> bool {
        !self.ended.is_empty() || self.ring.queued() > 0 || self.ring.has_news()
    }

    pub(crate) fn lent(&self, source: Source) -> usize {
        let stats = self.ring.group_stats(self.groups[source.0]);
        stats.map_or(0, |stats| stats.available as usize)
    }

    pub(crate) fn wait_fd(&mut self) -> io::Result<RawFd> {
        if let Some(signal) = &self.signal {
            return Ok(signal.as_raw_fd());
        }
        let signal = EventFd::new()?;
        self.ring.register_eventfd(signal.as_fd())?;
        Ok(self.signal.insert(signal).as_raw_fd())
    }

    /// Forgets signals of what has been reaped since.
    pub(crate) fn before_waiting(&self) -> io::Result<()> {
        self.signal
            .as_ref()
            .map_or(Ok(()), |signal| signal.drain().map(drop))
    }

    pub(crate) fn take_msg(&mut self) -> Box<Msg> {
        self.ring.take_msg()
    }

    pub(crate) fn give_msg(&mut self, msg: Box<Msg>) {
        self.ring.give_msg(msg);
    }

    pub(crate) fn stats(&self) -> DriverStats {
        let counters = self.ring.counters();
        DriverStats {
            system_calls: counters.enters + self.other_calls,
            operations: counters.submitted,
            stale_completions: counters.stale,
            orphaned: counters.orphaned,
            overflows: counters.cq_overflows,
            no_buffers: counters.no_buffers,
            short_sends: counters.short_sends,
            zero_copy_copied: counters.zc_copied,
            rearmed: self.rearmed,
        }
    }
}

/// Why the ring could not be used.
#[derive(Debug)]
pub(crate) enum SetupFailure {
    Ring(zcn_uring::SetupError),
    Pool(Error),
}
