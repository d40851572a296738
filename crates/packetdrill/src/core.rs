//! The stack, its sockets by descriptor, and the packets that left it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use libc::c_int;
use zcn_frame::Frame;
use zcn_link::segment::{complete_checksum, segment};
use zcn_pool::{BufferPool, SharedBuf};
use zcn_stack::event::Readiness;
use zcn_stack::route::Route;
use zcn_stack::tcp::State;
use zcn_stack::{Instant, InterfaceId, SocketId, Stack};

use crate::epoll::Epoll;
use crate::saved_syn::SavedSyns;
use crate::settings::{Settings, cidr};
use crate::socket::{Kind, Socket};

/// Where the script's clock begins, so that nothing it subtracts becomes negative.
const EPOCH: Instant = Instant::from_secs(1_000_000);
/// Frames taken from the stack at once.
const BATCH: usize = 64;
/// Rounds of output at one instant; more would be a stack that never falls silent.
const ROUNDS_MAX: usize = 10_000;

/// Everything that lives in virtual time.
pub(crate) struct Core {
    pub(crate) stack: Stack,
    pub(crate) now: Instant,
    pub(crate) settings: Settings,
    pub(crate) sockets: HashMap<c_int, Socket>,
    pub(crate) epolls: HashMap<c_int, Epoll>,
    /// The descriptors of the stack's sockets.
    pub(crate) owners: HashMap<SocketId, c_int>,
    interface: InterfaceId,
    departures: VecDeque<(Instant, Vec<u8>)>,
    pool: BufferPool,
    pub(crate) saved_syns: SavedSyns,
    /// A socket was made.
    begun: bool,
}

impl Core {
    /// A stack at the tool's addresses.
    ///
    /// # Errors
    /// What to tell the user, if there is no memory or the settings make no sense.
    pub(crate) fn new(settings: Settings) -> Result<Self, String> {
        let pool = BufferPool::builder().buffer_size(4_096).count(8_192);
        let pool = pool.build().map_err(|error| error.to_string())?;
        let (stack, interface) = stack(&settings, &pool)?;
        Ok(Self {
            stack,
            now: EPOCH,
            settings,
            sockets: HashMap::new(),
            epolls: HashMap::new(),
            owners: HashMap::new(),
            interface,
            departures: VecDeque::new(),
            pool,
            saved_syns: SavedSyns::default(),
            begun: false,
        })
    }

    /// The first socket is made: what the script has set by sysctl before counts.
    ///
    /// # Errors
    /// What to tell the user.
    pub(crate) fn begin(&mut self) -> Result<(), String> {
        if !std::mem::replace(&mut self.begun, true) {
            self.settings.read_sysctls();
            (self.stack, self.interface) = stack(&self.settings, &self.pool)?;
        }
        Ok(())
    }

    /// A raw IP packet arrives.
    pub(crate) fn arrive(&mut self, packet: Vec<u8>) {
        if self.sockets.values().any(|socket| socket.saves_syns != 0) {
            self.saved_syns.note(&packet);
        }
        let frame = Frame::from(SharedBuf::from(Bytes::from(packet)));
        self.stack
            .handle_frames(self.now, self.interface, &mut vec![frame]);
    }

    /// The packet that left first, and when.
    pub(crate) fn departure(&mut self) -> Option<(Instant, Vec<u8>)> {
        self.departures.pop_front()
    }

    /// Does what is due, and takes what the stack has to send and to tell.
    pub(crate) fn pump(&mut self) {
        let mut frames = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let due = self.deadline().is_some_and(|at| at <= self.now);
            if due {
                self.stack.handle_timeout(self.now);
            }
            let (now, interface) = (self.now, self.interface);
            let count = self.stack.poll_frames(now, interface, &mut frames, BATCH);
            for frame in frames.drain(..) {
                self.depart(frame);
            }
            self.take_events();
            // What is due and stays due without a frame waits for the next instant.
            let again = !due && self.deadline().is_some_and(|at| at <= self.now);
            if count == 0 && !again {
                return;
            }
        }
    }

    /// When the stack wants to be called again.
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
        self.stack.poll_timeout()
    }

    /// Cuts a frame into the packets of the wire, with their checksums.
    fn depart(&mut self, frame: Frame) {
        let mut packets = Vec::new();
        // The stack's own frames have the headers that their metadata speak of.
        let _ = segment(frame, 0, &mut packets);
        for mut packet in packets {
            let _ = complete_checksum(&mut packet);
            self.departures.push_back((self.now, packet.to_vec()));
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.stack.poll_event() {
            let ended = matches!(event.socket, SocketId::Tcp(id) if self.has_ended(id));
            let owner = self.owners.get(&event.socket);
            let Some(socket) = owner.and_then(|fd| self.sockets.get_mut(fd)) else {
                continue;
            };
            let has = |readiness| event.readiness.contains(readiness);
            let edges = &mut socket.edges;
            edges.input += u64::from(has(Readiness::READABLE) || has(Readiness::ACCEPTABLE));
            edges.output += u64::from(has(Readiness::WRITABLE));
            edges.other += u64::from(ended || has(Readiness::CONNECTED) || has(Readiness::ERROR));
        }
        self.tell_ends();
        self.tell_notices();
    }

    /// Wakes whoever waits for a connection whose end the peer has acknowledged, as Linux does.
    fn tell_ends(&mut self) {
        for socket in self.sockets.values_mut().filter(|socket| socket.ending) {
            let state = match socket.kind {
                Kind::Connection(id) => self.stack.tcp_state(id),
                _ => None,
            };
            socket.ending = state == Some(State::FinWait1);
            socket.edges.other += u64::from(state == Some(State::FinWait2));
        }
    }
}

/// A stack at the tool's addresses.
fn stack(settings: &Settings, pool: &BufferPool) -> Result<(Stack, InterfaceId), String> {
    let mut stack = Stack::new(settings.stack(), pool.local(), &[0x5a; 32], EPOCH);
    let interface = stack
        .add_interface(EPOCH, &settings.interface())
        .map_err(|error| error.to_string())?;
    // The tool's remote addresses lie beyond our networks.
    for everywhere in ["0.0.0.0/0", "::/0"] {
        stack
            .add_route(Route::on_link(cidr(everywhere), interface))
            .map_err(|error| error.to_string())?;
    }
    Ok((stack, interface))
}

/// One microsecond, the grain of the script's clock.
pub(crate) const TICK: Duration = Duration::from_micros(1);
