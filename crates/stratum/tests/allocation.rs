//! A stream of jobs allocates nothing once memory has their size. Counts every allocation of the
//! process, so this test has a process of its own.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use zcn_stratum::Job;
use zcn_stratum::client::{ClientConfig, ClientSession, Event};
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::message::write;

/// `Relaxed`: one thread allocates and reads it.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Lines of jobs with names of their own, and with 0 to 12 branches.
fn jobs() -> Vec<Vec<u8>> {
    (0..64u32)
        .map(|number| {
            let job = Job {
                id: JobId::new(format!("{number:x}").as_bytes()).expect("short"),
                coinbase_1: vec![1; 60],
                coinbase_2: vec![2; 120],
                branches: vec![[3; 32]; (number % 13) as usize],
                nbits: 0x1d00_ffff,
                clean: number % 5 == 0,
                ..Job::default()
            };
            let mut line = Vec::new();
            write::notify(&mut line, &job);
            line
        })
        .collect()
}

#[test]
fn jobs_from_line_to_header_allocate_nothing() {
    let now = Instant::now();
    let mut config = ClientConfig::new("pool.example", "user", "x");
    config.configure = false;
    config.max_messages = u32::MAX;
    let mut session = ClientSession::new(config, now);
    let answers = b"{\"id\":1,\"result\":[[],\"08000002\",4]}\n{\"id\":2,\"result\":true}\n";
    session.handle_bytes(now, answers).expect("answers");
    let jobs = jobs();
    let mut before = 0;
    let mut headers = 0;
    for round in 0..100 {
        if round == 40 {
            // By now every place has held a job of every size.
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        for line in &jobs {
            // In two pieces, the way a stream may cut it.
            let (front, back) = line.split_at(line.len() / 3);
            session.handle_bytes(now, front).expect("half a line");
            session.handle_bytes(now, back).expect("the other half");
            while let Some(event) = session.poll_event() {
                let Event::Work(key) = event else { continue };
                let work = session.work(key).expect("the job");
                let prefix = work.job.coinbase_prefix(work.extranonce_1.as_bytes());
                let extranonce_2 = Extranonce::new(&[0; 4]).expect("short");
                let root = work.job.merkle_root(&prefix, extranonce_2.as_bytes());
                headers += usize::from(work.job.header(root).to_bytes().len() == 80);
            }
        }
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
    assert_eq!(headers, 6400);
}
