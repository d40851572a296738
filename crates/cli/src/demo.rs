//! `zcn demo`: the stack shown on real traffic, with its peers beside it.

mod contender;
mod contest;
mod html;
mod lines;
mod neighbours;
mod plot;
mod server;
mod table;
mod user_space;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use zcn_measure::environment::Environment;

use crate::failure::Failure;
use crate::quantity;
use contender::Field;
use contest::{Contest, Plan};
use neighbours::Ticks;
use server::Account;
use user_space::UserSpace;

/// The part of the time that is the kernel half's.
const KERNEL_SHARE: f64 = 0.7;

/// Arguments of `zcn demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
The kernel half runs on the loopback interface of this machine, without privileges: servers on one \
core, their clients on another. The user-space half runs in network namespaces that the program \
makes and nobody else sees, with a user namespace around them where that takes no privilege; where \
namespaces or TAP devices are refused it runs through memory, and says so. The clients compare every \
byte that comes back.")]
pub struct DemoArgs {
    /// Seconds the whole demonstration takes.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = quantity::whole(2_u64..=600))]
    pub seconds: u64,

    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    pub json: bool,

    /// Write a report with plots, in one file, to this place.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Write what a ping and a download over the user-space half look like on its link, as
    /// pcapng, to this place.
    #[arg(long, value_name = "FILE")]
    pub pcapng: Option<PathBuf>,
}

/// What there is to tell at the end.
struct Story {
    environment: Environment,
    /// Why io_uring is not used, when it is not.
    refused: Option<String>,
    plan: Plan,
    contest: Contest,
    user_space: UserSpace,
    /// Buffers of zcn's servers.
    account: Account,
    /// Share of the machine's CPU time that other programs took meanwhile.
    others: Option<f64>,
    /// Wall time of everything.
    took: Duration,
}

/// Measures, and prints what came of it.
///
/// # Errors
/// When a byte came back wrong, a server failed, a buffer is missing, or the
/// report cannot be written.
pub fn run(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    for (flag, path) in [("--html", &args.html), ("--pcapng", &args.pcapng)] {
        let Some(path) = path else { continue };
        // Better now than after the measurement.
        try_to_write(path).map_err(|error| not_written(flag, path, error))?;
    }
    // Before there are threads.
    let namespaces = user_space::prepare();
    let field = Field::enter()?;
    if !args.json {
        introduce(&field)?;
    }
    let plan = Plan::for_seconds(KERNEL_SHARE * args.seconds as f64, field.contenders.len());
    let before = Ticks::now();
    let contest = contest::run(&field, &plan)?;
    let sample = plan.user_space_sample((1.0 - KERNEL_SHARE) * args.seconds as f64);
    let user_space = user_space::run(namespaces, plan.rounds, sample, args.pcapng.as_deref())?;
    let others = before.and_then(|before| before.others_until(&Ticks::now()?));
    let story = Story {
        environment: Environment::detect(),
        refused: field.refused.clone(),
        account: field.account.read(),
        plan,
        contest,
        user_space,
        others,
        took: begun.elapsed(),
    };
    let mut out = io::stdout().lock();
    if args.json {
        lines::write(&story, &mut out)?;
    } else {
        out.write_all(table::text(&story).as_bytes())?;
    }
    out.flush()?;
    if let Some(path) = &args.html {
        let report = html::report(&story)
            .map_err(|error| Failure::new("cannot draw the report").because(error))?;
        fs::write(path, report).map_err(|error| not_written("--html", path, error))?;
        if !args.json {
            writeln!(out, "\nreport written to {}", path.display())?;
        }
    }
    match story.account.missing() {
        0 => Ok(ExitCode::SUCCESS),
        missing => {
            Err(Failure::new(format!("{missing} buffers did not come home"))
                .because("a bug in zcn"))
        }
    }
}

fn introduce(field: &Field) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "zcn demo: echo servers of three kinds under the same load, then the TCP/IP in user space; every \
         byte checked"
    )?;
    if let Some(reason) = &field.refused {
        writeln!(
            out,
            "io_uring is not used here, so zcn runs on epoll: {reason}"
        )?;
    }
    if field.cores.is_none() {
        writeln!(
            out,
            "one core only: server and client share it, and nobody spins"
        )?;
    }
    Ok(())
}

/// Whether the report will find its place. An earlier one is left alone, and
/// no empty one stays behind, in case the demonstration is interrupted.
fn try_to_write(path: &Path) -> io::Result<()> {
    let is_new = !path.exists();
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)?;
    match is_new {
        true => fs::remove_file(path),
        false => Ok(()),
    }
}

fn not_written(flag: &str, path: &Path, error: io::Error) -> Failure {
    Failure::new(format!("cannot write {flag} {}", path.display()))
        .because(error)
        .remedy("a file in a directory that exists and that you may write to")
}
