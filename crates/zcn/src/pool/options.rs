//! Limits of a connection pool.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::error::{Action, Error, Result};
use crate::{ConnectOptions, TcpStream};

/// Whether an idle connection may be handed out.
pub type HealthCheck = Rc<dyn Fn(&TcpStream) -> bool>;

/// Limits and options of a [`ConnectionPool`](crate::ConnectionPool).
#[derive(Clone)]
#[non_exhaustive]
pub struct ConnectionPoolOptions {
    /// How to connect; its time limit is 10 s here unless changed.
    pub connect: ConnectOptions,
    /// Most connections to one destination: in use, idle and being made \[32\].
    pub max_per_destination: usize,
    /// Most connections altogether \[256\]. An idle connection to one destination makes room for
    /// another destination.
    pub max_total: usize,
    /// Most idle connections to one destination \[8\]; the one idle for longest goes first.
    pub max_idle: usize,
    /// Close a connection that has been idle for this long \[60 s\].
    pub idle_timeout: Option<Duration>,
    /// Close a connection this long after it was made, once it is not in use \[never\].
    pub max_age: Option<Duration>,
    /// How long to wait for a connection to come free \[10 s\].
    pub wait_timeout: Duration,
    /// Most callers that wait at a time \[1024\].
    pub max_waiting: usize,
    /// No connect to a destination for this long after one has failed, or up to half as long: a
    /// share that the runtime draws ([`seed`](crate::RuntimeBuilder::seed)); doubled by each further
    /// failure \[100 ms\].
    pub backoff: Duration,
    /// Upper bound of the back-off \[10 s\].
    pub max_backoff: Duration,
    /// Idle connections kept ready to each destination that was prewarmed \[0\].
    pub min_idle: usize,
    /// Asked before an idle connection is handed out, after the pool's own check (peer still
    /// there, nothing unexpected received).
    pub check: Option<HealthCheck>,
}

impl fmt::Debug for ConnectionPoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionPoolOptions")
            .field("max_per_destination", &self.max_per_destination)
            .field("max_total", &self.max_total)
            .field("max_idle", &self.max_idle)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

impl Default for ConnectionPoolOptions {
    fn default() -> Self {
        Self {
            connect: ConnectOptions {
                timeout: Some(Duration::from_secs(10)),
                ..ConnectOptions::default()
            },
            max_per_destination: 32,
            max_total: 256,
            max_idle: 8,
            idle_timeout: Some(Duration::from_secs(60)),
            max_age: None,
            wait_timeout: Duration::from_secs(10),
            max_waiting: 1024,
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            min_idle: 0,
            check: None,
        }
    }
}

impl ConnectionPoolOptions {
    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::setting(Action::Pool, text));
        for (name, value) in [
            ("max_per_destination", self.max_per_destination),
            ("max_total", self.max_total),
        ] {
            if value == 0 {
                return wrong(format!("{name} = 0 is out of range: at least 1"));
            }
        }
        let most = self.max_idle.min(self.max_per_destination);
        if self.min_idle > most {
            return wrong(format!(
                "min_idle = {} is out of range: at most max_idle and max_per_destination, here \
                 {most}",
                self.min_idle
            ));
        }
        if self.backoff > self.max_backoff {
            return wrong(format!(
                "backoff = {:?} is longer than max_backoff = {:?}",
                self.backoff, self.max_backoff
            ));
        }
        Ok(())
    }

    /// How long connects rest after `failures` in a row: half of the back-off, and a share of the
    /// other half that `random` decides, so that those who failed together do not all come back
    /// together.
    pub(super) fn backoff_after(&self, failures: u32, random: u64) -> Duration {
        let factor = 1 << failures.saturating_sub(1).min(20);
        let whole = self.backoff.saturating_mul(factor).min(self.max_backoff);
        let share = (random >> 32) as f64 / f64::from(u32::MAX);
        whole / 2 + (whole / 2).mul_f64(share)
    }

    /// How often idle connections are looked through.
    pub(super) fn sweep_every(&self) -> Duration {
        [self.idle_timeout, self.max_age]
            .into_iter()
            .flatten()
            .min()
            .map_or(Duration::from_secs(5), |limit| {
                (limit / 4).clamp(Duration::from_millis(5), Duration::from_secs(5))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_bound() {
        let options = ConnectionPoolOptions::default();
        let millis = |random| {
            [1, 2, 3, 7, 8, 100].map(|failures| options.backoff_after(failures, random).as_millis())
        };
        assert_eq!(millis(u64::MAX), [100, 200, 400, 6400, 10_000, 10_000]);
        assert_eq!(millis(0), [50, 100, 200, 3200, 5000, 5000]);
        let some = options.backoff_after(1, u64::MAX / 3).as_millis();
        assert!((51..100).contains(&some), "{some}");
    }

    #[test]
    fn impossible_limits_are_named() {
        let fails = |change: fn(&mut ConnectionPoolOptions)| {
            let mut options = ConnectionPoolOptions::default();
            change(&mut options);
            options.validate().unwrap_err().to_string()
        };
        assert!(fails(|o| o.max_total = 0).contains("max_total = 0"));
        assert!(fails(|o| o.max_per_destination = 0).contains("max_per_destination = 0"));
        assert!(fails(|o| o.min_idle = 9).contains("at most max_idle"));
        assert!(fails(|o| o.max_backoff = Duration::ZERO).contains("max_backoff"));
    }
}
