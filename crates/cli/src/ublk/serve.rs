//! `zcn ublk add` and `zcn ublk recover`: a device in the foreground.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use zcn_ublk::{Control, Device, DeviceOptions, Tally, Target, UblkError};

use super::failure;
use crate::failure::Failure;
use crate::{quantity, signal};

/// Arguments of `zcn ublk add`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
SIGINT (Ctrl-C) or SIGTERM deletes the device and prints what was asked of it: unmount it first. On a \
file, a write is stable after a flush, as on a disk.")]
pub struct AddArgs {
    /// What stands behind the device.
    #[command(flatten)]
    pub target: TargetArgs,

    /// Id of the device: N for /dev/ublkbN [default: a free one].
    #[arg(long, value_name = "N", value_parser = quantity::whole(0_u32..))]
    pub id: Option<u32>,

    /// Hardware queues, each with a thread; no more than there are CPUs.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = quantity::whole(0_u16..))]
    pub queues: u16,

    /// Requests of a queue under way together.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = quantity::whole(0_u16..))]
    pub depth: u16,

    /// Bytes of a block: 512, 1k, 2k or 4k.
    #[arg(long, value_name = "SIZE", default_value = "512", value_parser = size)]
    pub block_size: u32,

    /// Bytes of the largest request, up to 32M.
    #[arg(long, value_name = "SIZE", default_value = "256k", value_parser = size)]
    pub max_io: u32,

    /// Let nothing be written.
    #[arg(long)]
    pub read_only: bool,

    /// If this server dies, keep the device and its requests for `zcn ublk recover`.
    #[arg(long, conflicts_with = "memory")]
    pub recoverable: bool,

    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

/// What stands behind a device: memory or a file.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TargetArgs {
    /// Memory of this size, lost with the server.
    #[arg(long, value_name = "SIZE", value_parser = quantity::nonzero_bytes)]
    pub memory: Option<usize>,

    /// A file or block device, with the size it has.
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
}

/// Arguments of `zcn ublk recover`.
#[derive(Clone, Debug, Args)]
pub struct RecoverArgs {
    /// Id of the device.
    #[arg(value_name = "ID", value_parser = quantity::whole(0_u32..))]
    pub id: u32,

    /// The file that stood behind it.
    #[arg(long, value_name = "PATH")]
    pub file: PathBuf,

    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

fn size(text: &str) -> Result<u32, String> {
    u32::try_from(quantity::nonzero_bytes(text)?).map_err(|_| format!("{text:?} is too large"))
}

impl AddArgs {
    fn options(&self) -> DeviceOptions {
        DeviceOptions {
            id: self.id,
            queues: self.queues,
            depth: self.depth,
            block_size: self.block_size,
            max_io_bytes: self.max_io,
            read_only: self.read_only,
            recoverable: self.recoverable,
        }
    }

    fn target(&self) -> Result<Target, UblkError> {
        match &self.target {
            TargetArgs {
                file: Some(path), ..
            } => Target::file(path, self.read_only),
            // One of the two is there, as the parser sees to.
            TargetArgs { memory, .. } => Target::memory(memory.unwrap_or(0) as u64),
        }
    }
}

pub(super) fn add(args: &AddArgs) -> Result<ExitCode, Failure> {
    let options = args.options();
    let device = args
        .target()
        .and_then(|target| Device::add(target, &options))
        .map_err(|error| failure("cannot add a ublk device".to_owned(), error))?;
    serve(device, args.target.file.as_deref(), args.json)
}

pub(super) fn recover(args: &RecoverArgs) -> Result<ExitCode, Failure> {
    // As it was opened before: a file that may only be read stands behind such a device alone.
    let device = Control::open()
        .and_then(|mut control| control.info(args.id))
        .and_then(|device| Target::file(&args.file, device.read_only))
        .and_then(|target| Device::recover(args.id, target))
        .map_err(|error| failure(format!("cannot recover ublk device {}", args.id), error))?;
    serve(device, Some(&args.file), args.json)
}

/// Serves until a signal comes or the device is deleted.
fn serve(device: Device, file: Option<&Path>, json: bool) -> Result<ExitCode, Failure> {
    let stopper = device.stopper();
    signal::on_first(move || {
        if let Err(error) = stopper.stop() {
            tracing::error!(%error, "the device could not be stopped");
        }
    })
    .map_err(|error| Failure::new("cannot watch for signals").because(error))?;
    announce(&device, file, json)?;
    let id = device.id();
    let tally = device
        .wait()
        .map_err(|error| failure(format!("ublk device {id} had to end"), error))?;
    report(&tally, json)?;
    Ok(ExitCode::SUCCESS)
}

fn announce(device: &Device, file: Option<&Path>, json: bool) -> Result<(), Failure> {
    let info = device
        .info()
        .map_err(|error| failure(format!("ublk device {} is gone", device.id()), error))?;
    let mut out = io::stdout().lock();
    if json {
        let line = json!({
            "event": "up",
            "id": info.id,
            "path": info.path(),
            "file": file,
            "size": info.size,
            "queues": info.queues,
            "depth": info.depth,
        });
        writeln!(out, "{line}")?;
    } else {
        let place = match file {
            Some(path) => format!("on {}", path.display()),
            None => "in memory".to_owned(),
        };
        writeln!(
            out,
            "{}: {} {place}, queues: {}, depth: {}; Ctrl-C or `zcn ublk del {}` deletes it",
            info.path().display(),
            quantity::size(info.size),
            info.queues,
            info.depth,
            info.id
        )?;
    }
    out.flush()?;
    Ok(())
}

fn report(tally: &Tally, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let line = json!({
            "event": "end",
            "reads": tally.reads,
            "bytes_read": tally.bytes_read,
            "writes": tally.writes,
            "bytes_written": tally.bytes_written,
            "flushes": tally.flushes,
            "ranges": tally.ranges,
            "failed": tally.failed,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "{} reads of {}, {} writes of {}, {} flushes, {} ranges discarded or zeroed, {} failed",
            tally.reads,
            quantity::size(tally.bytes_read),
            tally.writes,
            quantity::size(tally.bytes_written),
            tally.flushes,
            tally.ranges,
            tally.failed
        )?;
    }
    out.flush()
}
