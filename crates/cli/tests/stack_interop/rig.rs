//! `zcn stack up` in a network namespace of its own, with the kernel's stack beside it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use zcn_sys::namespace::enter_new_network;

/// How long anything may take before it counts as hung.
const HANG: Duration = Duration::from_secs(60);

pub(crate) const OURS: &str = "10.9.0.2";
pub(crate) const OURS_V6: &str = "fd09::2";

pub(crate) fn skipped(reason: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "SKIPPED: {reason}");
}

/// The program `zcn`: that of this build, or what `ZCN_PROGRAM` names where it lies elsewhere.
pub(crate) fn program() -> String {
    std::env::var("ZCN_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_zcn").to_owned())
}

/// Whether a program is installed; says so when it is not.
pub(crate) fn there(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        skipped(format_args!("{program} is not installed"));
    }
    found
}

/// Whether the long tests are asked for; says so when they are not.
pub(crate) fn is_long_run() -> bool {
    let asked = std::env::var_os("ZCN_LONG_TESTS").is_some();
    if !asked {
        skipped("takes minutes; ZCN_LONG_TESTS=1 asks for it");
    }
    asked
}

/// How the stack meets the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// TAP with super-frames.
    Tap,
    /// TAP with single packets.
    PlainTap,
    /// A packet socket on one end of a veth pair.
    Veth,
    /// The same, with the kernel's offloads off on its end.
    PlainVeth,
    /// A packet socket on one end of a veth pair, whose other end is a port of a bridge of the
    /// kernel that asks for listeners and forwards to them alone. The kernel's address is on the
    /// bridge.
    Snooped,
}

impl Link {
    pub(crate) const ALL: [Self; 4] = [Self::Tap, Self::PlainTap, Self::Veth, Self::PlainVeth];

    fn is_tap(self) -> bool {
        matches!(self, Self::Tap | Self::PlainTap)
    }
}

/// A bridge that asks for listeners once a second; times in hundredths of a second.
const SNOOPING: &str = "type bridge mcast_snooping 1 mcast_querier 1 mcast_stats_enabled 1 mcast_mld_version 2 \
                        mcast_startup_query_interval 100 mcast_query_interval 100 \
                        mcast_query_response_interval 50 mcast_membership_interval 6000";

/// A link, and what goes over it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) link: Link,
    pub(crate) mtu: u32,
    /// Whether tshark reads what the stack saw. It takes a second for twenty thousand
    /// frames.
    pub(crate) captured: bool,
    /// What the stack is told of ECN, if anything.
    pub(crate) ecn: Option<&'static str>,
}

impl Setting {
    pub(crate) fn on(link: Link) -> Self {
        Self {
            link,
            mtu: 1500,
            captured: false,
            ecn: None,
        }
    }

    pub(crate) fn captured(self) -> Self {
        Self {
            captured: true,
            ..self
        }
    }

    /// The control socket of the stack, of which there is one on a thread.
    #[expect(
        clippy::unused_self,
        reason = "the setting is what says that a stack is up"
    )]
    pub(crate) fn control(self) -> PathBuf {
        control()
    }

    /// Our addresses that this MTU leaves, as in a URL, and as elsewhere.
    pub(crate) fn hosts(self) -> Vec<(String, &'static str)> {
        let mut hosts = vec![(OURS.to_owned(), OURS)];
        if self.mtu >= 1280 {
            hosts.push((format!("[{OURS_V6}]"), OURS_V6));
        }
        hosts
    }
}

/// Runs `test` on each link, each time in a namespace of its own, with the stack up.
pub(crate) fn on_every_link(test: impl Fn(Setting) + Copy + Send + 'static) {
    for link in Link::ALL {
        with(Setting::on(link).captured(), test);
    }
}

/// As [`on_every_link`], for tests that move more than tshark can read in a moment.
pub(crate) fn in_bulk_on_every_link(test: impl Fn(Setting) + Copy + Send + 'static) {
    for link in Link::ALL {
        with(Setting::on(link), test);
    }
}

/// Runs `test` with the stack up in a namespace of its own.
pub(crate) fn with(setting: Setting, test: impl FnOnce(Setting) + Send + 'static) {
    if !there("ip") {
        return;
    }
    let thread = thread::spawn(move || {
        if let Err(error) = enter_new_network() {
            skipped(format_args!("no network namespace of our own: {error}"));
            return;
        }
        if setting.link.is_tap() && File::open("/dev/net/tun").is_err() {
            skipped("no /dev/net/tun");
            return;
        }
        // The kernel's own duplicate address detection would take a second each time.
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
        if let Some(up) = Up::start(setting) {
            test(setting);
            let (report, capture) = up.stop();
            let counters = &report["counters"];
            let count = |counter: &str| counters[counter].as_u64().unwrap_or(0);
            // Nothing on these links breaks anything.
            for counter in ["tcpInErrs", "tcpInCsumErrors"] {
                assert_eq!(count(counter), 0, "{setting:?}: {report}");
            }
            // Those that found out whether it is up.
            assert!(count("icmpv4.icmpInEchos") > 0, "{setting:?}: {report}");
            if let Some(capture) = capture {
                let found = faults_of_ours(&capture.0);
                assert_eq!(found, "", "{setting:?}");
            }
        }
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What tshark finds wrong in frames that our side sent: malformed, a bad checksum, or
/// anything else it calls an error.
fn faults_of_ours(capture: &Path) -> String {
    faults(capture, "&&frame.packet_flags_direction==2")
}

/// What tshark finds wrong in a capture, in frames that `filter` leaves.
pub(crate) fn faults(capture: &Path, filter: &str) -> String {
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
    let path = capture.display();
    text(&done(
        "tshark",
        &format!("-r {path} {VALIDATE} -Y ({bad}){filter}"),
        None,
    ))
}

/// Options that have tshark look at checksums.
pub(crate) const VALIDATE: &str = "-o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o \
                                   udp.check_checksum:TRUE";

fn ip(arguments: &str) -> bool {
    let output = run("ip", arguments, None);
    if !output.status.success() {
        skipped(format_args!("ip {arguments}: {}", text(&output.stderr)));
    }
    output.status.success()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn control() -> PathBuf {
    let name = format!(
        "zcn-{}-{:?}.sock",
        std::process::id(),
        thread::current().id()
    );
    std::env::temp_dir().join(name)
}

/// The program with a stack.
struct Up {
    child: Child,
    out: BufReader<ChildStdout>,
    capture: Option<Scratch>,
}

impl Up {
    fn start(setting: Setting) -> Option<Self> {
        let Setting { link, mtu, .. } = setting;
        let v6 = mtu >= 1280;
        let mut arguments = format!("stack up --json --mtu {mtu} --address 10.9.0.2/24");
        if v6 {
            arguments.push_str(" --address fd09::2/64");
        }
        if link.is_tap() {
            arguments.push_str(" --tap zk --kernel-address 10.9.0.1/24");
            if v6 {
                arguments.push_str(" --kernel-address fd09::1/64");
            }
        } else {
            let mut settings = match link {
                Link::Snooped => vec![
                    format!("link add zk mtu {mtu} {SNOOPING}"),
                    format!("link add zp mtu {mtu} type veth peer name zs mtu {mtu}"),
                    "link set zp master zk up".to_owned(),
                ],
                _ => vec![format!(
                    "link add zk mtu {mtu} type veth peer name zs mtu {mtu}"
                )],
            };
            settings.push("address add 10.9.0.1/24 dev zk".to_owned());
            if v6 {
                settings.push("address add fd09::1/64 dev zk nodad".to_owned());
            }
            settings.extend(["zs", "zk"].map(|end| format!("link set {end} up")));
            if !settings.iter().all(|setting| ip(setting)) {
                return None;
            }
            arguments.push_str(" --veth zs");
        }
        if link == Link::PlainTap {
            arguments.push_str(" --no-offload");
        }
        if link == Link::PlainVeth {
            if !there("ethtool") {
                return None;
            }
            let off = "tx off rx off tso off gso off gro off";
            for end in ["zk", "zs"] {
                done("ethtool", &format!("-K {end} {off}"), None);
            }
        }
        if let Some(ecn) = setting.ecn {
            arguments.push_str(&format!(" --ecn {ecn}"));
        }
        arguments.push_str(&format!(" --control {}", control().display()));
        let capture = (setting.captured && there("tshark")).then(|| Scratch::new("pcapng"));
        if let Some(capture) = &capture {
            arguments.push_str(&format!(" --capture {}", capture.0.display()));
        }
        let mut child = Command::new(program())
            .args(arguments.split_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.contains("\"up\""), "{setting:?}: {line}");
        let up = Self {
            child,
            out,
            capture,
        };
        // Duplicate address detection takes both sides a second or two.
        for (_, address) in setting.hosts() {
            until(address, || {
                run("ping", &format!("-c 1 -W 1 {address}"), None)
                    .status
                    .success()
            });
        }
        Some(up)
    }

    /// What it counted, and captured.
    fn stop(mut self) -> (Value, Option<Scratch>) {
        let pid = self.child.id().to_string();
        assert!(run("kill", &format!("-TERM {pid}"), None).status.success());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        let report = serde_json::from_str(rest.trim()).expect("one line of JSON");
        (report, self.capture.take())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // After a failed test; otherwise it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < HANG, "{what} never came");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a program to its end, at most as long as anything may take.
pub(crate) fn run(program: &str, arguments: &str, input: Option<&Path>) -> Output {
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
pub(crate) fn done(program: &str, arguments: &str, input: Option<&Path>) -> Vec<u8> {
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
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!(
            "zcn-{}-{:?}-{name}",
            std::process::id(),
            thread::current().id()
        );
        Self(std::env::temp_dir().join(name))
    }

    pub(crate) fn with(name: &str, bytes: &[u8]) -> Self {
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
