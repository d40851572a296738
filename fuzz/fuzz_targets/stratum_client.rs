//! Lines of a hostile pool to a miner's session, in pieces, with time and shares between them.
#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zcn_stratum::client::{ClientConfig, ClientSession, Event, WorkKey};
use zcn_stratum::inline::Extranonce;

#[derive(Arbitrary, Debug)]
enum Step {
    Bytes(Vec<u8>),
    /// A whole line with a method that exists.
    Call(u8, String),
    Answer(u8, String),
    Later(u16),
    Submit(u32),
}

const METHODS: [&str; 8] = [
    "mining.notify",
    "mining.set_difficulty",
    "mining.set_extranonce",
    "mining.set_version_mask",
    "client.reconnect",
    "client.show_message",
    "client.get_version",
    "mining.ping",
];

fuzz_target!(|steps: Vec<Step>| {
    let mut now = Instant::now();
    let mut config = ClientConfig::new("eu.pool.example", "me", "x");
    config.max_line = 4096;
    let mut session = ClientSession::new(config, now);
    let mut last: Option<WorkKey> = None;
    for step in steps {
        let done = match step {
            Step::Bytes(bytes) => session.handle_bytes(now, &bytes),
            Step::Call(method, params) => {
                let method = METHODS[usize::from(method) % METHODS.len()];
                let line = format!("{{\"id\":1,\"method\":\"{method}\",\"params\":{params}}}\n");
                session.handle_bytes(now, line.as_bytes())
            }
            Step::Answer(id, result) => {
                let line = format!("{{\"id\":{id},\"result\":{result}}}\n");
                session.handle_bytes(now, line.as_bytes())
            }
            Step::Later(milliseconds) => {
                now += Duration::from_millis(milliseconds.into());
                session.handle_timeout(now)
            }
            Step::Submit(nonce) => {
                if let Some(work) = last.and_then(|key| session.work(key)) {
                    let extranonce_2 = Extranonce::new(&[0; 32][..work.extranonce_2_len])
                        .expect("at most 32 bytes");
                    let share = work.share(extranonce_2, nonce, nonce, nonce);
                    let _ = work.target.is_met_by(&work.hash_of(&share));
                    let _ = session.submit(now, &share);
                }
                Ok(())
            }
        };
        while let Some(event) = session.poll_event() {
            if let Event::Work(key) = event {
                last = Some(key);
            }
        }
        assert!(session.output().len() <= (1 << 20) + 8192);
        session.consume_output(session.output().len());
        if done.is_err() {
            assert_eq!(session.poll_timeout(), None);
            return;
        }
    }
});
