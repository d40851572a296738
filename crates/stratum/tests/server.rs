//! The pool's session against lines that a miner sends, and against our own miner.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use zcn_stratum::Job;
use zcn_stratum::client::{ClientConfig, ClientSession, Event};
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::message::Subscribed;
use zcn_stratum::reject::RejectReason;
use zcn_stratum::server::{ServerConfig, ServerError, ServerEvent, ServerSession};

fn config() -> ServerConfig {
    let extranonces = Subscribed {
        extranonce_1: Extranonce::new(&[1, 2, 3, 4]).expect("short"),
        extranonce_2_len: 4,
    };
    let mut config = ServerConfig::new("s1", extranonces);
    // Any hash will do.
    config.difficulty = 1e-10;
    config
}

fn job(id: &str, clean: bool) -> Arc<Job> {
    Arc::new(Job {
        id: JobId::new(id.as_bytes()).expect("short"),
        coinbase_1: vec![1; 40],
        coinbase_2: vec![2; 40],
        branches: vec![[3; 32]; 2],
        version: 0x2000_0000,
        nbits: 0x1d00_ffff,
        ntime: 0x504e_86b9,
        clean,
        ..Job::default()
    })
}

struct Pool {
    session: ServerSession,
    now: Instant,
}

impl Pool {
    fn new(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let now = Instant::now();
        let mut config = config();
        change(&mut config);
        let session = ServerSession::new(config, now);
        Self { session, now }
    }

    /// Subscribed and authorised, with a job.
    fn ready(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut pool = Self::new(change);
        pool.announce(&job("j", true));
        pool.hears(r#"{"id":1,"method":"mining.subscribe","params":["a"]}"#);
        pool.hears(r#"{"id":2,"method":"mining.authorize","params":["me","x"]}"#);
        pool.says();
        pool.tells();
        pool
    }

    fn announce(&mut self, job: &Arc<Job>) {
        self.session.announce(self.now, job);
    }

    fn try_hears(&mut self, line: &str) -> Result<(), ServerError> {
        self.session
            .handle_bytes(self.now, format!("{line}\n").as_bytes())
    }

    fn hears(&mut self, line: &str) {
        self.try_hears(line).expect(line);
        self.welcome_all();
    }

    fn welcome_all(&mut self) {
        // What was told stays to be told, apart from who wants in.
        for event in self.tells() {
            match event {
                ServerEvent::Authorize { id, .. } => self.session.authorize(self.now, id, true),
                ServerEvent::Resume { .. } => self.session.resume(self.now, None),
                _ => {}
            }
        }
    }

    fn says(&mut self) -> Vec<String> {
        let said = String::from_utf8(self.session.output().to_vec()).expect("text");
        self.session.consume_output(said.len());
        said.lines().map(str::to_owned).collect()
    }

    fn tells(&mut self) -> Vec<ServerEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// What a share is answered.
    fn submit(&mut self, user: &str, rest: &str) -> String {
        self.hears(&format!(
            r#"{{"id":9,"method":"mining.submit","params":["{user}",{rest}]}}"#
        ));
        self.says().concat()
    }
}

fn refusal(reason: RejectReason) -> String {
    let (code, text) = (reason.code(), reason.text());
    format!(r#"{{"id":9,"result":null,"error":[{code},"{text}",null]}}"#)
}

#[test]
fn a_miner_is_let_in_and_gets_its_job() {
    let mut pool = Pool::new(|_| {});
    pool.announce(&job("j", true));
    pool.hears(r#"{"id":"x","method":"mining.configure","params":[["version-rolling","info"],{"version-rolling.mask":"ffffffff"}]}"#);
    pool.hears(r#"{"id":1,"method":"mining.subscribe","params":["a","old"]}"#);
    assert_eq!(
        pool.says(),
        [
            r#"{"id":"x","result":{"version-rolling":true,"version-rolling.mask":"1fffe000","info":true},"error":null}"#,
            r#"{"id":1,"result":[[["mining.set_difficulty","s1"],["mining.notify","s1"]],"01020304",4],"error":null}"#,
        ],
    );
    pool.hears(r#"{"id":2,"method":"mining.authorize","params":["me"]}"#);
    let said = pool.says();
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(said[0], r#"{"id":2,"result":true,"error":null}"#);
    assert_eq!(
        said[1],
        r#"{"id":null,"method":"mining.set_difficulty","params":[0.0000000001]}"#
    );
    assert!(said[2].contains("mining.notify"));
    // The next job, without saying the difficulty again.
    pool.announce(&job("k", false));
    assert_eq!(pool.says().len(), 1);
}

#[test]
fn shares_are_checked() {
    let mut pool = Pool::ready(|_| {});
    let good = r#""j","00000000","504e86b9","00000001""#;
    assert_eq!(
        pool.submit("me", good),
        r#"{"id":9,"result":true,"error":null}"#
    );
    assert_eq!(pool.submit("me", good), refusal(RejectReason::Duplicate));
    assert_eq!(
        pool.submit("you", good),
        refusal(RejectReason::Unauthorized)
    );
    for (share, reason) in [
        (
            r#""k","00000000","504e86b9","00000001""#,
            RejectReason::Stale,
        ),
        (
            r#""j","000000","504e86b9","00000001""#,
            RejectReason::Malformed,
        ),
        (
            r#""j","00000000","504e86b8","00000001""#,
            RejectReason::Malformed,
        ),
        (
            r#""j","00000000","504ea2da","00000001""#,
            RejectReason::Malformed,
        ),
        (
            r#""j","00000000","504e86b9","00000002","00002000""#,
            RejectReason::Malformed,
        ),
    ] {
        assert_eq!(pool.submit("me", share), refusal(reason), "{share}");
    }
    let answer = pool.submit("me", r#""j","0","504e86b9","00000001""#);
    assert!(
        answer.contains("mining.submit whose extranonce"),
        "{answer}"
    );
    // The job before counts until a clean one.
    pool.announce(&job("k", false));
    pool.says();
    let late = r#""j","00000000","504e86b9","00000002""#;
    assert!(pool.submit("me", late).contains("true"));
    pool.announce(&job("l", true));
    pool.says();
    let late = r#""j","00000000","504e86b9","00000003""#;
    assert_eq!(pool.submit("me", late), refusal(RejectReason::Stale));

    let mut pool = Pool::ready(|config| config.difficulty = 1e6);
    assert_eq!(
        pool.submit("me", good),
        refusal(RejectReason::LowDifficulty)
    );
    let mut pool = Pool::new(|_| {});
    assert_eq!(
        pool.submit("me", good),
        refusal(RejectReason::NotSubscribed)
    );
}

#[test]
fn a_resumed_session_knows_its_jobs_and_shares() {
    let mut pool = Pool::ready(|_| {});
    let sent = r#""j","00000000","504e86b9","00000001""#;
    assert!(pool.submit("me", sent).contains("true"));
    let (name, parked) = pool.session.park().expect("subscribed");
    assert_eq!(name, "s1");

    let mut pool = Pool::new(|config| config.session = "s2".to_owned());
    pool.announce(&job("k", false));
    pool.try_hears(r#"{"id":1,"method":"mining.subscribe","params":["a","s1"]}"#)
        .expect("fine");
    pool.try_hears(r#"{"id":2,"method":"mining.authorize","params":["me","x"]}"#)
        .expect("fine");
    assert!(pool.says().is_empty());
    for event in pool.tells() {
        match event {
            ServerEvent::Authorize { id, .. } => pool.session.authorize(pool.now, id, true),
            ServerEvent::Resume { session } => assert_eq!(session, "s1"),
            _ => {}
        }
    }
    pool.session.resume(pool.now, Some((name, parked)));
    let said = pool.says().concat();
    assert!(
        said.contains(r#"["mining.notify","s1"]],"01020304",4]"#),
        "{said}"
    );
    assert_eq!(pool.submit("me", sent), refusal(RejectReason::Duplicate));
    let late = r#""j","00000000","504e86b9","00000002""#;
    assert!(pool.submit("me", late).contains("true"));
}

/// Its first job had come and gone before the miner was back.
#[test]
fn a_session_that_is_resumed_on_another_block_is_told_so() {
    let parked = Pool::ready(|_| {}).session.park();
    let mut next = Job::clone(&job("k", false));
    next.prev_hash = [1; 32];
    let mut pool = Pool::new(|config| {
        (config.min_difficulty, config.max_difficulty) = (0.0, 1e-11);
    });
    pool.announce(&Arc::new(next.clone()));
    pool.try_hears(r#"{"id":1,"method":"mining.subscribe","params":["a","s1"]}"#)
        .expect("fine");
    pool.session.resume(pool.now, parked);
    pool.hears(r#"{"id":2,"method":"mining.authorize","params":["me","x"]}"#);
    let said = pool.says();
    let notify = said.last().expect("a job");
    assert!(notify.ends_with(",true]}"), "{notify}");
    // Nor is the difficulty that was parked above that of the block.
    assert_eq!(pool.session.difficulty(), 1e-11);
    let late = r#""j","00000000","504e86b9","00000001""#;
    assert_eq!(pool.submit("me", late), refusal(RejectReason::Stale));
    let fresh = r#""k","00000000","504e86b9","00000001""#;
    assert!(pool.submit("me", fresh).contains("true"));
    // The second of the block leaves the first alone.
    next.id = JobId::new(b"l").expect("short");
    pool.announce(&Arc::new(next));
    assert!(pool.says()[0].ends_with(",false]}"));
    let late = r#""k","00000000","504e86b9","00000002""#;
    assert!(pool.submit("me", late).contains("true"));
}

#[test]
fn a_resumed_session_takes_no_shares_of_jobs_that_the_pool_has_forgotten() {
    let mut pool = Pool::ready(|_| {});
    pool.announce(&job("k", false));
    let parked = pool.session.park();
    let mut pool = Pool::new(|_| {});
    pool.try_hears(r#"{"id":1,"method":"mining.subscribe","params":["a","s1"]}"#)
        .expect("fine");
    pool.session.resume(pool.now, parked);
    pool.session.retain_jobs(|id| id.as_bytes() != b"j");
    pool.hears(r#"{"id":2,"method":"mining.authorize","params":["me","x"]}"#);
    pool.says();
    let share = |id: &str| format!(r#""{id}","00000000","504e86b9","00000001""#);
    assert_eq!(pool.submit("me", &share("j")), refusal(RejectReason::Stale));
    assert!(pool.submit("me", &share("k")).contains("true"));
}

#[test]
fn a_clean_job_that_is_told_again_on_resumption_keeps_its_shares() {
    let current = job("j", true);
    let mut pool = Pool::new(|_| {});
    pool.announce(&current);
    pool.hears(r#"{"id":1,"method":"mining.subscribe","params":["a"]}"#);
    pool.hears(r#"{"id":2,"method":"mining.authorize","params":["me","x"]}"#);
    pool.says();
    let sent = r#""j","00000000","504e86b9","00000001""#;
    assert!(pool.submit("me", sent).contains("true"));
    let parked = pool.session.park();
    let mut pool = Pool::new(|_| {});
    pool.announce(&current);
    pool.try_hears(r#"{"id":1,"method":"mining.subscribe","params":["a","s1"]}"#)
        .expect("fine");
    pool.session.resume(pool.now, parked);
    pool.hears(r#"{"id":2,"method":"mining.authorize","params":["me","x"]}"#);
    assert_eq!(pool.says().len(), 4);
    assert_eq!(pool.submit("me", sent), refusal(RejectReason::Duplicate));
}

#[test]
fn rolled_versions_have_to_be_said_once_agreed_upon_and_stay_in_the_mask() {
    let mut pool = Pool::ready(|_| {});
    pool.hears(r#"{"id":3,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"00ffe000"}]}"#);
    pool.says();
    let share = |bits: &str| format!(r#""j","00000000","504e86b9","00000001"{bits}"#);
    assert_eq!(
        pool.submit("me", &share("")),
        refusal(RejectReason::Malformed)
    );
    assert_eq!(
        pool.submit("me", &share(r#","01000000""#)),
        refusal(RejectReason::Malformed)
    );
    assert!(pool.submit("me", &share(r#","00002000""#)).contains("true"));
    // Too few bits for the miner: none are rolled.
    let mut pool = Pool::new(|config| config.version_mask = 0x2000);
    pool.hears(r#"{"id":3,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.min-bit-count":2}]}"#);
    assert_eq!(
        pool.says(),
        [r#"{"id":3,"result":{"version-rolling":false},"error":null}"#]
    );
}

#[test]
fn wishes_are_bounded() {
    let mut pool = Pool::ready(|config| {
        config.min_difficulty = 0.5;
        config.max_difficulty = 8.0;
    });
    for (wish, difficulty) in [("2", 2.0), ("100", 8.0), ("0.001", 0.5)] {
        pool.hears(&format!(
            r#"{{"id":1,"method":"mining.suggest_difficulty","params":[{wish}]}}"#
        ));
        assert_eq!(pool.session.difficulty(), difficulty);
    }
    pool.says();
    pool.hears(r#"{"id":1,"method":"mining.suggest_difficulty","params":[-1]}"#);
    assert!(pool.says()[0].contains("error\":[20"));
    pool.hears(r#"{"id":1,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":4}]}"#);
    assert_eq!(pool.session.difficulty(), 4.0);
    assert_eq!(
        pool.says(),
        [r#"{"id":1,"result":{"minimum-difficulty":true},"error":null}"#]
    );
}

#[test]
fn shares_get_no_harder_than_what_the_pool_says_later() {
    let mut pool = Pool::ready(|config| config.difficulty = 4.0);
    pool.session.set_max_difficulty(0.5);
    pool.says();
    pool.announce(&job("next", true));
    let said = pool.says();
    assert!(said[0].contains("mining.set_difficulty"), "{said:?}");
    assert!(said[0].contains("[0.5]"), "{said:?}");
    pool.hears(r#"{"id":1,"method":"mining.suggest_difficulty","params":[2]}"#);
    assert_eq!(pool.session.difficulty(), 0.5);
}

/// A bound used to take the place of what it bounded.
#[test]
fn a_difficulty_that_was_bounded_is_back_when_the_bound_has_moved() {
    let mut pool = Pool::ready(|config| config.difficulty = 4.0);
    for (max, difficulty) in [(0.5, 0.5), (2.0, 2.0), (100.0, 4.0)] {
        pool.session.set_max_difficulty(max);
        assert_eq!(pool.session.difficulty(), difficulty);
    }
    for (minimum, difficulty) in [(8, 8.0), (1, 4.0)] {
        pool.hears(&format!(
            r#"{{"id":1,"method":"mining.configure","params":[["minimum-difficulty"],{{"minimum-difficulty.value":{minimum}}}]}}"#
        ));
        assert_eq!(pool.session.difficulty(), difficulty);
    }
}

#[test]
fn hostile_miners_are_left() {
    let error = |line: &str| Pool::ready(|_| {}).try_hears(line).expect_err("ends");
    assert!(matches!(error("GET / HTTP/1.1"), ServerError::Message(_)));
    assert!(matches!(error(&"x".repeat(20_000)), ServerError::Line(_)));
    let mut pool = Pool::ready(|config| config.max_messages = 50);
    let flood = (0..100).try_for_each(|_| pool.try_hears(r#"{"id":1,"method":"mining.ping"}"#));
    assert_eq!(flood, Err(ServerError::Flood { max: 50 }));
    let mut pool = Pool::new(|_| {});
    for number in 0..100 {
        pool.try_hears(&format!(
            r#"{{"id":1,"method":"mining.authorize","params":["{number}"]}}"#
        ))
        .expect("no error");
    }
    assert_eq!(pool.tells().len(), 16);
    pool.now += Duration::from_secs(600);
    let after = Duration::from_secs(600);
    assert_eq!(
        pool.session.handle_timeout(pool.now),
        Err(ServerError::Silent { after })
    );
}

/// The difficulty that a job comes with, if it is another one.
fn told(pool: &mut Pool, id: &str) -> Option<f64> {
    pool.says();
    pool.announce(&job(id, false));
    let said = pool.says();
    let (_, number) = said[0].split_once("mining.set_difficulty\",\"params\":[")?;
    number.trim_end_matches("]}").parse().ok()
}

#[test]
fn the_difficulty_moves_by_one_step_between_two_jobs() {
    // So easy that any hash will do after some steps, too.
    let mut pool = Pool::ready(|config| (config.difficulty, config.min_difficulty) = (1e-13, 0.0));
    let mut before = pool.session.difficulty();
    for id in ["j", "k"] {
        pool.now += Duration::from_secs(1);
        for nonce in 0..200 {
            let share = format!(r#""{id}","00000000","504e86b9","{nonce:08x}""#);
            assert!(pool.submit("me", &share).contains("true"));
        }
        let next = if id == "j" { "k" } else { "l" };
        let after = told(&mut pool, next).expect("another difficulty");
        let step = after / before;
        assert!((1.5..4.001).contains(&step), "{before} to {after}");
        before = after;
    }
    // None at all: down, and again no further than the next job.
    for _ in 0..10 {
        pool.now += Duration::from_secs(30);
        pool.session.handle_timeout(pool.now).expect("no error");
    }
    assert!(
        pool.session.poll_timeout() > Some(pool.now),
        "nothing is due"
    );
    let step = before / told(&mut pool, "m").expect("another difficulty");
    assert!((1.5..4.001).contains(&step), "down by {step}");
    // As long as there is work, window by window.
    for id in ["n", "o", "p"] {
        pool.now = pool.session.poll_timeout().expect("a deadline");
        pool.session.handle_timeout(pool.now).expect("no error");
        assert!(told(&mut pool, id).is_some());
    }
}

/// Carries bytes between the two in pieces of `cut`, and answers the pool's questions.
fn carry(
    miner: &mut ClientSession,
    pool: &mut ServerSession,
    now: Instant,
    cut: usize,
) -> Vec<Event> {
    let mut events = Vec::new();
    while !miner.output().is_empty() || !pool.output().is_empty() {
        let up = miner.output().to_vec();
        miner.consume_output(up.len());
        for piece in up.chunks(cut) {
            pool.handle_bytes(now, piece).expect("a good miner");
        }
        while let Some(event) = pool.poll_event() {
            if let ServerEvent::Authorize { id, .. } = event {
                pool.authorize(now, id, true);
            }
        }
        let down = pool.output().to_vec();
        pool.consume_output(down.len());
        for piece in down.chunks(cut) {
            miner.handle_bytes(now, piece).expect("a good pool");
        }
        events.extend(std::iter::from_fn(|| miner.poll_event()));
    }
    events
}

proptest! {
    #[test]
    fn our_miner_and_our_pool_agree(
        cut in 1..200usize,
        rolling: bool,
        difficulty in 1e-9..1e-8f64,
        hits in prop::collection::vec(any::<(u32, u32, [u8; 4])>(), 1..20),
    ) {
        let now = Instant::now();
        let mut settings = ClientConfig::new("pool.example", "me", "x");
        settings.version_mask *= u32::from(rolling);
        let mut miner = ClientSession::new(settings, now);
        let mut settings = config();
        settings.difficulty = difficulty;
        settings.vardiff = None;
        let mut pool = ServerSession::new(settings, now);
        pool.announce(now, &job("j", true));
        let events = carry(&mut miner, &mut pool, now, cut);
        let key = events.iter().find_map(|event| match event {
            Event::Work(key) => Some(*key),
            _ => None,
        }).expect("a job");
        let mut expected = std::collections::BTreeSet::new();
        for (version, nonce, extranonce_2) in hits {
            let work = miner.work(key).expect("the job");
            let extranonce_2 = Extranonce::new(&extranonce_2).expect("short");
            let share = work.share(extranonce_2, version, work.job.ntime + 1, nonce);
            // The miner's own check and the pool's have to say the same.
            let good = work.target.is_met_by(&work.hash_of(&share));
            let sent = miner.submit(now, &share);
            prop_assert_eq!(sent.is_ok(), expected.insert(share));
            let events = carry(&mut miner, &mut pool, now, cut);
            match events.first() {
                None => prop_assert!(sent.is_err()),
                Some(Event::Accepted { .. }) => prop_assert!(good),
                Some(Event::Rejected { rejection, .. }) => {
                    prop_assert_eq!(rejection.reason, RejectReason::LowDifficulty);
                    prop_assert!(!good);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
