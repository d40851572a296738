//! What a multishot `recvmsg` writes in front of the datagram in a provided buffer.
//!
//! Layout (`struct io_uring_recvmsg_out`, io_uring_prep_recvmsg_multishot(3)): 16 bytes of lengths
//! and flags, then the room reserved for the address, then the room for control data, then the
//! payload. The lengths come from the kernel, yet are checked as if they came from the wire.
#![allow(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room reserved for the sender's address, bytes: a `sockaddr_in6` is the longest of IP.
pub const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();
/// Room reserved for control messages, bytes.
pub const CONTROL_BYTES: usize = 64;
const HEADER_BYTES: usize = 16;
/// Bytes in front of the payload.
pub const PREFIX_BYTES: usize = HEADER_BYTES + NAME_BYTES + CONTROL_BYTES;

/// A datagram as it lies in a provided buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvMsg {
    /// Sender; `None` for an address family that is not IP.
    pub peer: Option<SocketAddr>,
    /// Size of each datagram when the kernel coalesced several (`UDP_GRO`), else 0.
    pub gro_size: u16,
    /// Seconds and nanoseconds (below a billion) of `CLOCK_REALTIME` at which the kernel received
    /// it, with `SO_TIMESTAMPNS`.
    pub timestamp: Option<(u64, u32)>,
    /// Where the payload begins in the buffer.
    pub offset: usize,
    /// Bytes of payload in the buffer.
    pub len: usize,
    /// The datagram was longer than the buffer.
    pub truncated: bool,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Parses the bytes of a buffer filled by a multishot `recvmsg`; `None` if they do not hold
/// together.
pub fn parse(bytes: &[u8]) -> Option<RecvMsg> {
    let name_len = u32_at(bytes, 0)? as usize;
    let control_len = u32_at(bytes, 4)? as usize;
    let flags = u32_at(bytes, 12)? as i32;
    let payload_here = bytes.len().checked_sub(PREFIX_BYTES)?;
    let name = bytes.get(HEADER_BYTES..HEADER_BYTES + name_len.min(NAME_BYTES))?;
    let control_at = HEADER_BYTES + NAME_BYTES;
    let control = bytes.get(control_at..control_at + control_len.min(CONTROL_BYTES))?;
    Some(RecvMsg {
        peer: parse_address(name),
        gro_size: gro_size(control).unwrap_or(0),
        timestamp: timestamp(control),
        offset: PREFIX_BYTES,
        len: payload_here,
        truncated: flags & libc::MSG_TRUNC != 0,
    })
}

/// The IP address in the first bytes of a `sockaddr`, checked against its length.
pub fn parse_address(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(name.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(octets), port).into())
        }
        libc::AF_INET6 => {
            let flow = u32_at(name, 4)?;
            let octets: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            let scope = u32_at(name, 24)?;
            Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope).into())
        }
        _ => None,
    }
}

/// Looks for `UDP_GRO` among the control messages.
pub fn gro_size(control: &[u8]) -> Option<u16> {
    let data = control_message(control, libc::SOL_UDP, libc::UDP_GRO)?;
    // The kernel writes an int; the size fits 16 bits because a datagram does.
    u16::try_from(u32_at(data, 0)?).ok()
}

/// Looks for `SO_TIMESTAMPNS` among the control messages.
fn timestamp(control: &[u8]) -> Option<(u64, u32)> {
    let data = control_message(control, libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS)?;
    let word = |at: usize| Some(i64::from_ne_bytes(data.get(at..at + 8)?.try_into().ok()?));
    let seconds = u64::try_from(word(0)?).ok()?;
    let nanos = u32::try_from(word(8)?).ok()?;
    (nanos < 1_000_000_000).then_some((seconds, nanos))
}

/// The data of the first control message of a kind.
fn control_message(mut control: &[u8], level: i32, kind: i32) -> Option<&[u8]> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    while control.len() >= HEADER {
        let len = usize::from_ne_bytes(control.get(..8)?.try_into().ok()?);
        let is = (u32_at(control, 8)? as i32, u32_at(control, 12)? as i32);
        if len < HEADER || len > control.len() {
            return None;
        }
        if is == (level, kind) {
            return control.get(HEADER..len);
        }
        control = control.get(len.next_multiple_of(8)..)?;
    }
    None
}

/// The IP address in a kernel-filled `sockaddr_storage`.
pub(crate) fn socket_addr(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    // SAFETY: any 28 bytes inside a `sockaddr_storage` (128 bytes, initialised at birth) may be
    // read as bytes.
    let bytes =
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(storage).cast::<u8>(), NAME_BYTES) };
    parse_address(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &[u8], control: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; PREFIX_BYTES];
        bytes[0..4].copy_from_slice(&(name.len() as u32).to_ne_bytes());
        bytes[4..8].copy_from_slice(&(control.len() as u32).to_ne_bytes());
        bytes[8..12].copy_from_slice(&(payload.len() as u32).to_ne_bytes());
        bytes[16..16 + name.len()].copy_from_slice(name);
        bytes[16 + NAME_BYTES..16 + NAME_BYTES + control.len()].copy_from_slice(control);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn name_v4() -> Vec<u8> {
        let mut name = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        name.extend_from_slice(&4242u16.to_be_bytes());
        name.extend_from_slice(&[127, 0, 0, 9]);
        name.extend_from_slice(&[0; 8]);
        name
    }

    #[test]
    fn a_datagram_with_gro_is_parsed() {
        let mut control = 20usize.to_ne_bytes().to_vec();
        control.extend_from_slice(&libc::SOL_UDP.to_ne_bytes());
        control.extend_from_slice(&libc::UDP_GRO.to_ne_bytes());
        control.extend_from_slice(&1200u32.to_ne_bytes());
        control.extend_from_slice(&[0; 4]);
        let parsed = parse(&sample(&name_v4(), &control, b"payload")).unwrap();
        assert_eq!(parsed.peer, Some("127.0.0.9:4242".parse().unwrap()));
        assert_eq!(parsed.gro_size, 1200);
        assert_eq!((parsed.offset, parsed.len), (PREFIX_BYTES, 7));
        assert!(!parsed.truncated);
    }

    #[test]
    fn lengths_that_do_not_hold_together_are_refused() {
        let whole = sample(&name_v4(), &[], b"");
        for len in 0..PREFIX_BYTES {
            assert_eq!(parse(&whole[..len]), None, "{len} bytes are no datagram");
        }
        let mut huge = whole.clone();
        huge[0..8].fill(0xff);
        assert!(
            parse(&huge).is_some(),
            "lengths beyond the room are cut to it"
        );
        assert_eq!(gro_size(&[0xff; 64]), None);
        assert_eq!(gro_size(&[0; 64]), None, "a length of zero must not loop");
    }

    #[test]
    fn ipv6_addresses_keep_their_scope() {
        let address: SocketAddr = "[fe80::1%7]:53".parse().unwrap();
        let raw = socket2::SockAddr::from(address);
        // SAFETY: a `SockAddr` is `len` initialised bytes.
        let bytes =
            unsafe { std::slice::from_raw_parts(raw.as_ptr().cast::<u8>(), raw.len() as usize) };
        assert_eq!(parse_address(bytes), Some(address));
    }
}
