//! The settings of a kernel interface.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::error::OpenError;
use crate::ioctl::{self, InterfaceRequest, Request, add_ipv6};

const ADMIN: &str = "CAP_NET_ADMIN";

/// A network interface of the kernel, by name, in the network namespace of the thread that
/// opened this.
///
/// What is changed here stays changed; for a TAP or TUN device until it is closed.
#[derive(Debug)]
pub struct Interface {
    name: String,
    index: u32,
    control: OwnedFd,
}

impl Interface {
    /// The interface of this name.
    ///
    /// # Errors
    /// There is none, or the name is none.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        check_name(name)?;
        let control = control(AddressFamily::INET)
            .map_err(|error| OpenError::from_kernel(name, "open a socket", ADMIN, error))?;
        let mut this = Self {
            name: name.to_owned(),
            index: 0,
            control,
        };
        let request = this.ask("find it", Request::GET_INDEX, |_| ())?;
        // Indices are positive.
        this.index = request.number() as u32;
        Ok(this)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Largest IP packet in bytes.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn mtu(&self) -> Result<u32, OpenError> {
        let request = self.ask("read the MTU", Request::GET_MTU, |_| ())?;
        Ok(u32::try_from(request.number()).unwrap_or(0))
    }

    /// Sets the largest IP packet, in bytes.
    ///
    /// # Errors
    /// No privilege, or beyond what the interface can do.
    pub fn set_mtu(&self, mtu: u32) -> Result<(), OpenError> {
        let number = i32::try_from(mtu).unwrap_or(i32::MAX);
        let set = self.ask("set the MTU", Request::SET_MTU, |request| {
            request.set_number(number);
        });
        match set {
            Ok(_) => Ok(()),
            Err(error) if error.errno() == Some(libc::EINVAL) => Err(OpenError::Mtu {
                name: self.name.clone(),
                mtu,
            }),
            Err(error) => Err(error),
        }
    }

    /// Its link-layer address; zeroes if it has none.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn hardware_address(&self) -> Result<[u8; 6], OpenError> {
        let request = self.ask("read the address", Request::GET_HARDWARE_ADDRESS, |_| ())?;
        Ok(request.hardware_address())
    }

    /// Sets it up (it carries frames) or down.
    ///
    /// # Errors
    /// No privilege.
    pub fn set_up(&self, up: bool) -> Result<(), OpenError> {
        let flags = self
            .ask("read the flags", Request::GET_FLAGS, |_| ())?
            .flags();
        let flags = if up {
            flags | libc::IFF_UP
        } else {
            flags & !libc::IFF_UP
        };
        self.ask("set it up or down", Request::SET_FLAGS, |request| {
            request.set_flags(flags);
        })?;
        Ok(())
    }

    /// Whether it has a carrier: it is up, and so is what it is connected to.
    ///
    /// Where this says `true`, a frame sent from now on is not lost at this end. Without
    /// asking, that may come up to a second after the carrier: the kernel readies such an
    /// interface when it finds the time (`net/core/link_watch.c`), and drops until then.
    /// Set one end of a veth pair up after the other, and it is the first that waits.
    ///
    /// # Errors
    /// The interface is gone, or is of a kind that knows no carrier (`EOPNOTSUPP`).
    pub fn carrier(&self) -> Result<bool, OpenError> {
        ioctl::carrier(self.control.as_fd(), &self.name).map_err(|error| {
            OpenError::from_kernel(&self.name, "ask for its carrier", ADMIN, error)
        })
    }

    /// Gives it an address: the only one for IPv4, one more for IPv6. It belongs to the
    /// kernel's stack from then on.
    ///
    /// # Errors
    /// No privilege; a prefix length beyond the address's; for IPv6, an address that it
    /// has already.
    pub fn add_address(&self, address: IpAddr, prefix_len: u8) -> Result<(), OpenError> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix_len > most {
            return Err(OpenError::Setting {
                setting: "prefix length",
                got: prefix_len.into(),
                range: "up to 32 for IPv4, up to 128 for IPv6",
            });
        }
        let action = "add an address";
        match address {
            IpAddr::V4(address) => {
                self.ask(action, Request::SET_ADDRESS, |request| {
                    request.set_ipv4(address);
                })?;
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(prefix_len))
                    .unwrap_or(0);
                self.ask(action, Request::SET_NETMASK, |request| {
                    request.set_ipv4(Ipv4Addr::from_bits(mask));
                })?;
            }
            IpAddr::V6(address) => control(AddressFamily::INET6)
                .and_then(|control| {
                    // Indices are positive numbers of the kernel's `int`.
                    add_ipv6(control.as_fd(), self.index as i32, address, prefix_len)
                })
                .map_err(|error| OpenError::from_kernel(&self.name, action, ADMIN, error))?,
        }
        Ok(())
    }

    fn ask(
        &self,
        action: &'static str,
        what: Request,
        fill: impl FnOnce(&mut InterfaceRequest),
    ) -> Result<InterfaceRequest, OpenError> {
        let mut request = InterfaceRequest::new(&self.name);
        fill(&mut request);
        match request.perform(self.control.as_fd(), what) {
            Ok(()) => Ok(request),
            Err(error) => Err(OpenError::from_kernel(&self.name, action, ADMIN, error)),
        }
    }
}

fn control(family: AddressFamily) -> io::Result<OwnedFd> {
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(socket)
}

pub(crate) fn check_name(name: &str) -> Result<(), OpenError> {
    let fits = !name.is_empty() && name.len() < libc::IFNAMSIZ && name != "." && name != "..";
    let clean = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    if fits && name.bytes().all(clean) {
        Ok(())
    } else {
        Err(OpenError::Name {
            name: name.to_owned(),
        })
    }
}

/// The address of a stack beside the kernel's on an interface with the address `kernel`:
/// another one, locally administered, and the same every time.
pub(crate) fn neighbour_address(kernel: [u8; 6]) -> [u8; 6] {
    let mut address = kernel;
    address[0] = (address[0] | 0x02) & !0x01;
    address[5] ^= 0x01;
    // An interface without address: still one that is no zeroes.
    address[1] ^= 0x5a;
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_not_take_are_refused_before_it_is_asked() {
        for name in [
            "",
            "sixteen-letters!",
            "a/b",
            "a b",
            "a:b",
            ".",
            "..",
            "é",
            "tap\0",
        ] {
            assert!(
                matches!(check_name(name), Err(OpenError::Name { .. })),
                "{name:?}"
            );
        }
        for name in ["lo", "tap-0.1_x", "fifteen-letters"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let error = Interface::open("no-such-thing").expect_err("not there");
        assert!(matches!(error, OpenError::NoInterface { .. }), "{error}");
        assert!(error.to_string().contains("no-such-thing"));
    }

    #[test]
    fn loopback_has_an_index_and_an_mtu() {
        let lo = Interface::open("lo").expect("every namespace has it");
        assert!(lo.index() > 0);
        assert!(lo.mtu().expect("it has one") > 0);
    }

    #[test]
    fn the_neighbour_has_another_address_and_it_is_unicast() {
        for kernel in [[0; 6], [2, 0, 0, 0, 0, 1], [0xff; 6]] {
            let address = neighbour_address(kernel);
            assert_ne!(address, kernel);
            assert_eq!(address[0] & 3, 2);
        }
    }
}
