//! `zcn mine` with a ledger: pool, link and miner are killed and started again in the middle of
//! work, and every share that was found is counted once.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use common::mining::{Program, miner, pool, pool_v2};
use serde_json::Value;
use zcn_miner::ledger::{Durability, Ledger};

/// How long anything may take that is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a link does with shares and with the answers to them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// Shares do not arrive.
    Hold,
    /// Shares arrive; what the pool says to them does not.
    Mute,
}

/// What a link knows.
struct State {
    mode: Mode,
    pool: SocketAddr,
    /// Shares that did not arrive.
    held: BTreeSet<String>,
    /// How often each share arrived.
    arrived: BTreeMap<String, u32>,
    streams: Vec<TcpStream>,
    /// Miners whose last bytes are not seen yet.
    miners: usize,
}

impl State {
    /// How often shares arrived that had arrived before.
    fn again(&self) -> u64 {
        let again = self.arrived.values().map(|times| times - 1);
        again.map(u64::from).sum()
    }
}

/// A link between miner and pool that can be cut, and loses what it is told to lose.
#[derive(Clone)]
struct Link {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Link {
    fn start(pool: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let link = Self {
            address: listener.local_addr().expect("bound").to_string(),
            state: Arc::new(Mutex::new(State {
                mode: Mode::Open,
                pool: pool.parse().expect("an address"),
                held: BTreeSet::new(),
                arrived: BTreeMap::new(),
                streams: Vec::new(),
                miners: 0,
            })),
        };
        let us = link.clone();
        thread::spawn(move || {
            for miner in listener.incoming() {
                us.carry(miner.expect("a connection"));
            }
        });
        link
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread has panicked")
    }

    fn set(&self, mode: Mode) {
        self.state().mode = mode;
    }

    /// Ends all connections.
    fn cut(&self) {
        for stream in self.state().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn carry(&self, miner: TcpStream) {
        // A pool that is not there ends the connection.
        let target = self.state().pool;
        let Ok(pool) = TcpStream::connect(target) else {
            return;
        };
        let again = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
        let mut state = self.state();
        state.streams.extend([again(&miner), again(&pool)]);
        state.miners += 1;
        drop(state);
        let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let (us, from, to, ids) = (self.clone(), again(&miner), again(&pool), asked.clone());
        thread::spawn(move || {
            lines(from, to, |line| {
                let message: Value = serde_json::from_str(line).expect("JSON");
                message["method"] != "mining.submit" || {
                    let ids = &mut *ids.lock().expect("no thread has panicked");
                    ids.insert(message["id"].to_string());
                    us.share(message["params"].to_string())
                }
            });
            us.state().miners -= 1;
        });
        let us = self.clone();
        thread::spawn(move || {
            lines(pool, miner, |line| {
                let message: Value = serde_json::from_str(line).expect("JSON");
                let ids = &*asked.lock().expect("no thread has panicked");
                let answer =
                    message.get("method").is_none() && ids.contains(&message["id"].to_string());
                !answer || us.state().mode != Mode::Mute
            });
        });
    }

    /// Notes a share; whether it is to arrive.
    fn share(&self, share: String) -> bool {
        let mut state = self.state();
        let arrives = state.mode != Mode::Hold;
        if arrives {
            *state.arrived.entry(share).or_default() += 1;
        } else {
            state.held.insert(share);
        }
        arrives
    }

    fn until(&self, what: &str, done: impl Fn(&State) -> bool) {
        let begun = Instant::now();
        while !done(&self.state()) {
            assert!(begun.elapsed() < PATIENCE, "never: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Carries the lines that `passes` lets pass, until either side ends.
fn lines(from: TcpStream, mut to: TcpStream, passes: impl Fn(&str) -> bool) {
    let mut reader = BufReader::new(from);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
        if line.ends_with('\n') && passes(&line) && to.write_all(line.as_bytes()).is_err() {
            break;
        }
        line.clear();
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = reader.into_inner().shutdown(Shutdown::Both);
}

/// The ledger of a test, removed in the end.
struct LedgerFile(PathBuf);

impl LedgerFile {
    fn new(test: &str) -> Self {
        let name = format!("zcn-mine-{test}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn miner(&self, link: &Link) -> Program {
        self.miner_at(&link.address)
    }

    fn miner_at(&self, url: &str) -> Program {
        let path = self.0.to_str().expect("a plain path");
        miner(&["-o", url, "--ledger", path])
    }

    fn open_shares(&self) -> usize {
        let opened = Ledger::open(&self.0, Durability::Kernel).expect("nobody has it");
        opened.1.len()
    }
}

impl Drop for LedgerFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_miner_that_is_killed_loses_no_share_and_sends_none_twice() {
    let (pool, address) = pool("127.0.0.1:0");
    let link = Link::start(&address);
    let ledger = LedgerFile::new("miner");

    let mut first = ledger.miner(&link);
    first.until("accepted", 3);
    link.set(Mode::Hold);
    // The answers to all that has arrived.
    let arrived = link.state().arrived.len();
    if arrived > 3 {
        first.until("accepted", arrived - 3);
    }
    link.until("three shares on their way", |state| state.held.len() >= 3);
    first.kill();
    link.until("the end of the first", |state| state.miners == 0);

    // The next one sends what the first could not, and is killed without an answer.
    link.set(Mode::Mute);
    let mut second = ledger.miner(&link);
    let left = second.until("left", 1);
    let held = link.state().held.clone();
    let shares = left["shares"].as_u64().expect("a number");
    assert!(shares >= held.len() as u64, "{left}, {} held", held.len());
    link.until("what the first found", |state| {
        held.iter().all(|share| state.arrived.contains_key(share))
    });
    second.kill();
    link.until("the end of the second", |state| state.miners == 0);
    let (unanswered, muted) = (ledger.open_shares(), link.state().arrived.len() - arrived);
    assert!(unanswered >= held.len(), "{unanswered} of {}", held.len());

    // The third hears that they are known; a link that breaks changes nothing.
    link.set(Mode::Open);
    let mut third = ledger.miner(&link);
    third.until("accepted", unanswered + 1);
    assert_eq!(link.state().again(), muted as u64, "sent twice");
    link.cut();
    third.until("accepted", 3);
    let told = third.stop();
    assert_eq!((&told["rejected"], &told["lost"]), (&0.into(), &0.into()));
    assert_eq!(ledger.open_shares(), 0);

    let counted = pool.stop();
    let state = link.state();
    let shares = state.arrived.len() as u64;
    assert_eq!(counted["accepted"], shares, "lost, or counted twice");
    // A cut may have kept some of what the link counts from the pool.
    assert!(
        counted["refused"].as_u64() <= Some(state.again()),
        "{counted}"
    );
}

#[test]
fn a_pool_that_is_killed_is_not_sent_the_shares_of_the_one_before() {
    let (first, address) = pool("127.0.0.1:0");
    let link = Link::start(&address);
    let ledger = LedgerFile::new("pool");
    let mut miner = ledger.miner(&link);
    miner.until("accepted", 2);
    link.set(Mode::Hold);
    link.until("shares on their way", |state| state.held.len() >= 2);
    first.kill();
    miner.until("disconnected", 1);
    let (second, address) = pool("127.0.0.1:0");
    let held = {
        let mut state = link.state();
        state.pool = address.parse().expect("an address");
        state.mode = Mode::Open;
        state.arrived.clear();
        state.held.clone()
    };
    miner.until("lost", held.len());
    miner.until("accepted", 2);
    let told = miner.stop();
    assert_eq!(told["rejected"], 0);
    assert_eq!(ledger.open_shares(), 0);
    let counted = second.stop();
    let state = link.state();
    assert!(held.iter().all(|share| !state.arrived.contains_key(share)));
    assert_eq!(counted["accepted"], state.arrived.len());
    assert_eq!(counted["refused"], 0);
}

#[test]
fn miners_of_v2_that_are_killed_send_nothing_in_the_name_of_the_one_before() {
    let (pool, url) = pool_v2(&["--v2", "127.0.0.1:0"]);
    let ledger = LedgerFile::new("v2");
    let mut told = 0;
    for _ in 0..3 {
        let mut killed = ledger.miner_at(&url);
        killed.until("accepted", 3);
        told += 3;
        killed.kill();
    }
    let mut last = ledger.miner_at(&url);
    last.until("accepted", 3);
    let stopped = last.stop();
    assert_eq!(stopped["rejected"], 0);
    told += stopped["accepted"].as_u64().expect("a number");
    assert_eq!(ledger.open_shares(), 0);
    // Each channel is another: nothing of the ledger fits, and the pool hears of nothing twice.
    let counted = pool.stop();
    assert_eq!(counted["refused"], 0);
    assert!(counted["accepted"].as_u64() >= Some(told), "{counted}");
}
