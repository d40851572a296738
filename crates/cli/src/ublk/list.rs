//! `zcn ublk list`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::json;
use zcn_ublk::{Control, DeviceInfo};

use super::failure;
use crate::failure::Failure;
use crate::quantity;

const HEADINGS: [&str; 9] = [
    "ID", "Device", "State", "Size", "Block", "Queues", "Depth", "Server", "Notes",
];

/// Arguments of `zcn ublk list`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Size and Block are in bytes; Server is the process that serves a device. A quiesced device waits for \
`zcn ublk recover`, a dead one for `zcn ublk del`.")]
pub struct ListArgs {
    /// Print one JSON object for each device.
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &ListArgs) -> Result<ExitCode, Failure> {
    let devices = Control::open()
        .and_then(|mut control| control.list())
        .map_err(|error| failure("cannot list ublk devices".to_owned(), error))?;
    let mut out = io::stdout().lock();
    if args.json {
        for device in &devices {
            writeln!(out, "{}", object(device))?;
        }
    } else {
        writeln!(out, "{}", table(&devices))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn object(device: &DeviceInfo) -> serde_json::Value {
    json!({
        "id": device.id,
        "path": device.path(),
        "state": device.state.to_string(),
        "size": device.size,
        "block_size": device.block_size,
        "queues": device.queues,
        "depth": device.depth,
        "max_io_bytes": device.max_io_bytes,
        "read_only": device.read_only,
        "recoverable": device.recoverable,
        "server": device.server,
    })
}

fn table(devices: &[DeviceInfo]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(HEADINGS);
    for column in [0, 3, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for device in devices {
        let notes: Vec<&str> = [
            (device.read_only, "read-only"),
            (device.recoverable, "recoverable"),
        ]
        .into_iter()
        .filter_map(|(holds, note)| holds.then_some(note))
        .collect();
        table.add_row([
            device.id.to_string(),
            device.path().display().to_string(),
            device.state.to_string(),
            quantity::size(device.size),
            device.block_size.to_string(),
            device.queues.to_string(),
            device.depth.to_string(),
            device
                .server
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            notes.join(", "),
        ]);
    }
    table.trim_fmt()
}
