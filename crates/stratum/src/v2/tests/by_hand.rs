//! A miner that says what ours does not, to our pool.

use std::sync::Arc;
use std::time::Instant;

use binary_sv2::{Str0255, U256};
use common_messages_sv2::{Protocol, SetupConnection};
use mining_sv2 as mining;

use super::{UNIX_S, job, secret, server_config};
use crate::reject::RejectReason;
use crate::target::Target;
use crate::v2::link::Link;
use crate::v2::message::FromMiner;
use crate::v2::server::{ServerEvent, ServerSession};

/// A connection that is set up, to a pool with a job whose shares any hash is good for.
struct ByHand {
    now: Instant,
    link: Link,
    pool: ServerSession,
    /// What the pool said last, by the numbers of its messages.
    heard: Vec<u8>,
    /// The job whose shares are sent.
    job_id: u32,
}

fn words(words: &str) -> Str0255<'_> {
    Str0255::new(words.as_bytes()).expect("short")
}

impl ByHand {
    fn new() -> Self {
        let now = Instant::now();
        let mut config = server_config();
        config.target = Target::MAX;
        let mut pool = ServerSession::new(config, now, UNIX_S, [2; 32]);
        pool.announce(now, &Arc::new(job(9, true))).expect("short");
        let link = Link::initiator(secret().public(), [1; 32], 1 << 20, 1 << 24);
        let mut this = Self {
            now,
            link,
            pool,
            heard: Vec::new(),
            job_id: 1,
        };
        this.carry();
        this.says(FromMiner::SetupConnection(SetupConnection {
            protocol: Protocol::MiningProtocol,
            min_version: 2,
            max_version: 2,
            flags: 0,
            endpoint_host: words("pool.example"),
            endpoint_port: 1,
            vendor: words("hand"),
            hardware_version: words(""),
            firmware: words(""),
            device_id: words(""),
        }));
        this
    }

    fn carry(&mut self) {
        let up = self.link.output().to_vec();
        self.link.consume_output(up.len());
        self.pool.handle_bytes(self.now, &up).expect("good");
        let down = self.pool.output().to_vec();
        self.pool.consume_output(down.len());
        self.link.receive(&down);
        let frames = std::iter::from_fn(|| self.link.next(UNIX_S).expect("good"));
        self.heard = frames.map(|frame| frame.kind).collect();
    }

    /// What comes of a message.
    fn says(&mut self, message: FromMiner<'_>) -> Vec<ServerEvent> {
        let (kind, for_channel, payload) = message.emit().expect("short");
        self.link.send(kind, for_channel, &payload);
        self.carry();
        std::iter::from_fn(|| self.pool.poll_event()).collect()
    }

    fn open(&mut self, extended: bool) {
        let (request_id, user_identity, nominal_hash_rate) = (7, words("me"), 1e6);
        let max_target = U256::from(&[0xff; 32]);
        let told = self.says(if extended {
            FromMiner::OpenExtendedMiningChannel(mining::OpenExtendedMiningChannel {
                request_id,
                user_identity,
                nominal_hash_rate,
                max_target,
                min_extranonce_size: 4,
            })
        } else {
            FromMiner::OpenStandardMiningChannel(mining::OpenStandardMiningChannel {
                request_id,
                user_identity,
                nominal_hash_rate,
                max_target,
            })
        });
        assert!(matches!(told[..], [ServerEvent::Opened { .. }]), "{told:?}");
    }

    fn close(&mut self) {
        let told = self.says(FromMiner::CloseChannel(mining::CloseChannel {
            channel_id: 1,
            reason_code: words(""),
        }));
        assert_eq!(told, [ServerEvent::Closed]);
    }

    /// Gives another job of the same block.
    fn next_job(&mut self) {
        let job = Arc::new(job(9, false));
        self.pool.announce(self.now, &job).expect("short");
        self.carry();
        self.job_id += 1;
    }

    /// Why a share is refused, if it is.
    fn submit(&mut self, extended: bool, nonce: u32) -> Option<RejectReason> {
        let (channel_id, sequence_number, job_id) = (1, nonce, self.job_id);
        let (ntime, version) = (UNIX_S, 0x2000_0000);
        let told = self.says(if extended {
            FromMiner::SubmitSharesExtended(mining::SubmitSharesExtended {
                channel_id,
                sequence_number,
                job_id,
                nonce,
                ntime,
                version,
                extranonce: (&[0; 4][..]).try_into().expect("short"),
            })
        } else {
            FromMiner::SubmitSharesStandard(mining::SubmitSharesStandard {
                channel_id,
                sequence_number,
                job_id,
                nonce,
                ntime,
                version,
            })
        });
        match &told[..] {
            [ServerEvent::Share(_)] => None,
            [ServerEvent::Refused { reason, .. }] => Some(*reason),
            _ => panic!("{told:?}"),
        }
    }
}

/// The job of the moment is given again with the second channel, and was stale with the first.
#[test]
fn a_channel_that_is_opened_again_takes_shares_of_the_job_and_none_twice() {
    let mut miner = ByHand::new();
    miner.open(false);
    assert_eq!(miner.submit(false, 1), None);
    miner.close();
    miner.open(false);
    assert_eq!(miner.submit(false, 2), None);
    assert_eq!(miner.submit(false, 1), Some(RejectReason::Duplicate));
    // The same hash by the other kind of channel, whose extranonce is as many zeros.
    miner.close();
    miner.open(true);
    assert_eq!(miner.submit(true, 2), Some(RejectReason::Duplicate));
    assert_eq!(miner.submit(true, 3), None);
}

#[test]
fn a_target_that_the_miner_wants_harder_holds_for_the_next_job() {
    let mut miner = ByHand::new();
    miner.open(false);
    let update = |miner: &mut ByHand, maximum_target: &[u8; 32]| {
        miner.says(FromMiner::UpdateChannel(mining::UpdateChannel {
            channel_id: 1,
            nominal_hash_rate: 1e6,
            maximum_target: U256::from(maximum_target),
        }))
    };
    let mut hard = [0; 32];
    hard[0] = 1;
    let told = update(&mut miner, &hard);
    assert!(
        matches!(told[..], [ServerEvent::Updated { .. }]),
        "{told:?}"
    );
    assert_eq!(miner.heard, [mining::MESSAGE_TYPE_SET_TARGET]);
    // That of the job before stays what it was.
    assert_eq!(miner.submit(false, 1), None);
    miner.next_job();
    assert_eq!(miner.submit(false, 1), Some(RejectReason::LowDifficulty));
    // The pool's own target is back when the miner no longer asks for less.
    update(&mut miner, &[0xff; 32]);
    assert_eq!(miner.heard, [mining::MESSAGE_TYPE_SET_TARGET]);
    miner.next_job();
    assert_eq!(miner.submit(false, 1), None);
    update(&mut miner, &hard);
    miner.close();
    miner.open(false);
    assert_eq!(miner.submit(false, 2), None);
    // Nothing meets a target of zero.
    assert_eq!(update(&mut miner, &[0; 32]), []);
    assert_eq!(miner.heard, [mining::MESSAGE_TYPE_UPDATE_CHANNEL_ERROR]);
}

#[test]
fn a_bound_of_the_pool_that_has_moved_gives_its_target_back() {
    let mut miner = ByHand::new();
    let mut hard = [0; 32];
    hard[0] = 1;
    let hard = Target::from_le_bytes(hard).expect("not zero");
    miner.pool.set_hardest_target(Target::MAX).expect("short");
    miner.pool.set_target(hard).expect("short");
    miner.open(false);
    assert_eq!(miner.submit(false, 1), None);
    miner.pool.set_hardest_target(hard).expect("short");
    miner.carry();
    assert_eq!(miner.heard, [mining::MESSAGE_TYPE_SET_TARGET]);
    miner.next_job();
    assert_eq!(miner.submit(false, 1), Some(RejectReason::LowDifficulty));
}

#[test]
fn shares_of_jobs_that_the_pool_has_forgotten_are_stale() {
    let mut miner = ByHand::new();
    miner.open(false);
    assert_eq!(miner.submit(false, 1), None);
    miner.pool.retain_jobs(|_| false);
    assert_eq!(miner.submit(false, 2), Some(RejectReason::Stale));
    miner.next_job();
    assert_eq!(miner.submit(false, 2), None);
}
