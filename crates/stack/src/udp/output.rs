//! Datagrams to send.

use core::net::{IpAddr, SocketAddr};

use zcn_frame::{Chain, Frame, GsoKind, Head};
use zcn_wire::{Protocol, TrafficClass, UdpRepr};

use super::socket::UdpSocket;
use super::{Udp, UdpSendError, endpoint, first_bytes};
use crate::demux::canonical;
use crate::error::RouteError;
use crate::id::InterfaceId;
use crate::interface::LOOPBACK;
use crate::ip::{Ip, SendError};
use crate::packet::{HEADROOM, Outgoing};
use crate::slab::Id;
use crate::time::Instant;

const HEADER_LEN: usize = zcn_wire::udp::HEADER_LEN;
/// Datagrams of one super-frame (as Linux: UDP_MAX_SEGMENTS).
const SEGMENTS_MAX: usize = 128;
/// Largest super-frame, from the IP header on.
const SUPER_FRAME_MAX: usize = 65_535;

/// Our end for datagrams of `socket` to `remote`, and the interface they leave by.
pub(super) fn local_end(
    ip: &Ip,
    socket: &UdpSocket,
    remote: SocketAddr,
) -> Result<(SocketAddr, InterfaceId), UdpSendError> {
    let bound = socket.binding.address;
    let families_fit = match bound.ip() {
        IpAddr::V6(own) if own.is_unspecified() => remote.is_ipv6() || !socket.binding.v6_only,
        own => own.is_ipv4() == remote.is_ipv4(),
    };
    if remote.port() == 0 || remote.ip().is_unspecified() || !families_fit {
        return Err(UdpSendError::InvalidDestination);
    }
    let group = is_group(remote.ip());
    let scope = match remote {
        SocketAddr::V6(v6) => InterfaceId::from_scope_id(v6.scope_id()),
        SocketAddr::V4(_) => None,
    };
    let wished = scope.or(socket.options.group_interface.filter(|_| group));
    let (source, interface) = ip.source_for(remote.ip(), wished)?;
    let source = if bound.ip().is_unspecified() {
        source
    } else {
        bound.ip()
    };
    if !ip.is_own(source) {
        return Err(RouteError::SourceNotOurs.into());
    }
    Ok((endpoint(source, bound.port(), interface), interface))
}

fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

impl Udp {
    /// Sends `payload`: one datagram, or with `segment_size` several of that size.
    pub(crate) fn send(
        &mut self,
        ip: &mut Ip,
        now: Instant,
        id: Id,
        remote: Option<SocketAddr>,
        mut payload: Chain,
        segment_size: Option<u16>,
    ) -> Result<(), UdpSendError> {
        let socket = self.sockets.get(id).ok_or(UdpSendError::NotFound)?;
        let (local, remote, interface) = match (remote.map(canonical), socket.peer) {
            (Some(remote), peer) if peer.is_none_or(|(_, known)| known != remote) => {
                let (local, interface) = local_end(ip, socket, remote)?;
                (local, remote, interface)
            }
            (_, Some((local, remote))) => {
                // The route may have changed since it was connected.
                let (_, interface) = local_end(ip, socket, remote)?;
                (local, remote, interface)
            }
            (_, None) => return Err(UdpSendError::DestinationRequired),
        };
        let options = socket.options;
        if !options.broadcast && is_broadcast(ip, interface, remote.ip()) {
            return Err(UdpSendError::Broadcast);
        }
        let ip_header = crate::ip::header_len(remote.ip());
        let longest = match remote.ip() {
            IpAddr::V4(_) => SUPER_FRAME_MAX - ip_header - HEADER_LEN,
            IpAddr::V6(_) => SUPER_FRAME_MAX - HEADER_LEN,
        };
        let route = ip.next_hop(remote.ip(), Some(interface));
        let route_mtu = route.and_then(|(_, _, route)| route?.mtu);
        let mtu = ip.path_mtu(now, remote.ip(), interface, route_mtu).mtu as usize;
        let unfragmented = mtu - ip_header - HEADER_LEN;
        let (max, unit) = match segment_size {
            Some(0) => return Err(UdpSendError::MessageTooLong { max: unfragmented }),
            Some(size) => (unfragmented, usize::from(size)),
            None if options.dont_fragment => (unfragmented, payload.len()),
            None => (longest, payload.len()),
        };
        if unit > max {
            return Err(UdpSendError::MessageTooLong { max });
        }
        let segments = segment_size.map_or(1, |_| payload.len().div_ceil(unit));
        let largest_payload = SUPER_FRAME_MAX - ip_header - HEADER_LEN;
        if segments > SEGMENTS_MAX || segments > 1 && payload.len() > largest_payload {
            let max = largest_payload.min(unit * SEGMENTS_MAX);
            return Err(UdpSendError::MessageTooLong { max });
        }
        if !ip.has_room(interface) {
            self.block(id);
            return Err(UdpSendError::WouldBlock);
        }
        self.stats.out_datagrams += segments as u64;
        let whole = segments == 1
            || takes_super_frames(ip, interface, ip_header + HEADER_LEN + payload.len());
        loop {
            let part = if whole {
                core::mem::take(&mut payload)
            } else {
                first_bytes(&mut payload, unit)
            };
            let gso = segment_size
                .filter(|_| whole && segments > 1)
                .map(|size| (GsoKind::UdpL4, size));
            let too_long = UdpSendError::MessageTooLong { max: longest };
            let mut frame = datagram(local, remote, part).ok_or(too_long)?;
            let packet = Outgoing {
                interface: Some(interface).filter(|&id| id != LOOPBACK),
                hop_limit: options
                    .hop_limit
                    .or_else(|| is_group(remote.ip()).then_some(1)),
                traffic_class: TrafficClass(options.traffic_class),
                dont_fragment: options.dont_fragment || unit <= unfragmented,
                gso,
                checksum_at: Some(zcn_wire::udp::CHECKSUM_OFFSET),
                ..Outgoing::new(local.ip(), remote.ip(), Protocol::UDP)
            };
            match ip.send(now, &packet, &mut frame) {
                // What finds a queue full is lost, as on any link.
                Ok(()) | Err(SendError::QueueFull) => {}
                Err(SendError::NoRoute) => return Err(RouteError::NoRoute.into()),
                Err(SendError::TooBig { mtu }) => {
                    let max = (mtu as usize).saturating_sub(ip_header + HEADER_LEN);
                    return Err(UdpSendError::MessageTooLong { max });
                }
            }
            if payload.is_empty() {
                return Ok(());
            }
        }
    }

    /// Notes that a socket waits for room.
    fn block(&mut self, id: Id) {
        if let Some(socket) = self.sockets.get_mut(id)
            && !socket.blocked
        {
            socket.blocked = true;
            self.blocked.push_back(id);
        }
    }
}

fn is_broadcast(ip: &Ip, interface: InterfaceId, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_broadcast()
                || ip
                    .interface(interface)
                    .is_some_and(|interface| interface.is_broadcast(address))
        }
        IpAddr::V6(_) => false,
    }
}

/// Whether the link takes a super-frame of `length` bytes from the IP header on.
fn takes_super_frames(ip: &Ip, interface: InterfaceId, length: usize) -> bool {
    match ip.interface(interface) {
        Some(interface) => {
            interface.capabilities.gso.udp_l4
                && length <= interface.capabilities.gso_max_size as usize
        }
        None => true,
    }
}

/// Header and payload of a datagram.
fn datagram(local: SocketAddr, remote: SocketAddr, payload: Chain) -> Option<Frame> {
    let repr = UdpRepr {
        src_port: local.port(),
        dst_port: remote.port(),
        payload_len: payload.len(),
    };
    let mut head = Head::with_room(HEADROOM);
    repr.emit(head.grow(HEADER_LEN).ok()?).ok()?;
    Some(Frame::of(head, payload))
}
