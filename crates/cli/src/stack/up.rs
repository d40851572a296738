//! `zcn stack up`: a stack with the small services of the RFCs and a web server.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use zcn::stack::{StackConfig, StackLoop};

use super::failure;
use super::link_args::LinkArgs;
use super::services::Services;
use super::summary::Summary;
use crate::failure::Failure;
use crate::signal;

/// Arguments of `zcn stack up`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example, as root:
  zcn stack up --tap zcn0 --address 10.9.0.2/24 --kernel-address 10.9.0.1/24 &
  ping 10.9.0.2
  curl http://10.9.0.2/bytes/1000000 | wc -c

SIGINT (Ctrl-C) or SIGTERM ends it and prints what was counted; connections are cut.")]
pub struct UpArgs {
    /// The link and the addresses.
    #[command(flatten)]
    pub on: LinkArgs,

    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Serves until a signal comes.
///
/// # Errors
/// When the link or the addresses cannot be had, or the link goes away.
pub(super) fn run(args: &UpArgs) -> Result<ExitCode, Failure> {
    let config = args.on.settings()?;
    let begun = Instant::now();
    let mut stack = StackLoop::open(&config).map_err(failure)?;
    let mut services = Services::start(&mut stack)?;
    let stopper = stack.stopper();
    signal::on_first(move || stopper.stop())
        .map_err(|error| Failure::new("cannot watch for signals").because(error))?;
    announce(args, &config, &stack)?;
    let ended = stack.run(&mut services);
    let summary = Summary::new(&mut stack, services.tally(), begun.elapsed());
    summary.print(args.json)?;
    ended.map_err(|error| Failure::new("the stack had to stop").because(error))?;
    Ok(ExitCode::SUCCESS)
}

fn announce(args: &UpArgs, config: &StackConfig, stack: &StackLoop) -> io::Result<()> {
    let capabilities = stack.driver().capabilities();
    let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
    let mut out = io::stdout().lock();
    if args.json {
        let line = json!({
            "event": "up",
            "link": config.link.kind.to_string(),
            "addresses": addresses,
            "mtu": capabilities.mtu,
            "super_frames": capabilities.gso.tcp4,
        });
        writeln!(out, "{line}")?;
    } else {
        let super_frames = if capabilities.gso.tcp4 {
            "super-frames"
        } else {
            "single packets"
        };
        writeln!(
            out,
            "up on {}, MTU {}, {super_frames}: {}",
            config.link.kind,
            capabilities.mtu,
            addresses.join(", ")
        )?;
        writeln!(
            out,
            "echo on 7, discard on 9, daytime on 13, chargen on 19, HTTP on 80; Ctrl-C stops"
        )?;
    }
    out.flush()
}
