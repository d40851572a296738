//! `zcn demo`: the stack shown on real traffic, with its peers beside it.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `zcn demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Seconds the whole demonstration takes.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..=600))]
    pub seconds: u64,

    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    pub json: bool,

    /// Write a report with plots, in one file, to this place.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}
