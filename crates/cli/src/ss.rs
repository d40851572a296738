//! `zcn ss`: the sockets of running stacks.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::Value;

use crate::failure::Failure;
use crate::stack::control;

/// How long a stack may take to answer.
const HANG: Duration = Duration::from_secs(10);
const HEADINGS: [&str; 8] = [
    "State", "Recv-Q", "Send-Q", "Local", "Peer", "RTT", "cwnd", "Retrans",
];

/// Arguments of `zcn ss`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
RTT is the smoothed round trip time, cwnd the congestion window in segments, Retrans the segments \
sent again. --json has every field of TcpInfo, under Linux's names.")]
pub struct SsArgs {
    /// Control socket of the stack, as given to `zcn stack up` [default: those of all stacks
    /// in $XDG_RUNTIME_DIR/zcn].
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// Show listeners as well.
    #[arg(short, long)]
    pub all: bool,

    /// Show more of each connection.
    #[arg(short, long)]
    pub info: bool,

    /// Print one JSON object for each stack.
    #[arg(long)]
    pub json: bool,
}

/// Asks, and prints what the stacks answer.
///
/// # Errors
/// No stack runs, or it does not answer.
pub fn run(args: &SsArgs) -> Result<ExitCode, Failure> {
    let documents = match &args.control {
        Some(path) => vec![ask(path).map_err(|error| no_answer(path, error))?],
        None => all()?,
    };
    let mut out = io::stdout().lock();
    for document in documents {
        if args.json {
            writeln!(out, "{document}")?;
        } else {
            show(args, &document, &mut out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn no_answer(path: &Path, error: io::Error) -> Failure {
    Failure::new(format!("no stack answers at {}", path.display()))
        .because(error)
        .remedy("the path that was given to `zcn stack up --control`")
}

/// What all stacks in the folder answer; sockets that nobody is behind are passed over.
fn all() -> Result<Vec<Value>, Failure> {
    let remedy = "start one with `zcn stack up`, or name its socket with --control";
    let folder = control::folder().ok_or_else(|| {
        Failure::new("no stack can be found: XDG_RUNTIME_DIR is not set")
            .remedy("--control PATH, for `zcn stack up` and here")
    })?;
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.retain(|path| path.extension().is_some_and(|end| end == "sock"));
    paths.sort();
    let documents: Vec<Value> = paths.iter().filter_map(|path| ask(path).ok()).collect();
    match documents.is_empty() {
        true => Err(Failure::new(format!(
            "no stack runs that has a socket in {}",
            folder.display()
        ))
        .remedy(remedy)),
        false => Ok(documents),
    }
}

fn ask(path: &Path) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(HANG))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

fn show(args: &SsArgs, document: &Value, out: &mut impl Write) -> io::Result<()> {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    writeln!(
        out,
        "stack on {}, process {}: {} open, {} half-open, {} in TIME-WAIT",
        word(&document["link"]),
        document["pid"],
        document["connections_open"],
        document["half_open"],
        document["time_wait"]
    )?;
    let none = Vec::new();
    let list = |key: &str| document[key].as_array().unwrap_or(&none);
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(HEADINGS);
    for column in [1, 2, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if args.all {
        for listener in list("listeners") {
            let local = word(&listener["local"]);
            let waiting = listener["waiting"].to_string();
            let row = [
                "LISTEN".to_owned(),
                waiting,
                "0".to_owned(),
                local,
                "*".to_owned(),
            ];
            table.add_row(row);
        }
    }
    for connection in list("connections") {
        let info = &connection["info"];
        let rtt = info["tcpi_rtt"].as_f64().unwrap_or(0.0) / 1e3;
        table.add_row([
            word(&connection["state"]),
            connection["recv_q"].to_string(),
            connection["send_q"].to_string(),
            word(&connection["local"]),
            word(&connection["remote"]),
            format!("{rtt:.3} ms"),
            info["tcpi_snd_cwnd"].to_string(),
            info["tcpi_total_retrans"].to_string(),
        ]);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    if args.info {
        for connection in list("connections") {
            let info = &connection["info"];
            writeln!(
                out,
                "{} {}: {} rto:{} mss:{} pmtu:{} ssthresh:{} bytes_sent:{} bytes_acked:{} \
                 bytes_received:{} unacked:{} sacked:{} lost:{} minrtt:{} snd_wnd:{} rcv_wnd:{}",
                word(&connection["local"]),
                word(&connection["remote"]),
                word(&connection["congestion"]),
                info["tcpi_rto"],
                info["tcpi_snd_mss"],
                info["tcpi_pmtu"],
                info["tcpi_snd_ssthresh"],
                info["tcpi_bytes_sent"],
                info["tcpi_bytes_acked"],
                info["tcpi_bytes_received"],
                info["tcpi_unacked"],
                info["tcpi_sacked"],
                info["tcpi_lost"],
                info["tcpi_min_rtt"],
                info["tcpi_snd_wnd"],
                info["tcpi_rcv_wnd"],
            )?;
        }
    }
    Ok(())
}
