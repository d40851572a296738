//! A node of a chain of its own, as far as a pool looks: templates, blocks, news of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};
use tiny_http::{Response, Server};
use zcn_sha256d::{Target, sha256d};

use super::announcer::Announcer;

/// Difficulty 1: no block in a test's life.
pub(crate) const HARD: u32 = 0x1d00_ffff;
/// The least that there is: every share is a block.
pub(crate) const EASY: u32 = 0x207f_ffff;

/// The chain's end, and what came in.
pub(crate) struct Chain {
    pub(crate) bits: u32,
    pub(crate) height: u32,
    /// The last block's hash, as it is hashed.
    tip: [u8; 32],
    /// Blocks that were not taken: why.
    pub(crate) refused: Vec<&'static str>,
    announcer: Announcer,
}

pub(crate) struct Node {
    pub(crate) rpc: SocketAddr,
    pub(crate) announcements: String,
    chain: Arc<Mutex<Chain>>,
}

impl Node {
    pub(crate) fn start() -> Self {
        let announcer = Announcer::start();
        let announcements = format!("tcp://{}", announcer.address);
        let server = Server::http("127.0.0.1:0").expect("a free port");
        let rpc = server.server_addr().to_ip().expect("an address");
        let chain = Arc::new(Mutex::new(Chain {
            bits: HARD,
            height: 100,
            tip: [7; 32],
            refused: Vec::new(),
            announcer,
        }));
        let served = chain.clone();
        let endpoint = announcements.clone();
        thread::spawn(move || {
            for mut request in server.incoming_requests() {
                let mut body = String::new();
                request.as_reader().read_to_string(&mut body).expect("text");
                let call: Value = serde_json::from_str(&body).expect("a call");
                let result = served.lock().expect("no panic").answer(&call, &endpoint);
                let reply = json!({"result": result, "error": null, "id": call["id"]});
                // Whoever asked may have gone.
                let _ = request.respond(Response::from_string(reply.to_string()));
            }
        });
        Self {
            rpc,
            announcements,
            chain,
        }
    }

    pub(crate) fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().expect("no panic")
    }
}

impl Chain {
    fn answer(&mut self, call: &Value, endpoint: &str) -> Value {
        match call["method"].as_str().expect("a method") {
            "getblockchaininfo" => json!({
                "chain": "regtest",
                "blocks": self.height,
                "headers": self.height,
                "bestblockhash": written(self.tip),
                "bits": format!("{:08x}", self.bits),
                "target": "0".repeat(64),
                "difficulty": 1.0,
                "time": 1_700_000_000,
                "mediantime": 1_700_000_000,
                "verificationprogress": 1.0,
                "initialblockdownload": false,
                "chainwork": "0".repeat(64),
                "size_on_disk": 1,
                "pruned": false,
                "warnings": [],
            }),
            "getzmqnotifications" => {
                json!([{"type": "pubhashblock", "address": endpoint, "hwm": 1000}])
            }
            "getblocktemplate" => json!({
                "version": 0x2000_0000,
                "previousblockhash": written(self.tip),
                "transactions": [],
                "coinbaseaux": {},
                "coinbasevalue": 5_000_000_000u64,
                "curtime": 1_700_000_000 + self.height,
                "bits": format!("{:08x}", self.bits),
                "height": self.height + 1,
                // OP_RETURN with the commitment to a block without witnesses (BIP 141).
                "default_witness_commitment":
                    "6a24aa21a9ede2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9",
            }),
            "submitblock" => match self.take(call["params"][0].as_str().expect("a block")) {
                Ok(()) => Value::Null,
                Err(why) => {
                    self.refused.push(why);
                    why.into()
                }
            },
            other => panic!("a call that this node does not know: {other}"),
        }
    }

    /// Looks at the header, as the rest was the pool's.
    fn take(&mut self, block: &str) -> Result<(), &'static str> {
        let header = block.get(..160).ok_or("too short")?;
        let header: [u8; 80] = const_hex::decode_to_array(header).map_err(|_| "not hexadecimal")?;
        let hash = sha256d(&header);
        if header[4..36] != self.tip {
            return Err("inconclusive-not-best-prevblk");
        }
        let target = Target::from_compact(self.bits).expect("a target");
        if !target.is_met_by(&hash) {
            return Err("high-hash");
        }
        self.tip = hash;
        self.height += 1;
        let mut written = hash;
        written.reverse();
        self.announcer.announce(written);
        Ok(())
    }
}

/// A hash as it is written: the last byte first.
fn written(mut hash: [u8; 32]) -> String {
    hash.reverse();
    const_hex::encode(hash)
}
