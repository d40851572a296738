//! What cannot be is told, with a remedy.

use std::process::Command;

use crate::rig::{program, text};

#[test]
fn what_cannot_be_is_told_with_a_remedy() {
    let refused = |arguments: &str| {
        let output = Command::new(program())
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
        (
            "ping --mem --address 10.9.0.1/24 fd09::2",
            "--address fd09::2/64",
        ),
        ("ping 10.9.0.2", "--tap"),
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
