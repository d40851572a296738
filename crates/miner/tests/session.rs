//! Sessions with our own pool, with links that break, and with pools that mean no good.

mod harness;

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use harness::*;
use zcn::TcpStream;
use zcn::tls::{Fingerprint, TlsAcceptor};
use zcn_miner::ledger::{Durability, Ledger};
use zcn_miner::session::{Disconnect, Pool};

#[test]
fn every_share_is_accepted_once() {
    on_runtime(async || {
        let server = pool(listen(any()), |_| {});
        let miner = Miner::start(settings(vec![at(server.local_addr(), "stratum+tcp")]));
        miner.find_two_hundred(&server).await;
        let log = miner.stop().await;
        assert_eq!(log.borrow().causes, [(0, "stopped".to_owned())]);
    });
}

#[test]
fn over_tls_with_a_pinned_certificate() {
    on_runtime(async || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let acceptor = TlsAcceptor::from_pem(
            made.cert.pem().as_bytes(),
            made.signing_key.serialize_pem().as_bytes(),
        );
        let acceptor = acceptor.expect("a certificate");
        let server = pool(listen(any()), |settings| settings.tls = Some(acceptor));
        let mut right = at(server.local_addr(), "stratum+ssl");
        let mut wrong = right.clone();
        right.pins = vec![Fingerprint::of(made.cert.der())];
        wrong.pins = vec![Fingerprint::from([7; 32])];
        let miner = Miner::start(settings(vec![wrong, right]));
        miner.until("work", |log| log.work.is_some()).await;
        assert!(miner.find());
        miner.until("an answer", |log| log.told.len() == 1).await;
        assert_eq!(miner.count("accepted"), 1);
        let log = miner.stop().await;
        let log = log.borrow();
        assert_eq!(log.ready, [1]);
        assert!(log.causes[0].1.contains("not pinned"), "{:?}", log.causes);
    });
}

#[test]
fn the_next_pool_takes_over_until_the_first_is_back() {
    on_runtime(async || {
        // A port that nobody serves for now.
        let first = listen(any()).local_addr();
        let second = pool(listen(any()), |_| {});
        let pools = vec![at(first, "tcp"), at(second.local_addr(), "tcp")];
        let begin_first = async || pool(listen_again(first).await, |_| {});
        follow_the_first(pools, begin_first, &second).await;
    });
}

#[test]
fn a_link_that_breaks_again_and_again_loses_nothing_and_sends_nothing_twice() {
    on_runtime(async || {
        let server = pool(listen(any()), |_| {});
        let target = server.local_addr();
        let link = listen(any());
        let address = link.local_addr();
        zcn::spawn(async move {
            let mut lives = [20, 35, 50, 27, 60].into_iter().cycle();
            while let Ok((stream, _)) = link.accept().await {
                let life = Duration::from_millis(lives.next().unwrap_or(20));
                zcn::spawn(carry(stream, target, true, life));
            }
        });
        let mut settings = settings(vec![at(address, "tcp")]);
        settings.retry = (Duration::from_millis(1), Duration::from_millis(5));
        let miner = Miner::start(settings);
        miner.until("work", |log| log.work.is_some()).await;
        for _ in 0..400 {
            miner.find();
            zcn::sleep(Duration::from_millis(1)).await;
        }
        miner.until("answers", |log| log.told.len() == 400).await;
        let stats = server.stats();
        assert_eq!(miner.count("accepted"), 400, "{stats:?}");
        // Those whose answers were lost were offered again, and known.
        assert_eq!(stats.accepted, 400, "{stats:?}");
        assert!(stats.resumed > 3 && stats.refused > 0, "{stats:?}");
        let log = miner.stop().await;
        assert!(log.borrow().resumed > 3);
    });
}

#[test]
fn a_pool_that_starts_anew_is_told_apart_from_the_one_before() {
    on_runtime(async || {
        let mut server = pool(listen(any()), |_| {});
        let address = server.local_addr();
        let miner = Miner::start(settings(vec![at(address, "tcp")]));
        let mut accepted = 0;
        for life in 1..=4u32 {
            miner
                .until("the pool", |log| log.ready.len() >= life as usize)
                .await;
            zcn::sleep(Duration::from_millis(20)).await;
            for _ in 0..20 {
                assert!(miner.find());
            }
            zcn::sleep(Duration::from_millis(3)).await;
            server.stop();
            // While there is no pool, shares wait.
            assert!(miner.find());
            emptied(&server).await;
            accepted += server.stats().accepted;
            drop(server);
            let listener = listen_again(address).await;
            server = pool(listener, |settings| settings.first_extranonce = life << 16);
        }
        miner.until("all told of", |log| log.told.len() == 84).await;
        accepted += server.stats().accepted;
        assert!(miner.count("accepted") as u64 <= accepted);
        assert!(miner.count("lost") >= 4);
        miner.stop().await;
    });
}

#[test]
fn what_one_session_leaves_in_the_ledger_the_next_sends_once() {
    on_runtime(async || {
        let ledger = LedgerFile::new("left");
        let server = pool(listen(any()), |_| {});
        let target = server.local_addr();
        // A link that is there or not.
        let link = listen(any());
        let address = link.local_addr();
        let there = Rc::new(Cell::new(true));
        let is_there = there.clone();
        zcn::spawn(async move {
            while let Ok((stream, _)) = link.accept().await {
                if !is_there.get() {
                    continue;
                }
                let (is_there, stream) = (is_there.clone(), Rc::new(stream));
                let pool = Rc::new(TcpStream::connect(target).await.expect("it listens"));
                for (from, to) in [(stream.clone(), pool.clone()), (pool, stream)] {
                    let is_there = is_there.clone();
                    zcn::spawn(async move {
                        let step = Duration::from_millis(2);
                        while is_there.get() {
                            match zcn::timeout(step, from.recv()).await {
                                Ok(Ok(Some(bytes))) => {
                                    if to.send(bytes).await.is_err() {
                                        break;
                                    }
                                }
                                Err(_) => {}
                                Ok(_) => break,
                            }
                        }
                        from.abort();
                        to.abort();
                    });
                }
            }
        });
        let start = || {
            let mut settings = settings(vec![at(address, "tcp")]);
            settings.ledger = Some(ledger.settings());
            Miner::start(settings)
        };
        let first = start();
        first.until("work", |log| log.work.is_some()).await;
        assert!(first.find());
        first.until("an answer", |log| log.told.len() == 1).await;
        there.set(false);
        first
            .until("the link is gone", |log| !log.causes.is_empty())
            .await;
        for _ in 0..10 {
            assert!(first.find());
        }
        let log = first.stop().await;
        assert_eq!(log.borrow().kept, 10);
        assert_eq!(ledger.open_shares(), 10);

        there.set(true);
        let second = start();
        second.log.borrow_mut().handed_in = 10;
        second.until("answers", |log| log.told.len() == 10).await;
        assert_eq!(second.count("accepted"), 10);
        second.stop().await;
        let stats = server.stats();
        assert_eq!((stats.accepted, stats.refused), (11, 0), "{stats:?}");
        assert_eq!(ledger.open_shares(), 0);
    });
}

/// Who is killed then has it, too.
#[test]
fn what_is_handed_in_while_there_is_no_pool_is_in_the_ledger_at_once() {
    on_runtime(async || {
        let ledger = LedgerFile::new("written");
        let server = pool(listen(any()), |_| {});
        let mut settings = settings(vec![at(server.local_addr(), "tcp")]);
        settings.ledger = Some(ledger.settings());
        settings.retry = (10 * HANG, 10 * HANG);
        let miner = Miner::start(settings);
        miner.until("work", |log| log.work.is_some()).await;
        server.stop();
        miner
            .until("the pool is gone", |log| !log.causes.is_empty())
            .await;
        let length = || std::fs::metadata(&ledger.0).expect("it is there").len();
        let before = length();
        assert!(miner.find());
        miner.until("it is written", |_| length() > before).await;
        let log = miner.stop().await;
        assert_eq!(log.borrow().kept, 1);
        assert_eq!(ledger.open_shares(), 1);
    });
}

#[test]
fn a_session_stops_in_the_middle_of_a_handshake() {
    on_runtime(async || {
        // It lets everybody in and says nothing.
        let silent = listen(any());
        let mut settings = settings(vec![at(silent.local_addr(), "stratum+ssl")]);
        settings.connect_timeout = 10 * HANG;
        let miner = Miner::start(settings);
        let (_stream, _) = silent.accept().await.expect("the miner");
        let log = miner.stop().await;
        assert_eq!(log.borrow().causes, [(0, "stopped".to_owned())]);
    });
}

/// A pool that resumes every session, and lets nobody in before it has read an answer to what it
/// asks in between.
fn pool_with_a_question() -> SocketAddr {
    let listener = std::net::TcpListener::bind(any()).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
            let mut subscribed = false;
            for line in lines.map_while(Result::ok) {
                let says = if line.contains("mining.configure") {
                    r#"{"id":1,"result":{},"error":null}"#
                } else if line.contains("mining.subscribe") {
                    subscribed = true;
                    concat!(
                        r#"{"id":2,"result":[[["mining.notify","s"]],"01020304",4],"error":null}"#,
                        "\n",
                        r#"{"id":77,"method":"client.get_version","params":[]}"#,
                    )
                } else if line.contains(r#""id":77"#) && subscribed {
                    r#"{"id":3,"result":true,"error":null}"#
                } else {
                    continue;
                };
                if stream.write_all(format!("{says}\n").as_bytes()).is_err() {
                    break;
                }
                // And good-bye, so that there is a session to be resumed.
                if says.contains(r#""id":3"#) {
                    break;
                }
            }
        }
    });
    address
}

#[test]
fn a_session_is_resumed_even_if_the_answers_come_one_by_one() {
    on_runtime(async || {
        let miner = Miner::start(settings(vec![at(pool_with_a_question(), "tcp")]));
        miner
            .until("two sessions", |log| log.ready.len() >= 2)
            .await;
        let log = miner.stop().await;
        let log = log.borrow();
        assert_eq!(log.resumed, log.ready.len() - 1, "{:?}", log.causes);
    });
}

#[test]
fn shares_for_a_pool_that_is_not_in_the_list_stay_in_the_ledger() {
    on_runtime(async || {
        let file = LedgerFile::new("foreign");
        let (mut ledger, _) = Ledger::open(&file.0, Durability::Kernel).expect("a new one");
        ledger.found(b"somebody else's").expect("it is written");
        drop(ledger);
        let server = pool(listen(any()), |_| {});
        let mut settings = settings(vec![at(server.local_addr(), "tcp")]);
        settings.ledger = Some(file.settings());
        let miner = Miner::start(settings);
        miner.until("work", |log| log.work.is_some()).await;
        assert!(miner.find());
        miner.until("an answer", |log| log.told.len() == 1).await;
        let log = miner.stop().await;
        assert_eq!(log.borrow().foreign, 1);
        assert_eq!(file.open_shares(), 1);
    });
}

#[test]
fn hostile_pools_are_left_for_the_next() {
    on_runtime(async || {
        let job = |params: &str| {
            format!("{{\"id\":null,\"method\":\"mining.notify\",\"params\":{params}}}\n")
        };
        let hostile = [
            Vec::new(),
            b"x".repeat(1 << 20),
            [b"[".repeat(5000), b"\n".to_vec()].concat(),
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            job("[1,2,3]").into_bytes(),
            job("{\"a\":1}").into_bytes(),
            b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[-1]}\n".to_vec(),
            b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1]}\n".repeat(100),
            b"{\"id\":7,\"method\":\"client.get_version\",\"params\":[]}\n".repeat(100),
            b"{\"id\":2,\"result\":[[],\"zz\",4]}\n{\"id\":1,\"result\":true}\n".to_vec(),
        ];
        let mut pools: Vec<Pool> = hostile
            .into_iter()
            .map(|says| at(parrot(says), "tcp"))
            .collect();
        let good = pool(listen(any()), |_| {});
        pools.push(at(good.local_addr(), "tcp"));
        end_at_the_last(pools).await;
    });
}

#[test]
fn a_pool_that_sends_us_around_is_left() {
    on_runtime(async || {
        let loop_of_one =
            parrot(b"{\"id\":null,\"method\":\"client.reconnect\",\"params\":[]}\n".to_vec());
        let good = pool(listen(any()), |_| {});
        let pools = vec![at(loop_of_one, "tcp"), at(good.local_addr(), "tcp")];
        let mut settings = settings(pools);
        settings.retry = (HANG, HANG);
        settings.return_after = HANG;
        let miner = Miner::start(settings);
        miner.until("the good pool", |log| log.ready == [1]).await;
        let log = miner.stop().await;
        let causes = &log.borrow().causes;
        let text = Disconnect::RedirectLoop(5).to_string();
        assert!(causes.iter().any(|(_, cause)| *cause == text), "{causes:?}");
    });
}
