//! Connections begin: actively, or out of a half-open entry.

use core::time::Duration;
use std::sync::Arc;

use zcn_wire::{Ecn as Codepoint, SeqNum, WindowScale};

use super::accurate::AccurateEcn;
use super::ack::AckPolicy;
use super::config::{Ecn, TcpConfig};
use super::connection::{Common, Connection, Counters, Flags};
use super::path::Path;
use super::sender::{Sender, SenderConfig};
use super::socket_options::SocketOptions;
use super::stamp::Stamp;
use super::state::State;
use super::syncache::{ECN, HalfOpen, SACK, TIMESTAMPS, WINDOW_SCALE};
use super::timestamps::Timestamps;
use super::tuple::Tuple;
use super::window::ReceiveWindow;
use crate::event::Readiness;
use crate::time::Instant;

/// What is announced at least, however small the MTU, as on Linux: more comes in fragments.
const LEAST_ADVERTISED: u32 = 256;

/// The MSS option for a path (RFC 6691: options are not subtracted).
pub(crate) fn advertised_mss(path: &Path, ipv6: bool, options: &SocketOptions) -> u16 {
    let headers = if ipv6 { 60 } else { 40 };
    let mss = path.mtu.saturating_sub(headers);
    let mss = mss.clamp(LEAST_ADVERTISED, u32::from(u16::MAX)) as u16;
    mss.min(options.max_segment.unwrap_or(u16::MAX)).max(48)
}

/// The receive window of a new connection. `timestamps`: they will take room in every
/// segment.
pub(crate) fn first_window(
    now: Instant,
    config: &TcpConfig,
    options: &SocketOptions,
    scale: u8,
    mss: u16,
    timestamps: bool,
) -> ReceiveWindow {
    let room = if timestamps { 12 } else { 0 };
    ReceiveWindow::new(
        now,
        options.receive_limit().unwrap_or(config.receive_buffer),
        options.receive_limit().is_none(),
        scale,
        u32::from(mss).saturating_sub(room).max(1),
        None,
    )
}

/// The shift count that a socket offers: what its largest window needs.
pub(crate) fn offered_scale(config: &TcpConfig, options: &SocketOptions) -> u8 {
    match (
        config.window_scaling,
        config.window_scale,
        options.receive_limit(),
    ) {
        (false, ..) => 0,
        (true, None, Some(bytes)) => WindowScale::for_window(bytes).shift(),
        _ => config.offered_window_scale(),
    }
}

/// What both kinds of open know.
pub(crate) struct Opening<'a> {
    pub(crate) now: Instant,
    pub(crate) tuple: Tuple,
    pub(crate) path: &'a Path,
    pub(crate) options: Arc<SocketOptions>,
    pub(crate) iss: SeqNum,
    /// What is added to the clock of timestamps.
    pub(crate) offset: u32,
}

impl Connection {
    fn begin(common: &Common, opening: Opening<'_>, state: State) -> Self {
        let Opening {
            now,
            tuple,
            path,
            options,
            iss,
            offset,
        } = opening;
        let config = &common.config;
        let advertised = advertised_mss(path, tuple.is_ipv6(), &options);
        let scale = offered_scale(config, &options);
        let window = first_window(now, config, &options, scale, advertised, false);
        // Replaced when the handshake is complete; until then it only knows where data will begin.
        let mut sender = SenderConfig::new(iss + 1_u32, advertised);
        sender.snd_wnd = 0;
        let initial = path.initial_window.map_or(0, |n| n.min(255) as u8);
        Self {
            tuple,
            state,
            error: None,
            flags: Flags::default(),
            sender: Sender::new(&sender, now),
            send_queue: None,
            small_end: iss,
            write_end: iss + 1_u32,
            snd_scale: 0,
            initial_window: initial,
            peer_mss: advertised,
            mss: advertised,
            advertised_mss: advertised,
            mtu: path.mtu,
            gso_max_size: path.gso_max_size,
            deficit: 0,
            receive_queue: None,
            rcv_nxt: SeqNum(0),
            rcv_wup: SeqNum(0),
            received: 0,
            window,
            ack: AckPolicy::new(),
            timestamps: Timestamps {
                enabled: config.timestamps,
                offset,
                ..Timestamps::default()
            },
            dsack: (iss, iss),
            fin_at: SeqNum(0),
            probe_deadline: Instant::MAX,
            long_deadline: Instant::MAX,
            stalled_since: Instant::MAX,
            last_ack_in: Stamp::of(now),
            accurate: None,
            probes: 0,
            backoff: 0,
            signals: Readiness::NONE,
            pending: Readiness::NONE,
            options,
            counters: Counters::default(),
        }
    }

    /// SYN-SENT; the SYN leaves with the next output.
    pub(crate) fn active(common: &Common, opening: Opening<'_>) -> Self {
        let now = opening.now;
        let mut connection = Self::begin(common, opening, State::SynSent);
        let config = &common.config;
        connection.flags.set(Flags::SYN_DUE, true);
        connection.flags.set(Flags::SACK, config.sack);
        connection
            .flags
            .set(Flags::ECN, config.ecn.offers_classic());
        if config.ecn == Ecn::Accurate {
            connection.accurate = Some(Box::new(AccurateEcn::new(Codepoint::NotEct.bits())));
        }
        connection.flags.set(Flags::SCALING, config.window_scaling);
        connection.probe_deadline = now + config.syn_timeout;
        connection
    }

    /// SYN-RECEIVED, out of an entry whose SYN-ACK has just been acknowledged; the segment
    /// that did it is handled next.
    pub(crate) fn passive(common: &Common, opening: Opening<'_>, entry: &HalfOpen) -> Self {
        let now = opening.now;
        let mut connection = Self::begin(common, opening, State::SynReceived);
        let config = &common.config;
        connection.rcv_nxt = entry.irs + 1_u32;
        connection.rcv_wup = connection.rcv_nxt;
        connection.peer_mss = entry.mss.max(config.min_mss);
        connection.flags.set(Flags::SACK, entry.has(SACK));
        connection.flags.set(Flags::ECN, entry.has(ECN));
        connection.accurate = entry.accurate.open();
        let accurate = connection.accurate.is_some();
        connection.flags.set(Flags::ACC_ECN, accurate);
        connection.flags.set(Flags::UNACCEPTED, true);
        if entry.has(WINDOW_SCALE) {
            connection.flags.set(Flags::SCALING, true);
            connection.snd_scale = entry.scale();
        } else {
            connection.window.scale = 0;
        }
        connection.timestamps.enabled = entry.has(TIMESTAMPS);
        connection.timestamps.recent = entry.ts_recent;
        connection.timestamps.recent_at = entry.sent_at;
        connection.window = first_window(
            now,
            config,
            &connection.options,
            connection.window.scale,
            connection.advertised_mss,
            connection.timestamps.enabled,
        );
        connection.mss = connection.effective_mss(config);
        let rcv_wnd = connection.window.wnd;
        let mss = u32::from(connection.advertised_mss.min(connection.mss));
        connection.ack.set_initial_mss(mss, rcv_wnd);
        connection.probes = entry.retries();
        let waited = super::timestamps::clock(now).wrapping_sub(entry.sent_at);
        // The SYN came before there was a connection.
        connection.counters.segs_in = 1;
        connection.stalled_since = now - Duration::from_millis(u64::from(waited));
        connection
    }

    /// The initial window that the route prescribes, in segments.
    pub(crate) fn initial_window(&self) -> Option<u32> {
        (self.initial_window > 0).then_some(u32::from(self.initial_window))
    }
}
