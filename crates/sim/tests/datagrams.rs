//! A protocol of one's own in the simulation: questions over UDP that are asked again until
//! they are answered, on a network that loses a third of everything. Also how a capture is
//! taken of it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use zcn_frame::{Capabilities, Medium};
use zcn_link::{CaptureOptions, Direction, Impairments, PcapngWriter};
use zcn_sim::{Application, Context, Ended, NodeConfig, Simulation};
use zcn_stack::InterfaceConfig;
use zcn_stack::demux::Binding;
use zcn_stack::event::Event;
use zcn_stack::slab::Id;

const PATIENCE: Duration = Duration::from_millis(200);

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Answers each datagram with the same bytes.
#[derive(Default)]
struct Answerer(Option<Id>);

impl Application for Answerer {
    fn start(&mut self, context: &mut Context<'_>) {
        let binding = Binding::new(address("0.0.0.0:7"));
        self.0 = Some(context.stack.udp_bind(binding).expect("a free port"));
    }

    fn handle_event(&mut self, context: &mut Context<'_>, _: Event) {
        let Some(socket) = self.0 else { return };
        while let Ok(datagram) = context.stack.udp_recv(socket) {
            let (to, bytes) = (datagram.remote, datagram.payload.to_vec());
            // Whoever asks asks again if this is lost.
            let _ = context
                .stack
                .udp_send(context.now, socket, Some(to), &bytes);
        }
    }

    fn is_done(&self) -> bool {
        true
    }

    fn stop(&mut self, context: &mut Context<'_>) {
        if let Some(socket) = self.0.take() {
            context.stack.udp_close(socket).expect("it is there");
        }
    }
}

/// Asks for the numbers from 0 on, each until it is answered.
struct Asker {
    socket: Option<Id>,
    next: u32,
    last: u32,
    ask_at: Duration,
    asked: Rc<Cell<u32>>,
}

impl Asker {
    fn ask(&mut self, context: &mut Context<'_>) {
        let Some(socket) = self.socket else { return };
        let bytes = self.next.to_be_bytes();
        let to = Some(address("10.0.0.2:7"));
        let sent = context.stack.udp_send(context.now, socket, to, &bytes);
        sent.expect("room for a few bytes");
        self.asked.set(self.asked.get() + 1);
        self.ask_at = context.time + PATIENCE;
    }
}

impl Application for Asker {
    fn start(&mut self, context: &mut Context<'_>) {
        let binding = Binding::new(address("0.0.0.0:0"));
        self.socket = Some(context.stack.udp_bind(binding).expect("a free port"));
        self.ask(context);
    }

    fn handle_event(&mut self, context: &mut Context<'_>, _: Event) {
        let Some(socket) = self.socket else { return };
        while let Ok(datagram) = context.stack.udp_recv(socket) {
            // The network may bring an answer twice, and late.
            if datagram.payload.to_vec() == self.next.to_be_bytes() {
                self.next += 1;
                if !self.is_done() {
                    self.ask(context);
                }
            }
        }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        (!self.is_done()).then_some(self.ask_at)
    }

    fn handle_timeout(&mut self, context: &mut Context<'_>) {
        if self.ask_at <= context.time {
            self.ask(context);
        }
    }

    fn is_done(&self) -> bool {
        self.next == self.last
    }

    fn stop(&mut self, context: &mut Context<'_>) {
        if let Some(socket) = self.socket.take() {
            context.stack.udp_close(socket).expect("it is there");
        }
    }
}

/// Bytes that a capture and the test see.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs it; how often was asked, the hash of the run, and the capture.
fn run(seed: u64, captured: bool) -> (u32, u64, Vec<u8>) {
    let mut sim = Simulation::new(seed);
    let mut ends = Vec::new();
    for host in 1..=2 {
        let node = sim.add_node(NodeConfig::default()).expect("memory");
        let medium = Medium::Ethernet {
            address: [2, 0, 0, 0, 0, host],
        };
        let cidr = format!("10.0.0.{host}/24").parse().expect("an address");
        let config = InterfaceConfig::new(Capabilities::plain(medium, 1_500), &[cidr]);
        ends.push(sim.add_interface(node, config).expect("sound"));
    }
    let bad = Impairments {
        loss: 0.33,
        duplicate: 0.1,
        reorder: 0.1,
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(3),
        ..Impairments::default()
    };
    sim.link([ends[0], ends[1]], [bad.clone(), bad]);
    let file = Shared::default();
    if captured {
        let medium = Medium::Ethernet { address: [0; 6] };
        let options = CaptureOptions::default();
        let mut writer =
            PcapngWriter::new(file.clone(), medium, "sim", "", options).expect("memory");
        sim.watch(Box::new(move |time, node, _, frame| {
            let comment = format!("node {}", node.0);
            let written = writer.write(time, Direction::Outbound, frame, Some(&comment));
            written.expect("memory");
        }));
    }
    let asked = Rc::new(Cell::new(0));
    let nodes: Vec<_> = sim.nodes().collect();
    sim.run_on(nodes[1], Answerer::default());
    let asker = Asker {
        socket: None,
        next: 0,
        last: 100,
        ask_at: Duration::ZERO,
        asked: asked.clone(),
    };
    sim.run_on(nodes[0], asker);
    assert_eq!(
        sim.run(Duration::from_secs(300)),
        Ended::Done,
        "seed {seed}"
    );
    assert!(sim.violations().is_empty());
    sim.stop();
    sim.run_until(sim.now() + Duration::from_secs(1));
    for &node in &nodes {
        assert_eq!(sim.buffers_in_use(node), 0);
    }
    let bytes = file.0.borrow().clone();
    (asked.get(), sim.hash(), bytes)
}

#[test]
fn a_protocol_over_datagrams_gets_through_a_bad_network() {
    for seed in 0..20 {
        let (asked, hash, _) = run(seed, false);
        // More than half of the questions or their answers are lost.
        assert!(asked > 120, "seed {seed}: only {asked}");
        assert_eq!(run(seed, false), (asked, hash, Vec::new()), "seed {seed}");
    }
}

#[test]
fn a_capture_changes_nothing_and_holds_every_frame() {
    let (asked, hash, none) = run(3, false);
    let (again, same, file) = run(3, true);
    assert_eq!((asked, hash), (again, same));
    assert!(none.is_empty());
    assert_eq!(file[..4], 0x0a0d_0d0a_u32.to_ne_bytes());
    // Ethernet, IPv4, UDP and four bytes, padded or not: each question is in it.
    assert!(file.len() > again as usize * (14 + 20 + 8 + 4));
}
