//! ICMP for IPv4 (RFC 792).

use crate::bytes::{array, be16, be32, pair, put};
use crate::checksum::{self, Sum};
use crate::error::{EmitError, ParseError};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

const ECHO_REPLY: u8 = 0;
const DESTINATION_UNREACHABLE: u8 = 3;
const REDIRECT: u8 = 5;
const ECHO_REQUEST: u8 = 8;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;

/// A received message. The checksum is not looked at, see
/// [`verify_checksum`](Self::verify_checksum).
#[derive(Clone, Copy, Debug)]
pub struct Icmpv4View<'a> {
    message: &'a [u8],
    header: &'a [u8; HEADER_LEN],
}

impl<'a> Icmpv4View<'a> {
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

    /// # Errors
    ///
    /// [`ParseError::BadChecksum`] if the checksum does not match.
    pub fn verify_checksum(&self) -> Result<(), ParseError> {
        if Sum::of(self.message).is_valid() {
            Ok(())
        } else {
            Err(ParseError::BadChecksum)
        }
    }
}

/// Why a destination cannot be reached (RFC 792, RFC 1122, RFC 1812).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnreachableV4 {
    /// Code 0: no way to the network.
    Network,
    /// Code 1: the host does not answer on its link.
    Host,
    /// Code 2: the host knows no such protocol.
    Protocol,
    /// Code 3: nobody listens at the port.
    Port,
    /// Code 4: the packet is longer than the next link takes and may not be fragmented.
    FragmentationNeeded {
        /// The MTU of that link in bytes (RFC 1191); 0 from routers that do not tell.
        mtu: u16,
    },
    /// Code 5: the source route failed.
    SourceRoute,
    /// Code 13: forbidden by an administrator. Codes 9 and 10 are kept as `Other`.
    Prohibited,
    /// Any other code.
    Other(u8),
}

impl UnreachableV4 {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Network => 0,
            Self::Host => 1,
            Self::Protocol => 2,
            Self::Port => 3,
            Self::FragmentationNeeded { .. } => 4,
            Self::SourceRoute => 5,
            Self::Prohibited => 13,
            Self::Other(code) => code,
        }
    }

    fn from_code(code: u8, rest: [u8; 4]) -> Self {
        match code {
            0 => Self::Network,
            1 => Self::Host,
            2 => Self::Protocol,
            3 => Self::Port,
            4 => Self::FragmentationNeeded {
                mtu: be16(&rest, 2),
            },
            5 => Self::SourceRoute,
            13 => Self::Prohibited,
            other => Self::Other(other),
        }
    }
}

/// A message. `data` of an echo is the application's; `quoted` of an error is the IP header of
/// the packet concerned and as much behind it as came along, see
/// [`Ipv4View::quoted`](crate::Ipv4View::quoted).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Icmpv4Repr<'a> {
    /// Type 8: asks for an echo.
    EchoRequest {
        /// Whose request it is.
        ident: u16,
        /// Which of them.
        seq: u16,
        /// Comes back as it is.
        data: &'a [u8],
    },
    /// Type 0: the echo.
    EchoReply {
        /// Whose request it was.
        ident: u16,
        /// Which of them.
        seq: u16,
        /// As in the request.
        data: &'a [u8],
    },
    /// Type 3: the packet did not reach its destination.
    DestinationUnreachable {
        /// Why.
        reason: UnreachableV4,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Type 5: a better first hop; hosts may ignore it.
    Redirect {
        /// 0 for the network, 1 for the host.
        code: u8,
        /// The better gateway.
        gateway: std::net::Ipv4Addr,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Type 11: no hops left (code 0), or not all fragments came in time (code 1).
    TimeExceeded {
        /// 0 in transit, 1 in reassembly.
        code: u8,
        /// The packet.
        quoted: &'a [u8],
    },
    /// Type 12: the header makes no sense.
    ParameterProblem {
        /// 0 if `pointer` tells where.
        code: u8,
        /// The offset of the faulty byte in the quoted packet.
        pointer: u8,
        /// The packet.
        quoted: &'a [u8],
    },
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

impl<'a> Icmpv4Repr<'a> {
    /// The message; its checksum is not looked at.
    #[must_use]
    pub fn parse(view: &Icmpv4View<'a>) -> Self {
        let (code, rest, data) = (view.code(), view.rest(), view.payload());
        let (ident, seq) = (be16(&rest, 0), be16(&rest, 2));
        match (view.message_type(), code) {
            (ECHO_REQUEST, 0) => Self::EchoRequest { ident, seq, data },
            (ECHO_REPLY, 0) => Self::EchoReply { ident, seq, data },
            (DESTINATION_UNREACHABLE, _) => Self::DestinationUnreachable {
                reason: UnreachableV4::from_code(code, rest),
                quoted: data,
            },
            (REDIRECT, _) => Self::Redirect {
                code,
                gateway: be32(&rest, 0).into(),
                quoted: data,
            },
            (TIME_EXCEEDED, _) => Self::TimeExceeded { code, quoted: data },
            (PARAMETER_PROBLEM, _) => Self::ParameterProblem {
                code,
                pointer: rest[0],
                quoted: data,
            },
            (message_type, _) => Self::Other {
                message_type,
                code,
                rest,
                data,
            },
        }
    }

    /// Whether the message reports an error; such a message must never cause another one
    /// (RFC 1122, section 3.2.2).
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self {
            Self::DestinationUnreachable { .. }
            | Self::Redirect { .. }
            | Self::TimeExceeded { .. }
            | Self::ParameterProblem { .. } => true,
            // Source quench is deprecated (RFC 6633), but an error all the same.
            Self::Other { message_type, .. } => *message_type == 4,
            _ => false,
        }
    }

    /// Bytes of the header and what follows it.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN + self.parts().3.len()
    }

    /// Writes the message with its checksum to the start of `bytes` and tells its length.
    ///
    /// # Errors
    ///
    /// [`EmitError::BufferTooSmall`].
    pub fn emit(&self, bytes: &mut [u8]) -> Result<usize, EmitError> {
        let (message_type, code, rest, data) = self.parts();
        let len = HEADER_LEN + data.len();
        let message = bytes.get_mut(..len).ok_or(EmitError::BufferTooSmall)?;
        put(message, 0, [message_type, code, 0, 0]);
        put(message, 4, rest);
        message[HEADER_LEN..].copy_from_slice(data);
        let sum = checksum::checksum(message);
        put(message, 2, sum.to_be_bytes());
        Ok(len)
    }

    /// Type, code, bytes 4 to 7, and what follows.
    const fn parts(&self) -> (u8, u8, [u8; 4], &'a [u8]) {
        match *self {
            Self::EchoRequest { ident, seq, data } => (ECHO_REQUEST, 0, pair(ident, seq), data),
            Self::EchoReply { ident, seq, data } => (ECHO_REPLY, 0, pair(ident, seq), data),
            Self::DestinationUnreachable { reason, quoted } => {
                let rest = match reason {
                    UnreachableV4::FragmentationNeeded { mtu } => pair(0, mtu),
                    _ => [0; 4],
                };
                (DESTINATION_UNREACHABLE, reason.code(), rest, quoted)
            }
            Self::Redirect {
                code,
                gateway,
                quoted,
            } => (REDIRECT, code, gateway.octets(), quoted),
            Self::TimeExceeded { code, quoted } => (TIME_EXCEEDED, code, [0; 4], quoted),
            Self::ParameterProblem {
                code,
                pointer,
                quoted,
            } => (PARAMETER_PROBLEM, code, [pointer, 0, 0, 0], quoted),
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_message_survives_a_round_trip(
            message_type in prop_oneof![0..15_u8, any::<u8>()],
            code in 0..16_u8,
            rest: [u8; 4],
            data in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = vec![message_type, code, 0, 0];
            bytes.extend(rest);
            bytes.extend(&data);
            let message = Icmpv4Repr::parse(&Icmpv4View::new(&bytes).expect("whole"));
            let mut again = vec![0xaa; message.buffer_len()];
            prop_assert_eq!(message.emit(&mut again), Ok(bytes.len()));
            let view = Icmpv4View::new(&again).expect("whole");
            prop_assert_eq!(view.verify_checksum(), Ok(()));
            prop_assert_eq!(Icmpv4Repr::parse(&view), message);
            prop_assert!(message.emit(&mut again[..bytes.len() - 1]).is_err());
            again[5] ^= 1;
            let view = Icmpv4View::new(&again).expect("whole");
            prop_assert_eq!(view.verify_checksum(), Err(ParseError::BadChecksum));
        }
    }

    #[test]
    fn errors_are_told_from_queries() {
        let parse =
            |bytes: [u8; 8]| Icmpv4Repr::parse(&Icmpv4View::new(&bytes).expect("whole")).is_error();
        let errors: Vec<u8> = (0..=255)
            .filter(|&kind| parse([kind, 0, 0, 0, 0, 0, 0, 0]))
            .collect();
        assert_eq!(errors, [3, 4, 5, 11, 12]);
    }

    #[test]
    fn fragmentation_needed_tells_the_mtu() {
        let bytes = [3, 4, 0, 0, 0, 0, 0x05, 0x14];
        let message = Icmpv4Repr::parse(&Icmpv4View::new(&bytes).expect("whole"));
        let reason = UnreachableV4::FragmentationNeeded { mtu: 1300 };
        let wanted = Icmpv4Repr::DestinationUnreachable {
            reason,
            quoted: &[],
        };
        assert_eq!(message, wanted);
        assert_eq!(
            Icmpv4View::new(&bytes[..7]).err(),
            Some(ParseError::Truncated)
        );
    }
}
