//! Lines of a hostile miner to a pool's session, in pieces, with time and jobs between them.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zcn_stratum::Job;
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::message::Subscribed;
use zcn_stratum::server::{ServerConfig, ServerEvent, ServerSession};

#[derive(Arbitrary, Debug)]
enum Step {
    Bytes(Vec<u8>),
    /// A whole line with a method that exists.
    Call(u8, String),
    Submit(u8, u32, u32, Option<u32>),
    Later(u16),
    Job(u8, bool),
    Authorize(bool),
}

const METHODS: [&str; 7] = [
    "mining.configure",
    "mining.subscribe",
    "mining.authorize",
    "mining.submit",
    "mining.suggest_difficulty",
    "mining.suggest_target",
    "mining.extranonce.subscribe",
];

fuzz_target!(|steps: Vec<Step>| {
    let mut now = Instant::now();
    let extranonces = Subscribed {
        extranonce_1: Extranonce::new(&[1, 2, 3, 4]).expect("short"),
        extranonce_2_len: 4,
    };
    let mut config = ServerConfig::new("s1", extranonces);
    config.difficulty = 1e-10;
    let mut session = ServerSession::new(config, now);
    let mut waiting = Vec::new();
    for step in steps {
        let done = match step {
            Step::Bytes(bytes) => session.handle_bytes(now, &bytes),
            Step::Call(method, params) => {
                let method = METHODS[usize::from(method) % METHODS.len()];
                let line = format!("{{\"id\":1,\"method\":\"{method}\",\"params\":{params}}}\n");
                session.handle_bytes(now, line.as_bytes())
            }
            Step::Submit(job, ntime, nonce, bits) => {
                let bits = bits.map(|bits| format!(",\"{bits:08x}\"")).unwrap_or_default();
                let line = format!(
                    "{{\"id\":1,\"method\":\"mining.submit\",\
                     \"params\":[\"me\",\"{job}\",\"00000000\",\"{ntime:08x}\",\"{nonce:08x}\"{bits}]}}\n"
                );
                session.handle_bytes(now, line.as_bytes())
            }
            Step::Later(seconds) => {
                now += Duration::from_secs(seconds.into());
                session.handle_timeout(now)
            }
            Step::Job(id, clean) => {
                let id = JobId::new(id.to_string().as_bytes()).expect("short");
                let job = Arc::new(Job { id, clean, ..Job::default() });
                session.announce(now, &job);
                Ok(())
            }
            Step::Authorize(welcome) => {
                if let Some(id) = waiting.pop() {
                    session.authorize(now, id, welcome);
                }
                Ok(())
            }
        };
        while let Some(event) = session.poll_event() {
            match event {
                ServerEvent::Authorize { id, .. } => waiting.push(id),
                ServerEvent::Resume { .. } => session.resume(now, None),
                _ => {}
            }
            assert!(waiting.len() <= 16);
        }
        session.consume_output(session.output().len());
        let difficulty = session.difficulty();
        assert!(difficulty > 0.0 && difficulty.is_finite());
        if done.is_err() {
            assert_eq!(session.poll_timeout(), None);
            return;
        }
    }
});
