//! `zcn stack up` against the kernel's stack and programs that know nothing of it, in
//! network namespaces that the tests make: over TAP with super-frames, over TAP with single
//! packets, and over a packet socket on a veth pair.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use zcn_measure::pattern::Pattern;
use zcn_sys::namespace::enter_new_network;

/// How long anything may take before it counts as hung.
const HANG: Duration = Duration::from_secs(60);
/// After so many bytes the content of `/bytes/N` begins anew.
const PERIOD: usize = 1_048_573;

const OURS: &str = "10.9.0.2";
const OURS_V6: &str = "fd09::2";

fn skipped(reason: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "SKIPPED: {reason}");
}

/// Whether a program is installed; says so when it is not.
fn there(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        skipped(format_args!("{program} is not installed"));
    }
    found
}

/// How the stack meets the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// TAP with super-frames.
    Tap,
    /// TAP with single packets.
    PlainTap,
    /// A packet socket on one end of a veth pair.
    Veth,
}

/// Runs `test` on each link, each time in a namespace of its own, with the stack up.
fn on_every_link(name: &'static str, test: impl Fn(Link) + Copy + Send + 'static) {
    for link in [Link::Tap, Link::PlainTap, Link::Veth] {
        on_link(name, link, move || test(link));
    }
}

fn on_link(name: &'static str, link: Link, test: impl FnOnce() + Send + 'static) {
    if !there("ip") {
        return;
    }
    let thread = thread::spawn(move || {
        if let Err(error) = enter_new_network() {
            skipped(format_args!("no network namespace of our own: {error}"));
            return;
        }
        if link != Link::Veth && File::open("/dev/net/tun").is_err() {
            skipped("no /dev/net/tun");
            return;
        }
        if let Some(up) = Up::start(link) {
            test();
            let report = up.stop();
            let counters = &report["counters"];
            let count = |counter: &str| counters[counter].as_u64().unwrap_or(0);
            // Nothing on these links breaks anything.
            for counter in ["tcpInErrs", "tcpInCsumErrors"] {
                assert_eq!(count(counter), 0, "{name} on {link:?}: {report}");
            }
            // Those that found out whether it is up.
            assert!(
                count("icmpv4.icmpInEchos") > 0,
                "{name} on {link:?}: {report}"
            );
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) -> bool {
    let output = run("ip", arguments, None);
    if !output.status.success() {
        skipped(format_args!("ip {arguments}: {}", text(&output.stderr)));
    }
    output.status.success()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The program with a stack.
struct Up {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Up {
    fn start(link: Link) -> Option<Self> {
        let mut arguments =
            String::from("stack up --json --address 10.9.0.2/24 --address fd09::2/64");
        if link == Link::Veth {
            for setting in [
                "link add zk type veth peer name zs",
                "address add 10.9.0.1/24 dev zk",
                "address add fd09::1/64 dev zk nodad",
                "link set zs up",
                "link set zk up",
            ] {
                if !ip(setting) {
                    return None;
                }
            }
            arguments.push_str(" --veth zs");
        } else {
            arguments
                .push_str(" --tap zk --kernel-address 10.9.0.1/24 --kernel-address fd09::1/64");
        }
        if link == Link::PlainTap {
            arguments.push_str(" --no-offload");
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_zcn"))
            .args(arguments.split_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.contains("\"up\""), "{link:?}: {line}");
        let up = Self { child, out };
        // Duplicate address detection takes both sides a second or two.
        for ping in [format!("-4 {OURS}"), format!("-6 {OURS_V6}")] {
            until(&ping, || {
                run("ping", &format!("-c 1 -W 1 {ping}"), None)
                    .status
                    .success()
            });
        }
        Some(up)
    }

    /// What it counted.
    fn stop(mut self) -> Value {
        let pid = self.child.id().to_string();
        assert!(run("kill", &format!("-TERM {pid}"), None).status.success());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        serde_json::from_str(rest.trim()).expect("one line of JSON")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // After a failed test; otherwise it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < HANG, "{what} never came");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a program to its end, at most as long as anything may take.
fn run(program: &str, arguments: &str, input: Option<&Path>) -> Output {
    let input = input.map_or_else(Stdio::null, |path| File::open(path).unwrap().into());
    Command::new("timeout")
        .arg(HANG.as_secs().to_string())
        .arg(program)
        .args(arguments.split_whitespace())
        .stdin(input)
        .output()
        .unwrap()
}

/// As `run`, and it must succeed.
fn done(program: &str, arguments: &str, input: Option<&Path>) -> Vec<u8> {
    let output = run(program, arguments, input);
    assert!(
        output.status.success(),
        "{program} {arguments}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output.stdout
}

/// A file that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!(
            "zcn-{}-{:?}-{name}",
            std::process::id(),
            thread::current().id()
        );
        Self(std::env::temp_dir().join(name))
    }

    fn with(name: &str, bytes: &[u8]) -> Self {
        let scratch = Self::new(name);
        fs::write(&scratch.0, bytes).unwrap();
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn page(len: usize) -> Vec<u8> {
    let mut period = vec![0; PERIOD];
    Pattern::new(0).fill(0, &mut period);
    period.iter().copied().cycle().take(len).collect()
}

#[test]
fn pings_of_every_size_are_answered() {
    on_every_link("ping", |_| {
        for size in [0, 56, 1472, 1473, 1480, 9000, 40_000, 65_507] {
            done(
                "ping",
                &format!("-4 -c 2 -i 0.02 -W 5 -s {size} {OURS}"),
                None,
            );
        }
        for size in [0, 56, 1452, 1453, 9000, 65_507] {
            done(
                "ping",
                &format!("-6 -c 2 -i 0.02 -W 5 -s {size} {OURS_V6}"),
                None,
            );
        }
        // Many at once.
        done("ping", &format!("-c 500 -i 0 -s 56 -q {OURS}"), None);
    });
}

#[test]
fn echo_gives_back_what_programs_send() {
    on_every_link("echo", |link| {
        let mut bytes = vec![0; 4 << 20];
        Pattern::new(1).fill(0, &mut bytes);
        let input = Scratch::with("echo", &bytes);
        for address in [OURS, OURS_V6] {
            let target = if address == OURS {
                format!("TCP4:{address}:7")
            } else {
                format!("TCP6:[{address}]:7")
            };
            for (program, arguments) in [
                ("nc", format!("-N -w 20 {address} 7")),
                ("ncat", format!("-w 20 {address} 7")),
                ("socat", format!("-t 20 - {target}")),
            ] {
                if there(program) {
                    let output = done(program, &arguments, Some(&input.0));
                    assert!(output == bytes, "{program} {arguments} on {link:?}");
                }
            }
        }
        if there("nc") {
            let line = Scratch::with("datagram", b"one datagram\n");
            let output = run("nc", &format!("-u -w 1 {OURS} 7"), Some(&line.0));
            assert_eq!(text(&output.stdout), "one datagram\n");
        }
    });
}

#[test]
fn curl_downloads_what_is_served() {
    on_every_link("curl", |link| {
        if !there("curl") {
            return;
        }
        let expected = page(50_000_000);
        for host in [OURS.to_owned(), format!("[{OURS_V6}]")] {
            let file = Scratch::new("download");
            let path = file.0.display();
            let arguments = format!("-g -sS -f -o {path} http://{host}/bytes/50000000");
            done("curl", &arguments, None);
            assert!(fs::read(&file.0).unwrap() == expected, "{host} on {link:?}");
        }
        // Several requests on one connection.
        let url = format!("http://{OURS}/bytes/70000");
        let arguments =
            format!("-sS -f -w %{{num_connects}} -o /dev/null {url} -o /dev/null {url}");
        let connects = text(&done("curl", &arguments, None));
        assert_eq!(
            connects, "10",
            "one connect for the first, none for the second"
        );
    });
}

#[test]
fn connections_are_kept_alive_under_load() {
    on_every_link("load", |link| {
        if there("wrk") {
            let output = text(&done(
                "wrk",
                &format!("-t 1 -c 16 -d 1s http://{OURS}/bytes/1000"),
                None,
            ));
            assert!(!output.contains("Socket errors"), "{link:?}: {output}");
            assert!(!output.contains("Non-2xx"), "{link:?}: {output}");
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

#[test]
fn discard_chargen_and_daytime() {
    on_every_link("small services", |link| {
        if !there("nc") {
            return;
        }
        let bytes = vec![7; 20 << 20];
        let input = Scratch::with("discard", &bytes);
        let output = done("nc", &format!("-N -w 20 {OURS} 9"), Some(&input.0));
        assert!(output.is_empty(), "{link:?}");
        let command = format!("nc -w 20 {OURS} 19 </dev/null | head -c 20000000");
        let shell = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert_eq!(shell.stdout.len(), 20_000_000, "{link:?}");
        let line = &shell.stdout[..74];
        for (index, chunk) in shell.stdout.chunks(95 * 74).enumerate() {
            assert!(
                chunk.starts_with(&line[..chunk.len().min(74)]),
                "block {index}"
            );
        }
        let daytime = text(&done("nc", &format!("-N -w 20 {OURS} 13"), None));
        assert!(daytime.ends_with(" UTC\r\n"), "{daytime:?}");
    });
}

/// Single packets, as offloaded checksums are not complete where tcpdump stands.
#[test]
fn tshark_finds_nothing_malformed_and_no_bad_checksum() {
    on_link("capture", Link::PlainTap, || {
        if !(there("tcpdump") && there("tshark") && there("curl")) {
            return;
        }
        let capture = Scratch::new("capture.pcap");
        let path = capture.0.display().to_string();
        let mut tcpdump = Command::new("tcpdump")
            .args(["-i", "zk", "-U", "-Z", "root", "-B", "65536", "-w", &path])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut listening = String::new();
        let mut told = BufReader::new(tcpdump.stderr.take().unwrap());
        while !listening.contains("listening") {
            assert!(told.read_line(&mut listening).unwrap() > 0, "{listening}");
        }
        for host in [OURS.to_owned(), format!("[{OURS_V6}]")] {
            let url = format!("http://{host}/bytes/2000000");
            done("curl", &format!("-g -sS -f -o /dev/null {url}"), None);
        }
        done("ping", &format!("-4 -c 3 -i 0.02 -s 20000 {OURS}"), None);
        done("ping", &format!("-6 -c 3 -i 0.02 -s 20000 {OURS_V6}"), None);
        // A port where nobody listens, over TCP and UDP.
        run("nc", &format!("-w 1 {OURS} 4444"), None);
        let line = Scratch::with("line", b"anybody?\n");
        run("nc", &format!("-u -w 1 {OURS} 4444"), Some(&line.0));
        run("nc", &format!("-u -w 1 {OURS} 7"), Some(&line.0));
        done("kill", &format!("-INT {}", tcpdump.id()), None);
        tcpdump.wait().unwrap();
        let validate = ["ip", "tcp", "udp"]
            .map(|name| format!("-o {name}.check_checksum:TRUE"))
            .join(" ");
        let frames = text(&done(
            "tshark",
            &format!("-r {path} {validate} -T fields -e frame.number"),
            None,
        ));
        assert!(
            frames.lines().count() > 1000,
            "{} frames",
            frames.lines().count()
        );
        let bad = [
            "_ws.malformed",
            "_ws.expert.severity==error",
            "ip.checksum.status==0",
            "tcp.checksum.status==0",
            "udp.checksum.status==0",
            "icmp.checksum.status==0",
            "icmpv6.checksum.status==0",
        ]
        .join("||");
        let found = text(&done(
            "tshark",
            &format!("-r {path} {validate} -Y {bad}"),
            None,
        ));
        assert_eq!(found, "");
    });
}

#[test]
fn what_cannot_be_is_told_with_a_remedy() {
    let refused = |arguments: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_zcn"))
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        text(&output.stderr)
    };
    for (arguments, part) in [
        ("stack up --mem", "--address"),
        ("stack up --address 10.9.0.2/24", "--tap"),
        (
            "stack up --mem --address 10.9.0.0/24",
            "cannot be the address",
        ),
        (
            "stack up --mem --address 10.9.0.2/24 --address 10.9.0.2/16",
            "assigned already",
        ),
        ("stack up --mem --address 10.9.0.2/24 --mtu 40", "choose"),
        (
            "stack up --mem --address 10.9.0.2/24 --gateway 192.0.2.1",
            "add an address",
        ),
        (
            "stack up --mem --address fd09::2/64 --mtu 576",
            "IPv6 needs 1280",
        ),
        ("stack up --config /nowhere/zcn.toml", "/nowhere/zcn.toml"),
        (
            "stack up --mem --address 10.9.0.2/24 --capture /nowhere/zcn.pcapng",
            "name a file in a folder that exists",
        ),
    ] {
        let told = refused(arguments);
        assert!(told.contains(part), "{arguments}: {told}");
    }
    let told = refused("stack up --veth zcn-no-such0 --address 10.9.0.2/24");
    assert!(
        told.contains("ip link") || told.contains("CAP_NET_RAW"),
        "{told}"
    );
}
