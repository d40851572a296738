//! Programs that look for weaknesses, or only send: hping3, nmap, sockperf.

use crate::rig::{Link, OURS, Setting, done, on_every_link, run, text, there, with};

#[test]
fn hping3_gets_the_answers_of_the_rfcs() {
    on_every_link(|_| {
        if !there("hping3") {
            return;
        }
        // What is sent, what must come back, and how often out of two.
        for (arguments, answer, count) in [
            ("-S -p 80", "flags=SA", 2),
            ("-S -p 4444", "flags=RA", 2),
            ("-A -p 80", "flags=R ", 2),
            ("-A -p 4444", "flags=R ", 2),
            // Data in a SYN, in IP fragments.
            ("-S -p 80 -d 100 -f", "flags=SA", 2),
            // No SYN, no ACK, no RST, to a listener: nothing (RFC 9293, 3.10.7.2).
            ("-F -P -U -p 80", "flags=", 0),
            ("-F -S -p 80", "flags=", 0),
            ("-R -p 80", "flags=", 0),
            ("--udp -p 4444", "Port Unreachable", 2),
            ("-1", "icmp_seq=", 2),
        ] {
            let output = run(
                "hping3",
                &format!("-n -c 2 -i u20000 {arguments} {OURS}"),
                None,
            );
            let output = text(&output.stdout);
            assert_eq!(
                output.matches(answer).count(),
                count,
                "{arguments}: {output}"
            );
        }
    });
}

#[test]
fn a_bounded_flood_leaves_others_served() {
    with(Setting::on(Link::Tap), |_| {
        if !(there("hping3") && there("curl")) {
            return;
        }
        run(
            "hping3",
            &format!("-q -n -S -p 80 -c 3000 -i u50 --rand-source {OURS}"),
            None,
        );
        let url = format!("http://{OURS}/bytes/1000");
        done("curl", &format!("-sS -f -m 20 -o /dev/null {url}"), None);
    });
}

#[test]
fn nmap_finds_the_open_ports_and_cannot_guess_sequence_numbers() {
    with(Setting::on(Link::Tap).captured(), |setting| {
        if !there("nmap") {
            return;
        }
        let output = text(&done(
            "nmap",
            &format!("-n -v -sS -O --max-os-tries 1 -p 1-100 {OURS}"),
            None,
        ));
        let open: Vec<&str> = output
            .lines()
            .filter(|line| {
                line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(" open ")
            })
            .filter_map(|line| line.split('/').next())
            .collect();
        assert_eq!(open, ["7", "9", "13", "19", "80"], "{setting:?}: {output}");
        assert!(output.contains("(Good luck!)"), "{output}");
        assert!(
            output.contains("IP ID Sequence Generation: All zeros"),
            "{output}"
        );
    });
}

#[test]
fn sockperf_sends_to_discard() {
    on_every_link(|_| {
        if !there("sockperf") {
            return;
        }
        // Its own server marks what it echoes; sending needs nobody's help.
        for way in ["", "--tcp"] {
            let arguments = format!("throughput {way} -i {OURS} -p 9 -t 1 -m 1000 --mps 2000");
            let output = text(&done("sockperf", &arguments, None));
            assert!(output.contains("Message Rate"), "{output}");
        }
    });
}
