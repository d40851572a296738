//! Requests that wait for their answers.

use std::collections::VecDeque;
use std::time::Instant;

use crate::share::Share;

use super::event::SubmitId;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Configure,
    Subscribe {
        resume: bool,
    },
    Authorize,
    Submit {
        id: SubmitId,
        share: Share,
    },
    /// Something whose answer changes nothing.
    Wish,
}

impl Asked {
    /// The method, where an answer has to come.
    fn awaited(&self) -> Option<&'static str> {
        match self {
            Self::Subscribe { .. } => Some("mining.subscribe"),
            Self::Authorize => Some("mining.authorize"),
            Self::Submit { .. } => Some("mining.submit"),
            Self::Configure | Self::Wish => None,
        }
    }
}

/// In the order of their numbers, which is that of their times. Answers come in almost the same
/// order, so that a search from the front is short.
#[derive(Debug, Default)]
pub(super) struct Pending {
    requests: VecDeque<(u64, Asked, Instant)>,
    shares: usize,
}

impl Pending {
    pub(super) fn push(&mut self, id: u64, what: Asked, now: Instant) {
        self.shares += usize::from(matches!(what, Asked::Submit { .. }));
        self.requests.push_back((id, what, now));
    }

    pub(super) fn take(&mut self, id: u64) -> Option<(Asked, Instant)> {
        let at = self.requests.iter().position(|request| request.0 == id)?;
        let (_, what, when) = self.requests.remove(at)?;
        self.shares -= usize::from(matches!(what, Asked::Submit { .. }));
        Some((what, when))
    }

    /// Waits no more for anything of the kind; not for shares.
    pub(super) fn forget(&mut self, what: Asked) {
        self.requests.retain(|request| request.1 != what);
    }

    /// The oldest request whose answer has to come.
    pub(super) fn oldest(&self) -> Option<(&'static str, Instant)> {
        self.requests
            .iter()
            .find_map(|(_, what, when)| Some((what.awaited()?, *when)))
    }

    /// How many shares wait.
    pub(super) fn shares(&self) -> usize {
        self.shares
    }

    pub(super) fn unanswered(&self) -> impl Iterator<Item = (SubmitId, &Share)> {
        self.requests.iter().filter_map(|(_, what, _)| match what {
            Asked::Submit { id, share } => Some((*id, share)),
            _ => None,
        })
    }
}
