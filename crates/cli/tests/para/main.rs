//! Our miner at a pool that we did not write, and a miner that we did not write at our pool: both
//! are `para` of cargo's registry. It builds for half an hour and stays where it was put, so
//! `ZCN_LONG_TESTS=1 cargo test -p zcn-cli --test para` asks for that, and the runs after it find it.

mod announcer;
#[path = "../common/mod.rs"]
mod common;
mod node;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::mining::{Program, pool};
use common::peer::{self, Folder, Process, unused_port};
use node::{EASY, Node};

/// How long something may take that is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody's address on a chain for tests (the program of BIP 173's examples).
const PAYOUT: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// The program; `None`, and said so, where it cannot be had or nobody asked for it.
fn para() -> Option<PathBuf> {
    let built = peer::shelf().join("para-0.6.0/bin/para").exists();
    if !built && std::env::var_os("ZCN_LONG_TESTS").is_none() {
        common::skipped(&"para builds for half an hour; ZCN_LONG_TESTS=1 asks for it");
        return None;
    }
    peer::fetch("para.sh")
}

/// Their pool, on a free port, for shares that take some ten thousand hashes.
fn their_pool(program: &Path, node: &Node, folder: &Folder) -> (Process, String) {
    let mut salt = 0;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        // Again with another port when somebody else was faster.
        let port = unused_port(salt);
        salt += 1;
        let mut process = Command::new(program)
            .args(["pool", "--chain", "regtest", "--address", "127.0.0.1"])
            .args(["--port", &port.to_string()])
            .args(["--bitcoin-rpc-port", &node.rpc.port().to_string()])
            .args(["--bitcoin-rpc-username", "u", "--bitcoin-rpc-password", "p"])
            .args(["--zmq-block-notifications", &node.announcements])
            .args(["--start-diff", "0.000003", "--min-diff", "0.000003"])
            .args(["--max-diff", "0.000003", "--update-interval", "1"])
            .args(["--disable-bouncer", "--data-dir"])
            .arg(&folder.0)
            .stdout(Stdio::null())
            .spawn()
            .map(Process)
            .expect("it starts");
        while begun.elapsed() < PATIENCE && process.0.try_wait().is_ok_and(|end| end.is_none()) {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return (process, format!("127.0.0.1:{port}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    panic!("their pool does not start");
}

#[test]
fn their_pool_takes_our_shares_and_our_blocks() {
    let Some(program) = para() else { return };
    let node = Node::start();
    let folder = Folder::new("para");
    let (_pool, address) = their_pool(&program, &node, &folder);
    let user = format!("{PAYOUT}.worker");
    let mut miner = Program::start(&["mine", "-o", &address, "-u", &user, "-t", "1"]);
    // Shares only, and none of them twice or wrong.
    let mut taken = 0;
    miner.until_one(|event| {
        assert!(event["event"] != "rejected", "{event}");
        taken += usize::from(event["event"] == "accepted");
        taken == 5
    });
    assert_eq!(node.chain().height, 100);
    // From here each share is a block, and each block ends the work on the ones beside it.
    node.chain().bits = EASY;
    let begun = Instant::now();
    while node.chain().height < 103 && begun.elapsed() < PATIENCE {
        miner.event().expect("it mines");
    }
    assert!(node.chain().height >= 103, "{:?}", node.chain().refused);
    let counted = miner.stop();
    assert!(counted["accepted"].as_u64() >= Some(8), "{counted}");
    assert_eq!(
        (&counted["rejected"], &counted["wrong"]),
        (&0.into(), &0.into())
    );
    // Two shares on one block are two blocks, of which one comes late.
    let refused = &node.chain().refused;
    let late = |why: &&str| *why == "inconclusive-not-best-prevblk";
    assert!(refused.iter().all(late), "{refused:?}");
}

#[test]
fn our_pool_takes_their_shares() {
    let Some(program) = para() else { return };
    let (mut pool, address) = pool("127.0.0.1:0");
    let miner = Command::new(program)
        .args(["miner", &address, "--username", &format!("{PAYOUT}.worker")])
        .args(["--password", "x", "--cpu-cores", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Process)
        .expect("it starts");
    pool.until("share", 5);
    drop(miner);
    let counted = pool.stop();
    assert!(counted["accepted"].as_u64() >= Some(5), "{counted}");
    assert_eq!(counted["refused"], 0, "{counted}");
}
