//! The stack's own scripts (`crates/stack/tests/scripts`) on sockets: those of the plugin, in virtual
//! time, and those of the machine's kernel, which says whether the scripts expect what Linux does.

#![allow(unsafe_code)]

#[path = "../../stack/tests/script/action.rs"]
mod action;
#[path = "replay/calls.rs"]
mod calls;
mod driver;
#[path = "../../stack/tests/script/judge.rs"]
mod judge;
#[path = "replay/plan.rs"]
mod plan;
#[path = "replay/player.rs"]
mod player;
#[path = "replay/probe.rs"]
mod probe;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use action::Script;
use driver::{Tool, kernel};
use plan::Plan;
use player::{Clock, Player};

/// Where the scripts are, a folder for each feature.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../stack/tests/scripts");

/// Virtual: a tick of the timer wheel, and what the tool's calls take.
const VIRTUAL: Clock = Clock {
    early: (5_000_000, 0),
    late: (5_000_000, 0),
    step: 250,
    real: false,
};
/// Real: the kernel's timers are late by up to an eighth, and the machine does other things, too.
const REAL: Clock = Clock {
    early: (6_000_000, 5),
    late: (25_000_000, 14),
    step: 4_000,
    real: true,
};
/// Seconds that a script may take in real time.
const LONGEST: u64 = 30;
/// Scripts at once, in real time.
const AT_ONCE: usize = 24;

/// All scripts by name: feature and file.
fn all() -> Vec<(String, PathBuf)> {
    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a readable folder");
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        paths
    };
    let only = std::env::var("ZCN_SCRIPT").unwrap_or_default();
    let mut found = Vec::new();
    if only.ends_with(".script") {
        return vec![(only.clone(), only.into())];
    }
    for feature in files(Path::new(SCRIPTS)) {
        if feature.ends_with("prologue") {
            continue;
        }
        for path in files(&feature) {
            let name = path.strip_prefix(SCRIPTS).expect("inside");
            let name = name.with_extension("").display().to_string();
            if name.contains(&only) {
                found.push((name, path));
            }
        }
    }
    found
}

/// What came of a script.
enum Outcome {
    Holds,
    /// As the script says, and why.
    Differs(String),
    Skipped(String),
    Fails(String),
}

/// A script and what it needs, or why it cannot be played.
fn read(path: &Path) -> Result<(Script, Plan), Outcome> {
    let text = std::fs::read_to_string(path).expect("a readable script");
    let script = action::parse(&text, Path::new(SCRIPTS)).expect("a sound script");
    let plan = Plan::new(&script).map_err(Outcome::Skipped)?;
    Ok((script, plan))
}

/// What came of a script that may differ, and is to say why.
fn outcome(result: Result<(), String>, differs: Option<&str>) -> Outcome {
    match (result, differs) {
        (Ok(()), None) => Outcome::Holds,
        (Ok(()), Some(reason)) => {
            Outcome::Fails(format!(" holds, but is said to differ: {reason}"))
        }
        (Err(error), differs) => match (error.split_once("skip: "), differs) {
            (Some((_, reason)), _) => Outcome::Skipped(reason.to_owned()),
            (None, Some(reason)) => Outcome::Differs(reason.to_owned()),
            (None, None) => Outcome::Fails(error),
        },
    }
}

/// Tells of all, and what failed; panics if something did.
fn conclude(subject: &str, outcomes: Vec<(String, Outcome)>) {
    let mut out = std::io::stdout();
    let (mut held, mut differ, mut skipped) = (0, 0, 0);
    let mut failures = String::new();
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Holds => held += 1,
            Outcome::Differs(reason) => {
                differ += 1;
                let _ = writeln!(out, "differs: {name}: {reason}");
            }
            Outcome::Skipped(reason) => {
                skipped += 1;
                let _ = writeln!(out, "SKIPPED: {name}: {reason}");
            }
            Outcome::Fails(error) => {
                let _ = writeln!(failures, "{name}:{error}");
            }
        }
    }
    let _ = writeln!(
        out,
        "{subject}: {held} scripts hold, {differ} differ as they say, {skipped} skipped"
    );
    assert!(failures.is_empty(), "\n{failures}");
}

fn on_the_plugin(path: &Path) -> Outcome {
    let (script, plan) = match read(path) {
        Ok(read) => read,
        Err(outcome) => return outcome,
    };
    if plan.initial_window.is_some() || plan.half_open.is_some() {
        return Outcome::Skipped("no flag of the plugin".into());
    }
    let mut flags = format!("mtu={}", plan.mtu);
    if !plan.quick_ack {
        flags.push_str(" no-quick-ack");
    }
    for (name, value) in &plan.sysctls {
        match *name {
            "tcp_challenge_ack_limit" | "tcp_fastopen_key" => {}
            "tcp_max_tw_buckets" | "tcp_min_snd_mss" => {
                return Outcome::Skipped("no flag of the plugin".into());
            }
            _ => {
                let _ = write!(flags, " {name}={value}");
            }
        }
    }
    let tool = Tool::new(&flags);
    let result = Player::new(&tool, &plan, VIRTUAL).run(&script);
    outcome(result, script.sockets_differ.as_deref())
}

#[test]
fn scripts_of_the_stack_hold_behind_the_plugin() {
    let outcomes = all()
        .into_iter()
        .map(|(name, path)| (name, on_the_plugin(&path)));
    conclude("the plugin", outcomes.collect());
}

/// Seconds that all waits of a script take.
fn duration(script: &Script) -> u64 {
    let waits = script.lines.iter().map(|line| line.time.1);
    waits.sum::<u64>() / 1_000_000_000
}

fn on_the_kernel(path: &Path, longest: u64) -> Outcome {
    let (script, plan) = match read(path) {
        Ok(read) => read,
        Err(outcome) => return outcome,
    };
    if !plan.quick_ack {
        return Outcome::Skipped("quick acknowledgements cannot be turned off".into());
    }
    let seconds = duration(&script);
    if seconds > longest {
        return Outcome::Skipped(format!("takes {seconds} s"));
    }
    let sysctls: Vec<(String, String)> = plan
        .sysctls
        .iter()
        .map(|(name, value)| (format!("ipv4/{name}"), value.clone()))
        .collect();
    let sysctls: Vec<(&str, &str)> = sysctls
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let mut metrics = format!("congctl {}", plan.congestion);
    if let Some(window) = plan.initial_window {
        let _ = write!(metrics, " initcwnd {window}");
    }
    let settings = kernel::Settings {
        mtu: plan.mtu,
        metrics: &metrics,
        sysctls: &sysctls,
    };
    let played = || {
        // A device was possible: what fails is a setting that this kernel does not have.
        let opened = kernel::open(&settings);
        let tool = opened.map_err(|error| format!("skip: {error}"))?;
        Player::new(&tool, &plan, REAL).run(&script)
    };
    // A namespace belongs to its thread.
    std::thread::scope(|scope| {
        let result = scope.spawn(played).join();
        let differs = script.sockets_differ.as_deref();
        let differs = differs.or(script.differs.as_deref());
        match result {
            Ok(result) => outcome(result, differs),
            Err(_) => Outcome::Fails(" a panic".into()),
        }
    })
}

/// Plays each script once, some at a time; answers in the order of `scripts`.
fn play(scripts: &[(String, PathBuf)], at_once: usize) -> Vec<(String, Outcome)> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let longest = std::env::var("ZCN_SCRIPT_SECONDS");
    let longest = longest.ok().and_then(|text| text.parse().ok());
    let worker = || loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some((name, path)) = scripts.get(at) else {
            return;
        };
        let outcome = on_the_kernel(path, longest.unwrap_or(LONGEST));
        let mut outcomes = outcomes.lock().expect("no panic");
        outcomes.push((at, name.clone(), outcome));
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(scripts.len()) {
            scope.spawn(worker);
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no panic");
    outcomes.sort_by_key(|(at, _, _)| *at);
    outcomes
        .into_iter()
        .map(|(_, name, outcome)| (name, outcome))
        .collect()
}

#[test]
fn scripts_of_the_stack_hold_on_the_kernel() {
    let told = |reason: &str| {
        let _ = writeln!(std::io::stdout(), "SKIPPED: {reason}");
    };
    if std::env::var_os("ZCN_LONG_TESTS").is_none() {
        return told("real time takes minutes; ZCN_LONG_TESTS=1 has them");
    }
    let possible = std::thread::spawn(|| kernel::open(&kernel::Settings::default()).map(drop));
    if let Err(reason) = possible.join().expect("no panic") {
        return told(&reason);
    }
    let scripts = all();
    let mut outcomes = play(&scripts, AT_ONCE);
    // What a busy machine delayed has three more chances, with fewer beside it.
    for at_once in [8, 3, 1] {
        let failed: Vec<usize> = (0..outcomes.len())
            .filter(|&at| matches!(outcomes[at].1, Outcome::Fails(_)))
            .collect();
        let again: Vec<_> = failed.iter().map(|&at| scripts[at].clone()).collect();
        for (at, outcome) in failed.into_iter().zip(play(&again, at_once)) {
            outcomes[at] = outcome;
        }
    }
    conclude("the kernel", outcomes);
}
