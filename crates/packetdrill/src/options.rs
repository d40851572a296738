//! Options of sockets by the numbers of socket(7), tcp(7), ip(7) and ipv6(7).

use std::time::Duration;

use libc::c_int;
use zcn_stack::tcp::congestion::Algorithm;
use zcn_stack::tcp::{FastOpenKeys, SocketOption, State};

use crate::core::Core;
use crate::errno::{Errno, Result};
use crate::info;
use crate::socket::Kind;

/// The kernel keeps twice what was asked for, half of it for its own needs; ours has none.
const KERNEL_SHARE: u32 = 2;
/// `TCP_CA_NAME_MAX`.
const NAME_MAX: usize = 16;
/// The smallest that Linux makes of SO_SNDBUF and SO_RCVBUF.
const SEND_BUFFER_MIN: u32 = 4608;
const RECEIVE_BUFFER_MIN: u32 = 2304;
/// The last number of `tcp_rmem` where the window scale is 8: half of it is what SO_RCVLOWAT asks for
/// at most.
const RECEIVE_MEMORY_MAX: u32 = 15_728_640;
/// `TCP_FIN_TIMEOUT_MAX`, in seconds.
const FIN_TIMEOUT_MAX: u64 = 120;
/// Not in the libc crate for this target.
const TCP_NOTSENT_LOWAT: c_int = 25;
const TCP_FASTOPEN_KEY: c_int = 33;
const TCP_FASTOPEN_NO_COOKIE: c_int = 34;
const TCP_INQ: c_int = 36;
const SO_TIMESTAMPING_NEW: c_int = 65;
const TCP_TIMESTAMP: c_int = 24;
const TCP_SAVE_SYN: c_int = 27;
const TCP_SAVED_SYN: c_int = 28;
/// `IP_PMTUDISC_WANT`, and the one that there is: packets are not fragmented on their way.
const PATH_MTU_DISCOVERY: c_int = 1;

fn number(bytes: &[u8]) -> Result<c_int> {
    let bytes = bytes.first_chunk().ok_or(Errno(libc::EINVAL))?;
    Ok(c_int::from_ne_bytes(*bytes))
}

/// A number that may not be negative.
fn count(bytes: &[u8]) -> Result<u32> {
    u32::try_from(number(bytes)?).map_err(|_| Errno(libc::EINVAL))
}

/// 0 or 1.
fn switch(bytes: &[u8]) -> Result<bool> {
    match number(bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno(libc::EINVAL)),
    }
}

/// TCP_FASTOPEN_KEY: one key, or two.
fn keys(bytes: &[u8]) -> Result<FastOpenKeys> {
    let (keys, rest) = bytes.as_chunks();
    match (keys, rest) {
        (&[first], []) => Ok(FastOpenKeys {
            first,
            second: None,
        }),
        (&[first, second], []) => Ok(FastOpenKeys {
            first,
            second: Some(second),
        }),
        _ => Err(Errno(libc::EINVAL)),
    }
}

fn seconds(bytes: &[u8]) -> Result<Duration> {
    Ok(Duration::from_secs(count(bytes)?.into()))
}

/// What TCP_LINGER2 means: 0 the default, a negative number not at all.
fn fin_timeout(seconds: c_int) -> Option<Duration> {
    match u64::try_from(seconds) {
        Ok(0) => None,
        Ok(seconds) => Some(Duration::from_secs(seconds.min(FIN_TIMEOUT_MAX))),
        Err(_) => Some(Duration::ZERO),
    }
}

/// A `struct timeval`; zero is no limit.
fn time_limit(bytes: &[u8]) -> Result<Option<Duration>> {
    let field = |at: usize| -> Result<i64> {
        let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
        Ok(i64::from_ne_bytes(*field.ok_or(Errno(libc::EINVAL))?))
    };
    let (seconds, micros) = (field(0)?, field(8)?);
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno(libc::EDOM));
    }
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let limit = Duration::from_secs(seconds) + Duration::from_micros(micros.unsigned_abs());
    Ok((!limit.is_zero()).then_some(limit))
}

fn time_value(limit: Option<Duration>) -> Vec<u8> {
    let limit = limit.unwrap_or_default();
    let fields = [limit.as_secs() as i64, i64::from(limit.subsec_micros())];
    fields
        .iter()
        .flat_map(|field| field.to_ne_bytes())
        .collect()
}

fn value(number: c_int) -> Vec<u8> {
    number.to_ne_bytes().to_vec()
}

/// What TCP_DEFER_ACCEPT answers: the seconds that whole waits for the SYN-ACK take, of a
/// second and then twice as long each.
fn deferral(wait: Duration) -> c_int {
    match wait.as_secs() {
        0 => 0,
        seconds => (1_u64 << (64 - seconds.min(1 << 20).leading_zeros())) as c_int - 1,
    }
}

/// Which option of the stack it is.
fn option(level: c_int, name: c_int, bytes: &[u8]) -> Result<Option<SocketOption>> {
    let on = || number(bytes).map(|number| number != 0);
    let small = || u8::try_from(count(bytes)?).map_err(|_| Errno(libc::EINVAL));
    Ok(Some(match (level, name) {
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => SocketOption::KeepAlive(on()?),
        (libc::SOL_SOCKET, libc::SO_LINGER) => {
            let time = bytes.get(4..).ok_or(Errno(libc::EINVAL))?;
            let time = seconds(time)?;
            SocketOption::Linger(on()?.then_some(time))
        }
        (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => {
            SocketOption::SendBuffer(count(bytes)?.saturating_mul(KERNEL_SHARE))
        }
        (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => {
            // Half of what is kept is the window; of the least that Linux keeps, too.
            SocketOption::ReceiveBuffer(count(bytes)?.max(RECEIVE_BUFFER_MIN / KERNEL_SHARE))
        }
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => {
            SocketOption::ReceiveLowWater(u32::try_from(number(bytes)?).unwrap_or(u32::MAX))
        }
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => SocketOption::NoDelay(on()?),
        (libc::IPPROTO_TCP, libc::TCP_CORK) => SocketOption::Cork(on()?),
        (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => SocketOption::QuickAck(on()?),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => SocketOption::KeepAliveIdle(seconds(bytes)?),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => {
            SocketOption::KeepAliveInterval(seconds(bytes)?)
        }
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => SocketOption::KeepAliveCount(small()?),
        (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => SocketOption::SynRetries(small()?),
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN) => SocketOption::FastOpen(count(bytes)?),
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT) => {
            SocketOption::FastOpenConnect(switch(bytes)?)
        }
        (libc::IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE) => {
            SocketOption::FastOpenNoCookie(switch(bytes)?)
        }
        (libc::IPPROTO_TCP, TCP_FASTOPEN_KEY) => SocketOption::FastOpenKeys(keys(bytes)?),
        (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP) => SocketOption::WindowClamp(count(bytes)?),
        (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT) => {
            // Negative is none, as Linux has it.
            let time = u64::try_from(number(bytes)?).unwrap_or(0);
            SocketOption::DeferAccept(Duration::from_secs(time))
        }
        (libc::IPPROTO_TCP, libc::TCP_LINGER2) => {
            SocketOption::FinTimeout(fin_timeout(number(bytes)?))
        }
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
            let time = Duration::from_millis(count(bytes)?.into());
            SocketOption::UserTimeout(Some(time).filter(|time| !time.is_zero()))
        }
        (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
            let size = u16::try_from(number(bytes)?).map_err(|_| Errno(libc::EINVAL))?;
            SocketOption::MaxSegment(size)
        }
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => {
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = std::str::from_utf8(name).map_err(|_| Errno(libc::ENOENT))?;
            let algorithm: Algorithm = name.parse().map_err(|_| Errno(libc::ENOENT))?;
            SocketOption::Congestion(algorithm)
        }
        (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
            let limit = number(bytes)?;
            let limit = match limit {
                -1 => None,
                1..=255 => Some(limit as u8),
                _ => return Err(Errno(libc::EINVAL)),
            };
            SocketOption::HopLimit(limit)
        }
        (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
            let class = u8::try_from(number(bytes)?).map_err(|_| Errno(libc::EINVAL))?;
            SocketOption::TrafficClass(class)
        }
        _ => return Ok(None),
    }))
}

impl Core {
    /// setsockopt(2)
    pub(crate) fn set_option(
        &mut self,
        fd: c_int,
        level: c_int,
        name: c_int,
        bytes: &[u8],
    ) -> Result<()> {
        let now = self.now;
        let default_low_water = self.settings.sysctls.unsent_low_water();
        let fast_open = self.settings.sysctls.fast_open();
        let socket = self.socket_mut(fd)?;
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => {
                socket.options.reuse_address = number(bytes)? != 0;
                return Ok(());
            }
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => {
                socket.receive_timeout = time_limit(bytes)?;
                return Ok(());
            }
            (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => {
                socket.send_timeout = time_limit(bytes)?;
                return Ok(());
            }
            (libc::SOL_SOCKET, libc::SO_REUSEPORT) => {
                socket.reuse_port = number(bytes)? != 0;
                return Ok(());
            }
            (libc::SOL_SOCKET, libc::SO_PRIORITY) => {
                socket.priority = number(bytes)?;
                return Ok(());
            }
            (libc::SOL_SOCKET, libc::SO_OOBINLINE) => {
                socket.urgent_in_line = number(bytes)? != 0;
                return Ok(());
            }
            (libc::SOL_SOCKET, libc::SO_ZEROCOPY) => {
                socket.notices.zero_copy = match number(bytes)? {
                    0 => false,
                    1 => true,
                    _ => return Err(Errno(libc::EINVAL)),
                };
                return Ok(());
            }
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW) => {
                let flags = count(bytes)?;
                return self.set_stamping(fd, flags);
            }
            (libc::IPPROTO_TCP, TCP_INQ) if !socket.is_udp() => {
                socket.tell_readable = match number(bytes)? {
                    0 => false,
                    1 => true,
                    _ => return Err(Errno(libc::EINVAL)),
                };
                return Ok(());
            }
            (libc::SOL_SOCKET, libc::SO_PEEK_OFF) => {
                socket.peek_offset = usize::try_from(number(bytes)?).ok();
                return Ok(());
            }
            // What takes a privilege that nobody has here.
            (libc::IPPROTO_TCP, libc::TCP_REPAIR | TCP_TIMESTAMP) if !socket.is_udp() => {
                return Err(Errno(libc::EPERM));
            }
            (libc::IPPROTO_TCP, TCP_SAVE_SYN) if !socket.is_udp() => {
                socket.saves_syns = match number(bytes)? {
                    mode @ 0..=2 => mode,
                    _ => return Err(Errno(libc::EINVAL)),
                };
                return Ok(());
            }
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) if number(bytes)? == 0 => {
                socket.options.max_segment = None;
                return Ok(());
            }
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) => {
                return match number(bytes)? {
                    libc::IP_PMTUDISC_WANT | libc::IP_PMTUDISC_DO => Ok(()),
                    _ => Err(Errno(libc::ENOPROTOOPT)),
                };
            }
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => {
                if !socket.v6 || socket.bound.is_some() {
                    return Err(Errno(libc::EINVAL));
                }
                socket.options.v6_only = number(bytes)? != 0;
                return Ok(());
            }
            _ => {}
        }
        let low_water_max = match socket.options.receive_buffer {
            Some(bytes) => bytes,
            None => RECEIVE_MEMORY_MAX / 2,
        };
        let option = if (level, name) == (libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT) {
            // As unsigned as Linux takes it: 0 is the sysctl's, and -1 one that is never reached.
            socket.unsent_low_water = number(bytes)?.cast_unsigned();
            let own = Some(socket.unsent_low_water).filter(|mark| *mark > 0);
            SocketOption::UnsentLowWater(own.or(default_low_water))
        } else {
            match option(level, name, bytes)?.ok_or(Errno(libc::ENOPROTOOPT))? {
                SocketOption::ReceiveLowWater(mark) => {
                    SocketOption::ReceiveLowWater(mark.min(low_water_max))
                }
                option => option,
            }
        };
        if socket.is_udp() && level == libc::IPPROTO_TCP {
            return Err(Errno(libc::ENOPROTOOPT));
        }
        let connected = matches!(socket.kind, Kind::Connection(_));
        match option {
            SocketOption::FastOpenConnect(_) if !fast_open.client() => {
                return Err(Errno(libc::EOPNOTSUPP));
            }
            SocketOption::FastOpenConnect(_) if socket.kind != Kind::Idle => {
                return Err(Errno(libc::EINVAL));
            }
            SocketOption::FastOpen(_) | SocketOption::FastOpenNoCookie(_) if connected => {
                return Err(Errno(libc::EINVAL));
            }
            _ => {}
        }
        socket.options.set(option)?;
        match socket.kind {
            // As on Linux: it is said in the SYN or not at all.
            Kind::Connection(_) if matches!(option, SocketOption::MaxSegment(_)) => {}
            Kind::Connection(id) => {
                // One that is over keeps the option for whoever asks.
                if self.stack.tcp_state(id).is_some() {
                    self.stack.tcp_set_option(now, id, option)?;
                }
            }
            Kind::Listener { id, .. } => {
                let option = match option {
                    SocketOption::FastOpen(_) if !fast_open.server() => SocketOption::FastOpen(0),
                    SocketOption::FastOpenNoCookie(on) => {
                        SocketOption::FastOpenNoCookie(on || fast_open.server_bare())
                    }
                    option => option,
                };
                self.stack.tcp_set_listener_option(id, option)?;
            }
            Kind::Udp(id) => {
                if let (SocketOption::HopLimit(limit), Some(mut options)) =
                    (option, self.stack.udp_options(id))
                {
                    options.hop_limit = limit;
                    let _ = self.stack.udp_set_options(id, options); // it is there
                }
            }
            Kind::Idle | Kind::IdleUdp => {}
        }
        Ok(())
    }

    /// getsockopt(2): all bytes of the value; of `TCP_INFO` as many as are asked for.
    pub(crate) fn option(
        &mut self,
        fd: c_int,
        level: c_int,
        name: c_int,
        room: usize,
    ) -> Result<Vec<u8>> {
        let info = (level, name) == (libc::IPPROTO_TCP, libc::TCP_INFO);
        if info && !self.socket(fd)?.is_udp() {
            let mut bytes = self.info(fd)?;
            bytes.resize(room, 0);
            return Ok(bytes);
        }
        if (level, name) == (libc::IPPROTO_TCP, TCP_SAVED_SYN) && !self.socket(fd)?.is_udp() {
            return self.take_saved_syn(fd, room);
        }
        if (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR) {
            return self.take_error(fd).map(value);
        }
        let socket = self.socket(fd)?;
        if level == libc::IPPROTO_IPV6 && !socket.v6 {
            return Err(Errno(libc::EOPNOTSUPP));
        }
        let options = &socket.options;
        let seconds = |time: Duration| value(time.as_secs() as c_int);
        let config = self.settings.stack().tcp;
        Ok(match (level, name) {
            (libc::SOL_SOCKET, libc::SO_TYPE) => value(if socket.is_udp() {
                libc::SOCK_DGRAM
            } else {
                libc::SOCK_STREAM
            }),
            (libc::SOL_SOCKET, libc::SO_ACCEPTCONN) => {
                value(matches!(socket.kind, Kind::Listener { .. }).into())
            }
            (libc::SOL_SOCKET, libc::SO_REUSEADDR) => value(options.reuse_address.into()),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => value(options.keepalive.into()),
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                let mut bytes = value(options.linger.is_some().into());
                bytes.extend(seconds(options.linger.unwrap_or_default()));
                bytes
            }
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => {
                let bytes = options.send_buffer.unwrap_or(config.send_buffer);
                value(bytes.max(SEND_BUFFER_MIN) as c_int)
            }
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => {
                let bytes = options.receive_buffer.unwrap_or(config.receive_buffer);
                let kept = bytes.saturating_mul(KERNEL_SHARE).max(RECEIVE_BUFFER_MIN);
                value(kept as c_int)
            }
            (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => value(options.receive_low_water as c_int),
            (libc::SOL_SOCKET, libc::SO_SNDLOWAT) => value(1),
            (libc::SOL_SOCKET, libc::SO_PEEK_OFF) => {
                let offset = socket.peek_offset.map(c_int::try_from);
                value(offset.map_or(-1, |offset| offset.unwrap_or(c_int::MAX)))
            }
            (libc::SOL_SOCKET, libc::SO_REUSEPORT) => value(socket.reuse_port.into()),
            (libc::SOL_SOCKET, libc::SO_PRIORITY) => value(socket.priority),
            (libc::SOL_SOCKET, libc::SO_ZEROCOPY) => value(socket.notices.zero_copy.into()),
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPING | SO_TIMESTAMPING_NEW) => {
                value(socket.notices.stamping.cast_signed())
            }
            (libc::SOL_SOCKET, libc::SO_OOBINLINE) => value(socket.urgent_in_line.into()),
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => value(if socket.v6 {
                libc::AF_INET6
            } else {
                libc::AF_INET
            }),
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => value(if socket.is_udp() {
                libc::IPPROTO_UDP
            } else {
                libc::IPPROTO_TCP
            }),
            // Nothing is paced: no limit.
            (libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE) => value(-1),
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => time_value(socket.receive_timeout),
            (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => time_value(socket.send_timeout),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => value(options.v6_only.into()),
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS) => {
                value(options.hop_limit.unwrap_or(64).into())
            }
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                value(options.traffic_class.into())
            }
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) => value(PATH_MTU_DISCOVERY),
            (libc::IPPROTO_IP, libc::IP_MTU) | (libc::IPPROTO_IPV6, libc::IPV6_MTU) => {
                let Kind::Connection(id) = socket.kind else {
                    return Err(Errno(libc::ENOTCONN));
                };
                let info = self.stack.tcp_info(self.now, id);
                value(info.ok_or(Errno(libc::ENOTCONN))?.tcpi_pmtu as c_int)
            }
            (libc::IPPROTO_TCP, _) if socket.is_udp() => return Err(Errno(libc::ENOPROTOOPT)),
            (libc::IPPROTO_TCP, libc::TCP_NODELAY) => value(options.nodelay.into()),
            (libc::IPPROTO_TCP, libc::TCP_CORK) => value(options.cork.into()),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE) => seconds(options.keepalive_idle),
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL) => seconds(options.keepalive_interval),
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT) => value(options.keepalive_count.into()),
            (libc::IPPROTO_TCP, libc::TCP_SYNCNT) => {
                value(options.syn_retries.unwrap_or(config.syn_retries).into())
            }
            (libc::IPPROTO_TCP, libc::TCP_QUICKACK) => {
                let quick = match socket.kind {
                    Kind::Connection(id) => self.stack.tcp_quick_ack(id),
                    _ => None,
                };
                value(quick.unwrap_or(true).into())
            }
            (libc::IPPROTO_TCP, libc::TCP_FASTOPEN) => {
                value(options.fast_open.unwrap_or(0) as c_int)
            }
            (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT) => {
                value(options.fast_open_connect.into())
            }
            (libc::IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE) => {
                value(options.fast_open_no_cookie.into())
            }
            (libc::IPPROTO_TCP, TCP_FASTOPEN_KEY) => {
                let keys = options.fast_open_keys;
                let keys = keys.map(|keys| [Some(keys.first), keys.second]);
                keys.into_iter().flatten().flatten().flatten().collect()
            }
            (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP) => {
                let bytes = options.window_clamp.or(options.receive_buffer);
                value(bytes.unwrap_or(config.receive_buffer) as c_int)
            }
            (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT) => {
                value(deferral(options.defer_accept.unwrap_or_default()))
            }
            (libc::IPPROTO_TCP, libc::TCP_LINGER2) => match options.fin_timeout {
                Some(Duration::ZERO) => value(-1),
                time => seconds(time.unwrap_or(config.fin_timeout)),
            },
            (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT) => {
                value(options.user_timeout.unwrap_or_default().as_millis() as c_int)
            }
            (libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT) => value(socket.unsent_low_water.cast_signed()),
            (libc::IPPROTO_TCP, libc::TCP_MAXSEG) => {
                let kind = socket.kind;
                let chosen = options.max_segment.map_or(536, c_int::from);
                value(self.segment_size(kind).unwrap_or(chosen))
            }
            (libc::IPPROTO_TCP, TCP_SAVE_SYN) => value(socket.saves_syns),
            (libc::IPPROTO_TCP, TCP_TIMESTAMP) => {
                let Kind::Connection(id) = socket.kind else {
                    return Ok(value(0));
                };
                let stamp = self.stack.tcp_timestamp(self.now, id);
                value(stamp.unwrap_or(0).cast_signed())
            }
            (libc::IPPROTO_TCP, TCP_INQ) => value(socket.tell_readable.into()),
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION) => {
                let mut bytes = options.congestion.name().as_bytes().to_vec();
                bytes.resize(NAME_MAX, 0);
                bytes
            }
            _ => return Err(Errno(libc::ENOPROTOOPT)),
        })
    }

    pub(crate) fn segment_size(&self, kind: Kind) -> Option<c_int> {
        let Kind::Connection(id) = kind else {
            return None;
        };
        let info = self.stack.tcp_info(self.now, id)?;
        c_int::try_from(info.tcpi_snd_mss).ok()
    }

    fn take_error(&mut self, fd: c_int) -> Result<c_int> {
        Ok(match self.socket(fd)?.kind {
            Kind::Connection(id) => {
                let error = self.stack.tcp_take_error(id);
                error.map_or(0, |error| error.errno())
            }
            Kind::Idle => self.socket_mut(fd)?.failed.take().unwrap_or(0),
            Kind::Udp(id) => {
                let error = self.stack.udp_take_error(id);
                error.map_or(0, |error| error.error.errno())
            }
            _ => 0,
        })
    }

    fn info(&self, fd: c_int) -> Result<Vec<u8>> {
        let closed = State::Closed as u8;
        Ok(match self.socket(fd)?.kind {
            Kind::Connection(id) => match self.stack.tcp_info(self.now, id) {
                Some(info) => info::bytes(&info),
                None => info::without_connection(closed, 0, 0),
            },
            Kind::Listener { id, backlog } => {
                let waiting = self.stack.tcp_acceptable(id) as u32;
                info::without_connection(State::Listen as u8, waiting, backlog)
            }
            _ if self.socket(fd)?.deferred.is_some() => {
                info::without_connection(State::SynSent as u8, 0, 0)
            }
            _ => info::without_connection(closed, 0, 0),
        })
    }

    /// ioctl(2) of tcp(7): answers the number to be stored.
    pub(crate) fn ioctl(&mut self, fd: c_int, request: u64) -> Result<c_int> {
        let kind = self.socket(fd)?.kind;
        let opens = |id| {
            let state = self.stack.tcp_state(id);
            matches!(state, Some(State::SynSent | State::SynReceived))
        };
        let number = match (request, kind) {
            // As Linux, also of one that has data already (RFC 7413).
            (
                crate::world::SIOCINQ | crate::world::SIOCOUTQ | crate::world::SIOCOUTQNSD,
                Kind::Connection(id),
            ) if opens(id) => 0,
            (crate::world::SIOCINQ, Kind::Connection(id)) => self.stack.tcp_readable(id),
            (crate::world::SIOCINQ, Kind::Udp(id)) => {
                self.stack.udp_readable(id).unwrap_or_default()
            }
            (crate::world::SIOCOUTQ, Kind::Connection(id)) => {
                // Our FIN, which none of these has seen acknowledged, counts.
                let state = self.stack.tcp_state(id);
                let ends = [State::FinWait1, State::Closing, State::LastAck].map(Some);
                self.stack.tcp_unacknowledged(id) as usize + usize::from(ends.contains(&state))
            }
            (crate::world::SIOCOUTQNSD, Kind::Connection(id)) => {
                let info = self.stack.tcp_info(self.now, id);
                info.map_or(0, |info| info.tcpi_notsent_bytes as usize)
            }
            (_, Kind::Listener { .. }) => return Err(Errno(libc::EINVAL)),
            (crate::world::SIOCINQ | crate::world::SIOCOUTQ | crate::world::SIOCOUTQNSD, _) => 0,
            _ => return Err(Errno(libc::ENOTTY)),
        };
        Ok(c_int::try_from(number).unwrap_or(c_int::MAX))
    }
}
