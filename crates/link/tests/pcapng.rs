//! Captures, read by tshark.

mod common;

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path as FilePath, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::namespace::skip;
use common::{Path, pattern};
use zcn_link::{
    CaptureOptions, Captured, Direction, Driver, Frame, Gso, GsoKind, Medium, MemoryLink,
    PcapngWriter, memory_capabilities,
};

const MEDIUM: Medium = Medium::Ethernet {
    address: [2, 0, 0, 0, 0, 1],
};

/// A file that goes with the test.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str) -> Self {
        let name = format!("zcn-link-{}-{name}.pcapng", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What tshark says of each packet: these fields, checksums looked at; or none where it is
/// not installed.
fn tshark(file: &FilePath, fields: &[&str]) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command
        .arg("-r")
        .arg(file)
        .args(["-T", "fields", "-E", "separator=|"]);
    for protocol in ["ip", "tcp", "udp"] {
        command
            .arg("-o")
            .arg(format!("{protocol}.check_checksum:TRUE"));
    }
    for field in fields {
        command.args(["-e", field]);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            skip(&format!("no tshark: {error}"));
            return None;
        }
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert!(
        !complaint.contains("appears"),
        "cut short or damaged: {complaint}"
    );
    let lines = String::from_utf8(output.stdout).expect("fields are text");
    let split = |line: &str| line.split('|').map(str::to_owned).collect();
    Some(lines.lines().map(split).collect())
}

/// The errors of a capture: malformed packets, wrong checksums.
const FAULTS: [&str; 4] = [
    "_ws.malformed",
    "ip.checksum.status",
    "udp.checksum.status",
    "tcp.checksum.status",
];

fn assert_sound(faults: &[String]) {
    assert_eq!(faults[0], "", "malformed");
    assert_eq!(faults[1], "1", "the IP checksum is good");
    let transport = format!("{}{}", faults[2], faults[3]);
    assert_eq!(transport, "1", "the checksum of UDP or TCP is good");
}

fn tcp_super_frame(path: &Path, payload: &[u8]) -> Frame {
    let mut frame = path.tcp((1, 1, 0x18), &[], payload);
    frame.meta.gso = Some(Gso {
        kind: GsoKind::Tcp4,
        size: 1460,
        hdr_len: 54,
        ecn: false,
    });
    frame
}

#[test]
fn tshark_reads_times_directions_comments_and_finds_no_fault() {
    let file = TemporaryFile::new("fields");
    let out = BufWriter::new(fs::File::create(&file.0).expect("a file"));
    let mut writer = PcapngWriter::new(
        out,
        MEDIUM,
        "zcn7",
        "a link of a test",
        CaptureOptions::default(),
    )
    .expect("written");
    let path = Path::invented();
    // Every length modulo four, and nanoseconds that do not fit microseconds.
    let time = Duration::new(1_700_000_000, 123_456_789);
    for index in 0..8u32 {
        let frame = path.udp(&pattern(index, index as usize), None, index % 2 == 0);
        let (direction, comment) = if index < 4 {
            (Direction::Inbound, None)
        } else {
            (Direction::Outbound, Some(format!("comment {index}")))
        };
        writer
            .write(
                time + Duration::from_nanos(index.into()),
                direction,
                &frame,
                comment.as_deref(),
            )
            .expect("written");
    }
    let super_frame = tcp_super_frame(&path, &pattern(9, 60_000));
    writer
        .write(time, Direction::Outbound, &super_frame, None)
        .expect("written");
    assert_eq!(writer.frames(), 9);
    writer.finish(time, 3).expect("written");

    let fields = [
        &FAULTS[..],
        &[
            "frame.time_epoch",
            "frame.interface_name",
            "frame.interface_description",
            "frame.packet_flags_direction",
            "frame.comment",
            "udp.length",
            "frame.len",
        ],
    ]
    .concat();
    let Some(packets) = tshark(&file.0, &fields) else {
        return;
    };
    assert_eq!(packets.len(), 9);
    for (index, packet) in packets[..8].iter().enumerate() {
        assert_sound(packet);
        assert_eq!(packet[4], format!("1700000000.{}", 123_456_789 + index));
        assert_eq!(packet[5..7], ["zcn7", "a link of a test"]);
        let direction = if index < 4 { "1" } else { "2" };
        assert!(packet[7].ends_with(direction), "{}", packet[7]);
        let comment = if index < 4 {
            String::new()
        } else {
            format!("comment {index}")
        };
        assert_eq!(packet[8], comment);
        assert_eq!(packet[9], (8 + index).to_string());
    }
    assert_sound(&packets[8]);
    assert_eq!(packets[8][10], "60054");
}

#[test]
fn super_frames_are_cut_if_that_is_asked_for() {
    let file = TemporaryFile::new("cut");
    let out = fs::File::create(&file.0).expect("a file");
    let options = CaptureOptions {
        cut_super_frames: true,
        ..CaptureOptions::default()
    };
    let mut writer = PcapngWriter::new(out, MEDIUM, "zcn7", "", options).expect("written");
    let path = Path::invented();
    let time = Duration::from_secs(1);
    for frame in [
        tcp_super_frame(&path, &pattern(1, 20_000)),
        path.udp(&pattern(2, 5000), Some(1000), true),
    ] {
        writer
            .write(time, Direction::Outbound, &frame, Some("one of many"))
            .expect("written");
    }
    drop(writer);
    let fields = [&FAULTS[..], &["tcp.len", "udp.length", "frame.comment"]].concat();
    let Some(packets) = tshark(&file.0, &fields) else {
        return;
    };
    // 20,000 bytes in pieces of 1460, and 5000 of 1000.
    assert_eq!(packets.len(), 14 + 5);
    let mut lengths = [0, 0];
    for packet in &packets {
        assert_sound(packet);
        for (sum, field) in lengths.iter_mut().zip(&packet[4..6]) {
            *sum += field.parse::<usize>().unwrap_or(0);
        }
        assert_eq!(packet[6], "one of many");
    }
    assert_eq!(lengths, [20_000, 5000 + 5 * 8]);
}

#[test]
fn packets_without_ethernet_and_long_ones_are_understood() {
    let file = TemporaryFile::new("raw");
    let out = fs::File::create(&file.0).expect("a file");
    let options = CaptureOptions {
        snap_len: 100,
        ..CaptureOptions::default()
    };
    let mut writer = PcapngWriter::new(out, Medium::Ip, "tun", "", options).expect("written");
    let path = Path {
        ethernet: None,
        ..Path::invented()
    };
    for size in [10, 1000] {
        let frame = path.udp(&pattern(1, size), None, false);
        writer
            .write(Duration::ZERO, Direction::Inbound, &frame, None)
            .expect("written");
    }
    drop(writer);
    let fields = ["ip.src", "frame.len", "frame.cap_len"];
    if let Some(packets) = tshark(&file.0, &fields) {
        assert_eq!(packets[0], ["10.9.0.1", "38", "38"]);
        assert_eq!(packets[1], ["10.9.0.1", "1028", "100"]);
    }
}

#[test]
fn a_captured_link_records_both_ways_and_carries_the_same() {
    let file = TemporaryFile::new("link");
    let capabilities = memory_capabilities(MEDIUM, 1500);
    let (one, mut other) = MemoryLink::pair(capabilities, capabilities, 2).expect("eventfd");
    let out = BufWriter::new(fs::File::create(&file.0).expect("a file"));
    let mut one = Captured::new(one, out, "mem", "", CaptureOptions::default()).expect("written");
    let path = Path::invented();
    let mut frames: VecDeque<Frame> = (0..3)
        .map(|index| path.udp(&pattern(index, 50), None, true))
        .collect();
    // Two fit; the third is recorded when it goes.
    assert_eq!(one.transmit(&mut frames).expect("alive"), 2);
    let mut received = Vec::new();
    other.receive(&mut received, 10).expect("alive");
    assert_eq!(one.transmit(&mut frames).expect("alive"), 1);
    let mut back = VecDeque::from([path.udp(b"back", None, false)]);
    other.transmit(&mut back).expect("alive");
    one.receive(&mut received, 10).expect("alive");
    assert_eq!(received[2].body.to_vec(), b"back");
    one.finish().expect("written");
    let fields = [&FAULTS[..], &["frame.packet_flags_direction"]].concat();
    if let Some(packets) = tshark(&file.0, &fields) {
        let directions: Vec<bool> = packets
            .iter()
            .map(|packet| packet[4].ends_with('2'))
            .collect();
        packets.iter().for_each(|packet| assert_sound(packet));
        assert_eq!(directions, [true, true, true, false]);
    }
}

/// Room for so many bytes.
struct SmallDisk(usize);

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_the_capture_and_not_the_link() {
    let link = MemoryLink::loopback(memory_capabilities(MEDIUM, 1500), 8).expect("eventfd");
    let (told, heard) = std::sync::mpsc::channel();
    let mut link = Captured::new(link, SmallDisk(600), "mem", "", CaptureOptions::default())
        .expect("room for the headers")
        .on_failure(move |error| told.send(error.kind()).expect("a listener"));
    let frame = Path::invented().udp(&[1; 1000], None, true);
    let mut frames = VecDeque::from([frame.clone(), frame]);
    assert_eq!(link.transmit(&mut frames).expect("alive"), 2);
    assert_eq!(link.receive(&mut Vec::new(), 8).expect("alive"), 2);
    let told: Vec<_> = heard.try_iter().collect();
    assert_eq!(told, [io::ErrorKind::StorageFull], "told once");
    let error = link.finish().map(|_| ()).expect_err("the disk is full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}
