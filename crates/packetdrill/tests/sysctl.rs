//! Settings of the network namespace, in one that the test makes.

#![expect(clippy::print_stdout, reason = "a test tells why it was skipped")]

mod driver;

use std::thread;

use driver::{ACK, SYN, Segment, Tool, accepted};
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

/// Runs `body` in a network namespace of its own; `body` gets a way to set its sysctls, of which
/// the name is what follows `tcp_`.
fn in_a_namespace(body: impl FnOnce(&dyn Fn(&str, &str)) + Send + 'static) {
    let outcome = thread::spawn(|| {
        if let Err(error) = enter_new_network() {
            return println!("SKIPPED: no network namespace of our own: {error}");
        }
        let setting = |name: &str| format!("/proc/sys/net/ipv4/tcp_{name}");
        // As it is, to see whether it may be.
        let first = setting("ecn");
        let same = std::fs::read(&first).and_then(|value| std::fs::write(&first, value));
        if let Err(error) = same {
            return println!("SKIPPED: {first} cannot be set: {error}");
        }
        body(&|name, value| std::fs::write(setting(name), value).expect(name));
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn sysctls_are_obeyed_where_the_stack_has_the_setting() {
    in_a_namespace(|set| {
        let tool = Tool::with_sysctls("");
        // Set after the start, as scripts do, and before the first socket.
        set("ecn", "1");
        assert_eq!(handshakes(&tool), (SYN | ECE | CWR, SYN | ACK | ECE));
        let deaf = Tool::new("");
        assert_eq!(handshakes(&deaf), (SYN, SYN | ACK | ECE));
        let said = Tool::with_sysctls("tcp_ecn=0");
        assert_eq!(handshakes(&said), (SYN, SYN | ACK));
    });
}

/// Whether a listener that was not told to answers who asks for a cookie (RFC 7413).
fn gives_cookies(tool: &Tool) -> bool {
    const FAST_OPEN: u8 = 34;
    let _listener = tool.listener(false);
    let asks = [FAST_OPEN, 2, 1, 1];
    tool.inject(&Segment::new(SYN, 0, 0).options(&asks).v4());
    let (answer, _) = tool.expect();
    assert_eq!(answer.flags, SYN | ACK);
    answer.options.contains(&FAST_OPEN)
}

#[test]
fn flags_of_fast_open_are_not_overruled_by_the_namespace() {
    let tools = [("", true), ("fast-open", true), ("no-fast-open", false)];
    for (flags, gives) in tools {
        assert_eq!(gives_cookies(&Tool::new(flags)), gives, "{flags}");
    }
    in_a_namespace(|set| {
        set("fastopen", "2");
        for (flags, gives) in [("", false), ("fast-open", true), ("no-fast-open", false)] {
            assert_eq!(gives_cookies(&Tool::with_sysctls(flags)), gives, "{flags}");
        }
        set("fastopen", "1027");
        assert!(!gives_cookies(&Tool::with_sysctls("no-fast-open")));
        assert!(gives_cookies(&Tool::with_sysctls(
            "no-fast-open tcp_fastopen=1027"
        )));
    });
}

/// As on Linux: it stands for the sockets that have none of their own.
#[test]
fn the_sysctl_of_unsent_bytes_is_not_the_sockets_option() {
    const TCP_NOTSENT_LOWAT: i32 = 25;
    let tool = Tool::new("tcp_notsent_lowat=4000");
    let (_listener, connection, _) = accepted(&tool);
    tool.nonblocking(connection);
    let told = || {
        let level = libc::IPPROTO_TCP;
        tool.option(connection, level, TCP_NOTSENT_LOWAT, 4)
    };
    let own = |mark: i32| {
        let (level, mark) = (libc::IPPROTO_TCP, mark.to_ne_bytes());
        let set = tool.set(connection, level, TCP_NOTSENT_LOWAT, &mark);
        assert_eq!(set, Ok(0));
        assert_eq!(told(), Ok(mark.to_vec()));
    };
    assert_eq!(told(), Ok(vec![0; 4]));
    // What leaves at once, and a super-frame that is begun before the mark.
    assert_eq!(tool.write(connection, &[1; 100_000]), Ok(14_600 + 64_240));
    assert_eq!(tool.write(connection, b"more"), Err(libc::EAGAIN));
    own(64_241);
    assert_eq!(tool.write(connection, &[1; 1_000]), Ok(1_000));
    own(0);
    assert_eq!(tool.write(connection, &[1; 64_240]), Ok(63_240));
    assert_eq!(tool.write(connection, b"more"), Err(libc::EAGAIN));
    own(-1);
    assert_eq!(tool.write(connection, b"more"), Ok(4));
}
