//! One file system in memory, served through FUSE's io_uring commands and by reads of `/dev/fuse`.
//!
//! Both are mounted at once, in a mount namespace of the benchmark's own, with as many threads; who
//! is not measured sleeps. The kernel caches nothing, so each call is at least one request. Figures
//! are of requests, and of all the CPU that they took: calling, the kernel's part and serving.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use zcn_fuse::{MemFs, MountError, Options, Session, Transport};
use zcn_sys::namespace::enter_new_mounts;

use crate::harness::{Contender, Ctx, Figure, Result, Target, process_time};

const BENCH: &str = "fuse";
const READS: &str = "/dev/fuse";
const RING: &str = "zcn io_uring";
/// Bytes of a read.
const BLOCK: usize = 4096;
const FILE: &str = "file";

/// Measures both transports.
pub fn run(ctx: &mut Ctx) -> Result {
    // A namespace of its own, for this thread and those that it starts.
    thread::scope(|scope| {
        let inside = scope.spawn(|| match enter_new_mounts() {
            Ok(()) => mounted(ctx),
            Err(error) => skipped(&format!("no mount namespace: {error}")),
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn mounted(ctx: &mut Ctx) -> Result {
    let files = Arc::new(Mutex::new(MemFs::new(64 << 20)));
    let (reads, ring) = match (
        Served::mount(&files, Transport::Reads),
        Served::mount(&files, Transport::Uring),
    ) {
        (Ok(reads), Ok(ring)) => (reads, ring),
        (Err(error), _) | (_, Err(error)) => return skipped(&error.to_string()),
    };
    fs::write(reads.at.join(FILE), vec![7; 1 << 20])?;
    for (call, what) in [
        ("stat", stat as Call),
        ("open and close", open),
        ("read 4 KiB", read),
    ] {
        for callers in [1, 4] {
            let situation = format!("{call}, {callers} thr.:");
            if !ctx.wants(&situation) {
                continue;
            }
            let mut contenders = [
                Contender::new(READS, || reads.measure(ctx.sample, callers, what)),
                Contender::new(RING, || ring.measure(ctx.sample, callers, what)),
            ];
            let contest = ctx.alternate(&situation, &mut contenders)?;
            drop(contenders);
            for row in contest.rows(BENCH, &situation, Some(READS)) {
                let row = match (row.ratio.is_some(), row.metric.as_str()) {
                    (true, "rate") => row.target(Target::RatioAtLeast(1.0)),
                    _ => row,
                };
                ctx.report(row)?;
            }
        }
    }
    for served in [reads, ring] {
        served.session.unmount()?;
    }
    Ok(())
}

fn skipped(reason: &str) -> Result {
    writeln!(std::io::stderr(), "{BENCH}: skipped: {reason}")?;
    Ok(())
}

/// The file system, mounted.
struct Served {
    session: Session,
    at: PathBuf,
}

impl Served {
    fn mount(
        files: &Arc<Mutex<MemFs>>,
        transport: Transport,
    ) -> std::result::Result<Self, MountError> {
        let name = format!("zcn-bench-{}-{transport:?}", std::process::id());
        let at = std::env::temp_dir().join(name);
        fs::create_dir_all(&at).map_err(|source| MountError::MountPoint {
            at: at.clone(),
            source,
        })?;
        let options = Options::new(transport).enable_uring(true);
        match Session::mount(files, &at, &options) {
            Ok(session) => Ok(Self { session, at }),
            Err(error) => {
                let _ = fs::remove_dir(&at);
                Err(error)
            }
        }
    }

    /// Repeats a call on `callers` threads.
    fn measure(&self, sample: Duration, callers: usize, call: Call) -> Result<Vec<Figure>> {
        let served = || {
            let stats = self.session.stats();
            stats.by_reads + stats.by_uring
        };
        let (before, cpu, begun) = (served(), process_time(), Instant::now());
        thread::scope(|scope| {
            let all: Vec<_> = (0..callers)
                .map(|_| scope.spawn(|| repeat(begun, sample, &self.at.join(FILE), call)))
                .collect();
            all.into_iter().try_for_each(|caller| {
                caller
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        let (elapsed, cpu) = (begun.elapsed(), process_time().saturating_sub(cpu));
        let requests = (served() - before) as f64;
        Ok(vec![
            Figure::new("rate", requests / elapsed.as_secs_f64(), "req/s"),
            Figure::new("CPU", cpu.as_nanos() as f64 / requests, "ns/req"),
        ])
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The mount covers the folder until it has ended; whether it ended well has been asked.
        let _ = self.session.unmount();
        let _ = fs::remove_dir(&self.at);
    }
}

type Call = fn(&Path, &File) -> Result;

fn repeat(begun: Instant, sample: Duration, path: &Path, call: Call) -> Result {
    let file = File::open(path)?;
    while begun.elapsed() < sample {
        for _ in 0..16 {
            call(path, &file)?;
        }
    }
    Ok(())
}

fn stat(path: &Path, _: &File) -> Result {
    fs::metadata(path)?;
    Ok(())
}

fn open(path: &Path, _: &File) -> Result {
    File::open(path)?;
    Ok(())
}

fn read(_: &Path, file: &File) -> Result {
    let mut block = [0; BLOCK];
    file.read_exact_at(&mut block, 64 * BLOCK as u64)?;
    Ok(())
}
