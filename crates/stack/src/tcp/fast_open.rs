//! TCP Fast Open (RFC 7413): data in the SYN, for those who were here before.
//!
//! A server gives out cookies, which prove that a client receives at its address, and takes
//! the data of a SYN that brings one: the connection is there, and may answer, before the
//! handshake is complete. A client remembers the cookies of servers.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use zcn_frame::Chain;
use zcn_wire::FastOpenCookie;

use super::Tcp;
use super::connection::{Common, Connection, Flags};
use super::incoming::Incoming;
use super::segment::{SegmentIn, SegmentOut};
use super::socket_options::{FastOpenKeys, SocketOptions};
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
    /// `None`: it gave none when it was asked.
    cookie: Option<FastOpenCookie>,
    /// In which option it was asked so far.
    asked: Asked,
    mss: u16,
    plain_until: Instant,
    /// SYNs with data that found no answer since one did.
    losses: u8,
    used: u64,
}

/// How a server was asked that gave no cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Asked {
    Never,
    /// In the option of RFC 7413; as Linux, that of experiments is tried next.
    Usually,
    /// In both.
    Experimentally,
}

/// What a SYN says of fast open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Nothing.
    Plain,
    /// It asks for a cookie.
    Request(FastOpenCookie),
    /// It shows one, and may carry data for a server with this MSS.
    Cookie(FastOpenCookie, u16),
    /// It carries data for a server with this MSS, without a cookie.
    Bare(u16),
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

    /// The cookie of a client at an address of ours, with a listener's keys or our own.
    pub(crate) fn cookie(
        &self,
        keys: Option<&FastOpenKeys>,
        client: IpAddr,
        server: IpAddr,
    ) -> FastOpenCookie {
        let own = keys.map(|keys| SecretKey::of(keys.first));
        cookie_of(own.as_ref().unwrap_or(&self.key), client, server)
    }

    /// What a SYN to a server is to say. `bare`: data needs no cookie.
    pub(crate) fn offer(&mut self, now: Instant, server: IpAddr, bare: Option<u16>) -> Offer {
        self.uses += 1;
        if let Some(known) = self.servers.get_mut(&server) {
            known.used = self.uses;
        }
        self.preview(now, server, bare)
    }

    /// The same, and nothing is sent yet.
    pub(crate) fn preview(&self, now: Instant, server: IpAddr, bare: Option<u16>) -> Offer {
        let known = self.servers.get(&server);
        match (known, bare) {
            (Some(known), _) if now < known.plain_until => Offer::Plain,
            (known, Some(mss)) => Offer::Bare(known.map_or(mss, |known| known.mss)),
            (Some(known), None) => match known.cookie {
                Some(cookie) => Offer::Cookie(cookie, known.mss),
                None => {
                    let experimental = known.asked == Asked::Usually;
                    Offer::Request(FastOpenCookie::REQUEST.in_experiment(experimental))
                }
            },
            (None, None) => Offer::Request(FastOpenCookie::REQUEST),
        }
    }

    /// Whether there is a cookie for a server.
    pub(crate) fn knows(&self, server: IpAddr) -> bool {
        let known = self.servers.get(&server);
        known.is_some_and(|known| known.cookie.is_some())
    }

    /// A server gave a cookie.
    pub(crate) fn learn(&mut self, server: IpAddr, cookie: FastOpenCookie, mss: u16) {
        if let Some(known) = self.note(server, mss) {
            known.cookie = Some(cookie);
        }
    }

    /// A server gave no cookie though it was asked.
    fn learn_none(&mut self, server: IpAddr, experimental: bool, mss: u16) {
        let asked = if experimental {
            Asked::Experimentally
        } else {
            Asked::Usually
        };
        if let Some(known) = self.note(server, mss)
            && known.cookie.is_none()
            && asked > known.asked
        {
            known.asked = asked;
        }
    }

    /// The entry of a server that answered. The one used least recently makes room.
    fn note(&mut self, server: IpAddr, mss: u16) -> Option<&mut Known> {
        if self.capacity == 0 {
            return None;
        }
        if !self.servers.contains_key(&server) && self.servers.len() >= self.capacity {
            let oldest = self.servers.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(&server, _)| server) {
                self.servers.remove(&oldest);
            }
        }
        self.uses += 1;
        let known = self.servers.entry(server).or_insert(Known {
            cookie: None,
            asked: Asked::Never,
            mss,
            plain_until: Instant::ZERO,
            losses: 0,
            used: 0,
        });
        *known = Known {
            mss,
            plain_until: Instant::ZERO,
            losses: 0,
            used: self.uses,
            ..*known
        };
        Some(known)
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

/// The cookie of a client at an address of ours: SipHash-2-4 of both, as Linux makes it, so that
/// machines with one key take each other's.
fn cookie_of(key: &SecretKey, client: IpAddr, server: IpAddr) -> FastOpenCookie {
    let hash = match (client, server) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            key.hash(&[client.octets(), server.octets()].concat())
        }
        (client, server) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            key.hash(&[octets(client), octets(server)].concat())
        }
    };
    // Eight bytes are a cookie.
    FastOpenCookie::new(&hash.to_le_bytes()).unwrap_or(FastOpenCookie::REQUEST)
}

/// What a SYN and its listener say of fast open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FastSyn {
    /// Nothing, or too much at once.
    Plain,
    /// The SYN-ACK gives a cookie, in the option of experiments or not.
    GiveCookie(bool),
    /// The connection opens with the SYN.
    Open,
    /// The same, and as the cookie was made with the second key, the SYN-ACK gives a new one, in the
    /// option of experiments or not.
    OpenAndRenew(bool),
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
        let cookie = segment.tcp.options.fast_open;
        if cookie.is_some_and(|cookie| cookie.is_request()) {
            common.stats.fast_open_cookie_reqd += 1;
        }
        let listener = listeners.get_mut(listener);
        let asked = listener.and_then(|l| Some((l.options.fast_open?, l)));
        let Some((most, listener)) = asked else {
            return FastSyn::Plain;
        };
        if cookie.is_none() && segment.payload.is_empty() {
            return FastSyn::Plain;
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
        if listener.options.fast_open_no_cookie {
            return FastSyn::Open;
        }
        let Some(cookie) = cookie else {
            return FastSyn::Plain;
        };
        let experimental = cookie.is_experimental();
        let keys = listener.options.fast_open_keys;
        let (client, server) = (segment.remote.ip(), segment.local.ip());
        let good = common.fast_open.cookie(keys.as_ref(), client, server);
        let second = keys.and_then(|keys| keys.second).map(SecretKey::of);
        let old = second.map(|key| cookie_of(&key, client, server));
        let is = |known: FastOpenCookie| cookie.as_bytes() == known.as_bytes();
        if cookie.is_request() {
            FastSyn::GiveCookie(experimental)
        } else if is(good) {
            FastSyn::Open
        } else if old.is_some_and(is) {
            FastSyn::OpenAndRenew(experimental)
        } else {
            common.stats.fast_open_passive_fail += 1;
            FastSyn::GiveCookie(experimental)
        }
    }

    /// The data of a SYN that opened a connection. `renew`: its SYN-ACK gives a new cookie, in the
    /// option of experiments or not.
    pub(super) fn begin_fast(
        &mut self,
        now: Instant,
        id: Id,
        listener: Id,
        segment: &mut SegmentIn,
        renew: Option<bool>,
    ) {
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.fast_opens.push(id);
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.flags.set(Flags::GIVES_COOKIE, renew.is_some());
            connection
                .flags
                .set(Flags::GIVES_EXPERIMENTALLY, renew == Some(true));
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

    /// Bytes of data that the first SYN of an active open can carry; `None` if it can carry none.
    pub(crate) fn fast_open_room(&self, now: Instant, common: &Common) -> Option<u32> {
        let bare = self.options.bare_mss(self.advertised_mss);
        let server = self.remote().ip();
        if !self.options.fast_open_connect || self.state != State::SynSent || self.probes > 0 {
            return None;
        }
        match common.fast_open.preview(now, server, bare) {
            Offer::Plain | Offer::Request(_) => None,
            Offer::Cookie(_, mss) | Offer::Bare(mss) => Some(self.syn_room(mss)),
        }
    }

    /// Bytes of data of a SYN for a server with this MSS.
    fn syn_room(&self, mss: u16) -> u32 {
        let room = mss.min(self.advertised_mss).saturating_sub(OPTIONS_ROOM);
        u32::from(room)
    }

    /// The SYN-ACK of a connection that opened with the SYN may give a new cookie, once.
    fn renew_cookie(&mut self, common: &Common, segment: &mut SegmentOut) {
        if !self.has(Flags::FAST_OPEN) || !self.flags.take(Flags::GIVES_COOKIE) {
            return;
        }
        let keys = self.options.fast_open_keys;
        let (client, server) = (self.remote().ip(), self.local().ip());
        let cookie = common.fast_open.cookie(keys.as_ref(), client, server);
        let experimental = self.flags.take(Flags::GIVES_EXPERIMENTALLY);
        segment.tcp.options.fast_open = Some(cookie.in_experiment(experimental));
    }

    /// The first SYN of an active open may ask for a cookie, or show one and carry data
    /// (RFC 7413 section 4.2.1). Those sent again are plain.
    pub(crate) fn offer_fast_open(
        &mut self,
        now: Instant,
        common: &mut Common,
        segment: &mut SegmentOut,
    ) {
        if self.state == State::SynReceived {
            return self.renew_cookie(common, segment);
        }
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
        let bare = self.options.bare_mss(self.advertised_mss);
        let mss = match common.fast_open.offer(now, server, bare) {
            Offer::Plain => return,
            Offer::Request(request) => {
                segment.tcp.options.fast_open = Some(request);
                self.flags.set(Flags::NO_COOKIE, true);
                let experimental = request.is_experimental();
                self.flags.set(Flags::ASKS_EXPERIMENTALLY, experimental);
                return;
            }
            Offer::Cookie(cookie, mss) => {
                segment.tcp.options.fast_open = Some(cookie);
                mss
            }
            Offer::Bare(mss) => mss,
        };
        let first = self.first_data();
        let len = self.write_end.distance(first).min(self.syn_room(mss));
        if let Some(queue) = self.send_queue.as_mut().filter(|_| len > 0) {
            queue.slices(first, len, &mut segment.payload);
            common.stats.fast_open_active += 1;
        }
        self.small_end = first + segment.payload.len();
    }

    /// A SYN-ACK came: what it says of cookies, and how much of our SYN's data it
    /// acknowledges. The rest goes again at once (RFC 7413 section 4.2.1).
    pub(crate) fn take_fast_open_answer(&mut self, common: &mut Common, segment: &SegmentIn) {
        let tcp = &segment.tcp;
        let experimental = self.flags.take(Flags::ASKS_EXPERIMENTALLY);
        if !self.options.fast_open_connect || !tcp.flags.ack() {
            return;
        }
        let server = self.remote().ip();
        let sent = self.small_end.after(self.first_data());
        let cookie = tcp.options.fast_open;
        if let Some(cookie) = cookie.filter(|cookie| !cookie.is_request()) {
            common.fast_open.learn(server, cookie, self.peer_mss);
        } else if self.has(Flags::NO_COOKIE) && cookie.is_none() && self.probes == 0 {
            let fast_open = &mut common.fast_open;
            fast_open.learn_none(server, experimental, self.peer_mss);
        }
        let taken = tcp.ack.distance(self.first_data());
        if taken > 0 {
            common.fast_open.found(server);
            self.counters.bytes_acked += u64::from(taken);
            if let Some(queue) = &mut self.send_queue {
                queue.acknowledge(tcp.ack);
            }
        }
        if self.small_end.after(tcp.ack) {
            self.flags.set(Flags::SYN_DATA_NOT_TAKEN, true);
            self.flags.set(Flags::NO_COOKIE, self.probes > 0);
            common.stats.fast_open_active_fail += 1;
        } else if sent {
            self.flags.set(Flags::SYN_DATA, true);
        }
    }

    /// The data of a SYN-ACK, which the peer may send at once if our SYN was one of fast open. As on
    /// Linux it waits if some of our own was not taken.
    pub(crate) fn take_syn_ack_data(
        &mut self,
        now: Instant,
        common: &mut Common,
        head: &Incoming,
        payload: &mut Chain,
    ) {
        let wanted = self.options.fast_open_connect && !self.has(Flags::SYN_DATA_NOT_TAKEN);
        if !wanted || head.len == 0 {
            return;
        }
        let mut head = *head;
        head.skip_syn();
        head.fin = false;
        self.receive_with_syn(now, common, &head, payload);
        self.ack.send_now();
    }

    /// Takes the data of a SYN, which tells nothing of the pace at which data comes.
    fn receive_with_syn(
        &mut self,
        now: Instant,
        common: &mut Common,
        head: &Incoming,
        payload: &mut Chain,
    ) {
        let ack = self.ack;
        self.receive(now, common, head, payload);
        self.ack = ack;
        self.flags.set(Flags::SYN_DATA, head.len > 0);
    }

    /// What went wrong with the fast open of an active open, as `tcpi_fastopen_client_fail`.
    pub(crate) fn fast_open_failure(&self) -> u8 {
        if self.has(Flags::FAST_OPEN) {
            return 0;
        }
        let bits = [Flags::NO_COOKIE, Flags::SYN_DATA_NOT_TAKEN];
        let [low, high] = bits.map(|bit| u8::from(self.has(bit)));
        low | high << 1
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
        self.receive_with_syn(now, common, &head, &mut segment.payload);
        common.stats.fast_open_passive += 1;
    }
}

impl SocketOptions {
    /// The MSS that a server is thought to have of which nothing is known, if data goes to it without
    /// a cookie.
    fn bare_mss(&self, advertised: u16) -> Option<u16> {
        self.fast_open_no_cookie.then_some(advertised)
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
        let cookie = fast_open.cookie(None, ip("192.0.2.1"), ip("192.168.0.1"));
        let expected = [0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb];
        assert_eq!(cookie.as_bytes(), expected);
        let other = fast_open.cookie(None, ip("192.0.2.2"), ip("192.168.0.1"));
        assert_ne!(cookie, other);
        let secret = FastOpen::new(&[0; 32], None, 4);
        assert_ne!(
            cookie,
            secret.cookie(None, ip("192.0.2.1"), ip("192.168.0.1"))
        );
    }

    #[test]
    fn the_server_asked_least_recently_is_forgotten() {
        let now = Instant::from_secs(1);
        let mut client = FastOpen::new(&[0; 32], None, 2);
        let cookie = FastOpenCookie::new(&[7; 8]).expect("a cookie");
        client.learn(ip("10.0.0.1"), cookie, 1000);
        client.learn(ip("10.0.0.2"), cookie, 1000);
        assert_eq!(
            client.offer(now, ip("10.0.0.1"), None),
            Offer::Cookie(cookie, 1000)
        );
        client.learn(ip("10.0.0.3"), cookie, 1000);
        let request = Offer::Request(FastOpenCookie::REQUEST);
        assert_eq!(client.offer(now, ip("10.0.0.2"), None), request);
        assert!(client.knows(ip("10.0.0.1")) && client.knows(ip("10.0.0.3")));
        client.lost(now, ip("10.0.0.3"));
        assert_eq!(
            client.offer(now, ip("10.0.0.3"), None),
            Offer::Cookie(cookie, 1000)
        );
        client.lost(now, ip("10.0.0.3"));
        assert_eq!(client.offer(now, ip("10.0.0.3"), None), Offer::Plain);
        let later = now + PLAIN_FOR;
        assert_eq!(
            client.offer(later, ip("10.0.0.3"), None),
            Offer::Cookie(cookie, 1000)
        );
    }
}
