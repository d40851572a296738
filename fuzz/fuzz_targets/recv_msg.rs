//! The layout of a received datagram: no bytes may panic, loop, or point outside of the buffer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zcn_uring::recv_msg::{gro_size, parse, parse_address};

fuzz_target!(|bytes: &[u8]| {
    if let Some(message) = parse(bytes) {
        assert_eq!(message.offset + message.len, bytes.len());
    }
    gro_size(bytes);
    if let Some(address) = parse_address(bytes) {
        assert!(bytes.len() >= if address.is_ipv4() { 8 } else { 28 });
    }
});
