//! `zcn pool` as a program, with a miner made of a socket and a session.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use zcn_stratum::client::{ClientConfig, ClientSession, Event, WorkKey};
use zcn_stratum::extranonce::ExtranonceRange;

/// The program at work; killed when it is dropped.
struct Pool {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Pool {
    fn start(arguments: &[&str]) -> (Self, String) {
        let (pool, listening) = Self::start_with(arguments);
        let address = listening["address"].as_str().expect("an address");
        (pool, address.to_owned())
    }

    /// With what it says when it listens.
    fn start_with(arguments: &[&str]) -> (Self, Value) {
        let mut child = common::zcn()
            .args(["pool", "--json", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut pool = Self { child, out };
        let listening = pool.event();
        assert_eq!(listening["event"], "listening");
        (pool, listening)
    }

    fn event(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The events up to one of that name, which is the last.
    fn until(&mut self, name: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            events.push(self.event());
            if events[events.len() - 1]["event"] == name {
                return events;
            }
        }
    }

    fn interrupt(&mut self) {
        let pid = self.child.id().cast_signed();
        let pid = rustix::process::Pid::from_raw(pid).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A miner that hands in `shares` shares, the first nonces of each job; how many were taken.
fn mine(address: &str, shares: u32) -> u32 {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time limit");
    let mut session = ClientSession::new(ClientConfig::new("pool", "me", "x"), Instant::now());
    let (mut sent, mut accepted, mut rejected) = (0, 0, 0);
    let mut key: Option<WorkKey> = None;
    let mut buffer = [0; 4096];
    while accepted + rejected < shares {
        while let Some(event) = session.poll_event() {
            match event {
                Event::Work(work) => key = Some(work),
                Event::Accepted { .. } => accepted += 1,
                Event::Rejected { .. } => rejected += 1,
                _ => {}
            }
        }
        // One at a time, so that a block that it finds is known before the next.
        if let Some(work) = key.and_then(|key| session.work(key))
            && session.is_ready()
            && sent == accepted + rejected
            && sent < shares
        {
            let extranonce_2 = ExtranonceRange::new(work.extranonce_2_len, 0, 1).draw();
            let share = work.share(
                extranonce_2.expect("the first"),
                work.job.version,
                work.job.ntime,
                sent,
            );
            session.submit(Instant::now(), &share).expect("ready");
            sent += 1;
        }
        stream.write_all(session.output()).expect("it reads");
        session.consume_output(session.output().len());
        if accepted + rejected < shares {
            let count = stream.read(&mut buffer).expect("it answers");
            assert_ne!(count, 0, "the pool hung up");
            session
                .handle_bytes(Instant::now(), &buffer[..count])
                .expect("a good pool");
        }
    }
    accepted
}

#[test]
fn shares_and_blocks_are_reported_and_counted() {
    // Every hash is a share, and every second one a block.
    let (mut pool, address) = Pool::start(&[
        "--difficulty",
        "1e-10",
        "--share-interval",
        "0",
        "--nbits",
        "207fffff",
    ]);
    let accepted = mine(&address, 40);
    let events = pool.until("left");
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(count("subscribed"), 1);
    assert_eq!(count("share"), accepted as usize);
    let blocks = count("block");
    assert!(blocks > 0 && blocks < 40, "{blocks} blocks");
    pool.interrupt();
    let stopped = pool.event();
    assert_eq!(stopped["event"], "stopped");
    assert_eq!(stopped["accepted"], accepted);
    assert_eq!(stopped["blocks"], blocks);
    assert!(pool.child.wait().expect("it ends").success());
}

#[test]
fn whoever_speaks_something_else_is_sent_away_and_the_pool_goes_on() {
    let (mut pool, address) = Pool::start(&["--difficulty", "1e-10", "--job-interval", "20ms"]);
    let mut stream = TcpStream::connect(&address).expect("it listens");
    stream
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("it reads");
    let left = pool.until("left");
    let cause = left[left.len() - 1]["cause"].as_str().expect("a cause");
    assert!(cause.contains("not JSON"), "{cause}");
    assert!(mine(&address, 5) > 0);
}

#[test]
fn a_miner_of_v1_at_the_door_of_v2_is_told_apart() {
    let (mut pool, listening) = Pool::start_with(&["--v2", "127.0.0.1:0"]);
    let url = listening["v2"].as_str().expect("a URL");
    let place = url.trim_start_matches("stratum2+tcp://");
    let address = place.split('/').next().expect("an address");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream
        .write_all(b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n")
        .expect("it reads");
    let left = pool.until("left");
    let cause = left[left.len() - 1]["cause"].as_str().expect("a cause");
    assert!(cause.contains("plain text"), "{cause}");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time limit");
    let said = stream.read(&mut [0; 16]);
    assert!(!matches!(said, Ok(1..)), "nothing is said to it: {said:?}");
}
