//! What other programs took of this machine meanwhile.

use std::fs;

/// CPU time up to a moment, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    /// Of all cores, idle time included.
    all: u64,
    /// Of all cores, idle time not included.
    busy: u64,
    /// Of this process.
    own: u64,
}

impl Ticks {
    /// Up to now; `None` where `/proc` does not tell.
    pub(super) fn now() -> Option<Self> {
        let (all, busy) = machine(&fs::read_to_string("/proc/stat").ok()?)?;
        let own = process(&fs::read_to_string("/proc/self/stat").ok()?)?;
        Some(Self { all, busy, own })
    }

    /// Share of the machine's CPU time that others took since then, a time
    /// stolen by the hypervisor included.
    pub(super) fn others_until(&self, now: &Self) -> Option<f64> {
        let all = now.all.checked_sub(self.all).filter(|all| *all > 0)?;
        let busy = now.busy.saturating_sub(self.busy);
        let others = busy.saturating_sub(now.own.saturating_sub(self.own));
        Some(others as f64 / all as f64)
    }
}

/// All ticks and the busy ones, from the first line of `/proc/stat`.
fn machine(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.lines().next()?.split_whitespace();
    if fields.next()? != "cpu" {
        return None;
    }
    // user nice system idle iowait irq softirq steal; the guests' time behind
    // them is in user and nice already.
    let ticks: Vec<u64> = fields
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let idle = ticks.get(3)? + ticks.get(4)?;
    let all = ticks.iter().sum::<u64>();
    Some((all, all - idle))
}

/// Ticks in user space and in the kernel, from `/proc/self/stat`.
fn process(text: &str) -> Option<u64> {
    // The name may hold anything, but ends at the last parenthesis; utime and
    // stime are fields 14 and 15, and the name is field 2.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_lines_are_read() {
        assert_eq!(
            machine("cpu  10 1 20 100 5 2 3 4 50 0\ncpu0 1 2"),
            Some((145, 40))
        );
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194304 90 0 0 0 12 34 0 0 20 0 1";
        assert_eq!(process(stat), Some(46));
        assert_eq!(machine("intr 1"), None);
        assert!(Ticks::now().is_some());
    }

    #[test]
    fn own_time_is_not_the_others() {
        let before = Ticks {
            all: 1000,
            busy: 500,
            own: 100,
        };
        let after = Ticks {
            all: 1200,
            busy: 650,
            own: 200,
        };
        assert_eq!(before.others_until(&after), Some(0.25));
        assert_eq!(before.others_until(&before), None);
    }
}
