//! The machine that figures were measured on.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a reader must know of the machine to judge a figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Kernel release, for example `6.18.44`.
    pub kernel: String,
    /// Model name of the processor.
    pub cpu: String,
    /// Cores that this process may run on.
    pub cores: usize,
    /// Congestion control that new TCP sockets get.
    pub congestion_control: String,
    /// Day of the measurement, UTC, as `YYYY-MM-DD`.
    pub date: String,
}

impl Environment {
    /// Describes the machine this runs on. What cannot be read is called `unknown`.
    pub fn detect() -> Self {
        let uname = rustix::system::uname();
        Self {
            kernel: uname.release().to_string_lossy().into_owned(),
            cpu: cpu_model().unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            congestion_control: fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")
                .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            date: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or_else(|_| unknown(), |since| date(since.as_secs() / 86_400)),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Linux {}, {}, {} cores, {}, {}",
            self.kernel, self.cpu, self.cores, self.congestion_control, self.date
        )
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The Gregorian date `days` after 1970-01-01.
fn date(days: u64) -> String {
    let (mut year, mut rest) = (1970, days);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if rest < length {
            break;
        }
        rest -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while rest >= months[month] {
        rest -= months[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, rest + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(58), "1970-02-28");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(19_723), "2024-01-01");
        assert_eq!(date(20_453), "2025-12-31");
    }

    #[test]
    fn this_machine_can_be_described() {
        let environment = Environment::detect();
        assert!(environment.cores >= 1);
        assert!(environment.to_string().starts_with("Linux "));
    }
}
