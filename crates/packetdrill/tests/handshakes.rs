//! What a listener makes of SYNs and of what follows them, as the kernel's does.

mod driver;

use driver::journal::{Journal, alike};
use driver::kernel::Settings;
use driver::{ACK, FIN, PSH, RST, SYN, Segment};

/// Nothing is sent again while we look.
const PATIENT: Settings<'static> = Settings {
    mtu: 1500,
    metrics: "congctl cubic rto_min 20s",
    sysctls: &[
        ("ipv4/tcp_early_retrans", "0"),
        ("ipv4/tcp_invalid_ratelimit", "0"),
    ],
};
const FLAGS: &str = "tcp_early_retrans=0 tcp_invalid_ratelimit=0";

/// MSS, SACK permitted, timestamps, window scale, as Linux sends them.
fn offer(stamp: u32) -> Vec<u8> {
    let mut options = vec![2, 4, 5, 180, 4, 2, 8, 10];
    options.extend(stamp.to_be_bytes());
    options.extend([0, 0, 0, 0, 1, 3, 3, 7]);
    options
}

fn stamps(value: u32, echo: u32) -> Vec<u8> {
    let mut options = vec![1, 1, 8, 10];
    options.extend(value.to_be_bytes());
    options.extend(echo.to_be_bytes());
    options
}

/// A listener, and whoever is accepted by now.
fn look(journal: &mut Journal<'_>, listener: i32) {
    journal.left();
    let tool = journal.tool;
    match tool.accept(listener) {
        Ok(fd) => {
            tool.nonblocking(fd);
            journal.state(fd);
            journal.note("read", tool.read(fd, 100));
            journal.abort(fd);
        }
        Err(error) => journal.note("accept", error),
    }
}

#[test]
fn the_last_segment_of_a_handshake_and_its_echo() {
    alike(PATIENT, FLAGS, |journal| {
        // The kernel rounds those of challenges down, and so takes some back.
        journal.windows = false;
        for stamped in [1_000, 999, 1_001, 0, u32::MAX] {
            for echo in [0_i64, -1, 1, -1_000_000, 1_000_000, i64::MIN] {
                for data in [&b""[..], b"data"] {
                    journal.head(&format!(
                        "stamp {stamped}, echo {echo}, {} bytes",
                        data.len()
                    ));
                    let listener = journal.bound();
                    let tool = journal.tool;
                    tool.listen_for(listener, 5).expect("listening");
                    journal.port += 1;
                    journal.inject(Segment::new(SYN, 0, 0).options(&offer(1_000)));
                    journal.left();
                    let echo = match echo {
                        i64::MIN => 0,
                        by => journal.stamp.wrapping_add(by as u32),
                    };
                    let ack = Segment::new(ACK | PSH, 1, 1).options(&stamps(stamped, echo));
                    journal.inject(ack.payload(data));
                    look(journal, listener);
                    journal.note("close", tool.close(listener));
                    journal.left();
                }
            }
        }
    });
}

#[test]
fn what_meets_a_half_open_connection() {
    alike(PATIENT, FLAGS, |journal| {
        // The kernel rounds those of challenges down, and so takes some back.
        journal.windows = false;
        let kinds = [
            (SYN, 0, 0),
            (SYN, 1, 0),
            (SYN | ACK, 0, 1),
            (SYN | FIN, 0, 0),
            (SYN | RST, 0, 0),
            (RST, 1, 0),
            (RST, 2, 0),
            (RST | ACK, 1, 1),
            (ACK, 1, 2),
            (ACK, 1, 0),
            (ACK, 0, 1),
            (ACK, 2, 1),
            (FIN, 1, 0),
            (FIN | ACK, 1, 1),
            (PSH | ACK, 1, 1),
            (0, 1, 0),
            (ACK, 70_000, 1),
        ];
        for with_stamps in [false, true] {
            for data in [&b""[..], b"data"] {
                for (flags, seq, ack) in kinds {
                    if flags == SYN | ACK && !data.is_empty() {
                        continue; // ours is taken, see the exceptions of the matrix
                    }
                    journal.head(&format!(
                        "{flags:#x} {seq} {ack}, {} bytes, {with_stamps}",
                        data.len()
                    ));
                    let listener = journal.bound();
                    let tool = journal.tool;
                    tool.listen_for(listener, 5).expect("listening");
                    journal.port += 1;
                    let options = if with_stamps {
                        offer(1_000)
                    } else {
                        driver::OPTIONS.to_vec()
                    };
                    journal.inject(Segment::new(SYN, 0, 0).options(&options));
                    journal.left();
                    let echo = journal.stamp;
                    let mut segment = Segment::new(flags, seq, ack).payload(data);
                    if with_stamps {
                        segment.options = if flags & SYN != 0 {
                            offer(1_001)
                        } else {
                            stamps(1_001, echo)
                        };
                    }
                    journal.inject(segment);
                    look(journal, listener);
                    let mut last = Segment::new(ACK, 1, 1);
                    if with_stamps {
                        last.options = stamps(1_002, echo);
                    }
                    journal.inject(last);
                    look(journal, listener);
                    journal.note("close", tool.close(listener));
                    journal.left();
                }
            }
        }
    });
}

#[test]
fn challenges_are_limited_in_a_second() {
    alike(
        Settings {
            mtu: 1500,
            metrics: "congctl cubic rto_min 20s",
            sysctls: &[("ipv4/tcp_invalid_ratelimit", "500")],
        },
        "",
        |journal| {
            let listener = journal.bound();
            let tool = journal.tool;
            tool.listen_for(listener, 5).expect("listening");
            journal.inject(Segment::new(SYN, 0, 0).options(&driver::OPTIONS));
            journal.left();
            journal.inject(Segment::new(ACK, 1, 1));
            let fd = tool.accept(listener).expect("accepted");
            tool.nonblocking(fd);
            for (flags, seq, ack) in [
                (SYN, 5, 0),
                (SYN, 5, 0),
                (RST, 9, 0),
                (RST, 9, 0),
                (ACK, 70_000, 1),
                (ACK, 1, 70_000),
                (ACK, 1, 70_000),
            ] {
                journal.inject(Segment::new(flags, seq, ack));
                journal.left();
            }
            tool.sleep(600_000);
            for (flags, seq, ack) in [(SYN, 5, 0), (SYN, 5, 0), (ACK, 70_000, 1), (RST, 9, 0)] {
                journal.inject(Segment::new(flags, seq, ack));
                journal.left();
            }
        },
    );
}
