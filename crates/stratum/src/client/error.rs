//! What ends a miner's session, and why a share is not sent.

use std::time::Duration;

use thiserror::Error;

use crate::job::JobError;
use crate::line::LineTooLong;
use crate::message::MessageError;
use crate::reject::Rejection;
use crate::target::TargetError;

/// What ended a session. The connection is of no more use.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The pool sends lines without end.
    #[error("the pool sent {0}")]
    Line(#[from] LineTooLong),
    /// The pool sends something else than Stratum.
    #[error("the pool sent {0}")]
    Message(#[from] MessageError),
    /// The pool hands out a job that is none.
    #[error("the pool sent a bad job: {0}")]
    Job(#[from] JobError),
    /// The pool sets a difficulty that is none.
    #[error("the pool set a bad difficulty: {0}")]
    Difficulty(#[from] TargetError),
    /// The pool talks faster than anybody has something to say.
    #[error("the pool sent more than {max} messages in ten seconds")]
    Flood {
        /// The bound.
        max: u32,
    },
    /// The pool asks and does not read the answers.
    #[error("the pool asks without reading the answers")]
    NotReading,
    /// The pool does not let us subscribe.
    #[error("the pool refused the subscription: {0}")]
    SubscribeRefused(Rejection),
    /// The pool does not know the worker.
    #[error("the pool refused the worker: {0}")]
    Unauthorized(Rejection),
    /// The pool leaves something unanswered.
    #[error("no answer to {method} within {after:?}")]
    Unanswered {
        /// What was asked.
        method: &'static str,
        /// How long an answer was waited for.
        after: Duration,
    },
    /// The pool says nothing at all.
    #[error("not a word from the pool for {after:?}")]
    Silent {
        /// For how long.
        after: Duration,
    },
}

/// Why a share was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Subscription or authorisation is not answered yet, or the session is over: keep the
    /// share.
    #[error("the session is not ready")]
    NotReady,
    /// Its job is over.
    #[error("the job of the share is over")]
    Stale,
    /// It was sent before.
    #[error("the share was sent before")]
    Duplicate,
    /// Too many wait for their answers: keep the share.
    #[error("too many shares wait for their answers")]
    Busy,
}
