//! What a driver says to the kernel's stack on the other end of its link, by hand.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use zcn_link::{Checksum, Driver, Frame, Medium};
use zcn_wire::checksum::checksum;
use zcn_wire::{Icmpv4View, Ipv4Repr, Ipv4View, Protocol, UdpView};

use super::namespace::ip;
use super::{Path, pattern};
use zcn_link::Interface;

pub(crate) const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// How long a test waits for something that is sure to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The kernel's end gets its address and learns ours; answers the way from us to it.
pub(crate) fn introduce(driver: &impl Driver, kernel_end: &str) -> Path {
    let interface = Interface::open(kernel_end).expect("it exists");
    interface
        .add_address(KERNEL.into(), 24)
        .expect("root in this namespace");
    let ethernet = match driver.capabilities().medium {
        Medium::Ethernet { address } => {
            let ours = address.map(|byte| format!("{byte:02x}")).join(":");
            ip(&format!(
                "neigh replace {OURS} lladdr {ours} dev {kernel_end} nud permanent"
            ));
            Some((address, interface.hardware_address().expect("Ethernet")))
        }
        Medium::Ip => None,
    };
    Path {
        ethernet,
        src: SocketAddrV4::new(OURS, 4000),
        dst: SocketAddrV4::new(KERNEL, 5000),
    }
}

/// Sends all, however often it has to ask.
pub(crate) fn send(driver: &mut impl Driver, frames: impl IntoIterator<Item = Frame>) {
    let mut frames: VecDeque<Frame> = frames.into_iter().collect();
    let start = Instant::now();
    while !frames.is_empty() {
        driver.transmit(&mut frames).expect("the link is there");
        assert!(start.elapsed() < PATIENCE, "the link takes nothing");
    }
    driver.flush().expect("the link is there");
}

/// Receives until `wanted` makes something of a frame.
pub(crate) fn receive<T>(
    driver: &mut impl Driver,
    mut wanted: impl FnMut(&Frame) -> Option<T>,
) -> T {
    let start = Instant::now();
    let mut frames = Vec::new();
    loop {
        // One at a time, so that what comes behind it is there for the next call.
        driver.receive(&mut frames, 1).expect("the link is there");
        for frame in frames.drain(..) {
            if let Some(found) = wanted(&frame) {
                return found;
            }
        }
        let Some(left) = PATIENCE.checked_sub(start.elapsed()) else {
            panic!("it never came: {:?}", driver.statistics());
        };
        driver
            .wait(Duration::from_micros(20), Some(left))
            .expect("poll");
    }
}

/// The IP packet in a frame.
pub(crate) fn ip_packet(driver: &impl Driver, frame: &Frame) -> Vec<u8> {
    frame.to_vec()[driver.capabilities().medium.header_len()..].to_vec()
}

/// Sends an echo request with `size` bytes of data and waits for the answer.
pub(crate) fn ping(driver: &mut impl Driver, path: &Path, size: usize) {
    let data = pattern(size as u32, size);
    let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 7];
    message.extend(&data);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    // The Ethernet and IP headers are those of a datagram.
    let mut frame = path.udp(&[], None, false);
    frame.head.truncate(frame.head.len() - 8);
    let header = driver.capabilities().medium.header_len();
    let repr = Ipv4Repr::new(
        *path.src.ip(),
        *path.dst.ip(),
        Protocol::ICMP,
        message.len(),
    );
    repr.emit(&mut frame.head[header..]).expect("room");
    frame
        .push(bytes::Bytes::from(message).into())
        .expect("one slice");
    send(driver, [frame]);
    let header = driver.capabilities().medium.header_len();
    let answer = receive(driver, |frame| {
        let bytes = frame.to_vec();
        let ip = Ipv4View::new(bytes.get(header..)?).ok()?;
        (ip.protocol() == Protocol::ICMP && ip.dst() == OURS).then(|| {
            ip.verify_checksum().expect("the kernel's");
            let message = Icmpv4View::new(ip.payload()).expect("ICMP");
            message.verify_checksum().expect("the kernel's");
            ip.payload().to_vec()
        })
    });
    assert_eq!(answer[..2], [0, 0], "an echo reply");
    assert_eq!(answer[4..8], [0x12, 0x34, 0, 7]);
    assert_eq!(answer[8..], data);
}

/// A kernel socket that our datagrams go to.
///
/// The one before it at the same address may live a moment longer than its owner: while another
/// test starts a program, its child holds copies of all descriptors from `fork` to `exec`.
pub(crate) fn kernel_socket(path: &Path) -> UdpSocket {
    let start = Instant::now();
    let socket = loop {
        match UdpSocket::bind(path.dst) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => break result.expect("the kernel's address"),
        }
    };
    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    socket
}

/// Datagrams of several sizes up to the MTU, each byte checked, both ways.
pub(crate) fn datagrams(driver: &mut impl Driver, path: &Path) {
    let socket = kernel_socket(path);
    let capabilities = *driver.capabilities();
    let most = capabilities.mtu as usize - 28;
    let mut buffer = vec![0; 65536];
    for (seed, size) in [0, 1, 17, 500, most - 1, most].into_iter().enumerate() {
        let data = pattern(seed as u32, size);
        // With and without leaving the checksum to the kernel.
        for partial in [false, capabilities.checksum.transmit] {
            send(driver, [path.udp(&data, None, partial)]);
            let (len, from) = socket.recv_from(&mut buffer).expect("the datagram");
            assert_eq!(from, path.src.into());
            assert!(buffer[..len] == data[..], "{size} bytes to the kernel");
        }
        socket.send_to(&data, path.src).expect("sent");
        let received = receive(driver, |frame| {
            our_datagram(driver_header(&capabilities), frame)
        });
        assert!(received.0 == data, "{size} bytes from the kernel");
        assert_eq!(received.1, None);
    }
}

fn driver_header(capabilities: &zcn_link::Capabilities) -> usize {
    capabilities.medium.header_len()
}

/// The payload of a datagram to us, and the datagrams' size if it is a super-frame.
pub(crate) fn our_datagram(header: usize, frame: &Frame) -> Option<(Vec<u8>, Option<u16>)> {
    let bytes = frame.to_vec();
    let ip = Ipv4View::new(bytes.get(header..)?).ok()?;
    if ip.protocol() != Protocol::UDP || ip.dst() != OURS {
        return None;
    }
    let udp = UdpView::new(ip.payload()).expect("the kernel's");
    if frame.meta.checksum == Checksum::Unverified {
        udp.verify_checksum(ip.pseudo_header())
            .expect("the kernel's");
    }
    Some((udp.payload().to_vec(), frame.meta.gso.map(|gso| gso.size)))
}

/// A super-frame of datagrams to the kernel, and one from it.
pub(crate) fn datagram_super_frames(driver: &mut impl Driver, path: &Path, from_kernel: bool) {
    let capabilities = *driver.capabilities();
    let size = capabilities.mtu as usize - 28;
    let count = (60_000 / size).clamp(1, 40);
    let data = pattern(3, count * size - size / 2);
    let socket = kernel_socket(path);
    send(driver, [path.udp(&data, Some(size as u16), true)]);
    let mut joined = Vec::new();
    let mut buffer = vec![0; 65536];
    for _ in 0..count {
        let len = socket.recv(&mut buffer).expect("each datagram");
        joined.extend_from_slice(&buffer[..len]);
    }
    assert!(joined == data, "payload of the super-frame");
    if !from_kernel || count == 1 {
        return;
    }
    super::unsafe_options::segment_datagrams(&socket, size as u16);
    socket.send_to(&data, path.src).expect("sent as one");
    let header = driver_header(&capabilities);
    let (received, gso) = receive(driver, |frame| our_datagram(header, frame));
    assert_eq!(gso, Some(size as u16));
    assert!(received == data, "payload of the kernel's super-frame");
}
