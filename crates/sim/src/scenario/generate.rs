//! Draws a scenario.

use std::time::Duration;

use zcn_link::{BurstLoss, Impairments, Rate};
use zcn_stack::tcp::congestion::Algorithm;
use zcn_stack::tcp::{AccEcnOption, Ecn, PushAck, SocketOptions, SynCookies};
use zcn_stack::{Instant, StackConfig};

use super::{Fault, Scenario, Traffic, Wrap};
use crate::app::{Ending, Pause, Plan, Role};
use crate::link::Direction;
use crate::node::NodeConfig;
use crate::random::Dice;

/// How long after the network has healed everything may take that waited: the longest
/// wait between two retransmissions is two minutes, and some more may be lost.
const GRACE: Duration = Duration::from_secs(1_800);
/// Bytes that headers and options take of the MTU, and options of the largest segment: more or less.
const HEADERS: u32 = 60;

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        Self::draw(seed, true)
    }

    /// The scenario of a seed without what was added to scenarios after the first hundreds of
    /// thousands had been run: ECN with marks, accurate ECN, urgent data, fast open. A seed that
    /// was told of before has the fates here that it had then.
    pub fn without_later_additions(seed: u64) -> Self {
        Self::draw(seed, false)
    }

    fn draw(seed: u64, additions: bool) -> Self {
        let mut dice = Dice::new(seed, "scenario");
        let count = if dice.percent(75) {
            2
        } else {
            dice.between(3, 5) as usize
        };
        let bare_ip = count == 2 && dice.percent(20);
        let ipv6 = dice.percent(40);
        let mtu = dice.pick(if ipv6 {
            &[1_280, 1_500, 1_500, 9_000]
        } else {
            &[576, 1_280, 1_500, 1_500, 9_000]
        });
        let offload = dice.percent(40);
        let mut nodes: Vec<NodeConfig> = (0..count).map(|_| node(&mut dice)).collect();
        let links = if count == 2 { 1 } else { count };
        let calm = dice.percent(15);
        if calm {
            // Who finds the table of half-open connections full comes again much later.
            for node in &mut nodes {
                node.stack.tcp.half_open = 4_096;
            }
        }
        let mut paths: Vec<[Impairments; 2]> = (0..links).map(|_| path(&mut dice, calm)).collect();
        if links > 1 {
            // Two flipped bits can hide from a checksum: a frame is damaged once at most.
            for [_, back] in &mut paths {
                back.corrupt = 0.0;
            }
        }
        let mut traffic: Vec<Traffic> = (0..dice.between(1, 3))
            .map(|_| traffic(&mut dice, count))
            .collect();
        let (faults, fails) = if calm {
            (Vec::new(), false)
        } else {
            faults(&mut dice, count, links)
        };
        let wrap = match dice.between(1, 10) {
            1 | 2 => Some(Wrap::Sequence(dice.between(0, 20_000) as u32)),
            3 => Some(Wrap::Timestamp(dice.between(1, 3_000) as u32)),
            _ => None,
        };
        let healed = faults.iter().map(|fault| fault.0).max().unwrap_or_default();
        // A segment that comes late can open a connection again that nobody else has.
        let reopens = nodes
            .iter()
            .any(|node| node.stack.tcp.syn_cookies == SynCookies::Always);
        let reopens = reopens && !calm;
        let mut options = options(&mut dice);
        // Of dice of their own, so that the seeds keep their other fates.
        let mut more = Dice::new(seed, "later additions");
        let mut fast = false;
        if additions {
            fast = draw_later_additions(&mut more, &mut nodes, &mut paths, &mut traffic);
            draw_accurate_ecn(&mut Dice::new(seed, "accurate ECN"), &mut nodes);
        }
        // The data of a SYN may come twice, as may the connection.
        let reopens = reopens || fast && !calm;
        if fast {
            options.fast_open = Some(more.between(1, 4) as u32);
            options.fast_open_connect = true;
        }
        let lossy = paths.iter().flatten().any(loses_for_long);
        let aborted = traffic.iter().any(aborts);
        if !faults.is_empty() || lossy || aborted {
            // Half of a connection whose other half has given up ends by this only.
            options.keepalive = true;
            options.keepalive_idle = Duration::from_secs(120);
            options.keepalive_interval = Duration::from_secs(20);
        }
        let mut scenario = Self {
            seed,
            nodes,
            bare_ip,
            ipv6,
            mtu,
            offload,
            paths,
            options,
            may_fail: fails || lossy || reopens || aborted,
            traffic,
            faults,
            wrap,
            healed,
            deadline: Duration::ZERO,
        };
        scenario.deadline = if calm {
            scenario.calm_deadline()
        } else {
            healed + GRACE + scenario.work() * 20
        };
        scenario
    }

    /// How long the traffic takes by itself: rests of readers, and the slowest link.
    fn work(&self) -> Duration {
        let directions = || self.paths.iter().flatten();
        let rate = directions()
            .filter_map(|path| path.rate)
            .map(|rate| rate.bits_per_second)
            .min();
        let round_trip = directions().map(|path| path.delay + path.jitter).max();
        let round_trip = round_trip.unwrap_or_default() * 4;
        let mut work = Duration::from_secs(2);
        for traffic in &self.traffic {
            let start = traffic.start;
            let (asked, answered, turns) = bytes(traffic);
            let mut once = round_trip * (turns as u32 + 6);
            if let Some(rate) = rate {
                // Headers of small segments, and acknowledgments, take their part.
                once +=
                    Duration::from_secs_f64((asked + answered + 2_000) as f64 * 12.0 / rate as f64);
            }
            for (plan, bytes) in [(traffic.ask, answered), (traffic.answer, asked)] {
                if let Some(pause) = plan.pause {
                    once += pause.rest * (bytes / pause.every.max(1) + 1) as u32;
                }
            }
            if let Some(window) = self.options.receive_buffer {
                // Half a window at a time, if the reader is slow to tell that there is room.
                once += round_trip / 2 * ((asked + answered) as u32 / (window / 2).max(1));
            }
            if let Some(window) = self.marked_window() {
                let most = self.options.max_segment.map_or(self.mtu, u32::from);
                let segments = (asked + answered) as f64 / f64::from(most.min(self.mtu) - HEADERS);
                once += (round_trip / 2).mul_f64(segments / window);
            }
            work += start + once * traffic.connections as u32;
        }
        work
    }

    /// The segments that marks leave for each round trip (RFC 3168 answers them as losses): the
    /// square root of 1.5 over their share of the packets, those of both links together.
    fn marked_window(&self) -> Option<f64> {
        let most = |way: usize| {
            let marks = self.paths.iter().map(|path| path[way].mark);
            marks.fold(0.0, f64::max)
        };
        let share = most(0) + most(1);
        (share > 0.0).then(|| (1.5 / share).sqrt())
    }

    /// By when everything is over on a good network: a few times what it has to take.
    fn calm_deadline(&self) -> Duration {
        self.work() * 3 + Duration::from_secs(3)
    }
}

/// Congestion marks, urgent data and fast open; answers whether there is the last.
fn draw_later_additions(
    dice: &mut Dice,
    nodes: &mut [NodeConfig],
    paths: &mut [[Impairments; 2]],
    traffic: &mut [Traffic],
) -> bool {
    for node in nodes {
        node.stack.tcp.ecn = dice.pick(&[Ecn::Accept, Ecn::Offer, Ecn::Offer, Ecn::Never]);
    }
    for path in paths.iter_mut().flatten() {
        if dice.percent(40) {
            path.mark = dice.between(1, 200) as f64 / 1_000.0;
        }
    }
    for traffic in traffic {
        for plan in [&mut traffic.ask, &mut traffic.answer] {
            plan.urgent = dice.percent(8);
        }
    }
    dice.percent(15)
}

/// Accurate ECN for some of the hosts, whatever the others have.
fn draw_accurate_ecn(dice: &mut Dice, nodes: &mut [NodeConfig]) {
    for node in nodes {
        let tcp = &mut node.stack.tcp;
        if dice.percent(60) {
            tcp.ecn = dice.pick(&[Ecn::Accurate, Ecn::Accurate, Ecn::AcceptAccurate]);
        }
        tcp.acc_ecn_option = dice.pick(&[
            AccEcnOption::Always,
            AccEcnOption::Always,
            AccEcnOption::Sparingly,
            AccEcnOption::Never,
        ]);
        tcp.acc_ecn_beacon = dice.between(0, 3) as u8;
    }
}

/// Bytes from the client, bytes from the server, and turns on one connection.
fn bytes(traffic: &Traffic) -> (u64, u64, u64) {
    let (asked, turns) = match traffic.ask.role {
        Role::Bulk(bytes) | Role::AfterEnd(bytes) => (bytes, 2),
        Role::Ask {
            rounds, request, ..
        } => (rounds * request, rounds),
        Role::Echo | Role::Answer { .. } => (0, 2),
    };
    let answered = match traffic.answer.role {
        Role::Bulk(bytes) | Role::AfterEnd(bytes) => bytes,
        Role::Echo => asked,
        Role::Answer { request, answer } => asked / request.max(1) * answer,
        Role::Ask { .. } => 0,
    };
    (asked, answered, turns)
}

/// Whether a burst of losses may outlast all retransmissions: it ends by packets, not by time.
fn loses_for_long(path: &Impairments) -> bool {
    path.burst
        .as_ref()
        .is_some_and(|burst| (1.0 - burst.leave) * burst.loss_bad > 0.5)
}

fn aborts(traffic: &Traffic) -> bool {
    [traffic.ask, traffic.answer]
        .iter()
        .any(|plan| matches!(plan.ending, Ending::Abort(_)))
}

fn node(dice: &mut Dice) -> NodeConfig {
    let mut stack = StackConfig::default();
    stack.dad_transmits = u8::from(dice.percent(10));
    stack.coalesce = dice.percent(80);
    let tcp = &mut stack.tcp;
    // After a cut the wait between two retransmissions can be a minute; who has closed
    // would not send three of them, and the peer would wait for the rest in vain.
    tcp.orphan_retries = 15;
    tcp.sack = dice.percent(85);
    tcp.timestamps = dice.percent(80);
    tcp.window_scaling = dice.percent(85);
    tcp.quick_ack = dice.percent(80);
    tcp.push_ack = dice.pick(&[PushAck::AtOnce, PushAck::UnlessInteractive]);
    tcp.syn_cookies = match dice.between(1, 10) {
        1 => SynCookies::Always,
        2 => SynCookies::Never,
        _ => SynCookies::WhenFull,
    };
    if dice.percent(15) {
        tcp.half_open = dice.between(1, 2) as usize;
    }
    if dice.percent(40) {
        tcp.receive_buffer = dice.scale(4_096, 65_536) as u32;
        tcp.receive_buffer_max = tcp.receive_buffer * dice.between(1, 8) as u32;
    }
    if dice.percent(25) {
        tcp.send_buffer = dice.scale(8_192, 131_072) as u32;
        tcp.send_buffer_max = tcp.send_buffer * dice.between(1, 8) as u32;
    }
    if dice.percent(10) {
        tcp.out_of_order_slices = dice.between(1, 20) as usize;
    }
    if dice.percent(10) {
        tcp.time_waits = dice.between(1, 4) as usize;
    }
    NodeConfig {
        stack,
        buffers: if dice.percent(10) {
            dice.between(4, 16) as usize
        } else {
            1_024
        },
        epoch: Instant::from_millis(dice.between(1_000, 1 << 40)),
        copy_received: dice.percent(60),
    }
}

/// Both directions of a path; a calm one loses nothing.
fn path(dice: &mut Dice, calm: bool) -> [Impairments; 2] {
    let delay = match dice.between(1, 5) {
        1 => Duration::ZERO,
        2 | 3 => dice.millis(0, 5),
        4 => dice.millis(5, 50),
        _ => dice.millis(50, 300),
    };
    let rate = dice.percent(30).then(|| Rate {
        bits_per_second: dice.scale(500_000, 100_000_000),
        queue_bytes: dice.scale(30_000, 300_000),
    });
    let forth = direction(dice, calm, delay, rate);
    let back = direction(dice, calm, delay, rate);
    [forth, back]
}

fn direction(dice: &mut Dice, calm: bool, delay: Duration, rate: Option<Rate>) -> Impairments {
    let mut path = Impairments {
        delay,
        rate,
        jitter: if dice.percent(30) {
            dice.millis(0, 10)
        } else {
            Duration::ZERO
        },
        keep_super_frames: dice.percent(20),
        ..Impairments::default()
    };
    if calm {
        return path;
    }
    let share = |dice: &mut Dice, most: u64| dice.between(1, most) as f64 / 1_000.0;
    if dice.percent(50) {
        path.loss = share(dice, 80);
    }
    if dice.percent(20) {
        path.burst = Some(BurstLoss {
            enter: share(dice, 10),
            leave: share(dice, 500) + 0.1,
            loss_bad: share(dice, 900),
            loss_good: 0.0,
        });
    }
    if dice.percent(30) {
        path.duplicate = share(dice, 100);
    }
    if dice.percent(25) {
        path.corrupt = share(dice, 40);
        // Whoever cuts a damaged super-frame later gives its packets right checksums.
        path.keep_super_frames = false;
    }
    if dice.percent(40) {
        path.reorder = share(dice, 200);
        path.reorder_by = dice.millis(0, 40);
    }
    path
}

fn options(dice: &mut Dice) -> SocketOptions {
    let mut options = SocketOptions::default();
    options.nodelay = dice.percent(75);
    options.congestion = dice.pick(&Algorithm::ALL);
    if dice.percent(10) {
        options.max_segment = Some(dice.between(88, 1_460) as u16);
    }
    if dice.percent(10) {
        options.receive_buffer = Some(dice.scale(2_304, 65_536) as u32);
    }
    if dice.percent(10) {
        options.send_buffer = Some(dice.scale(4_608, 65_536) as u32);
    }
    if dice.percent(5) {
        options.unsent_low_water = Some(dice.scale(1_000, 20_000) as u32);
    }
    options
}

fn traffic(dice: &mut Dice, nodes: usize) -> Traffic {
    let client = dice.between(0, nodes as u64 - 1) as usize;
    let server = (client + dice.between(1, nodes as u64 - 1) as usize) % nodes;
    let bytes = dice.scale(1, 300_000);
    let (ask, answer, connections, parallel) = match dice.between(1, 12) {
        // Up, down, both ways.
        1 | 2 => (Role::Bulk(bytes), Role::Bulk(0), 1, 1),
        3 => (Role::Bulk(0), Role::Bulk(bytes), 1, 1),
        4 => (Role::Bulk(bytes), Role::Bulk(dice.scale(1, 300_000)), 1, 1),
        5 => (Role::Bulk(bytes.min(100_000)), Role::Echo, 1, 1),
        // Half-close.
        6 => (
            Role::Bulk(bytes),
            Role::AfterEnd(dice.scale(1, 100_000)),
            1,
            1,
        ),
        7 | 8 => {
            let (request, answer) = (dice.scale(1, 4_000), dice.scale(1, 20_000));
            let rounds = dice.between(1, 20);
            let ask = Role::Ask {
                rounds,
                request,
                answer,
            };
            (ask, Role::Answer { request, answer }, dice.between(1, 3), 1)
        }
        // Many short connections.
        9 | 10 => (
            Role::Bulk(dice.scale(1, 3_000)),
            Role::Echo,
            dice.between(5, 40),
            dice.between(1, 8) as usize,
        ),
        // Connections that say nothing.
        11 => (Role::Bulk(0), Role::Bulk(0), dice.between(1, 10), 2),
        _ => (Role::Bulk(bytes), Role::Bulk(bytes), 1, 1),
    };
    let simultaneous = connections == 1 && ask == answer;
    let mut traffic = Traffic {
        client,
        server,
        ask: plan(dice, ask),
        answer: plan(dice, answer),
        connections,
        parallel,
        start: dice.millis(0, 500),
        simultaneous,
    };
    if matches!(answer, Role::Bulk(0)) && dice.percent(30) {
        traffic.ask.ending = Ending::Close;
    }
    if dice.percent(6) {
        let plan = if dice.percent(50) {
            &mut traffic.ask
        } else {
            &mut traffic.answer
        };
        plan.ending = Ending::Abort(dice.between(0, bytes));
    }
    traffic
}

fn plan(dice: &mut Dice, role: Role) -> Plan {
    Plan {
        chunk: dice.scale(1_000, 65_536) as usize,
        own_buffers: dice.percent(40),
        pause: dice.percent(15).then(|| Pause {
            every: dice.scale(1_000, 50_000),
            rest: dice.millis(1, 2_000),
        }),
        ..Plan::new(role)
    }
}

/// What goes wrong, in order, and whether it can make a connection fail.
fn faults(dice: &mut Dice, nodes: usize, links: usize) -> (Vec<(Duration, Fault)>, bool) {
    let mut faults = Vec::new();
    let mut fails = false;
    let count = if dice.percent(50) {
        0
    } else {
        dice.between(1, 3)
    };
    for _ in 0..count {
        let at = dice.millis(0, 5_000);
        let link = dice.between(0, links as u64 - 1) as usize;
        let node = dice.between(0, nodes as u64 - 1) as usize;
        match dice.between(1, 8) {
            1 | 2 => {
                // A longer one is more than a half-open connection waits.
                let until = at + dice.millis(100, 20_000);
                let which = dice.pick(&[Direction::Both, Direction::Forth, Direction::Back]);
                faults.push((at, Fault::Cut(link, which)));
                faults.push((until, Fault::Heal(link)));
            }
            3 => {
                let until = at + dice.millis(100, 10_000);
                let most = dice.between(100, 1_400) as usize;
                faults.push((at, Fault::Shrink(link, most)));
                faults.push((until, Fault::Heal(link)));
            }
            4 => {
                fails = true;
                faults.push((at, Fault::Restart(node)));
            }
            5 => {
                // What was under way seems to have taken that long: one who is retransmitting
                // can run out of time before the other has heard anything.
                fails = true;
                faults.push((at, Fault::Jump(node, dice.millis(1, 30_000))));
            }
            6 => {
                let until = at + dice.millis(10, 10_000);
                faults.push((at, Fault::Exhaust(node)));
                faults.push((until, Fault::Return(node)));
            }
            _ => {
                for _ in 0..dice.between(1, 5) {
                    let (side, skip) = (dice.between(0, 1) as usize, dice.between(0, 40));
                    faults.push((at, Fault::Lose { link, side, skip }));
                }
            }
        }
    }
    faults.sort_by_key(|fault| fault.0);
    (faults, fails)
}
