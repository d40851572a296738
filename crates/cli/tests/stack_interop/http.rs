//! curl, wrk and ab against the web server.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use zcn_measure::pattern::Pattern;

use crate::rig::{
    Link, OURS, Scratch, Setting, done, in_bulk_on_every_link, is_long_run, on_every_link, text,
    there, with,
};

/// After so many bytes the content of `/bytes/N` begins anew.
const PERIOD: usize = 1_048_573;

fn period() -> Vec<u8> {
    let mut period = vec![0; PERIOD];
    Pattern::new(0).fill(0, &mut period);
    period
}

pub(crate) fn page(len: usize) -> Vec<u8> {
    period().iter().copied().cycle().take(len).collect()
}

/// Downloads a page and compares it.
pub(crate) fn download(setting: Setting, host: &str, len: usize) {
    let file = Scratch::new("download");
    let path = file.0.display();
    let arguments = format!("-g -sS -f -o {path} http://{host}/bytes/{len}");
    done("curl", &arguments, None);
    assert!(
        fs::read(&file.0).unwrap() == page(len),
        "{host} on {setting:?}"
    );
}

#[test]
fn curl_downloads_what_is_served() {
    in_bulk_on_every_link(|setting| {
        if !there("curl") {
            return;
        }
        for (host, _) in setting.hosts() {
            download(setting, &host, 50_000_000);
        }
    });
}

#[test]
fn curl_keeps_a_connection() {
    on_every_link(|setting| {
        if !there("curl") {
            return;
        }
        for (host, _) in setting.hosts() {
            let url = format!("http://{host}/bytes/[1000-1299]");
            let told = text(&done(
                "curl",
                // Brackets of IPv6 need a backslash where ranges are read.
                &format!(
                    "-sS -f -w %{{num_connects}}\\n -o /dev/null {}",
                    url.replacen("//[", "//\\[", 1).replacen("]/", "\\]/", 1)
                ),
                None,
            ));
            let connects: Vec<&str> = told.lines().collect();
            assert_eq!(connects.len(), 300, "{told}");
            assert_eq!(connects[0], "1");
            assert!(connects[1..].iter().all(|count| *count == "0"), "{told}");
        }
    });
}

#[test]
fn curl_downloads_a_gigabyte() {
    if !is_long_run() {
        return;
    }
    const LEN: usize = 1_000_000_000;
    for link in Link::ALL {
        with(Setting::on(link), move |setting| {
            if !there("curl") {
                return;
            }
            for (host, _) in setting.hosts() {
                let url = format!("http://{host}/bytes/{LEN}");
                let mut curl = Command::new("curl")
                    .args(["-g", "-sS", "-f", &url])
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let mut out = curl.stdout.take().unwrap();
                let period = period();
                let mut got = 0;
                let mut buffer = vec![0; PERIOD];
                while got < LEN {
                    let part = PERIOD.min(LEN - got);
                    out.read_exact(&mut buffer[..part]).unwrap();
                    assert!(buffer[..part] == period[..part], "{got} on {setting:?}");
                    got += part;
                }
                assert_eq!(out.read(&mut buffer).unwrap(), 0);
                assert!(curl.wait().unwrap().success(), "{setting:?}");
            }
        });
    }
}

#[test]
fn connections_are_kept_alive_under_load() {
    in_bulk_on_every_link(|setting| {
        if there("wrk") {
            for (host, _) in setting.hosts() {
                let arguments = format!("-t 1 -c 16 -d 1s http://{host}/bytes/1000");
                let output = text(&done("wrk", &arguments, None));
                assert!(!output.contains("Socket errors"), "{setting:?}: {output}");
                assert!(!output.contains("Non-2xx"), "{setting:?}: {output}");
            }
        }
        if there("ab") {
            for (keep, requests) in [("-k", 2000), ("", 300)] {
                let arguments = format!("-q {keep} -n {requests} -c 8 http://{OURS}/bytes/1000");
                let output = text(&done("ab", &arguments, None));
                let told = |what: &str| {
                    let line = output.lines().find(|line| line.starts_with(what));
                    line.and_then(|line| line.split_whitespace().last())
                        .map(str::to_owned)
                };
                assert_eq!(told("Complete requests"), Some(requests.to_string()));
                assert_eq!(told("Failed requests").as_deref(), Some("0"), "{output}");
            }
        }
    });
}
