//! TCP Fast Open (RFC 7413): data in the SYN, for those who were here before.
//!
//! A server gives out cookies, which prove that a client receives at its address, and takes
//! the data of a SYN that brings one: the connection is there, and may answer, before the
//! handshake is complete. A client remembers the cookies of servers.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use zcn_wire::FastOpenCookie;

use super::Tcp;
use super::connection::{Common, Connection, Flags};
use super::incoming::Incoming;
use super::segment::{SegmentIn, SegmentOut};
use super::state::State;
use crate::random::{SecretKey, Seed};
use crate::slab::Id;
use crate::time::Instant;

/// How long a server is sent plain SYNs after some with data found no answer: something on
/// the way may drop those (RFC 7413 section 4.1.3.1).
const PLAIN_FOR: Duration = Duration::from_secs(3600);
/// So many of them in a row: one may have been lost like any other, and Linux takes no offence.
const LOSSES_MAX: u8 = 2;
/// Room that the data of a SYN leaves for options.
const OPTIONS_ROOM: u16 = 40;

/// What is known of a server.
#[derive(Clone, Copy, Debug)]
struct Known {
    cookie: FastOpenCookie,
    mss: u16,
    plain_until: Instant,
    /// SYNs with data that found no answer since one did.
    losses: u8,
    used: u64,
}

/// What a SYN says of fast open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Nothing.
    Plain,
    /// It asks for a cookie.
    Request,
    /// It shows one, and may carry data for a server with this MSS.
    Cookie(FastOpenCookie, u16),
}

/// The cookies of a shard: the key of those it gives out, and those it was given.
#[derive(Debug)]
pub(crate) struct FastOpen {
    key: SecretKey,
    servers: BTreeMap<IpAddr, Known>,
    capacity: usize,
    uses: u64,
}

impl FastOpen {
    /// With the key that was configured, or one out of the seed.
    pub(crate) fn new(seed: &Seed, key: Option<[u8; 16]>, capacity: usize) -> Self {
        Self {
            key: key.map_or_else(|| SecretKey::derive(seed, "tcp fast open"), SecretKey::of),
            servers: BTreeMap::new(),
            capacity,
            uses: 0,
        }
    }

    /// The cookie of a client at an address of ours: SipHash-2-4 of both, as Linux makes it,
    /// so that machines with one key take each other's.
    pub(crate) fn cookie(&self, client: IpAddr, server: IpAddr) -> FastOpenCookie {
        let hash = match (client, server) {
            (IpAddr::V4(client), IpAddr::V4(server)) => {
                self.key.hash(&[client.octets(), server.octets()].concat())
            }
            (client, server) => {
                let octets = |ip: IpAddr| match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                    IpAddr::V6(ip) => ip.octets(),
                };
                self.key.hash(&[octets(client), octets(server)].concat())
            }
        };
        // Eight bytes are a cookie.
        FastOpenCookie::new(&hash.to_le_bytes()).unwrap_or(FastOpenCookie::REQUEST)
    }

    /// What a SYN to a server is to say.
    pub(crate) fn offer(&mut self, now: Instant, server: IpAddr) -> Offer {
        self.uses += 1;
        match self.servers.get_mut(&server) {
            None => Offer::Request,
            Some(known) if now < known.plain_until => Offer::Plain,
            Some(known) => {
                known.used = self.uses;
                Offer::Cookie(known.cookie, known.mss)
            }
        }
    }

    /// Whether there is a cookie for a server.
    pub(crate) fn knows(&self, server: IpAddr) -> bool {
        self.servers.contains_key(&server)
    }

    /// A server gave a cookie. The one used least recently makes room.
    pub(crate) fn learn(&mut self, server: IpAddr, cookie: FastOpenCookie, mss: u16) {
        if self.capacity == 0 {
            return;
        }
        if !self.servers.contains_key(&server) && self.servers.len() >= self.capacity {
            let oldest = self.servers.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(&server, _)| server) {
                self.servers.remove(&oldest);
            }
        }
        self.uses += 1;
        let known = Known {
            cookie,
            mss,
            plain_until: Instant::ZERO,
            losses: 0,
            used: self.uses,
        };
        self.servers.insert(server, known);
    }

    /// A server took the data of a SYN.
    fn found(&mut self, server: IpAddr) {
        if let Some(known) = self.servers.get_mut(&server) {
            known.losses = 0;
        }
    }

    /// A SYN with data found no answer.
    fn lost(&mut self, now: Instant, server: IpAddr) {
        if let Some(known) = self.servers.get_mut(&server) {
            known.losses += 1;
            if known.losses >= LOSSES_MAX {
                known.losses = 0;
                known.plain_until = now + PLAIN_FOR;
            }
        }
    }
}

/// What a SYN and its listener say of fast open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FastSyn {
    /// Nothing, or too much at once.
    Plain,
    /// The SYN-ACK gives a cookie.
    GiveCookie,
    /// The connection opens with the SYN.
    Open,
}

impl Tcp {
    /// What a SYN and its listener say of fast open (RFC 7413 section 4.2.2).
    pub(super) fn fast_open(&mut self, listener: Id, segment: &SegmentIn) -> FastSyn {
        let Self {
            listeners,
            connections,
            common,
            ..
        } = self;
        let listener = listeners.get_mut(listener);
        let asked = listener.and_then(|l| Some((l.options.fast_open?, l)));
        let (Some((most, listener)), Some(cookie)) = (asked, segment.tcp.options.fast_open) else {
            return FastSyn::Plain;
        };
        if cookie.is_request() {
            common.stats.fast_open_cookie_reqd += 1;
            return FastSyn::GiveCookie;
        }
        let good = common
            .fast_open
            .cookie(segment.remote.ip(), segment.local.ip());
        if cookie != good {
            common.stats.fast_open_passive_fail += 1;
            return FastSyn::GiveCookie;
        }
        if listener.fast_opens.len() >= most as usize {
            let unfinished = |id: &Id| connections.get(*id).is_some_and(|c| c.is_open_fast());
            listener.fast_opens.retain(unfinished);
        }
        if listener.fast_opens.len() >= most as usize {
            // Whoever floods with good cookies waits for handshakes as everybody does.
            common.stats.fast_open_listen_overflow += 1;
            return FastSyn::Plain;
        }
        FastSyn::Open
    }

    /// The data of a SYN that opened a connection.
    pub(super) fn begin_fast(
        &mut self,
        now: Instant,
        id: Id,
        listener: Id,
        segment: &mut SegmentIn,
    ) {
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.fast_opens.push(id);
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.open_fast(now, &mut self.common, segment);
            self.settle(now, id);
        }
    }
}

impl Connection {
    /// Whether it took the data of a SYN, and the handshake is not complete.
    pub(crate) fn is_open_fast(&self) -> bool {
        self.state == State::SynReceived && self.has(Flags::FAST_OPEN)
    }

    /// The first SYN of an active open may ask for a cookie, or show one and carry data
    /// (RFC 7413 section 4.2.1). Those sent again are plain.
    pub(crate) fn offer_fast_open(
        &mut self,
        now: Instant,
        common: &mut Common,
        segment: &mut SegmentOut,
    ) {
        if !self.options.fast_open_connect || self.state != State::SynSent {
            return;
        }
        let server = self.remote().ip();
        if self.probes > 0 {
            // Told once: with the first SYN that goes again.
            if self.probes == 1 && self.small_end.after(self.first_data()) {
                common.fast_open.lost(now, server);
            }
            return;
        }
        match common.fast_open.offer(now, server) {
            Offer::Plain => {}
            Offer::Request => segment.tcp.options.fast_open = Some(FastOpenCookie::REQUEST),
            Offer::Cookie(cookie, mss) => {
                segment.tcp.options.fast_open = Some(cookie);
                let first = self.first_data();
                let room = mss.min(self.advertised_mss).saturating_sub(OPTIONS_ROOM);
                let len = self.write_end.distance(first).min(u32::from(room));
                if let Some(queue) = self.send_queue.as_mut().filter(|_| len > 0) {
                    queue.slices(first, len, &mut segment.payload);
                    common.stats.fast_open_active += 1;
                }
                self.small_end = first + segment.payload.len();
            }
        }
    }

    /// A SYN-ACK came: what it says of cookies, and how much of our SYN's data it
    /// acknowledges. The rest goes again at once (RFC 7413 section 4.2.1).
    pub(crate) fn take_fast_open_answer(&mut self, common: &mut Common, segment: &SegmentIn) {
        let tcp = &segment.tcp;
        if !self.options.fast_open_connect || !tcp.flags.ack() {
            return;
        }
        if let Some(cookie) = tcp.options.fast_open.filter(|cookie| !cookie.is_request()) {
            let server = self.remote().ip();
            common.fast_open.learn(server, cookie, self.peer_mss);
        }
        let taken = tcp.ack.distance(self.first_data());
        if taken > 0 {
            common.fast_open.found(self.remote().ip());
            self.flags.set(Flags::FAST_OPEN, true);
            self.counters.bytes_acked += u64::from(taken);
            if let Some(queue) = &mut self.send_queue {
                queue.acknowledge(tcp.ack);
            }
        } else if self.small_end.after(self.first_data()) {
            common.stats.fast_open_active_fail += 1;
        }
    }

    /// A passive open with a good cookie: the data of the SYN is there, ours may leave, and
    /// the SYN-ACK acknowledges both (RFC 7413 section 4.2.2).
    pub(crate) fn open_fast(&mut self, now: Instant, common: &mut Common, segment: &mut SegmentIn) {
        let mut head = Incoming::of(segment);
        let first = self.first_data();
        self.start_sender(
            now,
            &common.config,
            first,
            u32::from(head.window),
            head.seq,
            None,
        );
        self.flags.set(Flags::FAST_OPEN | Flags::SYN_DUE, true);
        self.probe_deadline = now + common.config.syn_timeout;
        self.probes = 0;
        head.skip_syn();
        self.counters.data_segs_in = u32::from(head.len > 0);
        self.receive(now, common, &head, &mut segment.payload);
        common.stats.fast_open_passive += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn cookies_are_those_of_a_linux_server_with_the_same_key() {
        // `net.ipv4.tcp_fastopen_key` a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4.
        let mut key = [0xa1; 16];
        for (word, byte) in key.chunks_mut(4).zip([0xa1, 0xb2, 0xc3, 0xd4]) {
            word.fill(byte);
        }
        let fast_open = FastOpen::new(&[0; 32], Some(key), 4);
        let cookie = fast_open.cookie(ip("192.0.2.1"), ip("192.168.0.1"));
        let expected = [0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb];
        assert_eq!(cookie.as_bytes(), expected);
        let other = fast_open.cookie(ip("192.0.2.2"), ip("192.168.0.1"));
        assert_ne!(cookie, other);
        let secret = FastOpen::new(&[0; 32], None, 4);
        assert_ne!(cookie, secret.cookie(ip("192.0.2.1"), ip("192.168.0.1")));
    }

    #[test]
    fn the_server_asked_least_recently_is_forgotten() {
        let now = Instant::from_secs(1);
        let mut client = FastOpen::new(&[0; 32], None, 2);
        let cookie = FastOpenCookie::new(&[7; 8]).expect("a cookie");
        client.learn(ip("10.0.0.1"), cookie, 1000);
        client.learn(ip("10.0.0.2"), cookie, 1000);
        assert_eq!(
            client.offer(now, ip("10.0.0.1")),
            Offer::Cookie(cookie, 1000)
        );
        client.learn(ip("10.0.0.3"), cookie, 1000);
        assert_eq!(client.offer(now, ip("10.0.0.2")), Offer::Request);
        assert!(client.knows(ip("10.0.0.1")) && client.knows(ip("10.0.0.3")));
        client.lost(now, ip("10.0.0.3"));
        assert_eq!(
            client.offer(now, ip("10.0.0.3")),
            Offer::Cookie(cookie, 1000)
        );
        client.lost(now, ip("10.0.0.3"));
        assert_eq!(client.offer(now, ip("10.0.0.3")), Offer::Plain);
        let later = now + PLAIN_FOR;
        assert_eq!(
            client.offer(later, ip("10.0.0.3")),
            Offer::Cookie(cookie, 1000)
        );
    }
}
