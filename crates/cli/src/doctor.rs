//! `zcn doctor`: what this kernel, machine and process allow.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use zcn_sys::check::{Check, Status};
use zcn_sys::probe::{self, Access};

use crate::colour::{self, Colour};
use crate::failure::Failure;

/// Columns of the table, remedies included.
const WIDTH: usize = 100;

/// Arguments of `zcn doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 0 unless zcn cannot run here at all: no epoll, no loopback sockets, strict seccomp, \
or fewer than 64 descriptors. A refused io_uring is a warning, because epoll takes over.")]
pub struct DoctorArgs {
    /// Print one JSON object a line: check, status (ok, unknown, warn,
    /// fail), value, remedy (a string or null).
    #[arg(long)]
    pub json: bool,
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    check: &'a str,
    status: &'a str,
    value: &'a str,
    remedy: Option<&'a str>,
}

/// Runs every probe and prints what they found.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let checks = probe::all();
    let stdout = io::stdout();
    let colour = colour::wanted(stdout.is_terminal());
    let mut out = stdout.lock();
    if args.json {
        write_json(&mut out, &checks)?;
    } else {
        write_table(&mut out, &checks, colour)?;
    }
    out.flush()?;
    Ok(verdict(&checks))
}

fn verdict(checks: &[Check]) -> ExitCode {
    if count(checks, Status::Fail) > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn count(checks: &[Check], status: Status) -> usize {
    checks.iter().filter(|check| check.status == status).count()
}

fn write_json(out: &mut impl Write, checks: &[Check]) -> io::Result<()> {
    for check in checks {
        let line = Line {
            check: check.name,
            status: check.status.word(),
            value: &check.value,
            remedy: check.remedy.as_deref(),
        };
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)?;
    }
    Ok(())
}

fn write_table(out: &mut impl Write, checks: &[Check], colour: bool) -> io::Result<()> {
    let names = checks.iter().map(|check| check.name.len()).max();
    let name_width = names.unwrap_or(0);
    let margin = "unknown  ".len() + name_width + 2;
    let mut group = "";
    for check in checks {
        if check.group() != group && !group.is_empty() {
            writeln!(out)?;
        }
        group = check.group();
        let status = paint_status(colour, check.status);
        write!(out, "{status}  {:name_width$}  ", check.name)?;
        write_wrapped(out, &check.value, margin, |line| line.to_owned())?;
        if let Some(remedy) = &check.remedy {
            write!(out, "{:margin$}", "")?;
            let remedy = format!("-> {remedy}");
            write_wrapped(out, &remedy, margin, |line| {
                colour::paint(colour, Colour::Dim, line)
            })?;
        }
    }
    writeln!(out)?;
    writeln!(out, "{}", summary(checks))
}

fn paint_status(wanted: bool, status: Status) -> String {
    let colour = match status {
        Status::Ok => Colour::Green,
        Status::Unknown => Colour::Dim,
        Status::Warn => Colour::Yellow,
        Status::Fail => Colour::Red,
    };
    colour::paint(wanted, colour, &format!("{status:7}"))
}

/// Writes `text` over as many lines as it takes, all but the first moved
/// right by `margin`.
fn write_wrapped(
    out: &mut impl Write,
    text: &str,
    margin: usize,
    paint: impl Fn(&str) -> String,
) -> io::Result<()> {
    let room = WIDTH.saturating_sub(margin).max(20);
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > room {
            writeln!(out, "{}", paint(&line))?;
            write!(out, "{:margin$}", "")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{}", paint(&line))
}

fn summary(checks: &[Check]) -> String {
    let of = |status| count(checks, status);
    let ring = checks.iter().find(|check| check.name == "ring.access");
    let verdict = match ring {
        _ if of(Status::Fail) > 0 => "zcn cannot run here: see what failed",
        Some(ring) if ring.status == Status::Ok => "zcn runs here, on io_uring",
        // No refusal: epoll does not take over what a higher limit would mend.
        Some(ring) if ring.value.starts_with(&Access::OutOfMemory.to_string()) => {
            "zcn runs here with --reactor epoll only, or with more memory for rings"
        }
        _ => "zcn runs here, on epoll",
    };
    format!(
        "{verdict} ({} ok, {} warn, {} unknown, {} fail)",
        of(Status::Ok),
        of(Status::Warn),
        of(Status::Unknown),
        of(Status::Fail)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn table(checks: &[Check], colour: bool) -> String {
        let mut out = Vec::new();
        write_table(&mut out, checks, colour).expect("memory is writable");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn json_is_one_object_a_line() {
        let checks = probe::all();
        let mut out = Vec::new();
        write_json(&mut out, &checks).expect("memory is writable");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.lines().count(), checks.len());
        for line in text.lines() {
            let object: Value = serde_json::from_str(line).expect("an object");
            assert!(object["check"].is_string(), "{line}");
            let status = object["status"].as_str().expect("a word");
            assert!(
                ["ok", "unknown", "warn", "fail"].contains(&status),
                "{line}"
            );
            assert!(object["value"].is_string(), "{line}");
            assert!(object["remedy"].is_string() || object["remedy"].is_null());
        }
    }

    #[test]
    fn only_a_failed_check_fails_the_program() {
        let ok = Check::ok("a.b", "fine");
        let warn = Check::warn("a.c", "slow", "faster");
        let fail = Check::fail("a.d", "broken", "mend it");
        assert_eq!(verdict(&[ok.clone(), warn]), ExitCode::SUCCESS);
        assert_eq!(verdict(&[ok, fail]), ExitCode::FAILURE);
    }

    #[test]
    fn the_summary_names_the_reactor() {
        let allowed = Check::ok("ring.access", "allowed");
        let refused = Check::warn("ring.access", "refused", "allow it");
        let broken = Check::fail("network.epoll", "broken", "mend it");
        assert!(summary(std::slice::from_ref(&allowed)).contains("on io_uring"));
        assert!(summary(&[refused]).contains("on epoll"));
        // Once promised that epoll would take over, which it does not.
        let short = Check::warn("ring.access", Access::OutOfMemory.to_string(), "raise it");
        assert!(summary(&[short]).contains("--reactor epoll only"));
        assert!(summary(&[allowed, broken]).contains("cannot run"));
    }

    #[test]
    fn long_remedies_are_wrapped_under_their_check() {
        let remedy = "word ".repeat(60);
        let text = table(&[Check::warn("a.b", "value", remedy)], false);
        assert!(text.lines().count() > 4, "{text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn colour_appears_when_wanted() {
        let text = table(&[Check::fail("a.b", "value", "remedy")], true);
        assert!(text.contains("\x1b[31mfail"), "{text}");
    }
}
