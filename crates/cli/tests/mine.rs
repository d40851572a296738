//! `zcn mine` against `zcn pool`, both as programs, killed and started again.

mod common;

use common::mining::{miner, pool};

#[test]
fn what_the_miner_counts_is_what_the_pool_counts() {
    let (mut pool, address) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &address]);
    miner.until("accepted", 5);
    miner.interrupt();
    let told = miner.until("stopped", 1);
    assert!(miner.child.wait().expect("it ends").success());
    pool.interrupt();
    let counted = pool.until("stopped", 1);
    assert_eq!(told["accepted"], counted["accepted"]);
    assert_eq!((&told["rejected"], &told["wrong"]), (&0.into(), &0.into()));
    assert_eq!(counted["refused"], 0);
}

#[test]
fn a_pool_that_is_killed_and_started_again_is_mined_for_again() {
    let (mut first, address) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &address]);
    miner.until("accepted", 2);
    first.child.kill().expect("it runs");
    miner.until("disconnected", 1);
    drop(first);
    let (_second, _) = pool(&address);
    miner.until("accepted", 2);
}

#[test]
fn a_second_pool_takes_over() {
    let (mut first, one) = pool("127.0.0.1:0");
    let (_second, two) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &one, "-o", &two]);
    miner.until("accepted", 1);
    first.child.kill().expect("it runs");
    let ready = miner.until("ready", 1);
    assert!(
        ready["pool"].as_str().expect("a pool").ends_with(&two),
        "{ready}"
    );
    miner.until("accepted", 1);
}
