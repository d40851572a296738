//! One run of a client: connections, a task for each, and what came of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{ClientArgs, Datagrams, Link, Tally, watch};
use crate::failure::Failure;
use crate::reactor;

/// What a message travels on.
pub(crate) enum Line {
    Stream(Link),
    Datagrams(Datagrams),
}

/// What every task knows.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Messages to send.
    pub(crate) count: u64,
    /// When to send no more.
    pub(crate) end: Instant,
    /// Where to account for them.
    pub(crate) tally: Rc<RefCell<Tally>>,
}

/// How a run went.
pub(crate) struct Ran {
    pub(crate) reactor: &'static str,
    pub(crate) tally: Tally,
    pub(crate) elapsed: Duration,
}

impl Ran {
    /// The first failure of a connection, if there was one.
    pub(crate) fn outcome(self) -> Result<std::process::ExitCode, Failure> {
        match self.tally.first {
            Some(failure) => Err(failure),
            None => Ok(std::process::ExitCode::SUCCESS),
        }
    }
}

/// Connects as the arguments say, gives `work` every connection on a task of
/// its own, and waits until all have ended.
///
/// # Errors
/// When the server cannot be reached, or nothing moves for too long. What
/// fails one connection is in the tally.
pub(crate) fn run<F>(args: &ClientArgs, work: impl Fn(Line, Plan) -> F) -> Result<Ran, Failure>
where
    F: Future<Output = ()> + 'static,
{
    let address = args.connect.resolve()?;
    let mut runtime = args.event_loop.builder().build()?;
    let reactor = reactor::name(runtime.reactor_kind());
    let tally = Rc::new(RefCell::new(Tally::default()));
    let elapsed = runtime.block_on(async {
        let mut lines = Vec::new();
        for number in 0..args.connections {
            let place = number as usize;
            lines.push(match args.udp {
                true => Line::Datagrams(Datagrams::connect(&address, place, args.size)?),
                false => Line::Stream(Link::connect(&address, place, args.connections).await?),
            });
        }
        let begun = Instant::now();
        let plan = Plan {
            count: args.count.unwrap_or(u64::MAX),
            end: begun + args.duration,
            tally: tally.clone(),
        };
        let tasks = lines
            .into_iter()
            .map(|line| zcn::spawn(work(line, plan.clone())))
            .collect();
        watch(tasks, &tally, args.duration).await?;
        Ok::<Duration, Failure>(begun.elapsed())
    })??;
    let tally = tally.take();
    Ok(Ran {
        reactor,
        tally,
        elapsed,
    })
}
