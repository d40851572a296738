use std::os::fd::AsFd;

use zcn_sys::namespace::enter_new_mounts;
use zcn_uring::leaked_ops;

use super::*;

#[test]
fn the_last_cpu_of_a_list_is_found() {
    for (list, last) in [("0\n", 0), ("0-3\n", 3), ("0-3,8\n", 8), ("0,2-15", 15)] {
        assert_eq!(last_of(list), Some(last));
    }
    assert_eq!(last_of(""), None);
    assert!(possible_cpus() > 0);
}

/// Drops a ring whose entries wait for requests. With `kept_open`, somebody else keeps the ring, so
/// that its end does not come. `Err` says why this machine cannot.
fn drop_with_entries_in_flight(kept_open: bool) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    enter_new_mounts().map_err(|error| text(&error))?;
    let at = std::env::temp_dir().join(format!("zcn-fuse-drop-{}", std::process::id()));
    std::fs::create_dir_all(&at).map_err(|error| text(&error))?;
    let options = Options::new(Transport::Uring).enable_uring(true);
    let files = Arc::new(Mutex::new(MemFs::new(1 << 20)));
    let session = Session::introduce(&files, &at, &options, 1).map_err(|error| text(&error))?;
    let all: Vec<u16> = (0..possible_cpus()).collect();
    let queues = Queues::register(&session.shared, &all, 4).map_err(|error| text(&error))?;
    let (ring, pool) = queues.into_parts();
    let kept = kept_open.then(|| ring.as_fd().try_clone_to_owned().expect("a descriptor"));
    let (waiting, before) = (ring.in_flight(), leaked_ops());
    assert_eq!(waiting, 4 * all.len(), "all of them wait");
    drop(ring);
    let leaked = if kept_open { waiting } else { 0 };
    assert_eq!(pool.stats().in_use, leaked, "buffers that are not home");
    assert_eq!(leaked_ops() - before, leaked as u64);
    drop(kept);
    // Nobody serves it any more; that it ends all the same is shown by getting here.
    session.shared.abort();
    session.wait().expect("a good end");
    std::fs::remove_dir(&at).map_err(|error| text(&error))
}

#[test]
#[allow(clippy::print_stderr)]
fn rule_04_commands_that_heed_no_cancel_end_with_their_ring_or_leak() {
    for kept_open in [false, true] {
        let thread = thread::spawn(move || drop_with_entries_in_flight(kept_open));
        if let Err(reason) = thread.join().expect("no panic") {
            return eprintln!("SKIPPED: {reason}");
        }
    }
}
