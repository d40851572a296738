//! The demonstration as JSON, one object a line.

use std::io::{self, Write};

use serde_json::json;
use zcn_measure::row::Row;

use super::Story;
use super::contest::{LADDER, Track, Values, middle};

/// Writes one line for the environment, one for each figure, and one for the
/// account at the end. `kind` tells them apart.
pub(super) fn write(story: &Story, out: &mut impl Write) -> io::Result<()> {
    let environment = &story.environment;
    let line = json!({
        "kind": "environment",
        "kernel": environment.kernel,
        "cpu": environment.cpu,
        "cores": environment.cores,
        "congestion_control": environment.congestion_control,
        "date": environment.date,
        "io_uring": story.refused.is_none(),
        "io_uring_refused": story.refused,
        "rounds": story.plan.rounds,
        "sample_seconds": story.plan.sample.as_secs_f64(),
        "other_programs_cpu": story.others,
    });
    writeln!(out, "{line}")?;
    for track in &story.contest.tracks {
        for row in rows(story, track) {
            let mut line = serde_json::to_value(&row)?;
            line["kind"] = "figure".into();
            writeln!(out, "{line}")?;
        }
    }
    super::user_space::show::lines(&story.user_space, out)?;
    let account = &story.account;
    let line = json!({
        "kind": "account",
        "bytes_checked": story.contest.bytes,
        "connections": story.contest.connections,
        "errors": 0,
        "zcn_runs": account.runs,
        "buffers_each": account.each,
        "buffers": account.total,
        "buffers_home": account.home,
        "loans": account.loans,
        "seconds": story.took.as_secs_f64(),
    });
    writeln!(out, "{line}")
}

fn rows(story: &Story, track: &Track) -> Vec<Row> {
    let mut rows = Vec::new();
    for ((step, _), values) in LADDER.iter().zip(&track.rtt_ns) {
        let metric = format!("rtt_{step}");
        rows.push(Row::new("demo", track.name, metric, middle(values), "ns"));
    }
    let figures: [(&str, &str, Values); 4] = [
        ("requests", "1/s", |track| &track.requests),
        ("throughput", "Gbit/s", |track| &track.gigabits),
        ("server_cpu_per_request", "ns", |track| &track.cpu_ns),
        ("syscalls_per_request", "calls", |track| &track.syscalls),
    ];
    for (metric, unit, values) in figures {
        let row = Row::new("demo", track.name, metric, middle(values(track)), unit);
        rows.push(match story.contest.compare(track, values) {
            Some(beside) => row.versus(track.versus.unwrap_or_default(), beside.ratio),
            None => row,
        });
    }
    rows
}
