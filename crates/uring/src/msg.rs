//! The message header of `sendmsg` and `recvmsg` with everything it points to in one box.
#![allow(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;

use socket2::SockAddr;
use zcn_pool::{Buf, SharedBuf};

use crate::payload::kernel_space;

/// Most slices gathered by one message; more wait for the next.
pub const MAX_SLICES: usize = 16;

/// Room for control messages, bytes: segment size, packet info and a timestamp.
const CONTROL_BYTES: usize = 128;

#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// One message: slices to send or a buffer to receive into, peer address, control data.
///
/// Always boxed: the header points into the box itself. Boxes are recycled by the ring
/// ([`Ring::take_msg`](crate::Ring::take_msg)), so a steady state allocates nothing.
pub struct Msg {
    header: libc::msghdr,
    iov: [libc::iovec; MAX_SLICES],
    address: libc::sockaddr_storage,
    address_len: libc::socklen_t,
    control: Control,
    control_len: usize,
    slices: [Option<SharedBuf>; MAX_SLICES],
    count: usize,
    bytes: usize,
    buf: Option<Buf>,
}

impl fmt::Debug for Msg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Msg")
            .field("slices", &self.count)
            .field("bytes", &self.bytes)
            .field("address", &self.peer())
            .finish_non_exhaustive()
    }
}

impl Msg {
    /// An empty message.
    pub fn new() -> Box<Self> {
        // SAFETY: `msghdr` and `sockaddr_storage` are plain C structs for which all zeroes is the
        // empty value; no pointer in them is used before `prepare_*` sets it.
        let (header, address) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Box::new(Self {
            header,
            iov: [libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            }; MAX_SLICES],
            address,
            address_len: 0,
            control: Control([0; CONTROL_BYTES]),
            control_len: 0,
            slices: [const { None }; MAX_SLICES],
            count: 0,
            bytes: 0,
            buf: None,
        })
    }

    /// Back to empty; slices and buffer go home.
    pub fn clear(&mut self) {
        for slice in &mut self.slices[..self.count] {
            *slice = None;
        }
        self.count = 0;
        self.bytes = 0;
        self.buf = None;
        self.address_len = 0;
        self.control_len = 0;
        self.header.msg_flags = 0;
    }

    /// Adds a slice to send; gives it back when the message is full.
    pub fn push(&mut self, slice: SharedBuf) -> Result<(), SharedBuf> {
        if self.count == MAX_SLICES {
            return Err(slice);
        }
        self.bytes += slice.len();
        self.slices[self.count] = Some(slice);
        self.count += 1;
        Ok(())
    }

    /// Takes the slices out in order, for what a short send left over.
    pub fn take_slices(&mut self) -> impl DoubleEndedIterator<Item = SharedBuf> {
        let count = std::mem::take(&mut self.count);
        self.bytes = 0;
        self.slices[..count].iter_mut().filter_map(Option::take)
    }

    /// Number of slices.
    pub fn slice_count(&self) -> usize {
        self.count
    }

    /// Bytes in all slices.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Buffer to receive into.
    pub fn set_buf(&mut self, buf: Buf) {
        self.buf = Some(buf);
    }

    /// The buffer received into, its length set to what arrived.
    pub fn take_buf(&mut self) -> Option<Buf> {
        self.buf.take()
    }

    pub(crate) fn buf_mut(&mut self) -> Option<&mut Buf> {
        self.buf.as_mut()
    }

    /// Destination of a datagram.
    pub fn set_peer(&mut self, peer: SocketAddr) {
        let address = SockAddr::from(peer);
        self.set_address(&address);
    }

    /// Destination as a raw socket address (Unix, packet).
    pub fn set_address(&mut self, address: &SockAddr) {
        let len = address.len() as usize;
        debug_assert!(len <= size_of::<libc::sockaddr_storage>());
        // SAFETY: source is `len` initialised bytes of a `SockAddr`, which is never longer than a
        // `sockaddr_storage`; the destination is our own storage; they do not overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(
                address.as_ptr().cast::<u8>(),
                std::ptr::from_mut(&mut self.address).cast::<u8>(),
                len,
            );
        }
        self.address_len = address.len();
    }

    /// Address of the sender after a receive, or the destination set before a send.
    pub fn peer(&self) -> Option<SocketAddr> {
        if self.address_len == 0 {
            return None;
        }
        crate::recv_msg::socket_addr(&self.address)
    }

    /// Adds `UDP_SEGMENT`: the kernel cuts the message into datagrams of `size` bytes.
    pub fn set_udp_segment(&mut self, size: u16) {
        let header = libc::cmsghdr {
            // SAFETY: CMSG_LEN only computes.
            cmsg_len: unsafe { libc::CMSG_LEN(2) } as usize,
            cmsg_level: libc::SOL_UDP,
            cmsg_type: libc::UDP_SEGMENT,
        };
        // SAFETY: CMSG_SPACE(2) = 24 bytes fit the 128 of `control`, which is aligned to 8, as a
        // cmsghdr must be; the payload starts 16 bytes in.
        unsafe {
            let at = self.control.0.as_mut_ptr();
            at.cast::<libc::cmsghdr>().write(header);
            at.add(size_of::<libc::cmsghdr>()).cast::<u16>().write(size);
            self.control_len = libc::CMSG_SPACE(2) as usize;
        }
    }

    /// What [`Self::set_udp_segment`] set.
    pub fn udp_segment(&self) -> Option<u16> {
        const AT: usize = size_of::<libc::cmsghdr>();
        if self.control_len == 0 {
            return None;
        }
        let size = self.control.0[AT..].first_chunk()?;
        Some(u16::from_ne_bytes(*size))
    }

    /// Control data received.
    pub fn control(&self) -> &[u8] {
        &self.control.0[..self.control_len.min(CONTROL_BYTES)]
    }

    /// Points the header at the slices, address and control data for a send.
    #[doc(hidden)]
    pub fn prepare_send(&mut self) -> *const libc::msghdr {
        for (iov, slice) in self
            .iov
            .iter_mut()
            .zip(self.slices[..self.count].iter().flatten())
        {
            iov.iov_base = slice.as_ptr().cast_mut().cast();
            iov.iov_len = slice.len();
        }
        self.header.msg_iov = self.iov.as_mut_ptr();
        self.header.msg_iovlen = self.count;
        self.header.msg_flags = 0;
        self.header.msg_namelen = self.address_len;
        self.header.msg_name = match self.address_len {
            0 => std::ptr::null_mut(),
            _ => std::ptr::from_mut(&mut self.address).cast(),
        };
        self.header.msg_controllen = self.control_len;
        self.header.msg_control = match self.control_len {
            0 => std::ptr::null_mut(),
            _ => self.control.0.as_mut_ptr().cast(),
        };
        &raw const self.header
    }

    /// Points the header at the receive buffer with room for address and control data.
    pub(crate) fn prepare_recv(&mut self) -> *mut libc::msghdr {
        if let Some(buf) = &mut self.buf {
            let (start, len) = kernel_space(buf);
            self.iov[0] = libc::iovec {
                iov_base: start.cast(),
                iov_len: len,
            };
            self.header.msg_iov = self.iov.as_mut_ptr();
            self.header.msg_iovlen = 1;
        } else {
            self.header.msg_iov = std::ptr::null_mut();
            self.header.msg_iovlen = 0;
        }
        self.header.msg_flags = 0;
        self.header.msg_name = std::ptr::from_mut(&mut self.address).cast();
        self.header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        self.header.msg_control = self.control.0.as_mut_ptr().cast();
        self.header.msg_controllen = CONTROL_BYTES;
        &raw mut self.header
    }

    /// Where the kernel may write an address and its length.
    pub(crate) fn prepare_name(&mut self) -> (*mut libc::sockaddr_storage, *mut u32) {
        self.header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        self.header.msg_controllen = 0;
        (&raw mut self.address, &raw mut self.header.msg_namelen)
    }

    /// Takes over what the kernel wrote into the header.
    pub(crate) fn received(&mut self, success: bool) {
        // On an error the kernel leaves the lengths as they were: the room, not what is in it.
        self.address_len = if success { self.header.msg_namelen } else { 0 };
        self.control_len = if success {
            self.header.msg_controllen
        } else {
            0
        };
    }

    /// Whether the datagram was longer than the buffer (`MSG_TRUNC`).
    pub fn is_truncated(&self) -> bool {
        self.header.msg_flags & libc::MSG_TRUNC != 0
    }

    /// Room that a multishot receive reserves for address and control data in each buffer.
    pub(crate) fn prepare_recv_multi(&mut self) -> *mut libc::msghdr {
        self.header.msg_iov = std::ptr::null_mut();
        self.header.msg_iovlen = 0;
        self.header.msg_name = std::ptr::null_mut();
        self.header.msg_namelen = crate::recv_msg::NAME_BYTES as libc::socklen_t;
        self.header.msg_control = std::ptr::null_mut();
        self.header.msg_controllen = crate::recv_msg::CONTROL_BYTES;
        self.header.msg_flags = 0;
        &raw mut self.header
    }
}
