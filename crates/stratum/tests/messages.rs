//! What is written is read the same, in any order of members and with any white space.

use proptest::prelude::*;
use zcn_stratum::Job;
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::job::JobError;
use zcn_stratum::message::{
    Configure, Configured, FromMiner, FromPool, MessageError, Reply, Subscribed, write,
};
use zcn_stratum::reject::RejectReason;
use zcn_stratum::share::Share;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut line = Vec::new();
    write(&mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'));
    serde_json::from_slice::<serde_json::Value>(&line).expect("JSON");
    line
}

fn job_id() -> impl Strategy<Value = JobId> {
    ".{1,12}".prop_map(|text| JobId::new(text.as_bytes()).expect("short"))
}

fn extranonce() -> impl Strategy<Value = Extranonce> {
    prop::collection::vec(any::<u8>(), 0..=32)
        .prop_map(|bytes| Extranonce::new(&bytes).expect("short"))
}

prop_compose! {
    fn job()(
        id in job_id(),
        prev_hash: [u8; 32],
        coinbase_1 in prop::collection::vec(any::<u8>(), 0..300),
        coinbase_2 in prop::collection::vec(any::<u8>(), 0..300),
        branches in prop::collection::vec(any::<[u8; 32]>(), 0..=32),
        (version, nbits, ntime) in any::<(u32, u32, u32)>(),
        clean: bool,
    ) -> Job {
        Job { id, prev_hash, coinbase_1, coinbase_2, branches, version, nbits, ntime, clean }
    }
}

prop_compose! {
    fn share()(
        job_id in job_id(),
        extranonce_2 in extranonce(),
        (ntime, nonce) in any::<(u32, u32)>(),
        version_bits: Option<u32>,
    ) -> Share {
        Share { job_id, extranonce_2, ntime, nonce, version_bits }
    }
}

/// The same line with its members turned around and white space wherever it may stand.
fn scrambled(line: &[u8], turn: usize) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_slice(line).expect("JSON");
    let mut members: Vec<_> = value.as_object().expect("an object").iter().collect();
    members.rotate_left(turn);
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| {
            let value = serde_json::to_string_pretty(value).expect("JSON");
            format!("\t\"{name}\" :\r\n{value} ")
        })
        .collect();
    format!(" {{ {} }}\t", members.join(" , ")).into_bytes()
}

proptest! {
    #[test]
    fn jobs(job in job(), turn in 0..3usize) {
        let line = written(|out| write::notify(out, &job));
        for line in [scrambled(&line, turn), line] {
            let (message, _) = FromPool::parse(&line).expect("a message");
            let FromPool::Notify(notify) = message else { panic!("{message:?}") };
            let mut read = Job::default();
            read.assign(&notify).expect("a job");
            prop_assert_eq!(&read, &job);
        }
    }

    #[test]
    fn a_job_is_assigned_over_any_other(first in job(), second in job()) {
        let line = written(|out| write::notify(out, &second));
        let (FromPool::Notify(notify), _) = FromPool::parse(&line).expect("a message") else {
            panic!("a job");
        };
        let mut read = first;
        read.assign(&notify).expect("a job");
        prop_assert_eq!(read, second);
    }

    #[test]
    fn shares(share in share(), user in ".{0,20}", id: u64, turn in 0..3usize) {
        let line = written(|out| write::submit(out, id, &user, &share));
        for line in [scrambled(&line, turn), line] {
            let (message, raw_id) = FromMiner::parse(&line).expect("a message");
            prop_assert_eq!(raw_id.to_vec(), id.to_string().into_bytes());
            let FromMiner::Submit { user: read_user, share: read } = message else {
                panic!("{message:?}");
            };
            prop_assert!(read_user.is(&user));
            prop_assert_eq!(read, share);
        }
    }

    #[test]
    fn extensions(
        version_rolling: Option<(u32, u8)>,
        minimum_difficulty in prop::option::of(1e-9..1e20f64),
        subscribe_extranonce: bool,
        mask: Option<u32>,
        agreed: bool,
    ) {
        let asked = Configure {
            version_rolling,
            minimum_difficulty,
            subscribe_extranonce,
            info: false,
        };
        let line = written(|out| write::configure(out, 7, &asked));
        let (message, _) = FromMiner::parse(&line).expect("a message");
        let FromMiner::Configure(read) = message else { panic!("{message:?}") };
        prop_assert_eq!(read, asked);

        let configured = Configured {
            version_mask: mask.filter(|_| version_rolling.is_some()),
            minimum_difficulty: agreed && minimum_difficulty.is_some(),
            subscribe_extranonce: agreed && subscribe_extranonce,
        };
        let line = written(|out| write::reply_configured(out, b"7", &asked, &configured));
        let (FromPool::Reply(reply), _) = FromPool::parse(&line).expect("a message") else {
            panic!("a reply");
        };
        prop_assert_eq!(Reply::configured(reply.outcome().expect("no refusal")), configured);
    }

    #[test]
    fn subscriptions(extranonce_1 in extranonce(), extranonce_2_len in 0..=32usize, name in ".{0,20}") {
        let subscribed = Subscribed { extranonce_1, extranonce_2_len };
        let line = written(|out| write::reply_subscribed(out, b"\"x\"", &name, &subscribed));
        let (message, raw_id) = FromPool::parse(&line).expect("a message");
        prop_assert_eq!(raw_id, b"\"x\"");
        let FromPool::Reply(reply) = message else { panic!("{message:?}") };
        let (read, session) = Reply::subscribed(reply.outcome().expect("no refusal")).expect("shape");
        prop_assert_eq!(read, subscribed);
        prop_assert!(session.expect("a name").is(&name));
        let line = written(|out| write::set_extranonce(out, &subscribed));
        let (message, _) = FromPool::parse(&line).expect("a message");
        prop_assert!(matches!(message, FromPool::SetExtranonce(read) if read == subscribed));
    }

    #[test]
    fn difficulties(difficulty in prop::num::f64::POSITIVE) {
        let line = written(|out| write::set_difficulty(out, difficulty));
        let (message, _) = FromPool::parse(&line).expect("a message");
        prop_assert!(matches!(message, FromPool::SetDifficulty(read) if read == difficulty));
        let line = written(|out| write::suggest_difficulty(out, 1, difficulty));
        let (message, _) = FromMiner::parse(&line).expect("a message");
        prop_assert!(matches!(message, FromMiner::SuggestDifficulty(read) if read == difficulty));
    }

    #[test]
    fn anything_at_all_is_no_panic(line: Vec<u8>, text in r#"[\[\]{}",:a-z0-9.\-]{0,60}"#) {
        let _ = FromPool::parse(&line);
        let _ = FromMiner::parse(&line);
        let _ = FromPool::parse(text.as_bytes());
        let _ = FromMiner::parse(text.as_bytes());
    }
}

#[test]
fn the_other_messages_come_back() {
    let pool = |write: &dyn Fn(&mut Vec<u8>)| written(write);
    let line = pool(&|out| write::reconnect(out, Some(("eu.pool.example", 3333)), 5));
    let (message, _) = FromPool::parse(&line).expect("a message");
    let FromPool::Reconnect(to) = message else {
        panic!("{message:?}")
    };
    assert!(to.host.expect("a host").is("eu.pool.example"));
    assert_eq!((to.port, to.wait_s), (Some(3333), 5));
    let line = pool(&|out| write::reconnect(out, None, 0));
    let (message, _) = FromPool::parse(&line).expect("a message");
    let FromPool::Reconnect(to) = message else {
        panic!("{message:?}")
    };
    assert_eq!((to.host, to.port, to.wait_s), (None, None, 0));
    let line = pool(&|out| write::show_message(out, "a \"b\"\n"));
    let (message, _) = FromPool::parse(&line).expect("a message");
    assert!(matches!(message, FromPool::ShowMessage(text) if text.is("a \"b\"\n")));
    let line = pool(&|out| write::set_version_mask(out, 0x1234_5678));
    let (message, _) = FromPool::parse(&line).expect("a message");
    assert!(matches!(message, FromPool::SetVersionMask(0x1234_5678)));
    let line = pool(&|out| write::get_version(out, 9));
    assert!(matches!(
        FromPool::parse(&line),
        Ok((FromPool::GetVersion, b"9"))
    ));
    let line = pool(&|out| write::ping(out, 9));
    assert!(matches!(FromPool::parse(&line), Ok((FromPool::Ping, b"9"))));
    assert!(matches!(
        FromMiner::parse(&line),
        Ok((FromMiner::Ping, b"9"))
    ));
    let line = pool(&|out| write::subscribe(out, 1, "zcn/1", Some("abc")));
    let (message, _) = FromMiner::parse(&line).expect("a message");
    let FromMiner::Subscribe(asked) = message else {
        panic!("{message:?}")
    };
    assert!(asked.agent.expect("an agent").is("zcn/1") && asked.session.expect("one").is("abc"));
    let line = pool(&|out| write::authorize(out, 1, "me\\", "x"));
    let (message, _) = FromMiner::parse(&line).expect("a message");
    assert!(
        matches!(message, FromMiner::Authorize { user, password } if user.is("me\\") && password.is("x"))
    );
    let line = pool(&|out| write::extranonce_subscribe(out, 1));
    assert!(matches!(
        FromMiner::parse(&line),
        Ok((FromMiner::ExtranonceSubscribe, b"1"))
    ));
    let line = br#"{"id":1,"method":"mining.suggest_target","params":["00000000ffff0000000000000000000000000000000000000000000000000000"]}"#;
    let (message, _) = FromMiner::parse(line).expect("a message");
    assert!(matches!(message, FromMiner::SuggestTarget(target) if target.difficulty() == 1.0));
}

#[test]
fn answers_in_the_forms_that_pools_write() {
    let outcome = |line: &'static str| {
        let (message, _) = FromPool::parse(line.as_bytes()).expect("a message");
        let FromPool::Reply(reply) = message else {
            panic!("{message:?}")
        };
        reply
            .outcome()
            .map(|_| ())
            .map_err(|rejection| rejection.reason)
    };
    for line in [
        r#"{"id":4,"result":true,"error":null}"#,
        r#"{"error":[],"id":4,"result":true}"#,
        r#"{"id":"4","result":true}"#,
        r#"{"id":4,"jsonrpc":"2.0","result":true,"error":""}"#,
        r#"{"id":4,"result":null,"error":null}"#,
        r#"{"id":4,"result":true,"error":false}"#,
    ] {
        assert_eq!(outcome(line), Ok(()), "{line}");
    }
    for (line, reason) in [
        (
            r#"{"id":4,"result":false,"error":null}"#,
            RejectReason::Other,
        ),
        (
            r#"{"id":4,"result":false,"error":null,"reject-reason":"Above target"}"#,
            RejectReason::LowDifficulty,
        ),
        (
            r#"{"id":4,"result":null,"error":[21,"Job not found",null]}"#,
            RejectReason::Stale,
        ),
        (
            r#"{"id":4,"result":null,"error":{"code":22,"message":"Duplicate"}}"#,
            RejectReason::Duplicate,
        ),
        (r#"{"id":4,"error":"Stale"}"#, RejectReason::Stale),
        (
            r#"{"id":4,"result":null,"error":true}"#,
            RejectReason::Other,
        ),
    ] {
        assert_eq!(outcome(line), Err(reason), "{line}");
    }
    for reason in RejectReason::ALL {
        let line = written(|out| write::reply_error(out, b"4", reason, reason.text()));
        let (FromPool::Reply(reply), _) = FromPool::parse(&line).expect("a message") else {
            panic!("a reply");
        };
        assert_eq!(reply.outcome().expect_err("a refusal").reason, reason);
    }
}

#[test]
fn a_session_without_the_usual_list_of_subscriptions() {
    for (line, name) in [
        (
            r#"{"id":1,"result":[[["mining.notify","ae68"]],"08000002",4]}"#,
            Some("ae68"),
        ),
        (
            r#"{"id":1,"result":[[["mining.set_difficulty","1"],["mining.notify","2"]],"08000002",4]}"#,
            Some("2"),
        ),
        (
            r#"{"id":1,"result":[["mining.notify","ae68"],"08000002",4]}"#,
            Some("ae68"),
        ),
        (r#"{"id":1,"result":[null,"08000002",4]}"#, None),
        (r#"{"id":1,"result":[[],"08000002","4"]}"#, None),
    ] {
        let (message, _) = FromPool::parse(line.as_bytes()).expect("a message");
        let FromPool::Reply(reply) = message else {
            panic!("{message:?}")
        };
        let (subscribed, session) =
            Reply::subscribed(reply.outcome().expect("no refusal")).expect(line);
        assert_eq!(subscribed.extranonce_1.as_bytes(), [8, 0, 0, 2]);
        assert_eq!(subscribed.extranonce_2_len, 4);
        assert_eq!(
            session.map(|name| name.to_str().into_owned()).as_deref(),
            name,
            "{line}"
        );
    }
}

#[test]
fn wrong_types_are_named() {
    let shape = |line: &'static str| match FromPool::parse(line.as_bytes()) {
        Err(MessageError::Shape { method, what }) => (method, what),
        other => panic!("{line}: {other:?}"),
    };
    let job = |params: &str| -> &'static str {
        format!(r#"{{"id":null,"method":"mining.notify","params":{params}}}"#).leak()
    };
    assert_eq!(shape(job("[]")), ("mining.notify", "name of the job"));
    assert_eq!(shape(job("[1]")), ("mining.notify", "name of the job"));
    assert_eq!(
        shape(job(r#"["","","","",{}]"#)),
        ("mining.notify", "merkle branches")
    );
    assert_eq!(
        shape(job(r#"["","","","",[],"","","",1]"#)),
        ("mining.notify", "clean_jobs")
    );
    assert_eq!(shape(job("{}")), ("a message", "params"));
    assert_eq!(shape(r#"{"method":1}"#), ("a message", "method"));
    let long = format!(r#"{{"id":"{}","method":"x"}}"#, "x".repeat(64)).leak();
    assert_eq!(shape(long), ("a message", "id"));
    for method in [
        "mining.set_difficulty",
        "mining.set_extranonce",
        "mining.set_version_mask",
    ] {
        let line = format!(r#"{{"id":null,"method":"{method}","params":[[]]}}"#).leak();
        assert_eq!(shape(line).0, method);
    }
    assert_eq!(
        shape(r#"{"method":"mining.set_extranonce","params":["00",33]}"#).1,
        "extranonce"
    );
    assert_eq!(
        shape(r#"{"method":"mining.set_extranonce","params":["00",-1]}"#).1,
        "extranonce"
    );
    assert_eq!(
        shape(r#"{"method":"client.reconnect","params":["a",99999]}"#).1,
        "port"
    );
    assert_eq!(
        FromPool::parse(b"[]").expect_err("no object"),
        MessageError::NoObject
    );
    assert!(matches!(FromPool::parse(b"{"), Err(MessageError::Json(_))));
}

#[test]
fn absurd_jobs_are_refused() {
    let hash = "0".repeat(64);
    let line = |id: &str, prev: &str, branches: usize, version: &str| {
        let branches = vec![format!("\"{hash}\""); branches].join(",");
        format!(
            r#"{{"method":"mining.notify","params":["{id}","{prev}","00","00",[{branches}],"{version}","1d00ffff","504e86b9",true]}}"#
        )
    };
    let assign = |line: &str| {
        let (message, _) = FromPool::parse(line.as_bytes()).expect("a message");
        let FromPool::Notify(notify) = message else {
            panic!("{message:?}")
        };
        Job::default().assign(&notify)
    };
    assert_eq!(assign(&line("a", &hash, 32, "00000002")), Ok(()));
    // Escapes say the same digits.
    assert_eq!(assign(&line("\\u0061", &hash, 0, "0000000\\u0032")), Ok(()));
    assert_eq!(
        assign(&line("a", &hash, 33, "00000002")),
        Err(JobError::TooManyBranches)
    );
    assert_eq!(
        assign(&line("", &hash, 0, "00000002")),
        Err(JobError::Id { len: 0 })
    );
    assert_eq!(
        assign(&line(&"x".repeat(65), &hash, 0, "00000002")),
        Err(JobError::Id { len: 65 })
    );
    let error = assign(&line("a", &hash[1..], 0, "00000002")).expect_err("63 digits");
    assert_eq!(
        error.to_string(),
        "the previous hash of a job: 63 hexadecimal digits where 64 belong"
    );
    let error = assign(&line("a", &hash, 0, "0000000g")).expect_err("no digit");
    assert_eq!(
        error.to_string(),
        "the version of a job: not a hexadecimal digit"
    );
}
