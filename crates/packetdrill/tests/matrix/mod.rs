//! One segment of every kind in every state of a connection: what it draws from a subject, and what
//! the application then sees.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

pub mod comparison;
pub mod connection;
pub mod exceptions;
pub mod probe;
pub mod start;
pub mod subject;
pub mod walk;

use std::fmt;

use connection::Connection;
use probe::Probe;
use start::Start;
use subject::Subject;

/// A segment that meets a connection.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub start: Start,
    /// With timestamps (RFC 7323).
    pub stamps: bool,
    pub probe: Probe,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamps = if self.stamps { ", timestamps" } else { "" };
        write!(f, "{:?}{stamps}: {}", self.start, self.probe)
    }
}

/// What came of a case, one line for each thing that happened.
pub type Outcome = Vec<String>;

/// Plays cases side by side, each with a connection of its own.
pub fn play(subject: &mut Subject<'_>, cases: &[Case]) -> Vec<Outcome> {
    let mut connections: Vec<Connection> = Vec::new();
    for case in cases {
        connections.push(case.start.reach(subject, case.stamps));
    }
    // What was delayed on the way there is over.
    subject.pause();
    for (case, connection) in cases.iter().zip(&mut connections) {
        connection.learn(subject);
        subject.inject(&case.probe.segment(connection));
    }
    subject.sync();
    subject.accept_all();
    // What was delayed comes, too.
    subject.pause();
    let mut outcomes = Vec::new();
    for connection in &mut connections {
        outcomes.push(connection.tell_segments(subject));
    }
    for (at, connection) in connections.iter_mut().enumerate() {
        connection.tell_calls(subject, at, &mut outcomes[at]);
    }
    subject.sync();
    for (connection, outcome) in connections.iter_mut().zip(&mut outcomes) {
        let later = connection.tell_segments(subject);
        outcome.extend(later.into_iter().map(|segment| format!("then {segment}")));
        connection.end(subject);
    }
    subject.sync();
    outcomes
}
