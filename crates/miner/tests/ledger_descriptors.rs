//! A ledger that is written anew when there is one descriptor left.
//!
//! The only test of its program: the limit holds for all of that.

use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zcn_miner::ledger::{Durability, Ledger, OpenShare};

/// The new file has it when it takes the place of the old one, and then the folder is to be synced:
/// a failure there had all later shares go to the old file, which nobody would ever find.
#[test]
fn a_ledger_is_replaced_with_one_descriptor_left() {
    let path = std::env::temp_dir().join(format!("zcn-ledger-few-{}", std::process::id()));
    let (mut ledger, _) = Ledger::open(&path, Durability::Kernel).expect("a new one");
    let number = ledger.found(b"one").expect("written");
    // The two lowest free numbers, and no higher ones: one is taken.
    let [taken, free] = [(); 2].map(|()| File::open("/dev/null").expect("a descriptor"));
    let highest = taken.as_raw_fd().max(free.as_raw_fd());
    let limit = Rlimit {
        current: Some(highest as u64 + 1),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    setrlimit(Resource::Nofile, limit).expect("a lower limit");
    drop(free);
    let bytes = b"one".to_vec();
    let compacted = ledger.compact(&[OpenShare { number, bytes }]);
    compacted.expect("that of the old file is free by then");

    ledger.found(b"two").expect("written");
    drop(ledger);
    let (_ledger, open) = Ledger::open(&path, Durability::Kernel).expect("nobody has it");
    let shares: Vec<&[u8]> = open.iter().map(|share| &share.bytes[..]).collect();
    assert_eq!(shares, [b"one", b"two"]);
    std::fs::remove_file(&path).expect("removed");
}
