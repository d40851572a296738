//! `zcn ublk`: block devices in user space, by the kernel's ublk driver.

mod list;
mod serve;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use zcn_ublk::{Control, UblkError};

use crate::failure::Failure;
use crate::quantity;

/// Arguments of `zcn ublk`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Needs Linux 6.5 or newer with the module ublk_drv, and root. Example:
  modprobe ublk_drv
  truncate -s 1G disk.img
  zcn ublk add --file disk.img --queues 2 &
  mkfs.ext4 /dev/ublkb0
  zcn ublk del 0")]
pub struct UblkArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with block devices.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Add a block device and serve it, from memory or a file, until a signal comes or it is
    /// deleted.
    Add(serve::AddArgs),
    /// Serve a recoverable device whose server is gone.
    Recover(serve::RecoverArgs),
    /// Show the devices there are.
    List(list::ListArgs),
    /// Delete a device; its server ends.
    Del(DelArgs),
}

/// Arguments of `zcn ublk del`.
#[derive(Clone, Debug, Args)]
pub struct DelArgs {
    /// Its id: 0 for /dev/ublkb0.
    #[arg(value_name = "ID", value_parser = quantity::whole(0_u32..))]
    pub id: u32,
}

/// Runs the action.
///
/// # Errors
/// What failed, with cause and remedy.
pub fn run(args: &UblkArgs) -> Result<ExitCode, Failure> {
    match &args.action {
        Action::Add(args) => serve::add(args),
        Action::Recover(args) => serve::recover(args),
        Action::List(args) => list::run(args),
        Action::Del(args) => delete(args),
    }
}

fn delete(args: &DelArgs) -> Result<ExitCode, Failure> {
    Control::open()
        .and_then(|mut control| control.delete(args.id))
        .map_err(|error| failure(format!("cannot delete ublk device {}", args.id), error))?;
    Ok(ExitCode::SUCCESS)
}

/// What went wrong with a device; the error itself says what helps, but for what a command of this
/// program does.
fn failure(what: String, error: UblkError) -> Failure {
    let remedy = match &error {
        UblkError::NoDevice { .. } => Some("zcn ublk list"),
        UblkError::Exists { .. } => Some("zcn ublk del, or no --id"),
        _ => None,
    };
    let failure = Failure::new(what).because(error);
    match remedy {
        Some(remedy) => failure.remedy(remedy),
        None => failure,
    }
}
