//! `TCP_INFO` behind the tool's back; alone in its process, as the symbol is global.

#![allow(unsafe_code)]

mod driver;

use std::net::TcpListener;
use std::os::fd::AsRawFd;

use driver::{ACK, SYN, Segment, Tool};

fn info(fd: i32) -> Vec<u8> {
    let mut bytes = vec![0xff_u8; 512];
    let mut len = 512;
    let value = bytes.as_mut_ptr().cast();
    // SAFETY: room for 512 bytes.
    let result = unsafe {
        zcn_packetdrill::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, value, &raw mut len)
    };
    assert_eq!(result, 0);
    bytes.truncate(len as usize);
    bytes
}

#[test]
fn getsockopt_knows_our_sockets_and_the_kernels() {
    let tool = Tool::new("");
    let listener = tool.listener(false);
    tool.inject(&Segment::new(SYN, 0, 0).options(&[2, 4, 3, 232]).v4());
    let (syn_ack, _) = tool.expect();
    let seq = syn_ack.seq.wrapping_add(1);
    tool.inject(&Segment::new(ACK, 1, seq).v4());
    let found = info(listener);
    assert_eq!((found.len(), found[0]), (512, 10));
    assert_eq!(
        found[24..28],
        1_u32.to_ne_bytes(),
        "one waits to be accepted"
    );
    let connection = tool.accept(listener).expect("a connection");
    assert_eq!(tool.write(connection, &[1; 1000]), Ok(1000));
    let found = info(connection);
    let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| found[at + byte]));
    assert_eq!(found.len(), 512, "all that was asked for is filled");
    assert_eq!(found[0], 1, "ESTABLISHED");
    assert_eq!(word(16), 1000, "snd_mss");
    assert_eq!(word(24), 1, "unacked");
    assert_eq!(word(80), 10, "snd_cwnd");
    assert_eq!(word(156), 1, "data_segs_out");
    assert!(found[248..].iter().all(|byte| *byte == 0));

    // A socket of the kernel's own is the kernel's to describe.
    let foreign = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let found = info(foreign.as_raw_fd());
    assert!(found.len() < 512 && found[0] == 10);
}
