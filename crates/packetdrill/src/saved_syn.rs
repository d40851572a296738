//! The SYNs of listeners that keep them (`TCP_SAVE_SYN`, `TCP_SAVED_SYN`).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use libc::c_int;
use zcn_wire::{Ipv4View, Ipv6View, TcpFlags, TcpView};

use crate::core::Core;
use crate::errno::{Errno, Result};

/// Handshakes under way whose SYN is kept, at most.
const KEPT_MAX: usize = 1_024;

/// Headers of SYNs, by who sent them and the port they came to.
#[derive(Debug, Default)]
pub(crate) struct SavedSyns {
    kept: HashMap<(SocketAddr, u16), Vec<u8>>,
}

impl SavedSyns {
    /// Keeps the headers of a packet, from IP on, if it is a SYN.
    pub(crate) fn note(&mut self, packet: &[u8]) {
        let Some((source, header)) = headers(packet) else {
            return;
        };
        let Ok(tcp) = TcpView::new(&packet[header..]) else {
            return;
        };
        let flags = tcp.flags();
        if !flags.contains(TcpFlags::SYN) || flags.contains(TcpFlags::ACK) {
            return;
        }
        if self.kept.len() >= KEPT_MAX {
            self.kept.clear(); // of handshakes that came to nothing
        }
        let end = header + usize::from(packet[header + 12] >> 4) * 4;
        let key = (SocketAddr::new(source, tcp.src_port()), tcp.dst_port());
        self.kept.insert(key, packet[..end].to_vec());
    }

    /// The SYN of a connection that is accepted.
    pub(crate) fn take(&mut self, remote: SocketAddr, port: u16) -> Option<Vec<u8>> {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        self.kept.remove(&(remote, port))
    }
}

/// Who sent a packet of TCP, and where its TCP header begins.
fn headers(packet: &[u8]) -> Option<(IpAddr, usize)> {
    match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4View::new(packet).ok()?;
            (packet.get(9)? == &6).then(|| (ip.src().into(), usize::from(packet[0] & 15) * 4))
        }
        6 => {
            let ip = Ipv6View::new(packet).ok()?;
            (packet.get(6)? == &6).then(|| (ip.src().into(), 40))
        }
        _ => None,
    }
}

impl Core {
    /// getsockopt(2) with TCP_SAVED_SYN: told once.
    pub(crate) fn take_saved_syn(&mut self, fd: c_int, room: usize) -> Result<Vec<u8>> {
        let syn = &mut self.socket_mut(fd)?.saved_syn;
        match syn {
            Some(bytes) if bytes.len() > room => Err(Errno(libc::EINVAL)),
            _ => Ok(syn.take().unwrap_or_default()),
        }
    }
}
