//! `zcn mine` against `zcn pool`, both as programs, killed and started again.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::mining::{Program, miner, pool, pool_v2};
use common::{objects, run, text};
use serde_json::Value;

#[test]
fn what_the_miner_counts_is_what_the_pool_counts() {
    let (mut pool, address) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &address]);
    miner.until("accepted", 5);
    miner.interrupt();
    let told = miner.until("stopped", 1);
    assert!(miner.child.wait().expect("it ends").success());
    pool.interrupt();
    let counted = pool.until("stopped", 1);
    assert_eq!(told["accepted"], counted["accepted"]);
    assert_eq!((&told["rejected"], &told["wrong"]), (&0.into(), &0.into()));
    assert_eq!(counted["refused"], 0);
}

#[test]
fn by_stratum_v2_both_count_the_same_on_both_kinds_of_channel() {
    let (pool, url) = pool_v2(&["--v2", "127.0.0.1:0", "--job-interval", "200ms"]);
    let mut counted = 0;
    for channel in ["standard", "extended"] {
        let mut miner = Program::start(&[
            "mine",
            "-o",
            &url,
            "-u",
            "me",
            "-t",
            "2",
            "--channel",
            channel,
        ]);
        miner.until("accepted", 10);
        let told = miner.stop();
        assert_eq!((&told["rejected"], &told["wrong"]), (&0.into(), &0.into()));
        assert_eq!(told["lost"], 0);
        let latencies = ["packet_to_hash_us", "acknowledge_us"];
        let counts = latencies.map(|name| told[name]["count"].as_u64());
        assert!(counts[0] >= Some(1) && counts[1] >= Some(10), "{told}");
        counted += told["accepted"].as_u64().expect("a number");
    }
    let stopped = pool.stop();
    assert_eq!(stopped["accepted"], counted);
    assert_eq!(stopped["refused"], 0);
}

#[test]
fn a_pool_of_v2_that_is_killed_comes_back_with_its_key_and_v1_takes_over_until_then() {
    let key = std::env::temp_dir().join(format!("zcn-mine-key-{}", std::process::id()));
    let name = key.to_str().expect("a plain path");
    let (first, url) = pool_v2(&["--v2", "127.0.0.1:0", "--v2-key", name]);
    let (_second, other) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &url, "-o", &other, "--api", "127.0.0.1:0"]);
    let api = miner.until("api", 1)["address"].clone();
    let api = api.as_str().expect("an address");
    miner.until("accepted", 1);
    let protocol = || {
        let (_, summary) = get(api, "GET", "/summary");
        let summary: Value = serde_json::from_str(&summary).expect("JSON");
        summary["protocol"].as_str().map(str::to_owned)
    };
    assert_eq!(protocol().as_deref(), Some("v2"));
    let metrics = get(api, "GET", "/metrics").1;
    assert!(metrics.contains(&format!("pool=\"{url}\",protocol=\"v2\"")));
    first.kill();
    let ready = miner.until("ready", 1);
    assert!(ready["pool"].as_str().expect("a pool").ends_with(&other));
    miner.until("accepted", 1);
    assert_eq!(protocol().as_deref(), Some("v1"));
    // The same address and, by its file, the same key.
    let place = url.trim_start_matches("stratum2+tcp://");
    let address = place.split('/').next().expect("an address");
    let (_third, again) = pool_v2(&["--v2", address, "--v2-key", name]);
    assert_eq!(again, url);
    std::fs::remove_file(&key).expect("removed");
    // Tried once a minute, or when the other fails.
    drop(_second);
    miner.until_one(|event| event["event"] == "ready" && event["pool"] == url);
    miner.until("accepted", 1);
}

#[test]
fn a_pool_that_is_killed_and_started_again_is_mined_for_again() {
    let (mut first, address) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &address]);
    miner.until("accepted", 2);
    first.child.kill().expect("it runs");
    miner.until("disconnected", 1);
    drop(first);
    let (_second, _) = pool(&address);
    miner.until("accepted", 2);
}

#[test]
fn a_second_pool_takes_over() {
    let (mut first, one) = pool("127.0.0.1:0");
    let (_second, two) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &one, "-o", &two]);
    miner.until("accepted", 1);
    first.child.kill().expect("it runs");
    let ready = miner.until("ready", 1);
    assert!(
        ready["pool"].as_str().expect("a pool").ends_with(&two),
        "{ready}"
    );
    miner.until("accepted", 1);
}

/// The status and the body of a page.
fn get(address: &str, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience).expect("a time limit");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: zcn\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (status.to_owned(), body.to_owned())
}

#[test]
fn its_pages_say_what_it_says() {
    let (_pool, address) = pool("127.0.0.1:0");
    let mut miner = miner(&["-o", &address, "--api", "127.0.0.1:0"]);
    let api = miner.until("api", 1)["address"].clone();
    let api = api.as_str().expect("an address");
    miner.until("accepted", 2);
    let (status, summary) = get(api, "GET", "/summary");
    assert_eq!(status, "200");
    let summary: Value = serde_json::from_str(&summary).expect("JSON");
    assert!(summary["accepted"].as_u64() >= Some(2), "{summary}");
    assert!(summary["packet_to_hash_us"]["count"].as_u64() >= Some(1));
    let url = summary["pool"].as_str().expect("a pool");
    assert!(url.ends_with(&address), "{url}");
    let (status, metrics) = get(api, "GET", "/metrics");
    assert_eq!(status, "200");
    let accepted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("zcn_mine_shares_total{result=\"accepted\"} "))
        .expect("a count");
    assert!(accepted.parse::<u64>().expect("a number") >= 2);
    assert_eq!(get(api, "GET", "/other").0, "404");
    assert_eq!(get(api, "POST", "/summary").0, "405");
    // Whoever speaks something else harms nobody.
    let mut odd = TcpStream::connect(api).expect("it listens");
    odd.write_all(&[0xff; 100]).expect("it reads");
    assert_eq!(
        get(api, "HEAD", "/summary"),
        ("200".to_owned(), String::new())
    );
    miner.until("accepted", 1);
}

#[test]
fn a_file_of_settings_is_enough() {
    let (_pool, address) = pool("127.0.0.1:0");
    let path = std::env::temp_dir().join(format!("zcn-mine-{}.toml", std::process::id()));
    let name = path.to_str().expect("a plain path");
    let settings = format!("threads = 1\n[[pool]]\nurl = \"{address}\"\nuser = \"me\"\n");
    std::fs::write(&path, settings).expect("written");
    let mut miner = Program::start(&["mine", "--config", name]);
    assert_eq!(miner.until("started", 1)["threads"], 1);
    miner.until("accepted", 1);
    drop(miner);
    // What the command line says goes before it.
    let mut miner = Program::start(&["mine", "--config", name, "-t", "2"]);
    assert_eq!(miner.until("started", 1)["threads"], 2);
    drop(miner);
    for (settings, named) in [("treads = 1", "treads"), ("threads = 1", "names no pool")] {
        std::fs::write(&path, settings).expect("written");
        let output = run(&["mine", "--config", name]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(name) && errors.contains(named), "{errors}");
    }
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn rates_are_measured_without_a_pool() {
    let one = ["--engine", "scalar", "-t", "2", "--time-limit", "50ms"];
    let output = run(&[&["mine", "--benchmark", "--json"][..], &one].concat());
    let rates = objects(&output.stdout);
    let threads: Vec<_> = rates.iter().map(|rate| rate["threads"].as_u64()).collect();
    assert_eq!(threads, [Some(1), Some(2)]);
    for rate in rates {
        assert_eq!(rate["engine"], "scalar");
        assert!(rate["hashes_per_second"].as_f64() > Some(0.0), "{rate}");
    }
}

#[test]
fn latencies_are_measured_without_a_pool() {
    let output = run(&[
        "mine",
        "--latency",
        "--json",
        "-t",
        "1",
        "--time-limit",
        "100ms",
    ]);
    let all = objects(&output.stdout);
    for branches in [0, 12] {
        for stage in [
            "parse",
            "dispatch",
            "hand_over",
            "packet_to_hash",
            "first_hash",
        ] {
            let found = all
                .iter()
                .find(|object| object["branches"] == branches && object["stage"] == stage);
            let found = found.unwrap_or_else(|| panic!("{branches} {stage} in {all:?}"));
            assert!(found["count"].as_u64() >= Some(1), "{found}");
        }
    }
}
