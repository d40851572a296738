//! Mounts a file system in memory on a folder: `memfs /mnt --transport uring`.
//!
//! Needs root, or a namespace: `unshare -Urm memfs /mnt --transport reads`. It ends with Ctrl-C, or
//! when somebody unmounts it, and prints what it served.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::{Parser, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use zcn_fuse::{MemFs, Options, Session, Transport};

/// A file system in memory.
#[derive(Parser)]
struct Arguments {
    /// The folder to mount on.
    mountpoint: PathBuf,
    /// How requests come from the kernel.
    #[arg(long, value_enum, default_value_t = By::Reads)]
    transport: By,
    /// Threads that serve [default: one for each CPU].
    #[arg(long)]
    threads: Option<NonZeroU16>,
    /// Requests of one CPU that a ring takes at once.
    #[arg(long, default_value_t = 4)]
    depth: u16,
    /// Switch FUSE over io_uring on while mounting, if it is off.
    #[arg(long)]
    enable_uring: bool,
    /// MiB that files may fill.
    #[arg(long, default_value_t = 256)]
    mib: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    /// Reads and writes of /dev/fuse.
    #[value(alias = "read")]
    Reads,
    /// Commands of an io_uring.
    Uring,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memfs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let transport = match arguments.transport {
        By::Reads => Transport::Reads,
        By::Uring => Transport::Uring,
    };
    let mut options = Options::new(transport)
        .depth(arguments.depth)
        .enable_uring(arguments.enable_uring);
    if let Some(threads) = arguments.threads {
        options = options.threads(threads);
    }
    let files = Arc::new(Mutex::new(MemFs::new(arguments.mib << 20)));
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let session = Arc::new(Session::mount(&files, &arguments.mountpoint, &options)?);
    println!("mounted on {}", arguments.mountpoint.display());
    let to_end = Arc::clone(&session);
    let ends = std::thread::spawn(move || match signals.forever().next() {
        Some(_) => to_end.unmount(),
        None => Ok(()),
    });
    session.wait()?;
    if ends.is_finished() {
        ends.join().map_err(|_| "unmounting panicked")??;
    }
    println!("{:?}", session.stats());
    Ok(())
}
