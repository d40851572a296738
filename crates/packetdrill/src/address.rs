//! Socket addresses as bytes of `sockaddr_in` and `sockaddr_in6` (ip(7), ipv6(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::errno::{Errno, Result};

const V4_LEN: usize = 16;
const V6_LEN: usize = 28;

/// Reads an address for a socket of one family.
pub(crate) fn read(bytes: &[u8], v6: bool) -> Result<SocketAddr> {
    let (len, expected) = if v6 {
        (V6_LEN, libc::AF_INET6)
    } else {
        (V4_LEN, libc::AF_INET)
    };
    if bytes.len() < len {
        return Err(Errno(libc::EINVAL));
    }
    if i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) != expected {
        return Err(Errno(libc::EAFNOSUPPORT));
    }
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    if v6 {
        let mut octets = [0; 16];
        octets.copy_from_slice(&bytes[8..24]);
        let ip = Ipv6Addr::from(octets);
        let scope = u32::from_ne_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
        Ok(SocketAddrV6::new(ip, port, 0, scope).into())
    } else {
        let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
        Ok(SocketAddrV4::new(ip, port).into())
    }
}

/// Writes an address, for an IPv6 socket mapped if need be.
pub(crate) fn write(address: SocketAddr, v6: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(V6_LEN);
    let family = |family: i32| (family as u16).to_ne_bytes();
    match (address.ip(), v6) {
        (IpAddr::V4(ip), false) => {
            bytes.extend(family(libc::AF_INET));
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(ip.octets());
            bytes.resize(V4_LEN, 0);
        }
        (ip, _) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            bytes.extend(family(libc::AF_INET6));
            bytes.extend(address.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(ip.octets());
            bytes.resize(V6_LEN, 0);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_and_others_are_refused() {
        for (text, v6) in [("192.0.2.1:8080", false), ("[fd3d::1]:80", true)] {
            let address: SocketAddr = text.parse().expect("an address");
            let bytes = write(address, v6);
            assert_eq!(read(&bytes, v6), Ok(address));
            assert!(read(&bytes, !v6).is_err());
            assert_eq!(
                read(&bytes[..bytes.len() - 1], v6),
                Err(Errno(libc::EINVAL))
            );
        }
        let mapped = write("192.0.2.1:80".parse().expect("an address"), true);
        let read = read(&mapped, true).expect("an address");
        assert_eq!(read.to_string(), "[::ffff:192.0.2.1]:80");
    }
}
