//! The program `zcn`: shows, measures and examines the networking stack.
//!
//! One file per subcommand, each with its arguments and a `run`. A new
//! subcommand is a file here and a variant of [`command::Command`].

#![forbid(unsafe_code)]

pub mod capture;
pub mod client;
pub mod colour;
pub mod command;
pub mod completions;
pub mod connect;
pub mod demo;
pub mod doctor;
pub mod echo;
pub mod endpoint;
pub mod failure;
pub mod logging;
pub mod man;
pub mod mine;
mod network;
pub mod ping;
pub mod ping_pong;
pub mod pool;
pub mod quantity;
pub mod reactor;
pub mod send;
mod signal;
pub mod ss;
pub mod stack;
pub mod ublk;

/// The examples of the documents, so that they keep compiling.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/rust.md")]
    mod rust {}
}

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use command::Cli;

/// Parses the command line, runs it, and turns its outcome into the exit
/// code: 0 done, 1 failed, 2 misused.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match logging::start(cli.verbose).and_then(|()| cli.command.run()) {
        Ok(code) => code,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // With stderr gone there is nobody left to tell.
            let _ = write!(io::stderr(), "{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
