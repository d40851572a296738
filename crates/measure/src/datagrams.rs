//! Batches of UDP datagrams: `recvmmsg`, `sendmmsg`, and super-packets.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::error::{Action, Result};

/// Buffers for a batch of datagrams, one slot each, received from or sent to IPv4 peers.
pub struct Batch {
    bytes: Vec<u8>,
    slot_bytes: usize,
    lengths: Vec<usize>,
    peers: Vec<libc::sockaddr_in>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Batch {
    /// Room for `slots` datagrams (or super-packets) of at most `slot_bytes` each.
    pub fn new(slots: usize, slot_bytes: usize) -> Self {
        // SAFETY: all three are plain C structs for which zero bytes are a valid value.
        let (peer, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            bytes: vec![0; slots * slot_bytes],
            slot_bytes,
            lengths: vec![0; slots],
            peers: vec![peer; slots],
            vectors: vec![vector; slots],
            headers: vec![header; slots],
        }
    }

    /// How many datagrams fit.
    pub fn slots(&self) -> usize {
        self.lengths.len()
    }

    /// The bytes in slot `index`.
    pub fn datagram(&self, index: usize) -> &[u8] {
        let from = index * self.slot_bytes;
        &self.bytes[from..from + self.lengths[index]]
    }

    /// Makes slot `index` hold `length` bytes and returns them to be written.
    ///
    /// # Panics
    /// When `length` exceeds the slot.
    pub fn prepare(&mut self, index: usize, length: usize) -> &mut [u8] {
        assert!(length <= self.slot_bytes, "a datagram fits its slot");
        self.lengths[index] = length;
        let from = index * self.slot_bytes;
        &mut self.bytes[from..from + length]
    }

    /// Where slot `index` came from or goes to.
    pub fn peer(&self, index: usize) -> SocketAddrV4 {
        let peer = &self.peers[index];
        let address = Ipv4Addr::from(u32::from_be(peer.sin_addr.s_addr));
        SocketAddrV4::new(address, u16::from_be(peer.sin_port))
    }

    /// Receives what is there, without waiting, and returns how many slots it filled.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let slots = self.slots();
        self.point(slots, |batch, _| batch.slot_bytes, true);
        // SAFETY: the first `slots` headers point at vectors, names and bytes that `self`
        // owns and that do not move or get touched otherwise during the call; `point` has
        // just written them.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                slots as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for index in 0..count {
            self.lengths[index] = self.headers[index].msg_len as usize;
        }
        Ok(count)
    }

    /// Sends the first `count` slots without waiting, to their peers or, on a connected
    /// socket, to its one, and returns how many went out.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now.
    pub fn send(
        &mut self,
        socket: &impl AsFd,
        from: usize,
        to: usize,
        connected: bool,
    ) -> io::Result<usize> {
        self.point(to, |batch, index| batch.lengths[index], !connected);
        let headers = &mut self.headers[from..to];
        // SAFETY: as in `receive`; the kernel only reads what the headers point at, and
        // `headers.len()` of them are live.
        let count = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as u32,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Points the first `count` headers at their slots. Done before each call, so that no
    /// pointer outlives a move of `self`.
    fn point(&mut self, count: usize, length: fn(&Self, usize) -> usize, named: bool) {
        for index in 0..count {
            let length = length(self, index);
            self.vectors[index] = libc::iovec {
                iov_base: self.bytes[index * self.slot_bytes..].as_mut_ptr().cast(),
                iov_len: length,
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_name = match named {
                true => (&raw mut self.peers[index]).cast(),
                false => std::ptr::null_mut(),
            };
            header.msg_namelen = match named {
                true => size_of::<libc::sockaddr_in>() as u32,
                false => 0,
            };
        }
    }
}

/// Waits until something can be received, `timeout` at most; false when nothing came.
pub fn wait_readable(socket: &impl AsFd, timeout: Duration) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    let timeout = Timespec::try_from(timeout).unwrap_or(Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    });
    match poll(&mut fds, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error).action("wait for datagrams"),
    }
}

/// Makes sends larger than `segment` bytes leave as many datagrams of that size, and lets
/// datagrams of one sender arrive glued together.
pub fn use_super_packets(socket: &impl AsFd, segment: u16) -> Result<()> {
    set_udp_option(socket, libc::UDP_SEGMENT, i32::from(segment)).action("set UDP_SEGMENT")?;
    set_udp_option(socket, libc::UDP_GRO, 1).action("set UDP_GRO")
}

fn set_udp_option(socket: &impl AsFd, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: `value` is a live i32 and the length given is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_UDP,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_batch_arrives_with_lengths_and_peers() {
        let (a, b) = (
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
        );
        a.connect(b.local_addr().unwrap()).unwrap();
        let mut out = Batch::new(4, 32);
        for index in 0..4 {
            out.prepare(index, index + 1).fill(index as u8);
        }
        assert_eq!(out.send(&a, 0, 4, true).unwrap(), 4);
        let mut back = Batch::new(8, 32);
        assert!(wait_readable(&b, Duration::from_secs(5)).unwrap());
        assert_eq!(back.receive(&b).unwrap(), 4);
        for index in 0..4 {
            assert_eq!(back.datagram(index), vec![index as u8; index + 1]);
            assert_eq!(
                std::net::SocketAddr::V4(back.peer(index)),
                a.local_addr().unwrap()
            );
        }
        // The peers are known now, so the same batch can go back.
        assert_eq!(back.send(&b, 0, 4, false).unwrap(), 4);
        assert_eq!(out.receive(&a).unwrap(), 4);
        let empty = back.receive(&b).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
    }
}
