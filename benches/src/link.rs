//! Drivers beside a plain loop of system calls on the same descriptors.
//!
//! All on one thread in a network namespace of its own. Figures are per second of that
//! thread's CPU, the kernel's part included: on these links the kernel delivers a frame
//! within the call that sends it.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use zcn_link::{
    Checksum, Driver, Frame, Gso, GsoKind, Interface, Medium, MemoryLink, PacketSocket, Reception,
    Tun, memory_capabilities,
};
use zcn_measure::cpu_clock::CpuClock;
use zcn_sys::namespace::enter_new_network;
use zcn_wire::{EtherType, EthernetAddress, EthernetRepr, Ipv4Repr, Protocol, UdpRepr};

use crate::harness::{Contender, Ctx, Error, Figure, Result};

const BENCH: &str = "link";
const BATCH: usize = 16;
const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 1);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
/// Of each datagram in a super-frame.
const SIZE: usize = 1472;

/// Two kinds of frames: one small packet, and a super-frame of close to 64 KiB.
const LOADS: [(&str, usize); 2] = [("22-byte payload", 22), ("64 KiB super-frame", SIZE * 44)];

/// Measures the drivers.
pub fn run(ctx: &mut Ctx) -> Result {
    for (load, payload) in LOADS {
        let frame = frame([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], payload)?;
        let sample = ctx.sample;
        let situation = format!("memory, {load}");
        let mut contenders = [Contender::new("zcn memory link", || memory(sample, &frame))];
        let contest = ctx.alternate(&situation, &mut contenders)?;
        drop(contenders);
        ctx.report_all(contest.rows(BENCH, &situation, None))?;
    }
    // A namespace of its own, for this thread and no other.
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            if let Err(error) = enter_new_network() {
                ctx.progress(&format!(
                    "TAP and packet sockets skipped: no network namespace: {error}"
                ));
                return Ok(());
            }
            tap(ctx)?;
            packet(ctx)
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A datagram, or a super-frame of datagrams if it is longer than one, with its checksum
/// left to the link.
fn frame(src: [u8; 6], dst: [u8; 6], payload: usize) -> Result<Frame> {
    let udp = UdpRepr {
        src_port: 40_404,
        dst_port: 50_505,
        payload_len: payload,
    };
    let ip = Ipv4Repr::new(OURS, KERNEL, Protocol::UDP, udp.buffer_len());
    let ethernet = EthernetRepr {
        dst: EthernetAddress(dst),
        src: EthernetAddress(src),
        ethertype: EtherType::IPV4,
        vlan: None,
    };
    let mut bytes = vec![0; 42 + payload];
    ethernet.emit(&mut bytes)?;
    ip.emit(&mut bytes[14..])?;
    udp.emit(&mut bytes[34..])?;
    let sum = ip.pseudo_header().partial(udp.buffer_len());
    bytes[40..42].copy_from_slice(&sum.to_be_bytes());
    let mut frame = Frame::default();
    frame.head.extend_from_slice(&bytes[..42])?;
    frame.push(Bytes::from(bytes.split_off(42)).into())?;
    frame.meta.checksum = Checksum::Partial {
        start: 34,
        offset: 6,
    };
    frame.meta.gso = (payload > SIZE).then_some(Gso {
        kind: GsoKind::UdpL4,
        size: SIZE as u16,
        hdr_len: 42,
        ecn: false,
    });
    Ok(frame)
}

/// Runs `turn`, which answers how many frames went through, for a while.
fn measure(
    sample: Duration,
    frame_len: usize,
    mut turn: impl FnMut() -> Result<usize>,
) -> Result<Vec<Figure>> {
    let clock = CpuClock::of_this_thread();
    let (start, cpu) = (Instant::now(), clock.read()?);
    let mut frames = 0;
    while start.elapsed() < sample {
        frames += turn()?;
    }
    let seconds = (clock.read()? - cpu).as_secs_f64();
    let per_second = frames as f64 / seconds;
    Ok(vec![
        Figure::new("frames", per_second / 1e6, "M/core-s"),
        Figure::new(
            "bytes",
            per_second * frame_len as f64 * 8.0 / 1e9,
            "Gbit/core-s",
        ),
    ])
}

fn memory(sample: Duration, frame: &Frame) -> Result<Vec<Figure>> {
    let capabilities = memory_capabilities(
        Medium::Ethernet {
            address: [2, 0, 0, 0, 0, 1],
        },
        1500,
    );
    let (mut one, mut other) = MemoryLink::pair(capabilities, capabilities, BATCH)?;
    let (mut sent, mut received) = (VecDeque::new(), Vec::new());
    measure(sample, frame.len(), || {
        sent.extend((0..BATCH).map(|_| frame.clone()));
        one.transmit(&mut sent)?;
        let count = other.receive(&mut received, BATCH)?;
        received.clear();
        Ok(count)
    })
}

/// The bytes that a plain loop writes: a virtio-net header of `header` bytes, and the frame.
fn plain_bytes(frame: &Frame, header: usize) -> Vec<u8> {
    let mut bytes = vec![0; header];
    // Needs a checksum; the kind of UDP super-frames.
    bytes[0] = 1;
    if let Some(gso) = frame.meta.gso {
        bytes[1] = 5;
        bytes[2..4].copy_from_slice(&gso.hdr_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&gso.size.to_ne_bytes());
    }
    bytes[6..8].copy_from_slice(&34u16.to_ne_bytes());
    bytes[8..10].copy_from_slice(&6u16.to_ne_bytes());
    bytes.extend(frame.to_vec());
    bytes
}

fn write_plain(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<()> {
    loop {
        match rustix::io::write(fd, bytes) {
            Ok(_) => return Ok(()),
            Err(Errno::AGAIN | Errno::NOBUFS) => thread::yield_now(),
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
}

/// To a socket of the kernel's that nobody reads: what does not fit is dropped there.
fn tap(ctx: &mut Ctx) -> Result {
    let mut tap = match Tun::tap("zcnbench").open() {
        Ok(mut queues) => queues.remove(0),
        Err(error) => {
            ctx.progress(&format!("TAP skipped: {error}"));
            return Ok(());
        }
    };
    let Medium::Ethernet { address } = tap.capabilities().medium else {
        return Err(Error::from("a TAP device without Ethernet"));
    };
    let interface = Interface::open(tap.name())?;
    interface.add_address(KERNEL.into(), 24)?;
    let kernel = interface.hardware_address()?;
    let _sink = UdpSocket::bind((KERNEL, 50_505))?;
    for (load, payload) in LOADS {
        let frame = frame(address, kernel, payload)?;
        if frame.meta.gso.is_some() && !tap.capabilities().gso.udp_l4 {
            ctx.progress("TAP: super-frames of UDP skipped: the kernel has them from 6.2 on");
            continue;
        }
        let sample = ctx.sample;
        let plain = plain_bytes(&frame, 12);
        let situation = format!("TAP to the kernel, {load}");
        let tap = std::cell::RefCell::new(&mut tap);
        let mut sent = VecDeque::new();
        let mut contenders = [
            Contender::new("zcn TAP", || {
                measure(sample, frame.len(), || {
                    sent.extend((0..BATCH).map(|_| frame.clone()));
                    Ok(tap.borrow_mut().transmit(&mut sent)?)
                })
            }),
            Contender::new("plain write loop", || {
                let tap = tap.borrow();
                measure(sample, frame.len(), || {
                    for _ in 0..BATCH {
                        write_plain(tap.readiness(), &plain)?;
                    }
                    Ok(BATCH)
                })
            }),
        ];
        let contest = ctx.alternate(&situation, &mut contenders)?;
        drop(contenders);
        ctx.report_all(contest.rows(BENCH, &situation, Some("plain write loop")))?;
    }
    Ok(())
}

/// From one end of a veth to the other.
fn packet(ctx: &mut Ctx) -> Result {
    let made = Command::new("ip")
        .args([
            "link", "add", "zcnb0", "type", "veth", "peer", "name", "zcnb1",
        ])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        ctx.progress("packet sockets skipped: no veth, or no iproute2 to make one");
        return Ok(());
    }
    for name in ["zcnb0", "zcnb1"] {
        Interface::open(name)?.set_up(true)?;
    }
    let mut sender = PacketSocket::builder("zcnb0").open()?.remove(0);
    for (load, payload) in LOADS {
        let frame = frame([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], payload)?;
        if frame.meta.gso.is_some() && !sender.capabilities().gso.udp_l4 {
            ctx.progress("packet sockets: super-frames of UDP skipped: they need Linux 6.2");
            continue;
        }
        let sample = ctx.sample;
        let plain = plain_bytes(&frame, 10);
        let situation = format!("packet sockets over a veth, {load}");
        let sender = std::cell::RefCell::new(&mut sender);
        let exchange = |reception| {
            let mut receiver = PacketSocket::builder("zcnb1")
                .reception(reception)
                .open()?
                .remove(0);
            let (mut sent, mut received) = (VecDeque::new(), Vec::new());
            measure(sample, frame.len(), || {
                sent.extend((0..BATCH).map(|_| frame.clone()));
                sender.borrow_mut().transmit(&mut sent)?;
                let count = receiver.receive(&mut received, 2 * BATCH)?;
                received.clear();
                Ok(count)
            })
        };
        let mut contenders = [
            Contender::new("zcn send, V2 ring", || exchange(Reception::Ring)),
            Contender::new("zcn send, plain receive", || exchange(Reception::Plain)),
            Contender::new("plain write and recv loop", || {
                let receiver = PacketSocket::builder("zcnb1")
                    .reception(Reception::Plain)
                    .open()?
                    .remove(0);
                let sender = sender.borrow();
                let mut buffer = vec![0; 70_000];
                measure(sample, frame.len(), || {
                    for _ in 0..BATCH {
                        write_plain(sender.readiness(), &plain)?;
                    }
                    let mut count = 0;
                    let fd = receiver.readiness();
                    while rustix::net::recv(fd, &mut buffer[..], RecvFlags::DONTWAIT).is_ok() {
                        count += 1;
                    }
                    Ok(count)
                })
            }),
        ];
        let contest = ctx.alternate(&situation, &mut contenders)?;
        drop(contenders);
        ctx.report_all(contest.rows(BENCH, &situation, Some("plain write and recv loop")))?;
    }
    Ok(())
}
