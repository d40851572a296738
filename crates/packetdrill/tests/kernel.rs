//! The kernel is the reference: what its TCP does, ours does.

#![expect(clippy::print_stdout, reason = "a test tells what it found")]

mod driver;
mod matrix;

use std::sync::{Arc, Mutex};

use driver::kernel::{Settings, on_the_kernel};
use driver::{ACK, FIN, PSH, Segment, Tool, accepted};
use matrix::comparison::{self, Findings, KERNEL_PAUSE_MICROS, PAUSE_MICROS};
use matrix::start::Start;
use matrix::subject::Subject;
use matrix::walk::{self, Walk};
use matrix::{Case, probe};

fn exchange(tool: &Tool) -> Vec<Segment> {
    let (listener, connection, seq) = accepted(tool);
    let mut told = Vec::new();
    tool.inject(&Segment::new(ACK | PSH, 1, seq).payload(b"hello").v4());
    told.extend(tool.fence());
    assert_eq!(tool.read(connection, 10).as_deref(), Ok(&b"hello"[..]));
    assert_eq!(tool.write(connection, b"world"), Ok(5));
    told.extend(tool.fence());
    tool.inject(&Segment::new(ACK | FIN, 6, seq.wrapping_add(5)).v4());
    told.extend(tool.fence());
    assert_eq!(tool.close(connection), Ok(0));
    told.extend(tool.fence());
    let end = seq.wrapping_add(6);
    tool.inject(&Segment::new(ACK, 7, end).v4());
    told.extend(tool.fence());
    assert_eq!(tool.close(listener), Ok(0));
    for segment in &mut told {
        segment.seq = segment.seq.wrapping_sub(seq);
    }
    told
}

#[test]
fn a_connection_is_as_the_kernels() {
    on_the_kernel(Settings::default(), |kernel| {
        let (theirs, ours) = (exchange(kernel), exchange(&Tool::new("")));
        assert_eq!(ours, theirs);
    });
}

/// Of the cases of the matrix, one in so many is played unless all are wanted.
const SAMPLE: usize = 13;
/// Cases or walks in one namespace: each has a port, and some cases are played again.
const NAMESPACE: usize = 6_000;

/// Steps of a walk, and walks side by side.
const STEPS: usize = 12;
const WALKS: usize = 200;

fn every_case() -> Vec<Case> {
    let of = |start, stamps| {
        let probes = probe::all(start, stamps);
        probes.into_iter().map(move |probe| Case {
            start,
            stamps,
            probe,
        })
    };
    let starts = Start::ALL.into_iter();
    let both = starts.flat_map(|start| of(start, false).chain(of(start, true)));
    both.collect()
}

/// Nothing is sent again while we look.
const PATIENT: Settings<'static> = Settings {
    mtu: 1500,
    metrics: "congctl cubic rto_min 20s",
    sysctls: &[
        ("ipv4/tcp_invalid_ratelimit", "0"),
        ("ipv4/tcp_early_retrans", "0"),
    ],
};

/// `ZCN_LONG_TESTS=1` plays all cases, `ZCN_START=NAME` those of one state.
#[test]
fn every_segment_in_every_state_is_answered_as_by_the_kernel() {
    let mut cases = every_case();
    let only = std::env::var("ZCN_START").ok();
    if let Some(only) = &only {
        cases.retain(|case| format!("{:?}", case.start) == *only);
    }
    let long = std::env::var_os("ZCN_LONG_TESTS").is_some();
    if !long && only.is_none() {
        cases = cases.into_iter().step_by(SAMPLE).collect();
    }
    let findings = Arc::new(Mutex::new(Findings::default()));
    for part in cases.chunks(NAMESPACE) {
        let (part, findings) = (part.to_vec(), Arc::clone(&findings));
        on_the_kernel(PATIENT, move |kernel| {
            let mut findings = findings.lock().expect("no other test holds it");
            findings.compare(kernel, &part);
        });
    }
    let findings = findings.lock().expect("no other test holds it");
    println!("{findings}");
    assert!(findings.differences.is_empty(), "see above");
    if long && only.is_none() && findings.played == cases.len() {
        assert_eq!(findings.stale(), Vec::<&str>::new(), "nothing differs so");
    }
}

/// Walks, and steps of each. `ZCN_SEED` is the seed of the first one, `ZCN_WALKS` how many follow.
#[test]
fn random_walks_go_as_on_the_kernel() {
    let number = |name: &str, default: u64| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (first, count) = (number("ZCN_SEED", 1), number("ZCN_WALKS", 200));
    let walks: Vec<Walk> = (first..first + count)
        .map(|seed| Walk::new(seed, STEPS))
        .collect();
    for part in walks.chunks(NAMESPACE) {
        let part = part.to_vec();
        on_the_kernel(PATIENT, move |kernel| compare_walks(kernel, &part));
    }
}

fn compare_walks(kernel: &Tool, walks: &[Walk]) {
    let mut differ = 0;
    let mut kernel = Subject::new(kernel, KERNEL_PAUSE_MICROS);
    for walks in walks.chunks(WALKS) {
        let theirs = walk::play(&mut kernel, walks);
        let tool = Tool::new(comparison::FLAGS);
        let ours = walk::play(&mut Subject::new(&tool, PAUSE_MICROS), walks);
        for (walk, (ours, theirs)) in walks.iter().zip(ours.iter().zip(&theirs)) {
            let Some(at) = (0..STEPS).find(|&at| ours[at] != theirs[at]) else {
                continue;
            };
            differ += 1;
            println!(
                "seed {}, {:?}, timestamps {}",
                walk.seed, walk.start, walk.stamps
            );
            for (step, told) in walk.steps.iter().zip(theirs).take(at + 1) {
                println!("  {step}\n    {told:?}");
            }
            println!("  ours {:?}", ours[at]);
        }
    }
    assert_eq!(differ, 0, "see above");
}
