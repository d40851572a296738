//! Both ends of a connection, and ends that break the rules.

use std::time::{Duration, Instant};

use binary_sv2::{Str0255, Sv2Option, U256};
use common_messages_sv2::SetupConnectionSuccess;
use mining_sv2 as mining;
use proptest::prelude::*;

use super::client::{Channel, ClientConfig, ClientError, ClientSession, Event, SubmitError};
use super::key::AuthoritySecret;
use super::link::{Link, LinkError};
use super::message::{FromMiner, FromPool};
use super::server::{ServerConfig, ServerError, ServerEvent, ServerSession};
use super::work::{Root, WorkKey};
use crate::hash::sha256d;
use crate::inline::{Extranonce, JobId};
use crate::job::Job;
use crate::reject::RejectReason;
use crate::target::Target;

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
        pair.pool.announce(&job(9, true)).expect("short");
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
        pair.pool.announce(&job(9, true)).expect("short");
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
        pair.pool.announce(&job(9, false)).expect("short");
        pair.carry(usize::MAX);
        assert!(
            matches!(pair.events[..], [Event::Work(_)]),
            "{:?}",
            pair.events
        );
        assert!(!pair.miner.work(old).expect("kept").stale);
        pair.events.clear();
        pair.pool.announce(&job(10, true)).expect("short");
        pair.carry(usize::MAX);
        assert!(matches!(pair.events[..], [Event::NewBlock, Event::Work(_)]));
        let work = pair.miner.work(old).expect("kept");
        assert!(work.stale);
        let extranonce = Extranonce::new(&vec![0; work.extranonce_len()]).expect("short");
        let late = work.share(extranonce, 0, UNIX_S, 0);
        assert_eq!(pair.miner.submit(pair.now, &late), Err(SubmitError::Stale));
        let fresh = pair.miner.work(pair.key()).expect("kept");
        assert_eq!(fresh.prev_hash, [10; 32]);
    }
}

#[test]
fn a_share_that_crosses_a_new_block_is_stale_and_others_are_told_apart() {
    let mut pair = Pair::open(extended());
    // Announced, and not yet heard of.
    pair.pool.announce(&job(10, true)).expect("short");
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
    pair.pool.announce(&job(9, false)).expect("short");
    pair.carry(usize::MAX);
    let work = pair.miner.work(pair.key()).expect("kept");
    assert_eq!(work.target, harder);
    let Root::Rolled { prefix: told, .. } = &work.root else {
        panic!("extended");
    };
    assert_eq!(*told, prefix);
}

#[test]
fn the_miner_may_ask_for_harder_shares_and_tell_its_rate() {
    let mut config = client_config(Channel::Standard);
    config.max_target = Target::from_difficulty(2.0).expect("a difficulty");
    let mut pair = Pair::new(config.clone(), server_config());
    pair.pool.announce(&job(9, true)).expect("short");
    pair.carry(usize::MAX);
    let work = pair.miner.work(pair.key()).expect("kept");
    assert_eq!(work.target, config.max_target);
    pair.miner.update(5e6).expect("open");
    pair.carry(usize::MAX);
    let updated = ServerEvent::Updated {
        nominal_hash_rate: 5e6,
    };
    assert_eq!(pair.told.last(), Some(&updated));
    pair.miner.update(f32::NAN).expect("open");
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
    pair.pool.announce(&job(9, true)).expect("short");
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
    let (stage, after) = ("handshake", config.answer_timeout);
    assert_eq!(
        miner.handle_timeout(deadline),
        Err(ClientError::Unanswered { stage, after })
    );
    assert_eq!(miner.poll_timeout(), None);

    let mut pair = Pair::open(Channel::Standard);
    let late = pair.miner.poll_timeout().expect("a deadline");
    let silent = pair.miner.handle_timeout(late);
    assert!(matches!(silent, Err(ClientError::Silent { .. })));
    let late = pair.pool.poll_timeout().expect("a deadline");
    let silent = pair.pool.handle_timeout(late);
    assert!(matches!(silent, Err(ServerError::Silent { .. })));
}

/// A pool that sends what it likes: a bare link, its handshake done, and the miner.
struct Hostile {
    now: Instant,
    link: Link,
    miner: ClientSession,
}

impl Hostile {
    fn new(channel: Channel) -> Self {
        let now = Instant::now();
        let mut miner = ClientSession::new(client_config(channel), now, UNIX_S, [1; 32]);
        let mut link = Link::responder(&secret(), 60, [2; 32], 1 << 20, 1 << 24);
        link.receive(miner.output());
        miner.consume_output(miner.output().len());
        assert!(link.next(UNIX_S).expect("good").is_none());
        let mut this = Self { now, link, miner };
        this.carry().expect("good");
        this
    }

    fn carry(&mut self) -> Result<(), ClientError> {
        let bytes = self.link.output().to_vec();
        self.link.consume_output(bytes.len());
        self.miner.handle_bytes(self.now, &bytes)
    }

    fn says(&mut self, message: FromPool<'_>) -> Result<(), ClientError> {
        let (kind, for_channel, payload) = message.emit().expect("short");
        self.link.send(kind, for_channel, &payload);
        self.carry()
    }

    /// With a standard channel 5 of group 6.
    fn open() -> Self {
        let mut pool = Self::new(Channel::Standard);
        pool.says(FromPool::SetupConnectionSuccess(SetupConnectionSuccess {
            used_version: 2,
            flags: 0,
        }))
        .expect("good");
        let opened = mining::OpenStandardMiningChannelSuccess {
            request_id: 1,
            channel_id: 5,
            target: U256::from(&[0xff; 32]),
            extranonce_prefix: (&[0u8; 8][..]).try_into().expect("short"),
            group_channel_id: 6,
        };
        pool.says(FromPool::OpenStandardMiningChannelSuccess(opened))
            .expect("good");
        assert!(pool.miner.is_ready());
        pool
    }

    fn job(&mut self, job_id: u32, min_ntime: Option<u32>) -> Result<(), ClientError> {
        self.says(FromPool::NewMiningJob(mining::NewMiningJob {
            channel_id: 5,
            job_id,
            min_ntime: Sv2Option::new(min_ntime),
            version: 0x2000_0000,
            merkle_root: U256::from(&[job_id as u8; 32]),
        }))
    }

    fn block(&mut self, channel_id: u32, job_id: u32) -> Result<(), ClientError> {
        self.says(FromPool::SetNewPrevHash(mining::SetNewPrevHash {
            channel_id,
            job_id,
            prev_hash: U256::from(&[1; 32]),
            min_ntime: UNIX_S,
            nbits: 0x207f_ffff,
        }))
    }
}

#[test]
fn jobs_without_a_block_and_blocks_without_a_job_end_a_session() {
    let mut pool = Hostile::open();
    assert_eq!(pool.job(3, Some(UNIX_S)), Err(ClientError::NoPrevHash(3)));
    let mut pool = Hostile::open();
    assert_eq!(pool.block(5, 3), Err(ClientError::UnknownJob(3)));
    // Only the last sixteen jobs to come are kept, and none of them outlives its block.
    let mut pool = Hostile::open();
    for job_id in 0..17 {
        pool.job(job_id, None).expect("good");
    }
    // By the number of the group.
    pool.block(6, 16).expect("good");
    assert_eq!(pool.block(5, 15), Err(ClientError::UnknownJob(15)));
    let mut pool = Hostile::open();
    for job_id in 0..17 {
        pool.job(job_id, None).expect("good");
    }
    assert_eq!(pool.block(5, 0), Err(ClientError::UnknownJob(0)));
    // What is for another channel is passed over.
    let mut pool = Hostile::open();
    pool.block(7, 3).expect("not ours");
}

#[test]
fn one_answer_may_be_for_many_shares() {
    let mut pool = Hostile::open();
    pool.job(1, None).expect("good");
    pool.block(5, 1).expect("good");
    let events: Vec<Event> = std::iter::from_fn(|| pool.miner.poll_event()).collect();
    let Some(Event::Work(key)) = events.last() else {
        panic!("{events:?}");
    };
    let work = pool.miner.work(*key).expect("kept").clone();
    let mut ids = Vec::new();
    for nonce in 0..5 {
        let share = work.share(Extranonce::EMPTY, 0, UNIX_S, nonce);
        ids.push(pool.miner.submit(pool.now, &share).expect("ready"));
    }
    let refused = mining::SubmitSharesError {
        channel_id: 5,
        sequence_number: 2,
        error_code: Str0255::new(b"whatever").expect("short"),
    };
    pool.says(FromPool::SubmitSharesError(refused))
        .expect("good");
    let good = |last| {
        FromPool::SubmitSharesSuccess(mining::SubmitSharesSuccess {
            channel_id: 5,
            last_sequence_number: last,
            new_submits_accepted_count: 3,
            new_shares_sum: 3,
        })
    };
    pool.says(good(4)).expect("good");
    // Answers to what was never sent, or was answered.
    pool.says(good(1)).expect("good");
    let rtt = Duration::ZERO;
    let accepted = |at: usize| Event::Accepted { id: ids[at], rtt };
    let events: Vec<Event> = std::iter::from_fn(|| pool.miner.poll_event()).collect();
    let (reason, code) = (RejectReason::Other, "whatever".to_owned());
    let rejected = Event::Rejected {
        id: ids[1],
        rtt,
        reason,
        code,
    };
    assert_eq!(events, [rejected, accepted(0), accepted(2), accepted(3)]);
    let left: Vec<_> = pool.miner.unanswered().map(|(id, _)| id).collect();
    assert_eq!(left, [ids[4]]);
}

#[test]
fn hostile_pools_are_left() {
    let setup = |version, flags| {
        let mut pool = Hostile::new(Channel::Standard);
        let success = SetupConnectionSuccess {
            used_version: version,
            flags,
        };
        pool.says(FromPool::SetupConnectionSuccess(success))
    };
    let (version, flags) = (3, 0);
    assert_eq!(
        setup(3, 0),
        Err(ClientError::Unsupported { version, flags })
    );
    let (version, flags) = (2, 2);
    assert_eq!(
        setup(2, 2),
        Err(ClientError::Unsupported { version, flags })
    );

    let mut pool = Hostile::open();
    pool.link.send(0x15, true, &[1, 2, 3]);
    assert!(matches!(pool.carry(), Err(ClientError::Message(_))));

    let mut pool = Hostile::open();
    let zero = mining::SetTarget {
        channel_id: 5,
        maximum_target: U256::from(&[0; 32]),
    };
    assert_eq!(
        pool.says(FromPool::SetTarget(zero)),
        Err(ClientError::ZeroTarget)
    );

    let mut pool = Hostile::open();
    pool.link.send(0x15, true, &vec![0; (256 << 10) + 1]);
    let (len, max) = ((256 << 10) + 1, 256 << 10);
    let long = LinkError::TooLong { len, max };
    assert_eq!(pool.carry(), Err(ClientError::Link(long)));

    let mut pool = Hostile::open();
    let flood = (0..2000).find_map(|_| {
        pool.link.send(0x7f, false, b"?");
        pool.carry().err()
    });
    assert_eq!(flood, Some(ClientError::Flood { max: 1000 }));

    // Out of turn: no second channel, no second set-up; nothing happens.
    let mut pool = Hostile::open();
    let success = SetupConnectionSuccess {
        used_version: 9,
        flags: 0,
    };
    pool.says(FromPool::SetupConnectionSuccess(success))
        .expect("passed over");
}

#[test]
fn hostile_miners_are_left() {
    let now = Instant::now();
    let start = || {
        let mut pool = ServerSession::new(server_config(), now, UNIX_S, [2; 32]);
        let mut link = Link::initiator(secret().public(), [1; 32], 1 << 20, 1 << 24);
        pool.handle_bytes(now, link.output()).expect("good");
        link.consume_output(link.output().len());
        link.receive(pool.output());
        pool.consume_output(pool.output().len());
        assert!(link.next(UNIX_S).expect("good").is_none());
        (pool, link)
    };
    let close = || {
        FromMiner::CloseChannel(mining::CloseChannel {
            channel_id: 1,
            reason_code: Str0255::new(b"").expect("short"),
        })
    };
    let (mut pool, mut link) = start();
    let (kind, for_channel, payload) = close().emit().expect("short");
    link.send(kind, for_channel, &payload);
    let early = pool.handle_bytes(now, link.output());
    assert_eq!(early, Err(ServerError::OutOfTurn { kind }));
    assert_eq!(pool.handle_bytes(now, b""), Err(ServerError::Over));

    // Another protocol than mining.
    let (mut pool, mut link) = start();
    let mut payload = vec![1, 2, 0, 2, 0, 0, 0, 0, 0];
    payload.extend_from_slice(&[0; 7]);
    link.send(0, false, &payload);
    let code = "unsupported-protocol";
    assert_eq!(
        pool.handle_bytes(now, link.output()),
        Err(ServerError::SetupRefused { code })
    );
    assert!(!pool.output().is_empty(), "the miner is told");

    let (mut pool, mut link) = start();
    link.send(0, false, &vec![0; (16 << 10) + 1]);
    let long = pool.handle_bytes(now, link.output());
    assert!(matches!(
        long,
        Err(ServerError::Link(LinkError::TooLong { .. }))
    ));
}
