//! The HTTP pages of a miner: a summary as JSON, and metrics for Prometheus.

use std::fmt::Write;
use std::time::Duration;

use zcn_miner::latency::Percentiles;
use zcn_miner::pages::Page;

use super::status::{Status, Summary};

/// The page at a path.
pub(super) fn page(status: &Status, path: &str) -> Option<Page> {
    let (content_type, body) = match path {
        "/" => ("text/plain", "/summary\n/metrics\n".to_owned()),
        "/summary" => {
            // Text and numbers: that cannot fail.
            let mut body = serde_json::to_string_pretty(&status.summary()).unwrap_or_default();
            body.push('\n');
            ("application/json", body)
        }
        "/metrics" => (
            "text/plain; version=0.0.4",
            metrics(&status.summary(), &status.stages()),
        ),
        _ => return None,
    };
    Some(Page { content_type, body })
}

/// The text format of Prometheus, version 0.0.4.
fn metrics(summary: &Summary, stages: &[(&str, Percentiles)]) -> String {
    let mut text = Metrics::default();
    text.family("zcn_mine_info", "gauge", "What is mining.");
    let labels = format!(
        "version=\"{}\",engine=\"{}\"",
        summary.version, summary.engine
    );
    text.sample("zcn_mine_info", &labels, 1.0);
    text.single(
        "zcn_mine_uptime_seconds",
        "gauge",
        "Time since the start.",
        summary.uptime_s as f64,
    );
    text.single(
        "zcn_mine_threads",
        "gauge",
        "Worker threads.",
        summary.threads as f64,
    );
    text.family(
        "zcn_mine_connected",
        "gauge",
        "Whether a pool takes shares, which, and the version of Stratum that it speaks.",
    );
    let pool = summary.pool.as_deref().map(|pool| {
        // Backslash, quote and end of line are what a label cannot have.
        let pool = pool.replace('\\', "\\\\").replace('"', "\\\"");
        let protocol = summary.protocol.unwrap_or_default();
        let pool = pool.replace('\n', "\\n");
        format!("pool=\"{pool}\",protocol=\"{protocol}\"")
    });
    text.sample(
        "zcn_mine_connected",
        pool.as_deref().unwrap_or_default(),
        f64::from(u8::from(pool.is_some())),
    );
    text.single(
        "zcn_mine_disconnects_total",
        "counter",
        "Sessions with pools that ended.",
        summary.disconnects as f64,
    );
    text.single(
        "zcn_mine_hashes_total",
        "counter",
        "Hashes done.",
        summary.hashes as f64,
    );
    text.family(
        "zcn_mine_hashes_per_second",
        "gauge",
        "Hashes a second over a window.",
    );
    let rates = &summary.hashes_per_second;
    for (window, rate) in [
        ("10s", rates.ten_seconds),
        ("60s", rates.minute),
        ("15m", rates.quarter),
    ] {
        let labels = format!("window=\"{window}\"");
        text.sample("zcn_mine_hashes_per_second", &labels, rate);
    }
    text.single(
        "zcn_mine_jobs_total",
        "counter",
        "Jobs taken up.",
        summary.jobs as f64,
    );
    text.family(
        "zcn_mine_shares_total",
        "counter",
        "Shares by what became of them.",
    );
    for (result, count) in [
        ("accepted", summary.accepted),
        ("rejected", summary.rejected),
        ("stale", summary.stale),
        ("lost", summary.lost),
        ("wrong", summary.wrong),
    ] {
        let labels = format!("result=\"{result}\"");
        text.sample("zcn_mine_shares_total", &labels, count as f64);
    }
    text.family(
        "zcn_mine_latency_seconds",
        "gauge",
        "Time of each stage of a job or share, by quantile, since the start.",
    );
    for (stage, times) in stages {
        for (quantile, time) in [
            ("0.5", times.p50),
            ("0.99", times.p99),
            ("0.999", times.p999),
        ] {
            let labels = format!("stage=\"{stage}\",quantile=\"{quantile}\"");
            text.sample("zcn_mine_latency_seconds", &labels, seconds(time));
        }
    }
    text.family(
        "zcn_mine_latency_count",
        "counter",
        "Times measured of each stage.",
    );
    for (stage, times) in stages {
        let labels = format!("stage=\"{stage}\"");
        text.sample("zcn_mine_latency_count", &labels, times.count as f64);
    }
    if let Some(degrees) = summary.temperature_c {
        text.single(
            "zcn_mine_cpu_temperature_celsius",
            "gauge",
            "The hottest sensor of the CPU.",
            degrees,
        );
    }
    text.0
}

fn seconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e9
}

#[derive(Default)]
struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, "", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zcn_miner::rig::RigMeter;
    use zcn_sha256d::EngineKind;

    #[test]
    fn metrics_are_what_prometheus_reads() {
        let status = Status::new(EngineKind::Scalar, 2, Vec::new(), RigMeter::new());
        let mut summary = status.summary();
        summary.pool = Some("odd\"pool\\\n".to_owned());
        summary.protocol = Some("v2");
        summary.temperature_c = Some(41.5);
        (summary.accepted, summary.stale) = (7, 3);
        let text = metrics(&summary, &status.stages());
        let mut families = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                families.push(rest.split(' ').next().expect("a name"));
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').expect("a sample");
                let family = name.split('{').next().expect("a name");
                assert_eq!(families.last(), Some(&family), "{line}");
                value.parse::<f64>().expect("a number");
            }
        }
        for line in [
            "zcn_mine_threads 2",
            "zcn_mine_shares_total{result=\"accepted\"} 7",
            "zcn_mine_shares_total{result=\"stale\"} 3",
            "zcn_mine_connected{pool=\"odd\\\"pool\\\\\\n\",protocol=\"v2\"} 1",
            "zcn_mine_cpu_temperature_celsius 41.5",
            "zcn_mine_latency_count{stage=\"packet_to_hash\"} 0",
        ] {
            assert!(text.lines().any(|had| had == line), "{line} in {text}");
        }
    }

    #[test]
    fn what_there_is_no_page_of_is_none() {
        let status = Status::new(EngineKind::Scalar, 1, Vec::new(), RigMeter::new());
        assert!(page(&status, "/").is_some() && page(&status, "/admin").is_none());
        let summary = page(&status, "/summary").expect("a page");
        let summary: serde_json::Value = serde_json::from_str(&summary.body).expect("JSON");
        assert_eq!(summary["threads"], 1);
        assert_eq!(summary["pool"], serde_json::Value::Null);
    }
}
