//! ICMP for both versions of IP: errors, echo, and what routers say (RFC 792, RFC 4443).

mod error;
mod input;
mod limits;

pub(crate) use error::{ErrorMessage, needs_interface};
pub(crate) use input::EchoReply;
pub(crate) use limits::IcmpLimits;
