//! More connections than one address has ports, in one stack: several local addresses, one server.
//!
//! Opens connections between two stacks in this process, from address to address as their ports
//! run out; then ends one and opens one, over and over, with every port of the first address
//! taken. Prints what a connection takes in time, both ends, and in memory.
//!
//! `cargo run --release -p zcn-stack --example many_connections -- [CONNECTIONS [ADDRESSES]]`

use std::error::Error;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use zcn_frame::{Capabilities, Frame, Medium};
use zcn_pool::BufferPool;
use zcn_stack::slab::Id;
use zcn_stack::tcp::{ConnectError, SocketOptions};
use zcn_stack::{Instant, InterfaceConfig, InterfaceId, Stack, StackConfig};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 80);
/// All that are not reserved: 64,512 for each address.
const PORTS: (u16, u16) = (1_024, u16::MAX);
/// Connects between two exchanges of frames.
const BATCH: usize = 256;
/// Connections ended and opened where all ports are taken.
const ROUNDS: usize = 10_000;

/// Two stacks and the frames between them.
struct Net {
    stacks: [Stack; 2],
    link: InterfaceId,
    now: Instant,
    frames: Vec<Frame>,
}

impl Net {
    fn new(addresses: u8) -> Result<Self> {
        let mut config = StackConfig::default();
        config.tcp.ports = PORTS;
        let pool = BufferPool::builder()
            .buffer_size(4_096)
            .count(256)
            .build()?;
        let now = Instant::from_secs(1);
        let stack = |seed: u8, addresses: &[_]| -> Result<(Stack, InterfaceId)> {
            let mut stack = Stack::new(config.clone(), pool.local(), &[seed; 32], now);
            let link = Capabilities::plain(Medium::Ip, 1_500);
            let link = stack.add_interface(now, &InterfaceConfig::new(link, addresses))?;
            Ok((stack, link))
        };
        let own: std::result::Result<Vec<_>, _> = (0..addresses)
            .map(|n| local(n).to_string() + "/16")
            .map(|text| text.parse())
            .collect();
        let (client, link) = stack(1, &own?)?;
        let (server, _) = stack(2, &["10.0.0.1/16".parse()?])?;
        Ok(Self {
            stacks: [client, server],
            link,
            now,
            frames: Vec::new(),
        })
    }

    /// Carries frames until none is left.
    fn run(&mut self) {
        self.now += Duration::from_millis(1);
        let mut quiet = 0;
        while quiet < 2 {
            for from in 0..2 {
                let (now, link) = (self.now, self.link);
                self.stacks[from].handle_timeout(now);
                self.stacks[from].poll_frames(now, link, &mut self.frames, 1_024);
                quiet = if self.frames.is_empty() { quiet + 1 } else { 0 };
                self.stacks[1 - from].handle_frames(now, link, &mut self.frames);
                while self.stacks[from].poll_event().is_some() {}
            }
        }
    }

    fn connect(&mut self, from: IpAddr) -> std::result::Result<Id, ConnectError> {
        let local = SocketAddr::new(from, 0);
        let options = SocketOptions::default();
        self.stacks[0].tcp_connect(self.now, SERVER, Some(local), options)
    }
}

/// The client's addresses.
fn local(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 1, number + 1).into()
}

/// Memory of this process, in bytes.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib
        .ok_or("no VmRSS in /proc/self/status")?
        .parse::<usize>()?
        << 10)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let wanted: usize = arguments.next().map_or(Ok(65_000), |text| text.parse())?;
    let addresses: u8 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let mut out = io::stdout().lock();
    let mut net = Net::new(addresses)?;
    let options = SocketOptions::default();
    let listener = net.stacks[1].tcp_listen(SERVER, 2 * BATCH, options)?;
    net.run();
    let before = resident()?;

    let (mut address, mut full) = (0, 0);
    let mut open: Vec<Id> = Vec::with_capacity(wanted);
    let mut begun = std::time::Instant::now();
    let mut shown = 0;
    while open.len() < wanted {
        for _ in 0..BATCH.min(wanted - open.len()) {
            match net.connect(local(address)) {
                Ok(id) => open.push(id),
                Err(ConnectError::NoPort) => {
                    writeln!(
                        out,
                        "{}: every port taken by {}",
                        local(address),
                        open.len() - full
                    )?;
                    full = open.len();
                    address += 1;
                    if address == addresses {
                        return Err(format!("no port is left after {} connections", full).into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        net.run();
        while net.stacks[1].tcp_accept(net.now, listener).is_ok() {}
        if open.len() - shown >= wanted / 8 || open.len() == wanted {
            let each = begun.elapsed() / (open.len() - shown).max(1) as u32;
            writeln!(
                out,
                "{:7} open, {:.2} us each",
                open.len(),
                each.as_secs_f64() * 1e6
            )?;
            shown = open.len();
            begun = std::time::Instant::now();
        }
    }
    let counted = net
        .stacks
        .each_ref()
        .map(|stack| stack.stats().tcp.curr_estab);
    writeln!(out, "{} and {} established", counted[0], counted[1])?;
    let memory = resident()?.saturating_sub(before);
    writeln!(
        out,
        "{} bytes of memory for each connection, both ends",
        memory / wanted
    )?;
    if address == 0 {
        return Ok(());
    }

    // Every port of the first address is taken: one ends, one begins.
    let taken = usize::from(PORTS.1 - PORTS.0) + 1;
    let mut longest = Duration::ZERO;
    let mut sum = Duration::ZERO;
    for round in 0..ROUNDS {
        let victim = round * 7_919 % taken;
        net.stacks[0].tcp_abort(net.now, open[victim])?;
        net.run();
        let begun = std::time::Instant::now();
        open[victim] = net.connect(local(0))?;
        let took = begun.elapsed();
        (longest, sum) = (longest.max(took), sum + took);
        net.run();
        while net.stacks[1].tcp_accept(net.now, listener).is_ok() {}
    }
    writeln!(
        out,
        "with one port of {taken} free: {:.2} us for a connect on average, {:.0} us the longest",
        sum.as_secs_f64() * 1e6 / ROUNDS as f64,
        longest.as_secs_f64() * 1e6,
    )?;
    Ok(())
}
