//! The kernel is the reference for the sender: what leaves, and what it thinks of what has left.

#![expect(clippy::print_stdout, reason = "a test tells what it found")]

mod driver;
mod matrix;
#[path = "sender/player.rs"]
mod player;
#[expect(dead_code, reason = "another test uses the rest")]
#[path = "replay/probe.rs"]
mod probe;
#[path = "sender/scenario.rs"]
mod scenario;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::mpsc;

use driver::Tool;
use driver::kernel::{Settings, on_the_kernel};
use matrix::subject::Subject;
use player::Told;
use scenario::{Group, Scenario};

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sender/scenarios");
/// Scenarios at once: what differs is played again with fewer beside it, as the machine may have been
/// too busy.
const AT_ONCE: [usize; 7] = [25, 10, 5, 2, 1, 1, 1];

impl Group {
    const ALL: [Self; 4] = [Self::Calm, Self::Path, Self::Timeouts, Self::Probes];

    /// Whether scenarios of the group would get in each other's way.
    const fn is_apart(self) -> bool {
        matches!(self, Self::Path)
    }

    /// Of the kernel: no timer gets in the way but those that are judged.
    const fn sysctls(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Calm | Self::Path => &[
                ("ipv4/tcp_rto_min_us", "20000000"),
                ("ipv4/tcp_early_retrans", "0"),
            ],
            Self::Timeouts => &[
                ("ipv4/tcp_rto_min_us", "400000"),
                ("ipv4/tcp_early_retrans", "0"),
            ],
            Self::Probes => &[("ipv4/tcp_rto_min_us", "400000")],
        }
    }

    /// The same of the stack.
    fn flags(self) -> String {
        let names = self.sysctls().iter();
        let flags = names.map(|(name, value)| format!("{}={value}", &name["ipv4/".len()..]));
        flags.collect::<Vec<_>>().join(" ")
    }
}

fn all() -> Vec<Scenario> {
    let only = std::env::var("ZCN_SCENARIO").unwrap_or_default();
    let folder = std::fs::read_dir(Path::new(SCENARIOS)).expect("scenarios");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a file");
        found.extend(scenario::parse(&text));
    }
    found.retain(|scenario| scenario.name.contains(&only));
    found
}

/// What differs, told.
fn difference(scenario: &Scenario, ours: &[Told], theirs: &[Told]) -> Option<String> {
    let at = (0..ours.len().max(theirs.len())).find(|&at| ours.get(at) != theirs.get(at))?;
    let mut text = format!("== {} {:?}\n", scenario.name, scenario.settings);
    for line in theirs[..at].iter().flatten() {
        let _ = writeln!(text, "         {line}");
    }
    for (ours, theirs) in ours[at].iter().zip(&theirs[at]) {
        if ours == theirs {
            let _ = writeln!(text, "         {theirs}");
            continue;
        }
        let _ = writeln!(text, "  ours   {ours}\n  kernel {theirs}");
        break;
    }
    Some(text)
}

/// Whether the kernel is the one that the stack follows, or a later one: when a part of a super-frame
/// waits for an acknowledgement has changed with it.
fn is_recent() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    (numbers.next(), numbers.next()) >= (Some(6_u32), Some(18_u32))
}

/// What the kernel makes of scenarios, in a namespace of theirs; nothing where there can be none.
fn theirs(group: Group, scenarios: Vec<Scenario>) -> Option<Vec<Vec<Told>>> {
    let settings = Settings {
        mtu: 1500,
        metrics: "congctl reno",
        sysctls: group.sysctls(),
    };
    let (tell, told) = mpsc::channel();
    on_the_kernel(settings, move |kernel| {
        let scenarios: Vec<&Scenario> = scenarios.iter().collect();
        let played = player::play(&scenarios, &mut Subject::new(kernel, 0));
        tell.send(played).expect("somebody waits");
    });
    told.recv().ok()
}

/// Plays scenarios of a group on both; what differs has more chances on the kernel.
fn compare(group: Group, scenarios: &[Scenario]) -> Vec<String> {
    let mut ours = Vec::new();
    for part in scenarios.chunks(if group.is_apart() { 1 } else { usize::MAX }) {
        let tool = Tool::new(&group.flags());
        let part: Vec<&Scenario> = part.iter().collect();
        ours.extend(player::play(&part, &mut Subject::new(&tool, 0)));
    }
    let mut left: Vec<usize> = (0..scenarios.len()).collect();
    let mut differences = Vec::new();
    for at_once in AT_ONCE {
        let at_once = if group.is_apart() { 1 } else { at_once };
        differences.clear();
        let mut again = Vec::new();
        for part in left.chunks(at_once) {
            let played = part.iter().map(|&at| scenarios[at].clone()).collect();
            let Some(theirs) = theirs(group, played) else {
                return Vec::new();
            };
            for (&at, theirs) in part.iter().zip(&theirs) {
                let scenario = &scenarios[at];
                let found = difference(scenario, &ours[at], theirs);
                match (found, &scenario.differs) {
                    (Some(_), Some(reason)) => println!("differs: {}: {reason}", scenario.name),
                    (Some(difference), None) => {
                        differences.push(difference);
                        again.push(at);
                    }
                    (None, Some(_)) => differences.push(format!("{}: no more", scenario.name)),
                    (None, None) => {}
                }
            }
        }
        if again.is_empty() {
            break;
        }
        println!("{group:?}: {} of {} differ", again.len(), left.len());
        left = again;
    }
    differences
}

fn check(scenarios: &[Scenario]) {
    if !is_recent() {
        return println!("SKIPPED: the kernel is older than 6.18");
    }
    let mut differ = 0;
    for group in Group::ALL {
        let mut part = scenarios.to_vec();
        part.retain(|scenario| scenario.settings.group == group);
        for difference in compare(group, &part) {
            println!("{difference}");
            differ += 1;
        }
    }
    assert_eq!(differ, 0, "see above");
}

#[test]
fn scenarios_go_as_on_the_kernel() {
    check(&all());
}
