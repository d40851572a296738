//! FUSE over io_uring: a file system in memory, mounted on this machine's kernel and served through
//! commands of 128-byte entries, and the same one by reads and writes of /dev/fuse.
//!
//! Needs root, and a kernel with FUSE's `enable_uring` (6.14), which is set and restored; otherwise
//! skipped with the reason. The mount is in a namespace of the test's own.
#![allow(unsafe_code)]
#![allow(clippy::print_stderr)]

mod files;
mod protocol;
mod server;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use files::Files;
use server::{Queues, by_reads};
use zcn_uring::leaked_ops;

const GUARD: Duration = Duration::from_secs(20);

fn skipped(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

/// The kernel's switch of FUSE over io_uring, put back as it was.
struct Switch {
    before: String,
}

impl Switch {
    const PATH: &'static str = "/sys/module/fuse/parameters/enable_uring";

    fn on() -> Result<Self, String> {
        let before = fs::read_to_string(Self::PATH)
            .map_err(|error| format!("no FUSE over io_uring ({error})"))?;
        fs::write(Self::PATH, "Y").map_err(|error| format!("it cannot be enabled ({error})"))?;
        Ok(Self { before })
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = fs::write(Self::PATH, self.before.trim());
    }
}

/// A mount point, in a mount namespace of the calling thread's own.
struct Mount {
    at: PathBuf,
    path: CString,
}

impl Mount {
    fn new(device: &File) -> Result<Self, String> {
        let error = |what: &str| {
            let error = std::io::Error::last_os_error();
            format!("{what}: {error}")
        };
        let at = std::env::temp_dir().join(format!("zcn-fuse-{}", std::process::id()));
        fs::create_dir_all(&at).map_err(|error| format!("no mount point: {error}"))?;
        let path = CString::new(at.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            device.as_fd().as_raw_fd()
        );
        let options = CString::new(options).map_err(|error| error.to_string())?;
        // SAFETY: strings that end with a zero and outlive the calls; the namespace is this
        // thread's alone.
        unsafe {
            if libc::unshare(libc::CLONE_NEWNS) != 0 {
                return Err(error("no mount namespace"));
            }
            let none = std::ptr::null();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            if libc::mount(none, c"/".as_ptr(), none, private, none.cast()) != 0 {
                return Err(error("the mounts cannot be made private"));
            }
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            let (name, kind) = (c"zcn".as_ptr(), c"fuse".as_ptr());
            if libc::mount(name, path.as_ptr(), kind, flags, options.as_ptr().cast()) != 0 {
                return Err(error("FUSE cannot be mounted"));
            }
        }
        Ok(Self { at, path })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // SAFETY: a string that ends with a zero.
        unsafe { libc::umount2(self.path.as_ptr(), libc::MNT_DETACH) };
        let _ = fs::remove_dir(&self.at);
    }
}

/// CPUs that there may ever be: the kernel has a queue for each.
fn possible_cpus() -> u16 {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit(['-', ',']).next().unwrap_or("0");
    last.parse::<u16>().unwrap_or(0) + 1
}

/// How a run went.
struct Ran<T> {
    result: T,
    /// Requests that came through the ring, and in all.
    through_ring: u64,
}

/// The switch is the whole machine's, so one file system at a time.
static ONE: Mutex<()> = Mutex::new(());

/// Serves a file system while `work` uses it; `Err` says why that is impossible here.
fn serving<T>(ring: bool, work: impl FnOnce(&Path) -> T) -> Result<Ran<T>, String> {
    serving_by(ring, |queues, files| queues.run(files), work)
}

/// The same with another way to serve the entries that wait for requests.
fn serving_by<T>(
    ring: bool,
    serve: impl FnOnce(Queues<'_>, &Mutex<Files>) -> Result<(), i32> + Send,
    work: impl FnOnce(&Path) -> T,
) -> Result<Ran<T>, String> {
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let switch = if ring { Some(Switch::on()?) } else { None };
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|error| format!("no /dev/fuse: {error}"))?;
    let (by_device, by_ring) = (Mutex::new(Files::default()), Mutex::new(Files::default()));
    let mount = Mount::new(&device)?;
    let (device, by_device, by_ring) = (&device, &by_device, &by_ring);
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let reader = scope.spawn(move || {
            by_reads(device, by_device, ring, |offered| {
                let _ = tell.send(offered);
            })
        });
        let offered = told
            .recv_timeout(GUARD)
            .expect("the kernel introduces itself");
        drop(switch);
        if ring && !offered {
            drop(mount);
            reader.join().expect("the reader").expect("unmounted");
            return Err("the kernel does not offer it".into());
        }
        let (started, starts) = mpsc::channel();
        let queues = ring.then(|| {
            scope.spawn(move || {
                let queues = Queues::register(device, possible_cpus(), 4);
                let _ = started.send(());
                serve(queues, by_ring)
            })
        });
        if ring {
            starts.recv_timeout(GUARD).expect("the queues");
        }
        let result = work(&mount.at);
        drop(mount);
        reader.join().expect("the reader").expect("unmounted");
        if let Some(queues) = queues {
            let ended = queues.join().expect("the queues");
            assert_eq!(ended, Ok(()), "an entry was refused");
        }
        let through_ring = by_ring.lock().expect("no panic").requests;
        Ok(Ran {
            result,
            through_ring,
        })
    })
}

/// Writes, reads, lists and truncates as programs do.
fn use_it(at: &Path) {
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    assert_eq!(fs::read_dir(at).expect("the folder").count(), 0);
    let missing = fs::read(at.join("missing")).expect_err("not there");
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
    for name in ["one", "two", "three"] {
        fs::write(at.join(name), &bytes).expect("a write");
    }
    for name in ["one", "two", "three"] {
        assert!(fs::read(at.join(name)).expect("a read") == bytes, "{name}");
    }
    let mut names: Vec<_> = fs::read_dir(at)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["one", "three", "two"]);
    let file = OpenOptions::new()
        .write(true)
        .open(at.join("two"))
        .expect("a file");
    file.set_len(10).expect("a truncation");
    drop(file);
    assert_eq!(fs::read(at.join("two")).expect("a read"), bytes[..10]);
    let error = fs::remove_file(at.join("one")).expect_err("it cannot remove");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSYS));
    assert_eq!(
        fs::metadata(at.join("three")).expect("attributes").len(),
        300_000
    );
    // From several threads at once: requests of all CPUs.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let metadata = fs::metadata(at.join("one")).expect("attributes");
                    assert_eq!(metadata.len(), 300_000);
                }
            });
        }
    });
}

#[test]
fn a_file_system_is_served_through_the_ring_and_by_reads() {
    match serving(false, use_it) {
        Ok(ran) => assert_eq!(ran.through_ring, 0),
        Err(reason) => return skipped(&reason),
    }
    match serving(true, use_it) {
        Ok(ran) => assert!(ran.through_ring > 200, "{} requests", ran.through_ring),
        Err(reason) => skipped(&reason),
    }
}

/// Entries wait for requests when their ring is dropped, and the kernel heeds no cancel of them.
/// With `kept_open`, somebody else keeps the ring, so that its end does not come.
fn drop_with_entries_in_flight(kept_open: bool) -> Result<(), String> {
    let (tell, told) = mpsc::channel();
    let drop_ring = |queues: Queues<'_>, _: &Mutex<Files>| {
        let kept = kept_open.then(|| queues.ring_fd());
        let leaked_before = leaked_ops();
        let (pool, waiting) = queues.drop_ring();
        assert!(waiting > 0, "entries wait");
        let leaked = if kept_open { waiting } else { 0 };
        assert_eq!(pool.stats().in_use, leaked, "buffers that are not home");
        assert_eq!(leaked_ops() - leaked_before, leaked as u64);
        drop(kept);
        let _ = tell.send(());
        Ok(())
    };
    // Until then it stays mounted: unmounting would end the entries.
    let work = |_: &Path| told.recv_timeout(GUARD).expect("the drop returns");
    serving_by(true, drop_ring, work).map(drop)
}

#[test]
fn rule_04_commands_that_heed_no_cancel_end_with_their_ring_or_leak() {
    for kept_open in [false, true] {
        if let Err(reason) = drop_with_entries_in_flight(kept_open) {
            return skipped(&reason);
        }
    }
}

/// Not a test of anything: with `ZCN_LONG_TESTS=1`, `cargo test --release -p zcn-uring --test fuse --
/// --nocapture` prints how many requests each way serves.
#[test]
fn requests_per_second() {
    const CALLS: u32 = 20_000;
    if std::env::var_os("ZCN_LONG_TESTS").is_none() {
        return skipped("measured with ZCN_LONG_TESTS=1");
    }
    let stat = |at: &Path| {
        fs::write(at.join("file"), b"x").expect("a write");
        let path = at.join("file");
        let begun = Instant::now();
        for _ in 0..CALLS {
            fs::metadata(&path).expect("attributes");
        }
        f64::from(CALLS) / begun.elapsed().as_secs_f64()
    };
    for round in 0..5 {
        let ways = [false, true].map(|ring| serving(ring, stat).map(|ran| ran.result));
        match ways {
            [Ok(reads), Ok(ring)] => eprintln!(
                "round {round}: stat/s by reads {reads:.0}, through the ring {ring:.0}, ratio {:.2}",
                ring / reads
            ),
            [Err(reason), _] | [_, Err(reason)] => return skipped(&reason),
        }
    }
}
