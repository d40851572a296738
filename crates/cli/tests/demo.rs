//! `zcn demo` as a program.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use common::{objects, run, skipped, text, without_namespaces, without_uring, zcn};
use serde_json::Value;

/// The one line of a kind.
fn line<'a>(lines: &'a [Value], kind: &str) -> &'a Value {
    let mut found = lines.iter().filter(|line| line["kind"] == kind);
    let line = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "{kind} twice");
    line
}

/// Checks what every demonstration must show, and returns who took part.
fn shown(output: &Output) -> BTreeSet<String> {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "progress is for terminals");
    let lines = objects(&output.stdout);
    assert!(!line(&lines, "environment")["kernel"].is_null());
    let account = line(&lines, "account");
    assert_eq!(account["errors"], 0);
    assert!(account["bytes_checked"].as_u64().expect("a count") > 1_000_000);
    assert!(account["buffers"].as_u64().expect("a count") >= 1024);
    assert_eq!(account["buffers_home"], account["buffers"]);
    let mut servers = BTreeSet::new();
    for figure in lines.iter().filter(|line| line["kind"] == "figure") {
        let value = figure["value"].as_f64().expect("a figure");
        assert!(value > 0.0 && value.is_finite(), "{figure}");
        servers.insert(figure["case"].as_str().expect("a server").to_owned());
    }
    for server in &servers {
        for metric in [
            "rtt_p50",
            "rtt_p99",
            "rtt_p99.9",
            "requests",
            "throughput",
            "server_cpu_per_request",
            "syscalls_per_request",
        ] {
            let there = lines
                .iter()
                .any(|line| line["case"] == **server && line["metric"] == metric);
            assert!(there, "{server} lacks {metric}");
        }
    }
    servers
}

#[test]
fn every_kind_of_server_is_shown() {
    let servers = shown(&run(&["demo", "--seconds", "2", "--json"]));
    for name in ["blocking", "epoll", "io_uring (zcn)"] {
        assert!(servers.contains(name), "{servers:?}");
    }
}

#[test]
fn a_refused_ring_is_said_and_the_rest_runs() {
    let (json, plain) = without_uring(|| {
        (
            run(&["demo", "--seconds", "2", "--json"]),
            run(&["demo", "--seconds", "2"]),
        )
    });
    let servers = shown(&json);
    assert!(servers.contains("zcn on epoll"), "{servers:?}");
    let environment = line(&objects(&json.stdout), "environment").clone();
    assert_eq!(environment["io_uring"], false);
    assert!(
        !environment["io_uring_refused"]
            .as_str()
            .expect("a reason")
            .is_empty()
    );
    let plain = text(&plain.stdout);
    assert!(plain.contains("io_uring is not used here"), "{plain}");
    assert!(
        plain.contains("buffers home after each of zcn's"),
        "{plain}"
    );
}

#[test]
fn one_core_is_enough() {
    let output = std::thread::spawn(|| {
        let core = zcn_measure::core::allowed().expect("cores")[0];
        zcn_measure::core::pin(core).expect("pinned");
        run(&["demo", "--seconds", "2", "--json"])
    })
    .join()
    .expect("the thread ends well");
    let servers = shown(&output);
    assert_eq!(servers.len(), 3, "{servers:?}");
}

#[test]
fn the_report_needs_nothing_else() {
    let path = std::env::temp_dir().join(format!("zcn-demo-{}.html", std::process::id()));
    let file = path.to_str().expect("text");
    let output = run(&["demo", "--seconds", "2", "--html", file]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for part in ["RTT p50", "io_uring (zcn)", "every byte checked", file] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let page = std::fs::read_to_string(&path).expect("a report");
    std::fs::remove_file(&path).expect("removable");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    // Five of the kernel half, one or two of the other.
    let plots = page.matches("<svg").count();
    assert!((6..=7).contains(&plots), "{plots} plots");
    assert!(page.contains("The TCP/IP in user space"));
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    for part in ["http://", "https://", "src=", "<link", "@import", "url("] {
        assert!(!elsewhere.contains(part), "{part}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_said_before_the_measurement() {
    let output = run(&["demo", "--html", "/nowhere/report.html"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nowhere/report.html"));
    assert_eq!(text(&output.stdout), "");
}

/// Found by reading as a newcomer: the place of the report was tried by emptying it.
#[test]
fn an_interrupted_demo_leaves_an_earlier_report_alone() {
    let folder = std::env::temp_dir();
    let of = |name: &str| folder.join(format!("zcn-demo-{name}-{}.html", std::process::id()));
    let (earlier, fresh) = (of("earlier"), of("fresh"));
    std::fs::write(&earlier, "earlier").expect("a file");
    for path in [&earlier, &fresh] {
        let mut demo = zcn()
            .args(["demo", "--seconds", "60", "--html"])
            .arg(path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let out = demo.stdout.take().expect("a pipe");
        // It speaks once it has tried the place.
        BufReader::new(out).read_line(&mut line).expect("a line");
        demo.kill().expect("it runs");
        demo.wait().expect("it ends");
    }
    let kept = std::fs::read_to_string(&earlier).expect("it is there");
    std::fs::remove_file(&earlier).expect("removed");
    assert_eq!(kept, "earlier");
    assert!(!fresh.exists());
}

#[test]
fn the_user_space_half_is_driven_by_the_kernels_clients_and_captured() {
    let path = std::env::temp_dir().join(format!("zcn-demo-{}.pcapng", std::process::id()));
    let file = path.to_str().expect("text");
    let output = run(&["demo", "--seconds", "2", "--json", "--pcapng", file]);
    shown(&output);
    let lines = objects(&output.stdout);
    let story = line(&lines, "user_space");
    assert_eq!(story["errors"], 0);
    assert_eq!(story["capture"], file);
    let capture = std::fs::read(&path).expect("a capture");
    std::fs::remove_file(&path).expect("removable");
    assert_eq!(story["capture_bytes"], capture.len());
    // The magic number of pcapng.
    assert_eq!(capture[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
    let figures: Vec<&Value> = lines
        .iter()
        .filter(|line| line["kind"] == "user_space_figure")
        .collect();
    if story["ground"] == "memory" {
        // Said by the program itself, which could not do better here.
        skipped(&story["refused"]);
        return;
    }
    assert!(story["bytes_checked"].as_u64() > Some(1_000_000), "{story}");
    let ours = figures.last().expect("a figure");
    assert_eq!(ours["case"], "zcn in user space, TAP");
    for metric in ["rtt_p50_us", "to_server_gbit_s", "from_server_gbit_s"] {
        assert!(ours[metric].as_f64() > Some(0.0), "{ours}");
    }
    // ping where it is installed, curl or a socket of its own.
    assert!(!story["programs"].as_array().expect("lines").is_empty());
}

#[test]
fn where_namespaces_are_refused_it_runs_through_memory_and_says_so() {
    let output = without_namespaces(|| run(&["demo", "--seconds", "2", "--json"]));
    shown(&output);
    let lines = objects(&output.stdout);
    let story = line(&lines, "user_space");
    assert_eq!(story["ground"], "memory");
    let refused = story["refused"].as_str().expect("a reason");
    assert!(refused.contains("namespaces are refused"), "{refused}");
    let figure = line(&lines, "user_space_figure");
    for metric in ["rtt_p50_us", "to_server_gbit_s"] {
        assert!(figure[metric].as_f64() > Some(0.0), "{figure}");
    }
}
