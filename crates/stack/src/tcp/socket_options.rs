//! What an application can choose for one socket.

use core::time::Duration;

use super::congestion::Algorithm;
use super::error::OptionError;

/// Options of a connection, or of a listener for the connections it accepts. Given when the
/// socket is made; changed later one by one with a [`SocketOption`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// TCP_NODELAY: small segments leave at once. On by default here: Nagle's algorithm
    /// against a peer's delayed ACKs makes milliseconds of microseconds.
    pub nodelay: bool,
    /// TCP_CORK: only full segments leave, until a retransmission timeout (200 ms at least) has
    /// passed without one.
    pub cork: bool,
    /// SO_KEEPALIVE: probe a silent peer.
    pub keepalive: bool,
    /// TCP_KEEPIDLE: silence before the first probe.
    pub keepalive_idle: Duration,
    /// TCP_KEEPINTVL: time between probes.
    pub keepalive_interval: Duration,
    /// TCP_KEEPCNT: probes without an answer before the connection is given up.
    pub keepalive_count: u8,
    /// TCP_USER_TIMEOUT: how long data may stay unacknowledged (RFC 5482).
    pub user_timeout: Option<Duration>,
    /// SO_LINGER: with zero, close sends RST and drops what is queued; with a time, the
    /// socket stays until the peer has everything, at most so long.
    pub linger: Option<Duration>,
    /// TCP_LINGER2: FIN-WAIT-2 after close, instead of the configured time.
    pub fin_timeout: Option<Duration>,
    /// TCP_SYNCNT: times a SYN is sent again.
    pub syn_retries: Option<u8>,
    /// SO_SNDBUF: memory for data to send; `None`: follows the congestion window.
    pub send_buffer: Option<u32>,
    /// SO_RCVBUF: the receive window; `None`: follows what is read.
    pub receive_buffer: Option<u32>,
    /// TCP_WINDOW_CLAMP: the receive window is never larger; it then does not follow what is
    /// read either.
    pub window_clamp: Option<u32>,
    /// TCP_NOTSENT_LOWAT: writable only below so many unsent bytes.
    pub unsent_low_water: Option<u32>,
    /// SO_RCVLOWAT: readable only from so many bytes on.
    pub receive_low_water: u32,
    /// TCP_MAXSEG: an upper bound of the segment size.
    pub max_segment: Option<u16>,
    /// TCP_CONGESTION.
    pub congestion: Algorithm,
    /// IP_TTL, IPV6_UNICAST_HOPS.
    pub hop_limit: Option<u8>,
    /// IP_TOS, IPV6_TCLASS: the differentiated services of what leaves (RFC 2474). The two ECN
    /// bits are not the application's (RFC 3168) and left out.
    pub traffic_class: u8,
    /// Listeners: TCP_DEFER_ACCEPT, how long a handshake waits for the first data before a
    /// bare acknowledgement completes it; counted in whole times that the SYN-ACK is sent
    /// again. `None`: not at all.
    pub defer_accept: Option<Duration>,
    /// Listeners: TCP_FASTOPEN, how many connections may be open before their handshake is
    /// complete (RFC 7413); `None`: data in SYNs is not taken. Such data may come twice: only
    /// for applications to whom that does no harm.
    pub fast_open: Option<u32>,
    /// TCP_FASTOPEN_CONNECT, MSG_FASTOPEN: what is sent before the next output goes with the
    /// SYN if the server gave us a cookie before; otherwise the SYN asks for one.
    pub fast_open_connect: bool,
    /// TCP_FASTOPEN_NO_COOKIE: data goes with a SYN, or is taken with it, without a cookie. Only
    /// among hosts that trust each other: whoever forges addresses is not found out.
    pub fast_open_no_cookie: bool,
    /// Listeners: TCP_FASTOPEN_KEY, in place of the stack's key.
    pub fast_open_keys: Option<FastOpenKeys>,
    /// Listeners: SO_REUSEADDR.
    pub reuse_address: bool,
    /// Listeners: IPV6_V6ONLY.
    pub v6_only: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            cork: false,
            keepalive: false,
            keepalive_idle: Duration::from_secs(7200),
            keepalive_interval: Duration::from_secs(75),
            keepalive_count: 9,
            user_timeout: None,
            linger: None,
            fin_timeout: None,
            syn_retries: None,
            send_buffer: None,
            receive_buffer: None,
            window_clamp: None,
            unsent_low_water: None,
            receive_low_water: 1,
            max_segment: None,
            congestion: Algorithm::default(),
            hop_limit: None,
            traffic_class: 0,
            defer_accept: None,
            fast_open: None,
            fast_open_connect: false,
            fast_open_no_cookie: false,
            fast_open_keys: None,
            reuse_address: true,
            v6_only: false,
        }
    }
}

/// The keys with which a listener makes fast-open cookies: cookies of the first are given out, those
/// of the second are still good, and replaced (RFC 7413 section 5.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FastOpenKeys {
    /// That of new cookies.
    pub first: [u8; 16],
    /// That of cookies from before.
    pub second: Option<[u8; 16]>,
}

impl core::fmt::Debug for FastOpenKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Keys are secret.
        f.write_str(if self.second.is_some() {
            "two keys"
        } else {
            "one key"
        })
    }
}

/// One option to change. Meanings are those of the fields of [`SocketOptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// TCP_NODELAY.
    NoDelay(bool),
    /// TCP_CORK; off lets what waited go.
    Cork(bool),
    /// TCP_QUICKACK; not kept: the traffic changes it again.
    QuickAck(bool),
    /// SO_KEEPALIVE.
    KeepAlive(bool),
    /// TCP_KEEPIDLE: 1 s to 32767 s.
    KeepAliveIdle(Duration),
    /// TCP_KEEPINTVL: 1 s to 32767 s.
    KeepAliveInterval(Duration),
    /// TCP_KEEPCNT: 1 to 127.
    KeepAliveCount(u8),
    /// TCP_USER_TIMEOUT.
    UserTimeout(Option<Duration>),
    /// SO_LINGER.
    Linger(Option<Duration>),
    /// TCP_LINGER2.
    FinTimeout(Option<Duration>),
    /// TCP_SYNCNT: 1 to 127.
    SynRetries(u8),
    /// SO_SNDBUF, at least 4,608 bytes.
    SendBuffer(u32),
    /// SO_RCVBUF, at least 2,304 bytes.
    ReceiveBuffer(u32),
    /// TCP_WINDOW_CLAMP, at least 1,152 bytes.
    WindowClamp(u32),
    /// TCP_DEFER_ACCEPT, of listeners; zero: not at all.
    DeferAccept(Duration),
    /// TCP_FASTOPEN, of listeners; 0: not at all.
    FastOpen(u32),
    /// TCP_FASTOPEN_CONNECT, before the connect.
    FastOpenConnect(bool),
    /// TCP_FASTOPEN_NO_COOKIE.
    FastOpenNoCookie(bool),
    /// TCP_FASTOPEN_KEY, of listeners.
    FastOpenKeys(FastOpenKeys),
    /// TCP_NOTSENT_LOWAT.
    UnsentLowWater(Option<u32>),
    /// SO_RCVLOWAT.
    ReceiveLowWater(u32),
    /// TCP_MAXSEG: 88 to 32767.
    MaxSegment(u16),
    /// TCP_CONGESTION. For new connections of a listener, or before data was sent.
    Congestion(Algorithm),
    /// IP_TTL, IPV6_UNICAST_HOPS: 1 to 255, or the stack's choice.
    HopLimit(Option<u8>),
    /// IP_TOS, IPV6_TCLASS.
    TrafficClass(u8),
}

const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);

fn seconds(value: Duration) -> Result<Duration, OptionError> {
    if value < Duration::from_secs(1) || value > MAX_KEEPALIVE {
        return Err(OptionError::Invalid("1 to 32767 seconds"));
    }
    Ok(value)
}

fn count(value: u8) -> Result<u8, OptionError> {
    if value == 0 || value > 127 {
        return Err(OptionError::Invalid("1 to 127"));
    }
    Ok(value)
}

impl SocketOptions {
    /// The largest receive window that the application allows; `None`: it follows the traffic.
    pub(crate) fn receive_limit(&self) -> Option<u32> {
        [self.receive_buffer, self.window_clamp]
            .into_iter()
            .flatten()
            .min()
    }

    /// Changes one.
    ///
    /// # Errors
    /// If the value is out of range; then nothing is changed.
    pub fn set(&mut self, option: SocketOption) -> Result<(), OptionError> {
        match option {
            SocketOption::NoDelay(on) => self.nodelay = on,
            SocketOption::Cork(on) => self.cork = on,
            SocketOption::QuickAck(_) => {}
            SocketOption::KeepAlive(on) => self.keepalive = on,
            SocketOption::KeepAliveIdle(time) => self.keepalive_idle = seconds(time)?,
            SocketOption::KeepAliveInterval(time) => self.keepalive_interval = seconds(time)?,
            SocketOption::KeepAliveCount(probes) => self.keepalive_count = count(probes)?,
            SocketOption::UserTimeout(time) => {
                self.user_timeout = time.filter(|time| *time > Duration::ZERO);
            }
            SocketOption::Linger(time) => self.linger = time,
            SocketOption::FinTimeout(time) => self.fin_timeout = time,
            SocketOption::SynRetries(retries) => self.syn_retries = Some(count(retries)?),
            SocketOption::SendBuffer(bytes) => self.send_buffer = Some(bytes.max(4608)),
            SocketOption::ReceiveBuffer(bytes) => {
                self.receive_buffer = Some(bytes.clamp(1152, 1 << 30));
            }
            SocketOption::WindowClamp(bytes) => {
                self.window_clamp = Some(bytes.clamp(1152, 1 << 30));
            }
            SocketOption::DeferAccept(time) => {
                self.defer_accept = Some(time).filter(|time| !time.is_zero());
            }
            SocketOption::FastOpen(pending) => {
                self.fast_open = Some(pending).filter(|pending| *pending > 0);
            }
            SocketOption::FastOpenConnect(on) => self.fast_open_connect = on,
            SocketOption::FastOpenNoCookie(on) => self.fast_open_no_cookie = on,
            SocketOption::FastOpenKeys(keys) => self.fast_open_keys = Some(keys),
            SocketOption::UnsentLowWater(bytes) => self.unsent_low_water = bytes,
            SocketOption::ReceiveLowWater(bytes) => self.receive_low_water = bytes.max(1),
            SocketOption::MaxSegment(bytes) => {
                if !(88..=32_767).contains(&bytes) {
                    return Err(OptionError::Invalid("88 to 32767 bytes"));
                }
                self.max_segment = Some(bytes);
            }
            SocketOption::Congestion(algorithm) => self.congestion = algorithm,
            SocketOption::HopLimit(limit) => {
                if limit == Some(0) {
                    return Err(OptionError::Invalid("1 to 255"));
                }
                self.hop_limit = limit;
            }
            SocketOption::TrafficClass(class) => self.traffic_class = class & !3,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_change_nothing() {
        let mut options = SocketOptions::default();
        for bad in [
            SocketOption::KeepAliveIdle(Duration::ZERO),
            SocketOption::KeepAliveInterval(Duration::from_secs(40_000)),
            SocketOption::KeepAliveCount(0),
            SocketOption::SynRetries(200),
            SocketOption::MaxSegment(87),
            SocketOption::HopLimit(Some(0)),
        ] {
            assert!(options.set(bad).is_err(), "{bad:?}");
            assert_eq!(options, SocketOptions::default());
        }
    }

    #[test]
    fn nodelay_is_the_default() {
        assert!(SocketOptions::default().nodelay);
    }
}
