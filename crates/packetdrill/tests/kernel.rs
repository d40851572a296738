//! The kernel is the reference: what its TCP does, ours does.

#![expect(clippy::print_stdout, reason = "a test tells what it found")]

mod driver;
mod matrix;

use std::sync::{Arc, Mutex};

use driver::kernel::{Settings, on_the_kernel};
use driver::{ACK, FIN, PSH, Segment, Tool, accepted};
use matrix::comparison::Findings;
use matrix::start::Start;
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
/// Cases in one namespace: each has a port, and some are played again.
const NAMESPACE: usize = 6_000;

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

/// `ZCN_LONG_TESTS=1` plays all cases, `ZCN_START=NAME` those of one state.
#[test]
fn every_segment_in_every_state_is_answered_as_by_the_kernel() {
    let settings = Settings {
        // Nothing is sent again while we look.
        metrics: "congctl cubic rto_min 20s",
        sysctls: &[
            ("ipv4/tcp_invalid_ratelimit", "0"),
            ("ipv4/tcp_early_retrans", "0"),
        ],
        ..Settings::default()
    };
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
        on_the_kernel(settings.clone(), move |kernel| {
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
