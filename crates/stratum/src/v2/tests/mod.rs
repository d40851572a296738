//! Both ends of a connection.

mod by_hand;
mod hostile;

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::hash::sha256d;
use crate::inline::{Extranonce, JobId};
use crate::job::Job;
use crate::reject::RejectReason;
use crate::server::VardiffConfig;
use crate::target::Target;
use crate::v2::client::{Channel, ClientConfig, ClientError, ClientSession, Event, SubmitError};
use crate::v2::key::AuthoritySecret;
use crate::v2::message::{FromMiner, FromPool};
use crate::v2::server::{ServerConfig, ServerError, ServerEvent, ServerSession};
use crate::v2::work::{Root, WorkKey};

const UNIX_S: u32 = 1_700_000_000;
/// A target that every second hash meets.
const EASY: f64 = 4.656_542_373_906_925e-10;

fn secret() -> AuthoritySecret {
    AuthoritySecret::new(&[7; 32]).expect("a secret")
}

fn easy() -> Target {
    Target::from_difficulty(EASY).expect("a difficulty")
}

fn client_config(channel: Channel) -> ClientConfig {
    let mut config = ClientConfig::new(secret().public(), "eu.pool.example", 3336, "me");
    config.channel = channel;
    config
}

fn server_config() -> ServerConfig {
    ServerConfig::new(
        secret(),
        Extranonce::new(&[1, 2, 3, 4]).expect("short"),
        easy(),
    )
}

fn job(seed: u8, clean: bool) -> Job {
    Job {
        id: JobId::EMPTY,
        prev_hash: [seed; 32],
        coinbase_1: vec![seed, 1, 2],
        coinbase_2: vec![3, seed],
        branches: vec![[seed; 32], [0xee; 32]],
        version: 0x2000_0000,
        nbits: 0x207f_ffff,
        ntime: UNIX_S,
        clean,
    }
}

/// Miner and pool, and what they told.
struct Pair {
    now: Instant,
    miner: ClientSession,
    pool: ServerSession,
    events: Vec<Event>,
    told: Vec<ServerEvent>,
}

impl Pair {
    fn new(client: ClientConfig, server: ServerConfig) -> Self {
        let now = Instant::now();
        Self {
            now,
            miner: ClientSession::new(client, now, UNIX_S, [1; 32]),
            pool: ServerSession::new(server, now, UNIX_S, [2; 32]),
            events: Vec::new(),
            told: Vec::new(),
        }
    }

    fn open(channel: Channel) -> Self {
        let mut pair = Self::new(client_config(channel), server_config());
        pair.announce(job(9, true));
        pair.carry(usize::MAX);
        assert!(pair.miner.is_ready());
        pair
    }

    /// Carries bytes in pieces until nobody has any; the first error ends it.
    fn try_carry(&mut self, cut: usize) -> (Result<(), ClientError>, Result<(), ServerError>) {
        loop {
            let up = self.miner.output().to_vec();
            self.miner.consume_output(up.len());
            let heard = up
                .chunks(cut)
                .try_for_each(|part| self.pool.handle_bytes(self.now, part));
            let down = self.pool.output().to_vec();
            self.pool.consume_output(down.len());
            let took = down
                .chunks(cut)
                .try_for_each(|part| self.miner.handle_bytes(self.now, part));
            self.events
                .extend(std::iter::from_fn(|| self.miner.poll_event()));
            self.told
                .extend(std::iter::from_fn(|| self.pool.poll_event()));
            if took.is_err() || heard.is_err() || up.is_empty() && down.is_empty() {
                return (took, heard);
            }
        }
    }

    /// Hands out a job.
    fn announce(&mut self, job: Job) {
        self.pool.announce(self.now, &Arc::new(job)).expect("short");
    }

    fn carry(&mut self, cut: usize) {
        let (took, heard) = self.try_carry(cut);
        took.expect("a good pool");
        heard.expect("a good miner");
    }

    fn key(&self) -> WorkKey {
        let mut keys = self.events.iter().rev().filter_map(|event| match event {
            Event::Work(key) => Some(*key),
            _ => None,
        });
        keys.next().expect("work")
    }

    /// Submits a hit of the latest work; whether it should be good.
    fn hit(&mut self, extranonce: &[u8], version: u32, nonce: u32) -> bool {
        let work = self.miner.work(self.key()).expect("kept");
        let extranonce = Extranonce::new(extranonce).expect("short");
        let share = work.share(extranonce, version, work.min_ntime + 1, nonce);
        let good = work.target.is_met_by(&work.hash_of(&share));
        self.miner.submit(self.now, &share).expect("ready");
        self.events.clear();
        good
    }
}

fn extended() -> Channel {
    Channel::Extended {
        min_extranonce_len: 4,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The miner's own check and the pool's say the same, on both kinds of channel, however the
    /// bytes are cut.
    #[test]
    fn shares_are_what_both_sides_think(
        rolled: bool,
        cut in 1..4000usize,
        hits in prop::collection::vec(any::<(u32, u32, [u8; 4])>(), 1..20),
    ) {
        let channel = if rolled { extended() } else { Channel::Standard };
        let mut pair = Pair::new(client_config(channel), server_config());
        pair.announce(job(9, true));
        pair.carry(cut);
        let key = pair.key();
        let mut seen = std::collections::BTreeSet::new();
        for (version, nonce, extranonce) in hits {
            let work = pair.miner.work(key).expect("kept").clone();
            let extranonce = if rolled { &extranonce[..] } else { &[] };
            let extranonce = Extranonce::new(extranonce).expect("short");
            let share = work.share(extranonce, version, work.min_ntime, nonce);
            let good = work.target.is_met_by(&work.hash_of(&share));
            let sent = pair.miner.submit(pair.now, &share);
            if !seen.insert(share) {
                prop_assert_eq!(sent, Err(SubmitError::Duplicate));
                continue;
            }
            let id = sent.expect("ready");
            pair.events.clear();
            pair.told.clear();
            pair.carry(cut);
            match &pair.events[..] {
                [Event::Accepted { id: answered, .. }] => {
                    prop_assert!(good);
                    prop_assert_eq!(*answered, id);
                    let ServerEvent::Share(found) = &pair.told[0] else {
                        return Err(TestCaseError::fail("no share"));
                    };
                    prop_assert_eq!(found.header, work.header_of(&share));
                    prop_assert!(found.is_block);
                    // The coinbase that a pool would write has that root.
                    let mut coinbase = Vec::new();
                    job(9, true).write_coinbase(found.extranonce.as_bytes(), &[], &mut coinbase);
                    let root = job(9, true).branches.iter().fold(
                        sha256d(&coinbase),
                        |root, branch| sha256d(&[root, *branch].concat()),
                    );
                    prop_assert_eq!(found.header.merkle_root, root);
                }
                [Event::Rejected { id: answered, reason, code, .. }] => {
                    prop_assert!(!good);
                    prop_assert_eq!(*answered, id);
                    prop_assert_eq!(*reason, RejectReason::LowDifficulty);
                    prop_assert_eq!(code, "difficulty-too-low");
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    /// No payload makes the codec panic, and what it reads it writes again as it was.
    #[test]
    fn any_payload_is_read_or_refused(kind in 0..0x28u8, payload: Vec<u8>) {
        if let Ok(Some(message)) = FromPool::parse(kind, &mut payload.clone()) {
            let (again, _, bytes) = message.emit().expect("it was read");
            prop_assert_eq!(again, kind);
            prop_assert_eq!(&payload[..bytes.len()], &bytes[..]);
        }
        if let Ok(Some(message)) = FromMiner::parse(kind, &mut payload.clone()) {
            let (again, _, bytes) = message.emit().expect("it was read");
            prop_assert_eq!(again, kind);
            prop_assert_eq!(&payload[..bytes.len()], &bytes[..]);
        }
    }
}

#[test]
fn a_new_block_ends_the_work_before_it() {
    for channel in [Channel::Standard, extended()] {
        let mut pair = Pair::open(channel);
        let old = pair.key();
        pair.events.clear();
        // More transactions on the same block: the work before still counts.
        pair.announce(job(9, false));
        pair.carry(usize::MAX);
        assert!(
            matches!(pair.events[..], [Event::Work(_)]),
            "{:?}",
            pair.events
        );
        assert!(!pair.miner.work(old).expect("kept").stale);
        pair.events.clear();
        pair.announce(job(10, true));
        pair.carry(usize::MAX);
        assert!(matches!(pair.events[..], [Event::NewBlock, Event::Work(_)]));
        let work = pair.miner.work(old).expect("kept");
        assert!(work.stale);
        let extranonce = Extranonce::new(&vec![0; work.extranonce_len()]).expect("short");
        let late = work.share(extranonce, 0, UNIX_S, 0);
        assert_eq!(pair.miner.submit(pair.now, &late), Err(SubmitError::Stale));
        let fresh = pair.miner.work(pair.key()).expect("kept");
        assert_eq!(fresh.prev_hash, [10; 32]);
        // A block whose first job was passed over is one as well.
        pair.events.clear();
        pair.announce(job(11, false));
        pair.carry(usize::MAX);
        assert!(matches!(pair.events[..], [Event::NewBlock, Event::Work(_)]));
        let fresh = pair.miner.work(pair.key()).expect("kept");
        assert_eq!(fresh.prev_hash, [11; 32]);
    }
}

#[test]
fn a_share_that_crosses_a_new_block_is_stale_and_others_are_told_apart() {
    let mut pair = Pair::open(extended());
    // Announced, and not yet heard of.
    pair.announce(job(10, true));
    pair.hit(&[0; 4], 0, 0);
    pair.carry(usize::MAX);
    let rejected = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::Rejected { reason, code, .. } => Some((*reason, code.clone())),
            _ => None,
        })
    };
    let stale = Some((RejectReason::Stale, "stale-share".to_owned()));
    assert_eq!(rejected(&pair.events), stale);
    // A miner whose idea of the job is another one's.
    let work = pair.miner.work(pair.key()).expect("kept").clone();
    let extranonce = Extranonce::new(&[0; 4]).expect("short");
    for (change, code) in [
        (0x8000_0000u32, "version-rolling-not-allowed"),
        (0, "invalid-share"),
    ] {
        let mut share = work.share(extranonce, 0, UNIX_S, 0);
        share.version ^= change;
        share.ntime -= u32::from(change == 0);
        pair.events.clear();
        pair.miner.submit(pair.now, &share).expect("ready");
        pair.carry(usize::MAX);
        assert_eq!(
            rejected(&pair.events),
            Some((RejectReason::Malformed, code.to_owned()))
        );
    }
    let mut share = work.share(extranonce, 0, UNIX_S, 0);
    share.extranonce = Extranonce::EMPTY;
    let sent = pair.miner.submit(pair.now, &share);
    assert_eq!(
        sent,
        Err(SubmitError::Extranonce {
            len: 0,
            expected: 4
        })
    );
}

#[test]
fn target_and_prefix_hold_for_jobs_to_come() {
    let mut pair = Pair::open(extended());
    let old = pair.key();
    let harder = Target::from_difficulty(1.0).expect("a difficulty");
    pair.pool.set_target(harder).expect("short");
    let prefix = Extranonce::new(&[9, 9, 9, 9]).expect("short");
    pair.pool.set_prefix(prefix).expect("short");
    pair.carry(usize::MAX);
    assert_eq!(pair.miner.work(old).expect("kept").target, easy());
    pair.announce(job(9, false));
    pair.carry(usize::MAX);
    let work = pair.miner.work(pair.key()).expect("kept");
    assert_eq!(work.target, harder);
    assert!(matches!(work.root, Root::Rolled { .. }));
    assert_eq!(work.prefix, prefix);
}

#[test]
fn the_miner_may_ask_for_harder_shares_and_tell_its_rate() {
    let mut config = client_config(Channel::Standard);
    config.max_target = Target::from_difficulty(2.0).expect("a difficulty");
    let mut pair = Pair::new(config.clone(), server_config());
    pair.announce(job(9, true));
    pair.carry(usize::MAX);
    let work = pair.miner.work(pair.key()).expect("kept");
    assert_eq!(work.target, config.max_target);
    pair.miner.update(pair.now, 5e6).expect("open");
    pair.carry(usize::MAX);
    let updated = ServerEvent::Updated {
        nominal_hash_rate: 5e6,
    };
    assert_eq!(pair.told.last(), Some(&updated));
    pair.miner.update(pair.now, f32::NAN).expect("open");
    pair.carry(usize::MAX);
    assert!(matches!(
        pair.events.last(),
        Some(Event::UpdateRefused { .. })
    ));
    pair.miner.close();
    pair.carry_up();
    assert_eq!(pair.told.last(), Some(&ServerEvent::Closed));
    assert_eq!(pair.miner.poll_timeout(), None);
}

impl Pair {
    /// Carries to the pool only.
    fn carry_up(&mut self) {
        let up = self.miner.output().to_vec();
        self.miner.consume_output(up.len());
        self.pool.handle_bytes(self.now, &up).expect("a good miner");
        self.told
            .extend(std::iter::from_fn(|| self.pool.poll_event()));
    }
}

#[test]
fn redirects_stay_within_the_domain() {
    let mut pair = Pair::open(Channel::Standard);
    pair.events.clear();
    pair.pool.reconnect("us.pool.example", 0).expect("short");
    pair.pool.reconnect("", 99).expect("short");
    pair.pool.reconnect("evil.example.net", 1).expect("short");
    pair.carry(usize::MAX);
    let host = Some("us.pool.example".to_owned());
    let (here, elsewhere) = (None, "evil.example.net".to_owned());
    let expected = [
        Event::Reconnect { host, port: None },
        Event::Reconnect {
            host: here,
            port: Some(99),
        },
        Event::RedirectRefused { host: elsewhere },
    ];
    assert_eq!(pair.events, expected);
}

#[test]
fn what_is_refused_says_why() {
    // More extranonce than the pool has.
    let channel = Channel::Extended {
        min_extranonce_len: 5,
    };
    let mut pair = Pair::new(client_config(channel), server_config());
    let (took, _) = pair.try_carry(usize::MAX);
    let code = "min-extranonce-size-too-large".to_owned();
    assert_eq!(took, Err(ClientError::OpenRefused { code }));
    assert_eq!(
        pair.miner.handle_bytes(pair.now, b"x"),
        Err(ClientError::Over)
    );

    let mut pair = Pair::open(Channel::Standard);
    pair.pool.close("bye").expect("short");
    let (took, _) = pair.try_carry(usize::MAX);
    let code = "bye".to_owned();
    assert_eq!(took, Err(ClientError::Closed { code }));

    // Fixed versions: nothing is rolled.
    let mut config = server_config();
    config.version_mask = 0;
    let mut pair = Pair::new(client_config(Channel::Standard), config);
    pair.announce(job(9, true));
    pair.carry(usize::MAX);
    assert_eq!(pair.miner.work(pair.key()).expect("kept").version_mask, 0);
}

#[test]
fn silence_ends_a_session() {
    let mut config = client_config(Channel::Standard);
    config.answer_timeout = Duration::from_secs(3);
    let now = Instant::now();
    let mut miner = ClientSession::new(config.clone(), now, UNIX_S, [1; 32]);
    let deadline = miner.poll_timeout().expect("a deadline");
    assert_eq!(deadline, now + config.answer_timeout);
    assert_eq!(miner.handle_timeout(now), Ok(()));
    let (stage, after) = ("handshake of Stratum V2", config.answer_timeout);
    assert_eq!(
        miner.handle_timeout(deadline),
        Err(ClientError::Unanswered { stage, after })
    );
    assert_eq!(miner.poll_timeout(), None);

    let mut pair = Pair::open(Channel::Standard);
    let late = pair.now + Duration::from_secs(600);
    let silent = pair.miner.handle_timeout(late);
    assert!(matches!(silent, Err(ClientError::Silent { .. })));
    let late = pair.pool.poll_timeout().expect("a deadline");
    let silent = pair.pool.handle_timeout(late);
    assert!(matches!(silent, Err(ServerError::Silent { .. })));
}

#[test]
fn a_miner_without_a_channel_is_sent_away() {
    let after = Duration::from_secs(30);
    let gone = Err(ServerError::NoChannel { after });
    let now = Instant::now();
    let mut pool = ServerSession::new(server_config(), now, UNIX_S, [2; 32]);
    assert_eq!(pool.poll_timeout(), Some(now + after));
    // Words that lead to nothing win no time.
    let late = now + after;
    pool.handle_bytes(late, &[0xd5; 10]).expect("half a key");
    assert_eq!(pool.handle_timeout(late), gone);
    assert_eq!(pool.poll_timeout(), None);

    let mut pair = Pair::open(Channel::Standard);
    pair.now += Duration::from_secs(500);
    pair.miner.close();
    pair.carry_up();
    let late = pair.now + after;
    assert_eq!(pair.pool.poll_timeout(), Some(late));
    assert_eq!(pair.pool.handle_timeout(late), gone);
}

#[test]
fn the_rate_is_told_again_in_place_of_nothing() {
    let mut pair = Pair::open(Channel::Standard);
    pair.told.clear();
    let due = pair.miner.poll_timeout().expect("a deadline");
    assert_eq!(due, pair.now + Duration::from_secs(120));
    pair.miner.handle_timeout(due).expect("nothing is late");
    pair.now = due;
    pair.carry_up();
    let again = ServerEvent::Updated {
        nominal_hash_rate: 1e7,
    };
    assert_eq!(pair.told, [again]);
    assert!(pair.miner.poll_timeout() > Some(due));
}

#[test]
fn a_share_without_an_answer_ends_a_session() {
    let mut pair = Pair::open(Channel::Standard);
    pair.hit(&[], 0, 0);
    let sent = pair.now;
    // The pool goes on talking.
    pair.now += Duration::from_secs(299);
    pair.announce(job(9, false));
    let down = pair.pool.output().to_vec();
    pair.miner.handle_bytes(pair.now, &down).expect("good");
    pair.miner.handle_timeout(pair.now).expect("in time");
    let (stage, after) = ("share", Duration::from_secs(300));
    assert_eq!(
        pair.miner.handle_timeout(sent + after),
        Err(ClientError::Unanswered { stage, after })
    );
}

/// The same work in the terms of either version: what is found in one is found in the other.
#[test]
fn work_is_the_same_in_the_terms_of_v1() {
    for channel in [Channel::Standard, extended()] {
        let pair = Pair::open(channel);
        let work = pair.miner.work(pair.key()).expect("kept");
        let mut same = crate::client::Work::default();
        work.copy_to(&mut same);
        assert_eq!(same.extranonce_2_len, work.extranonce_len());
        assert_eq!((same.target, same.job.clean), (work.target, true));
        assert_eq!(pair.miner.prefix(), Some(same.extranonce_1));
        let extranonce = Extranonce::new(&vec![7; work.extranonce_len()]).expect("short");
        let version = work.version ^ 0x2000;
        let share = work.share(extranonce, version, UNIX_S + 1, 5);
        let as_v1 = same.share(extranonce, version, UNIX_S + 1, 5);
        assert_eq!(as_v1.job_id.as_bytes(), share.job_id.to_le_bytes());
        assert_eq!(same.hash_of(&as_v1), work.hash_of(&share));
        let bits = as_v1.version_bits.expect("rolled");
        assert_eq!(work.share(extranonce, bits, UNIX_S + 1, 5), share);
    }
}

fn difficulty(difficulty: f64) -> Target {
    Target::from_difficulty(difficulty).expect("a difficulty")
}

impl Pair {
    /// The work of the moment.
    fn work(&self) -> crate::v2::work::Work {
        self.miner.work(self.key()).expect("kept").clone()
    }

    /// Sends two hundred shares of the work of the moment within a second: too many for any
    /// interval.
    fn send_too_many(&mut self, extranonce: u8) {
        let work = self.work();
        let extranonce = Extranonce::new(&[extranonce; 4]).expect("short");
        for nonce in 0..200 {
            let share = work.share(extranonce, 0, UNIX_S, nonce);
            self.miner.submit(self.now, &share).expect("ready");
        }
        self.now += Duration::from_secs(1);
        self.carry(usize::MAX);
    }
}

#[test]
fn the_target_follows_the_miner_within_both_bounds() {
    let mut config = server_config();
    config.vardiff = Some(VardiffConfig::default());
    config.hardest_target = difficulty(4.0 * EASY);
    let mut pair = Pair::new(client_config(extended()), config);
    pair.announce(job(9, true));
    pair.carry(usize::MAX);
    let mut given = vec![pair.work().target];
    for round in 1..=4 {
        pair.send_too_many(round);
        pair.announce(job(9, false));
        pair.carry(usize::MAX);
        given.push(pair.work().target);
    }
    assert!(given[1] < given[0], "{given:?}");
    assert_eq!(given.last(), Some(&difficulty(4.0 * EASY)), "{given:?}");
    // None in many windows: as easy as it gets.
    for _ in 0..10 {
        pair.now = pair.pool.poll_timeout().expect("a deadline");
        pair.pool.handle_timeout(pair.now).expect("not yet silent");
        pair.announce(job(9, false));
    }
    pair.carry(usize::MAX);
    assert_eq!(pair.work().target, Target::MAX);
}

/// A target holds for later jobs: until there is one, nothing that comes in says anything about
/// it.
#[test]
fn the_target_moves_by_one_step_between_two_jobs() {
    let mut config = server_config();
    config.vardiff = Some(VardiffConfig::default());
    let mut pair = Pair::new(client_config(extended()), config);
    pair.announce(job(9, true));
    pair.carry(usize::MAX);
    let mut before = pair.work().target.difficulty();
    for round in 1..=2 {
        // The target of the second job is as good as that of the first for this miner.
        pair.send_too_many(round);
        pair.announce(job(9, false));
        pair.carry(usize::MAX);
        let after = pair.work().target.difficulty();
        let step = after / before;
        assert!((1.5..4.001).contains(&step), "{before} to {after}");
        before = after;
    }
    // And down: one window without a share, then many more without a job.
    pair.now = pair.pool.poll_timeout().expect("a deadline");
    pair.pool.handle_timeout(pair.now).expect("not yet silent");
    for _ in 0..10 {
        pair.now += Duration::from_secs(30);
        pair.pool.handle_timeout(pair.now).expect("not yet silent");
        assert!(pair.pool.poll_timeout() > Some(pair.now), "nothing is due");
    }
    pair.announce(job(9, false));
    pair.carry(usize::MAX);
    let step = before / pair.work().target.difficulty();
    assert!((1.5..4.001).contains(&step), "down by {step}");
}
