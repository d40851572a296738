//! Frames of a hostile pool of Stratum V2 to a miner's session: its handshake is good, so that what it
//! says decrypts.
#![no_main]

mod sealed;

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use noise_sv2::Responder;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use zcn_stratum::inline::Extranonce;
use zcn_stratum::v2::client::{Channel, Event};
use zcn_stratum::v2::{AuthoritySecret, ClientConfig, ClientSession, WorkKey};

#[derive(Arbitrary, Debug)]
enum Step {
    /// Bytes that do not decrypt.
    Raw(Vec<u8>),
    /// A frame of any kind.
    Frame(u16, u8, Vec<u8>),
    /// The messages that lead to an open channel.
    Welcome(u32),
    Job(u32, Option<u32>),
    Block(u32),
    Later(u16),
    Submit(u32),
    Update(f32),
}

const UNIX_S: u32 = 1_700_000_000;

fn welcome(extended: bool, flags: u32) -> Vec<(u8, Vec<u8>)> {
    let setup = [&2u16.to_le_bytes()[..], &flags.to_le_bytes()].concat();
    let mut open = [&1u32.to_le_bytes()[..], &5u32.to_le_bytes(), &[0xff; 32]].concat();
    if extended {
        open.extend_from_slice(&4u16.to_le_bytes());
    }
    open.extend_from_slice(&[4, 1, 2, 3, 4, 6, 0, 0, 0]);
    vec![(1, setup), (if extended { 0x14 } else { 0x11 }, open)]
}

fn job(extended: bool, id: u32, ntime: Option<u32>) -> (u8, Vec<u8>) {
    let mut job = [&5u32.to_le_bytes()[..], &id.to_le_bytes()].concat();
    match ntime {
        None => job.push(0),
        Some(ntime) => {
            job.push(1);
            job.extend_from_slice(&ntime.to_le_bytes());
        }
    }
    job.extend_from_slice(&[0, 0, 0, 0x20]);
    if extended {
        // Rolling, one branch, a byte on either side of the extranonce.
        job.extend_from_slice(&[1, 1]);
        job.extend_from_slice(&[3; 32]);
        job.extend_from_slice(&[1, 0, 7, 1, 0, 8]);
        return (0x1f, job);
    }
    job.extend_from_slice(&[3; 32]);
    (0x15, job)
}

fn block(id: u32) -> (u8, Vec<u8>) {
    let parts = [5, id].map(u32::to_le_bytes).concat();
    let rest = [UNIX_S, 0x207f_ffff].map(u32::to_le_bytes).concat();
    (0x20, [&parts[..], &[4; 32], &rest].concat())
}

fuzz_target!(|input: (bool, Vec<Step>)| {
    let (extended, steps) = input;
    let mut now = Instant::now();
    let secret = AuthoritySecret::new(&[7; 32]).expect("a secret");
    let public = secret.public();
    let mut config = ClientConfig::new(public, "eu.pool.example", 1, "me");
    config.max_frame = 4096;
    if extended {
        config.channel = Channel::Extended {
            min_extranonce_len: 2,
        };
    }
    let mut session = ClientSession::new(config, now, UNIX_S, [1; 32]);
    let mut random = ChaCha20Rng::from_seed([2; 32]);
    let validity = Duration::from_secs(3600);
    let public = public.to_bytes();
    let mut responder =
        Responder::from_authority_kp_with_rng(&public, &[7; 32], validity, &mut random)
            .expect("a pair");
    let first = session.output().try_into().expect("64 bytes");
    session.consume_output(64);
    let (second, mut engine) = responder
        .step_1_with_now_rng(first, UNIX_S, &mut random)
        .expect("a handshake");
    session.handle_bytes(now, &second).expect("a good pool");
    let mut frame = |extension: u16, kind: u8, payload: &[u8]| {
        sealed::frame(&mut engine, extension, kind, payload)
    };
    let mut last: Option<WorkKey> = None;
    for step in steps {
        let frames = match step {
            Step::Raw(bytes) => vec![bytes],
            Step::Frame(extension, kind, payload) => vec![frame(extension, kind % 0x28, &payload)],
            Step::Welcome(flags) => welcome(extended, flags)
                .iter()
                .map(|(kind, payload)| frame(0, *kind, payload))
                .collect(),
            Step::Job(id, ntime) => {
                let (kind, payload) = job(extended, id, ntime);
                vec![frame(1 << 15, kind, &payload)]
            }
            Step::Block(id) => {
                let (kind, payload) = block(id);
                vec![frame(1 << 15, kind, &payload)]
            }
            Step::Later(milliseconds) => {
                now += Duration::from_millis(milliseconds.into());
                vec![]
            }
            Step::Submit(nonce) => {
                if let Some(work) = last.and_then(|key| session.work(key)) {
                    let extranonce = Extranonce::new(&[0; 32][..work.extranonce_len()]);
                    let share = work.share(extranonce.expect("at most 32"), nonce, nonce, nonce);
                    let _ = work.target.is_met_by(&work.hash_of(&share));
                    let _ = session.submit(now, &share);
                }
                vec![]
            }
            Step::Update(rate) => {
                let _ = session.update(now, rate);
                vec![]
            }
        };
        let mut done = session.handle_timeout(now);
        for bytes in frames {
            done = done.and_then(|()| session.handle_bytes(now, &bytes));
        }
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
