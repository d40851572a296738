//! Ends that break the rules.

use std::time::{Duration, Instant};

use binary_sv2::{Str0255, Sv2Option, U256};
use common_messages_sv2::SetupConnectionSuccess;
use mining_sv2 as mining;

use super::{UNIX_S, client_config, secret, server_config};
use crate::inline::Extranonce;
use crate::reject::RejectReason;
use crate::v2::client::{Channel, ClientError, ClientSession, Event};
use crate::v2::link::{Link, LinkError};
use crate::v2::message::{FromMiner, FromPool};
use crate::v2::server::{ServerError, ServerSession};
use crate::v2::work::Work;

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

    /// [`open`](Self::open), with the work of job 1.
    fn with_work() -> (Self, Work) {
        let mut pool = Self::open();
        pool.job(1, None).expect("good");
        pool.block(5, 1).expect("good");
        let events: Vec<Event> = std::iter::from_fn(|| pool.miner.poll_event()).collect();
        let Some(Event::Work(key)) = events.last() else {
            panic!("{events:?}");
        };
        let work = pool.miner.work(*key).expect("kept").clone();
        (pool, work)
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

/// Takes so many shares on channel 5, up to that one.
fn accepted(last: u32, count: u32) -> FromPool<'static> {
    FromPool::SubmitSharesSuccess(mining::SubmitSharesSuccess {
        channel_id: 5,
        last_sequence_number: last,
        new_submits_accepted_count: count,
        new_shares_sum: count.into(),
    })
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
    let (mut pool, work) = Hostile::with_work();
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
    pool.says(accepted(4, 3)).expect("good");
    // Answers to what was never sent, or was answered.
    pool.says(accepted(1, 3)).expect("good");
    let rtt = Duration::ZERO;
    let told = |at: usize| Event::Accepted { id: ids[at], rtt };
    let events: Vec<Event> = std::iter::from_fn(|| pool.miner.poll_event()).collect();
    let (reason, code) = (RejectReason::Other, "whatever".to_owned());
    let rejected = Event::Rejected {
        id: ids[1],
        rtt,
        reason,
        code,
    };
    assert_eq!(events, [rejected, told(0), told(2), told(3)]);
    let left: Vec<_> = pool.miner.unanswered().map(|(id, _)| id).collect();
    assert_eq!(left, [ids[4]]);
}

#[test]
fn answers_are_no_flood_but_answers_to_nothing_are() {
    let (mut pool, work) = Hostile::with_work();
    for nonce in 0..1500 {
        let share = work.share(Extranonce::EMPTY, 0, UNIX_S, nonce);
        pool.miner.submit(pool.now, &share).expect("ready");
        pool.says(accepted(nonce + 1, 1)).expect("asked for");
    }
    let flood = (0..2000).find_map(|_| pool.says(accepted(1, 1)).err());
    assert_eq!(flood, Some(ClientError::Flood { max: 1000 }));
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
