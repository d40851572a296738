//! What `zcn ping` counted.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::json;

/// Requests, answers, and how long they took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    sent: u64,
    received: u64,
    duplicates: u64,
    wrong: u64,
    errors: u64,
    min: f64,
    max: f64,
    sum: f64,
    sum_of_squares: f64,
    seconds: f64,
}

impl Tally {
    pub(super) fn count_sent(&mut self) {
        self.sent += 1;
    }

    pub(super) fn count_error(&mut self) {
        self.errors += 1;
    }

    pub(super) fn count_answer(&mut self, rtt: Duration, duplicate: bool, wrong: bool) {
        if wrong {
            self.wrong += 1;
        }
        if duplicate {
            self.duplicates += 1;
            return;
        }
        let millis = rtt.as_secs_f64() * 1e3;
        self.min = if self.received == 0 {
            millis
        } else {
            self.min.min(millis)
        };
        self.max = self.max.max(millis);
        self.sum += millis;
        self.sum_of_squares += millis * millis;
        self.received += 1;
    }

    pub(super) fn took(&mut self, time: Duration) {
        self.seconds = time.as_secs_f64();
    }

    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Requests that were answered, each once.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    pub(super) const fn errors(&self) -> u64 {
        self.errors
    }

    fn average(&self) -> f64 {
        self.sum / self.received.max(1) as f64
    }

    /// Standard deviation, as ping(8) gives it under the name mdev.
    fn deviation(&self) -> f64 {
        let average = self.average();
        let square = self.sum_of_squares / self.received.max(1) as f64 - average * average;
        square.max(0.0).sqrt()
    }

    /// Percent of the requests without an answer.
    fn loss(&self) -> f64 {
        100.0 * (1.0 - self.received as f64 / self.sent.max(1) as f64)
    }

    /// The statistics at the end, in the words of ping(8).
    pub(super) fn print(&self, host: &str, as_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if as_json {
            let line = json!({
                "kind": "statistics",
                "host": host,
                "sent": self.sent,
                "received": self.received,
                "duplicates": self.duplicates,
                "wrong": self.wrong,
                "errors": self.errors,
                "loss_percent": self.loss(),
                "seconds": self.seconds,
                "rtt_min_ms": self.min,
                "rtt_avg_ms": self.average(),
                "rtt_max_ms": self.max,
                "rtt_mdev_ms": self.deviation(),
            });
            return writeln!(out, "{line}");
        }
        writeln!(out, "\n--- {host} ping statistics ---")?;
        write!(
            out,
            "{} packets transmitted, {} received",
            self.sent, self.received
        )?;
        for (count, what) in [
            (self.duplicates, "duplicates"),
            (self.wrong, "with wrong data"),
            (self.errors, "errors"),
        ] {
            if count > 0 {
                write!(out, ", {count} {what}")?;
            }
        }
        writeln!(
            out,
            ", {}% packet loss, time {:.0}ms",
            Percent(self.loss()),
            self.seconds * 1e3
        )?;
        if self.received > 0 {
            writeln!(
                out,
                "rtt min/avg/max/mdev = {:.3}/{:.3}/{:.3}/{:.3} ms",
                self.min,
                self.average(),
                self.max,
                self.deviation()
            )?;
        }
        Ok(())
    }
}

/// Six digits of a percentage at most, none that say nothing.
struct Percent(f64);

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{:.4}", self.0);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_summed_up() {
        let mut tally = Tally::default();
        for _ in 0..4 {
            tally.count_sent();
        }
        for millis in [1, 3] {
            tally.count_answer(Duration::from_millis(millis), false, false);
        }
        tally.count_answer(Duration::from_millis(9), true, false);
        assert_eq!((tally.received(), tally.duplicates), (2, 1));
        assert_eq!((tally.min, tally.max, tally.average()), (1.0, 3.0, 2.0));
        assert!((tally.deviation() - 1.0).abs() < 1e-9);
        assert_eq!(Percent(tally.loss()).to_string(), "50");
        assert_eq!(Percent(100.0 / 3.0).to_string(), "33.3333");
        assert_eq!(Percent(0.0).to_string(), "0");
    }
}
