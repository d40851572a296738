//! Frames of a hostile miner of Stratum V2 to a pool's session: its handshake is good, so that what
//! it says decrypts.
#![no_main]

mod sealed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use noise_sv2::Initiator;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use zcn_stratum::inline::Extranonce;
use zcn_stratum::v2::{AuthoritySecret, ServerConfig, ServerSession};
use zcn_stratum::{Job, Target};

#[derive(Arbitrary, Debug)]
enum Step {
    /// Bytes that do not decrypt.
    Raw(Vec<u8>),
    /// A frame of any kind.
    Frame(u16, u8, Vec<u8>),
    SetUp(u8, u32),
    Open(bool, f32),
    Submit(bool, u32, u32, u8, u32),
    Job(u8, bool),
    Target(f64),
    Later(u16),
    Close,
}

const UNIX_S: u32 = 1_700_000_000;

fuzz_target!(|steps: Vec<Step>| {
    let mut now = Instant::now();
    let secret = AuthoritySecret::new(&[7; 32]).expect("a secret");
    let prefix = Extranonce::new(&[1, 2, 3, 4]).expect("short");
    let mut config = ServerConfig::new(secret, prefix, Target::MAX);
    config.max_frame = 4096;
    let mut session = ServerSession::new(config, now, UNIX_S, [2; 32]);
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    let public = secret.public().to_bytes();
    let mut initiator = Initiator::from_raw_k_with_rng(public, &mut random).expect("a key");
    let first = initiator.step_0().expect("a key");
    session.handle_bytes(now, &first).expect("a good miner");
    let second = session.output().try_into().expect("234 bytes");
    session.consume_output(session.output().len());
    let mut engine = initiator
        .step_2_with_now(second, UNIX_S)
        .expect("a handshake");
    let mut frame = |extension: u16, kind: u8, payload: &[u8]| {
        sealed::frame(&mut engine, extension, kind, payload)
    };
    let mut job = Job {
        nbits: 0x207f_ffff,
        ntime: UNIX_S,
        ..Job::default()
    };
    for step in steps {
        let bytes = match step {
            Step::Raw(bytes) => bytes,
            Step::Frame(extension, kind, payload) => frame(extension, kind % 0x28, &payload),
            Step::SetUp(protocol, flags) => {
                let mut setup = vec![protocol % 3, 2, 0, 2, 0];
                setup.extend_from_slice(&flags.to_le_bytes());
                // Host, port, and four more strings, all empty.
                setup.extend_from_slice(&[0; 7]);
                frame(0, 0, &setup)
            }
            Step::Open(extended, rate) => {
                let mut open = vec![1, 0, 0, 0, 2, b'm', b'e'];
                open.extend_from_slice(&rate.to_le_bytes());
                open.extend_from_slice(&[0xff; 32]);
                if extended {
                    open.extend_from_slice(&[2, 0]);
                }
                frame(0, if extended { 0x13 } else { 0x10 }, &open)
            }
            Step::Submit(extended, job_id, nonce, later, version) => {
                let ntime = UNIX_S + u32::from(later);
                let mut share = [1, 9, job_id, nonce, ntime, version]
                    .map(u32::to_le_bytes)
                    .concat();
                if extended {
                    share.extend_from_slice(&[4, 0, 0, 0, later]);
                }
                frame(1 << 15, if extended { 0x1b } else { 0x1a }, &share)
            }
            Step::Job(seed, clean) => {
                (job.prev_hash, job.clean) = ([seed; 32], clean);
                session.announce(now, &Arc::new(job.clone())).expect("short");
                vec![]
            }
            Step::Target(difficulty) => {
                if let Ok(target) = Target::from_difficulty(difficulty) {
                    session.set_target(target).expect("short");
                }
                vec![]
            }
            Step::Later(seconds) => {
                now += Duration::from_secs(seconds.into());
                vec![]
            }
            Step::Close => {
                session.close("bye").expect("short");
                vec![]
            }
        };
        let done = session
            .handle_timeout(now)
            .and_then(|()| session.handle_bytes(now, &bytes));
        while session.poll_event().is_some() {}
        assert!(session.output().len() <= (1 << 20) + 8192);
        session.consume_output(session.output().len());
        if done.is_err() {
            assert_eq!(session.poll_timeout(), None);
            return;
        }
    }
});
