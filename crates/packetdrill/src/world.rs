//! The calls of the tool, without C's pointers.

use std::time::Duration;

use libc::{c_int, c_short};
use zcn_stack::Instant;

use crate::core::Core;
use crate::descriptor;
use crate::errno::{Errno, Result, WOULD_BLOCK};
use crate::settings::Settings;
use crate::socket::{Limit, Received};
use crate::worker::{Handle, Patience};

pub(crate) const SIOCINQ: u64 = 0x541b;
pub(crate) const SIOCOUTQ: u64 = 0x5411;
pub(crate) const SIOCOUTQNSD: u64 = 0x894b;

/// What is behind the table.
#[derive(Debug)]
pub(crate) struct World {
    worker: Handle,
}

impl World {
    /// Starts a stack for the calling thread's script.
    ///
    /// # Errors
    /// What to tell the user.
    pub(crate) fn new(settings: Settings) -> core::result::Result<Self, String> {
        let worker = Handle::start(settings)?;
        Ok(Self { worker })
    }

    /// Whether a descriptor is one of ours.
    pub(crate) fn knows(&self, fd: c_int) -> bool {
        self.worker
            .call(move |core| Ok(core.sockets.contains_key(&fd)))
            .unwrap_or(false)
    }

    pub(crate) fn socket(&self, domain: c_int, kind: c_int, protocol: c_int) -> Result<c_int> {
        self.worker
            .call(move |core| core.open(domain, kind, protocol))
    }

    pub(crate) fn bind(&self, fd: c_int, address: Vec<u8>) -> Result<()> {
        self.worker.call(move |core| core.bind(fd, &address))
    }

    pub(crate) fn listen(&self, fd: c_int, backlog: c_int) -> Result<()> {
        self.worker.call(move |core| core.listen(fd, backlog))
    }

    pub(crate) fn accept(&self, fd: c_int) -> Result<(c_int, Vec<u8>)> {
        self.worker.wait(
            move |core| core.patience(fd, false, Limit::Receive),
            move |core| core.accept(fd),
        )
    }

    pub(crate) fn connect(&self, fd: c_int, address: Vec<u8>) -> Result<()> {
        let begun = self.worker.call(move |core| {
            let begun = core.connect(fd, &address);
            let patience = core.patience(fd, false, Limit::Send);
            Ok((begun, patience))
        })?;
        let under_way = [Err(Errno(libc::EINPROGRESS)), Err(Errno(libc::EALREADY))];
        if begun.1 == Patience::Never || !under_way.contains(&begun.0) {
            return begun.0;
        }
        let waited = self.worker.wait(
            move |_| begun.1,
            move |core| core.connected(fd, WOULD_BLOCK),
        );
        match waited {
            Err(WOULD_BLOCK) => Err(Errno(libc::EINPROGRESS)),
            other => other,
        }
    }

    pub(crate) fn receive(&self, fd: c_int, max: usize, flags: c_int) -> Result<Received> {
        if flags & libc::MSG_ERRQUEUE != 0 {
            return self.worker.call(move |core| core.take_notice(fd));
        }
        let dont_wait = flags & libc::MSG_DONTWAIT != 0;
        let patience = self
            .worker
            .call(move |core| Ok(core.patience(fd, dont_wait, Limit::Receive)))?;
        self.worker.wait(
            move |_| patience,
            move |core| {
                if !patience.is_over(core.now) && core.wants_more(fd, max, flags) {
                    return Err(WOULD_BLOCK);
                }
                core.receive(fd, max, flags)
            },
        )
    }

    /// Sends; `stamps` replace what the socket's SO_TIMESTAMPING asks for.
    pub(crate) fn send(
        &self,
        fd: c_int,
        bytes: Vec<u8>,
        flags: c_int,
        to: Option<Vec<u8>>,
        stamps: Option<u32>,
    ) -> Result<usize> {
        let sent = self.write(fd, bytes, flags, to)?;
        if sent > 0 {
            self.worker
                .call(move |core| core.wrote(fd, flags, stamps))?;
        }
        Ok(sent)
    }

    fn write(&self, fd: c_int, bytes: Vec<u8>, flags: c_int, to: Option<Vec<u8>>) -> Result<usize> {
        let dont_wait = flags & libc::MSG_DONTWAIT != 0;
        let mut sent = 0;
        let patience = self
            .worker
            .call(move |core| Ok(core.patience(fd, dont_wait, Limit::Send)))?;
        let waits = patience != Patience::Never;
        let connects = move |core: &mut Core| core.connects_with_data(fd, flags, waits);
        if self.worker.call(connects)? {
            let (data, to) = (bytes.clone(), to.clone());
            let begun = self
                .worker
                .call(move |core| Ok(core.connect_with(fd, &data, flags, to.as_deref())))?;
            let under_way = matches!(begun, Ok(_) | Err(Errno(libc::EINPROGRESS)));
            if patience == Patience::Never || !under_way {
                return begun;
            }
            let connected = move |core: &mut Core| core.connected(fd, WOULD_BLOCK);
            match self.worker.wait(move |_| patience, connected) {
                Err(WOULD_BLOCK) => return begun,
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            sent = begun.unwrap_or(0);
            if sent == bytes.len() {
                return Ok(sent);
            }
        }
        self.worker.wait(
            move |_| patience,
            move |core| {
                loop {
                    match core.send(fd, &bytes[sent..], flags, to.as_deref()) {
                        Ok(count) => {
                            sent += count;
                            if sent == bytes.len() || patience == Patience::Never {
                                return Ok(sent);
                            }
                        }
                        Err(WOULD_BLOCK) => {
                            if patience.is_over(core.now) && sent > 0 {
                                return Ok(sent);
                            }
                            return Err(WOULD_BLOCK);
                        }
                        // The next call tells why.
                        Err(_) if sent > 0 => return Ok(sent),
                        Err(error) => {
                            core.told_of_failure(fd);
                            return Err(error);
                        }
                    }
                }
            },
        )
    }

    /// fcntl(2): O_NONBLOCK; other commands concern the descriptor, which is real.
    pub(crate) fn nonblocking(&self, fd: c_int, set: Option<bool>) -> Result<bool> {
        self.worker.call(move |core| {
            let socket = core.socket_mut(fd)?;
            if let Some(set) = set {
                socket.nonblocking = set;
            }
            Ok(socket.nonblocking)
        })
    }

    pub(crate) fn ioctl(&self, fd: c_int, request: u64) -> Result<c_int> {
        self.worker.call(move |core| core.ioctl(fd, request))
    }

    pub(crate) fn close(&self, fd: c_int) -> Result<()> {
        let closed = self.worker.call(move |core| core.close(fd));
        match closed {
            Ok(lingering) => {
                if let Some((id, until)) = lingering {
                    // Time at its end is no failure of close.
                    let _ = self.worker.wait(
                        move |_| Patience::Until(until),
                        move |core| {
                            if core.lingers(id) {
                                Err(WOULD_BLOCK)
                            } else {
                                Ok(())
                            }
                        },
                    );
                }
                descriptor::close(fd)
            }
            // One of the tool's own.
            Err(Errno(libc::EBADF)) => descriptor::close(fd),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn shutdown(&self, fd: c_int, how: c_int) -> Result<()> {
        self.worker.call(move |core| core.shutdown(fd, how))
    }

    pub(crate) fn option(
        &self,
        fd: c_int,
        level: c_int,
        name: c_int,
        room: usize,
    ) -> Result<Vec<u8>> {
        self.worker
            .call(move |core| core.option(fd, level, name, room))
    }

    pub(crate) fn set_option(
        &self,
        fd: c_int,
        level: c_int,
        name: c_int,
        value: Vec<u8>,
    ) -> Result<()> {
        self.worker
            .call(move |core| core.set_option(fd, level, name, &value))
    }

    /// poll(2): what each descriptor is ready for, of what was asked; all zero in the end.
    pub(crate) fn poll(
        &self,
        asked: Vec<(c_int, c_short)>,
        timeout: c_int,
    ) -> Result<Vec<c_short>> {
        let none = vec![0; asked.len()];
        let found = self.worker.wait(
            move |core| patience(core.now, timeout),
            move |core| {
                let always = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
                let ready = |&(fd, events): &(c_int, c_short)| {
                    if fd < 0 {
                        return 0;
                    }
                    core.readiness(fd) & (events | always)
                };
                let ready: Vec<c_short> = asked.iter().map(ready).collect();
                if ready.iter().all(|ready| *ready == 0) {
                    return Err(WOULD_BLOCK);
                }
                Ok(ready)
            },
        );
        match found {
            Err(WOULD_BLOCK) => Ok(none),
            other => other,
        }
    }

    pub(crate) fn epoll_create(&self, size: c_int) -> Result<c_int> {
        self.worker.call(move |core| core.epoll_create(size))
    }

    pub(crate) fn epoll_control(
        &self,
        epoll: c_int,
        operation: c_int,
        fd: c_int,
        event: Option<(u32, u64)>,
    ) -> Result<()> {
        self.worker
            .call(move |core| core.epoll_control(epoll, operation, fd, event))
    }

    pub(crate) fn epoll_wait(
        &self,
        epoll: c_int,
        max: usize,
        timeout: c_int,
    ) -> Result<Vec<(u32, u64)>> {
        let found = self.worker.wait(
            move |core| patience(core.now, timeout),
            move |core| core.epoll_poll(epoll, max),
        );
        match found {
            Err(WOULD_BLOCK) => Ok(Vec::new()),
            other => other,
        }
    }

    pub(crate) fn packet_in(&self, packet: Vec<u8>) -> Result<()> {
        self.worker.call(move |core| {
            core.arrive(packet);
            Ok(())
        })
    }

    /// The next packet that leaves; `None` after a long silence.
    pub(crate) fn packet_out(&self) -> Result<Option<(Instant, Vec<u8>)>> {
        self.worker.receive()
    }

    pub(crate) fn sleep(&self, length: Duration) -> Result<()> {
        self.worker.advance(length)
    }

    pub(crate) fn clock(&self) -> Result<Instant> {
        self.worker.clock()
    }
}

/// What a timeout in milliseconds means; a negative one is none.
fn patience(now: Instant, timeout: c_int) -> Patience {
    match u64::try_from(timeout) {
        Ok(0) => Patience::Never,
        Ok(timeout) => Patience::Until(now + Duration::from_millis(timeout)),
        Err(_) => Patience::Forever,
    }
}
