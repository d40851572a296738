//! One figure of a benchmark, as it is printed.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// One figure: what was measured, of whom, and beside whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the benchmark, for example `echo`.
    pub bench: String,
    /// The situation and who was measured in it.
    pub case: String,
    /// What was measured, for example `rtt_p50`.
    pub metric: String,
    /// The median over all rounds, in `unit`.
    pub value: f64,
    /// Unit of `value`, for example `ns`.
    pub unit: String,
    /// Who `ratio` compares with; `None` for a figure that stands alone.
    pub versus: Option<String>,
    /// Median over the rounds of this value divided by the peer's of the same round.
    pub ratio: Option<f64>,
    /// Distance between the quartiles over the rounds, as a share of the median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// What the figure is meant to reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Whether it was reached; `None` without a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

impl Row {
    /// A figure that stands alone.
    pub fn new(
        bench: impl Into<String>,
        case: impl Into<String>,
        metric: impl Into<String>,
        value: f64,
        unit: impl Into<String>,
    ) -> Self {
        Self {
            bench: bench.into(),
            case: case.into(),
            metric: metric.into(),
            value,
            unit: unit.into(),
            versus: None,
            ratio: None,
            spread: None,
            target: None,
            met: None,
        }
    }

    /// Sets the peer that the figure is compared with, and the ratio to it.
    #[must_use]
    pub fn versus(mut self, peer: impl Into<String>, ratio: f64) -> Self {
        self.versus = Some(peer.into());
        self.ratio = Some(ratio);
        self.judged()
    }

    /// Sets the spread over the rounds.
    #[must_use]
    pub fn spread(mut self, spread: f64) -> Self {
        self.spread = Some(spread);
        self
    }

    /// Sets what the figure is meant to reach.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self.judged()
    }

    fn judged(mut self) -> Self {
        self.met = self.target.and_then(|target| target.met(&self));
        self
    }
}

/// What a figure is meant to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The value is at least this.
    ValueAtLeast(f64),
    /// The value is at most this.
    ValueAtMost(f64),
    /// The ratio to the peer is at least this.
    RatioAtLeast(f64),
    /// The ratio to the peer is at most this.
    RatioAtMost(f64),
}

impl Target {
    /// Whether `row` reaches the target; `None` when it has no ratio to judge.
    pub fn met(self, row: &Row) -> Option<bool> {
        Some(match self {
            Self::ValueAtLeast(least) => row.value >= least,
            Self::ValueAtMost(most) => row.value <= most,
            Self::RatioAtLeast(least) => row.ratio? >= least,
            Self::RatioAtMost(most) => row.ratio? <= most,
        })
    }
}

/// Writes `rows` as JSON, one object a line.
pub fn write_json(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut *out, row)?;
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_judge_the_figure_they_are_about() {
        let row = Row::new("echo", "64 zcn", "requests", 120.0, "1/s").versus("epoll", 1.2);
        assert_eq!(Target::RatioAtLeast(1.2).met(&row), Some(true));
        assert_eq!(Target::RatioAtMost(1.1).met(&row), Some(false));
        assert_eq!(Target::ValueAtLeast(121.0).met(&row), Some(false));
        assert_eq!(Target::ValueAtMost(120.0).met(&row), Some(true));
        let alone = Row::new("echo", "64 zcn", "requests", 120.0, "1/s");
        assert_eq!(alone.target(Target::RatioAtLeast(1.0)).met, None);
    }

    #[test]
    fn json_has_one_object_a_line_with_the_promised_keys() {
        let rows = [
            Row::new("echo", "a", "rtt_p50", 7.0, "ns"),
            Row::new("echo", "b", "rtt_p50", 8.0, "ns").versus("a", 1.5),
        ];
        let mut out = Vec::new();
        write_json(&rows, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        for (line, row) in lines.iter().zip(&rows) {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            for key in [
                "bench", "case", "metric", "value", "unit", "versus", "ratio",
            ] {
                assert!(object.get(key).is_some(), "{key} missing in {line}");
            }
            assert_eq!(&serde_json::from_str::<Row>(line).unwrap(), row);
        }
    }
}
