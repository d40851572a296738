//! Packet sockets: frames from and to an interface of the kernel, past its stack.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::{Errno, writev};
use rustix::net::sockopt;
use smallvec::SmallVec;
use zcn_frame::{Capabilities, Checksum, ChecksumOffload, Frame, FrameMeta, GsoKinds, Medium};
use zcn_sys::probe::KernelVersion;

use crate::admission::admit;
use crate::driver::Driver;
use crate::error::OpenError;
use crate::interface::{Interface, neighbour_address};
use crate::receive_buffers::{ReceiveBuffers, ReceivePool};
use crate::segment::{complete_checksum, segment};
use crate::statistics::{DropReason, Statistics};
use crate::virtio;
use crate::wait::{is_readable, wait};

mod ring;
mod socket;

use ring::{BLOCK_BYTES, BlockRing, HEADER_LEN, Ring, RingFrame};
use socket::{Number, VlanTag};

/// Blocks of a ring of blocks, at least. The kernel closes a block after a millisecond
/// however empty it is, and without a free one drops what comes until it has one back.
const BLOCKS_MIN: usize = 4;

const RAW: &str = "CAP_NET_RAW";

/// How a packet socket receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reception {
    /// A system call for each frame, which copies it once.
    Plain,
    /// A ring of slots shared with the kernel (TPACKET_V2): no system call while frames
    /// keep coming, and the least delay. What is received is copied out of the ring, so
    /// that nobody who keeps a packet holds up the ring.
    #[default]
    Ring,
    /// A ring of blocks (TPACKET_V3): the most small frames per second, but a block is
    /// handed over up to a millisecond late. For bulk and for capturing only.
    Blocks,
}

/// How frames are spread over several queues (`PACKET_FANOUT` of packet(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fanout {
    /// By flow: both directions of a connection come to the same queue.
    #[default]
    Hash,
    /// In turn. It tears flows apart.
    RoundRobin,
    /// By the core that the frame came in on.
    Cpu,
    /// By the receive queue of the device.
    DeviceQueue,
}

impl Fanout {
    fn mode(self) -> u32 {
        match self {
            Self::Hash => libc::PACKET_FANOUT_HASH,
            Self::RoundRobin => libc::PACKET_FANOUT_LB,
            Self::Cpu => libc::PACKET_FANOUT_CPU,
            Self::DeviceQueue => libc::PACKET_FANOUT_QM,
        }
    }
}

/// Settings of a packet socket; made by [`PacketSocket::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct PacketBuilder {
    interface: String,
    address: Option<[u8; 6]>,
    queues: u16,
    fanout: Fanout,
    reception: Reception,
    ring_bytes: usize,
    socket_bytes: usize,
    offload: bool,
    bypass_qdisc: bool,
    promiscuous: bool,
    outgoing: bool,
    buffers: ReceiveBuffers,
}

impl PacketBuilder {
    /// The Ethernet address of the stack on this link \[one derived from the interface's\].
    /// With the interface's own, the kernel's stack answers to the same frames.
    pub fn address(mut self, address: [u8; 6]) -> Self {
        self.address = Some(address);
        self
    }

    /// How many queues \[1\], each a socket of its own.
    pub fn queues(mut self, queues: u16) -> Self {
        self.queues = queues;
        self
    }

    /// How frames are spread over the queues \[[`Fanout::Hash`]\].
    pub fn fanout(mut self, fanout: Fanout) -> Self {
        self.fanout = fanout;
        self
    }

    /// How to receive \[[`Reception::Ring`]\].
    pub fn reception(mut self, reception: Reception) -> Self {
        self.reception = reception;
        self
    }

    /// Size of each queue's ring in bytes, rounded up to 1 MiB \[4 MiB\]. Each MiB holds
    /// 15 frames of any size; with [`Reception::Blocks`] as many as fit, and there are 4
    /// at least.
    pub fn ring_bytes(mut self, bytes: usize) -> Self {
        self.ring_bytes = bytes;
        self
    }

    /// What the kernel may hold for each queue in frames being sent, and with
    /// [`Reception::Plain`] in frames received, in bytes \[4 MiB\]. Where the process may
    /// not ask for so much it gets what the system allows.
    pub fn socket_bytes(mut self, bytes: usize) -> Self {
        self.socket_bytes = bytes;
        self
    }

    /// Whether to use checksum offload and super-frames \[yes\]. Without it every frame is
    /// one packet with a complete checksum; what the kernel brings otherwise (on a veth,
    /// say) is cut and completed here.
    pub fn offload(mut self, offload: bool) -> Self {
        self.offload = offload;
        self
    }

    /// Whether to send past the interface's queueing discipline, and so past its shaping
    /// and its queue \[no\].
    pub fn bypass_qdisc(mut self, bypass: bool) -> Self {
        self.bypass_qdisc = bypass;
        self
    }

    /// Whether the interface takes frames for addresses that are not its own \[yes\]; the
    /// stack's is one of those, unless the two are the same.
    pub fn promiscuous(mut self, promiscuous: bool) -> Self {
        self.promiscuous = promiscuous;
        self
    }

    /// Whether to receive what the machine sends by the interface, too \[no\]: for
    /// capturing only, as a stack would hear itself.
    pub fn outgoing(mut self, outgoing: bool) -> Self {
        self.outgoing = outgoing;
        self
    }

    /// Buffers to receive into, for each queue.
    pub fn buffers(mut self, buffers: ReceiveBuffers) -> Self {
        self.buffers = buffers;
        self
    }

    /// Opens the sockets, one for each queue.
    ///
    /// # Errors
    /// No such interface, no privilege (`CAP_NET_RAW`), settings out of range, no memory
    /// for the ring.
    pub fn open(self) -> Result<Vec<PacketSocket>, OpenError> {
        if self.queues == 0 || self.queues > 256 {
            return Err(OpenError::Setting {
                setting: "queues",
                got: self.queues.into(),
                range: "from 1 to 256",
            });
        }
        if self.ring_bytes == 0 || self.ring_bytes > 1 << 30 {
            return Err(OpenError::Setting {
                setting: "ring_bytes",
                got: self.ring_bytes as u64,
                range: "from 1 to 1 GiB",
            });
        }
        let interface = Interface::open(&self.interface)?;
        // Asked so that the first frames are not lost, whatever the answer; loopback has none.
        let _ = interface.carrier();
        let capabilities = self.capabilities(&interface)?;
        let mut sockets = Vec::new();
        for _ in 0..self.queues {
            sockets.push(self.open_socket(&interface, capabilities)?);
        }
        // A filter kept everything out so far: frames that came between the first bind and
        // the last join would have come to several queues.
        if self.queues > 1 {
            self.join(&sockets)
                .map_err(|error| self.refused("spread frames over queues", error))?;
        }
        for socket in &sockets {
            socket::admit_frames(socket.fd.as_fd())
                .map_err(|error| self.refused("take the filter away", error))?;
        }
        Ok(sockets)
    }

    fn capabilities(&self, interface: &Interface) -> Result<Capabilities, OpenError> {
        let address = match self.address {
            Some(address) => address,
            None => neighbour_address(interface.hardware_address()?),
        };
        let mtu = interface.mtu()?;
        let mut capabilities = Capabilities::plain(Medium::Ethernet { address }, mtu);
        capabilities.queues = self.queues;
        if self.offload {
            capabilities.checksum = ChecksumOffload {
                transmit: true,
                receive: true,
            };
            capabilities.gso = GsoKinds {
                // Known to packet sockets since the release that has it for TUN.
                udp_l4: KernelVersion::running()
                    .is_some_and(|version| version >= KernelVersion::new(6, 2, 0)),
                ..GsoKinds::ALL
            };
            capabilities.gso_max_size = mtu.max(65535);
        }
        Ok(capabilities)
    }

    fn open_socket(
        &self,
        interface: &Interface,
        capabilities: Capabilities,
    ) -> Result<PacketSocket, OpenError> {
        let fd = socket::open().map_err(|error| self.refused("open a packet socket", error))?;
        let receiver = self
            .set_up(fd.as_fd(), interface.index())
            .map_err(|error| self.refused("set up the packet socket", error))?;
        // What comes may be super-frames, whatever we send.
        let frame_max = 18 + 65535;
        Ok(PacketSocket {
            fd,
            receiver,
            header: [0; HEADER_LEN],
            offload: self.offload,
            capabilities,
            pool: ReceivePool::new(self.buffers, frame_max)?,
            cut: Vec::new(),
            statistics: Statistics::default(),
        })
    }

    fn set_up(&self, fd: BorrowedFd<'_>, index: u32) -> io::Result<Receiver> {
        socket::refuse_frames(fd)?;
        // Without it a super-frame could not be told from a packet. Before the ring, whose
        // layout depends on it.
        socket::set_number(fd, Number::VNET_HDR, 1)?;
        if !self.outgoing {
            // What we send would come back to us otherwise.
            socket::set_number(fd, Number::IGNORE_OUTGOING, 1)?;
        }
        if self.bypass_qdisc {
            socket::set_number(fd, Number::QDISC_BYPASS, 1)?;
        }
        // More than the system's limit takes privilege in the first namespace.
        let bytes = self.socket_bytes;
        sockopt::set_socket_send_buffer_size(fd, bytes)?;
        if sockopt::set_socket_recv_buffer_size_force(fd, bytes).is_err() {
            sockopt::set_socket_recv_buffer_size(fd, bytes)?;
        }
        let blocks = self.ring_bytes.div_ceil(BLOCK_BYTES);
        let receiver = match self.reception {
            Reception::Plain => {
                socket::set_number(fd, Number::AUXDATA, 1)?;
                Receiver::Plain
            }
            Reception::Ring => Receiver::Ring(Ring::new(fd, blocks)?),
            Reception::Blocks => Receiver::Blocks(BlockRing::new(fd, blocks.max(BLOCKS_MIN))?),
        };
        if self.promiscuous {
            socket::set_promiscuous(fd, index)?;
        }
        socket::bind(fd, index)?;
        Ok(receiver)
    }

    /// Joins the sockets into one group with a number that the kernel chooses.
    fn join(&self, sockets: &[PacketSocket]) -> io::Result<()> {
        let unique = libc::PACKET_FANOUT_FLAG_UNIQUEID;
        // The group has a receive hook of its own, for which the sockets' setting does
        // not count.
        let ignored = if self.outgoing {
            0
        } else {
            libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING
        };
        let mode = self.fanout.mode() | ignored;
        let mut group = 0;
        for (index, socket) in sockets.iter().enumerate() {
            let fd = socket.fd.as_fd();
            let flags = if index == 0 { mode | unique } else { mode };
            let argument = group | flags << 16;
            socket::set_number(fd, Number::FANOUT, argument as i32)?;
            if index == 0 {
                group = socket::number(fd, Number::FANOUT)? as u32 & 0xffff;
            }
        }
        Ok(())
    }

    fn refused(&self, action: &'static str, error: io::Error) -> OpenError {
        OpenError::from_kernel(&self.interface, action, RAW, error)
    }
}

#[derive(Debug)]
enum Receiver {
    Plain,
    Ring(Ring),
    Blocks(BlockRing),
}

/// One queue of packet sockets on an interface.
///
/// The kernel's stack gets every frame as well. So that it does not answer in place of
/// ours, ours needs an IP address that the kernel does not own, and an Ethernet address of
/// its own (see [`PacketBuilder::address`]).
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    receiver: Receiver,
    /// The header of the frame being received.
    header: [u8; HEADER_LEN],
    offload: bool,
    capabilities: Capabilities,
    pool: ReceivePool,
    /// Cut without offload, and not yet handed up.
    cut: Vec<Frame>,
    statistics: Statistics,
}

impl PacketSocket {
    /// Packet sockets on the interface of this name.
    pub fn builder(interface: &str) -> PacketBuilder {
        PacketBuilder {
            interface: interface.to_owned(),
            address: None,
            queues: 1,
            fanout: Fanout::default(),
            reception: Reception::default(),
            ring_bytes: 4 << 20,
            socket_bytes: 4 << 20,
            offload: true,
            bypass_qdisc: false,
            promiscuous: true,
            outgoing: false,
            buffers: ReceiveBuffers::default(),
        }
    }

    /// The next frame by a system call; `None` if it was dropped.
    fn receive_plain(&mut self) -> io::Result<Option<Frame>> {
        // Without a buffer the frame is taken all the same, and dropped.
        let prepared = self.pool.prepare();
        let capacity = if prepared { self.pool.capacity() } else { 0 };
        let (len, tag) = {
            let mut parts = SmallVec::<[IoSliceMut<'_>; 3]>::new();
            parts.push(IoSliceMut::new(&mut self.header));
            if prepared {
                parts.extend(self.pool.parts());
            }
            socket::receive(self.fd.as_fd(), &mut parts)?
        };
        let len = len.saturating_sub(HEADER_LEN);
        if !prepared || (len > capacity && self.pool.lacks_large()) {
            self.statistics.count_drops(DropReason::NoBuffer, 1);
            return Ok(None);
        }
        if len > capacity {
            self.statistics.count_drops(DropReason::TooLong, 1);
            return Ok(None);
        }
        let frame = metadata(&self.header, len, tag).and_then(|meta| match tag {
            Some(tag) => self.pool.take_tagged(len, meta, tag),
            None => self.pool.take(len, meta),
        });
        if frame.is_none() {
            self.statistics.count_drops(DropReason::Malformed, 1);
        }
        Ok(frame)
    }

    /// The next frame of a ring, given back afterwards, and when the kernel saw it; the
    /// outer `None` if there is none.
    fn receive_from_ring(&mut self) -> Option<(Duration, Result<Frame, DropReason>)> {
        let pool = &mut self.pool;
        match &mut self.receiver {
            Receiver::Plain => None,
            Receiver::Ring(ring) => {
                let slot = ring.peek()?;
                let stamped = (slot.time, copy_out(pool, slot));
                ring.release();
                Some(stamped)
            }
            Receiver::Blocks(ring) => {
                let slot = ring.peek()?;
                let stamped = (slot.time, copy_out(pool, slot));
                ring.release();
                Some(stamped)
            }
        }
    }

    /// As [`receive`](Driver::receive), each frame with the time since 1970 at which the
    /// kernel saw it; super-frames are not cut. Without a ring there are no times: then
    /// nothing is received.
    pub fn receive_stamped(&mut self, into: &mut Vec<(Duration, Frame)>, max: usize) -> usize {
        let mut count = 0;
        for _ in 0..max {
            match self.receive_from_ring() {
                Some((time, Ok(frame))) => {
                    self.statistics.count_in(frame.len());
                    into.push((time, frame));
                    count += 1;
                }
                Some((_, Err(reason))) => self.statistics.count_drops(reason, 1),
                None => break,
            }
        }
        count
    }

    /// Hands a frame up, in packets if that was asked for.
    fn deliver(&mut self, mut frame: Frame, into: &mut Vec<Frame>) {
        if self.offload || frame.meta == FrameMeta::default() {
            self.statistics.count_in(frame.len());
            into.push(frame);
            return;
        }
        if frame.meta.checksum == Checksum::Verified {
            frame.meta.checksum = Checksum::Unverified;
        }
        let header_len = self.capabilities.medium.header_len();
        let result = segment(frame, header_len, &mut self.cut)
            .and_then(|_| self.cut.iter_mut().try_for_each(complete_checksum));
        if result.is_err() {
            self.cut.clear();
            self.statistics.count_drops(DropReason::Malformed, 1);
        }
        for packet in self.cut.drain(..) {
            self.statistics.count_in(packet.len());
            into.push(packet);
        }
    }

    fn send_one(&mut self, frame: &Frame) -> rustix::io::Result<()> {
        let header = virtio::emit::<HEADER_LEN>(&frame.meta);
        let mut parts = SmallVec::<[IoSlice<'_>; 8]>::new();
        parts.push(IoSlice::new(&header));
        parts.extend(frame.io_slices());
        writev(&self.fd, &parts).map(|_| ())
    }
}

/// The metadata of a frame of `len` bytes that is to get its tag back.
fn metadata(header: &[u8], len: usize, tag: Option<VlanTag>) -> Option<FrameMeta> {
    let mut meta = virtio::parse(header, len)?;
    if tag.is_some() {
        if let Checksum::Partial { start, .. } = &mut meta.checksum {
            *start = start.checked_add(4)?;
        }
        if let Some(gso) = &mut meta.gso {
            gso.hdr_len = gso.hdr_len.checked_add(4)?;
        }
    }
    Some(meta)
}

fn copy_out(pool: &mut ReceivePool, frame: RingFrame<'_>) -> Result<Frame, DropReason> {
    const ADDRESSES: usize = 12;
    if frame.cut_off {
        return Err(DropReason::TooLong);
    }
    if !pool.prepare() {
        return Err(DropReason::NoBuffer);
    }
    let bytes = frame.bytes;
    let meta = metadata(frame.header, bytes.len(), frame.tag).ok_or(DropReason::Malformed)?;
    let copied = match (frame.tag, bytes.split_at_checked(ADDRESSES)) {
        (Some(tag), Some((addresses, rest))) => pool.copy_in(&[addresses, &tag, rest], meta),
        (None, _) if !bytes.is_empty() => pool.copy_in(&[bytes], meta),
        _ => return Err(DropReason::Malformed),
    };
    copied.ok_or(if pool.lacks_large() {
        DropReason::NoBuffer
    } else {
        DropReason::TooLong
    })
}

impl Driver for PacketSocket {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let before = into.len();
        let plain = matches!(self.receiver, Receiver::Plain);
        // A super-frame that has to be cut may go beyond `max`, which nobody has to be
        // exact about; dropped frames are counted against it.
        for _ in 0..max {
            if plain {
                match self.receive_plain() {
                    Ok(Some(frame)) => self.deliver(frame, into),
                    Ok(None) => {}
                    Err(error) => match error.raw_os_error() {
                        Some(libc::EAGAIN) => break,
                        // Told once when the interface goes down; it may come up again.
                        Some(libc::EINTR | libc::ENETDOWN) => {}
                        _ => return Err(error),
                    },
                }
            } else {
                match self.receive_from_ring() {
                    Some((_, Ok(frame))) => self.deliver(frame, into),
                    Some((_, Err(reason))) => self.statistics.count_drops(reason, 1),
                    None => break,
                }
            }
            if into.len() - before >= max {
                break;
            }
        }
        Ok(into.len() - before)
    }

    fn transmit(&mut self, frames: &mut VecDeque<Frame>) -> io::Result<usize> {
        let mut taken = 0;
        while let Some(frame) = frames.pop_front() {
            let reason = match admit(&self.capabilities, &frame) {
                Err(reason) => reason,
                Ok(()) => match self.send_one(&frame) {
                    Ok(()) => {
                        self.statistics.count_out(frame.len());
                        taken += 1;
                        continue;
                    }
                    Err(Errno::INTR) => {
                        frames.push_front(frame);
                        continue;
                    }
                    Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {
                        frames.push_front(frame);
                        return Ok(taken);
                    }
                    Err(Errno::NETDOWN) => DropReason::Disconnected,
                    Err(Errno::MSGSIZE) => DropReason::AboveMtu,
                    Err(errno @ (Errno::NXIO | Errno::NODEV | Errno::BADF)) => {
                        frames.push_front(frame);
                        return Err(errno.into());
                    }
                    Err(_) => DropReason::Refused,
                },
            };
            self.statistics.count_drops(reason, 1);
            taken += 1;
        }
        Ok(taken)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn wait(&mut self, spin: Duration, timeout: Option<Duration>) -> io::Result<bool> {
        let fd = self.fd.as_fd();
        wait(fd, spin, timeout, || match &self.receiver {
            Receiver::Plain => is_readable(fd),
            Receiver::Ring(ring) => Ok(ring.is_ready()),
            Receiver::Blocks(ring) => Ok(ring.is_ready()),
        })
    }

    fn statistics(&mut self) -> &Statistics {
        if let Ok(drops) = socket::drops(self.fd.as_fd()) {
            self.statistics
                .count_drops(DropReason::RingFull, drops.into());
        }
        &self.statistics
    }
}
