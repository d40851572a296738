//! What every benchmark shares: its options, its rounds and its rows.
//!
//! A benchmark is a function `run(&mut Ctx) -> Result`. It builds [`Contender`]s, lets
//! [`Ctx::alternate`] measure them in turn, and hands [`Row`]s to [`Ctx::report`]:
//!
//! ```ignore
//! let mut contenders = vec![
//!     Contender::new("ours", || Ok(vec![ns_per_op(time_ours(operations))])),
//!     Contender::new("peer", || Ok(vec![ns_per_op(time_peer(operations))])),
//! ];
//! let contest = ctx.alternate("acquire and release", &mut contenders)?;
//! ctx.report_all(contest.rows("pool", "1 thread", Some("peer")));
//! ```

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use zcn_measure::core::on_core;
pub use zcn_measure::environment::Environment;
pub use zcn_measure::rounds::{Contest, Figure};
pub use zcn_measure::row::{Row, Target};
use zcn_measure::{rounds, row, table};

/// Any error of a benchmark; it ends the program with its text.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a benchmark returns.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Somebody who takes part, failing with [`Error`].
pub type Contender<'a> = rounds::Contender<'a, Error>;

/// Options of the run, and the rows gathered so far.
pub struct Ctx {
    /// A run that shows that everything works, in a few seconds; figures mean little.
    pub quick: bool,
    /// How long one measurement of one contender lasts.
    pub sample: Duration,
    /// How often each contender is measured.
    pub rounds: usize,
    /// Only situations whose heading contains this.
    pub only: Option<String>,
    json: bool,
    progress: bool,
    rows: Vec<Row>,
}

impl Ctx {
    /// A context from the command line's options.
    pub fn new(json: bool, quick: bool, sample: Duration, rounds: usize) -> Self {
        Self {
            quick,
            sample,
            rounds,
            only: None,
            json,
            progress: io::stderr().is_terminal(),
            rows: Vec::new(),
        }
    }

    /// `full` in a real run, `quick` in a quick one.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Whether a situation was asked for.
    pub fn wants(&self, situation: &str) -> bool {
        self.only
            .as_deref()
            .is_none_or(|only| situation.contains(only))
    }

    /// Measures the contenders in alternating rounds, after one round to warm up
    /// (none in a quick run). `situation` is only for the progress line.
    pub fn alternate(&self, situation: &str, contenders: &mut [Contender<'_>]) -> Result<Contest> {
        rounds::alternate(self.rounds, !self.quick, contenders, |round, name| {
            self.progress(&format!("{situation}: round {round}, {name}"));
        })
    }

    /// Shows what is going on, on one line of a terminal's standard error.
    pub fn progress(&self, text: &str) {
        if self.progress {
            // Nothing can be done about a terminal that cannot be written to.
            let _ = write!(io::stderr(), "\r\x1b[2K{text}");
        }
    }

    /// Takes one figure. With `--json` it is printed at once.
    pub fn report(&mut self, row: Row) -> Result {
        if self.json {
            row::write_json(std::slice::from_ref(&row), &mut io::stdout().lock())?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// Takes many figures, in order.
    pub fn report_all(&mut self, rows: impl IntoIterator<Item = Row>) -> Result {
        rows.into_iter().try_for_each(|row| self.report(row))
    }

    /// Prints the table of the benchmark that just ended, unless JSON was asked for.
    pub fn finish(&mut self, bench: &str) -> Result {
        if self.progress {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
        if !self.json {
            let mut out = io::stdout().lock();
            writeln!(out, "{bench}\n{}\n", table::table(&self.rows))?;
        }
        self.rows.clear();
        Ok(())
    }
}

/// Repeats `step` for about `sample` on `core`, with a look at the clock after every `block`:
/// elapsed time and how often.
pub fn repeat(
    core: usize,
    sample: Duration,
    block: u64,
    mut step: impl FnMut() + Send,
) -> Result<(Duration, u64)> {
    Ok(on_core(core, || {
        let mut steps = 0;
        let begun = Instant::now();
        loop {
            for _ in 0..block {
                step();
            }
            steps += block;
            let elapsed = begun.elapsed();
            if elapsed >= sample {
                return Ok((elapsed, steps));
            }
        }
    })?)
}

/// CPU of all threads of this process.
pub fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// The figure `ns/op`, of `operations` operations that took `elapsed`.
pub fn ns_per_op(elapsed: Duration, operations: u64) -> Figure {
    Figure::new(
        "time",
        elapsed.as_nanos() as f64 / operations as f64,
        "ns/op",
    )
}
