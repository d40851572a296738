//! Arbitrary segments, calls, ICMP errors and times for the TCP layer: a table of a few places,
//! so that the caps are reached. The test draws the choices from seeds, the fuzz target
//! `tcp_calls` has the fuzzer write them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use zcn_frame::Chain;
use zcn_pool::{BufferPool, SharedBuf};
use zcn_stack::error::{NetworkError, RouteError};
use zcn_stack::id::{InterfaceId, SocketId};
use zcn_stack::random::Random;
use zcn_stack::slab::Id;
use zcn_stack::tcp::{
    AccEcnOption, Ecn, IcmpError, Path, Paths, SegmentIn, SegmentOut, SocketOption, SocketOptions,
    SynCookies, Tcp, TcpConfig,
};
use zcn_stack::time::Instant;
use zcn_wire::{
    AccEcn, AccEcnOrder, FastOpenCookie, SackBlock, SeqNum, TcpFlags, TcpOptions, TcpRepr,
    TcpTimestamps,
};

struct Route;

impl Paths for Route {
    fn path(
        &mut self,
        _: Instant,
        local: Option<IpAddr>,
        remote: IpAddr,
    ) -> Result<Path, RouteError> {
        if remote == IpAddr::from([10, 0, 0, 9]) {
            return Err(RouteError::NoRoute);
        }
        Ok(Path {
            local: local.unwrap_or([10, 0, 0, 1].into()),
            interface: InterfaceId(0),
            mtu: 1500,
            initial_window: None,
            gso_max_size: 65_536,
        })
    }
}

/// Where the choices come from.
#[allow(dead_code, reason = "the tests draw them, the fuzzer writes them down")]
pub(crate) enum Choices<'a> {
    Drawn(Random),
    /// Four bytes for each; no more choices where they end.
    Written(&'a [u8]),
}

impl Choices<'_> {
    fn next_u32(&mut self) -> u32 {
        match self {
            Self::Drawn(random) => random.next_u32(),
            Self::Written(bytes) => {
                let (first, rest) = bytes.split_at(bytes.len().min(4));
                *bytes = rest;
                let mut word = [0; 4];
                word[..first.len()].copy_from_slice(first);
                u32::from_le_bytes(word)
            }
        }
    }

    fn below(&mut self, bound: u32) -> u32 {
        match self {
            Self::Drawn(random) => random.below(bound),
            Self::Written(bytes) if bound <= 256 => {
                let (first, rest) = bytes.split_at(bytes.len().min(1));
                *bytes = rest;
                u32::from(first.first().copied().unwrap_or(0)) % bound.max(1)
            }
            Self::Written(_) => self.next_u32() % bound,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::Written(bytes) if bytes.is_empty())
    }
}

/// What the peer knows of a connection, so that some of its segments fit.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// Our next number, as far as it saw.
    ours: SeqNum,
    /// What we acknowledged.
    theirs: SeqNum,
    stamp: u32,
}

struct Fuzz<'a> {
    random: Choices<'a>,
    tcp: Tcp,
    now: Instant,
    sockets: Vec<Id>,
    listeners: Vec<Id>,
    peers: Vec<Peer>,
    /// The last one that was given out.
    cookie: FastOpenCookie,
}

const PEERS: u32 = 4;

impl Fuzz<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        self.random.below(bound)
    }

    fn near(&mut self, number: SeqNum) -> SeqNum {
        match self.below(8) {
            0 => number + self.random.below(3),
            1 => number - self.random.below(3),
            2 => number + self.random.below(70_000),
            3 => number - self.random.below(70_000),
            4 => SeqNum(self.random.next_u32()),
            _ => number,
        }
    }

    fn segment(&mut self) -> SegmentIn {
        let which = self.below(PEERS);
        let peer = self.peers[which as usize];
        let flags = match self.below(12) {
            0 => TcpFlags::SYN,
            1 => TcpFlags::SYN | TcpFlags::ACK,
            2 => TcpFlags::FIN | TcpFlags::ACK,
            3 => TcpFlags::RST,
            4 => TcpFlags::from_bits(self.random.next_u32() as u16),
            5 => TcpFlags::PSH | TcpFlags::ACK,
            _ => TcpFlags::ACK,
        };
        let len = match self.below(6) {
            0 => self.below(5000),
            1 => self.below(20),
            2 => 1460,
            _ => 0,
        };
        let mut options = TcpOptions::NONE;
        if self.below(2) == 0 {
            options.timestamps = Some(TcpTimestamps {
                val: (self.now.as_millis() as u32)
                    .wrapping_add(self.random.below(20))
                    .wrapping_sub(self.random.below(20)),
                ecr: if self.random.below(4) > 0 {
                    peer.stamp
                } else {
                    self.random.next_u32()
                },
            });
        }
        if flags.syn() {
            options.mss = (self.below(4) > 0).then(|| self.random.below(3000) as u16);
            options.window_scale = (self.below(3) > 0).then(|| self.random.below(20) as u8);
            options.sack_permitted = self.below(3) > 0;
            options.fast_open = match self.below(4) {
                0 => Some(self.cookie),
                1 => Some(FastOpenCookie::REQUEST),
                2 => FastOpenCookie::new(&[7; 8]),
                _ => None,
            };
        } else {
            for _ in 0..self.below(6).saturating_sub(2) {
                let left = self.near(peer.ours);
                let right = left + self.random.below(4000) - self.random.below(100);
                options.sack.push(SackBlock::new(left, right));
            }
        }
        if self.below(3) == 0 {
            let order = [AccEcnOrder::Zero, AccEcnOrder::One][self.below(2) as usize];
            let counters = [(); 3].map(|()| match self.below(3) {
                0 => self.random.next_u32(),
                _ => self.below(3_000),
            });
            let count = self.below(4) as usize;
            options.acc_ecn = AccEcn::new(order, &counters[..count]);
        }
        let flags = match self.below(4) {
            0 => flags,
            // The three of ECN.
            _ => flags | TcpFlags::from_bits((self.below(8) as u16) << 6),
        };
        let ecn = self.below(4) as u8;
        let seq = self.near(peer.theirs);
        let ack = self.near(peer.ours);
        let local_port = if self.below(20) == 0 { 81 } else { 80 };
        let segments = len.div_ceil(1460).max(1) as u16;
        SegmentIn {
            local: SocketAddr::new([10, 0, 0, 1].into(), local_port),
            remote: SocketAddr::new([10, 0, 0, 2].into(), 4000 + which as u16),
            interface: InterfaceId(0),
            ecn,
            tcp: TcpRepr {
                src_port: 4000 + which as u16,
                dst_port: local_port,
                seq,
                ack,
                flags,
                window: match self.below(4) {
                    0 => 0,
                    1 => self.random.below(10) as u16,
                    _ => self.random.next_u32() as u16,
                },
                urgent: self.random.next_u32() as u16,
                options,
            },
            payload: Chain::from(SharedBuf::from(bytes::Bytes::from(vec![7; len as usize]))),
            segments,
            psh_seen: flags.psh(),
        }
    }

    fn saw(&mut self, segment: &SegmentOut) {
        let port = segment.remote.port();
        let Some(peer) = port
            .checked_sub(4000)
            .and_then(|at| self.peers.get_mut(usize::from(at)))
        else {
            return;
        };
        let flags = segment.tcp.flags;
        peer.ours = segment.tcp.seq + segment.payload.len() + flags.seq_len();
        if flags.ack() {
            peer.theirs = segment.tcp.ack;
        }
        self.cookie = segment.tcp.options.fast_open.unwrap_or(self.cookie);
        if let Some(stamps) = segment.tcp.options.timestamps {
            peer.stamp = stamps.val;
        }
    }

    fn output(&mut self) {
        let mut count = 0;
        let mut segment = SegmentOut::default();
        while self.tcp.poll_segment(self.now, &mut Route, &mut segment) {
            let mut header = [0; 60];
            segment
                .tcp
                .emit(zcn_wire::OptionLayout::Linux, &mut header)
                .expect("a header that fits");
            self.saw(&segment);
            count += 1;
            assert!(count < 20_000, "output without end");
        }
        while let Some(event) = self.tcp.poll_event() {
            if let SocketId::TcpListener(id) = event.socket
                && self.below(4) > 0
                && let Ok((id, _)) = self.tcp.accept(self.now, id)
            {
                self.sockets.push(id);
            }
        }
    }

    fn call(&mut self) {
        let now = self.now;
        if self.listeners.is_empty() || self.below(200) == 0 {
            if let Some(id) = self.listeners.pop() {
                self.tcp.close_listener(now, id).expect("a listener");
            }
            let local = SocketAddr::new([10, 0, 0, 1].into(), 80);
            let backlog = self.below(3) as usize;
            let mut options = SocketOptions::default();
            options.fast_open = (self.below(2) == 0).then(|| self.random.below(4));
            if self.below(4) == 0 {
                options.defer_accept = Some(Duration::from_secs(self.below(9).into()));
            }
            if let Ok(id) = self.tcp.listen(local, backlog, options) {
                self.listeners.push(id);
            }
        }
        if self.sockets.is_empty() || self.below(10) == 0 {
            let port = 4000 + self.below(PEERS) as u16;
            let host = if self.below(10) == 0 { 9 } else { 2 };
            let remote = SocketAddr::new([10, 0, 0, host].into(), port);
            let local = SocketAddr::new([10, 0, 0, 1].into(), 80);
            let mut options = SocketOptions::default();
            options.fast_open_connect = self.below(2) == 0;
            if let Ok(id) = self
                .tcp
                .connect(now, remote, Some(local), options, &mut Route)
            {
                self.sockets.push(id);
                let len = self.below(3_000) as usize;
                let _ = self.tcp.send(now, id, &vec![1; len], false);
            }
            return;
        }
        let at = self.random.below(self.sockets.len() as u32) as usize;
        let id = self.sockets[at];
        match self.below(12) {
            0..=2 => {
                let len = self.below(20_000) as usize;
                let more = self.below(5) == 0;
                let _ = self.tcp.send(now, id, &vec![1; len], more);
                match self.below(8) {
                    0 => drop(self.tcp.end_record(id)),
                    1 => drop(self.tcp.mark_urgent(now, id)),
                    _ => {}
                }
            }
            3 => {
                let len = self.below(20_000) as usize;
                let slice = bytes::Bytes::from(vec![1; len]).into();
                let _ = self.tcp.send_buf(now, id, slice, false);
            }
            4 => {
                let mut bytes = vec![0; self.below(3000) as usize];
                let _ = self.tcp.recv(now, id, &mut bytes);
            }
            5 => {
                let max = self.below(3000) as usize;
                let _ = self.tcp.recv_buf(now, id, max);
            }
            6 => {
                let _ = self.tcp.shutdown_write(now, id);
            }
            7 => {
                let _ = self.tcp.shutdown_read(now, id);
            }
            8 if self.below(3) == 0 => {
                let _ = self.tcp.close(now, id);
                self.sockets.swap_remove(at);
            }
            9 if self.below(5) == 0 => {
                let _ = self.tcp.abort(now, id);
                self.sockets.swap_remove(at);
            }
            10 => {
                let option = match self.below(9) {
                    0 => SocketOption::NoDelay(self.below(2) == 0),
                    1 => SocketOption::Cork(self.below(2) == 0),
                    2 => SocketOption::KeepAlive(true),
                    3 => SocketOption::ReceiveBuffer(self.below(100_000)),
                    4 => SocketOption::SendBuffer(self.below(100_000)),
                    5 => SocketOption::MaxSegment(88 + self.below(2000) as u16),
                    7 => SocketOption::WindowClamp(self.below(100_000)),
                    6 => SocketOption::UserTimeout(Some(Duration::from_secs(5))),
                    _ => SocketOption::Linger(Some(Duration::from_secs(self.below(3).into()))),
                };
                let _ = self.tcp.set_option(now, id, option);
            }
            _ => {
                let peer = self.below(PEERS);
                let seq = self.peers[peer as usize].ours;
                let error = IcmpError {
                    local: SocketAddr::new([10, 0, 0, 1].into(), 80),
                    remote: SocketAddr::new([10, 0, 0, 2].into(), 4000 + peer as u16),
                    seq: self.near(seq - 1_u32),
                    kind: match self.below(3) {
                        0 => NetworkError::PortUnreachable,
                        1 => NetworkError::HostUnreachable,
                        _ => NetworkError::TooBig {
                            mtu: self.below(2000),
                        },
                    },
                };
                self.tcp.handle_icmp(now, &error);
            }
        }
        if self.sockets.contains(&id) {
            let _ = self.tcp.info(now, id);
        }
    }
}

/// Takes so many steps, looks at the caps after each, ends all, and finds nothing left.
pub(crate) fn run(seed: u64, random: Choices<'_>, steps: usize) {
    let pool = BufferPool::builder()
        .buffer_size(4096)
        .count(64)
        .build()
        .expect("memory");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let now = Instant::from_secs(100);
    let mut config = TcpConfig::default();
    config.half_open = 3;
    config.time_waits = 2;
    config.connections = 6;
    config.orphans = 2;
    config.syn_cookies =
        [SynCookies::WhenFull, SynCookies::Always, SynCookies::Never][(seed % 3) as usize];
    let ecn = [
        Ecn::Accept,
        Ecn::Accurate,
        Ecn::Accurate,
        Ecn::AcceptAccurate,
    ];
    config.ecn = ecn[(seed / 3 % 4) as usize];
    let option = [
        AccEcnOption::Always,
        AccEcnOption::Sparingly,
        AccEcnOption::Persistently,
    ];
    config.acc_ecn_option = option[(seed / 12 % 3) as usize];
    let mut fuzz = Fuzz {
        random,
        tcp: Tcp::new(config, pool.local(), &bytes, now),
        now,
        sockets: Vec::new(),
        listeners: Vec::new(),
        peers: vec![Peer::default(); PEERS as usize],
        cookie: FastOpenCookie::REQUEST,
    };
    for _ in 0..steps {
        if fuzz.random.is_over() {
            break;
        }
        match fuzz.below(10) {
            0..=5 => {
                let mut segment = fuzz.segment();
                fuzz.tcp.handle_segment(fuzz.now, &mut segment, &mut Route);
            }
            6..=7 => fuzz.call(),
            _ => {
                let millis = match fuzz.below(6) {
                    0 => 100_000,
                    1 => 3000,
                    _ => fuzz.below(300),
                };
                let until = fuzz.now + Duration::from_millis(millis.into());
                let mut turns = 0;
                while let Some(at) = fuzz.tcp.poll_timeout().filter(|&at| at <= until) {
                    fuzz.now = fuzz.now.max(at);
                    fuzz.tcp.handle_timeout(fuzz.now);
                    fuzz.output();
                    turns += 1;
                    assert!(turns < 50_000, "timers without end");
                }
                fuzz.now = until;
            }
        }
        fuzz.output();
        assert!(fuzz.tcp.connections() <= 6);
        assert!(fuzz.tcp.half_open() <= 3);
        assert!(fuzz.tcp.time_waits() <= 2);
    }
    for id in std::mem::take(&mut fuzz.sockets) {
        let _ = fuzz.tcp.abort(fuzz.now, id);
    }
    for id in std::mem::take(&mut fuzz.listeners) {
        let _ = fuzz.tcp.close_listener(fuzz.now, id);
    }
    // Orphans and TIME-WAIT end by themselves.
    let until = fuzz.now + Duration::from_secs(2000);
    let mut turns = 0;
    while let Some(at) = fuzz.tcp.poll_timeout().filter(|&at| at <= until) {
        fuzz.now = fuzz.now.max(at);
        fuzz.tcp.handle_timeout(fuzz.now);
        fuzz.output();
        turns += 1;
        assert!(turns < 50_000, "timers without end");
    }
    assert_eq!(fuzz.tcp.connections(), 0);
    assert_eq!(fuzz.tcp.half_open(), 0);
    assert_eq!(fuzz.tcp.time_waits(), 0);
    assert_eq!(pool.stats().in_use, 0, "buffers");
    assert_eq!(fuzz.tcp.poll_timeout(), None);
    assert_eq!(fuzz.tcp.stats().curr_estab, 0);
}
