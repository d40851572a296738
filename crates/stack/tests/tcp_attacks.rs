//! Attacks on many connections at once, or on the layer as a whole; those on one connection
//! are scripts in `scripts/attacks` and `scripts/rfc5961`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use zcn_frame::Chain;
use zcn_pool::{BufferPool, SharedBuf};
use zcn_stack::error::RouteError;
use zcn_stack::event::Readiness;
use zcn_stack::id::{InterfaceId, SocketId};
use zcn_stack::slab::Id;
use zcn_stack::tcp::{Path, Paths, SegmentIn, SegmentOut, SocketOptions, Tcp, TcpConfig};
use zcn_stack::time::Instant;
use zcn_wire::{SeqNum, TcpFlags, TcpOptions, TcpRepr};

struct Route;

impl Paths for Route {
    fn path(&mut self, _: Instant, local: Option<IpAddr>, _: IpAddr) -> Result<Path, RouteError> {
        Ok(Path {
            local: local.unwrap_or(OURS),
            interface: InterfaceId(0),
            mtu: 1500,
            initial_window: None,
            gso_max_size: 1500,
        })
    }
}

const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// A listening layer.
struct Target {
    tcp: Tcp,
    pool: BufferPool,
    now: Instant,
    listener: Id,
}

impl Target {
    fn new(config: TcpConfig, seed: u8) -> Self {
        let pool = BufferPool::builder()
            .buffer_size(4096)
            .count(256)
            .build()
            .expect("memory");
        let now = Instant::from_secs(10);
        let mut tcp = Tcp::new(config, pool.local(), &[seed; 32], now);
        let listener = tcp
            .listen(SocketAddr::new(OURS, 80), 100_000, SocketOptions::default())
            .expect("a free port");
        Self {
            tcp,
            pool,
            now,
            listener,
        }
    }

    fn segment(
        &mut self,
        remote: SocketAddr,
        flags: TcpFlags,
        seq: u32,
        ack: SeqNum,
        window: u16,
        payload: &'static [u8],
    ) {
        let payload = Chain::from(SharedBuf::from_static(payload));
        self.segment_of(remote, flags, seq, ack, window, payload);
    }

    fn segment_of(
        &mut self,
        remote: SocketAddr,
        flags: TcpFlags,
        seq: u32,
        ack: SeqNum,
        window: u16,
        payload: Chain,
    ) {
        let mut segment = SegmentIn {
            local: SocketAddr::new(OURS, 80),
            remote,
            interface: InterfaceId(0),
            ecn: 0,
            tcp: TcpRepr {
                src_port: remote.port(),
                dst_port: 80,
                seq: SeqNum(seq),
                ack,
                flags,
                window,
                urgent: 0,
                options: TcpOptions::NONE,
            },
            payload,
            segments: 1,
            psh_seen: false,
        };
        self.tcp.handle_segment(self.now, &mut segment, &mut Route);
    }

    fn output(&mut self) -> Vec<SegmentOut> {
        std::iter::from_fn(|| {
            let mut segment = SegmentOut::default();
            let there = self.tcp.poll_segment(self.now, &mut Route, &mut segment);
            there.then_some(segment)
        })
        .collect()
    }

    fn pass(&mut self, time: Duration) -> Vec<SegmentOut> {
        let until = self.now + time;
        let mut out = Vec::new();
        while let Some(at) = self.tcp.poll_timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.tcp.handle_timeout(self.now);
            out.extend(self.output());
        }
        self.now = until;
        out
    }

    /// A whole handshake; the connection, accepted.
    fn open(&mut self, remote: SocketAddr, window: u16) -> Option<Id> {
        self.segment(remote, TcpFlags::SYN, 0, SeqNum(0), window, &[]);
        let answer = self
            .output()
            .into_iter()
            .find(|segment| segment.remote == remote)?;
        let ack = answer.tcp.seq + 1_u32;
        self.segment(remote, TcpFlags::ACK, 1, ack, window, &[]);
        self.tcp
            .accept(self.now, self.listener)
            .ok()
            .map(|(id, _)| id)
    }
}

fn peer(number: u32) -> SocketAddr {
    let [_, a, b, c] = (number / 50_000).to_be_bytes();
    SocketAddr::new(
        [172, 16 + a, b, c + 1].into(),
        1024 + (number % 50_000) as u16,
    )
}

#[test]
fn a_syn_flood_fills_a_bounded_table_and_lets_others_connect() {
    let config = TcpConfig::default();
    let half_open = config.half_open;
    let mut target = Target::new(config, 1);
    let mut failed = 0;
    for number in 0..100_000 {
        target.segment(peer(number), TcpFlags::SYN, number, SeqNum(0), 1000, &[]);
        assert!(target.tcp.half_open() <= half_open);
        if number % 1000 == 0 {
            let friend = SocketAddr::new([10, 0, 1, 1].into(), 2000 + (number / 1000) as u16);
            target.output();
            failed += u32::from(target.open(friend, 1000).is_none());
        }
        if number % 100 == 0 {
            target.output();
        }
    }
    assert_eq!(failed, 0, "of 100 friends");
    assert_eq!(target.tcp.connections(), 100);
    assert_eq!(target.pool.stats().in_use, 0);
    // What nobody answers is sent again a few times and then forgotten.
    let again = target.pass(Duration::from_secs(70)).len();
    assert!(again <= 6 * half_open, "{again}");
    assert_eq!(target.tcp.half_open(), 0);
}

#[test]
fn the_challenge_limit_is_no_side_channel() {
    // CVE-2016-5696: an attacker counts how many challenges are left of a fixed limit.
    let count = |seed| {
        let mut config = TcpConfig::default();
        config.challenge_acks = 100;
        let mut target = Target::new(config, seed);
        for number in 0..300 {
            target.open(peer(number), 1000).expect("a connection");
        }
        target.output();
        for number in 0..300 {
            target.segment(peer(number), TcpFlags::RST, 500, SeqNum(0), 0, &[]);
        }
        target.output().len()
    };
    let counts: Vec<usize> = (1..6).map(count).collect();
    assert!(counts.iter().all(|n| (50..150).contains(n)), "{counts:?}");
    assert!(counts.iter().any(|n| *n != counts[0]), "{counts:?}");
}

#[test]
fn a_thousand_peers_that_never_open_their_window_are_reaped() {
    // sockstress: the application has closed; memory must not stay.
    let mut target = Target::new(TcpConfig::default(), 3);
    let mut ends = Vec::new();
    for number in 0..1000 {
        let id = target.open(peer(number), 0).expect("a connection");
        let sent = target.tcp.send(target.now, id, &[7; 100], false);
        if sent.is_ok() {
            target.tcp.close(target.now, id).expect("a connection");
        } else {
            target.tcp.abort(target.now, id).expect("a connection");
        }
        ends.push(peer(number));
    }
    assert!(target.tcp.connections() >= 256, "one buffer each");
    target.output();
    // Every probe is answered, so that silence alone would never end it.
    let mut turns = 0;
    while target.tcp.connections() > 0 {
        let probes = target.pass(Duration::from_secs(1));
        for probe in probes {
            if probe.tcp.flags == TcpFlags::ACK {
                let ack = probe.tcp.seq + 1_u32;
                target.segment(probe.remote, TcpFlags::ACK, 1, ack, 0, &[]);
            }
        }
        target.output();
        turns += 1;
        assert!(turns < 600, "{} are left", target.tcp.connections());
    }
    assert_eq!(target.pool.stats().in_use, 0);
}

#[test]
fn resets_for_unknown_segments_have_a_rate() {
    let mut config = TcpConfig::default();
    config.resets = 50;
    let mut target = Target::new(config, 4);
    for number in 0..1000 {
        target.segment(peer(number), TcpFlags::ACK, 1, SeqNum(9), 10, &[]);
    }
    assert_eq!(target.output().len(), 50);
    target.pass(Duration::from_secs(2));
    target.segment(peer(1), TcpFlags::ACK, 1, SeqNum(9), 10, &[]);
    assert_eq!(target.output().len(), 1);
}

#[test]
fn a_socket_is_told_of_once_however_much_happens_to_it() {
    let mut target = Target::new(TcpConfig::default(), 5);
    let remote = peer(1);
    target.segment(remote, TcpFlags::SYN, 0, SeqNum(0), 1000, &[]);
    let iss = target.output()[0].tcp.seq;
    let ack = iss + 1_u32;
    target.segment(remote, TcpFlags::ACK, 1, ack, 1000, &[]);
    let event = target.tcp.poll_event().expect("a connection waits");
    assert_eq!(event.socket, SocketId::TcpListener(target.listener));
    assert_eq!(event.readiness, Readiness::ACCEPTABLE);
    let (id, from) = target
        .tcp
        .accept(target.now, target.listener)
        .expect("a connection");
    assert_eq!(from, remote);
    for at in 0..10 {
        target.segment(remote, TcpFlags::ACK, 1 + at * 5, ack, 1000, b"hello");
    }
    target.segment(remote, TcpFlags::FIN | TcpFlags::ACK, 51, ack, 1000, &[]);
    let event = target.tcp.poll_event().expect("something to read");
    assert_eq!(event.socket, SocketId::Tcp(id));
    assert!(event.readiness.contains(Readiness::READABLE));
    assert!(target.tcp.poll_event().is_none());
    assert_eq!(target.tcp.readable(id), 50);
    // A socket that is gone is not told of.
    target.segment(remote, TcpFlags::RST, 52, ack, 0, &[]);
    target.tcp.close(target.now, id).expect("a connection");
    assert!(target.tcp.poll_event().is_none());
    assert_eq!(target.tcp.connections(), 0);
}

#[test]
fn received_slices_are_handed_out_not_copied() {
    let mut target = Target::new(TcpConfig::default(), 6);
    static BYTES: [u8; 2000] = [7; 2000];
    let remote = peer(1);
    target.segment(remote, TcpFlags::SYN, 0, SeqNum(0), 1000, &[]);
    let ack = target.output()[0].tcp.seq + 1_u32;
    target.segment(remote, TcpFlags::ACK, 1, ack, 1000, &BYTES);
    let (id, _) = target
        .tcp
        .accept(target.now, target.listener)
        .expect("a connection");
    let slice = target
        .tcp
        .recv_buf(target.now, id, usize::MAX)
        .expect("what came");
    assert_eq!(slice.as_ptr(), BYTES.as_ptr());
    assert_eq!(slice.len(), 2000);
    assert!(target.tcp.recv_buf(target.now, id, 10).is_err());
}

/// SegmentSmack (CVE-2018-5390): single bytes, every second one, from the end of the window to
/// its beginning. What is kept has a cap, and when the holes are filled all of it is there.
#[test]
fn segment_smack_keeps_a_bounded_number_of_pieces() {
    let mut config = TcpConfig::default();
    config.out_of_order_slices = 1_000;
    let mut target = Target::new(config, 9);
    let remote = peer(1);
    let id = target.open(remote, 65_535).expect("a connection");
    // A duplicate tells our next number.
    target.segment(remote, TcpFlags::ACK, 0, SeqNum(0), 65_535, b"x");
    let ack = target.output().pop().expect("an answer").tcp.seq;
    for at in (1..30_000_u32).rev().step_by(2) {
        target.segment(remote, TcpFlags::ACK, 1 + at, ack, 65_535, b"x");
        target.output();
    }
    let stats = target.tcp.stats();
    assert!(stats.ofo_drop >= 14_000 - 1_000, "{}", stats.ofo_drop);
    assert!(stats.ofo_queue <= 15_000);
    assert!(
        target.pool.stats().in_use <= 64,
        "{:?}",
        target.pool.stats()
    );
    // Somebody sends everything in order: nothing is stuck.
    for at in 0..30_000_u32 {
        target.segment(remote, TcpFlags::ACK, 1 + at, ack, 65_535, b"x");
        if at % 100 == 0 {
            target.output();
        }
    }
    let mut bytes = vec![0; 60_000];
    let mut read = 0;
    while let Ok(count) = target.tcp.recv(target.now, id, &mut bytes) {
        read += count;
    }
    assert_eq!(read, 30_000);
}

/// Bytes in a buffer of 68 KiB each, as a link has them that receives super-frames.
#[test]
fn single_bytes_in_buffers_of_super_frames_keep_few_of_them() {
    const BUFFERS: usize = 16;
    let frames = BufferPool::builder().buffer_size(68 << 10).count(BUFFERS);
    let frames = frames.build().expect("memory");
    let byte = || {
        let mut buf = frames.acquire().expect("buffers come back");
        buf.extend_from_slice(b"x").expect("room");
        Chain::from(SharedBuf::from(buf))
    };
    let mut target = Target::new(TcpConfig::default(), 5);
    let remote = peer(1);
    target.segment(remote, TcpFlags::SYN, 0, SeqNum(0), 1000, &[]);
    let answers = target.output();
    let ack = answers[0].tcp.seq + 1_u32;
    target.segment(remote, TcpFlags::ACK, 1, ack, 1000, &[]);
    let (id, _) = target
        .tcp
        .accept(target.now, target.listener)
        .expect("open");
    // In order, and the application does not read; then every second byte beyond a hole.
    for seq in 0..5_000 {
        target.segment_of(remote, TcpFlags::ACK, 1 + seq, ack, 1000, byte());
        target.output();
    }
    let kept = frames.stats().in_use;
    assert!(kept < 4, "{kept}");
    for seq in 0..5_000 {
        let seq = 5_002 + 2 * seq;
        target.segment_of(remote, TcpFlags::ACK, seq, ack, 1000, byte());
        target.output();
    }
    assert_eq!(frames.stats().in_use, kept);
    let packed = target.pool.stats().in_use;
    assert!(packed < 40, "{packed}");
    let mut bytes = vec![0; 10_000];
    let read = target.tcp.recv(target.now, id, &mut bytes).expect("data");
    assert_eq!(read, 5_000);
    assert!(bytes[..read].iter().all(|&byte| byte == b'x'));
    assert_eq!(frames.stats().in_use, 0);
}
