//! Settings and options by name.

use std::time::Duration;

use zcn_stack::tcp::{
    AccEcnOption, PushAck, SocketOption, SocketOptions, SynCookies, TcpConfig, UnknownEcn,
};

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("not a number: {value}"))
}

fn switch(value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("neither on nor off: {value}")),
    }
}

fn seconds(value: &str) -> Result<Duration, String> {
    number(value).map(Duration::from_secs_f64)
}

fn maybe_seconds(value: &str) -> Result<Option<Duration>, String> {
    if value == "off" {
        return Ok(None);
    }
    seconds(value).map(Some)
}

/// What a script sets beside the layer's own configuration.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) mtu: u32,
    pub(crate) gso: u32,
    pub(crate) ipv6: bool,
    /// Initial sequence number of the peer.
    pub(crate) peer_isn: u32,
    pub(crate) pool_buffers: usize,
    pub(crate) initial_window: Option<u32>,
    /// Deviation allowed of the time at which a segment leaves, in nanoseconds.
    pub(crate) tolerance: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            mtu: 1500,
            gso: 0,
            ipv6: false,
            peer_isn: 0xffff_f000,
            pool_buffers: 256,
            initial_window: None,
            tolerance: 5_000_000,
        }
    }
}

pub(crate) fn configure(
    config: &mut TcpConfig,
    world: &mut World,
    name: &str,
    value: &str,
) -> Result<(), String> {
    match name {
        "mtu" => world.mtu = number(value)?,
        "gso" => world.gso = number(value)?,
        "ipv6" => world.ipv6 = switch(value)?,
        "peer_isn" => world.peer_isn = number(value)?,
        "pool" => world.pool_buffers = number(value)?,
        "initial_window" => world.initial_window = Some(number(value)?),
        "tolerance" => world.tolerance = seconds(value)?.as_nanos() as u64,
        "ecn" => {
            config.ecn = value
                .parse()
                .map_err(|error: UnknownEcn| error.to_string())?
        }
        "acc_ecn_option" => {
            config.acc_ecn_option = match value {
                "never" => AccEcnOption::Never,
                "sparingly" => AccEcnOption::Sparingly,
                "always" => AccEcnOption::Always,
                "persistently" => AccEcnOption::Persistently,
                _ => return Err(format!("no way to send the option: {value}")),
            }
        }
        "acc_ecn_beacon" => config.acc_ecn_beacon = number(value)?,
        "ecn_fallback" => config.ecn_fallback = switch(value)?,
        "timestamps" => config.timestamps = switch(value)?,
        "sack" => config.sack = switch(value)?,
        "window_scaling" => config.window_scaling = switch(value)?,
        // As large a shift as the socket's largest window needs, or always the same one.
        "window_scale" if value == "needed" => config.window_scale = None,
        "window_scale" => config.window_scale = Some(number(value)?),
        "quick_ack" => config.quick_ack = switch(value)?,
        "push_ack" => {
            config.push_ack = match value {
                "at-once" => PushAck::AtOnce,
                "linux" => PushAck::UnlessInteractive,
                _ => return Err(format!("at-once or linux, not {value}")),
            }
        }
        "cookies" => {
            config.syn_cookies = match value {
                "always" => SynCookies::Always,
                "when-full" => SynCookies::WhenFull,
                "never" => SynCookies::Never,
                _ => return Err(format!("always, when-full or never, not {value}")),
            }
        }
        "half_open" => config.half_open = number(value)?,
        "connections" => config.connections = number(value)?,
        "orphans" => config.orphans = number(value)?,
        "time_waits" => config.time_waits = number(value)?,
        "fast_open_key" => {
            let key = super::action::hex(value)?;
            config.fast_open_key = Some(key.try_into().map_err(|_| "a key has 16 bytes")?);
        }
        "abort_on_overflow" => config.abort_on_overflow = switch(value)?,
        "syn_retries" => config.syn_retries = number(value)?,
        "syn_linear_timeouts" => config.syn_linear_timeouts = number(value)?,
        "syn_ack_retries" => config.syn_ack_retries = number(value)?,
        "retries" => config.retries = number(value)?,
        "orphan_retries" => config.orphan_retries = number(value)?,
        "receive_buffer" => config.receive_buffer = number(value)?,
        "receive_buffer_max" => config.receive_buffer_max = number(value)?,
        "send_buffer" => config.send_buffer = number(value)?,
        "challenge_acks" => config.challenge_acks = number(value)?,
        "time_wait_reuse" => config.time_wait_reuse = switch(value)?,
        "sack_compression" => config.sack_compression = switch(value)?,
        "tso_autosize" => config.tso_autosize = switch(value)?,
        "slow_start_after_idle" => config.slow_start_after_idle = switch(value)?,
        "loss_probes" => config.loss_probes = switch(value)?,
        "rfc1337" => config.rfc1337 = switch(value)?,
        "min_mss" => config.min_mss = number(value)?,
        _ => return Err(format!("unknown setting {name}")),
    }
    Ok(())
}

pub(crate) fn option(name: &str, value: &str) -> Result<SocketOption, String> {
    Ok(match name {
        "nodelay" => SocketOption::NoDelay(switch(value)?),
        "cork" => SocketOption::Cork(switch(value)?),
        "quickack" => SocketOption::QuickAck(switch(value)?),
        "keepalive" => SocketOption::KeepAlive(switch(value)?),
        "keepidle" => SocketOption::KeepAliveIdle(seconds(value)?),
        "keepintvl" => SocketOption::KeepAliveInterval(seconds(value)?),
        "keepcnt" => SocketOption::KeepAliveCount(number(value)?),
        "user_timeout" => SocketOption::UserTimeout(maybe_seconds(value)?),
        "linger" => SocketOption::Linger(maybe_seconds(value)?),
        "linger2" => SocketOption::FinTimeout(maybe_seconds(value)?),
        "syncnt" => SocketOption::SynRetries(number(value)?),
        "sndbuf" => SocketOption::SendBuffer(number(value)?),
        "rcvbuf" => SocketOption::ReceiveBuffer(number(value)?),
        "window_clamp" => SocketOption::WindowClamp(number(value)?),
        "defer_accept" => SocketOption::DeferAccept(seconds(value)?),
        "fast_open" => SocketOption::FastOpen(number(value)?),
        "fast_open_connect" => SocketOption::FastOpenConnect(switch(value)?),
        "rcvlowat" => SocketOption::ReceiveLowWater(number(value)?),
        "notsent_lowat" => SocketOption::UnsentLowWater(Some(number(value)?)),
        "maxseg" => SocketOption::MaxSegment(number(value)?),
        "congestion" => SocketOption::Congestion(
            value
                .parse()
                .map_err(|_| format!("unknown congestion control {value}"))?,
        ),
        "ttl" => SocketOption::HopLimit(Some(number(value)?)),
        _ => return Err(format!("unknown option {name}")),
    })
}

pub(crate) fn set(options: &mut SocketOptions, name: &str, value: &str) -> Result<(), String> {
    options
        .set(option(name, value)?)
        .map_err(|error| error.to_string())
}
