//! Sessions with pools of Stratum V2, and with pools of both versions in one list.

mod harness;

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::*;
use zcn::TcpListener;
use zcn_miner::machine::unix_s;
use zcn_miner::pool::{PoolNotice, PoolServer, PoolSettings, Template};
use zcn_miner::session::{Channel, Pool, SessionSettings};
use zcn_stratum::inline::Extranonce;
use zcn_stratum::v2::server::{ServerConfig, ServerEvent, ServerSession};
use zcn_stratum::v2::{AuthorityKey, AuthoritySecret};
use zcn_stratum::{Job, Target};

const CHANNELS: [Channel; 2] = [
    Channel::Standard,
    Channel::Extended {
        min_extranonce_len: 4,
    },
];

fn secret() -> AuthoritySecret {
    AuthoritySecret::new(&[7; 32]).expect("a secret")
}

/// A pool that speaks both versions, and where it speaks V2.
fn pool_v2(change: impl FnOnce(&mut PoolSettings)) -> (PoolServer, SocketAddr) {
    let server = pool(listen(any()), change);
    let listener = listen(any());
    let address = listener.local_addr();
    server.serve_v2(listener, secret());
    (server, address)
}

fn at_v2(address: SocketAddr, key: AuthorityKey) -> Pool {
    let mut pool = at(address, "tcp");
    let url = format!("stratum2+tcp://{address}/{key}");
    pool.url = url.parse().expect("a URL");
    pool
}

fn with(pools: Vec<Pool>, channel: Channel) -> SessionSettings {
    let mut settings = settings(pools);
    settings.channel = channel;
    settings
}

#[test]
fn every_share_is_accepted_once_on_both_kinds_of_channel() {
    for channel in CHANNELS {
        on_runtime(async || {
            let (server, address) = pool_v2(|_| {});
            let miner = Miner::start(with(vec![at_v2(address, secret().public())], channel));
            miner.find_two_hundred(&server).await;
            // Another block: what is found from now on is of that.
            server.set_template(template(2), true).expect("a job");
            miner
                .until("the next block", |log| {
                    log.work.is_some_and(|work| work.prev_hash == [2; 32])
                })
                .await;
            assert!(miner.find());
            miner.until("an answer", |log| log.told.len() == 201).await;
            assert_eq!(server.stats().accepted, 201);
            let log = miner.stop().await;
            assert_eq!(log.borrow().causes, [(0, "stopped".to_owned())]);
        });
    }
}

#[test]
fn pools_of_either_version_take_over_from_the_other_until_the_first_is_back() {
    for v2_first in [false, true] {
        on_runtime(async || {
            // A port that nobody serves for now.
            let first = listen(any()).local_addr();
            let second = pool(listen(any()), |_| {});
            let second_v2 = listen(any());
            let second_address = second_v2.local_addr();
            second.serve_v2(second_v2, secret());
            let key = secret().public();
            let pools = if v2_first {
                vec![at_v2(first, key), at(second.local_addr(), "tcp")]
            } else {
                vec![at(first, "tcp"), at_v2(second_address, key)]
            };
            let begin_first = async || {
                let listener = listen_again(first).await;
                if v2_first {
                    let server = pool(listen(any()), |_| {});
                    server.serve_v2(listener, secret());
                    server
                } else {
                    pool(listener, |_| {})
                }
            };
            follow_the_first(pools, begin_first, &second).await;
        });
    }
}

#[test]
fn a_link_that_breaks_again_and_again_sends_nothing_twice() {
    for channel in CHANNELS {
        on_runtime(async || {
            let (server, target) = pool_v2(|_| {});
            let link = listen(any());
            let address = link.local_addr();
            zcn::spawn(async move {
                // Longer each time: long enough for a handshake in the end, whatever else runs.
                let mut life = Duration::from_millis(20);
                while let Ok((stream, _)) = link.accept().await {
                    zcn::spawn(carry(stream, target, true, life));
                    life += Duration::from_millis(10);
                }
            });
            let mut settings = with(vec![at_v2(address, secret().public())], channel);
            settings.retry = (Duration::from_millis(1), Duration::from_millis(5));
            let miner = Miner::start(settings);
            miner.until("work", |log| log.work.is_some()).await;
            let mut count = 0;
            while miner.log.borrow().ready.len() < 5 {
                miner.find();
                count += 1;
                zcn::sleep(Duration::from_millis(1)).await;
            }
            miner.until("answers", |log| log.told.len() == count).await;
            let stats = server.stats();
            let (accepted, lost) = (miner.count("accepted"), miner.count("lost"));
            // The protocol resumes nothing: what was on its way when the link broke is lost to
            // the miner, though the pool may have it.
            assert_eq!(accepted + lost, count, "{stats:?}");
            assert!(accepted as u64 <= stats.accepted, "{accepted} {stats:?}");
            assert!(stats.accepted <= count as u64, "counted twice: {stats:?}");
            assert_eq!(
                stats.refused, 0,
                "sent twice, or in another's name: {stats:?}"
            );
            miner.stop().await;
        });
    }
}

#[test]
fn a_pool_that_starts_anew_is_not_sent_what_was_found_for_the_one_before() {
    on_runtime(async || {
        let start = |listener: TcpListener| {
            // The same extranonces and the same job as before: what was found for them is as
            // good as it was, and nothing else is sent.
            let server = pool(listen(any()), |_| {});
            server.serve_v2(listener, secret());
            server
        };
        let listener = listen(any());
        let address = listener.local_addr();
        let mut server = start(listener);
        let miner = Miner::start(settings(vec![at_v2(address, secret().public())]));
        let mut accepted = 0;
        for life in 1..=4 {
            miner.until("the pool", |log| log.ready.len() >= life).await;
            miner.until("work", |log| log.work.is_some()).await;
            for _ in 0..20 {
                assert!(miner.find());
            }
            zcn::sleep(Duration::from_millis(3)).await;
            server.stop();
            emptied(&server).await;
            assert_eq!(server.stats().refused, 0);
            accepted += server.stats().accepted;
            let listener = listen_again(address).await;
            server = start(listener);
        }
        miner.until("all told of", |log| log.told.len() == 80).await;
        accepted += server.stats().accepted;
        assert!(miner.count("accepted") as u64 <= accepted);
        miner.stop().await;
    });
}

/// Jobs of V2 are numbered anew with each connection. A share of a job that the connection does not
/// know is not sent as one of the job that has its number there.
#[test]
fn a_share_is_not_sent_under_another_job_of_the_same_number() {
    on_runtime(async || {
        let (first, address) = pool_v2(|_| {});
        let miner = Miner::start(settings(vec![at_v2(address, secret().public())]));
        miner.until("work", |log| log.work.is_some()).await;
        first.stop();
        miner
            .until("the pool is gone", |log| !log.causes.is_empty())
            .await;
        assert!(miner.find());
        emptied(&first).await;
        // The same extranonces and the same block, but another job, and shares that cost something.
        let second = pool(listen(any()), |settings| settings.difficulty = 1.0);
        let later = Template::synthetic(1, [1; 32], 0x1d00_ffff, 1_700_000_600);
        second.set_template(later, true).expect("a job");
        second.serve_v2(listen_again(address).await, secret());
        miner
            .until("it is told of", |log| log.told.len() == 1)
            .await;
        assert_eq!(miner.count("lost"), 1);
        miner.stop().await;
        let stats = second.stats();
        assert_eq!((stats.accepted, stats.refused), (0, 0), "{stats:?}");
    });
}

#[test]
fn a_block_whose_first_job_was_passed_over_is_told_by_either_version() {
    for v2 in [false, true] {
        on_runtime(async || {
            let (server, address) = pool_v2(|_| {});
            let pool = if v2 {
                at_v2(address, secret().public())
            } else {
                at(server.local_addr(), "tcp")
            };
            let miner = Miner::start(settings(vec![pool]));
            miner.until("work", |log| log.work.is_some()).await;
            // No miner is looked at between these two.
            server.set_template(template(2), true).expect("a job");
            server.set_template(template(2), false).expect("a job");
            miner
                .until("the next block", |log| {
                    log.work.is_some_and(|work| work.prev_hash == [2; 32])
                })
                .await;
            assert!(miner.log.borrow().clean);
            miner.stop().await;
        });
    }
}

#[test]
fn another_key_and_another_protocol_are_refused_in_plain_words() {
    on_runtime(async || {
        let (_server, v2) = pool_v2(|_| {});
        let other = AuthoritySecret::new(&[8; 32]).expect("a secret").public();
        let text = b"{\"id\":null,\"error\":\"no such method\"}\n".to_vec();
        let pools = vec![
            // Whoever has not the secret of the key that was asked for.
            at_v2(v2, other),
            // A pool of V1 behind a URL of V2, one that talks.
            at_v2(parrot(text), secret().public()),
            // A pool of V2 behind a URL of V1.
            at(v2, "tcp"),
            at_v2(v2, secret().public()),
        ];
        let mut settings = settings(pools);
        settings.retry = (HANG, HANG);
        settings.return_after = HANG;
        let miner = Miner::start(settings);
        miner.until("the good pool", |log| log.ready == [3]).await;
        let log = miner.stop().await;
        let causes = &log.borrow().causes;
        for (pool, words) in [
            (0, "another key"),
            (1, "Stratum V1"),
            (2, "Stratum V2 (stratum2+tcp://)"),
        ] {
            let (at, cause) = &causes[pool];
            assert_eq!(*at, pool, "{causes:?}");
            assert!(cause.contains(words), "{cause}");
        }
    });
}

/// It waits for a line; whether a handshake has the end of one is chance.
#[test]
fn a_pool_of_v1_behind_a_url_of_v2_is_left_whether_it_answers_or_not() {
    on_runtime(async || {
        let server = pool(listen(any()), |_| {});
        let mut settings = settings(vec![at_v2(server.local_addr(), secret().public())]);
        settings.protocol.request_timeout = Duration::from_secs(1);
        let miner = Miner::start(settings);
        miner.until("the end", |log| !log.causes.is_empty()).await;
        let log = miner.stop().await;
        let (_, cause) = &log.borrow().causes[0];
        assert!(
            cause == "no answer to the handshake of Stratum V2 within 1s"
                || cause.contains("perhaps it speaks Stratum V1"),
            "{cause}"
        );
    });
}

#[test]
fn what_the_ledger_keeps_of_a_broken_connection_is_told_of_and_not_sent() {
    on_runtime(async || {
        let ledger = LedgerFile::new("v2-left");
        let (first, address) = pool_v2(|_| {});
        let start = || {
            let mut settings = settings(vec![at_v2(address, secret().public())]);
            settings.ledger = Some(ledger.settings());
            Miner::start(settings)
        };
        let miner = start();
        miner.until("work", |log| log.work.is_some()).await;
        assert!(miner.find());
        miner.until("an answer", |log| log.told.len() == 1).await;
        first.stop();
        miner
            .until("the pool is gone", |log| !log.causes.is_empty())
            .await;
        for _ in 0..10 {
            assert!(miner.find());
        }
        let log = miner.stop().await;
        assert_eq!(log.borrow().kept, 10);
        assert_eq!(ledger.open_shares(), 10);

        emptied(&first).await;
        let second = pool(listen(any()), |settings| settings.first_extranonce = 99);
        let listener = listen_again(address).await;
        second.serve_v2(listener, secret());
        let miner = start();
        miner.log.borrow_mut().handed_in = 10;
        miner.until("all told of", |log| log.told.len() == 10).await;
        assert_eq!(miner.count("lost"), 10);
        miner.stop().await;
        let stats = second.stats();
        assert_eq!((stats.accepted, stats.refused), (0, 0), "{stats:?}");
        assert_eq!(ledger.open_shares(), 0);
    });
}

/// A pool of V2 at `host` that does something when a channel is opened, and from then on hears
/// nothing.
fn opens(host: IpAddr, act: impl Fn(&mut ServerSession) + Send + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind((host, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let prefix = Extranonce::new(&[1; 4]).expect("short");
            let config = ServerConfig::new(secret(), prefix, Target::MAX);
            let mut session = ServerSession::new(config, Instant::now(), unix_s(), [5; 32]);
            let (mut buffer, mut opened) = ([0; 4096], false);
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if opened {
                    continue;
                }
                if session
                    .handle_bytes(Instant::now(), &buffer[..count])
                    .is_err()
                {
                    break;
                }
                while let Some(event) = session.poll_event() {
                    if matches!(event, ServerEvent::Opened { .. }) {
                        act(&mut session);
                        opened = true;
                    }
                }
                let sent = stream.write_all(session.output());
                session.consume_output(session.output().len());
                if sent.is_err() {
                    break;
                }
            }
        }
    });
    address
}

#[test]
fn a_redirect_is_followed_with_the_same_key() {
    on_runtime(async || {
        let (server, target) = pool_v2(|_| {});
        let gate = opens(target.ip(), move |session| {
            session.reconnect("", target.port()).expect("short");
        });
        let miner = Miner::start(settings(vec![at_v2(gate, secret().public())]));
        miner.until("work", |log| log.work.is_some()).await;
        assert!(miner.find());
        miner.until("an answer", |log| log.told.len() == 1).await;
        assert_eq!(miner.count("accepted"), 1);
        assert_eq!(server.stats().accepted, 1);
        let log = miner.stop().await;
        let causes = &log.borrow().causes;
        let sent = format!("the pool sends us to {target}");
        assert_eq!(causes[0], (0, sent), "{causes:?}");
    });
}

#[test]
fn a_pool_that_leaves_shares_unanswered_is_left_in_the_time_that_is_set() {
    on_runtime(async || {
        let deaf = opens(any().ip(), |session| {
            let job = Job {
                ntime: 1_700_000_000,
                nbits: 0x1d00_ffff,
                ..Job::default()
            };
            let given = session.announce(Instant::now(), &Arc::new(job));
            given.expect("short");
        });
        let (_server, address) = pool_v2(|_| {});
        let key = secret().public();
        let mut settings = settings(vec![at_v2(deaf, key), at_v2(address, key)]);
        settings.retry = (HANG, HANG);
        settings.return_after = HANG;
        settings.share_timeout = Duration::from_millis(50);
        let miner = Miner::start(settings);
        miner.until("work", |log| log.work.is_some()).await;
        assert!(miner.find());
        miner
            .until("the good pool", |log| log.ready == [0, 1])
            .await;
        let log = miner.stop().await;
        let causes = &log.borrow().causes;
        let cause = "no answer to the share within 50ms".to_owned();
        assert_eq!(causes[0], (0, cause), "{causes:?}");
    });
}

#[test]
fn hostile_pools_of_v2_are_left_for_the_next() {
    on_runtime(async || {
        let hostile = [
            b"\x00".repeat(1 << 20),
            b"\xff".repeat(64),
            (0..=255).collect::<Vec<u8>>(),
        ];
        let mut pools: Vec<Pool> = hostile
            .into_iter()
            .map(|says| at_v2(parrot(says), secret().public()))
            .collect();
        let (_server, address) = pool_v2(|_| {});
        pools.push(at_v2(address, secret().public()));
        end_at_the_last(pools).await;
    });
}

/// Found by review: a connection that had passed jobs over held older ones than the pool, which
/// accepted a block of them and could not build it.
#[test]
fn a_block_of_a_job_that_the_pool_has_forgotten_is_refused_and_not_lost() {
    const FINDS: u32 = 20;
    // Every second hash is a block.
    let template = || Template::synthetic(1, [1; 32], 0x207f_ffff, 1_700_000_000);
    for channel in [None, Some(CHANNELS[0]), Some(CHANNELS[1])] {
        on_runtime(async || {
            let mut settings = PoolSettings::default();
            settings.difficulty = 1e-10;
            settings.vardiff = None;
            let (found, built) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let (finds, blocks) = (found.clone(), built.clone());
            let server = PoolServer::start(listen(any()), settings, move |notice| match notice {
                PoolNotice::Share { found, .. } => {
                    finds.set(finds.get() + u32::from(found.is_block));
                }
                PoolNotice::Block { .. } => blocks.set(blocks.get() + 1),
                _ => {}
            });
            let listener = listen(any());
            let pool = match channel {
                None => at(server.local_addr(), "tcp"),
                Some(_) => at_v2(listener.local_addr(), secret().public()),
            };
            server.serve_v2(listener, secret());
            server.set_template(template(), true).expect("a job");
            let miner = Miner::start(with(vec![pool], channel.unwrap_or(CHANNELS[0])));
            miner.until("work", |log| log.work.is_some()).await;
            // Blocks while the pool remembers the job.
            (0..FINDS).for_each(|_| assert!(miner.find()));
            let answered = |count: u32| move |log: &Log| log.told.len() == count as usize;
            miner.until("answers", answered(FINDS)).await;
            assert_eq!(miner.count("accepted"), FINDS as usize);
            // And when it has handed out more jobs than it remembers, before any task has run.
            (0..FINDS).for_each(|_| assert!(miner.find()));
            for _ in 0..100 {
                server.set_template(template(), false).expect("a job");
            }
            miner.until("answers", answered(2 * FINDS)).await;
            assert_eq!(miner.count("rejected"), FINDS as usize);
            assert_eq!(found.get(), built.get(), "{channel:?}");
            assert_eq!(u64::from(built.get()), server.stats().blocks);
            assert!(built.get() > 0, "one in a million that none of {FINDS} is");
            miner.stop().await;
        });
    }
}
