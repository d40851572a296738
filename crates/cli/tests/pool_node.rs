//! `zcn mine` at `zcn pool` at a real node on a chain of its own: the node takes our blocks.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::mining::Program;
use common::peer::{self, Folder, Process, unused_port};
use serde_json::{Value, json};

/// How long something may take that is sure to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The node's program; `None`, and said so, where it cannot be had.
fn bitcoind() -> Option<PathBuf> {
    let path = peer::fetch("bitcoind.sh")?;
    let runs = Command::new(&path).arg("-version").output();
    if !runs.is_ok_and(|output| output.status.success()) {
        common::skipped(&"bitcoind does not run on this system");
        return None;
    }
    Some(path)
}

/// Two nodes of a chain of their own: one without peers hands out no templates.
struct Nodes {
    _first: Process,
    _second: Process,
    _folder: Folder,
    cookie: PathBuf,
    rpc: u16,
}

impl Nodes {
    /// Again with other ports when somebody else was faster.
    fn start(program: &Path) -> Self {
        (0..5)
            .find_map(|attempt| Self::attempt(program, attempt * 3))
            .expect("the nodes start")
    }

    fn attempt(program: &Path, salt: u32) -> Option<Self> {
        let folder = Folder::new("nodes");
        let [rpc, other_rpc, p2p] = [0, 1, 2].map(|number| unused_port(salt + number));
        let run = |name: &str, rpc: u16, links: [String; 2]| {
            let data = folder.0.join(name);
            fs::create_dir_all(&data).expect("a folder");
            Command::new(program)
                .args(["-regtest", "-dnsseed=0", "-printtoconsole=0"])
                // Without these three this node does not start.
                .args([
                    "-excessiveblocksize=100000000",
                    "-minminingtxfee=0.00000001",
                ])
                .arg("-maxstackmemoryusageconsensus=100000000")
                .args(["-rpcuser=u", "-rpcpassword=p", "-rpcbind=127.0.0.1"])
                .args(["-rpcallowip=127.0.0.1", &format!("-rpcport={rpc}")])
                .arg(format!("-datadir={}", data.display()))
                .args(links)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map(Process)
                .expect("it starts")
        };
        let listens = [format!("-bind=127.0.0.1:{p2p}"), "-connect=0".to_owned()];
        let connects = ["-listen=0".to_owned(), format!("-connect=127.0.0.1:{p2p}")];
        let mut nodes = Self {
            _first: run("a", rpc, listens),
            _second: run("b", other_rpc, connects),
            cookie: folder.0.join("login"),
            _folder: folder,
            rpc,
        };
        fs::write(&nodes.cookie, "u:p\n").expect("a file");
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(Some(_)) = nodes._first.0.try_wait() {
                return None;
            }
            if let Ok(Some(_)) = nodes._second.0.try_wait() {
                return None;
            }
            let peers = nodes.ask("getconnectioncount", &json!([]));
            if peers.is_some_and(|peers| peers == 1) {
                return Some(nodes);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the nodes do not find each other");
    }

    /// A call whose result is not an error; `None` while the node does not answer.
    fn ask(&self, method: &str, params: &Value) -> Option<Value> {
        let body = json!({"id": 1, "method": method, "params": params}).to_string();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.rpc)).ok()?;
        let length = body.len();
        write!(
            stream,
            "POST / HTTP/1.0\r\nAuthorization: Basic dTpw\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let mut reply: Value = serde_json::from_str(body).ok()?;
        reply["error"].is_null().then(|| reply["result"].take())
    }

    fn call(&self, method: &str, params: &Value) -> Value {
        self.ask(method, params)
            .unwrap_or_else(|| panic!("{method} fails"))
    }
}

#[test]
fn a_node_takes_the_blocks_that_our_miner_finds() {
    let Some(program) = bitcoind() else { return };
    let nodes = Nodes::start(&program);
    // A block in the wallet is worth something when a hundred stand on it; then the template has
    // transactions.
    nodes.call("generate", &json!([101]));
    let payout = nodes.call("getnewaddress", &json!([]));
    let paid = nodes.call("sendtoaddress", &json!([payout, 1.5]));
    let url = format!("http://127.0.0.1:{}", nodes.rpc);
    let cookie = nodes.cookie.to_str().expect("text");
    let mut pool = Program::start(&[
        "pool",
        "--listen",
        "127.0.0.1:0",
        "--v2",
        "127.0.0.1:0",
        "--node",
        &url,
        "--node-cookie",
        cookie,
        "--payout",
        payout.as_str().expect("an address"),
        // Some ten thousand hashes a share; each is a block here.
        "--difficulty",
        "0.000003",
        "--share-interval",
        "0",
    ]);
    let listening = pool.until_one(|event| event["event"] == "listening");
    let address = listening["address"].as_str().expect("an address");
    let v2 = listening["v2"].as_str().expect("a URL");
    let template = pool.until_one(|event| event["event"] == "template");
    assert_eq!(template["height"], 102, "{template}");
    assert_eq!(template["transactions"], 1, "{template}");
    let miner = Program::start(&["mine", "-o", address, "-u", "me", "-t", "1"]);
    let taken = |event: &Value| event["event"] == "submitted" && event["accepted"] == true;
    let first = pool.until_one(taken);
    pool.until_one(taken);
    pool.until_one(taken);
    let height = nodes.call("getblockcount", &json!([]));
    assert!(height.as_u64().expect("a number") >= 104, "{height}");
    // The first of them stands in the chain, holds the payment, and pays whom it should.
    let hash = nodes.call("getblockhash", &json!([102]));
    assert_eq!(hash, first["hash"]);
    let block = nodes.call("getblock", &json!([hash]));
    assert_eq!(block["tx"][1], paid);
    let reward = nodes.call("gettransaction", &json!([block["tx"][0]]));
    assert_eq!(reward["details"][0]["address"], payout, "{reward}");
    // By Stratum V2 as well, with the pool's merkle root and with the miner's.
    drop(miner);
    for channel in ["standard", "extended"] {
        let miner = [
            "mine",
            "-o",
            v2,
            "-u",
            channel,
            "-t",
            "1",
            "--channel",
            channel,
        ];
        let _miner = Program::start(&miner);
        let found = |event: &Value| event["event"] == "block" && event["user"] == channel;
        let hash = pool.until_one(found)["hash"].clone();
        let answer = |event: &Value| event["event"] == "submitted" && event["hash"] == hash;
        assert_eq!(pool.until_one(answer)["accepted"], true);
    }
    // A block of somebody else comes to our miners at once.
    nodes.call("generate", &json!([1]));
    pool.until_one(|event| event["event"] == "template" && event["new_block"] == true);
}
