//! What time brings about below the sockets: neighbours, addresses, fragments.

use core::net::IpAddr;
use core::time::Duration;

use zcn_frame::{Chain, Frame, FrameMeta, Head};
use zcn_wire::{Protocol, TrafficClass};

use super::{Ip, Report};
use crate::error::NetworkError;
use crate::icmp::ErrorMessage;
use crate::id::InterfaceId;
use crate::interface::AddressState;
use crate::neighbour::Timeout;
use crate::packet::Packet;
use crate::reassembly::Expired;
use crate::stats::DropReason;
use crate::time::{Instant, earlier};

/// Between two announcements of an IPv4 address (RFC 5227 section 1.1).
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of a packet that a report keeps: all headers that say whose it is.
const REPORT_BYTES: usize = 128;

impl Ip {
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.interfaces.len() {
            let id = InterfaceId(index as u16);
            // Before the probes, which otherwise nobody might hear.
            self.report_groups(now, id);
            self.check_addresses_in_use(now, id);
            while let Some(timeout) = self.interfaces[index].neighbours.pop_timeout(now) {
                match timeout {
                    Timeout::Solicit(address, link) => self.solicit(now, id, address, link),
                    Timeout::Failed(frames) => {
                        for frame in frames {
                            self.drop(DropReason::NeighbourUnresolved);
                            self.report(&frame, NetworkError::HostUnreachable);
                        }
                    }
                }
            }
        }
        while let Some(expired) = self.reassembly.pop_expired(now) {
            self.fragments_expired(now, expired);
        }
    }

    /// Remembers that a packet of ours will not arrive.
    fn report(&mut self, frame: &Frame, error: NetworkError) {
        let mut quoted = vec![0; frame.len().min(REPORT_BYTES)];
        frame.copy_to_slice(0, &mut quoted);
        self.reports.push_back(Report { quoted, error });
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[inline]
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let mut next = self.reassembly.next_deadline();
        for interface in &self.interfaces {
            next = earlier(next, interface.neighbours.next_deadline());
            next = earlier(next, interface.listener.next_deadline());
            for own in &interface.addresses {
                next = earlier(next, own.next);
            }
        }
        next
    }

    /// Probes of IPv6 addresses, announcements of IPv4 addresses.
    fn check_addresses_in_use(&mut self, now: Instant, id: InterfaceId) {
        let interval = self.config.neighbours.retransmit;
        let more = self.config.neighbours.multicast_solicits;
        let mut at = 0;
        while let Some(own) = self
            .interface_mut(id)
            .and_then(|interface| interface.addresses.get_mut(at))
        {
            at += 1;
            if own.next.is_none_or(|next| next > now) {
                continue;
            }
            let address = own.cidr.address();
            if own.left == 0 && own.state == AddressState::Tentative && own.looped {
                // A loop hides other owners; it may end (RFC 7527 section 4.1).
                own.looped = false;
                own.left = more.max(1);
            }
            if own.left == 0 {
                // The last probe was not answered: the address is ours.
                own.next = None;
                if own.state == AddressState::Tentative {
                    own.state = AddressState::Preferred;
                    self.addresses_changed();
                    if let IpAddr::V6(address) = address {
                        if address.is_unicast_link_local()
                            && let Some(interface) = self.interface_mut(id)
                        {
                            interface.listener.announce(now);
                        }
                        self.announce_v6(now, id, address);
                    }
                }
                continue;
            }
            own.left -= 1;
            match address {
                IpAddr::V4(address) => {
                    own.next = (own.left > 0).then_some(now + ANNOUNCE_INTERVAL);
                    self.arp_announce(id, address);
                }
                IpAddr::V6(address) => {
                    own.next = Some(now + interval);
                    own.probes = own.probes.wrapping_add(1);
                    let number = own.probes;
                    self.probe_v6(now, id, address, number);
                }
            }
        }
    }

    /// A datagram did not arrive whole in time.
    fn fragments_expired(&mut self, now: Instant, expired: Expired) {
        let v6 = expired.key.source.is_ipv6();
        self.ip_stats(v6).reasm_fails += 1;
        self.drop(DropReason::FragmentTimeout);
        let Some((header, payload)) = expired.first else {
            return;
        };
        let mut head = Head::new();
        if head.extend_from_slice(&header).is_err() {
            return;
        }
        let to_group = !self.is_own(expired.key.destination);
        let transport = head.len();
        let mut frame = Frame {
            meta: FrameMeta::default(),
            head,
            body: Chain::from(payload),
        };
        let packet = Packet {
            interface: expired.key.interface,
            source: expired.key.source,
            destination: expired.key.destination,
            // Of IPv6 it says what the fragment header named.
            protocol: match expired.key.source {
                IpAddr::V4(_) => Protocol(expired.key.protocol),
                IpAddr::V6(_) => Protocol(header.get(6).copied().unwrap_or(0)),
            },
            hop_limit: 0,
            traffic_class: TrafficClass(0),
            frame: &mut frame,
            transport,
            next_header_at: 0,
            to_group,
            fragmented: true,
        };
        self.send_error(now, &packet, ErrorMessage::ReassemblyTimeExceeded);
    }
}
