//! The miner's session against lines that a pool sends.

use std::time::{Duration, Instant};

use zcn_stratum::Job;
use zcn_stratum::client::{ClientConfig, ClientError, ClientSession, Event, Resume, SubmitError};
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::message::write;
use zcn_stratum::reject::RejectReason;
use zcn_stratum::share::Share;

const HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A session, the time, and what it says and tells.
struct Miner {
    session: ClientSession,
    now: Instant,
}

impl Miner {
    fn new(change: impl FnOnce(&mut ClientConfig)) -> Self {
        let now = Instant::now();
        let mut config = ClientConfig::new("eu.pool.example", "me", "x");
        change(&mut config);
        let session = ClientSession::new(config, now);
        Self { session, now }
    }

    /// Configured, subscribed, authorised.
    fn ready(change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut miner = Self::new(|config| {
            config.extranonce_subscribe = false;
            change(config);
        });
        miner.hears(r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#);
        miner.hears(r#"{"id":2,"result":[[["mining.notify","s1"]],"08000002",4],"error":null}"#);
        miner.hears(r#"{"id":3,"result":true,"error":null}"#);
        miner.says();
        miner.tells();
        assert!(miner.session.is_ready());
        miner
    }

    fn try_hears(&mut self, line: &str) -> Result<(), ClientError> {
        self.session.handle_bytes(self.now, line.as_bytes())?;
        self.session.handle_bytes(self.now, b"\n")
    }

    fn hears(&mut self, line: &str) {
        self.try_hears(line).expect(line);
    }

    fn hears_job(&mut self, id: &str, clean: bool) {
        self.hears(&format!(
            r#"{{"id":null,"method":"mining.notify","params":["{id}","{HASH}","01","02",[],"20000000","1d00ffff","504e86b9",{clean}]}}"#
        ));
    }

    fn says(&mut self) -> Vec<String> {
        let said = String::from_utf8(self.session.output().to_vec()).expect("text");
        self.session.consume_output(said.len());
        said.lines().map(str::to_owned).collect()
    }

    fn tells(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn later(&mut self, seconds: u64) -> Result<(), ClientError> {
        self.now += Duration::from_secs(seconds);
        self.session.handle_timeout(self.now)
    }

    /// The share of a nonce for the job that came last.
    fn share(&mut self, nonce: u32) -> Share {
        let mut works = self.tells().into_iter().filter_map(|event| match event {
            Event::Work(key) => Some(key),
            _ => None,
        });
        let key = works.next_back().expect("a job");
        let work = self.session.work(key).expect("its work");
        let extranonce_2 = Extranonce::new(&[0; 4]).expect("short");
        work.share(extranonce_2, 0x2000_4000, work.job.ntime, nonce)
    }

    fn submit(&mut self, share: &Share) -> Result<(), SubmitError> {
        self.session.submit(self.now, share).map(|_| ())
    }
}

#[test]
fn a_session_from_the_first_word_to_an_accepted_share() {
    let mut miner = Miner::new(|config| config.suggest_difficulty = Some(0.5));
    assert_eq!(
        miner.says(),
        [
            r#"{"id":1,"method":"mining.configure","params":[["version-rolling","subscribe-extranonce"],{"version-rolling.mask":"1fffe000","version-rolling.min-bit-count":2}]}"#
        ],
    );
    miner.hears(r#"{"error":null,"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"}}"#);
    assert_eq!(
        miner.says(),
        [
            format!(
                r#"{{"id":2,"method":"mining.subscribe","params":["zcn/{}"]}}"#,
                env!("CARGO_PKG_VERSION")
            ),
            r#"{"id":3,"method":"mining.authorize","params":["me","x"]}"#.to_owned(),
        ],
    );
    // Authorised first, with a job before the answer to the subscription.
    miner.hears(r#"{"id":3,"result":true,"error":null}"#);
    miner.hears(r#"{"id":null,"method":"mining.set_difficulty","params":[0.001]}"#);
    miner.hears_job("j1", true);
    assert!(!miner.session.is_ready());
    miner.tells();
    miner.hears(r#"{"id":2,"result":[[["mining.notify","s1"]],"08000002",4],"error":null}"#);
    assert_eq!(
        miner.says(),
        [
            r#"{"id":4,"method":"mining.extranonce.subscribe","params":[]}"#,
            r#"{"id":5,"method":"mining.suggest_difficulty","params":[0.5]}"#,
        ],
    );
    let events = miner.tells();
    let [
        Event::Subscribed {
            extranonces,
            resumed: false,
        },
        Event::Work(key),
    ] = events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(extranonces.extranonce_1.as_bytes(), [8, 0, 0, 2]);
    let work = miner.session.work(key).expect("the job");
    assert_eq!((work.difficulty, work.extranonce_2_len), (0.001, 4));
    let extranonce_2 = Extranonce::new(&[0, 0, 0, 1]).expect("short");
    let share = work.share(extranonce_2, 0x2000_4000, 0x504e_86ba, 0xb295_7c02);
    assert_eq!(miner.submit(&share), Ok(()));
    assert_eq!(
        miner.says(),
        [
            r#"{"id":6,"method":"mining.submit","params":["me","j1","00000001","504e86ba","b2957c02","00004000"]}"#
        ],
    );
    assert_eq!(miner.submit(&share), Err(SubmitError::Duplicate));
    assert_eq!(miner.session.unanswered().count(), 1);
    miner.now += Duration::from_millis(30);
    miner.hears(r#"{"id":6,"result":true,"error":null}"#);
    let events = miner.tells();
    let [Event::Accepted { rtt, .. }] = events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(rtt, Duration::from_millis(30));
    assert_eq!(miner.session.unanswered().count(), 0);
    let resume = miner.session.resume().expect("a session");
    assert_eq!(resume.session, "s1");
}

#[test]
fn a_pool_that_does_not_know_configure_is_not_waited_for() {
    let mut miner = Miner::new(|_| {});
    miner.says();
    let due = miner.session.poll_timeout().expect("a deadline");
    assert_eq!(due - miner.now, Duration::from_secs(2));
    miner.later(2).expect("no error");
    assert_eq!(miner.tells(), [Event::ConfigureUnanswered]);
    assert!(miner.says()[0].contains("mining.subscribe"));
    // An answer that comes late counts all the same, and nothing is asked twice.
    miner.hears(r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"0fffe000"}}"#);
    assert!(matches!(miner.tells()[..], [Event::Configured(_)]));
    assert_eq!(miner.says(), [""; 0]);

    let mut miner = Miner::new(|_| {});
    miner.says();
    miner.hears(r#"{"id":1,"result":null,"error":[20,"unknown method",null]}"#);
    assert_eq!(miner.tells(), [Event::ConfigureUnanswered]);
    assert!(miner.says()[0].contains("mining.subscribe"));

    let mut miner = Miner::new(|config| config.configure = false);
    assert!(miner.says()[0].contains("mining.subscribe"));
}

#[test]
fn without_version_rolling_a_share_has_five_parameters() {
    let mut miner = Miner::new(|config| {
        config.configure = false;
        config.extranonce_subscribe = false;
    });
    miner.hears(r#"{"id":1,"result":[[],"",8]}"#);
    miner.hears(r#"{"id":2,"result":true}"#);
    miner.says();
    miner.hears_job("a", false);
    let share = miner.share(1);
    assert_eq!(miner.submit(&share), Ok(()));
    assert!(miner.says()[0].ends_with(r#"["me","a","00000000","504e86b9","00000001"]}"#));
}

#[test]
fn difficulty_and_extranonce_hold_for_later_jobs_and_the_mask_at_once() {
    let mut miner = Miner::ready(|_| {});
    miner.hears_job("a", false);
    miner.hears(r#"{"method":"mining.set_difficulty","params":["16"]}"#);
    miner.hears(r#"{"method":"mining.set_extranonce","params":["ff",2]}"#);
    miner.hears_job("b", false);
    miner.hears(r#"{"method":"mining.set_version_mask","params":["00ffe000"]}"#);
    let events = miner.tells();
    let [
        Event::Work(a),
        Event::Work(b),
        Event::VersionMask(0x00ff_e000),
    ] = events[..]
    else {
        panic!("{events:?}");
    };
    let of = |key| {
        let work = miner.session.work(key).expect("work");
        (
            work.difficulty,
            work.extranonce_1.as_bytes().to_vec(),
            work.extranonce_2_len,
            work.version_mask,
        )
    };
    assert_eq!(of(a), (1.0, vec![8, 0, 0, 2], 4, Some(0x00ff_e000)));
    assert_eq!(of(b), (16.0, vec![0xff], 2, Some(0x00ff_e000)));
}

#[test]
fn late_shares_count_until_a_clean_job_comes() {
    let mut miner = Miner::ready(|_| {});
    miner.hears_job("a", true);
    let old = miner.share(1);
    miner.hears_job("b", false);
    assert_eq!(miner.submit(&old), Ok(()));
    let newer = miner.share(2);
    miner.hears_job("c", true);
    assert_eq!(miner.submit(&newer), Err(SubmitError::Stale));
    // Of two jobs with one name the later counts; sixteen are remembered.
    miner.hears_job("d", false);
    let d = miner.share(3);
    for number in 0..16 {
        miner.hears_job(&format!("e{number}"), false);
    }
    assert_eq!(miner.submit(&d), Err(SubmitError::Stale));
}

#[test]
fn a_rehearsal_is_without_consequence() {
    let mut miner = Miner::ready(|config| config.max_messages = 20);
    let line = |id: &str| {
        let job = Job {
            id: JobId::new(id.as_bytes()).expect("short"),
            coinbase_1: vec![7; 40],
            clean: true,
            ..Job::default()
        };
        let mut line = Vec::new();
        write::notify(&mut line, &job);
        line
    };
    miner.hears_job("a", true);
    let share = miner.share(1);
    miner.tells();
    assert!(miner.session.rehearse(b"nonsense\n").is_none());
    let mut bytes = br#"{"method":"mining.set_difficulty","params":[9]}"#.to_vec();
    bytes.push(b'\n');
    // No job, no rehearsal: not the empty place of the next one.
    assert!(miner.session.rehearse(&bytes).is_none());
    assert!(miner.session.rehearse(b"").is_none());
    bytes.extend([line("a"), line("b")].concat());
    for _ in 0..100 {
        let work = miner.session.rehearse(&bytes).expect("a job");
        assert_eq!(work.job.id.as_bytes(), b"b");
        assert_eq!((work.difficulty, work.job.coinbase_1.len()), (1.0, 40));
        let key = work.key;
        assert!(miner.session.work(key).is_none());
    }
    assert!(miner.tells().is_empty());
    assert_eq!(miner.session.output(), b"");
    assert_eq!(miner.submit(&share), Ok(()));
    // The next job is what it would have been.
    miner.hears_job("c", false);
    let events = miner.tells();
    let [Event::Work(key)] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        miner.session.work(key).expect("work").job.id.as_bytes(),
        b"c"
    );
}

#[test]
fn shares_are_kept_until_the_session_is_ready_and_bounded() {
    let mut miner = Miner::new(|config| config.max_unanswered = 2);
    let share = Share {
        job_id: JobId::new(b"a").expect("short"),
        extranonce_2: Extranonce::EMPTY,
        ntime: 0,
        nonce: 0,
        version_bits: None,
    };
    assert_eq!(
        miner.session.resubmit(miner.now, &share),
        Err(SubmitError::NotReady)
    );
    let mut miner = Miner::ready(|config| config.max_unanswered = 2);
    for nonce in 0..2 {
        let share = Share { nonce, ..share };
        assert!(miner.session.resubmit(miner.now, &share).is_ok());
    }
    let third = Share { nonce: 2, ..share };
    assert_eq!(
        miner.session.resubmit(miner.now, &third),
        Err(SubmitError::Busy)
    );
    let kept: Vec<u32> = miner
        .session
        .unanswered()
        .map(|(_, share)| share.nonce)
        .collect();
    assert_eq!(kept, [0, 1]);
    miner.hears(r#"{"id":5,"result":null,"error":[21,"Job not found",null]}"#);
    let events = miner.tells();
    let [Event::Rejected { rejection, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(rejection.reason, RejectReason::Stale);
    assert!(miner.session.resubmit(miner.now, &third).is_ok());
}

#[test]
fn a_session_is_resumed_or_begun_anew() {
    let resume = Resume {
        session: "s1".to_owned(),
        extranonce_1: Extranonce::new(&[8, 0, 0, 2]).expect("short"),
    };
    let asks = |miner: &mut Miner| {
        miner
            .says()
            .into_iter()
            .find(|line| line.contains("subscribe\",\"params"))
            .expect("asks")
    };
    for (extranonce, expected) in [("08000002", true), ("08000003", false)] {
        let mut miner = Miner::new(|config| {
            config.configure = false;
            config.resume = Some(resume.clone());
        });
        assert!(asks(&mut miner).ends_with(r#","s1"]}"#));
        miner.hears(&format!(
            r#"{{"id":1,"result":[[["mining.notify","s2"]],"{extranonce}",4]}}"#
        ));
        let events = miner.tells();
        assert!(matches!(events[..], [Event::Subscribed { resumed, .. }] if resumed == expected));
    }
    // A pool that refuses the old session is asked for a new one.
    let mut miner = Miner::new(|config| {
        config.configure = false;
        config.resume = Some(resume);
    });
    miner.says();
    miner.hears(r#"{"id":1,"result":null,"error":[20,"unknown session",null]}"#);
    assert!(!asks(&mut miner).contains("s1"));
    let error = miner.try_hears(r#"{"id":3,"result":null,"error":[20,"full",null]}"#);
    assert!(
        matches!(error, Err(ClientError::SubscribeRefused(_))),
        "{error:?}"
    );
}

#[test]
fn a_redirect_is_heeded_within_the_domain_only() {
    let mut miner = Miner::ready(|_| {});
    let to = |host: &str| {
        format!(r#"{{"id":null,"method":"client.reconnect","params":["{host}","4444",7]}}"#)
    };
    miner.hears(&to("us.pool.example"));
    miner.hears(&to("pool.evil"));
    miner.hears(r#"{"id":null,"method":"client.reconnect","params":[]}"#);
    miner.hears(r#"{"id":null,"method":"client.reconnect","params":["",0,4000000000]}"#);
    let wait = Duration::from_secs(7);
    assert_eq!(
        miner.tells(),
        [
            Event::Reconnect {
                host: Some("us.pool.example".to_owned()),
                port: Some(4444),
                wait
            },
            Event::RedirectRefused {
                host: "pool.evil".to_owned()
            },
            Event::Reconnect {
                host: None,
                port: None,
                wait: Duration::ZERO
            },
            Event::Reconnect {
                host: None,
                port: None,
                wait: Duration::from_secs(600)
            },
        ],
    );
}

#[test]
fn what_a_pool_asks_is_answered() {
    let mut miner = Miner::ready(|_| {});
    miner.hears(r#"{"id":"v","method":"client.get_version","params":[]}"#);
    miner.hears(r#"{"id":77,"method":"mining.ping","params":[]}"#);
    miner.hears(r#"{"id":78,"method":"mining.dance","params":[]}"#);
    miner.hears(r#"{"id":null,"method":"mining.dance","params":[]}"#);
    miner.hears(r#"{"method":"mining.dance"}"#);
    miner.hears(r#"{"id":null,"method":"client.show_message","params":["hello"]}"#);
    assert_eq!(
        miner.says(),
        [
            format!(
                r#"{{"id":"v","result":"zcn/{}","error":null}}"#,
                env!("CARGO_PKG_VERSION")
            ),
            r#"{"id":77,"result":"pong","error":null}"#.to_owned(),
            r#"{"id":78,"result":null,"error":[20,"Method not found: mining.dance",null]}"#
                .to_owned(),
        ],
    );
    assert_eq!(miner.tells(), [Event::Message("hello".to_owned())]);
}

#[test]
fn silence_is_answered_by_a_ping_and_ends_at_last() {
    let mut miner = Miner::ready(|_| {});
    miner.later(60).expect("no error");
    assert!(miner.says()[0].contains("mining.ping"));
    miner.later(200).expect("no error");
    assert_eq!(miner.says().len(), 1);
    let due = miner.session.poll_timeout().expect("a deadline");
    assert_eq!(due - miner.now, Duration::from_secs(40));
    let error = miner.later(40).expect_err("silence");
    assert_eq!(error.to_string(), "not a word from the pool for 300s");
    assert_eq!(miner.session.poll_timeout(), None);
}

#[test]
fn a_share_without_answer_ends_the_session_and_is_kept() {
    let mut miner = Miner::ready(|_| {});
    miner.hears_job("a", true);
    let share = miner.share(1);
    miner.submit(&share).expect("sent");
    miner.later(29).expect("no error");
    let error = miner.later(1).expect_err("hung");
    let after = Duration::from_secs(30);
    assert_eq!(
        error,
        ClientError::Unanswered {
            method: "mining.submit",
            after
        }
    );
    let kept: Vec<Share> = miner
        .session
        .unanswered()
        .map(|(_, share)| *share)
        .collect();
    assert_eq!(kept, [share]);
}

#[test]
fn hostile_pools_are_left() {
    let error = |line: &str| Miner::ready(|_| {}).try_hears(line).expect_err(line);
    assert!(matches!(error("x"), ClientError::Message(_)));
    assert!(matches!(
        error(&"[".repeat(60_000)),
        ClientError::Message(_)
    ));
    assert!(matches!(error(&" ".repeat(70_000)), ClientError::Line(_)));
    for difficulty in ["0", "-1", "1e300", "\"NaN\"", "null", "1e999"] {
        let line = format!(r#"{{"method":"mining.set_difficulty","params":[{difficulty}]}}"#);
        let error = error(&line);
        assert!(
            matches!(error, ClientError::Difficulty(_) | ClientError::Message(_)),
            "{difficulty}: {error}"
        );
    }
    let job = format!(
        r#"{{"method":"mining.notify","params":["a","{HASH}","0","02",[],"20000000","1d00ffff","504e86b9",true]}}"#
    );
    assert!(matches!(error(&job), ClientError::Job(_)));

    let mut miner = Miner::ready(|config| config.max_messages = 100);
    let flood = (0..200)
        .try_for_each(|_| miner.try_hears(r#"{"method":"mining.set_difficulty","params":[1]}"#));
    assert_eq!(flood, Err(ClientError::Flood { max: 100 }));
    // And stays left.
    miner.hears_job("a", true);
    assert_eq!(miner.tells(), []);

    let mut miner = Miner::ready(|config| config.max_messages = u32::MAX);
    let id = "x".repeat(60);
    let line = format!(r#"{{"id":"{id}","method":"mining.ping","params":[]}}"#);
    let flood = (0..100_000).try_for_each(|_| miner.try_hears(&line));
    assert_eq!(flood, Err(ClientError::NotReading));
    assert!(miner.session.output().len() < 2 << 20);
}

#[test]
fn a_worker_that_is_refused_ends_the_session() {
    let mut miner = Miner::new(|config| config.configure = false);
    let error =
        miner.try_hears(r#"{"id":2,"result":false,"error":[24,"Unauthorized worker",null]}"#);
    let Err(ClientError::Unauthorized(rejection)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        rejection.to_string(),
        "unauthorised (\"Unauthorized worker\", code 24)"
    );
}
