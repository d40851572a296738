//! What a terminal shows of a miner: a few lines at its bottom, brought up to date each second;
//! what happens scrolls above them.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::status::Summary;
use crate::pool::say;

/// Where a miner prints.
#[derive(Clone)]
pub(super) struct View {
    json: bool,
    /// Hidden where there is no terminal, or none is wanted.
    lines: ProgressBar,
}

impl View {
    pub(super) fn new(json: bool, plain: bool) -> Self {
        let live = !json && !plain && io::stdout().is_terminal() && io::stderr().is_terminal();
        let target = if live {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let lines = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            lines.set_style(style);
        }
        Self { json, lines }
    }

    /// Whether there are lines that [`show`](Self::show) can change.
    pub(super) fn is_live(&self) -> bool {
        !self.lines.is_hidden()
    }

    /// Prints what happened.
    pub(super) fn say(&self, object: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        self.lines.suspend(|| say(self.json, object, text));
    }

    /// Brings the lines up to date.
    pub(super) fn show(&self, summary: &Summary) {
        self.lines.set_message(lines(summary));
    }

    /// Takes the lines away.
    pub(super) fn end(&self) {
        self.lines.finish_and_clear();
    }
}

fn lines(summary: &Summary) -> String {
    let rates = &summary.hashes_per_second;
    let (to_hash, answer) = (&summary.packet_to_hash_us, &summary.acknowledge_us);
    let mega = |rate: f64| rate / 1e6;
    let temperature = match summary.temperature_c {
        Some(degrees) => format!(", {degrees:.0} °C"),
        None => String::new(),
    };
    let pool = match (&summary.pool, summary.difficulty) {
        (Some(pool), Some(difficulty)) => format!("{pool}, difficulty {difficulty}"),
        (Some(pool), None) => format!("{pool}, no job yet"),
        (None, _) => "none takes shares".to_owned(),
    };
    let Summary {
        threads,
        engine,
        accepted,
        rejected,
        stale,
        lost,
        ..
    } = summary;
    format!(
        "  rate     10 s {:.2}  60 s {:.2}  15 min {:.2} MH/s on {threads} threads of {engine}{temperature}\n  \
         shares   {accepted} accepted, {rejected} rejected, {stale} stale, {lost} lost; answers p50 {:.1} ms, p99 {:.1} ms\n  \
         latency  packet to hash p50 {:.1} us, p99 {:.1} us, {} jobs\n  \
         pool     {pool}",
        mega(rates.ten_seconds),
        mega(rates.minute),
        mega(rates.quarter),
        answer.p50 / 1e3,
        answer.p99 / 1e3,
        to_hash.p50,
        to_hash.p99,
        summary.jobs,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mine::status::Status;
    use zcn_miner::rig::RigMeter;
    use zcn_sha256d::EngineKind;

    #[test]
    fn the_lines_say_what_there_is() {
        let status = Status::new(EngineKind::Scalar, 2, Vec::new(), RigMeter::new());
        let mut summary = status.summary();
        summary.temperature_c = None;
        let text = lines(&summary);
        assert_eq!(text.lines().count(), 4);
        assert!(
            text.contains("none takes shares") && !text.contains("°C"),
            "{text}"
        );
        summary.hashes_per_second.ten_seconds = 12_345_678.0;
        summary.temperature_c = Some(61.2);
        summary.pool = Some("stratum+tcp://a:1".to_owned());
        summary.difficulty = Some(0.5);
        let text = lines(&summary);
        for part in [
            "10 s 12.35",
            "61 °C",
            "a:1, difficulty 0.5",
            "2 threads of scalar",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn nothing_is_live_where_json_is_asked_for() {
        assert!(!View::new(true, false).is_live());
        assert!(!View::new(false, true).is_live());
    }
}
