//! Settings of the network namespace, in one that the test makes.

#![expect(clippy::print_stdout, reason = "a test tells why it was skipped")]

mod driver;

use std::thread;

use driver::{ACK, SYN, Segment, Tool};
use zcn_sys::namespace::enter_new_network;

const ECE: u8 = 64;
const CWR: u8 = 128;

/// The flags of a connect's SYN, and of the answer to a SYN that offers ECN.
fn handshakes(tool: &Tool) -> (u8, u8) {
    let fd = tool.socket(false);
    tool.nonblocking(fd);
    assert_eq!(tool.connect(fd, "192.0.2.1:80"), Err(libc::EINPROGRESS));
    let (syn, _) = tool.expect();
    let _listener = tool.listener(false);
    tool.inject(&Segment::new(SYN | ECE | CWR, 0, 0).v4());
    let (answer, _) = tool.expect();
    (syn.flags, answer.flags)
}

#[test]
fn sysctls_are_obeyed_where_the_stack_has_the_setting() {
    let outcome = thread::spawn(|| {
        if let Err(error) = enter_new_network() {
            return println!("SKIPPED: no network namespace of our own: {error}");
        }
        let tool = Tool::with_sysctls("");
        // Set after the start, as scripts do, and before the first socket.
        let setting = "/proc/sys/net/ipv4/tcp_ecn";
        if let Err(error) = std::fs::write(setting, "1") {
            return println!("SKIPPED: {setting} cannot be set: {error}");
        }
        assert_eq!(handshakes(&tool), (SYN | ECE | CWR, SYN | ACK | ECE));
        let deaf = Tool::new("");
        assert_eq!(handshakes(&deaf), (SYN, SYN | ACK | ECE));
        let said = Tool::with_sysctls("tcp_ecn=0");
        assert_eq!(handshakes(&said), (SYN, SYN | ACK));
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}
