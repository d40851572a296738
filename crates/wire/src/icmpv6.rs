//! ICMP for IPv6 (RFC 4443).

use crate::bytes::{array, be16, be32, pair, put};
use crate::checksum::PseudoHeader;
use crate::error::{EmitError, ParseError};
use crate::mld::{self, MldRepr};
use crate::ndp::{self, NdpRepr};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

const DESTINATION_UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// A received message. The checksum is not looked at, see
/// [`verify_checksum`](Self::verify_checksum).
#[derive(Clone, Copy, Debug)]
pub struct Icmpv6View<'a> {
    message: &'a [u8],
    header: &'a [u8; HEADER_LEN],
}

impl<'a> Icmpv6View<'a> {
    /// Checks that the header is whole.
    ///
    /// # Errors
    ///
    /// [`ParseError::Truncated`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let header = bytes
            .first_chunk::<HEADER_LEN>()
            .ok_or(ParseError::Truncated)?;
        Ok(Self {
            message: bytes,
            header,
        })
    }

    /// The type.
    #[must_use]
    pub const fn message_type(&self) -> u8 {
        self.header[0]
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.header[1]
    }

    /// The checksum.
    #[must_use]
    pub fn checksum(&self) -> u16 {
        be16(self.header, 2)
    }

    /// Bytes 4 to 7, whose meaning depends on the type.
    #[must_use]
    pub fn rest(&self) -> [u8; 4] {
        array(self.header, 4)
    }

    /// What follows the header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.message[HEADER_LEN..]
    }

    /// Checks the checksum; `pseudo` is for protocol 58.
    ///
    /// # Errors
    ///
    /// [`ParseError::BadChecksum`].
    pub fn verify_checksum(&self, pseudo: PseudoHeader) -> Result<(), ParseError> {
        if pseudo.is_valid(self.message, &[]) {
            Ok(())
        } else {
            Err(ParseError::BadChecksum)
        }
    }
}

/// Why a destination cannot be reached (RFC 4443, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnreachableV6 {
    /// Code 0: no route.
    NoRoute,
    /// Code 1: forbidden by an administrator.
    Prohibited,
    /// Code 2: beyond the scope of the source address.
    BeyondScope,
    /// Code 3: the host does not answer on its link.
    Address,
    /// Code 4: nobody listens at the port.
    Port,
    /// Any other code.
    Other(u8),
}

impl UnreachableV6 {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::NoRoute => 0,
            Self::Prohibited => 1,
            Self::BeyondScope => 2,
            Self::Address => 3,
            Self::Port => 4,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::NoRoute,
            1 => Self::Prohibited,
            2 => Self::BeyondScope,
            3 => Self::Address,
            4 => Self::Port,
            other => Self::Other(other),
        }
    }
}

/// A message. `data` of an echo is the application's; `quoted` of an error is the packet
/// concerned as far as it came along, see [`Ipv6View::quoted`](crate::Ipv6View::quoted).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Icmpv6Repr<'a> {
    /// Type 1: the packet did not reach its destination.
    DestinationUnreachable {
        /// Why.
        reason: UnreachableV6,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Type 2: the packet is longer than the next link takes.
    PacketTooBig {
        /// The MTU of that link in bytes.
        mtu: u32,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Type 3: no hops left (code 0), or not all fragments came in time (code 1).
    TimeExceeded {
        /// 0 in transit, 1 in reassembly.
        code: u8,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Type 4: a header makes no sense.
    ParameterProblem {
        /// 0 for a field, 1 for a next header, 2 for an option, 3 for an incomplete chain.
        code: u8,
        /// The offset of the faulty byte in the quoted packet.
        pointer: u32,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Type 128: asks for an echo.
    EchoRequest {
        /// Whose request it is.
        ident: u16,
        /// Which of them.
        seq: u16,
        /// Comes back as it is.
        data: &'a [u8],
    },
    /// Type 129: the echo.
    EchoReply {
        /// Whose request it was.
        ident: u16,
        /// Which of them.
        seq: u16,
        /// As in the request.
        data: &'a [u8],
    },
    /// Types 130 to 132 and 143: multicast listener discovery.
    Mld(MldRepr<'a>),
    /// Types 133 to 137: neighbour discovery.
    Ndp(NdpRepr<'a>),
    /// Any other type.
    Other {
        /// The type.
        message_type: u8,
        /// The code.
        code: u8,
        /// Bytes 4 to 7.
        rest: [u8; 4],
        /// What follows.
        data: &'a [u8],
    },
}

impl<'a> Icmpv6Repr<'a> {
    /// The message; its checksum is not looked at.
    ///
    /// # Errors
    ///
    /// Those of [`NdpRepr::parse`] for neighbour discovery and of [`MldRepr::parse`] for
    /// multicast listener discovery; other messages have none.
    pub fn parse(view: &Icmpv6View<'a>) -> Result<Self, ParseError> {
        let (code, rest, data) = (view.code(), view.rest(), view.payload());
        let (ident, seq) = (be16(&rest, 0), be16(&rest, 2));
        Ok(match (view.message_type(), code) {
            (DESTINATION_UNREACHABLE, _) => Self::DestinationUnreachable {
                reason: UnreachableV6::from_code(code),
                quoted: data,
            },
            (PACKET_TOO_BIG, _) => Self::PacketTooBig {
                mtu: be32(&rest, 0),
                quoted: data,
            },
            (TIME_EXCEEDED, _) => Self::TimeExceeded { code, quoted: data },
            (PARAMETER_PROBLEM, _) => Self::ParameterProblem {
                code,
                pointer: be32(&rest, 0),
                quoted: data,
            },
            (ECHO_REQUEST, 0) => Self::EchoRequest { ident, seq, data },
            (ECHO_REPLY, 0) => Self::EchoReply { ident, seq, data },
            (kind, _) if ndp::is_ndp(kind) => Self::Ndp(NdpRepr::parse(view)?),
            (kind, _) if mld::is_mld(kind) => Self::Mld(MldRepr::parse(view)?),
            (message_type, _) => Self::Other {
                message_type,
                code,
                rest,
                data,
            },
        })
    }

    /// Whether the message reports an error; such a message must never cause another one
    /// (RFC 4443, section 2.4). Redirects neither.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Self::DestinationUnreachable { .. }
            | Self::PacketTooBig { .. }
            | Self::TimeExceeded { .. }
            | Self::ParameterProblem { .. }
            | Self::Ndp(NdpRepr::Redirect { .. }) => true,
            // RFC 4443, section 2.1: the high bit tells information from errors.
            Self::Other { message_type, .. } => *message_type < 128,
            _ => false,
        }
    }

    /// Bytes of the header and what follows it.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        match self {
            Self::Ndp(message) => message.buffer_len(),
            Self::Mld(message) => message.buffer_len(),
            _ => HEADER_LEN + self.parts().3.len(),
        }
    }

    /// Writes the message with its checksum to the start of `bytes` and tells its length;
    /// `pseudo` is for protocol 58.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`]; those of neighbour discovery and of
    /// multicast listener discovery.
    pub fn emit(&self, pseudo: PseudoHeader, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let len = self.buffer_len();
        let message = bytes.get_mut(..len).ok_or(EmitError::BufferTooSmall)?;
        match self {
            Self::Ndp(ndp) => {
                ndp.emit(message)?;
            }
            Self::Mld(mld) => {
                mld.emit(message)?;
            }
            _ => {
                let (message_type, code, rest, data) = self.parts();
                put(message, 0, [message_type, code, 0, 0]);
                put(message, 4, rest);
                message[HEADER_LEN..].copy_from_slice(data);
            }
        }
        let checksum = pseudo.checksum(message, &[], 2)?;
        put(message, 2, checksum.to_be_bytes());
        Ok(len)
    }

    /// Type, code, bytes 4 to 7, and what follows, of all that write no message of their own.
    const fn parts(&self) -> (u8, u8, [u8; 4], &'a [u8]) {
        match *self {
            Self::DestinationUnreachable { reason, quoted } => {
                (DESTINATION_UNREACHABLE, reason.code(), [0; 4], quoted)
            }
            Self::PacketTooBig { mtu, quoted } => (PACKET_TOO_BIG, 0, mtu.to_be_bytes(), quoted),
            Self::TimeExceeded { code, quoted } => (TIME_EXCEEDED, code, [0; 4], quoted),
            Self::ParameterProblem {
                code,
                pointer,
                quoted,
            } => (PARAMETER_PROBLEM, code, pointer.to_be_bytes(), quoted),
            Self::EchoRequest { ident, seq, data } => (ECHO_REQUEST, 0, pair(ident, seq), data),
            Self::EchoReply { ident, seq, data } => (ECHO_REPLY, 0, pair(ident, seq), data),
            Self::Ndp(_) | Self::Mld(_) => (0, 0, [0; 4], &[]),
            Self::Other {
                message_type,
                code,
                rest,
                data,
            } => (message_type, code, rest, data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Protocol;
    use proptest::prelude::*;

    fn pseudo() -> PseudoHeader {
        let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        PseudoHeader::v6(local.into(), local.into(), Protocol::ICMPV6)
    }

    proptest! {
        #[test]
        fn any_message_survives_a_round_trip(
            message_type in prop_oneof![0..8_u8, 126..144_u8, any::<u8>()],
            code in prop_oneof![3 => Just(0), 1 => 0..8_u8],
            rest: [u8; 4],
            data in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = vec![message_type, code, 0, 0];
            bytes.extend(rest);
            bytes.extend(&data);
            let Ok(message) = Icmpv6Repr::parse(&Icmpv6View::new(&bytes).expect("whole")) else {
                prop_assert!(ndp::is_ndp(message_type) || mld::is_mld(message_type));
                return Ok(());
            };
            let mut again = vec![0xaa; message.buffer_len()];
            prop_assert_eq!(message.emit(pseudo(), &mut again), Ok(message.buffer_len()));
            let view = Icmpv6View::new(&again).expect("whole");
            prop_assert_eq!(view.verify_checksum(pseudo()), Ok(()));
            prop_assert_eq!(Icmpv6Repr::parse(&view), Ok(message));
            let cut = again.len() - 1;
            prop_assert!(message.emit(pseudo(), &mut again[..cut]).is_err());
            again[5] ^= 1;
            let view = Icmpv6View::new(&again).expect("whole");
            prop_assert_eq!(view.verify_checksum(pseudo()), Err(ParseError::BadChecksum));
        }
    }

    #[test]
    fn errors_have_a_low_type() {
        for message_type in (0..=255_u8).filter(|&kind| !ndp::is_ndp(kind) && !mld::is_mld(kind)) {
            let bytes = [message_type, 0, 0, 0, 0, 0, 0, 0];
            let message = Icmpv6Repr::parse(&Icmpv6View::new(&bytes).expect("whole"));
            let message = message.expect("sound");
            assert_eq!(message.is_error(), message_type < 128, "{message_type}");
        }
    }

    #[test]
    fn packet_too_big_tells_the_mtu() {
        let bytes = [2, 0, 0, 0, 0, 0, 0x05, 0x14, 0x60];
        let message = Icmpv6Repr::parse(&Icmpv6View::new(&bytes).expect("whole"));
        assert_eq!(
            message,
            Ok(Icmpv6Repr::PacketTooBig {
                mtu: 1300,
                quoted: &[0x60]
            })
        );
    }
}
