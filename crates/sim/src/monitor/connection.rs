//! Invariants of connections, as `TcpInfo` shows them.

use std::time::Duration;

use zcn_stack::slab::Id;
use zcn_stack::tcp::{State, TcpInfo};

use crate::node::Node;
use crate::violation::{Invariant, Violations};

/// Segments that may leave beyond the congestion window: limited transmit (RFC 3042) or a
/// tail-loss probe (RFC 8985 section 7), and one that is not full.
const BEYOND_CWND: u32 = 3;

/// What the connections of a node had under way.
#[derive(Debug, Default)]
pub(crate) struct Pipes(Vec<(Id, TcpInfo)>);

/// Segments under way (RFC 6675 section 2, in segments as Linux counts them).
fn pipe(info: &TcpInfo) -> u32 {
    (info.tcpi_unacked + info.tcpi_retrans).saturating_sub(info.tcpi_sacked + info.tcpi_lost)
}

fn sent_once(info: &TcpInfo) -> u64 {
    info.tcpi_bytes_sent.saturating_sub(info.tcpi_bytes_retrans)
}

/// Bytes under way. Segments that are known to have left the network are taken for full
/// ones, so it may be less than there is.
fn pipe_bytes(info: &TcpInfo) -> u64 {
    let mss = u64::from(info.tcpi_snd_mss);
    let left = mss * u64::from(info.tcpi_sacked + info.tcpi_lost);
    let flight = sent_once(info).saturating_sub(info.tcpi_bytes_acked);
    (flight + mss * u64::from(info.tcpi_retrans)).saturating_sub(left)
}

fn infos(node: &Node) -> impl Iterator<Item = (Id, TcpInfo)> {
    node.stack.tcp_connections().filter_map(|id| {
        // Of the clock only differences are shown, and none of these is looked at.
        let now = zcn_stack::Instant::ZERO;
        node.stack.tcp_info(now, id).map(|info| (id, info))
    })
}

impl Pipes {
    pub(super) fn of(node: &Node) -> Self {
        Self(infos(node).collect())
    }

    /// Compares with what is under way now.
    pub(super) fn check(&self, at: Duration, node: &Node, violations: &Violations) {
        for (id, info) in infos(node) {
            let before = self.0.iter().find(|(other, _)| *other == id);
            let Some((_, before)) = before else { continue };
            if info.tcpi_snd_cwnd == 0 {
                let fault = format!("n{} {id}: a congestion window of nothing", node.id.0);
                violations.report(at, Invariant::Congestion, fault);
            }
            let new = sent_once(&info) > sent_once(before);
            let allowed = info.tcpi_snd_cwnd.max(pipe(before)) + BEYOND_CWND;
            // The window counts bytes: small segments may be more than it shows.
            let bytes = u64::from(allowed) * u64::from(info.tcpi_snd_mss);
            if new && pipe(&info) > allowed && pipe_bytes(&info) > bytes {
                let fault = format!(
                    "n{} {id}: new data makes the pipe {} segments, {} bytes, cwnd is {} segments",
                    node.id.0,
                    pipe(&info),
                    pipe_bytes(&info),
                    info.tcpi_snd_cwnd
                );
                violations.report(at, Invariant::Congestion, fault);
            }
        }
    }
}

/// Whatever waits for the peer has a timer; called when nothing more happens at this
/// instant.
pub(super) fn check_timers(at: Duration, node: &mut Node, violations: &Violations) {
    for (id, info) in infos(node) {
        let over = matches!(info.tcpi_state, State::Closed | State::TimeWait);
        let waits = !over && (info.tcpi_unacked > 0 || info.tcpi_notsent_bytes > 0);
        if waits && node.stack.tcp_deadline(id).is_none() {
            let fault = format!(
                "n{} {id}: {} segments unacknowledged, {} bytes unsent, a window of {}, and no timer ({:?})",
                node.id.0,
                info.tcpi_unacked,
                info.tcpi_notsent_bytes,
                info.tcpi_snd_wnd,
                info.tcpi_state
            );
            violations.report(at, Invariant::Timer, fault);
        }
    }
}
