//! `zcn stack up`: a stack with the small services of the RFCs and a web server.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use zcn::stack::{StackConfig, StackError};
use zcn::{Net, Runtime};

use super::link_args::LinkArgs;
use super::services::Services;
use super::summary::Summary;
use super::{control, failure};
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

    /// Unix socket by which `zcn ss` asks [default: one in $XDG_RUNTIME_DIR/zcn, if that
    /// is set].
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

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
    let mut runtime = Runtime::new()?;
    let net = runtime.open_stack(&config).map_err(failure)?;
    let services = Services::start(&net)?;
    control::serve(
        &runtime,
        &net,
        &config.link.kind.to_string(),
        args.control.as_deref(),
    )?;
    let handle = runtime.handle();
    signal::on_first(move || handle.stop())
        .map_err(|error| Failure::new("cannot watch for signals").because(error))?;
    announce(args, &config, &net)?;
    let watched = net.clone();
    drop(runtime.spawn(async move {
        watched.link_gone().await;
        zcn::stop();
    }));
    runtime.run()?;
    let summary = Summary::new(&net, services.tally(), begun.elapsed());
    summary.print(args.json)?;
    match net.link_error() {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => {
            let error = StackError::LinkGone(error);
            Err(Failure::new("the stack had to stop").because(error))
        }
    }
}

fn announce(args: &UpArgs, config: &StackConfig, net: &Net) -> io::Result<()> {
    let mtu = net.link_capabilities().map_or(0, |link| link.mtu);
    let offloads = net.link_capabilities().is_some_and(|link| link.gso.tcp4);
    let addresses: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
    let mut out = io::stdout().lock();
    if args.json {
        let line = json!({
            "event": "up",
            "link": config.link.kind.to_string(),
            "addresses": addresses,
            "mtu": mtu,
            "super_frames": offloads,
        });
        writeln!(out, "{line}")?;
    } else {
        let super_frames = if offloads {
            "super-frames"
        } else {
            "single packets"
        };
        writeln!(
            out,
            "up on {}, MTU {}, {super_frames}: {}",
            config.link.kind,
            mtu,
            addresses.join(", ")
        )?;
        writeln!(
            out,
            "echo on 7, discard on 9, daytime on 13, chargen on 19, HTTP on 80; Ctrl-C stops"
        )?;
    }
    out.flush()
}
