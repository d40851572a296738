//! The states of an entry, and what a neighbour says.

use zcn_wire::EthernetAddress;

use crate::time::Instant;

/// The states of RFC 4861 section 7.3.2, and one for entries that never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Asked for, not answered yet.
    Incomplete,
    /// Heard of lately.
    Reachable,
    /// Not heard of lately; used as it is.
    Stale,
    /// Stale and used: an upper layer may confirm it before it is probed.
    Delay,
    /// Being asked whether it is still there.
    Probe,
    /// Set by hand.
    Permanent,
}

/// What a message says of a neighbour's link address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Advertisement {
    /// The link address; an NDP advertisement may come without.
    pub(crate) link: Option<EthernetAddress>,
    /// It answers a question of ours.
    pub(crate) solicited: bool,
    /// It replaces a known link address.
    pub(crate) overrides: bool,
}

/// State of one entry with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Incomplete { sent: u8 },
    Reachable { until: Instant },
    Stale,
    Delay { until: Instant },
    Probe { sent: u8 },
    Permanent,
}

impl State {
    pub(crate) fn name(self) -> NeighbourState {
        match self {
            Self::Incomplete { .. } => NeighbourState::Incomplete,
            Self::Reachable { .. } => NeighbourState::Reachable,
            Self::Stale => NeighbourState::Stale,
            Self::Delay { .. } => NeighbourState::Delay,
            Self::Probe { .. } => NeighbourState::Probe,
            Self::Permanent => NeighbourState::Permanent,
        }
    }
}

/// What an advertisement does to an entry whose link address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// The neighbour was heard: reachable, with this link address.
    Reachable(EthernetAddress),
    /// The link address is this, unconfirmed.
    Stale(EthernetAddress),
}

/// RFC 4861 section 7.2.5, for an entry that is not INCOMPLETE.
pub(crate) fn effect(known: EthernetAddress, state: State, said: Advertisement) -> Effect {
    let link = said.link.unwrap_or(known);
    let differs = link != known;
    if differs && !said.overrides {
        // Somebody else answers: do not believe, but do not trust the old one, either.
        return match state {
            State::Reachable { .. } => Effect::Stale(known),
            _ => Effect::None,
        };
    }
    match (said.solicited, differs) {
        (true, _) => Effect::Reachable(link),
        (false, true) => Effect::Stale(link),
        (false, false) => Effect::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_rfc_4861_appendix_c() {
        let old = EthernetAddress([2, 0, 0, 0, 0, 1]);
        let new = EthernetAddress([2, 0, 0, 0, 0, 2]);
        let reachable = State::Reachable {
            until: Instant::from_secs(1),
        };
        let probe = State::Probe { sent: 1 };
        // State, link address, solicited, override: effect.
        let table = [
            (probe, Some(new), false, false, Effect::None),
            (probe, Some(new), true, false, Effect::None),
            (reachable, Some(new), true, false, Effect::Stale(old)),
            (reachable, Some(new), false, false, Effect::Stale(old)),
            (State::Stale, Some(new), true, false, Effect::None),
            (State::Stale, Some(old), true, false, Effect::Reachable(old)),
            (State::Stale, None, true, false, Effect::Reachable(old)),
            (State::Stale, Some(old), false, true, Effect::None),
            (State::Stale, None, false, true, Effect::None),
            (reachable, Some(new), false, true, Effect::Stale(new)),
            (reachable, Some(new), true, true, Effect::Reachable(new)),
            (probe, Some(old), true, true, Effect::Reachable(old)),
        ];
        for (state, link, solicited, overrides, expected) in table {
            let said = Advertisement {
                link,
                solicited,
                overrides,
            };
            assert_eq!(effect(old, state, said), expected, "{state:?} {said:?}");
        }
    }
}
