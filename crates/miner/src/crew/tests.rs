use std::time::Duration;

use zcn_sha256d::{EngineKind, Nonces, Target};

use super::*;

/// About one of `2^bits` hashes meets it; `bits` at most 32.
fn one_of(bits: u32) -> Target {
    let mut number = [0xff; 32];
    let top = u32::MAX.checked_shr(bits).unwrap_or(0);
    number[..4].copy_from_slice(&top.to_be_bytes());
    Target::from_be_bytes(number)
}

fn work(id: u64, bits: u32) -> Work {
    Work {
        id,
        header: std::array::from_fn(|i| i as u8),
        target: one_of(bits),
        nonces: Nonces::ALL,
        versions: VersionBits::NONE,
    }
}

fn crew(workers: usize, idle: Idle, roll: bool) -> Crew {
    let options = CrewOptions {
        engine: Engine::best(),
        roll,
        cores: vec![None; workers],
        idle,
    };
    Crew::start(&options, || ()).unwrap()
}

/// The next event; half a minute without one is a failure.
fn next(crew: &mut Crew) -> Event {
    let start = Instant::now();
    loop {
        if let Some(event) = crew.poll() {
            return event;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "no event");
        std::thread::yield_now();
    }
}

#[test]
fn every_find_meets_the_target_and_carries_its_work() {
    for idle in [Idle::Sleep, Idle::Spin] {
        let mut crew = crew(2, idle, false);
        let work = work(9, 10);
        crew.assign_parts(&work);
        let mut found = 0;
        while found < 20 {
            if let Event::Found {
                worker,
                id,
                version,
                nonce,
                ..
            } = next(&mut crew)
            {
                assert_eq!((id, version), (9, work.version()));
                assert_eq!(nonce >> 31, worker as u32, "a half for each");
                let job = zcn_sha256d::Job::new(&work.header, work.target);
                assert!(job.is_met_by(nonce));
                found += 1;
            }
        }
        assert!(crew.hashes() > 0);
    }
}

#[test]
fn an_announced_worker_takes_what_follows() {
    for idle in [Idle::Sleep, Idle::Spin] {
        let mut crew = crew(1, idle, false);
        let started = |crew: &mut Crew| match next(crew) {
            Event::Started { id, .. } => id,
            other => panic!("{other:?}"),
        };
        // Announced while it rests, and while it searches what would take minutes.
        for id in 1..4 {
            crew.announce(0);
            crew.assign(0, &work(id, 32));
            assert_eq!(started(&mut crew), id);
        }
        crew.announce(0);
        crew.rest_one(0);
        crew.announce(0);
        crew.announce(0);
        crew.assign(0, &work(4, 32));
        assert_eq!(started(&mut crew), 4);
        // The end of the crew comes in place of work.
        crew.announce(0);
    }
}

#[test]
fn new_work_replaces_the_old() {
    let mut crew = crew(1, Idle::Sleep, false);
    // Nothing meets the first one, and it would take minutes.
    crew.assign(0, &work(1, 32));
    let Event::Started { id: 1, .. } = next(&mut crew) else {
        panic!("the first hashes are not told")
    };
    crew.assign(0, &work(2, 12));
    let Event::Started { id: 2, .. } = next(&mut crew) else {
        panic!("the second work is not taken up")
    };
    let Event::Found { id: 2, .. } = next(&mut crew) else {
        panic!("nothing found")
    };
    crew.rest();
    // What was found before the rest may still be there, and then no more comes.
    let mut last = crew.hashes();
    loop {
        while crew.poll().is_some() {}
        std::thread::sleep(Duration::from_millis(50));
        let now = crew.hashes();
        if now == last {
            break;
        }
        last = now;
    }
}

#[test]
fn all_versions_of_all_nonces_are_tried_and_then_it_is_told() {
    for roll in [false, true] {
        let mut crew = crew(1, Idle::Sleep, roll);
        let mut work = work(3, 0);
        work.versions = VersionBits::new(0x0f80_0000);
        work.nonces = Nonces {
            first: u32::MAX - 4,
            count: 10,
        };
        crew.assign(0, &work);
        let mut finds = Vec::new();
        loop {
            match next(&mut crew) {
                Event::Started { .. } => {}
                Event::Found { version, nonce, .. } => finds.push((version, nonce)),
                Event::Exhausted { worker, id } => {
                    assert_eq!((worker, id), (0, 3));
                    break;
                }
            }
        }
        assert_eq!(finds.len(), 320, "rolled {roll}");
        finds.sort_unstable();
        finds.dedup();
        assert_eq!(finds.len(), 320);
        assert_eq!(crew.hashes(), 320);
    }
}

#[test]
fn finds_wait_for_room_and_none_is_lost() {
    let mut crew = crew(1, Idle::Sleep, false);
    let mut work = work(4, 0);
    work.nonces.count = 5 * EVENTS as u64;
    crew.assign(0, &work);
    // The queue is full long before.
    std::thread::sleep(Duration::from_millis(20));
    let mut next_nonce = 0;
    loop {
        match next(&mut crew) {
            Event::Found { nonce, .. } => {
                assert_eq!(nonce, next_nonce);
                next_nonce += 1;
            }
            Event::Exhausted { .. } => break,
            Event::Started { .. } => {}
        }
    }
    assert_eq!(u64::from(next_nonce), work.nonces.count);
}

#[test]
fn a_crew_with_a_full_queue_can_be_dropped() {
    let mut crew = crew(2, Idle::Spin, false);
    crew.assign_parts(&work(5, 0));
    std::thread::sleep(Duration::from_millis(20));
    drop(crew);
}

#[test]
fn a_core_that_is_not_there_is_an_error() {
    let options = |cores| CrewOptions {
        engine: Engine::new(EngineKind::Scalar).unwrap(),
        roll: false,
        cores,
        idle: Idle::Sleep,
    };
    let error = Crew::start(&options(vec![None, Some(100_000)]), || ()).unwrap_err();
    assert!(
        error.to_string().contains("worker 1 on core 100000"),
        "{error}"
    );
    let error = Crew::start(&options(Vec::new()), || ()).unwrap_err();
    assert!(matches!(error, CrewError::Empty));
}
