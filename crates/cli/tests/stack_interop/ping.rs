//! ping, arping, traceroute.

use crate::rig::{
    Link, OURS, OURS_V6, Setting, done, is_long_run, on_every_link, text, there, with,
};

/// Payloads of these sizes come back as they were; ping compares every byte.
fn sizes(family: u8, address: &str, sizes: &[u32]) {
    for size in sizes {
        // One each: after a first answer ping hardly waits for the second.
        let arguments = format!("-{family} -c 1 -W 20 -s {size} {address}");
        let output = text(&done("ping", &arguments, None));
        assert!(output.contains(" 0% packet loss"), "{output}");
        assert!(!output.contains("wrong data"), "{output}");
    }
}

#[test]
fn pings_of_every_size_are_answered() {
    on_every_link(|_| {
        let v4 = [
            0, 1, 7, 8, 16, 56, 1471, 1472, 1473, 1480, 2952, 2953, 9000, 40_000, 65_506, 65_507,
        ];
        sizes(4, OURS, &v4);
        let v6 = [0, 1, 7, 8, 56, 1451, 1452, 1453, 9000, 40_000, 65_507];
        sizes(6, OURS_V6, &v6);
        // Many at once.
        done("ping", &format!("-c 500 -i 0 -s 56 -q {OURS}"), None);
        // Not to be fragmented, and just fitting.
        done("ping", &format!("-c 1 -M do -s 1472 {OURS}"), None);
    });
}

/// All sizes there are, in steps that no power of two divides.
#[test]
fn pings_of_all_sizes_are_answered() {
    if !is_long_run() {
        return;
    }
    for link in Link::ALL {
        with(Setting::on(link), |_| {
            let steps: Vec<u32> = (0..=65_507).step_by(331).chain([65_507]).collect();
            sizes(4, OURS, &steps);
            sizes(6, OURS_V6, &steps);
        });
    }
}

#[test]
fn arping_and_traceroute_find_us() {
    on_every_link(|setting| {
        if there("arping") {
            let output = text(&done("arping", &format!("-c 3 -I zk {OURS}"), None));
            assert!(output.contains("Received 3 response"), "{output}");
        }
        if there("traceroute") {
            for way in ["", "-I", "-T -p 80", "-T -p 4444"] {
                for (_, address) in setting.hosts() {
                    let output = text(&done(
                        "traceroute",
                        &format!("-n -q 1 -w 5 {way} {address}"),
                        None,
                    ));
                    let hops: Vec<&str> = output.lines().skip(1).collect();
                    assert!(
                        hops.len() == 1 && hops[0].contains(address),
                        "{way} {address}: {output}"
                    );
                }
            }
        }
    });
}
