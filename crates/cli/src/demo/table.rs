//! The demonstration for people.

use std::fmt::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use zcn_measure::statistics::Summary;
use zcn_measure::table::number;

use super::Story;
use super::contest::{CONNECTIONS, MESSAGE_BYTES, Track, Values, middle};

/// Headings of the table; the second line holds the units.
pub(super) const HEADINGS: [(&str, &str); 8] = [
    ("server", ""),
    ("RTT p50", "µs"),
    ("p99", "µs"),
    ("p99.9", "µs"),
    ("requests", "1/s"),
    ("stream", "Gbit/s"),
    ("CPU/request", "µs"),
    ("calls/request", ""),
];

/// Cells of one contender, in the order of [`HEADINGS`].
pub(super) fn cells(track: &Track) -> [String; HEADINGS.len()] {
    let us = |ns: f64| fixed(ns / 1000.0);
    let spread = match Summary::of(&track.requests) {
        Some(summary) if track.requests.len() > 1 => {
            let half = (summary.high - summary.low) / summary.median * 50.0;
            format!(" ±{half:.0}%")
        }
        _ => String::new(),
    };
    [
        track.name.to_owned(),
        us(track.rtt("p50")),
        us(track.rtt("p99")),
        us(track.rtt("p99.9")),
        number(middle(&track.requests).round()) + &spread,
        fixed(middle(&track.gigabits)),
        format!("{:.2}", middle(&track.cpu_ns) / 1000.0),
        format!("{:.3}", middle(&track.syscalls)),
    ]
}

fn fixed(value: f64) -> String {
    match value {
        _ if value >= 1000.0 => number(value.round()),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

/// The whole text.
pub(super) fn text(story: &Story) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(HEADINGS.map(|(heading, _)| heading));
    table.add_row(HEADINGS.map(|(_, unit)| right(unit)));
    for column in 1..HEADINGS.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for track in &story.contest.tracks {
        table.add_row(cells(track));
    }
    let mut text = format!("\n{}\n\n", table.trim_fmt());
    for line in beside(story) {
        let _ = writeln!(text, "{line}");
    }
    let _ = writeln!(text, "{}\n", account(story));
    for note in notes(story) {
        wrap(&mut text, &note);
    }
    text.push_str(&super::user_space::show::text(&story.user_space));
    text
}

fn right(text: &str) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// zcn beside its peers, in words.
pub(super) fn beside(story: &Story) -> Vec<String> {
    let contest = &story.contest;
    let mut lines = Vec::new();
    for track in &contest.tracks {
        let Some(peer) = contest.peer(track) else {
            continue;
        };
        let figures: [(&str, Values); 4] = [
            ("requests", |track| &track.requests),
            ("Gbit/s", |track| &track.gigabits),
            ("CPU", |track| &track.cpu_ns),
            ("calls", |track| &track.syscalls),
        ];
        let parts: Vec<String> = figures
            .iter()
            .filter_map(|(what, values)| {
                let beside = contest.compare(track, *values)?;
                let doubt = if beside.unclear { " (noise)" } else { "" };
                Some(format!("{what} ×{:.2}{doubt}", beside.ratio))
            })
            .collect();
        lines.push(format!(
            "{} beside {}: {}",
            track.name,
            peer.name,
            parts.join(", ")
        ));
    }
    lines
}

/// Bytes and buffers.
pub(super) fn account(story: &Story) -> String {
    let (contest, account) = (&story.contest, &story.account);
    let buffers = match account.missing() {
        0 => format!(
            "{} of {} buffers home after each of zcn's {} runs",
            account.each, account.each, account.runs
        ),
        missing => format!("{missing} of {} buffers did NOT come home", account.total),
    };
    format!(
        "{} MB echoed over {} connections, every byte checked, none wrong; {buffers}",
        number((contest.bytes as f64 / 1e6).round()),
        contest.connections,
    )
}

/// What the figures mean, and what they do not.
pub(super) fn notes(story: &Story) -> Vec<String> {
    let plan = &story.plan;
    let rounds = match plan.rounds {
        1 => "one round (--seconds 20 makes it three)".to_owned(),
        rounds => format!("medians of {rounds} alternating rounds"),
    };
    let mut notes = vec![
        format!(
            "{}; {rounds}, {} ms each; {:.0} s in all.",
            story.environment,
            plan.sample.as_millis(),
            story.took.as_secs_f64()
        ),
        format!(
            "RTT: one {MESSAGE_BYTES}-byte message at a time on one TCP connection, full round \
             trip. Requests: {CONNECTIONS} connections, each with one {MESSAGE_BYTES}-byte message \
             on its way. Stream: 64 KiB messages back to back, counted in one direction."
        ),
        "Servers that spin look for work all the time and burn their core, and so does their \
         client; the others sleep, so that most of their round trip is two wake-ups. CPU is the \
         server's own, kernel included; calls are those that the server made."
            .to_owned(),
        "Loopback: the kernel copies every byte once on the way in and once on the way out, \
         whoever serves; zero-copy here means that zcn adds no copy of its own. No network card is \
         involved, and a busy or virtual machine moves every figure: believe ratios of one run, \
         and only those not marked as noise."
            .to_owned(),
    ];
    if let Some(others) = story.others.filter(|others| *others > 0.03) {
        notes.insert(
            0,
            format!(
                "Other programs took {:.0}% of this machine's CPU time meanwhile, at the cost of \
                 every figure here.",
                others * 100.0
            ),
        );
    }
    if let Some(reason) = &story.refused {
        notes.insert(
            0,
            format!(
                "io_uring is not used here, so zcn ran on epoll: {reason}. `zcn doctor` tells more."
            ),
        );
    }
    if story.environment.cores == 1 {
        notes.push(
            "One core: server and client took turns on it, which lengthens every round trip."
                .to_owned(),
        );
    }
    notes
}

/// Columns of a note.
const WIDTH: usize = 96;

pub(super) fn wrap(text: &mut String, note: &str) {
    let mut column = 0;
    for word in note.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}
