//! The user-space half beside the kernel's: the kernel's own clients drive a stack of ours
//! across a TAP device, and the kernel's stack across a veth pair, in namespaces that the
//! demonstration makes.

mod clients;
mod memory;
mod party;
mod programs;
mod services;
pub(super) mod show;

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use zcn_measure::statistics::Summary;
use zcn_sys::namespace::{enter_new_network, enter_new_user};

use crate::failure::Failure;
use clients::Client;
use party::Party;

/// How the stack meets its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// In namespaces of our own, across devices.
    Namespaces,
    /// Those are refused, for this reason: through memory, another stack of ours.
    Memory(String),
}

/// What one server came to, a value a round.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    pub(super) name: &'static str,
    /// One message at a time, µs.
    pub(super) rtt_us: Vec<f64>,
    /// To the server, Gbit/s.
    pub(super) to_server: Vec<f64>,
    /// From the server, Gbit/s.
    pub(super) from_server: Vec<f64>,
}

/// The middle of some rounds; `None` when nothing was measured.
pub(super) fn middle(values: &[f64]) -> Option<f64> {
    Summary::of(values).map(|summary| summary.median)
}

/// What is to be told of the user-space half.
#[derive(Clone, Debug)]
pub(super) struct UserSpace {
    pub(super) ground: Ground,
    pub(super) tracks: Vec<Track>,
    /// What unmodified programs said, a line each.
    pub(super) programs: Vec<String>,
    /// Bytes that were received and compared.
    pub(super) bytes: u64,
    /// The capture, and how many bytes it has.
    pub(super) capture: Option<(PathBuf, u64)>,
}

/// Makes sure that namespaces can be made, by becoming root of a user namespace where that
/// is what it takes. To be called before the process has threads.
///
/// # Errors
/// Why they cannot.
pub(super) fn prepare() -> Result<(), String> {
    let try_it = || {
        thread::spawn(enter_new_network)
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    };
    if try_it().is_ok() {
        return Ok(());
    }
    enter_new_user()
        .and_then(|()| try_it())
        .map_err(|error| format!("namespaces are refused: {error}"))
}

/// Shows and measures the user-space half, `sample` for each figure.
///
/// # Errors
/// A byte came back wrong, or a party failed.
pub(super) fn run(
    prepared: Result<(), String>,
    rounds: usize,
    sample: Duration,
    capture: Option<&Path>,
) -> Result<UserSpace, Failure> {
    let parties = prepared.and_then(|()| {
        Party::all().map_err(|failure| failure.to_string().trim().replace('\n', ";"))
    });
    match parties {
        Ok(parties) => in_namespaces(&parties, rounds, sample, capture),
        Err(reason) => memory::run(reason, rounds, sample, capture),
    }
}

fn in_namespaces(
    parties: &[Party],
    rounds: usize,
    sample: Duration,
    capture: Option<&Path>,
) -> Result<UserSpace, Failure> {
    let mut story = UserSpace {
        ground: Ground::Namespaces,
        tracks: parties
            .iter()
            .map(|party| Track {
                name: party.name,
                ..Track::default()
            })
            .collect(),
        programs: Vec::new(),
        bytes: 0,
        capture: None,
    };
    if let Some(ours) = parties.iter().find(|party| party.is_ours()) {
        // The captured part is short: what is measured would fill the disk.
        let server = ours.start(capture)?;
        story.programs = programs::run(ours.clients(), capture.is_some())?;
        server.stop()?;
        story.capture = capture.map(written).transpose()?;
    }
    for round in 0..rounds {
        for place in 0..parties.len() {
            // Forward and backward, so that nobody always follows the same.
            let index = match round % 2 {
                0 => place,
                _ => parties.len() - 1 - place,
            };
            let party = &parties[index];
            let server = party.start(None)?;
            let client = Client::new(party.clients(), sample);
            let track = &mut story.tracks[index];
            track.rtt_us.push(client.round_trips()?);
            track.to_server.push(client.send()?);
            track.from_server.push(client.receive()?);
            story.bytes += client.checked();
            server.stop()?;
        }
    }
    Ok(story)
}

/// The capture that a stack has written, and how many bytes it has.
///
/// # Errors
/// There is nothing in it, not even its header.
fn written(path: &Path) -> Result<(PathBuf, u64), Failure> {
    match std::fs::metadata(path).map(|file| file.len()) {
        Ok(len) if len > 0 => Ok((path.to_owned(), len)),
        _ => Err(
            Failure::new(format!("cannot write the capture to {}", path.display()))
                .remedy("a file in a directory that you may write to, and room on the disk"),
        ),
    }
}
