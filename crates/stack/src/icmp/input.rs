//! Messages that arrive.

use zcn_frame::{Chain, Frame, Head};
use zcn_wire::icmpv4::UnreachableV4;
use zcn_wire::icmpv6::UnreachableV6;
use zcn_wire::mld::is_mld;
use zcn_wire::{Icmpv4Repr, Icmpv4View, Icmpv6Repr, Icmpv6View, Protocol};

use super::error::needs_interface;
use crate::error::NetworkError;
use crate::ip::{Ip, Report};
use crate::packet::{HEADROOM, Outgoing, Packet};
use crate::stats::DropReason;
use crate::time::Instant;

const HEADER_LEN: usize = zcn_wire::icmpv4::HEADER_LEN;
/// Bytes of a message that are read, where it is no echo.
const READ_MAX: usize = 1_500;
/// Bytes of a quoted packet that are kept: all headers that say whose it is.
const QUOTED_MAX: usize = 256;
/// Reports that wait to be delivered; more come only by error messages in one batch.
const REPORTS_MAX: usize = 1_024;

/// An answer to an echo request.
#[derive(Debug)]
pub(crate) struct EchoReply {
    pub(crate) identifier: u16,
    pub(crate) sequence: u16,
    pub(crate) payload: Chain,
}

/// Type and code of an echo request and of its reply.
const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);

impl Ip {
    /// Takes an ICMP message of either version; answers an echo reply in it. Errors of
    /// others are in [`Ip::reports`] afterwards.
    pub(crate) fn icmp_input(&mut self, now: Instant, packet: Packet<'_>) -> Option<EchoReply> {
        let v6 = packet.protocol == Protocol::ICMPV6;
        self.icmp_stats(v6).in_msgs += 1;
        match self.icmp_message(now, packet, v6) {
            Ok(reply) => reply,
            Err(reason) => {
                if matches!(
                    reason,
                    DropReason::IcmpMalformed
                        | DropReason::IcmpChecksum
                        | DropReason::NdpMalformed
                        | DropReason::MldMalformed
                ) {
                    self.icmp_stats(v6).in_errors += 1;
                }
                self.drop(reason);
                None
            }
        }
    }

    fn icmp_message(
        &mut self,
        now: Instant,
        packet: Packet<'_>,
        v6: bool,
    ) -> Result<Option<EchoReply>, DropReason> {
        // Each belongs to its version of IP.
        if v6 != packet.destination.is_ipv6() {
            return Err(DropReason::UnknownProtocol);
        }
        let len = packet.payload_len();
        if len < HEADER_LEN {
            return Err(DropReason::IcmpMalformed);
        }
        let pseudo = v6.then(|| packet.pseudo_header());
        if !packet.checksum_trusted() && !packet.verify(pseudo, len) {
            return Err(DropReason::IcmpChecksum);
        }
        let mut header = [0; HEADER_LEN];
        packet.frame.copy_to_slice(packet.transport, &mut header);
        let (request, reply) = if v6 { ECHO_V6 } else { ECHO_V4 };
        if header[1] == 0 && (header[0] == request || header[0] == reply) {
            packet.frame.advance(packet.transport + HEADER_LEN);
            let payload = core::mem::take(packet.frame).into_body();
            if header[0] == request {
                self.icmp_stats(v6).in_echos += 1;
                return self.echo(now, &packet, header, payload).map(|()| None);
            }
            self.icmp_stats(v6).in_echo_reps += 1;
            let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
            return Ok(Some(EchoReply {
                identifier: word(4),
                sequence: word(6),
                payload,
            }));
        }
        let mut bytes = vec![0; len.min(READ_MAX)];
        packet.frame.copy_to_slice(packet.transport, &mut bytes);
        if v6 {
            self.message_v6(now, &packet, &bytes)?;
        } else {
            self.message_v4(&bytes)?;
        }
        Ok(None)
    }

    /// Answers an echo request with what came with it.
    fn echo(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        request: [u8; HEADER_LEN],
        payload: Chain,
    ) -> Result<(), DropReason> {
        let v6 = packet.destination.is_ipv6();
        let unspecified = packet.source.is_unspecified();
        // RFC 1122 section 3.2.2.6 lets us be silent to groups (the smurf attack).
        let ignored = !self.config.icmp.echo || unspecified || packet.to_group && !v6;
        if ignored || !self.limits.echo_replies.take(now) {
            return Err(DropReason::IcmpEchoIgnored);
        }
        let scoped = needs_interface(packet.source) || packet.to_group;
        let interface = Some(packet.interface).filter(|&id| scoped && self.interface(id).is_some());
        let source = if packet.to_group {
            let found = self.source_for(packet.source, interface);
            found.map_err(|_| DropReason::NoRoute)?.0
        } else {
            packet.destination
        };
        let kind = if v6 { ECHO_V6.1 } else { ECHO_V4.1 };
        let protocol = packet.protocol;
        let mut head = Head::with_room(HEADROOM);
        let header = [
            kind, 0, 0, 0, request[4], request[5], request[6], request[7],
        ];
        if head.extend_from_slice(&header).is_err() {
            return Err(DropReason::IcmpMalformed);
        }
        let stats = self.icmp_stats(v6);
        stats.out_msgs += 1;
        stats.out_echo_reps += 1;
        // What does not leave is counted there.
        let _ = self.send(
            now,
            &Outgoing {
                interface,
                traffic_class: packet.traffic_class.with_ecn(zcn_wire::Ecn::NotEct),
                checksum_at: Some(2),
                ..Outgoing::new(source, packet.source, protocol)
            },
            &mut Frame::of(head, payload),
        );
        Ok(())
    }

    fn message_v4(&mut self, bytes: &[u8]) -> Result<(), DropReason> {
        let view = Icmpv4View::new(bytes).map_err(|_| DropReason::IcmpMalformed)?;
        let stats = &mut self.stats.icmpv4;
        let (error, quoted) = match Icmpv4Repr::parse(&view) {
            Icmpv4Repr::DestinationUnreachable { reason, quoted } => {
                stats.in_dest_unreachs += 1;
                let error = match reason {
                    UnreachableV4::Network => NetworkError::NetworkUnreachable,
                    UnreachableV4::Protocol => NetworkError::ProtocolUnreachable,
                    UnreachableV4::Port => NetworkError::PortUnreachable,
                    UnreachableV4::FragmentationNeeded { mtu } => {
                        stats.in_pkt_too_bigs += 1;
                        NetworkError::TooBig { mtu: mtu.into() }
                    }
                    UnreachableV4::Prohibited | UnreachableV4::Other(9 | 10) => {
                        NetworkError::Prohibited
                    }
                    UnreachableV4::Other(6 | 11) => NetworkError::NetworkUnreachable,
                    _ => NetworkError::HostUnreachable,
                };
                (error, quoted)
            }
            Icmpv4Repr::TimeExceeded { quoted, .. } => {
                stats.in_time_excds += 1;
                (NetworkError::TimeExceeded, quoted)
            }
            Icmpv4Repr::ParameterProblem { quoted, .. } => {
                stats.in_parm_probs += 1;
                (NetworkError::ParameterProblem, quoted)
            }
            Icmpv4Repr::Redirect { .. } => {
                stats.in_redirects += 1;
                return Err(DropReason::IcmpRedirect);
            }
            _ => return Err(DropReason::IcmpUnknownType),
        };
        self.queue_report(error, quoted)
    }

    fn message_v6(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let view = Icmpv6View::new(bytes).map_err(|_| DropReason::IcmpMalformed)?;
        let malformed = if is_mld(view.message_type()) {
            DropReason::MldMalformed
        } else {
            DropReason::NdpMalformed
        };
        let repr = Icmpv6Repr::parse(&view).map_err(|_| malformed)?;
        let stats = &mut self.stats.icmpv6;
        let (error, quoted) = match repr {
            Icmpv6Repr::Ndp(message) => return self.ndp_input(now, packet, message),
            Icmpv6Repr::Mld(message) => return self.mld_input(now, packet, message),
            Icmpv6Repr::DestinationUnreachable { reason, quoted } => {
                stats.in_dest_unreachs += 1;
                let error = match reason {
                    UnreachableV6::NoRoute => NetworkError::NetworkUnreachable,
                    UnreachableV6::Port => NetworkError::PortUnreachable,
                    UnreachableV6::Prohibited | UnreachableV6::Other(5 | 6) => {
                        NetworkError::Prohibited
                    }
                    _ => NetworkError::HostUnreachable,
                };
                (error, quoted)
            }
            Icmpv6Repr::PacketTooBig { mtu, quoted } => {
                stats.in_pkt_too_bigs += 1;
                (NetworkError::TooBig { mtu }, quoted)
            }
            Icmpv6Repr::TimeExceeded { quoted, .. } => {
                stats.in_time_excds += 1;
                (NetworkError::TimeExceeded, quoted)
            }
            Icmpv6Repr::ParameterProblem { code, quoted, .. } => {
                stats.in_parm_probs += 1;
                let error = if code == 1 {
                    NetworkError::ProtocolUnreachable
                } else {
                    NetworkError::ParameterProblem
                };
                (error, quoted)
            }
            _ => return Err(DropReason::IcmpUnknownType),
        };
        self.queue_report(error, quoted)
    }

    fn queue_report(&mut self, error: NetworkError, quoted: &[u8]) -> Result<(), DropReason> {
        if self.reports.len() >= REPORTS_MAX {
            return Err(DropReason::IcmpUnmatched);
        }
        let quoted = quoted[..quoted.len().min(QUOTED_MAX)].to_vec();
        self.reports.push_back(Report { quoted, error });
        Ok(())
    }
}
