//! Listeners: an address and port, and the connections that wait to be accepted.

use std::collections::VecDeque;
use std::sync::Arc;

use super::config::TcpConfig;
use super::socket_options::SocketOptions;
use crate::demux::Binding;
use crate::event::Readiness;
use crate::slab::Id;
use crate::time::Instant;

/// Half-open connections that a listener may have, however small its backlog.
const HALF_OPEN_MIN: usize = 64;

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) binding: Binding,
    pub(crate) options: Arc<SocketOptions>,
    /// Connections that may wait to be accepted; like Linux one more than said.
    pub(crate) backlog: usize,
    /// Established and not accepted, in the order of their handshakes.
    pub(crate) ready: VecDeque<Id>,
    /// Half-open connections.
    pub(crate) half_open: usize,
    /// A cookie was sent last at this time: only then may an ACK out of nowhere be one.
    pub(crate) last_cookie: Instant,
    /// Connections whose SYN brought a good cookie, and maybe some whose handshake is over.
    pub(crate) fast_opens: Vec<Id>,
    pub(crate) pending: Readiness,
}

impl Listener {
    pub(crate) fn new(binding: Binding, backlog: usize, options: SocketOptions) -> Self {
        Self {
            binding,
            options: Arc::new(options),
            backlog,
            ready: VecDeque::new(),
            half_open: 0,
            last_cookie: Instant::ZERO,
            fast_opens: Vec::new(),
            pending: Readiness::NONE,
        }
    }

    /// Whether a further connection must wait outside.
    pub(crate) fn is_full(&self) -> bool {
        self.ready.len() > self.backlog
    }

    /// How many times the SYN-ACK of a handshake that waits for data is sent again at most
    /// before a bare acknowledgement will do (TCP_DEFER_ACCEPT); 0: it does not wait.
    pub(crate) fn deferrals(&self, config: &TcpConfig) -> u8 {
        let Some(wait) = self.options.defer_accept else {
            return 0;
        };
        let (mut timeouts, mut timeout) = (1, config.syn_timeout);
        let mut passed = timeout;
        while passed < wait && timeouts < config.syn_ack_retries {
            timeout *= 2;
            passed += timeout;
            timeouts += 1;
        }
        timeouts
    }

    /// Whether its share of the table of half-open connections is used up: one listener
    /// under a flood must not take the table from the others.
    pub(crate) fn has_too_many_half_open(&self) -> bool {
        self.half_open >= self.backlog.max(HALF_OPEN_MIN)
    }
}
