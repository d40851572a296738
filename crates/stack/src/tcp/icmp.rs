//! ICMP errors about our segments: path MTU discovery (RFC 1191, RFC 8201) and hints, all of
//! them checked (RFC 5927).

use super::connection::{Common, Connection, Flags};
use super::error::TcpError;
use super::segment::IcmpError;
use super::state::State;
use crate::error::NetworkError;

impl Connection {
    /// Whether an ICMP error quotes something in flight; if so it is obeyed.
    pub(super) fn handle_icmp(&mut self, common: &mut Common, error: &IcmpError) -> bool {
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        let (una, nxt) = if opening {
            (self.first_data() - 1_u32, self.first_data())
        } else {
            (self.sender.snd_una(), self.sender.snd_nxt())
        };
        if !error.seq.in_window(una, nxt.distance(una)) {
            return false;
        }
        match error.kind {
            NetworkError::TooBig { mtu } => {
                // Smaller than every link must carry is a lie (RFC 1191); over IPv6 it is discarded
                // (RFC 8201 section 4).
                let mtu = if self.tuple.is_ipv6() {
                    if mtu < 1280 {
                        return true;
                    }
                    mtu
                } else {
                    mtu.max(552)
                };
                if mtu < self.mtu {
                    self.mtu = mtu;
                    self.update_mss(&common.config);
                }
            }
            kind if self.state == State::SynSent => {
                let refused = matches!(
                    kind,
                    NetworkError::PortUnreachable | NetworkError::ProtocolUnreachable
                );
                let error = if refused {
                    TcpError::Refused
                } else {
                    TcpError::HostUnreachable
                };
                self.finish(Some(error), common);
            }
            // What a connection hears whose peer has spoken is a hint, not an order (RFC 5461).
            // In SYN-RECEIVED after a simultaneous open the peer may be established, with data
            // on its way: who gives up there resets it.
            _ => self.flags.set(Flags::SOFT_UNREACHABLE, true),
        }
        true
    }
}
