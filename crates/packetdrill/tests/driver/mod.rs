//! The part of the tool: it calls the table, and makes and reads packets.
//!
//! The table is the plugin's, or the [`kernel`]'s.

#![allow(unsafe_code)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

pub mod journal;
pub mod kernel;

use std::ffi::{CString, c_int, c_void};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};

use zcn_packetdrill::{Table, packetdrill_interface_init};

/// Protocol numbers.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// What recvmsg(2) tells.
#[derive(Debug)]
pub struct Message {
    pub count: isize,
    pub flags: c_int,
    /// Level, type and bytes of each item of ancillary data.
    pub beside: Vec<(c_int, c_int, Vec<u8>)>,
}

/// The table may be used by two threads, as the tool does.
pub struct Tool(Table);

// SAFETY: the plugin's calls may come from any thread.
unsafe impl Sync for Tool {}
// SAFETY: as above.
unsafe impl Send for Tool {}

pub type Answer<T> = Result<T, i32>;

fn answer<T: PartialOrd + From<i8>>(value: T) -> Answer<T> {
    if value < T::from(0) {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    Ok(value)
}

macro_rules! call {
    ($tool:expr, $name:ident $(, $argument:expr)*) => {
        // SAFETY: the arguments are good for what the call of that name does with them.
        answer(unsafe { $tool.0.$name.expect("a full table")($tool.0.userdata $(, $argument)*) })
    };
}

impl Tool {
    /// As [`with_sysctls`](Self::with_sysctls), whatever the machine has set.
    pub fn new(flags: &str) -> Self {
        Self::with_sysctls(&format!("{flags} no-sysctl"))
    }

    pub fn with_sysctls(flags: &str) -> Self {
        let flags = CString::new(flags).expect("no NUL");
        let mut table = MaybeUninit::uninit();
        // SAFETY: a text, and room for a table, which is filled.
        unsafe {
            packetdrill_interface_init(flags.as_ptr(), table.as_mut_ptr());
            Self(table.assume_init())
        }
    }

    pub fn socket(&self, v6: bool) -> c_int {
        let domain = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        call!(self, socket, domain, libc::SOCK_STREAM, libc::IPPROTO_TCP).expect("a socket")
    }

    pub fn bind(&self, fd: c_int, to: &str) -> Answer<c_int> {
        let address = sockaddr(to);
        let len = address.len() as u32;
        call!(self, bind, fd, address.as_ptr().cast(), len)
    }

    pub fn listener(&self, v6: bool) -> c_int {
        let fd = self.socket(v6);
        let any = if v6 { "[::]:8080" } else { "0.0.0.0:8080" };
        self.bind(fd, any).expect("bound");
        self.listen_for(fd, 1).expect("listening");
        fd
    }

    pub fn listen(&self, fd: c_int) -> Answer<c_int> {
        self.listen_for(fd, 3)
    }

    pub fn listen_for(&self, fd: c_int, backlog: c_int) -> Answer<c_int> {
        call!(self, listen, fd, backlog)
    }

    pub fn accept(&self, fd: c_int) -> Answer<c_int> {
        self.accept_from(fd).map(|(connection, _)| connection)
    }

    /// The connection, and the port of its peer.
    pub fn accept_from(&self, fd: c_int) -> Answer<(c_int, u16)> {
        let mut room = [0_u8; 28];
        let mut len = 28;
        let fd = call!(self, accept, fd, room.as_mut_ptr().cast(), &raw mut len)?;
        Ok((fd, u16::from_be_bytes([room[2], room[3]])))
    }

    pub fn connect(&self, fd: c_int, to: &str) -> Answer<c_int> {
        let address = sockaddr(to);
        call!(
            self,
            connect,
            fd,
            address.as_ptr().cast(),
            address.len() as u32
        )
    }

    /// Whether a connect on the socket is under way.
    pub fn connect_began(&self, fd: c_int) -> bool {
        let info = self.option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 8);
        // SYN-SENT
        info.expect("a socket")[0] == 2
    }

    pub fn read(&self, fd: c_int, max: usize) -> Answer<Vec<u8>> {
        let mut bytes = vec![0; max];
        let count = call!(self, read, fd, bytes.as_mut_ptr().cast(), max)?;
        bytes.truncate(count as usize);
        Ok(bytes)
    }

    pub fn write(&self, fd: c_int, bytes: &[u8]) -> Answer<isize> {
        call!(self, write, fd, bytes.as_ptr().cast(), bytes.len())
    }

    pub fn send(&self, fd: c_int, bytes: &[u8], flags: c_int) -> Answer<isize> {
        call!(self, send, fd, bytes.as_ptr().cast(), bytes.len(), flags)
    }

    pub fn send_to(&self, fd: c_int, bytes: &[u8], flags: c_int, to: &str) -> Answer<isize> {
        let to = sockaddr(to);
        let (data, len) = (bytes.as_ptr().cast(), to.len() as u32);
        call!(
            self,
            sendto,
            fd,
            data,
            bytes.len(),
            flags,
            to.as_ptr().cast(),
            len
        )
    }

    pub fn close(&self, fd: c_int) -> Answer<c_int> {
        call!(self, close, fd)
    }

    pub fn shutdown(&self, fd: c_int, how: c_int) -> Answer<c_int> {
        call!(self, shutdown, fd, how)
    }

    pub fn nonblocking(&self, fd: c_int) {
        call!(self, fcntl, fd, libc::F_SETFL, libc::O_NONBLOCK.into()).expect("set");
    }

    pub fn ioctl(&self, fd: c_int, request: u64) -> Answer<c_int> {
        let mut value: c_int = -1;
        call!(self, ioctl, fd, request, (&raw mut value).cast::<c_void>())?;
        Ok(value)
    }

    pub fn option(&self, fd: c_int, level: c_int, name: c_int, room: usize) -> Answer<Vec<u8>> {
        let mut bytes = vec![0xff; room];
        let mut len = room as u32;
        let value = bytes.as_mut_ptr().cast();
        call!(self, getsockopt, fd, level, name, value, &raw mut len)?;
        bytes.truncate(len as usize);
        Ok(bytes)
    }

    /// recvmsg(2): how many bytes came, and the int that came beside them.
    pub fn receive_message(&self, fd: c_int, max: usize) -> Answer<(isize, Option<c_int>)> {
        let message = self.receive_with(fd, max, 0)?;
        let first = message.beside.first();
        let int =
            first.map(|(_, _, bytes)| i32::from_ne_bytes(bytes[..4].try_into().expect("int")));
        Ok((message.count, int))
    }

    /// recvmsg(2) with all that it tells.
    pub fn receive_with(&self, fd: c_int, max: usize, flags: c_int) -> Answer<Message> {
        let mut bytes = vec![0_u8; max];
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: max,
        };
        // Aligned for a header.
        let mut control = [0_u64; 32];
        // SAFETY: all zeros is a header of nothing.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let count = call!(self, recvmsg, fd, &raw mut message, flags)?;
        let mut beside = Vec::new();
        // SAFETY: the header was filled, and what it says lies in `control`.
        unsafe {
            let mut header = libc::CMSG_FIRSTHDR(&raw const message);
            while let Some(found) = header.as_ref() {
                let len = found.cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = std::slice::from_raw_parts(libc::CMSG_DATA(header), len).to_vec();
                beside.push((found.cmsg_level, found.cmsg_type, data));
                header = libc::CMSG_NXTHDR(&raw const message, header);
            }
        }
        Ok(Message {
            count,
            flags: message.msg_flags,
            beside,
        })
    }

    pub fn epoll(&self) -> c_int {
        call!(self, epoll_create, 1).expect("an instance")
    }

    pub fn watch(&self, epoll: c_int, fd: c_int, events: c_int) {
        let mut event = libc::epoll_event {
            events: events.cast_unsigned(),
            u64: 7,
        };
        let add = libc::EPOLL_CTL_ADD;
        call!(self, epoll_ctl, epoll, add, fd, &raw mut event).expect("added");
    }

    /// What epoll_wait(2) says of the only descriptor, without waiting; 0 if it says nothing.
    pub fn ready(&self, epoll: c_int) -> c_int {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let count = call!(self, epoll_wait, epoll, &raw mut event, 1, 0).expect("looked");
        if count == 0 {
            return 0;
        }
        event.events.cast_signed()
    }

    pub fn pipe(&self) -> (OwnedFd, OwnedFd) {
        let mut ends = [0; 2];
        call!(self, pipe, ends.as_mut_ptr()).expect("a pipe");
        // SAFETY: both are open, and nobody else's.
        ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).into()
    }

    pub fn splice(&self, from: c_int, to: c_int, len: usize, flags: u32) -> Answer<isize> {
        let none = std::ptr::null_mut();
        call!(self, splice, from, none, to, none, len, flags)
    }

    pub fn set(&self, fd: c_int, level: c_int, name: c_int, value: &[u8]) -> Answer<c_int> {
        let (bytes, len) = (value.as_ptr().cast(), value.len() as u32);
        call!(self, setsockopt, fd, level, name, bytes, len)
    }

    /// SO_SNDBUF: as on Linux twice as much, with what the bytes' keeping takes.
    pub fn set_send_buffer(&self, fd: c_int, size: c_int) {
        let value = size.to_ne_bytes();
        let set = self.set(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &value);
        assert_eq!(set, Ok(0));
    }

    /// SO_SNDTIMEO.
    pub fn set_send_timeout(&self, fd: c_int, seconds: i64) {
        self.set_time_limit(fd, libc::SO_SNDTIMEO, seconds);
    }

    /// SO_RCVTIMEO.
    pub fn set_receive_timeout(&self, fd: c_int, seconds: i64) {
        self.set_time_limit(fd, libc::SO_RCVTIMEO, seconds);
    }

    fn set_time_limit(&self, fd: c_int, name: c_int, seconds: i64) {
        let value = [seconds.to_ne_bytes(), [0; 8]].concat();
        assert_eq!(self.set(fd, libc::SOL_SOCKET, name, &value), Ok(0));
    }

    pub fn poll(&self, fd: c_int, events: i16, timeout: c_int) -> i16 {
        let mut entry = libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        call!(self, poll, &raw mut entry, 1, timeout).expect("polled");
        entry.revents
    }

    pub fn sleep(&self, micros: u32) {
        call!(self, usleep, micros).expect("slept");
    }

    /// Microseconds.
    pub fn clock(&self) -> i64 {
        let mut time = MaybeUninit::<libc::timeval>::uninit();
        call!(self, gettimeofday, time.as_mut_ptr(), std::ptr::null_mut()).expect("a time");
        // SAFETY: filled.
        let time = unsafe { time.assume_init() };
        time.tv_sec * 1_000_000 + time.tv_usec
    }

    pub fn inject(&self, packet: &[u8]) {
        call!(self, netdev_send, packet.as_ptr().cast(), packet.len()).expect("sent");
    }

    /// The next segment, and when it left, in microseconds.
    pub fn expect(&self) -> (Segment, i64) {
        let (bytes, time) = self.packet();
        (Segment::parse(&bytes), time)
    }

    /// The next packet, and when it left, in microseconds.
    pub fn packet(&self) -> (Vec<u8>, i64) {
        let mut bytes = vec![0_u8; 65_536];
        let (mut count, mut time) = (bytes.len(), 0);
        let buffer = bytes.as_mut_ptr().cast();
        call!(self, netdev_receive, buffer, &raw mut count, &raw mut time).expect("a packet");
        bytes.truncate(count);
        (bytes, time)
    }

    /// All that left until now and was not looked at: a segment to a closed port is answered after
    /// it, at once and by whoever it is.
    pub fn fence(&self) -> Vec<Segment> {
        let packets = self.fence_packets();
        let parsed = packets.iter().map(|(packet, _)| Segment::parse(packet));
        parsed.collect()
    }

    /// As [`fence`](Self::fence): packets, and when they left, in microseconds.
    pub fn fence_packets(&self) -> Vec<(Vec<u8>, i64)> {
        let mut mark = Segment::new(ACK, 0, 0xfe_0ce5);
        (mark.from, mark.to) = (1, 7);
        self.inject(&mark.v4());
        let left = std::iter::from_fn(|| Some(self.packet()));
        let is_answer = |packet: &[u8]| {
            let left = Segment::parse(packet);
            (left.from, left.to) == (7, 1)
        };
        let before = left.take_while(|(packet, _)| !is_answer(packet));
        before.collect()
    }
}

/// Bytes that tell where in a stream they are.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

/// MSS 1460, SACK permitted without timestamps, window scale 7, as Linux lays them out.
pub const OPTIONS: [u8; 12] = [2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7];

/// A handshake that the remote side begins; the listener, the connection, our first number.
pub fn accepted(tool: &Tool) -> (i32, i32, u32) {
    let listener = tool.listener(false);
    tool.inject(&Segment::new(SYN, 0, 0).options(&OPTIONS).v4());
    let (syn_ack, _) = tool.expect();
    assert_eq!((syn_ack.flags, syn_ack.ack), (SYN | ACK, 1));
    let seq = syn_ack.seq.wrapping_add(1);
    tool.inject(&Segment::new(ACK, 1, seq).v4());
    let connection = tool.accept(listener).expect("a connection");
    (listener, connection, seq)
}

impl Drop for Tool {
    fn drop(&mut self) {
        // SAFETY: the last call.
        unsafe { self.0.free.expect("a full table")(self.0.userdata) };
    }
}

pub fn sockaddr(text: &str) -> Vec<u8> {
    match text.parse().expect("an address") {
        SocketAddr::V4(v4) => {
            let mut out = (libc::AF_INET as u16).to_ne_bytes().to_vec();
            out.extend(v4.port().to_be_bytes());
            out.extend(v4.ip().octets());
            out.resize(16, 0);
            out
        }
        SocketAddr::V6(v6) => {
            let mut out = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
            out.extend(v6.port().to_be_bytes());
            out.extend([0; 4]);
            out.extend(v6.ip().octets());
            out.resize(28, 0);
            out
        }
    }
}

/// A TCP segment, ports as the script sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub from: u16,
    pub to: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// AE, the bit before the others (RFC 9768).
    pub accurate: bool,
    pub window: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    pub urgent: u16,
    pub traffic_class: u8,
}

fn sum(bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks(2);
    pairs.fold(0, |sum, pair| {
        sum + (u32::from(pair[0]) << 8) + u32::from(*pair.get(1).unwrap_or(&0))
    })
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Segment {
    /// From the remote side's port 40000 to 8080.
    pub fn new(flags: u8, seq: u32, ack: u32) -> Self {
        Self {
            from: 40_000,
            to: 8080,
            seq,
            ack,
            flags,
            window: 65_535,
            ..Self::default()
        }
    }

    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    fn tcp(&self, pseudo: u32) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.from.to_be_bytes());
        tcp.extend(self.to.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        let header = ((20 + self.options.len()) / 4 * 16) as u8;
        tcp.extend([header | u8::from(self.accurate), self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 2]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let checksum = fold(pseudo + sum(&tcp) + 6 + tcp.len() as u32);
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        tcp
    }

    /// As an IPv4 packet from 192.0.2.1.
    pub fn v4(&self) -> Vec<u8> {
        let ends = [192, 0, 2, 1, 192, 168, 0, 1];
        let tcp = self.tcp(sum(&ends));
        let mut packet = vec![0x45, self.traffic_class];
        packet.extend((20 + tcp.len() as u16).to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(ends);
        let checksum = fold(sum(&packet));
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        packet.extend(tcp);
        packet
    }

    /// As an IPv6 packet from fd3d:fa7b:d17d::1.
    pub fn v6(&self) -> Vec<u8> {
        let address = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address");
        let mut ends = address("fd3d:fa7b:d17d::1").octets().to_vec();
        ends.extend(address("fd3d:a0b:17d6::1").octets());
        let tcp = self.tcp(sum(&ends));
        let class = self.traffic_class;
        let mut packet = vec![0x60 | class >> 4, class << 4, 0, 0];
        packet.extend((tcp.len() as u16).to_be_bytes());
        packet.extend([6, 64]);
        packet.extend(ends);
        packet.extend(tcp);
        packet
    }

    /// An ICMP error of type and code (of ICMPv6 over IPv6) from the remote side about this segment,
    /// which is one of ours; `rest` is the second word of its header.
    pub fn icmp(&self, v6: bool, kind: u8, code: u8, rest: u32) -> Vec<u8> {
        let mut quoted = if v6 { self.v6() } else { self.v4() };
        let (ends, len) = if v6 { (8, 16) } else { (12, 4) };
        let (remote, local) = quoted[ends..ends + 2 * len].split_at_mut(len);
        remote.swap_with_slice(local);
        let mut packet = quoted[..ends + 2 * len].to_vec();
        let mut icmp = vec![kind, code, 0, 0];
        icmp.extend(rest.to_be_bytes());
        icmp.extend(&quoted);
        // From the remote side to us, as segments are.
        let (first, second) = packet[ends..].split_at_mut(len);
        first.swap_with_slice(second);
        let mut total = sum(&icmp);
        if v6 {
            packet[4..6].copy_from_slice(&(icmp.len() as u16).to_be_bytes());
            packet[6] = ICMPV6;
            total += sum(&packet[ends..]) + u32::from(ICMPV6) + icmp.len() as u32;
        } else {
            packet[2..4].copy_from_slice(&(20 + icmp.len() as u16).to_be_bytes());
            packet[9] = ICMP;
            packet[10..12].fill(0);
            let checksum = fold(sum(&packet));
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        icmp[2..4].copy_from_slice(&fold(total).to_be_bytes());
        packet.extend(icmp);
        packet
    }

    /// Reads a packet of either family, whose checksums must be right.
    pub fn parse(packet: &[u8]) -> Self {
        let (tcp, pseudo) = if packet[0] >> 4 == 4 {
            assert_eq!(fold(sum(&packet[..20])), 0, "IPv4 header checksum");
            (&packet[20..], sum(&packet[12..20]))
        } else {
            (&packet[40..], sum(&packet[8..40]))
        };
        assert_eq!(
            fold(pseudo + sum(tcp) + 6 + tcp.len() as u32),
            0,
            "TCP checksum"
        );
        let short = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let word = |at: usize| u32::from(short(at)) << 16 | u32::from(short(at + 2));
        let header = usize::from(tcp[12] >> 4) * 4;
        Self {
            from: short(0),
            to: short(2),
            seq: word(4),
            ack: word(8),
            flags: tcp[13],
            accurate: tcp[12] & 1 != 0,
            window: short(14),
            urgent: short(18),
            options: tcp[20..header].to_vec(),
            payload: tcp[header..].to_vec(),
            traffic_class: if packet[0] >> 4 == 4 {
                packet[1]
            } else {
                packet[0] << 4 | packet[1] >> 4
            },
        }
    }
}
