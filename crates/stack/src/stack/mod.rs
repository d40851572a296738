//! The stack of one shard: frames in and out, time, events.

mod echo_calls;
mod prediction;
mod report;
mod tcp_calls;
mod udp_calls;

use core::net::{IpAddr, SocketAddr};

use prediction::send_plain;
use zcn_frame::{Frame, GsoKind, Head};
use zcn_pool::LocalPool;
use zcn_wire::{EthernetAddress, IpCidr, OptionLayout, Protocol, TrafficClass};

use crate::config::{ConfigError, InterfaceConfig, StackConfig};
use crate::echo::EchoSockets;
use crate::error::NetworkError;
use crate::event::Event;
use crate::frames::Frames;
use crate::gro::{Arrived, Gro, segment_of};
use crate::icmp::ErrorMessage;
use crate::id::{InterfaceId, SocketId};
use crate::interface::AddressState;
use crate::ip::{Ip, SendError, Sent};
use crate::neighbour::NeighbourState;
use crate::packet::{HEADROOM, Outgoing, Packet};
use crate::random::Seed;
use crate::route::Route;
use crate::stats::{DropReason, Stats};
use crate::tcp::{IcmpError, SegmentIn, SegmentOut, Tcp};
use crate::time::{Instant, earlier};
use crate::udp::Udp;

/// Packets to ourselves that one call brings home; the rest waits for the next call.
const LOOPBACK_BATCH: usize = 256;
/// Segments that one call takes from TCP for other interfaces than its own.
const SEGMENTS_MAX: usize = 4_096;

/// A TCP/IP of one shard, without I/O.
///
/// ```text
/// frames ──► handle_frames ──► sockets ──► poll_event
/// frames ◄── poll_frames   ◄── socket calls
/// time   ──► handle_timeout    poll_timeout ──► deadline
/// ```
///
/// The order of calls: after frames, time or socket calls went in, take frames out of every
/// interface with [`poll_frames`](Self::poll_frames) until it answers 0 (acknowledgements
/// are made there, one for all that a batch brought), take events until there is none, and
/// wait until a frame comes or [`poll_timeout`](Self::poll_timeout) is reached.
///
/// Every input is bounded and counted: no frame panics, loops, or makes memory grow beyond
/// the caps of [`StackConfig`].
#[derive(Debug)]
pub struct Stack {
    pub(crate) ip: Ip,
    tcp: Tcp,
    udp: Udp,
    echo: EchoSockets,
    pool: LocalPool,
    gro: Gro,
    /// The segment that just arrived, and the one that leaves: written in place again and
    /// again, as moving them costs more than what is done with them.
    arrived: Arrived,
    leaving: SegmentOut,
    /// TCP segments dropped before TCP saw them: with errors, and of these for checksums.
    tcp_errors: (u64, u64),
    /// Which protocol is asked first for its next event.
    turn: u8,
}

impl Stack {
    /// A stack without interfaces; it reaches itself. What sockets send by copying goes to
    /// buffers of `pool`; all secrets derive from `seed`; `now` is where its time begins.
    pub fn new(config: StackConfig, pool: LocalPool, seed: &Seed, now: Instant) -> Self {
        Self {
            tcp: Tcp::new(config.tcp.clone(), pool.clone(), seed, now),
            udp: Udp::new(config.udp.clone(), seed),
            echo: EchoSockets::new(seed),
            ip: Ip::new(config, seed),
            pool,
            gro: Gro::default(),
            arrived: Arrived::default(),
            leaving: SegmentOut::default(),
            tcp_errors: (0, 0),
            turn: 0,
        }
    }

    /// Adds an interface with its addresses. An Ethernet interface gets a link-local IPv6
    /// address besides (see [`StackConfig::link_local`]).
    ///
    /// # Errors
    /// If the configuration makes no sense; nothing is added then.
    pub fn add_interface(
        &mut self,
        now: Instant,
        config: &InterfaceConfig,
    ) -> Result<InterfaceId, ConfigError> {
        self.ip.add_interface(now, config)
    }

    /// Gives an interface an address, and the route to its network.
    ///
    /// # Errors
    /// If it has it already, or no host can have it.
    pub fn add_address(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpCidr,
    ) -> Result<(), ConfigError> {
        self.ip.add_address(now, interface, address)
    }

    /// Takes an address away, and the routes that depend on it. Connections that have it
    /// find out.
    ///
    /// # Errors
    /// If there is no such address.
    pub fn remove_address(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
    ) -> Result<(), ConfigError> {
        self.ip.remove_address(now, interface, address)
    }

    /// The addresses of an interface.
    pub fn addresses(
        &self,
        interface: InterfaceId,
    ) -> impl Iterator<Item = (IpCidr, AddressState)> + '_ {
        self.ip
            .interface(interface)
            .into_iter()
            .flat_map(|interface| interface.addresses.iter())
            .map(|own| (own.cidr, own.state))
    }

    /// The link address of an interface.
    pub fn link_address(&self, interface: InterfaceId) -> Option<EthernetAddress> {
        self.ip.interface(interface)?.link_address
    }

    /// Adds a route, in the place of one with the same destination, gateway, interface and
    /// metric.
    ///
    /// # Errors
    /// If its gateway cannot be reached by its interface.
    pub fn add_route(&mut self, route: Route) -> Result<(), ConfigError> {
        self.ip.add_route(route)
    }

    /// Takes out the routes for which `is` answers yes, and tells how many there were.
    pub fn remove_routes(&mut self, is: impl FnMut(&Route) -> bool) -> usize {
        self.ip.remove_routes(is)
    }

    /// Every route, longest prefix first, IPv4 before IPv6.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.ip.routes()
    }

    /// The neighbours of an interface.
    pub fn neighbours(
        &self,
        interface: InterfaceId,
    ) -> impl Iterator<Item = (IpAddr, NeighbourState, EthernetAddress)> + '_ {
        self.ip
            .interface(interface)
            .into_iter()
            .flat_map(|interface| interface.neighbours.iter())
    }

    /// Sets the link address of a neighbour for good.
    ///
    /// # Errors
    /// If there is no such interface, or it has no neighbours.
    pub fn set_neighbour(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        link: EthernetAddress,
    ) -> Result<(), ConfigError> {
        if !link.is_unicast() {
            return Err(ConfigError::LinkAddress(link));
        }
        let found = self
            .ip
            .interface_mut(interface)
            .filter(|interface| interface.link_address.is_some())
            .ok_or(ConfigError::InterfaceUnknown(interface))?;
        for mut frame in found.neighbours.set_permanent(now, address, link) {
            // A full queue is counted there.
            let _ = self.ip.send_ethernet(interface, link, &mut frame);
        }
        Ok(())
    }

    /// Takes a batch of frames that arrived at an interface, in order. `frames` is empty
    /// afterwards.
    pub fn handle_frames(&mut self, now: Instant, interface: InterfaceId, frames: &mut Vec<Frame>) {
        let mut left = frames.len();
        for frame in frames.iter_mut() {
            left -= 1;
            let alone = left == 0 && self.gro.is_empty() || !self.ip.config.coalesce;
            if self.ip.config.header_prediction && self.predict(now, interface, frame, alone) {
                continue;
            }
            if let Some(packet) = self.ip.receive(now, interface, frame) {
                self.handle_packet(now, packet, left > 0);
            }
        }
        frames.clear();
        self.flush_segments(now);
        if !self.ip.reports.is_empty() {
            self.deliver_reports(now);
        }
        if !self.ip.loopback.is_empty() {
            self.handle_loopback(now);
        }
    }

    /// `more`: others may follow that it can be put together with.
    fn handle_packet(&mut self, now: Instant, packet: Packet<'_>, more: bool) {
        match packet.protocol {
            Protocol::TCP => self.handle_tcp(now, packet, more),
            Protocol::UDP => self.udp.input(&mut self.ip, now, packet),
            Protocol::ICMP | Protocol::ICMPV6 => {
                let (remote, hop_limit) = (packet.source, packet.hop_limit);
                if let Some(reply) = self.ip.icmp_input(now, packet) {
                    self.echo.input(&mut self.ip, remote, hop_limit, reply);
                }
            }
            _ => {
                let v6 = packet.destination.is_ipv6();
                self.ip.ip_stats(v6).in_unknown_protos += 1;
                self.ip.drop(DropReason::UnknownProtocol);
                self.ip
                    .send_error(now, &packet, ErrorMessage::ProtocolUnreachable);
            }
        }
    }

    fn handle_tcp(&mut self, now: Instant, packet: Packet<'_>, more: bool) {
        match segment_of(packet, &mut self.arrived) {
            // The last one of a batch joins what is held, or nothing.
            Ok(()) if self.ip.config.coalesce && (more || !self.gro.is_empty()) => {
                let Self { tcp, ip, .. } = self;
                self.gro.push(&mut self.arrived, |segment| {
                    handle_segment(tcp, ip, now, segment);
                });
            }
            Ok(()) => {
                let segment = &mut self.arrived.segment;
                handle_segment(&mut self.tcp, &mut self.ip, now, segment);
            }
            Err(reason) => {
                self.tcp_errors.0 += 1;
                if reason == DropReason::TcpChecksum {
                    self.tcp_errors.1 += 1;
                }
                self.ip.drop(reason);
            }
        }
    }

    /// The batch is over: what was put together so far goes to TCP.
    fn flush_segments(&mut self, now: Instant) {
        if self.gro.is_empty() {
            return;
        }
        let Self { tcp, ip, .. } = self;
        self.gro
            .flush(|segment| handle_segment(tcp, ip, now, segment));
    }

    /// Brings home packets to ourselves, as many as one call may.
    fn handle_loopback(&mut self, now: Instant) {
        for _ in 0..LOOPBACK_BATCH {
            let Some(mut frame) = self.ip.loopback.pop_front() else {
                return;
            };
            if let Some(packet) = self.ip.receive_from_self(now, &mut frame) {
                self.handle_packet(now, packet, false);
                self.flush_segments(now);
                self.deliver_reports(now);
            }
        }
    }

    /// Takes at most `max` frames that are ready to leave by an interface and adds them to
    /// `frames`; answers how many. With [`LOOPBACK`](crate::LOOPBACK) it only carries what
    /// the stack sends to itself.
    pub fn poll_frames(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frames: &mut impl Frames,
        max: usize,
    ) -> usize {
        let mut budget = SEGMENTS_MAX;
        let short = self.ip.config.header_prediction && max > 0;
        let plain = short && self.ip.has_lanes(interface);
        // What waits leaves first: behind it no frame could go the short way.
        let mut handed = self.hand_over(interface, frames, max);
        loop {
            let mut lane = None;
            while budget > 0 && self.tcp.has_output() {
                let waiting = self.waiting(interface);
                if handed + waiting >= max.max(1) {
                    break;
                }
                let Self {
                    tcp, ip, leaving, ..
                } = self;
                if plain && waiting == 0 && send_plain(tcp, ip, now, interface, frames, &mut lane) {
                    budget -= 1;
                    handed += 1;
                    continue;
                }
                lane = None;
                if !tcp.poll_segment(now, ip, leaving) {
                    break;
                }
                budget -= 1;
                let sent = if short {
                    ip.send_tcp4(now, leaving, interface, frames)
                } else {
                    Sent::No
                };
                match sent {
                    Sent::Handed => handed += 1,
                    Sent::Queued => {}
                    Sent::No => self.send_segment(now),
                }
            }
            if self.ip.loopback.is_empty() || budget == 0 {
                break;
            }
            budget -= 1;
            self.handle_loopback(now);
        }
        handed += self.hand_over(interface, frames, max.saturating_sub(handed));
        if self.waiting(interface) <= self.ip.config.output_queue / 2 {
            self.udp.unblock();
        }
        handed
    }

    /// Moves at most `max` frames that wait to leave by an interface to `frames`; answers how many.
    fn hand_over(&mut self, interface: InterfaceId, frames: &mut impl Frames, max: usize) -> usize {
        let Some(out) = self.ip.interface_mut(interface) else {
            return 0;
        };
        let count = out.output.len().min(max);
        if count > 0 {
            frames.extend(out.output.drain(..count));
        }
        count
    }

    /// Frames that wait to leave by an interface.
    fn waiting(&self, interface: InterfaceId) -> usize {
        self.ip
            .interface(interface)
            .map_or(0, |interface| interface.output.len())
    }

    /// Makes a packet of the segment that leaves and sends it.
    fn send_segment(&mut self, now: Instant) {
        let segment = &mut self.leaving;
        let mut frame = Frame::new(Head::with_room(HEADROOM));
        frame.body = core::mem::take(&mut segment.payload);
        let layout: OptionLayout = self.ip.config.option_layout;
        let len = segment.tcp.header_len(layout);
        let written = frame
            .head
            .grow(len)
            .is_ok_and(|bytes| segment.tcp.emit(layout, bytes).is_ok());
        if !written {
            self.ip.drop(DropReason::TooBig);
            return;
        }
        let (local, remote) = (segment.local, segment.remote);
        let (kind, scope) = match remote {
            SocketAddr::V4(_) => (GsoKind::Tcp4, None),
            SocketAddr::V6(v6) => (GsoKind::Tcp6, InterfaceId::from_scope_id(v6.scope_id())),
        };
        let packet = Outgoing {
            interface: scope.filter(|&id| self.ip.interface(id).is_some()),
            hop_limit: segment.hop_limit,
            traffic_class: TrafficClass(segment.traffic_class),
            dont_fragment: segment.dont_fragment,
            gso: segment.gso_size.map(|size| (kind, size)),
            checksum_at: Some(zcn_wire::tcp::CHECKSUM_OFFSET),
            ..Outgoing::new(local.ip(), remote.ip(), Protocol::TCP)
        };
        if let Err(SendError::TooBig { mtu }) = self.ip.send(now, &packet, &mut frame) {
            // The route has changed since TCP asked for the path.
            let error = IcmpError {
                local,
                remote,
                seq: segment.tcp.seq,
                kind: NetworkError::TooBig { mtu },
            };
            self.tcp.handle_icmp(now, &error);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, if nothing happens
    /// before; in the past if something is left to do at once.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        if !self.ip.loopback.is_empty() || !self.ip.reports.is_empty() {
            return Some(Instant::ZERO);
        }
        earlier(self.ip.poll_timeout(), self.tcp.poll_timeout())
    }

    /// Does everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ip.handle_timeout(now);
        self.tcp.handle_timeout(now);
        self.deliver_reports(now);
        self.handle_loopback(now);
    }

    /// The next socket that became ready for something.
    pub fn poll_event(&mut self) -> Option<Event> {
        if !self.tcp.has_events() && !self.udp.has_events() && !self.echo.has_events() {
            return None;
        }
        if !self.udp.has_events() && !self.echo.has_events() {
            return self.tcp.poll_event();
        }
        for _ in 0..3 {
            self.turn = (self.turn + 1) % 3;
            let event = match self.turn {
                0 => self.tcp.poll_event(),
                1 => self.udp.poll_event().map(|(id, readiness)| Event {
                    socket: SocketId::Udp(id),
                    readiness,
                }),
                _ => self.echo.poll_event().map(|(id, readiness)| Event {
                    socket: SocketId::Echo(id),
                    readiness,
                }),
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// Everything that was counted, as it is now.
    pub fn stats(&self) -> Stats {
        let mut stats = self.ip.stats.clone();
        stats.udp = self.udp.stats.clone();
        stats.tcp = self.tcp.stats().clone();
        stats.tcp.in_errs += self.tcp_errors.0;
        stats.tcp.in_csum_errors += self.tcp_errors.1;
        stats.neighbours = self.ip.neighbour_stats();
        stats.drops.add(self.tcp.drops());
        stats
    }

    /// Memory that fragments waiting for others take, in bytes.
    pub fn reassembly_memory(&self) -> usize {
        self.ip.reassembly.memory()
    }

    /// Packets that wait for the link addresses of neighbours.
    pub fn waiting_for_neighbours(&self) -> usize {
        let interfaces = self.ip.interfaces.iter();
        interfaces
            .map(|interface| interface.neighbours.waiting())
            .sum()
    }

    /// Paths whose MTU is remembered.
    pub fn path_mtus(&self) -> usize {
        self.ip.path_mtus.len()
    }
}

/// Hands a segment to TCP. What it acknowledges confirms the neighbour.
fn handle_segment(tcp: &mut Tcp, ip: &mut Ip, now: Instant, segment: &mut SegmentIn) {
    let (interface, remote) = (segment.interface, segment.remote.ip());
    if tcp.handle_segment(now, segment, ip) {
        ip.confirm(now, interface, remote);
    }
    // Of a segment that was dropped the data is still there, and would keep its buffers.
    segment.payload.clear();
}
