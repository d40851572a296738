//! One fault each, and what has to come of it.

use std::time::Duration;

use zcn_frame::{Capabilities, Medium};
use zcn_link::{Impairments, Rate};
use zcn_sim::app::{Client, ClientPlan, Ending, Ledger, Pause, Plan, Role, Server};
use zcn_sim::{Direction, Ended, LinkId, NodeConfig, NodeId, Simulation};
use zcn_stack::InterfaceConfig;
use zcn_stack::tcp::{SocketOptions, TcpError};

const CLIENT: NodeId = NodeId(0);
const SERVER: NodeId = NodeId(1);

/// Two nodes and the link between them; the server does `answer`, the client `ask`, on so
/// many connections.
fn pair(
    seed: u64,
    path: &Impairments,
    nodes: [NodeConfig; 2],
    plans: (Plan, Plan),
    connections: u64,
) -> (Simulation, LinkId, Ledger) {
    let mut sim = Simulation::new(seed);
    let mut ends = Vec::new();
    for (host, config) in (1..).zip(nodes) {
        let node = sim.add_node(config).expect("memory");
        let address = format!("10.0.0.{host}/24").parse().expect("an address");
        let medium = Medium::Ethernet {
            address: [2, 0, 0, 0, 0, host],
        };
        let config = InterfaceConfig::new(Capabilities::plain(medium, 1_500), &[address]);
        ends.push(sim.add_interface(node, config).expect("possible"));
    }
    let link = sim.link([ends[0], ends[1]], [path.clone(), path.clone()]);
    let ledger = Ledger::default();
    let address = "10.0.0.2:7".parse().expect("an address");
    let mut options = SocketOptions::default();
    options.keepalive = true;
    options.keepalive_idle = Duration::from_secs(60);
    let (ask, answer) = plans;
    sim.run_on(
        SERVER,
        Server::new(address, 8, answer, options.clone(), &ledger),
    );
    let plan = ClientPlan {
        remote: address,
        local: None,
        plan: ask,
        connections,
        attempts: 20,
        parallel: 1,
        start: Duration::ZERO,
        options,
    };
    sim.run_on(CLIENT, Client::new(plan, &ledger));
    (sim, link, ledger)
}

fn path() -> Impairments {
    Impairments {
        delay: Duration::from_millis(10),
        ..Impairments::default()
    }
}

/// Runs to the end, and sees that everything is given back.
fn finish(sim: &mut Simulation, limit: u64) {
    let ended = sim.run(Duration::from_secs(limit));
    let violations = sim.violations().to_vec();
    assert_eq!(ended, Ended::Done, "{violations:?} {}", sim.unfinished());
    sim.stop();
    sim.run_until(sim.now() + Duration::from_secs(1_200));
    assert!(sim.violations().is_empty(), "{:?}", sim.violations());
    for node in sim.nodes() {
        assert_eq!(sim.stack(node).tcp_table_sizes(), (0, 0, 0));
        assert_eq!(sim.buffers_in_use(node), 0);
    }
}

fn upload(bytes: u64) -> (Plan, Plan) {
    (Plan::new(Role::Bulk(bytes)), Plan::new(Role::Bulk(0)))
}

#[test]
fn a_partition_that_heals_costs_time_and_nothing_else() {
    for direction in [Direction::Both, Direction::Forth, Direction::Back] {
        let nodes = Default::default();
        let (mut sim, link, ledger) = pair(1, &path(), nodes, upload(500_000), 1);
        sim.at(Duration::from_millis(60), move |sim| {
            sim.cut(link, direction);
        });
        sim.at(Duration::from_secs(20), move |sim| sim.heal(link));
        finish(&mut sim, 120);
        assert_eq!(ledger.delivered(), 500_000);
        assert_eq!(ledger.failures(), []);
    }
}

#[test]
fn a_peer_that_restarts_resets_the_connection() {
    let plans = (Plan::new(Role::Bulk(2_000_000)), Plan::new(Role::Echo));
    let (mut sim, _, ledger) = pair(2, &path(), Default::default(), plans, 1);
    sim.at(Duration::from_millis(100), |sim| sim.restart(SERVER));
    finish(&mut sim, 120);
    let failures = ledger.failures();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].error, TcpError::Reset);
}

#[test]
fn a_clock_that_jumps_breaks_nothing() {
    let (mut sim, _, ledger) = pair(3, &path(), Default::default(), upload(500_000), 1);
    for node in [CLIENT, SERVER] {
        sim.at(Duration::from_millis(70), move |sim| {
            sim.jump_clock(node, Duration::from_secs(30));
        });
    }
    finish(&mut sim, 300);
    assert_eq!(ledger.delivered(), 500_000);
}

#[test]
fn without_buffers_a_sender_waits() {
    let (mut sim, _, ledger) = pair(4, &path(), Default::default(), upload(500_000), 1);
    sim.at(Duration::from_millis(30), |sim| sim.exhaust_buffers(CLIENT));
    sim.at(Duration::from_secs(5), |sim| sim.return_buffers(CLIENT));
    finish(&mut sim, 60);
    assert!(sim.now() > Duration::from_secs(5));
    assert_eq!(ledger.delivered(), 500_000);
}

#[test]
fn a_pool_of_four_buffers_is_enough() {
    let mut nodes: [NodeConfig; 2] = Default::default();
    nodes[0].buffers = 4;
    let (mut sim, _, ledger) = pair(5, &path(), nodes, upload(200_000), 1);
    finish(&mut sim, 120);
    assert_eq!(ledger.delivered(), 200_000);
}

#[test]
fn a_reader_that_sleeps_closes_the_window_and_gets_everything() {
    let mut plans = upload(400_000);
    plans.1.pause = Some(Pause {
        every: 50_000,
        rest: Duration::from_secs(40),
    });
    let mut nodes: [NodeConfig; 2] = Default::default();
    nodes[1].stack.tcp.receive_buffer = 20_000;
    nodes[1].stack.tcp.receive_buffer_max = 20_000;
    let (mut sim, _, ledger) = pair(6, &path(), nodes, plans, 1);
    finish(&mut sim, 900);
    assert_eq!(ledger.delivered(), 400_000);
    assert!(sim.stack(CLIENT).stats().tcp.win_probes > 0);
}

#[test]
fn the_loss_of_any_one_frame_costs_time_and_nothing_else() {
    for side in 0..2 {
        for skip in 0..14 {
            let plans = (Plan::new(Role::Bulk(6_000)), Plan::new(Role::Echo));
            let (mut sim, link, ledger) = pair(7, &path(), Default::default(), plans, 1);
            sim.lose(link, side, skip);
            finish(&mut sim, 60);
            assert_eq!(ledger.delivered(), 12_000, "side {side}, frame {skip}");
            assert_eq!(ledger.failures(), []);
        }
    }
}

#[test]
fn an_abort_is_a_reset_for_the_peer() {
    let mut plans = (Plan::new(Role::Bulk(1_000_000)), Plan::new(Role::Echo));
    plans.1.ending = Ending::Abort(100_000);
    let (mut sim, _, ledger) = pair(8, &path(), Default::default(), plans, 1);
    finish(&mut sim, 60);
    let failures = ledger.failures();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].error, TcpError::Reset);
}

#[test]
fn a_hundred_short_connections_leave_nothing() {
    let plans = (Plan::new(Role::Bulk(100)), Plan::new(Role::Echo));
    let lossy = Impairments {
        loss: 0.05,
        duplicate: 0.05,
        ..path()
    };
    let (mut sim, _, ledger) = pair(9, &lossy, Default::default(), plans, 100);
    finish(&mut sim, 900);
    assert_eq!(ledger.delivered(), 20_000);
}

#[test]
fn a_good_bottleneck_is_used() {
    let rate = Rate {
        bits_per_second: 10_000_000,
        queue_bytes: 60_000,
    };
    let narrow = Impairments {
        rate: Some(rate),
        ..path()
    };
    let (mut sim, _, ledger) = pair(10, &narrow, Default::default(), upload(5_000_000), 1);
    assert_eq!(sim.run(Duration::from_secs(60)), Ended::Done);
    assert_eq!(ledger.delivered(), 5_000_000);
    // 4.0 s of data, 1538 bytes of frame for 1448 of them. Virtual time, so it is exact.
    assert!(sim.now() < Duration::from_millis(5_500), "{:?}", sim.now());
}
