//! Errors that we send about packets we received.

use core::net::IpAddr;

use bytes::Bytes;
use zcn_frame::{Chain, Frame, Head};
use zcn_pool::SharedBuf;
use zcn_wire::icmpv4::UnreachableV4;
use zcn_wire::icmpv6::UnreachableV6;
use zcn_wire::{Icmpv4Repr, Icmpv6Repr, Protocol};

use crate::interface::is_unicast;
use crate::ip::Ip;
use crate::packet::{HEADROOM, Outgoing, Packet, pseudo_header};
use crate::time::Instant;

/// Bytes that an error quotes: so that the whole message has 576 bytes (RFC 1812 section
/// 4.3.2.3), or the 1280 of every IPv6 link (RFC 4443 section 2.4 c).
const QUOTED_V4: usize = 576 - 20 - 8;
const QUOTED_V6: usize = 1_280 - 40 - 8;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorMessage {
    /// Nobody listens at the port.
    PortUnreachable,
    /// Nobody here speaks the protocol.
    ProtocolUnreachable,
    /// Its fragments did not all arrive in time.
    ReassemblyTimeExceeded,
    /// Its header says nonsense at `pointer`.
    ParameterProblem { code: u8, pointer: u32 },
}

impl Ip {
    /// Sends an error about `packet`, if there may be one (RFC 1122 section 3.2.2, RFC 4443
    /// section 2.4): not about errors, groups, and senders that are no host; not too often.
    pub(crate) fn send_error(&mut self, now: Instant, packet: &Packet<'_>, message: ErrorMessage) {
        let v6 = packet.destination.is_ipv6();
        // The one error about what was sent to a group (RFC 4443 section 2.4 e.3).
        let even_to_group = v6 && matches!(message, ErrorMessage::ParameterProblem { code: 2, .. });
        if packet.to_group && !even_to_group || !is_unicast(packet.source) || is_icmp_error(packet)
        {
            return;
        }
        if !self.limits.take_error(now, packet.source) {
            self.icmp_stats(v6).out_rate_limited += 1;
            return;
        }
        let source = if packet.to_group {
            match self.source_for(packet.source, Some(packet.interface)) {
                Ok((source, _)) => source,
                Err(_) => return,
            }
        } else {
            packet.destination
        };
        let bytes = if v6 {
            message_v6(source, packet, message)
        } else {
            message_v4(packet, message)
        };
        let Some(bytes) = bytes else {
            self.icmp_stats(v6).out_errors += 1;
            return;
        };
        let stats = self.icmp_stats(v6);
        match message {
            ErrorMessage::ProtocolUnreachable if v6 => stats.out_parm_probs += 1,
            ErrorMessage::PortUnreachable | ErrorMessage::ProtocolUnreachable => {
                stats.out_dest_unreachs += 1;
            }
            ErrorMessage::ReassemblyTimeExceeded => stats.out_time_excds += 1,
            ErrorMessage::ParameterProblem { .. } => stats.out_parm_probs += 1,
        }
        stats.out_msgs += 1;
        let protocol = if v6 { Protocol::ICMPV6 } else { Protocol::ICMP };
        let (head, rest) = bytes.split_at(zcn_wire::icmpv4::HEADER_LEN);
        let mut header = Head::with_room(HEADROOM);
        if header.extend_from_slice(head).is_err() {
            return;
        }
        let body = Chain::from(SharedBuf::from(Bytes::copy_from_slice(rest)));
        let interface = self
            .interface(packet.interface)
            .map(|interface| interface.id);
        // An error that does not leave is no loss.
        let _ = self.send(
            now,
            &Outgoing {
                interface: interface.filter(|_| needs_interface(packet.source)),
                ..Outgoing::new(source, packet.source, protocol)
            },
            &mut Frame::of(header, body),
        );
    }
}

/// Whether a destination means something on one link only.
pub(crate) fn needs_interface(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if crate::demux::is_link_local(&address))
}

/// Whether a packet is an ICMP error, or a redirect, itself.
fn is_icmp_error(packet: &Packet<'_>) -> bool {
    let mut kind = [0];
    let there = packet.frame.copy_to_slice(packet.transport, &mut kind) == 1;
    match packet.protocol {
        Protocol::ICMP => !there || matches!(kind[0], 3 | 4 | 5 | 11 | 12),
        Protocol::ICMPV6 => !there || kind[0] < 128 || kind[0] == 137,
        _ => false,
    }
}

fn message_v4(packet: &Packet<'_>, message: ErrorMessage) -> Option<Vec<u8>> {
    let quoted = &packet.quote(QUOTED_V4);
    let repr = match message {
        ErrorMessage::PortUnreachable => Icmpv4Repr::DestinationUnreachable {
            reason: UnreachableV4::Port,
            quoted,
        },
        ErrorMessage::ProtocolUnreachable => Icmpv4Repr::DestinationUnreachable {
            reason: UnreachableV4::Protocol,
            quoted,
        },
        ErrorMessage::ReassemblyTimeExceeded => Icmpv4Repr::TimeExceeded { code: 1, quoted },
        ErrorMessage::ParameterProblem { code, pointer } => Icmpv4Repr::ParameterProblem {
            code,
            pointer: u8::try_from(pointer).ok()?,
            quoted,
        },
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut bytes).ok()?;
    Some(bytes)
}

fn message_v6(source: IpAddr, packet: &Packet<'_>, message: ErrorMessage) -> Option<Vec<u8>> {
    let quoted = &packet.quote(QUOTED_V6);
    let repr = match message {
        ErrorMessage::PortUnreachable => Icmpv6Repr::DestinationUnreachable {
            reason: UnreachableV6::Port,
            quoted,
        },
        // Code 1: unknown next header.
        ErrorMessage::ProtocolUnreachable => Icmpv6Repr::ParameterProblem {
            code: 1,
            pointer: packet.next_header_at as u32,
            quoted,
        },
        ErrorMessage::ReassemblyTimeExceeded => Icmpv6Repr::TimeExceeded { code: 1, quoted },
        ErrorMessage::ParameterProblem { code, pointer } => Icmpv6Repr::ParameterProblem {
            code,
            pointer,
            quoted,
        },
    };
    let mut bytes = vec![0; repr.buffer_len()];
    let pseudo = pseudo_header(source, packet.source, Protocol::ICMPV6);
    repr.emit(pseudo, &mut bytes).ok()?;
    Some(bytes)
}
