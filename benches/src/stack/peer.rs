//! Two interfaces of smoltcp, on a link of memory that uses its frames again.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Instant as Clock;

use smoltcp::iface::{Config, Interface as Iface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::phy::{PacketMeta, SegmentationCapabilities};
use smoltcp::socket::tcp::{RecvError, SendError, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use super::zcn::{check, pattern};
use super::{CHUNK, Ends, Interface, MESSAGE};
use crate::harness::Result;

/// As much as a socket of ours grows to in these exchanges.
const STREAM_BUFFER: usize = 1 << 20;
/// For exchanges of small messages.
const SMALL_BUFFER: usize = 16 << 10;
const CLIENT: IpAddress = IpAddress::v4(10, 66, 2, 1);
const SERVER: IpAddress = IpAddress::v4(10, 66, 2, 2);
const STREAM: u16 = 1000;
const ECHO: u16 = 1001;
const CONNECT: u16 = 2000;
/// Frames on the way, as many as a memory link of ours holds.
const FRAMES: usize = 1024;

/// What the link does for its ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// Every checksum is computed and checked.
    None,
    /// No checksums.
    Checksums,
    /// No checksums, and segments of up to 64 KiB.
    Segmentation,
}

/// One direction of the link.
#[derive(Default)]
struct Direction {
    queue: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

struct Link {
    offloads: Offloads,
    incoming: Direction,
    outgoing: Direction,
}

impl Link {
    fn new(offloads: Offloads) -> Self {
        Self {
            offloads,
            incoming: Direction::default(),
            outgoing: Direction::default(),
        }
    }
}

impl Device for Link {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let bytes = self.incoming.queue.pop_front()?;
        let spare = &mut self.incoming.spare;
        Some((Received { bytes, spare }, Sending(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        (self.outgoing.queue.len() < FRAMES).then_some(Sending(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        if self.offloads != Offloads::None {
            capabilities.checksum = ChecksumCapabilities::ignored();
        }
        if self.offloads == Offloads::Segmentation {
            let mut segmentation = SegmentationCapabilities::default();
            segmentation.tcpv4 = NonZeroUsize::new(65_535);
            capabilities.segmentation = segmentation;
        }
        capabilities
    }
}

struct Received<'a> {
    bytes: Vec<u8>,
    spare: &'a mut Vec<Vec<u8>>,
}

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.bytes);
        self.spare.push(self.bytes);
        result
    }
}

struct Sending<'a>(&'a mut Direction);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = self.0.spare.pop().unwrap_or_default();
        bytes.resize(len, 0);
        let result = f(&mut bytes);
        self.0.queue.push_back(bytes);
        result
    }

    fn set_meta(&mut self, _: PacketMeta) {}
}

struct End {
    iface: Iface,
    link: Link,
    sockets: SocketSet<'static>,
}

impl End {
    fn new(offloads: Offloads, address: IpAddress, number: u8) -> Self {
        let mut link = Link::new(offloads);
        let hardware = EthernetAddress([2, 0, 0, 0, 1, number]);
        let config = Config::new(hardware.into());
        let mut iface = Iface::new(config, &mut link, Instant::ZERO);
        iface.update_ip_addrs(|addresses| {
            // The list is empty, and there is room for one.
            let _ = addresses.push(IpCidr::new(address, 24));
        });
        Self {
            iface,
            link,
            sockets: SocketSet::new(Vec::new()),
        }
    }

    fn add(&mut self, buffer: usize) -> SocketHandle {
        let bytes = || SocketBuffer::new(vec![0; buffer]);
        let mut socket = Socket::new(bytes(), bytes());
        socket.set_nagle_enabled(false);
        self.sockets.add(socket)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn poll(&mut self, now: Instant) {
        self.iface.poll(now, &mut self.link, &mut self.sockets);
    }

    fn poll_egress(&mut self, now: Instant) {
        self.iface
            .poll_egress(now, &mut self.link, &mut self.sockets);
    }

    fn connect(&mut self, handle: SocketHandle, to: u16, from: u16) -> Result {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        socket
            .connect(self.iface.context(), (SERVER, to), from)
            .map_err(|error| format!("smoltcp: {error}").into())
    }
}

/// A client and a server.
pub struct SmolPair {
    client: End,
    server: End,
    stream: (SocketHandle, SocketHandle),
    echo: (SocketHandle, SocketHandle),
    brief: (SocketHandle, SocketHandle),
    port: u16,
    start: Clock,
    payload: Vec<u8>,
    buffer: Vec<u8>,
    sent: usize,
    received: usize,
}

impl SmolPair {
    /// Brings both up.
    pub fn new(offloads: Offloads) -> Result<Self> {
        let mut client = End::new(offloads, CLIENT, 1);
        let mut server = End::new(offloads, SERVER, 2);
        let stream = (client.add(STREAM_BUFFER), server.add(STREAM_BUFFER));
        let echo = (client.add(SMALL_BUFFER), server.add(SMALL_BUFFER));
        let brief = (client.add(SMALL_BUFFER), server.add(SMALL_BUFFER));
        let mut pair = Self {
            client,
            server,
            stream,
            echo,
            brief,
            port: 49_152,
            start: Clock::now(),
            payload: pattern(),
            buffer: vec![0; CHUNK],
            sent: 0,
            received: 0,
        };
        pair.establish(stream, STREAM)?;
        pair.establish(echo, ECHO)?;
        Ok(pair)
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed().into()
    }

    /// What one end sent is where the other one receives, and frames that were read are
    /// where they are written next.
    fn carry(&mut self) {
        carry(&mut self.client.link, &mut self.server.link);
        carry(&mut self.server.link, &mut self.client.link);
    }

    fn establish(&mut self, (ours, theirs): (SocketHandle, SocketHandle), to: u16) -> Result {
        self.port = self.port.checked_add(1).unwrap_or(49_152);
        self.server
            .socket(theirs)
            .listen(to)
            .map_err(|error| format!("smoltcp: {error}"))?;
        self.client.connect(ours, to, self.port)?;
        for _ in 0..4 {
            let now = self.now();
            self.client.poll(now);
            self.carry();
            self.server.poll(now);
            self.carry();
            self.client.poll(now);
            self.carry();
            self.server.poll(now);
            let established = [
                self.client.socket(ours).state(),
                self.server.socket(theirs).state(),
            ];
            if established == [State::Established; 2] {
                return Ok(());
            }
        }
        Err("smoltcp: a connection that is not established".into())
    }
}

fn carry(from: &mut Link, to: &mut Link) {
    to.incoming.queue.append(&mut from.outgoing.queue);
    from.outgoing.spare.append(&mut to.incoming.spare);
}

impl Ends for SmolPair {
    fn stream(&mut self, _: Interface, compare: bool) -> Result<usize> {
        let now = self.now();
        let socket = self.client.sockets.get_mut::<Socket<'_>>(self.stream.0);
        loop {
            match socket.send_slice(&self.payload[self.sent % CHUNK..]) {
                Ok(0) => break,
                Ok(count) => self.sent += count,
                Err(SendError::InvalidState) => return Err("smoltcp: closed".into()),
            }
        }
        self.client.poll_egress(now);
        self.carry();
        self.server.poll(now);
        let socket = self.server.sockets.get_mut::<Socket<'_>>(self.stream.1);
        let before = self.received;
        loop {
            match socket.recv_slice(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if compare {
                        check(&self.payload, self.received, &self.buffer[..count])?;
                    }
                    self.received += count;
                }
                Err(RecvError::InvalidState | RecvError::Finished) => {
                    return Err("smoltcp: closed".into());
                }
            }
        }
        self.server.poll_egress(now);
        self.carry();
        self.client.poll(now);
        self.carry();
        Ok(self.received - before)
    }

    fn round_trip(&mut self) -> Result {
        let now = self.now();
        let message = &self.payload[..MESSAGE];
        let refused = |error: &dyn std::fmt::Display| format!("smoltcp: {error}");
        let socket = self.client.sockets.get_mut::<Socket<'_>>(self.echo.0);
        socket
            .send_slice(message)
            .map_err(|error| refused(&error))?;
        self.client.poll_egress(now);
        self.carry();
        self.server.poll(now);
        let socket = self.server.socket(self.echo.1);
        let mut request = [0; MESSAGE];
        let count = socket
            .recv_slice(&mut request)
            .map_err(|error| refused(&error))?;
        socket
            .send_slice(&request[..count])
            .map_err(|error| refused(&error))?;
        self.server.poll_egress(now);
        self.carry();
        self.client.poll(now);
        let mut answer = [0; MESSAGE];
        let count = self
            .client
            .socket(self.echo.0)
            .recv_slice(&mut answer)
            .map_err(|error| refused(&error))?;
        if answer[..count] != self.payload[..MESSAGE] {
            return Err("smoltcp: an echo that is none".into());
        }
        Ok(())
    }

    fn connect(&mut self) -> Result {
        let (ours, theirs) = self.brief;
        self.establish(self.brief, CONNECT)?;
        self.client.socket(ours).close();
        let now = self.now();
        self.client.poll_egress(now);
        self.carry();
        self.server.poll(now);
        self.server.socket(theirs).close();
        self.server.poll_egress(now);
        self.carry();
        self.client.poll(now);
        self.carry();
        self.server.poll(now);
        self.carry();
        // Its TIME-WAIT keeps a socket for ten seconds; the next connection wants it now.
        self.client.socket(ours).abort();
        let over = self.server.socket(theirs).state() == State::Closed;
        over.then_some(())
            .ok_or_else(|| "smoltcp: a connection that is not over".into())
    }
}
