//! After warm-up, a job costs the thread of the session no allocation: from the socket over the
//! parsing and the merkle root to the hand-over; rehearsals in between cost none either, and are no
//! jobs.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use zcn::Runtime;
use zcn_miner::crew::{CrewOptions, Idle};
use zcn_miner::drill::{Drill, DrillOptions};
use zcn_miner::rig::{self, RigMeter};
use zcn_miner::session::{Notice, SessionHandle};
use zcn_sha256d::Engine;

/// Jobs after which nothing grows any more.
const WARM_UP: usize = 100;
const COUNTED: usize = 300;
/// How often a queue may double its length meanwhile.
const GROWTH: u64 = 8;
/// How long anything may take before the test counts as hung.
const HANG: Duration = Duration::from_secs(60);

#[test]
fn a_job_costs_the_session_no_allocation() {
    for (branches, rehearse) in [(0, false), (12, false), (12, true)] {
        let counts = jobs(branches, rehearse);
        let warm = counts[WARM_UP - 1];
        let made = counts[counts.len() - 1] - warm;
        // Jobs that a busy machine reads in one piece may make a queue of events grow, each time
        // to twice its length.
        assert!(
            made <= GROWTH,
            "{branches} branches, rehearsed {rehearse}: {made} allocations for {COUNTED} jobs"
        );
    }
}

/// How many allocations the thread had made at each job.
fn jobs(branches: usize, rehearse: bool) -> Vec<u64> {
    let drill = Drill::start(DrillOptions {
        branches,
        interval: Duration::from_millis(1),
        core: None,
    });
    let mut settings = drill.as_ref().expect("a pool").session();
    if rehearse {
        settings.rehearse_for = HANG;
    }
    let workers = CrewOptions {
        engine: Engine::best(),
        roll: false,
        cores: vec![None; 2],
        idle: Idle::Sleep,
    };
    let counts = Rc::new(RefCell::new(Vec::with_capacity(2 * (WARM_UP + COUNTED))));
    let ours = counts.clone();
    let (meter, rehearsals) = (RigMeter::new(), Rc::new(Cell::new(0)));
    let (totals, rehearsed) = (meter.clone(), rehearsals.clone());
    let mut runtime = Runtime::new().expect("a runtime");
    let done = runtime.block_on(async move {
        let handle = SessionHandle::new();
        let stop = handle.clone();
        let mut sink = |notice: Notice<'_>| match notice {
            Notice::Work { .. } => {
                let mut counts = ours.borrow_mut();
                if counts.len() < WARM_UP + COUNTED {
                    counts.push(common::of_this_thread());
                    assert_eq!(totals.totals().jobs, counts.len() as u64);
                } else {
                    stop.stop();
                }
            }
            Notice::Rehearsal { work } => {
                assert_eq!(work.job.branches.len(), branches);
                rehearsed.set(rehearsed.get() + 1);
            }
            _ => {}
        };
        let mining = rig::run(&workers, settings, &handle, &meter, &mut sink);
        zcn::timeout(HANG, mining)
            .await
            .map(|mined| mined.expect("it mines"))
    });
    done.expect("no error").expect("no hang");
    assert_eq!(rehearsals.get() > 0, rehearse);
    counts.take()
}
