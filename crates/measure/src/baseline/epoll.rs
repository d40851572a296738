//! Echo on one thread with edge-triggered epoll.
//!
//! Every connection is registered once, for both directions. A receive that does not fill
//! the buffer has emptied the socket, so a small request costs one `recv` and one `send`;
//! what the socket does not take at once stays in its buffer, which the connection keeps
//! until the next writable edge, so that nothing is copied.

use std::io;
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use super::RECEIVE_BYTES;
use crate::error::{Action, Result};
use crate::meter::Meter;
use crate::server::Seat;

/// Events taken from the kernel at once.
const EVENTS: usize = 512;

const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;

/// Flags after which only reading on shows what became of the connection.
const ENDING: epoll::EventFlags = epoll::EventFlags::RDHUP
    .union(epoll::EventFlags::HUP)
    .union(epoll::EventFlags::ERR);

pub(super) fn serve(seat: &Seat) -> Result<()> {
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC).action("open an epoll instance")?;
    let wake = std::sync::Arc::new(
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).action("open an eventfd")?,
    );
    let waker = wake.clone();
    seat.on_stop(move || {
        // A full counter is readable all the same.
        let _ = rustix::io::write(&*waker, &1_u64.to_ne_bytes());
    });
    let data = epoll::EventData::new_u64;
    epoll::add(&queue, &*wake, data(STOP), epoll::EventFlags::IN).action("watch an eventfd")?;
    let listener = seat.listen()?;
    listener
        .set_nonblocking(true)
        .action("make a listener non-blocking")?;
    epoll::add(&queue, &listener, data(LISTENER), epoll::EventFlags::IN)
        .action("watch a listener")?;

    let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
    let mut table = Table {
        meter: seat.meter(),
        slots: Vec::new(),
        free: Vec::new(),
        buffers: Buffers::default(),
    };
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut idle_since: Option<Instant> = None;
    loop {
        let timeout = seat
            .options()
            .spin
            .filter(|limit| still_spinning(*limit, idle_since))
            .map(|_| &now);
        seat.meter().syscalls(1);
        let ready = match epoll::wait(&queue, &mut events, timeout) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error).action("wait for events"),
        };
        if ready.is_empty() {
            idle_since.get_or_insert_with(Instant::now);
            std::hint::spin_loop();
            continue;
        }
        idle_since = None;
        for event in ready {
            match event.data.u64() {
                STOP => return Ok(()),
                LISTENER => table.accept(&queue, &listener)?,
                slot => table.handle(slot as usize, event.flags),
            }
        }
    }
}

fn still_spinning(limit: Duration, idle_since: Option<Instant>) -> bool {
    idle_since.is_none_or(|since| since.elapsed() < limit)
}

struct Table<'a> {
    meter: &'a Meter,
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffers: Buffers,
}

/// Buffers that no connection keeps.
#[derive(Default)]
struct Buffers {
    spare: Vec<Vec<u8>>,
}

impl Buffers {
    fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| vec![0; RECEIVE_BYTES])
    }

    fn give(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }
}

struct Connection {
    stream: TcpStream,
    /// Received, but not taken back by the socket yet. While there is some, nothing more
    /// is received.
    unsent: Option<Unsent>,
}

struct Unsent {
    buffer: Vec<u8>,
    part: std::ops::Range<usize>,
}

enum Fate {
    Lives,
    Ended,
}

impl Table<'_> {
    fn accept(&mut self, queue: &impl std::os::fd::AsFd, listener: &TcpListener) -> Result<()> {
        loop {
            self.meter.syscalls(1);
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).action("accept a connection"),
            };
            sockopt::set_tcp_nodelay(&stream, true).action("set TCP_NODELAY")?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() - 1
            });
            let edges = epoll::EventFlags::IN
                | epoll::EventFlags::OUT
                | epoll::EventFlags::RDHUP
                | epoll::EventFlags::ET;
            epoll::add(
                queue,
                &stream,
                epoll::EventData::new_u64(slot as u64),
                edges,
            )
            .action("watch a connection")?;
            self.meter.syscalls(2);
            self.meter.connection();
            self.slots[slot] = Some(Connection {
                stream,
                unsent: None,
            });
        }
    }

    fn handle(&mut self, slot: usize, flags: epoll::EventFlags) {
        // An event of a connection that ended earlier in the same batch finds nothing, or
        // the next one in its place, which it does no harm.
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let ending = flags.intersects(ENDING);
        let fate = connection.handle(&mut self.buffers, self.meter, ending);
        match fate {
            Ok(Fate::Lives) => return,
            Ok(Fate::Ended) => {}
            Err(_) => self.meter.error(),
        }
        self.slots[slot] = None;
        self.free.push(slot);
        self.meter.syscalls(1);
    }
}

impl Connection {
    fn handle(
        &mut self,
        buffers: &mut Buffers,
        meter: &Meter,
        ending: bool,
    ) -> Result<Fate, Errno> {
        let mut buffer = match self.unsent.take() {
            None => buffers.take(),
            Some(Unsent { buffer, mut part }) => {
                part.start += send_some(&self.stream, &buffer[part.clone()], meter)?;
                if !part.is_empty() {
                    self.unsent = Some(Unsent { buffer, part });
                    return Ok(Fate::Lives);
                }
                buffer
            }
        };
        let (fate, unsent) = self.echo(&mut buffer, meter, ending)?;
        match unsent.is_empty() {
            true => buffers.give(buffer),
            false => {
                self.unsent = Some(Unsent {
                    buffer,
                    part: unsent,
                });
            }
        }
        Ok(fate)
    }

    /// Receives and sends until the socket is empty, or does not take all of `buffer`:
    /// then the part that is left comes back.
    fn echo(
        &self,
        buffer: &mut [u8],
        meter: &Meter,
        ending: bool,
    ) -> Result<(Fate, std::ops::Range<usize>), Errno> {
        loop {
            meter.syscalls(1);
            let received = match recv(&self.stream, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Ok((Fate::Ended, 0..0)),
                Ok((received, _)) => received,
                Err(Errno::AGAIN) => return Ok((Fate::Lives, 0..0)),
                Err(error) => return Err(error),
            };
            let sent = send_some(&self.stream, &buffer[..received], meter)?;
            if sent < received || (received < buffer.len() && !ending) {
                return Ok((Fate::Lives, sent..received));
            }
        }
    }
}

/// Sends what the socket takes now.
fn send_some(stream: &TcpStream, bytes: &[u8], meter: &Meter) -> Result<usize, Errno> {
    meter.syscalls(1);
    match send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) => {
            meter.bytes(sent);
            Ok(sent)
        }
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error),
    }
}
