//! `zcn capture`: what passes an interface, as pcapng.

mod filter;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use zcn_link::{
    CaptureOptions, Direction, Driver, DropReason, Frame, Interface, PacketSocket, PcapngWriter,
    ReceiveBuffers, Reception,
};

use crate::endpoint;
use crate::failure::Failure;
use crate::quantity;
use crate::signal;
use filter::{Filter, Kind, Packet};

/// How long to wait for a frame before looking whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// Frames taken from the ring at a time.
const BATCH: usize = 256;
/// The ring that frames wait in.
const RING_BYTES: usize = 16 << 20;
/// What is gathered before it is written.
const WRITE_BYTES: usize = 256 * 1024;

/// Arguments of `zcn capture`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples, as root:
  zcn capture eth0 -w web.pcapng --port 443 --time 10s
  zcn capture lo -w - | tshark -r -

It takes CAP_NET_RAW. What a stack of this program sees is captured by `zcn stack up --capture \
FILE`, without it. Times are those at which the kernel saw the frame, in nanoseconds. Super-frames \
are kept as the machine sees them, unless --packets cuts them; checksums that were left to the \
device are finished.")]
pub struct CaptureArgs {
    /// The interface.
    #[arg(value_name = "INTERFACE")]
    pub interface: String,

    /// Write a pcapng file; - is standard output [default: one line of text a frame].
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// Only packets from or to this port (TCP, UDP); may be repeated.
    #[arg(long, value_name = "PORT", value_parser = quantity::whole(0_u16..=65_535))]
    pub port: Vec<u16>,

    /// Only packets from or to this address; may be repeated.
    #[arg(long, value_name = "ADDR", value_parser = endpoint::ip)]
    pub host: Vec<IpAddr>,

    /// Only packets of this kind; may be repeated.
    #[arg(long, value_enum)]
    pub kind: Vec<Kind>,

    /// Stop after so many frames.
    #[arg(short, long, value_name = "N", value_parser = quantity::whole(1_u64..))]
    pub count: Option<u64>,

    /// Stop after this time.
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub time: Option<Duration>,

    /// Keep the first bytes of each frame only.
    #[arg(long, value_name = "SIZE", default_value = "262144", value_parser = quantity::nonzero_bytes)]
    pub snap: usize,

    /// Cut super-frames into the packets that they stand for.
    #[arg(long)]
    pub packets: bool,

    /// Leave the interface alone: only what is for this machine, or from it.
    #[arg(long)]
    pub no_promiscuous: bool,

    /// Print what was counted as a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Captures until the count or the time is over, or a signal comes.
///
/// # Errors
/// No such interface, no privilege, or a file that cannot be written.
pub fn run(args: &CaptureArgs) -> Result<ExitCode, Failure> {
    let mut socket = open(args)?;
    let own = Interface::open(&args.interface)
        .and_then(|interface| interface.hardware_address())
        .map_err(cannot)?;
    let mut sink = Sink::open(args, &socket)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    signal::on_first(move || stopped.store(true, Ordering::SeqCst))
        .map_err(|error| Failure::new("cannot watch for signals").because(error))?;
    let filter = Filter {
        ports: args.port.clone(),
        hosts: args.host.clone(),
        kinds: args.kind.clone(),
    };
    // Said when frames are kept from now on.
    writeln!(
        io::stderr(),
        "capturing on {}; Ctrl-C stops",
        args.interface
    )?;
    let begun = Instant::now();
    let mut seen = 0;
    let mut frames = Vec::with_capacity(BATCH);
    'all: while !stop.load(Ordering::SeqCst) {
        let left = args.time.map(|time| time.saturating_sub(begun.elapsed()));
        if left == Some(Duration::ZERO) {
            break;
        }
        if socket.receive_stamped(&mut frames, BATCH) == 0 {
            sink.flush()?;
            socket
                .wait(
                    Duration::ZERO,
                    Some(left.map_or(LOOK, |left| left.min(LOOK))),
                )
                .map_err(|error| Failure::new("the interface is gone").because(error))?;
        }
        for (time, frame) in frames.drain(..) {
            seen += 1;
            let packet = Packet::of(&frame);
            if !filter.passes(&packet) {
                continue;
            }
            let direction = match packet.source == own {
                true => Direction::Outbound,
                false => Direction::Inbound,
            };
            sink.write(time, direction, &frame, &packet)?;
            if args.count.is_some_and(|count| sink.frames >= count) {
                break 'all;
            }
        }
    }
    let dropped = socket.statistics().drops_total();
    let full = socket.statistics().drops(DropReason::RingFull);
    let kept = sink.frames;
    sink.finish(dropped)?;
    let mut out = io::stderr();
    if args.json {
        let line = json!({
            "interface": args.interface,
            "captured": kept,
            "seen": seen,
            "dropped": dropped,
            "dropped_ring_full": full,
            "seconds": begun.elapsed().as_secs_f64(),
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "{kept} frames captured of {seen} seen, {dropped} dropped"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cannot(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new("cannot capture").because(error)
}

fn open(args: &CaptureArgs) -> Result<PacketSocket, Failure> {
    // A frame sent on loopback is also received there: once is enough.
    let outgoing = args.interface != "lo";
    let sockets = PacketSocket::builder(&args.interface)
        .reception(Reception::Ring)
        .ring_bytes(RING_BYTES)
        .promiscuous(!args.no_promiscuous)
        .outgoing(outgoing)
        .buffers(ReceiveBuffers {
            small: 2 * BATCH,
            large: BATCH,
        })
        .open()
        .map_err(cannot)?;
    let mut sockets = sockets.into_iter();
    sockets
        .next()
        .ok_or_else(|| Failure::new("a packet socket without a queue"))
}

/// Where frames go.
struct Sink {
    file: Option<PcapngWriter<Box<dyn Write>>>,
    path: PathBuf,
    frames: u64,
}

impl Sink {
    fn open(args: &CaptureArgs, socket: &PacketSocket) -> Result<Self, Failure> {
        let mut sink = Self {
            file: None,
            path: args.write.clone().unwrap_or_default(),
            frames: 0,
        };
        let Some(path) = &args.write else {
            return Ok(sink);
        };
        let out: Box<dyn Write> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            Box::new(File::create(path).map_err(|error| {
                Failure::new(format!("cannot write {}", path.display()))
                    .because(error)
                    .remedy("--write FILE in a folder that exists and that you may write to")
            })?)
        };
        let out: Box<dyn Write> = Box::new(BufWriter::with_capacity(WRITE_BYTES, out));
        let options = CaptureOptions {
            cut_super_frames: args.packets,
            snap_len: u32::try_from(args.snap).unwrap_or(u32::MAX),
        };
        let medium = socket.capabilities().medium;
        let writer = PcapngWriter::new(out, medium, &args.interface, "zcn capture", options)
            .map_err(|error| sink.failed(error))?;
        sink.file = Some(writer);
        Ok(sink)
    }

    /// A closed pipe stays recognisable.
    fn failed(&self, error: io::Error) -> Failure {
        Failure::new(format!("cannot write {}", self.path.display()))
            .because(error)
            .remedy("room on the disk")
    }

    fn write(
        &mut self,
        time: Duration,
        direction: Direction,
        frame: &Frame,
        packet: &Packet,
    ) -> Result<(), Failure> {
        self.frames += 1;
        match &mut self.file {
            Some(file) => file
                .write(time, direction, frame, None)
                .map_err(|error| self.failed(error)),
            None => {
                let arrow = match direction {
                    Direction::Inbound => "in ",
                    Direction::Outbound => "out",
                };
                let nanos = time.subsec_nanos();
                writeln!(
                    io::stdout(),
                    "{}.{nanos:09} {arrow} {packet}, {} bytes",
                    time.as_secs(),
                    frame.len()
                )
                .map_err(Failure::from)
            }
        }
    }

    /// What was captured can be read while nothing more comes.
    fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.file {
            Some(file) => file.flush().map_err(|error| self.failed(error)),
            None => Ok(()),
        }
    }

    fn finish(mut self, dropped: u64) -> Result<(), Failure> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        file.finish(now, dropped)
            .map(|_| ())
            .map_err(|error| self.failed(error))
    }
}
