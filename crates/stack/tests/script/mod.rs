//! A runner for scripts: segments in, segments expected, socket calls and times, over the TCP
//! layer in virtual time.
//!
//! A line is `TIME ACTION`; `#` begins a comment. `TIME` is `+seconds` since the line before,
//! for an expected segment also `+from~to`. Numbers of a segment are relative to the initial
//! ones of each side; timestamps of ours are milliseconds since our first one, those of the
//! peer are as written.
//!
//! ```text
//! config NAME=VALUE ...           before everything else; see `settings.rs`
//! option NAME=VALUE ...           options of the sockets to come
//! differs WHY                     Linux does otherwise (see docs/packetdrill.md)
//! sockets-differ WHY              so does every socket, also one of the plugin
//! use NAME                        the lines of prologue/NAME.script
//! +0 listen [backlog N]
//! +0 connect [data N]            with data that is sent before the SYN leaves
//! +0 < S seq 0 win 65535 mss 1460 sackok ts 100 0 ws 7
//! +0 > SA seq 0 ack 1 mss 1460
//! +0 < A seq 1 ack 1 win 1000 [len N] [sack A-B ...] [urg N] [ect0|ect1|ce]
//! +0 < S seq 0 ... [fo HEX|request]       flags: S A F P R U, E for ECE, W for CWR, N for AE,
//!                                         - for none; ace N: the last three as a number
//! +0 > A seq 1 ack 1 ace 5 acc1 1,0,1     the AccECN option of order 0 or 1; no counters: -
//! +0 accept [= wouldblock]
//! +0 send N [more] [eor] [urgent] [= N|wouldblock|closed|reset|...]
//! +0 sendbuf N    recv N [= N|eof|...]    close    abort    shutdown    shutread
//! +0 set OPTION VALUE
//! +0 icmp too-big MTU seq N       icmp port-unreachable seq N ...
//! +0 woken = yes|no               whether an event said since that a socket is writable
//! +0 writable = yes|no            whether poll(2) would say so
//! +0 error = none|reset|refused|timedout|...
//! +0 state = ESTABLISHED|...|gone
//! +0 info FIELD OP VALUE [...]     OP: = != < <= > >=
//! +0 show FIELD ...               prints them, to find out
//! +0 stat NAME OP VALUE           drop REASON OP VALUE
//! +9 silence                      nothing leaves until then
//! ```
//!
//! A segment of another connection than the first has its number behind the arrow: `<2`,
//! `>2`; a call on another socket than the first has it behind the verb: `send@2`.

mod action;
mod judge;
mod runner;
mod settings;

use std::path::Path;

/// Where the scripts are, a folder for each feature.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

/// Runs every script of a folder; panics with all that went wrong.
pub(crate) fn run_folder(feature: &str) -> usize {
    let folder = Path::new(SCRIPTS).join(feature);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "script"))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no scripts in {feature}");
    let mut failures = String::new();
    for path in &names {
        let name = format!(
            "{feature}/{}",
            path.file_name().unwrap_or_default().to_string_lossy()
        );
        let text = std::fs::read_to_string(path).expect("a readable script");
        if let Err(error) = run(&text) {
            failures.push_str(&format!("{name}:{error}\n"));
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    names.len()
}

/// Runs one script; the error begins with the number of the line.
pub(crate) fn run(text: &str) -> Result<(), String> {
    let script = action::parse(text, Path::new(SCRIPTS))?;
    runner::Runner::new(&script)?.run(&script)
}
