//! Errors of the network, told to the sockets they concern.

use core::net::IpAddr;

use zcn_wire::{Protocol, QuotedPacket};

use super::Stack;
use crate::error::NetworkError;
use crate::id::InterfaceId;
use crate::interface::LOOPBACK;
use crate::ip::Report;
use crate::stats::DropReason;
use crate::tcp::IcmpError;
use crate::time::Instant;
use crate::udp::endpoint;

impl Stack {
    /// Delivers all errors that came in.
    pub(super) fn deliver_reports(&mut self, now: Instant) {
        while let Some(report) = self.ip.reports.pop_front() {
            if !self.deliver(now, &report) {
                self.ip.drop(DropReason::IcmpUnmatched);
            }
        }
    }

    /// Answers whether there is somebody who sent what the error quotes (RFC 5927 section
    /// 4): otherwise anybody could have made it up.
    fn deliver(&mut self, now: Instant, report: &Report) -> bool {
        let bytes = &report.quoted[..];
        let quoted = match bytes.first().map(|first| first >> 4) {
            Some(4) => QuotedPacket::v4(bytes),
            Some(6) => QuotedPacket::v6(bytes),
            _ => return false,
        };
        let Ok(quoted) = quoted else {
            return false;
        };
        if !self.ip.is_own(quoted.src) {
            return false;
        }
        let interface = self.interface_towards(quoted.src, quoted.dst);
        let error = match report.error {
            NetworkError::TooBig { mtu } => {
                let current = self.ip.path_mtu(now, quoted.dst, interface, None).mtu;
                let told = self
                    .ip
                    .path_mtus
                    .plausible(quoted.dst, mtu, current, total_len(bytes));
                let Some(mtu) = told else {
                    return false;
                };
                NetworkError::TooBig { mtu }
            }
            error => error,
        };
        let (src, dst) = (quoted.src, quoted.dst);
        let known = match (quoted.protocol, quoted.ports()) {
            (Protocol::UDP, Some((from, to))) => {
                let local = endpoint(src, from, interface);
                self.udp.report(local, endpoint(dst, to, interface), error)
            }
            (Protocol::TCP, Some((from, to))) => {
                let Some(seq) = quoted.seq() else {
                    return false;
                };
                let error = IcmpError {
                    local: endpoint(src, from, interface),
                    remote: endpoint(dst, to, interface),
                    seq,
                    kind: error,
                };
                // What it does not believe is counted there.
                if !self.tcp.handle_icmp(now, &error) {
                    return true;
                }
                true
            }
            (Protocol::ICMP | Protocol::ICMPV6, _) => {
                let kind = quoted.transport[0];
                let word = |at: usize| {
                    u16::from_be_bytes([quoted.transport[at], quoted.transport[at + 1]])
                };
                let (identifier, sequence) = (word(4), word(6));
                let request = matches!(kind, 8 | 128);
                // An echo reply of ours, or a message to a neighbour: nobody waits for it.
                if !request || !self.echo.knows(dst, identifier, sequence) {
                    return false;
                }
                self.echo
                    .report(dst, interface, identifier, sequence, error);
                true
            }
            _ => false,
        };
        if known && let NetworkError::TooBig { mtu } = error {
            self.ip.path_mtus.reduce(now, dst, mtu);
        }
        known
    }

    /// The interface by which packets from `local` to `remote` left.
    fn interface_towards(&self, local: IpAddr, remote: IpAddr) -> InterfaceId {
        let owner = self
            .ip
            .interfaces
            .iter()
            .find(|interface| interface.has(local));
        if crate::icmp::needs_interface(remote) {
            return owner.map_or(LOOPBACK, |interface| interface.id);
        }
        let way = self.ip.next_hop(remote, None).map(|(id, _, _)| id);
        way.or(owner.map(|interface| interface.id))
            .unwrap_or(LOOPBACK)
    }
}

/// The length that a quoted IP header tells.
fn total_len(bytes: &[u8]) -> u32 {
    let word = |at: usize| match bytes.get(at..at + 2) {
        Some(word) => u32::from(u16::from_be_bytes([word[0], word[1]])),
        None => 0,
    };
    match bytes.first().map(|first| first >> 4) {
        Some(4) => word(2),
        _ => word(4) + 40,
    }
}
