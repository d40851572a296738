//! `zcn ping-pong --tx-timestamps`: where the time of a round trip goes.
//!
//! The kernel stamps each message as it enters the queueing discipline and as it is handed to the
//! device, and reports both through a ring of 32-byte completions. Together with the times at which
//! this program sends and has the echo, that makes three spans.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use zcn::Address;
use zcn_measure::latency::Latency;
use zcn_measure::table::number;
use zcn_pool::BufferPool;
use zcn_uring::{Completion32, Entry64, Handle, Op, Ring, SharedRing, Target, TxStage};

use super::LADDER;
use crate::client::ClientArgs;
use crate::failure::Failure;

/// How long an echo or a stamp may take: a device that does not stamp never does.
const PATIENCE: Duration = Duration::from_secs(20);

/// The spans of a round trip, in their order.
const SPANS: [(&str, &str); 3] = [
    ("send to queue", "send_to_queue"),
    ("queue to device", "queue_to_device"),
    ("device to echo", "device_to_echo"),
];

/// One message after the other, and the spans of each.
///
/// # Errors
/// When the server cannot be reached or answers wrongly, or the kernel does not report stamps.
pub(super) fn run(args: &ClientArgs) -> Result<ExitCode, Failure> {
    if args.connections != 1 {
        return Err(Failure::new("timestamps are taken on one connection")
            .remedy("leave --connections out"));
    }
    let Address::Ip(address) = args.connect.resolve()? else {
        return Err(
            Failure::new(format!("{} has no device to stamp", args.connect))
                .remedy("a TCP server, such as 127.0.0.1:7777"),
        );
    };
    let mut stream = connect(address)?;
    let mut stamps = Stamps::of(&stream)?;
    let mut spans = SPANS.map(|_| Latency::default());
    let mut whole = Latency::default();
    let (mut message, mut echo) = (vec![0; args.size], vec![0; args.size]);
    let begun = Instant::now();
    let mut sent: u64 = 0;
    for round in 0..args.count.unwrap_or(u64::MAX) {
        message.fill(round as u8);
        let before = since_1970();
        stream
            .write_all(&message)
            .and_then(|()| stream.read_exact(&mut echo))
            .map_err(|error| unanswered(address, error))?;
        let after = since_1970();
        if echo != message {
            return Err(Failure::new(format!(
                "{address} answered with other bytes than were sent"
            )));
        }
        sent += args.size as u64;
        let (queued, left) = stamps.of_byte((sent - 1) as u32)?;
        let times = [before, queued, left, after];
        for (span, pair) in spans.iter_mut().zip(times.windows(2)) {
            // The clock of the day may be set back meanwhile.
            span.record(pair[1].saturating_sub(pair[0]));
        }
        whole.record(after.saturating_sub(before));
        if begun.elapsed() >= args.duration {
            break;
        }
    }
    print(args, &spans, &whole)?;
    Ok(ExitCode::SUCCESS)
}

fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address).map_err(|error| {
        Failure::new(format!("cannot connect to {address}"))
            .because(error)
            .remedy("start a server: zcn echo")
    })?;
    let set = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
    set.map_err(|error| Failure::new("cannot set up the connection").because(error))?;
    Ok(stream)
}

fn unanswered(address: SocketAddr, error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::WouldBlock => Failure::new(format!("{address} does not answer")),
        _ => Failure::new(format!("the connection to {address} broke")).because(error),
    }
}

/// The clock that the kernel stamps with.
fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The reports of one connection.
struct Stamps {
    reports: Handle<Entry64, Completion32>,
}

impl Stamps {
    /// Asks for stamps of what a connection sends from now on.
    fn of(stream: &TcpStream) -> Result<Self, Failure> {
        let failed = || Failure::new("cannot take transmit timestamps");
        let ring = Ring::builder().entries(8).completions_of_32_bytes().build();
        let ring = SharedRing::new(ring.map_err(|error| failed().because(error))?);
        let pool = BufferPool::builder().count(1).build();
        let room = pool
            .map_err(|error| failed().because(error))?
            .acquire()
            .ok_or_else(failed)?;
        let on = Target::from(stream.as_fd());
        let stages = [TxStage::Scheduled, TxStage::Sent];
        let mut asked = ring
            .submit_async(Op::stamp_sends(on, &stages, room))
            .map_err(|error| failed().because(error.to_string()))?;
        asked
            .wait()
            .map_err(|error| failed().because(error))?
            .command_result()
            .map_err(|error| failed().because(error).remedy("Linux 6.17 or newer"))?;
        let reports = ring
            .tx_timestamps(on, 0)
            .map_err(|error| failed().because(error.to_string()))?;
        Ok(Self { reports })
    }

    /// When the byte at this offset was queued, and when it was handed to the device.
    fn of_byte(&mut self, key: u32) -> Result<(Duration, Duration), Failure> {
        let failed = || Failure::new("the kernel reports no transmit timestamps");
        let (mut queued, mut left) = (None, None);
        loop {
            if let (Some(queued), Some(left)) = (queued, left) {
                return Ok((queued, left));
            }
            let report = self
                .reports
                .wait_timeout(PATIENCE)
                .map_err(|error| failed().because(error))?
                .ok_or_else(|| failed().because("the device does not stamp what it sends"))?;
            match report.tx_timestamp() {
                Some(stamp) if stamp.key == key => match stamp.stage {
                    TxStage::Scheduled => queued = Some(stamp.time),
                    TxStage::Sent => left = Some(stamp.time),
                    _ => {}
                },
                // Of an earlier byte, sent again.
                Some(_) => {}
                None => {
                    let why = report.command_result().err();
                    let failed = failed().remedy("Linux 6.17 or newer");
                    return Err(match why {
                        Some(why) => failed.because(why),
                        None => failed,
                    });
                }
            }
        }
    }
}

fn print(args: &ClientArgs, spans: &[Latency; 3], whole: &Latency) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let all = SPANS.iter().zip(spans);
    if args.json {
        let ladder = |latency: &Latency| {
            let mut line = json!({});
            for (_, share, key) in LADDER {
                line[key] = latency.quantile_ns(share).into();
            }
            line
        };
        let mut line = json!({
            "peer": args.connect.to_string(),
            "message_bytes": args.size,
            "requests": whole.count(),
            "round_trip": ladder(whole),
        });
        for ((_, key), span) in all {
            line[*key] = ladder(span);
        }
        writeln!(out, "{line}")?;
        return out.flush();
    }
    writeln!(
        out,
        "{}: {} round trips of {} bytes, every byte checked, stamped by the kernel; µs",
        args.connect,
        number(whole.count() as f64),
        args.size
    )?;
    write!(out, "  {:<16}", "")?;
    for (name, _, _) in LADDER {
        write!(out, "{name:>10}")?;
    }
    writeln!(out)?;
    for (name, span) in all
        .map(|((name, _), span)| (*name, span))
        .chain([("round trip", whole)])
    {
        write!(out, "  {name:<16}")?;
        for (_, share, _) in LADDER {
            let us = span.quantile_ns(share) as f64 / 1000.0;
            write!(out, "{:>10}", number(us))?;
        }
        writeln!(out)?;
    }
    out.flush()
}
