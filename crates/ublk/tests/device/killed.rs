//! A server that is killed in the middle of its work loses nothing that it had acknowledged and
//! flushed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use zcn_ublk::{Control, UblkError};

use crate::child::Server;
use crate::pattern::{BLOCK, aligned, fill, open, version};
use crate::scratch::Scratch;
use crate::{driver, seed};

const THREADS: u64 = 4;
/// Blocks of each thread.
const PART: u64 = 64;
const SIZE: u64 = THREADS * PART * BLOCK as u64;
/// Flushes of all threads after which the server is killed.
const FLUSHES: u64 = 40;

/// What one thread knows of its blocks.
struct Written {
    /// Number of its first block.
    first: u64,
    /// Version of each that was flushed and acknowledged.
    flushed: Vec<u64>,
    /// Last version of each that was asked for.
    asked: Vec<u64>,
    /// Whether a request of it failed.
    failed: bool,
}

/// Writes and flushes until a request fails or `stop` is set.
fn write_on(path: &Path, seed: u64, first: u64, flushes: &AtomicU64, stop: &AtomicBool) -> Written {
    let device = open(path).expect("the device");
    let mut random = Pcg64Mcg::seed_from_u64(seed ^ first);
    let mut block = aligned(1);
    let mut written = Written {
        first,
        flushed: vec![0; PART as usize],
        asked: vec![0; PART as usize],
        failed: false,
    };
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..random.random_range(1..8) {
            let at = random.random_range(0..PART) as usize;
            let number = first + at as u64;
            written.asked[at] += 1;
            fill(seed, number, written.asked[at], &mut block);
            if device.write_all_at(&block, number * BLOCK as u64).is_err() {
                written.failed = true;
                return written;
            }
        }
        if device.sync_data().is_err() {
            written.failed = true;
            return written;
        }
        written.flushed.copy_from_slice(&written.asked);
        flushes.fetch_add(1, Ordering::Relaxed);
    }
    written
}

/// Every block holds a whole version, none older than the one that was flushed last and none newer
/// than the one that was asked for last.
fn check(file: &File, seed: u64, all: &[Written]) {
    let mut block = aligned(1);
    for written in all {
        for (at, (&flushed, &asked)) in written.flushed.iter().zip(&written.asked).enumerate() {
            let number = written.first + at as u64;
            file.read_exact_at(&mut block, number * BLOCK as u64)
                .expect("read");
            let found = version(seed, number, &block);
            assert!(
                found.is_some_and(|found| (flushed..=asked).contains(&found)),
                "block {number}: {found:?}, flushed {flushed}, asked for {asked} (seed {seed})"
            );
        }
    }
}

/// Starts threads that write, runs `work` once they have flushed a while, stops them.
fn while_writing(path: &Path, seed: u64, work: impl FnOnce(&AtomicU64)) -> Vec<Written> {
    let (flushes, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (flushes, stop) = (&flushes, &stop);
                scope.spawn(move || write_on(path, seed, thread * PART, flushes, stop))
            })
            .collect();
        passed(&flushes, FLUSHES);
        work(&flushes);
        stop.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .map(|writer| writer.join().expect("no panic"))
            .collect()
    })
}

fn passed(flushes: &AtomicU64, count: u64) {
    while flushes.load(Ordering::Relaxed) < count {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_was_flushed_is_there_after_the_server_was_killed_and_the_device_added_again() {
    let Some((_one, mut control)) = driver() else {
        return;
    };
    let seed = seed();
    let scratch = Scratch::new("killed", SIZE);
    let mut server = Server::start("plain", 0, scratch.path());
    let info = control.info(server.id).expect("it is there");
    let all = while_writing(&info.path(), seed, |_| {
        server.kill();
        // The requests under way fail, and every later one.
    });
    assert!(all.iter().any(|written| written.failed));
    check(&File::open(scratch.path()).expect("the file"), seed, &all);
    control.delete(server.id).expect("deleted");
    let server = Server::start("plain", 0, scratch.path());
    let info = control.info(server.id).expect("it is there");
    check(&open(&info.path()).expect("the device"), seed, &all);
    // Deleted by another process than the one that serves it.
    control.delete(server.id).expect("deleted");
    assert!(server.ended());
}

#[test]
fn no_request_fails_when_another_server_takes_over_from_one_that_was_killed() {
    let Some((_one, mut control)) = driver() else {
        return;
    };
    let seed = seed();
    let scratch = Scratch::new("recovered", SIZE);
    let mut server = Server::start("recoverable", 0, scratch.path());
    let id = server.id;
    let path = control.info(id).expect("it is there").path();
    let mut second = None;
    let all = while_writing(&path, seed, |flushes| {
        server.kill();
        quiesced(&mut control, id);
        second = Some(Server::start("recover", id, scratch.path()));
        passed(flushes, flushes.load(Ordering::Relaxed) + FLUSHES);
    });
    assert!(all.iter().all(|written| !written.failed));
    check(&open(&path).expect("the device"), seed, &all);
    control.stop(id).expect("stopped");
    assert!(second.expect("a server").ended());
    assert!(matches!(control.info(id), Err(UblkError::NoDevice { .. })));
    check(&File::open(scratch.path()).expect("the file"), seed, &all);
}

/// Waits until the kernel has noticed that the server is gone.
fn quiesced(control: &mut Control, id: u32) {
    use zcn_ublk::DeviceState::Quiesced;
    while control.info(id).expect("it is there").state != Quiesced {
        thread::sleep(Duration::from_millis(5));
    }
}
