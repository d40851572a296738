//! `zcn ss` asks the stack about its connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use crate::rig::{Link, OURS, Setting, done, program, text, with};

#[test]
fn ss_shows_connections_and_listeners() {
    with(Setting::on(Link::Tap), |setting| {
        let control = setting.control();
        let mut streams = Vec::new();
        for (host, _) in setting.hosts() {
            let mut stream = TcpStream::connect(format!("{host}:7")).unwrap();
            stream.write_all(&[7; 1000]).unwrap();
            stream.read_exact(&mut [0; 1000]).unwrap();
            streams.push(stream);
        }
        let zcn = &program();
        let path = control.display();
        let json = done(zcn, &format!("ss --json --control {path}"), None);
        let document: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(document["link"], "TAP zk");
        assert_eq!(document["connections_open"], 2);
        let ports: Vec<u64> = document["listeners"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|listener| listener["local"].as_str()?.rsplit(':').next()?.parse().ok())
            .collect();
        for port in [7, 9, 13, 19, 80] {
            assert!(ports.contains(&port), "{port}: {document}");
        }
        let connections = document["connections"].as_array().unwrap();
        assert_eq!(connections.len(), 2);
        for stream in &streams {
            let remote = stream.local_addr().unwrap().to_string();
            let found = connections
                .iter()
                .find(|connection| connection["remote"] == remote.as_str());
            let connection = found.unwrap_or_else(|| panic!("{remote}: {document}"));
            assert_eq!(connection["local"], stream.peer_addr().unwrap().to_string());
            assert_eq!(connection["state"], "ESTABLISHED");
            let info = &connection["info"];
            assert_eq!(info["tcpi_bytes_received"], 1000);
            assert_eq!(info["tcpi_bytes_sent"], 1000);
            assert!(info["tcpi_rtt"].as_u64() > Some(0), "{info}");
        }
        let table = text(&done(zcn, &format!("ss -a -i --control {path}"), None));
        for part in [
            "LISTEN",
            "ESTABLISHED",
            &format!("{OURS}:7"),
            "bytes_acked:1000",
        ] {
            assert!(table.contains(part), "{part}: {table}");
        }
    });
}

#[test]
fn where_no_stack_is_ss_says_so() {
    let ss = |arguments: &[&str], runtime: Option<&str>| {
        let mut command = Command::new(program());
        command
            .arg("ss")
            .args(arguments)
            .env_remove("XDG_RUNTIME_DIR");
        if let Some(folder) = runtime {
            command.env("XDG_RUNTIME_DIR", folder);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let told = ss(&["--control", "/nowhere/zcn.sock"], None);
    assert!(
        told.contains("/nowhere/zcn.sock") && told.contains("--control"),
        "{told}"
    );
    let told = ss(&[], None);
    assert!(told.contains("XDG_RUNTIME_DIR"), "{told}");
    let told = ss(&[], Some("/nowhere"));
    assert!(told.contains("zcn stack up"), "{told}");
}
