//! What must never happen, and what happened.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// A rule that holds at every step of every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Invariant {
    /// The bytes delivered are those sent, in order, from the first on.
    Content,
    /// The end of a stream is told after all of its data, and only if the sender ended it.
    End,
    /// Nothing is sent behind a FIN, and the FIN stands behind all data.
    FinLast,
    /// Nothing is sent beyond the right edge that the peer told.
    WindowObeyed,
    /// The right edge that a host tells never moves back (RFC 9293 section 3.8.6).
    EdgeKept,
    /// Acknowledgments never go back, and tell only of what arrived.
    Acknowledgment,
    /// SACK blocks lie within what arrived.
    Sack,
    /// A connection that was reset is silent.
    ResetLast,
    /// Frames that leave are well-formed, with right checksums.
    Wire,
    /// New data leaves only while the pipe is below the congestion window, which is at
    /// least one segment.
    Congestion,
    /// Whatever waits for the peer has a timer that ends the waiting, a zero window too.
    Timer,
    /// Nothing spins: at one instant, or from timer to timer.
    Rest,
    /// Once the network has healed, everything ends in a bounded time.
    Liveness,
    /// A connection fails only for a reason that the scenario gives.
    Failure,
    /// After the end every buffer and every entry of a table is given back.
    Baseline,
    /// An idle network is silent.
    Silence,
    /// A good network is used: no transfer takes several times as long as it has to.
    Goodput,
    /// Nothing panics.
    Panic,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in virtual time from the start.
    pub at: Duration,
    /// Which one.
    pub invariant: Invariant,
    /// What was seen, and what was expected.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            invariant,
            detail,
        } = self;
        write!(f, "{:.6} {invariant:?}: {detail}", at.as_secs_f64())
    }
}

/// How many violations are kept; the first ones tell most.
const KEPT: usize = 16;

/// Where all parts of a run report to. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Violations(Rc<RefCell<Vec<Violation>>>);

impl Violations {
    /// Adds one; those beyond the sixteenth are dropped.
    pub fn report(&self, at: Duration, invariant: Invariant, detail: impl Into<String>) {
        let mut list = self.0.borrow_mut();
        if list.len() < KEPT {
            list.push(Violation {
                at,
                invariant,
                detail: detail.into(),
            });
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// A copy of the list.
    pub fn to_vec(&self) -> Vec<Violation> {
        self.0.borrow().clone()
    }
}
