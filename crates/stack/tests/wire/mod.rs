//! Two TCP layers joined by a virtual wire that loses, delays, reorders and duplicates, in
//! virtual time and from a seed.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use zcn_frame::Chain;
use zcn_pool::BufferPool;
use zcn_stack::error::RouteError;
use zcn_stack::event::{Event, Readiness};
use zcn_stack::id::{InterfaceId, SocketId};
use zcn_stack::random::Random;
use zcn_stack::slab::Id;
use zcn_stack::tcp::{Path, Paths, SegmentIn, SegmentOut, SocketOptions, State, Tcp, TcpConfig};
use zcn_stack::time::Instant;
use zcn_wire::SeqNum;

/// What the wire does to segments, both ways; probabilities in 1/1000.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss: u32,
    pub(crate) duplicate: u32,
    /// Segments are cut into pieces of one MSS, or pass as they are.
    pub(crate) cut: bool,
    pub(crate) mtu: u32,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0,
            duplicate: 0,
            cut: true,
            mtu: 1500,
        }
    }
}

struct Route {
    local: IpAddr,
    mtu: u32,
    gso: u32,
}

impl Paths for Route {
    fn path(&mut self, _: Instant, _: Option<IpAddr>, _: IpAddr) -> Result<Path, RouteError> {
        Ok(Path {
            local: self.local,
            interface: InterfaceId(0),
            mtu: self.mtu,
            initial_window: None,
            gso_max_size: self.gso,
        })
    }
}

/// What is still to be done for a stream, and what was.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) to_send: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) end_seen: bool,
    pub(crate) shut: bool,
    pub(crate) failed: bool,
}

/// One end: a layer, its pool, and the application on it.
pub(crate) struct End {
    pub(crate) tcp: Tcp,
    pub(crate) pool: BufferPool,
    route: Route,
    pub(crate) work: BTreeMap<Id, Work>,
    /// Options of the sockets to come.
    pub(crate) options: SocketOptions,
    listener: Option<Id>,
    /// What accepted connections send.
    pub(crate) answer: u64,
    /// Bytes read at once; 0: as slices.
    pub(crate) read_size: usize,
    /// Milliseconds in which it was told that a connection got on, and its two ends.
    pub(crate) progress: Vec<(u64, SocketAddr, SocketAddr)>,
    /// Connections that have ended in order.
    pub(crate) finished: usize,
    pub(crate) failed: usize,
}

fn pattern(offset: u64) -> u8 {
    (offset.wrapping_mul(7) % 251) as u8
}

impl End {
    fn new(number: u8, config: TcpConfig, weather: &Weather, seed: u64, gso: bool) -> Self {
        let pool = BufferPool::builder()
            .buffer_size(4096)
            .count(4096)
            .build()
            .expect("memory");
        let mut bytes = [number; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            tcp: Tcp::new(config, pool.local(), &bytes, Instant::from_secs(1)),
            pool,
            route: Route {
                local: [10, 0, 0, number].into(),
                mtu: weather.mtu,
                gso: if gso { 65_536 } else { weather.mtu },
            },
            work: BTreeMap::new(),
            options: SocketOptions::default(),
            listener: None,
            answer: 0,
            read_size: 0,
            progress: Vec::new(),
            finished: 0,
            failed: 0,
        }
    }

    /// Listens at port 80; what is accepted sends `answer` bytes.
    pub(crate) fn listen(&mut self, answer: u64) {
        let local = SocketAddr::new(self.route.local, 80);
        let options = self.options.clone();
        self.listener = Some(self.tcp.listen(local, 1000, options).expect("a free port"));
        self.answer = answer;
    }

    /// Connects to port 80 of the other end and sends `bytes`.
    pub(crate) fn connect(&mut self, now: Instant, other: u8, bytes: u64) -> Id {
        let remote = SocketAddr::new([10, 0, 0, other].into(), 80);
        let options = self.options.clone();
        let id = self
            .tcp
            .connect(now, remote, None, options, &mut self.route)
            .expect("a way");
        self.work.insert(
            id,
            Work {
                to_send: bytes,
                ..Work::default()
            },
        );
        if self.options.fast_open_connect {
            // What is sent before the SYN leaves goes with it.
            self.serve(now, id);
        }
        id
    }

    /// The application: takes events, sends and receives what it can.
    fn run(&mut self, now: Instant) {
        while let Some(Event { socket, readiness }) = self.tcp.poll_event() {
            match socket {
                SocketId::TcpListener(listener) => {
                    while let Ok((id, _)) = self.tcp.accept(now, listener) {
                        let work = Work {
                            to_send: self.answer,
                            ..Work::default()
                        };
                        self.work.insert(id, work);
                        self.serve(now, id);
                    }
                }
                SocketId::Tcp(id) => {
                    if readiness.contains(Readiness::ERROR)
                        && let Some(work) = self.work.get_mut(&id)
                    {
                        work.failed = true;
                    }
                    self.serve(now, id);
                }
                _ => {}
            }
        }
    }

    fn serve(&mut self, now: Instant, id: Id) {
        let Some(work) = self.work.get_mut(&id) else {
            return;
        };
        while work.sent < work.to_send && !work.failed {
            let count = (work.to_send - work.sent).min(10_000);
            let bytes: Vec<u8> = (0..count).map(|at| pattern(work.sent + at)).collect();
            let sent = if work.sent % 3 == 0 {
                let slice = bytes::Bytes::from(bytes).into();
                self.tcp
                    .send_buf(now, id, slice, false)
                    .map(|()| count as usize)
                    .ok()
            } else {
                self.tcp.send(now, id, &bytes, false).ok()
            };
            let Some(sent) = sent else { break };
            work.sent += sent as u64;
        }
        if work.sent == work.to_send && !work.shut && !work.failed {
            work.shut = self.tcp.shutdown_write(now, id).is_ok();
        }
        loop {
            if self.read_size > 0 {
                let mut bytes = vec![0; self.read_size];
                match self.tcp.recv(now, id, &mut bytes) {
                    Ok(0) => work.end_seen = true,
                    Ok(count) => {
                        for (byte, at) in bytes[..count].iter().zip(work.received..) {
                            assert_eq!(*byte, pattern(at), "byte {at}");
                        }
                        work.received += count as u64;
                        continue;
                    }
                    Err(_) => {}
                }
            } else {
                match self.tcp.recv_buf(now, id, usize::MAX) {
                    Ok(slice) if slice.is_empty() => work.end_seen = true,
                    Ok(slice) => {
                        for (byte, at) in slice.iter().zip(work.received..) {
                            assert_eq!(*byte, pattern(at), "byte {at}");
                        }
                        work.received += slice.len() as u64;
                        continue;
                    }
                    Err(_) => {}
                }
            }
            break;
        }
        let done = work.end_seen && work.shut && self.tcp.unacknowledged(id) == 0;
        let over = self
            .tcp
            .state(id)
            .is_none_or(|state| state == State::Closed);
        if work.failed || (done && over) {
            if work.failed {
                self.failed += 1;
            } else {
                self.finished += 1;
            }
            self.work.remove(&id);
            let _ = self.tcp.close(now, id);
        }
    }
}

/// A segment on its way.
struct Flight {
    to: usize,
    segment: SegmentIn,
}

/// What one end has said of a connection, to hold it to its word.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    iss: SeqNum,
    /// The shift count it offered.
    scale: Option<u8>,
    /// The furthest right edge of its window.
    edge: Option<SeqNum>,
    /// It has sent RST.
    reset: bool,
    /// Where its FIN stands.
    fin: Option<SeqNum>,
}

pub(crate) struct Wire {
    pub(crate) ends: [End; 2],
    pub(crate) weather: Weather,
    pub(crate) now: Instant,
    random: Random,
    flights: BTreeMap<(Instant, u64), Flight>,
    /// By end, and ports of the first end and the second.
    words: HashMap<(usize, u16, u16), Word>,
    number: u64,
    /// Segments that were given to the wire.
    pub(crate) segments: u64,
    /// Nothing passes.
    pub(crate) broken: bool,
}

impl Wire {
    pub(crate) fn new(seed: u64, weather: Weather, config: &TcpConfig, gso: bool) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let end = |number| End::new(number, config.clone(), &weather, seed, gso);
        Self {
            ends: [end(1), end(2)],
            weather,
            now: Instant::from_secs(1),
            random: Random::new(&bytes, "wire"),
            flights: BTreeMap::new(),
            words: HashMap::new(),
            number: 0,
            segments: 0,
            broken: false,
        }
    }

    /// What every end owes to the other, whatever the weather (conformance.md section 4).
    fn hold_to_its_word(&mut self, from: usize, segment: &SegmentOut) {
        let (local, remote) = (segment.local.port(), segment.remote.port());
        let ports = if from == 0 {
            (local, remote)
        } else {
            (remote, local)
        };
        let (own, other) = ((from, ports.0, ports.1), (1 - from, ports.0, ports.1));
        let peer = self.words.get(&other).copied().unwrap_or_default();
        let word = self.words.entry(own).or_default();
        let tcp = &segment.tcp;
        if tcp.flags.syn() && (word.edge.is_none() || word.iss != tcp.seq) {
            *word = Word {
                iss: tcp.seq,
                scale: tcp.options.window_scale,
                ..Word::default()
            };
        }
        if tcp.flags.rst() {
            word.reset = true;
            return;
        }
        let end = tcp.seq + segment.payload.len();
        if !segment.payload.is_empty() || tcp.flags.fin() {
            assert!(!word.reset, "sends after RST");
            if let Some(edge) = peer.edge {
                assert!(end.before_eq(edge), "sends beyond the window");
            }
            if let Some(fin) = word.fin {
                assert!(end.before_eq(fin), "sends beyond its FIN");
            }
        }
        if tcp.flags.fin() {
            word.fin = Some(end);
        }
        if tcp.flags.ack() {
            let shift = match (tcp.flags.syn(), word.scale, peer.scale) {
                (false, Some(shift), Some(_)) => shift,
                _ => 0,
            };
            let edge = tcp.ack + (u32::from(tcp.window) << shift);
            if let Some(before) = word.edge {
                assert!(edge.after_eq(before), "takes window back");
            }
            word.edge = Some(edge);
            for block in tcp.options.sack.iter() {
                assert!(block.left.before(block.right), "an empty SACK block");
                assert!(
                    block.right.before_eq(edge),
                    "a SACK block beyond the window"
                );
            }
        }
    }

    fn launch(&mut self, to: usize, segment: SegmentOut) {
        self.hold_to_its_word(1 - to, &segment);
        let SegmentOut {
            local,
            remote,
            tcp,
            mut payload,
            gso_size,
            ..
        } = segment;
        let size = match gso_size {
            Some(size) if self.weather.cut => usize::from(size),
            _ => usize::MAX,
        };
        let wire_segments = gso_size.map_or(1, |size| payload.len().div_ceil(size.into()));
        let mut seq = tcp.seq;
        loop {
            let piece = payload.split_to(payload.len().min(size));
            let last = payload.is_empty();
            let mut tcp = tcp;
            tcp.seq = seq;
            if !last {
                let ending = zcn_wire::TcpFlags::FIN | zcn_wire::TcpFlags::PSH;
                tcp.flags = tcp.flags.without(ending);
            }
            seq += piece.len();
            self.segments += 1;
            if !self.broken && self.random.below(1000) >= self.weather.loss {
                let copies = 1 + u32::from(self.random.below(1000) < self.weather.duplicate);
                for _ in 0..copies {
                    let segments = if size == usize::MAX {
                        wire_segments as u16
                    } else {
                        1
                    };
                    let segment = SegmentIn {
                        local: remote,
                        remote: local,
                        interface: InterfaceId(0),
                        ecn: 0,
                        tcp,
                        payload: copy(&piece),
                        segments,
                        psh_seen: tcp.flags.psh(),
                    };
                    let jitter = self.weather.jitter.as_nanos() as u64;
                    let extra = if jitter > 0 {
                        self.random.next_u64() % jitter
                    } else {
                        0
                    };
                    let at = self.now + self.weather.delay + Duration::from_nanos(extra);
                    self.number += 1;
                    self.flights
                        .insert((at, self.number), Flight { to, segment });
                }
            }
            if last {
                return;
            }
        }
    }

    /// Lets things happen until nothing is left to do at this moment.
    fn settle(&mut self) {
        for from in 0..2 {
            self.ends[from].run(self.now);
            let now = self.now;
            loop {
                let End { tcp, route, .. } = &mut self.ends[from];
                let mut segment = SegmentOut::default();
                if !tcp.poll_segment(now, route, &mut segment) {
                    break;
                }
                self.launch(1 - from, segment);
            }
            // What left may have freed connections or told of more.
            self.ends[from].run(now);
        }
    }

    /// Runs until `until`, or until `done`. False if the time was over first.
    pub(crate) fn run(&mut self, until: Instant, mut done: impl FnMut(&Self) -> bool) -> bool {
        self.settle();
        loop {
            if done(self) {
                return true;
            }
            let mut next = self.flights.keys().next().map(|&(at, _)| at);
            for end in &mut self.ends {
                next = match (next, end.tcp.poll_timeout()) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            let Some(next) = next.filter(|&at| at <= until) else {
                self.now = until;
                return done(self);
            };
            self.now = self.now.max(next);
            for end in &mut self.ends {
                end.tcp.handle_timeout(self.now);
            }
            while let Some(entry) = self.flights.first_entry()
                && entry.key().0 <= self.now
            {
                let Flight { to, mut segment } = entry.remove();
                let End {
                    tcp,
                    route,
                    progress,
                    ..
                } = &mut self.ends[to];
                if tcp.handle_segment(self.now, &mut segment, route) {
                    progress.push((self.now.as_millis(), segment.local, segment.remote));
                }
            }
            self.settle();
        }
    }

    /// Asserts that nothing is held any more by either end.
    pub(crate) fn assert_clean(&mut self) {
        self.flights.clear();
        for end in &self.ends {
            assert_eq!(end.tcp.connections(), 0, "connections");
            assert_eq!(end.tcp.half_open(), 0, "half-open connections");
            assert_eq!(end.pool.stats().in_use, 0, "buffers");
        }
    }
}

/// The payload as another machine would receive it: in buffers of its own.
fn copy(payload: &Chain) -> Chain {
    if payload.is_empty() {
        return Chain::new();
    }
    Chain::from(zcn_pool::SharedBuf::from(bytes::Bytes::from(
        payload.to_vec(),
    )))
}
