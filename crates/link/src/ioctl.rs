//! The control calls of network interfaces and of `/dev/net/tun`.

#![allow(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct ifreq` of netdevice(7): a name of up to 15 bytes and a zero, then what the
/// request wants.
#[repr(C, align(8))]
pub(crate) struct InterfaceRequest([u8; REQUEST_LEN]);

const REQUEST_LEN: usize = 40;
const _: () = assert!(REQUEST_LEN == size_of::<libc::ifreq>());

/// Where the second part begins, and so the most bytes of a name with its zero.
const NAME_LEN: usize = libc::IFNAMSIZ;

impl InterfaceRequest {
    /// For the interface of this name, which has been checked.
    pub(crate) fn new(name: &str) -> Self {
        let mut bytes = [0; REQUEST_LEN];
        let len = name.len().min(NAME_LEN - 1);
        bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
        Self(bytes)
    }

    /// The name that the kernel wrote.
    pub(crate) fn name(&self) -> String {
        let name = &self.0[..NAME_LEN];
        let len = name.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&name[..len.unwrap_or(NAME_LEN)]).into_owned()
    }

    pub(crate) fn set_flags(&mut self, flags: i32) {
        // The kernel's field has 16 bits, and so have all flags.
        self.put(&(flags as u16).to_ne_bytes());
    }

    pub(crate) fn flags(&self) -> i32 {
        u16::from_ne_bytes([self.0[NAME_LEN], self.0[NAME_LEN + 1]]).into()
    }

    pub(crate) fn set_number(&mut self, number: i32) {
        self.put(&number.to_ne_bytes());
    }

    pub(crate) fn number(&self) -> i32 {
        let field = self.0[NAME_LEN..].first_chunk().copied();
        i32::from_ne_bytes(field.unwrap_or_default())
    }

    /// The link-layer address behind the family.
    pub(crate) fn hardware_address(&self) -> [u8; 6] {
        let field = self.0[NAME_LEN + 2..].first_chunk().copied();
        field.unwrap_or_default()
    }

    /// A `sockaddr_in` without port.
    pub(crate) fn set_ipv4(&mut self, address: Ipv4Addr) {
        // The family is two bytes, and so is the port; families are small numbers.
        self.put(&(libc::AF_INET as u16).to_ne_bytes());
        self.0[NAME_LEN + 4..NAME_LEN + 8].copy_from_slice(&address.octets());
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0[NAME_LEN..NAME_LEN + bytes.len()].copy_from_slice(bytes);
    }

    /// Performs the request, which reads and writes an `ifreq`.
    pub(crate) fn perform(&mut self, fd: BorrowedFd<'_>, request: Request) -> io::Result<()> {
        // SAFETY: every `Request` names a call that reads and writes a `struct ifreq`, and
        // this is one, as long and as aligned, alive through the call.
        let result = unsafe { libc::ioctl(fd.as_raw_fd(), request.0, self.0.as_mut_ptr()) };
        check(result)
    }
}

/// A request that works on an `ifreq`.
#[derive(Clone, Copy)]
pub(crate) struct Request(libc::Ioctl);

impl Request {
    pub(crate) const TUN_ATTACH: Self = Self(libc::TUNSETIFF);
    pub(crate) const GET_MTU: Self = Self(libc::SIOCGIFMTU);
    pub(crate) const SET_MTU: Self = Self(libc::SIOCSIFMTU);
    pub(crate) const GET_FLAGS: Self = Self(libc::SIOCGIFFLAGS);
    pub(crate) const SET_FLAGS: Self = Self(libc::SIOCSIFFLAGS);
    pub(crate) const GET_INDEX: Self = Self(libc::SIOCGIFINDEX);
    pub(crate) const GET_HARDWARE_ADDRESS: Self = Self(libc::SIOCGIFHWADDR);
    pub(crate) const SET_ADDRESS: Self = Self(libc::SIOCSIFADDR);
    pub(crate) const SET_NETMASK: Self = Self(libc::SIOCSIFNETMASK);
}

/// Gives the interface `index` an IPv6 address; `fd` is an IPv6 socket.
pub(crate) fn add_ipv6(
    fd: BorrowedFd<'_>,
    index: i32,
    address: Ipv6Addr,
    prefix_len: u8,
) -> io::Result<()> {
    let request = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr {
            s6_addr: address.octets(),
        },
        ifr6_prefixlen: prefix_len.into(),
        ifr6_ifindex: index,
    };
    // SAFETY: on an IPv6 socket this request reads a `struct in6_ifreq`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFADDR, &raw const request) };
    check(result)
}

/// Whether the interface of this name has a carrier (`ETHTOOL_GLINK`).
///
/// Before the kernel answers it does what a change of the carrier left for later: until then an
/// interface that got its carrier drops what is sent through it.
pub(crate) fn carrier(fd: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    /// `ETHTOOL_GLINK` of `linux/ethtool.h`.
    const GET_LINK: u32 = 0xa;
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let mut value = Value {
        command: GET_LINK,
        data: 0,
    };
    let mut request = InterfaceRequest::new(name);
    let pointer = &raw mut value;
    request.put(&pointer.expose_provenance().to_ne_bytes());
    // SAFETY: the request reads and writes an `ifreq`, which this is; its second part points to
    // a `struct ethtool_value`, which this command reads and writes. Both live through the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCETHTOOL, request.0.as_mut_ptr()) };
    check(result)?;
    Ok(value.data != 0)
}

/// Says which offloads the reader of a TAP or TUN device takes (`TUN_F_*`).
pub(crate) fn set_tun_offload(fd: BorrowedFd<'_>, offloads: libc::c_uint) -> io::Result<()> {
    // SAFETY: the argument is a number, not a pointer.
    let result = unsafe {
        libc::ioctl(
            fd.as_raw_fd(),
            libc::TUNSETOFFLOAD,
            libc::c_ulong::from(offloads),
        )
    };
    check(result)
}

/// Says how long the virtio-net header of a TAP or TUN device is.
pub(crate) fn set_tun_header_len(fd: BorrowedFd<'_>, len: libc::c_int) -> io::Result<()> {
    // SAFETY: the request reads an `int`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) };
    check(result)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
