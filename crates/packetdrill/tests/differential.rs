//! The same calls on the kernel's sockets and on those of the plugin have the same answers.

#![allow(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a test tells why it was skipped")]

mod driver;

use std::fmt::Write as _;
use std::io::{Error, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use driver::{ACK, FIN, OPTIONS, PSH, RST, SYN, Segment, Tool, accepted};
use libc::{IPPROTO_IP, IPPROTO_TCP, SOL_SOCKET};

/// An answer, or the error's number.
type Answer = Result<i32, i32>;

fn answered(value: i32) -> Answer {
    if value < 0 {
        return Err(Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    Ok(value)
}

/// setsockopt(2) on one of the kernel's sockets.
fn set(fd: RawFd, level: i32, name: i32, value: &[u8]) -> Answer {
    // SAFETY: as many bytes are there.
    answered(unsafe {
        libc::setsockopt(fd, level, name, value.as_ptr().cast(), value.len() as u32)
    })
}

/// The first int of what getsockopt(2) tells.
fn get(fd: RawFd, level: i32, name: i32) -> Answer {
    let (mut value, mut len) = (-77_i32, 4);
    let target = (&raw mut value).cast();
    // SAFETY: room for an int.
    answered(unsafe { libc::getsockopt(fd, level, name, target, &raw mut len) })?;
    Ok(value)
}

fn get_of(tool: &Tool, fd: i32, level: i32, name: i32) -> Answer {
    let bytes = tool.option(fd, level, name, 4)?;
    let bytes = bytes.first_chunk().copied();
    Ok(bytes.map_or(-77, i32::from_ne_bytes))
}

/// Options that are ints, by name, with values to try.
const INTS: [(&str, i32, i32, &[i32]); 24] = [
    (
        "TCP_NODELAY",
        IPPROTO_TCP,
        libc::TCP_NODELAY,
        &[1, 0, 7, -1],
    ),
    ("TCP_CORK", IPPROTO_TCP, libc::TCP_CORK, &[1, 0, 7]),
    (
        "TCP_MAXSEG",
        IPPROTO_TCP,
        libc::TCP_MAXSEG,
        &[87, 88, 1_000, 32_767, 32_768, -1, 0],
    ),
    (
        "TCP_KEEPIDLE",
        IPPROTO_TCP,
        libc::TCP_KEEPIDLE,
        &[0, 1, 32_767, 32_768, -1],
    ),
    (
        "TCP_KEEPINTVL",
        IPPROTO_TCP,
        libc::TCP_KEEPINTVL,
        &[0, 1, 32_767, 32_768, -1],
    ),
    (
        "TCP_KEEPCNT",
        IPPROTO_TCP,
        libc::TCP_KEEPCNT,
        &[0, 1, 127, 128, -1],
    ),
    (
        "TCP_SYNCNT",
        IPPROTO_TCP,
        libc::TCP_SYNCNT,
        &[0, 1, 127, 128, -1],
    ),
    (
        "TCP_LINGER2",
        IPPROTO_TCP,
        libc::TCP_LINGER2,
        &[5, 60, 120, 121, 1_000, -1, -7, 0],
    ),
    (
        "TCP_DEFER_ACCEPT",
        IPPROTO_TCP,
        libc::TCP_DEFER_ACCEPT,
        &[1, 2, 5, 0, -1],
    ),
    (
        "TCP_USER_TIMEOUT",
        IPPROTO_TCP,
        libc::TCP_USER_TIMEOUT,
        &[1, 0, 30_000, -1],
    ),
    ("TCP_NOTSENT_LOWAT", IPPROTO_TCP, 25, &[1, 4_000, -1, 0]),
    ("TCP_INQ", IPPROTO_TCP, 36, &[1, 0, 2, -1]),
    ("TCP_SAVE_SYN", IPPROTO_TCP, 27, &[2, 1, 0, 3, -1]),
    (
        "TCP_FASTOPEN_CONNECT",
        IPPROTO_TCP,
        libc::TCP_FASTOPEN_CONNECT,
        &[1, 0, 2, -1],
    ),
    ("SO_KEEPALIVE", SOL_SOCKET, libc::SO_KEEPALIVE, &[1, 0, 9]),
    ("SO_REUSEADDR", SOL_SOCKET, libc::SO_REUSEADDR, &[1, 0, 9]),
    ("SO_REUSEPORT", SOL_SOCKET, libc::SO_REUSEPORT, &[1, 0, 9]),
    ("SO_PRIORITY", SOL_SOCKET, libc::SO_PRIORITY, &[6, 0, 3]),
    ("SO_OOBINLINE", SOL_SOCKET, libc::SO_OOBINLINE, &[1, 0, 9]),
    ("SO_RCVLOWAT", SOL_SOCKET, libc::SO_RCVLOWAT, &[1_000, 0, 1]),
    (
        "SO_TIMESTAMPING",
        SOL_SOCKET,
        libc::SO_TIMESTAMPING,
        &[0x12, 0, 0x312, -1],
    ),
    ("SO_ZEROCOPY", SOL_SOCKET, libc::SO_ZEROCOPY, &[1, 0, 2, -1]),
    (
        "IP_TTL",
        IPPROTO_IP,
        libc::IP_TTL,
        &[1, 0, 255, 256, -2, -1],
    ),
    ("IP_TOS", IPPROTO_IP, libc::IP_TOS, &[0x10, 0, 0x2b, 0xff]),
];

/// A setting of the machine's under `net.ipv4`.
fn sysctl(name: &str) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect(name);
    text.trim().parse().expect(name)
}

/// Sets and asks, side by side, a tool that minds the machine's settings; tells every difference.
fn compare_options(state: &str, kernel: RawFd, tool: &Tool, ours: i32, out: &mut String) {
    for (text, level, name, values) in INTS {
        let fast_open = (level, name) == (IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT);
        if fast_open && sysctl("tcp_fastopen") & 1 == 0 {
            println!("SKIPPED: {text}: net.ipv4.tcp_fastopen forbids it");
            continue;
        }
        // The segment size of a connection is its path's.
        let own = state == "connected" && name == libc::TCP_MAXSEG && level == IPPROTO_TCP;
        for value in values {
            let bytes = value.to_ne_bytes();
            let mut theirs = (set(kernel, level, name, &bytes), get(kernel, level, name));
            let here = (
                tool.set(ours, level, name, &bytes),
                get_of(tool, ours, level, name),
            );
            if own {
                assert_eq!(here.1, Ok(1_460));
                theirs.1 = here.1;
            }
            // Of the sysctls only those of TCP are minded.
            if (level, name, *value) == (IPPROTO_IP, libc::IP_TTL, -1) {
                assert_eq!(theirs.1, Ok(sysctl("ip_default_ttl")));
                theirs.1 = Ok(64);
            }
            if theirs != here {
                let _ = writeln!(
                    out,
                    "{state}: {text} {value}: {here:?}, the kernel {theirs:?}"
                );
            }
        }
    }
    for (text, name, values) in [
        ("SO_SNDBUF", libc::SO_SNDBUF, [0, 1_000, 50_000]),
        ("SO_RCVBUF", libc::SO_RCVBUF, [0, 1_000, 50_000]),
    ] {
        for value in values {
            let bytes = i32::to_ne_bytes(value);
            let theirs = (
                set(kernel, SOL_SOCKET, name, &bytes),
                get(kernel, SOL_SOCKET, name),
            );
            let here = (
                tool.set(ours, SOL_SOCKET, name, &bytes),
                get_of(tool, ours, SOL_SOCKET, name),
            );
            if theirs != here {
                let _ = writeln!(
                    out,
                    "{state}: {text} {value}: {here:?}, the kernel {theirs:?}"
                );
            }
        }
    }
}

/// A socket of the kernel's without anything.
fn fresh() -> OwnedFd {
    // SAFETY: no pointer is passed; the descriptor is nobody else's.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "{}", Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

fn connected() -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let client = TcpStream::connect(address).expect("a connection");
    let (served, _) = listener.accept().expect("a connection");
    (listener, client, served)
}

#[test]
fn options_are_taken_refused_and_told_as_by_the_kernel() {
    let mut out = String::new();
    let tool = Tool::with_sysctls("");
    compare_options(
        "fresh",
        fresh().as_raw_fd(),
        &tool,
        tool.socket(false),
        &mut out,
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let ours = tool.listener(false);
    compare_options("listening", listener.as_raw_fd(), &tool, ours, &mut out);
    let tool = Tool::with_sysctls("");
    let (_listener, _client, served) = connected();
    let (_ours, ours, _) = accepted(&tool);
    compare_options("connected", served.as_raw_fd(), &tool, ours, &mut out);
    assert!(out.is_empty(), "\n{out}");
}

#[test]
fn an_accepted_socket_has_of_its_listener_what_the_kernels_has() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let tool = Tool::with_sysctls("");
    let ours = tool.listener(false);
    let mut names = Vec::new();
    let time = [5_i64.to_ne_bytes(), [0; 8]].concat();
    let linger = [1_i32.to_ne_bytes(), 7_i32.to_ne_bytes()].concat();
    for (text, name, value) in [
        ("SO_RCVTIMEO", libc::SO_RCVTIMEO, &time),
        ("SO_SNDTIMEO", libc::SO_SNDTIMEO, &time),
        ("SO_LINGER", libc::SO_LINGER, &linger),
        (
            "SO_SNDBUF",
            libc::SO_SNDBUF,
            &9_000_i32.to_ne_bytes().to_vec(),
        ),
        (
            "SO_RCVBUF",
            libc::SO_RCVBUF,
            &9_000_i32.to_ne_bytes().to_vec(),
        ),
    ] {
        set(listener.as_raw_fd(), SOL_SOCKET, name, value).expect("set");
        tool.set(ours, SOL_SOCKET, name, value).expect("set");
        names.push((text, SOL_SOCKET, name));
    }
    for (text, level, name, values) in INTS {
        // A connection has the segment size of its path, and may be used at once. No listener
        // connects.
        if level == IPPROTO_TCP
            && [
                libc::TCP_MAXSEG,
                libc::TCP_DEFER_ACCEPT,
                libc::TCP_FASTOPEN_CONNECT,
            ]
            .contains(&name)
        {
            continue;
        }
        // The first ones are unlike what a socket begins with.
        for value in values.iter().rev() {
            let value = value.to_ne_bytes();
            let theirs = set(listener.as_raw_fd(), level, name, &value);
            assert_eq!(tool.set(ours, level, name, &value), theirs, "{text}");
        }
        names.push((text, level, name));
    }
    let address = listener.local_addr().expect("its address");
    let _client = TcpStream::connect(address).expect("a connection");
    let (served, _) = listener.accept().expect("a connection");
    tool.inject(&Segment::new(SYN, 0, 0).options(&OPTIONS).v4());
    let seq = tool.expect().0.seq.wrapping_add(1);
    tool.inject(&Segment::new(ACK, 1, seq).v4());
    let connection = tool.accept(ours).expect("a connection");
    let mut out = String::new();
    for (text, level, name) in names {
        let theirs = get(served.as_raw_fd(), level, name);
        let here = get_of(&tool, connection, level, name);
        if here != theirs {
            let _ = writeln!(out, "{text}: {here:?}, the kernel {theirs:?}");
        }
    }
    assert!(out.is_empty(), "\n{out}");
}

/// A call on a socket.
#[derive(Clone, Copy, Debug)]
enum Call {
    Read,
    Write,
    Shut(i32),
    Accept,
    Listen,
    Poll,
    Error,
    Unread,
    Unsent,
}

use Call::{Accept, Listen, Poll, Read, Shut, Unread, Unsent, Write};

/// What poll(2) is asked for.
const EVERYTHING: i16 =
    libc::POLLIN | libc::POLLOUT | libc::POLLRDNORM | libc::POLLWRNORM | libc::POLLRDHUP;
const SIOCINQ: u64 = 0x541b;
const SIOCOUTQ: u64 = 0x5411;

fn poll(fd: RawFd, events: i16, timeout: i32) -> i16 {
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one entry.
    answered(unsafe { libc::poll(&raw mut entry, 1, timeout) }).expect("polled");
    entry.revents
}

impl Call {
    fn of_kernel(self, fd: RawFd) -> Answer {
        let mut bytes = [0_u8; 100];
        let buffer = bytes.as_mut_ptr();
        let mut number = -77_i32;
        // SAFETY: all buffers are as long as is said.
        answered(unsafe {
            match self {
                Read => libc::recv(fd, buffer.cast(), 100, libc::MSG_DONTWAIT) as i32,
                Write => libc::send(fd, buffer.cast(), 3, libc::MSG_DONTWAIT) as i32,
                Shut(how) => libc::shutdown(fd, how),
                Accept => {
                    libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
                    let none = std::ptr::null_mut();
                    libc::accept(fd, none, none.cast())
                }
                Listen => libc::listen(fd, 3),
                Poll => poll(fd, EVERYTHING, 0).into(),
                Self::Error => return get(fd, SOL_SOCKET, libc::SO_ERROR),
                Unread | Unsent => {
                    let request = if matches!(self, Unread) {
                        SIOCINQ
                    } else {
                        SIOCOUTQ
                    };
                    answered(libc::ioctl(fd, request, &raw mut number))?;
                    number
                }
            }
        })
    }

    fn of_ours(self, tool: &Tool, fd: i32) -> Answer {
        match self {
            Read => {
                tool.nonblocking(fd);
                tool.read(fd, 100).map(|bytes| bytes.len() as i32)
            }
            Write => tool
                .send(fd, b"abc", libc::MSG_DONTWAIT)
                .map(|sent| sent as i32),
            Shut(how) => tool.shutdown(fd, how),
            Accept => {
                tool.nonblocking(fd);
                tool.accept(fd)
            }
            Listen => tool.listen(fd),
            Poll => Ok(tool.poll(fd, EVERYTHING, 0).into()),
            Self::Error => get_of(tool, fd, SOL_SOCKET, libc::SO_ERROR),
            Unread => tool.ioctl(fd, SIOCINQ),
            Unsent => tool.ioctl(fd, SIOCOUTQ),
        }
    }
}

/// What the peer of a connection has done before.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Silent,
    Said,
    Ended,
    SaidAndEnded,
    Reset,
}

const PATIENCE_MS: i32 = 20_000;

fn compare_calls(peer: Peer, calls: &[Call], out: &mut String) {
    let (_listener, client, served) = connected();
    let tool = Tool::new("");
    let (_ours, ours, seq) = accepted(&tool);
    let said = matches!(peer, Peer::Said | Peer::SaidAndEnded);
    if said {
        (&client).write_all(b"hello").expect("sent");
        tool.inject(&Segment::new(ACK | PSH, 1, seq).payload(b"hello").v4());
    }
    let fd = served.as_raw_fd();
    let mut client = Some(client);
    match peer {
        Peer::Silent | Peer::Said => {}
        Peer::Ended | Peer::SaidAndEnded => {
            let kept = client.as_ref().expect("a client");
            kept.shutdown(std::net::Shutdown::Write).expect("ended");
            let at = if said { 6 } else { 1 };
            tool.inject(&Segment::new(ACK | FIN, at, seq).v4());
        }
        Peer::Reset => {
            let linger = [1_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
            let kept = client.take().expect("a client");
            let set = set(kept.as_raw_fd(), SOL_SOCKET, libc::SO_LINGER, &linger);
            assert_eq!(set, Ok(0));
            drop(kept);
            tool.inject(&Segment::new(RST | ACK, 1, seq).v4());
        }
    }
    // What the peer did arrives in its own time.
    let sign = match peer {
        Peer::Silent => 0,
        Peer::Said => libc::POLLIN,
        Peer::Ended | Peer::SaidAndEnded => libc::POLLRDHUP,
        Peer::Reset => libc::POLLHUP,
    };
    assert!(sign == 0 || poll(fd, sign, PATIENCE_MS) & sign != 0);
    for (at, call) in calls.iter().enumerate() {
        let (theirs, here) = (call.of_kernel(fd), call.of_ours(&tool, ours));
        if theirs != here {
            let before = &calls[..at];
            let _ = writeln!(
                out,
                "{peer:?}, {before:?}, then {call:?}: {here:x?}, the kernel {theirs:x?}"
            );
        }
    }
}

#[test]
fn calls_on_a_connection_answer_as_the_kernels() {
    const RD: Call = Shut(libc::SHUT_RD);
    const WR: Call = Shut(libc::SHUT_WR);
    const RDWR: Call = Shut(libc::SHUT_RDWR);
    let mut out = String::new();
    for peer in [
        Peer::Silent,
        Peer::Said,
        Peer::Ended,
        Peer::SaidAndEnded,
        Peer::Reset,
    ] {
        for calls in [
            &[Poll, Unread, Read, Read, Poll, Read][..],
            &[Call::Error, Call::Error, Poll, Read, Poll],
            &[Accept, Listen, Shut(3), Poll],
            &[RD, Poll, Unread, Read, Read, Poll, RD],
        ] {
            compare_calls(peer, calls, &mut out);
        }
    }
    // What is written after an end draws a reset whose time is not ours to know.
    for calls in [
        &[Poll, Write, Poll][..],
        &[WR, Poll, Write, Read, Poll],
        &[RDWR, Poll, Write, Read, Poll],
    ] {
        for peer in [Peer::Silent, Peer::Said] {
            compare_calls(peer, calls, &mut out);
        }
    }
    for calls in [
        &[Write, Write, Read, Read, Poll][..],
        &[Read, Write, Poll],
        &[Call::Error, Write, Read],
        &[WR, RDWR, RD, Poll],
    ] {
        compare_calls(Peer::Reset, calls, &mut out);
    }
    assert!(out.is_empty(), "\n{out}");
}

#[test]
fn calls_without_a_connection_answer_as_the_kernels() {
    let mut out = String::new();
    for calls in [
        &[Poll, Read, Write, Poll, Accept, Call::Error][..],
        &[
            Shut(libc::SHUT_RD),
            Shut(libc::SHUT_WR),
            Poll,
            Unread,
            Unsent,
        ],
        &[
            Listen,
            Listen,
            Poll,
            Read,
            Write,
            Accept,
            Unread,
            Unsent,
            Call::Error,
        ],
        &[Listen, Shut(libc::SHUT_WR), Poll, Accept],
        &[
            Listen,
            Shut(libc::SHUT_RD),
            Poll,
            Accept,
            Read,
            Write,
            Listen,
        ],
    ] {
        let (kernel, tool) = (fresh(), Tool::new(""));
        let ours = tool.socket(false);
        for (at, call) in calls.iter().enumerate() {
            let (theirs, here) = (
                call.of_kernel(kernel.as_raw_fd()),
                call.of_ours(&tool, ours),
            );
            if theirs != here {
                let before = &calls[..at];
                let _ = writeln!(
                    out,
                    "{before:?}, then {call:?}: {here:x?}, the kernel {theirs:x?}"
                );
            }
        }
    }
    assert!(out.is_empty(), "\n{out}");
}
