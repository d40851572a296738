//! TAP and TUN devices: the kernel's stack on the other end.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::Duration;

use rustix::io::{Errno, readv, writev};
use smallvec::SmallVec;
use zcn_frame::{Capabilities, ChecksumOffload, Frame, FrameMeta, GsoKinds, Medium, SLICES_MAX};

use crate::admission::admit;
use crate::driver::Driver;
use crate::error::OpenError;
use crate::interface::{Interface, check_name, neighbour_address};
use crate::ioctl::{InterfaceRequest, Request, set_tun_header_len, set_tun_offload};
use crate::receive_buffers::{ReceiveBuffers, ReceivePool};
use crate::statistics::{DropReason, Statistics};
use crate::virtio;
use crate::wait::{is_readable, wait};

/// Length of the virtio-net header: that with the count of merged buffers, which newer
/// features extend.
const HEADER_LEN: usize = 12;

const ADMIN: &str = "CAP_NET_ADMIN";

/// Settings of a TAP or TUN device; made by [`Tun::tap`] and [`Tun::tun`].
#[derive(Debug, Clone)]
#[must_use]
pub struct TunBuilder {
    name: String,
    ethernet: bool,
    address: Option<[u8; 6]>,
    mtu: Option<u32>,
    queues: u16,
    offload: bool,
    up: bool,
    buffers: ReceiveBuffers,
}

impl TunBuilder {
    /// The Ethernet address of this end \[one derived from the kernel's end\].
    pub fn address(mut self, address: [u8; 6]) -> Self {
        self.address = Some(address);
        self
    }

    /// Largest IP packet in bytes \[what the device has: 1500\].
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = Some(bytes);
        self
    }

    /// How many queues \[1\]. With more than one the kernel spreads flows over them, and
    /// brings a flow to the queue that last sent for it.
    pub fn queues(mut self, queues: u16) -> Self {
        self.queues = queues;
        self
    }

    /// Whether to use checksum offload and super-frames as far as the kernel has them
    /// \[yes\]. Without it every frame is one packet with a complete checksum.
    pub fn offload(mut self, offload: bool) -> Self {
        self.offload = offload;
        self
    }

    /// Whether to set the kernel's end up \[yes\].
    pub fn up(mut self, up: bool) -> Self {
        self.up = up;
        self
    }

    /// Buffers to receive into, for each queue.
    pub fn buffers(mut self, buffers: ReceiveBuffers) -> Self {
        self.buffers = buffers;
        self
    }

    /// Makes the device, or attaches to one that exists (made with `ip tuntap`), and
    /// answers its queues. Unless it was made persistent it goes when all are dropped.
    ///
    /// # Errors
    /// No `/dev/net/tun`, no privilege, a name that is taken, an MTU out of range; the
    /// kernel's answer otherwise.
    pub fn open(self) -> Result<Vec<Tun>, OpenError> {
        check_name(&self.name)?;
        if self.queues == 0 || self.queues > 256 {
            return Err(OpenError::Setting {
                setting: "queues",
                got: self.queues.into(),
                range: "from 1 to 256",
            });
        }
        let mut queues: Vec<(OwnedFd, GsoKinds)> = Vec::new();
        for _ in 0..self.queues {
            queues.push(self.open_queue()?);
        }
        let interface = Interface::open(&self.name)?;
        if let Some(mtu) = self.mtu {
            interface.set_mtu(mtu)?;
        }
        if self.up {
            interface.set_up(true)?;
        }
        let mtu = interface.mtu()?;
        let medium = if self.ethernet {
            let address = match self.address {
                Some(address) => address,
                None => neighbour_address(interface.hardware_address()?),
            };
            Medium::Ethernet { address }
        } else {
            Medium::Ip
        };
        let mut drivers = Vec::new();
        for (fd, gso) in queues {
            let mut capabilities = Capabilities::plain(medium, mtu);
            capabilities.queues = self.queues;
            if self.offload {
                capabilities.checksum = ChecksumOffload {
                    transmit: true,
                    receive: true,
                };
                capabilities.gso = gso;
                capabilities.gso_max_size = mtu.max(65535);
                capabilities.scatter_max = SLICES_MAX + 1;
            }
            // With a VLAN tag.
            let frame_max = medium.header_len() + 4 + capabilities.gso_max_size as usize;
            drivers.push(Tun {
                fd,
                name: self.name.clone(),
                header: self.offload,
                capabilities,
                pool: ReceivePool::new(self.buffers, frame_max)?,
                scratch: vec![0; 2048].into_boxed_slice(),
                statistics: Statistics::default(),
            });
        }
        Ok(drivers)
    }

    /// One descriptor, attached, and the super-frames that may be written to it.
    fn open_queue(&self) -> Result<(OwnedFd, GsoKinds), OpenError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(|source| match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => OpenError::Privilege {
                    action: "open /dev/net/tun",
                    capability: ADMIN,
                    source,
                },
                _ => OpenError::NoTun { source },
            })?;
        let fd = OwnedFd::from(file);
        let refused = |action| {
            move |error: io::Error| match error.raw_os_error() {
                // The device exists, of another kind or with another number of queues.
                Some(libc::EINVAL) => OpenError::Busy {
                    name: self.name.clone(),
                    source: error,
                },
                _ => OpenError::from_kernel(&self.name, action, ADMIN, error),
            }
        };
        self.attach(fd.as_fd())
            .map_err(refused("make a TAP or TUN device"))?;
        if !self.offload {
            return Ok((fd, GsoKinds::NONE));
        }
        // At most 2^31 bytes.
        set_tun_header_len(fd.as_fd(), HEADER_LEN as libc::c_int)
            .map_err(refused("set the header's length"))?;
        let gso = ask_for_offloads(fd.as_fd());
        Ok((fd, gso))
    }

    fn attach(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut flags = libc::IFF_NO_PI;
        flags |= if self.ethernet {
            libc::IFF_TAP
        } else {
            libc::IFF_TUN
        };
        if self.offload {
            flags |= libc::IFF_VNET_HDR;
        }
        if self.queues > 1 {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        // A device whose last user is just closing is busy for a millisecond or so.
        for _ in 0..50 {
            let mut request = InterfaceRequest::new(&self.name);
            request.set_flags(flags);
            match request.perform(fd, Request::TUN_ATTACH) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    thread::sleep(Duration::from_millis(1));
                }
                other => {
                    debug_assert!(other.is_err() || request.name() == self.name);
                    return other;
                }
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }
}

/// Tells the kernel all that we take, then less and less until it agrees. Answers what it
/// takes from us: TCP super-frames always (it reads the header of every frame), those of
/// UDP if it knows them at all.
fn ask_for_offloads(fd: BorrowedFd<'_>) -> GsoKinds {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    let ecn = libc::TUN_F_TSO_ECN;
    let mut gso = GsoKinds {
        udp_l4: false,
        ..GsoKinds::ALL
    };
    if set_tun_offload(fd, tcp | ecn | udp).is_ok() {
        gso.udp_l4 = true;
        return gso;
    }
    // A kernel that agrees to nothing sends plain frames, which is fine as well.
    let _agreed = [tcp | ecn, tcp, libc::TUN_F_CSUM]
        .into_iter()
        .any(|offloads| set_tun_offload(fd, offloads).is_ok());
    gso
}

/// One queue of a TAP or TUN device.
///
/// What it sends, the kernel's stack receives on the interface, and the other way round.
/// The kernel copies each frame once.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    name: String,
    /// Whether there is a virtio-net header before each frame.
    header: bool,
    capabilities: Capabilities,
    pool: ReceivePool,
    /// Where frames are read to that there is no buffer for.
    scratch: Box<[u8]>,
    statistics: Statistics,
}

impl Tun {
    /// A TAP device, which carries Ethernet frames.
    pub fn tap(name: &str) -> TunBuilder {
        Self::builder(name, true)
    }

    /// A TUN device, which carries IP packets.
    pub fn tun(name: &str) -> TunBuilder {
        Self::builder(name, false)
    }

    fn builder(name: &str, ethernet: bool) -> TunBuilder {
        TunBuilder {
            name: name.to_owned(),
            ethernet,
            address: None,
            mtu: None,
            queues: 1,
            offload: true,
            up: true,
            buffers: ReceiveBuffers::default(),
        }
    }

    /// The name of the kernel's end, for [`Interface::open`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads one frame into the prepared buffers, if there is one.
    fn receive_one(&mut self) -> rustix::io::Result<Option<Frame>> {
        let mut header = [0; HEADER_LEN];
        let header_len = if self.header { HEADER_LEN } else { 0 };
        let capacity = self.pool.capacity();
        let read = {
            let mut parts = SmallVec::<[IoSliceMut<'_>; 3]>::new();
            parts.push(IoSliceMut::new(&mut header[..header_len]));
            parts.extend(self.pool.parts());
            readv(&self.fd, &mut parts)?
        };
        let reason = match read.checked_sub(header_len) {
            None | Some(0) => DropReason::Malformed,
            // Room for one byte more than the longest: this one was cut off.
            Some(len) if len >= capacity && self.pool.lacks_large() => DropReason::NoBuffer,
            Some(len) if len >= capacity => DropReason::TooLong,
            Some(len) => {
                let meta = if self.header {
                    virtio::parse(&header, len)
                } else {
                    Some(FrameMeta::default())
                };
                match meta.and_then(|meta| self.pool.take(len, meta)) {
                    Some(frame) => {
                        self.statistics.count_in(len);
                        return Ok(Some(frame));
                    }
                    None => DropReason::Malformed,
                }
            }
        };
        self.statistics.count_drops(reason, 1);
        Ok(None)
    }

    fn send_one(&mut self, frame: &Frame) -> rustix::io::Result<()> {
        let header = virtio::emit::<HEADER_LEN>(&frame.meta);
        let mut parts = SmallVec::<[IoSlice<'_>; 8]>::new();
        if self.header {
            parts.push(IoSlice::new(&header));
        }
        parts.extend(frame.io_slices());
        writev(&self.fd, &parts).map(|_| ())
    }
}

impl Driver for Tun {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let mut count = 0;
        // Dropped frames are counted against `max`, too: a flood of them ends.
        for _ in 0..max {
            let result = if self.pool.prepare() {
                self.receive_one()
            } else {
                rustix::io::read(&self.fd, &mut self.scratch[..]).map(|_| {
                    self.statistics.count_drops(DropReason::NoBuffer, 1);
                    None
                })
            };
            match result {
                Ok(Some(frame)) => {
                    into.push(frame);
                    count += 1;
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(count)
    }

    fn transmit(&mut self, frames: &mut VecDeque<Frame>) -> io::Result<usize> {
        let mut taken = 0;
        while let Some(frame) = frames.pop_front() {
            let sent = match admit(&self.capabilities, &frame) {
                Ok(()) => self.send_one(&frame),
                Err(reason) => {
                    self.statistics.count_drops(reason, 1);
                    taken += 1;
                    continue;
                }
            };
            match sent {
                Ok(()) => self.statistics.count_out(frame.len()),
                Err(Errno::INTR) => {
                    frames.push_front(frame);
                    continue;
                }
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {
                    frames.push_front(frame);
                    return Ok(taken);
                }
                // The kernel's end is down.
                Err(Errno::IO | Errno::NETDOWN) => {
                    self.statistics.count_drops(DropReason::Disconnected, 1);
                }
                Err(errno @ (Errno::BADFD | Errno::BADF | Errno::NODEV)) => {
                    frames.push_front(frame);
                    return Err(errno.into());
                }
                Err(_) => self.statistics.count_drops(DropReason::Refused, 1),
            }
            taken += 1;
        }
        Ok(taken)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn wait(&mut self, spin: Duration, timeout: Option<Duration>) -> io::Result<bool> {
        wait(self.fd.as_fd(), spin, timeout, || {
            is_readable(self.fd.as_fd())
        })
    }

    fn statistics(&mut self) -> &Statistics {
        &self.statistics
    }
}
