//! Two stacks of ours on a memory link.

use std::net::{IpAddr, SocketAddr};

use zcn_link::{Capabilities, Medium, MemoryLink, memory_capabilities};
use zcn_pool::SharedBuf;
use zcn_stack::StackConfig;
use zcn_stack::event::Readiness;
use zcn_stack::slab::Id;
use zcn_stack::tcp::{AcceptError, RecvError, SendError, SocketOptions};
use zcn_stack::{Instant, SocketId};

use super::end::{End, pool};
use super::{CHUNK, Ends, Interface, MESSAGE};
use crate::harness::Result;

const MTU: u32 = 1500;
const CLIENT: &str = "10.66.1.1";
const SERVER: &str = "10.66.1.2";
const STREAM: u16 = 1000;
const ECHO: u16 = 1001;
/// Ports that connections are made to in turn, so that those in TIME-WAIT leave some free.
const CONNECT: std::ops::Range<u16> = 2000..2008;

/// What the link does for its ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Everything: no checksums, super-frames.
    Offloads,
    /// Nothing.
    Plain,
}

fn capabilities(link: Link, number: u8) -> Capabilities {
    let medium = Medium::Ethernet {
        address: [2, 0, 0, 0, 0, number],
    };
    match link {
        Link::Offloads => memory_capabilities(medium, MTU),
        Link::Plain => Capabilities::plain(medium, MTU),
    }
}

/// A client and a server.
pub struct ZcnPair {
    client: End<MemoryLink>,
    server: End<MemoryLink>,
    /// Always full, and who reads it.
    stream: (Id, Id),
    /// Messages to and fro.
    echo: (Id, Id),
    listeners: Vec<(SocketAddr, Id)>,
    next: usize,
    payload: SharedBuf,
    buffer: Vec<u8>,
    /// Position in the stream of the next byte to send, and to receive.
    sent: usize,
    received: usize,
}

impl ZcnPair {
    /// Brings both up, with connections that stay idle.
    pub fn new(link: Link, idle: usize) -> Result<Self> {
        let (one, other) = MemoryLink::pair(capabilities(link, 1), capabilities(link, 2), 1024)?;
        let server_address: IpAddr = SERVER.parse()?;
        let mut client = End::new(one, CLIENT.parse()?, 1, StackConfig::default())?;
        let mut server = End::new(other, server_address, 2, StackConfig::default())?;
        let mut listen = |port| -> Result<(SocketAddr, Id)> {
            let address = SocketAddr::new(server_address, port);
            let options = SocketOptions::default();
            Ok((address, server.stack.tcp_listen(address, 1024, options)?))
        };
        let listening = [listen(STREAM)?, listen(ECHO)?];
        let listeners = CONNECT.map(&mut listen).collect::<Result<Vec<_>>>()?;
        let stream = establish(&mut client, &mut server, listening[0])?;
        let echo = establish(&mut client, &mut server, listening[1])?;
        for _ in 0..idle {
            establish(&mut client, &mut server, listening[0])?;
        }
        let mut payload = pool(CHUNK, 1)?.acquire().ok_or("a pool with a buffer")?;
        payload.extend_from_slice(&pattern())?;
        Ok(Self {
            client,
            server,
            stream,
            echo,
            listeners,
            next: 0,
            payload: payload.into(),
            buffer: vec![0; CHUNK],
            sent: 0,
            received: 0,
        })
    }

    fn fill(&mut self, interface: Interface) -> Result {
        let (stack, now) = (&mut self.client.stack, self.client.now);
        loop {
            let at = self.sent % CHUNK;
            let sent = match interface {
                Interface::Copying => {
                    stack.tcp_send(now, self.stream.0, &self.payload[at..], false)
                }
                Interface::Owned => {
                    let slice = self.payload.slice(at..);
                    let len = slice.len();
                    stack
                        .tcp_send_buf(now, self.stream.0, slice, false)
                        .map(|()| len)
                        .map_err(|refused| refused.error)
                }
            };
            match sent {
                Ok(count) => self.sent += count,
                Err(SendError::WouldBlock) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn drain(&mut self, interface: Interface, compare: bool) -> Result<usize> {
        let (stack, now) = (&mut self.server.stack, self.server.now);
        let before = self.received;
        loop {
            let received = match interface {
                Interface::Copying => {
                    let count = stack.tcp_recv(now, self.stream.1, &mut self.buffer);
                    if let (true, Ok(count)) = (compare, &count) {
                        check(&self.payload, self.received, &self.buffer[..*count])?;
                    }
                    count
                }
                Interface::Owned => {
                    let slice = stack.tcp_recv_buf(now, self.stream.1, CHUNK);
                    if let (true, Ok(slice)) = (compare, &slice) {
                        check(&self.payload, self.received, slice)?;
                    }
                    slice.map(|slice| slice.len())
                }
            };
            match received {
                Ok(0) => return Err("the stream ended".into()),
                Ok(count) => self.received += count,
                Err(RecvError::WouldBlock) => return Ok(self.received - before),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lets the server answer what came on the echo connection.
    fn answer(&mut self) -> Result {
        let (stack, now) = (&mut self.server.stack, self.server.now);
        while let Some(event) = stack.poll_event() {
            if event.socket != SocketId::Tcp(self.echo.1)
                || !event.readiness.contains(Readiness::READABLE)
            {
                continue;
            }
            let count = stack.tcp_recv(now, self.echo.1, &mut self.buffer)?;
            stack.tcp_send(now, self.echo.1, &self.buffer[..count], false)?;
        }
        Ok(())
    }
}

impl Ends for ZcnPair {
    fn stream(&mut self, interface: Interface, compare: bool) -> Result<usize> {
        self.client.tick();
        self.server.now = self.client.now;
        self.fill(interface)?;
        self.client.send()?;
        self.server.receive()?;
        let count = self.drain(interface, compare)?;
        self.server.send()?;
        self.client.receive()?;
        self.server.skip_events();
        self.client.skip_events();
        Ok(count)
    }

    fn round_trip(&mut self) -> Result {
        self.client.tick();
        self.server.now = self.client.now;
        let message = &self.payload[..MESSAGE];
        let now = self.client.now;
        self.client
            .stack
            .tcp_send(now, self.echo.0, message, false)?;
        self.client.send()?;
        self.server.receive()?;
        self.answer()?;
        self.server.send()?;
        self.client.receive()?;
        while let Some(event) = self.client.stack.poll_event() {
            if event.socket == SocketId::Tcp(self.echo.0) {
                let echoed = &mut self.buffer[..MESSAGE];
                let count = self.client.stack.tcp_recv(now, self.echo.0, echoed)?;
                if count != MESSAGE || *echoed != self.payload[..MESSAGE] {
                    return Err("an echo that is none".into());
                }
                return Ok(());
            }
        }
        Err("no echo came back".into())
    }

    fn connect(&mut self) -> Result {
        self.client.tick();
        self.server.now = self.client.now;
        let now = self.client.now;
        self.next = (self.next + 1) % self.listeners.len();
        let (ours, theirs) = establish(
            &mut self.client,
            &mut self.server,
            self.listeners[self.next],
        )?;
        self.client.stack.tcp_close(now, ours)?;
        self.client.send()?;
        self.server.receive()?;
        if self.server.stack.tcp_recv(now, theirs, &mut self.buffer)? != 0 {
            return Err("data that nobody sent".into());
        }
        self.server.stack.tcp_close(now, theirs)?;
        self.server.send()?;
        self.client.receive()?;
        self.client.send()?;
        self.server.receive()?;
        self.server.skip_events();
        self.client.skip_events();
        Ok(())
    }
}

/// A connection to this listener: the client's end and the server's.
fn establish(
    client: &mut End<MemoryLink>,
    server: &mut End<MemoryLink>,
    (address, listener): (SocketAddr, Id),
) -> Result<(Id, Id)> {
    let now: Instant = client.now;
    let options = SocketOptions::default();
    let ours = client.stack.tcp_connect(now, address, None, options)?;
    // The first one asks for the server's Ethernet address besides.
    for _ in 0..4 {
        client.send()?;
        server.receive()?;
        server.send()?;
        client.receive()?;
        client.send()?;
        server.receive()?;
        match server.stack.tcp_accept(now, listener) {
            Ok((theirs, _)) => return Ok((ours, theirs)),
            Err(AcceptError::WouldBlock) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err("a connection that is not established".into())
}

/// What the stream repeats.
pub fn pattern() -> Vec<u8> {
    (0..CHUNK).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Compares what came with what the stream has there.
pub fn check(pattern: &[u8], position: usize, bytes: &[u8]) -> Result {
    let at = position % pattern.len();
    let (until_end, from_start) = bytes.split_at(bytes.len().min(pattern.len() - at));
    if pattern[at..].starts_with(until_end) && pattern.starts_with(from_start) {
        Ok(())
    } else {
        Err(format!("the stream is damaged at about byte {position}").into())
    }
}
