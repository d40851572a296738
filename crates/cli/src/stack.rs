//! `zcn stack`: the TCP/IP of zcn in user space, on a link of its own.

pub(crate) mod compare;
pub(crate) mod control;
pub(crate) mod link_args;
mod services;
mod summary;
mod up;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use zcn::stack::StackError;

use crate::failure::Failure;

/// Arguments of `zcn stack`.
#[derive(Clone, Debug, Args)]
pub struct StackArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with a stack.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Bring a stack up and serve on it: echo on port 7, discard on 9, daytime on 13,
    /// character generator on 19 (each over TCP and UDP), HTTP on 80; pings are answered.
    Up(up::UpArgs),
    /// Compare what this stack and the kernel's make of a bad path: loss, reordering,
    /// duplication, corruption.
    Compare(compare::CompareArgs),
}

/// Runs the action.
///
/// # Errors
/// What failed, with cause and remedy.
pub fn run(args: &StackArgs) -> Result<ExitCode, Failure> {
    match &args.action {
        Action::Up(args) => up::run(args),
        Action::Compare(args) => compare::run(args),
    }
}

/// What went wrong with a stack, and what helps.
pub(crate) fn failure(error: StackError) -> Failure {
    let remedy = match error {
        StackError::Read { .. } => Some("--config FILE with a TOML file that you may read"),
        StackError::File { .. } => Some("docs/stack.md shows such a file"),
        _ => None,
    };
    let failure = Failure::new("cannot bring the stack up").because(error);
    match remedy {
        Some(remedy) => failure.remedy(remedy),
        None => failure,
    }
}
