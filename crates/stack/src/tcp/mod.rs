//! TCP (RFC 9293): knows IP only through values.

pub mod congestion;
pub mod sender;
