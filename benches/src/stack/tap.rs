//! The user-space TCP/IP on a TAP device against the kernel's sockets, beside the kernel
//! against itself on a veth between two network namespaces.
//!
//! The load is the same for both, a kernel socket on a core of its own; the peer is on
//! another core. Both links have an MTU of 1500 and take super-frames.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::thread::gettid;
use zcn_link::{Driver, Interface, Tun};
use zcn_measure::core::{Cores, pin};
use zcn_stack::event::{Event, Readiness};
use zcn_stack::slab::Id;
use zcn_stack::tcp::SocketOptions;
use zcn_stack::{SocketId, StackConfig};
use zcn_sys::namespace::enter_new_network;

use super::end::End;
use super::kernel::{self, ANSWER, REQUEST, Service};
use super::{CHUNK, report};
use crate::harness::{Contender, Ctx, Result, Target};

const BENCH: &str = "stack-tap";
const TAP_KERNEL: &str = "10.67.0.1";
const TAP_OURS: &str = "10.67.0.2";
const VETH_LOAD: &str = "10.68.0.1";
const VETH_PEER: &str = "10.68.0.2";
/// How long our peer looks for frames before it sleeps.
const SPIN: Duration = Duration::from_micros(20);

const ZCN: &str = "zcn on TAP";
const KERNEL: &str = "kernel on veth";

/// Measures in network namespaces of its own; without privilege it does nothing.
pub fn run(ctx: &mut Ctx) -> Result {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            if let Err(error) = enter_new_network() {
                ctx.progress(&format!("skipped: no network namespace: {error}"));
                return Ok(());
            }
            measure(ctx)
        });
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn measure(ctx: &mut Ctx) -> Result {
    let cores = Cores::pick()?;
    let tap = match Tun::tap("zcnbench").open() {
        Ok(mut queues) => queues.remove(0),
        Err(error) => {
            ctx.progress(&format!("skipped: {error}"));
            return Ok(());
        }
    };
    Interface::open("lo")?.set_up(true)?;
    Interface::open("zcnbench")?.add_address(TAP_KERNEL.parse()?, 24)?;
    if let Err(error) = kernel_peer(cores.server) {
        ctx.progress(&format!("skipped: no veth: {error}"));
        return Ok(());
    }
    let (ready, is_ready) = mpsc::channel();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let ours = scope.spawn(|| our_peer(tap, cores.server, &ready, &stop));
        let result = is_ready
            .recv()
            .map_err(|_| "our peer did not start".into())
            .and_then(|()| {
                pin(cores.client)?;
                contests(ctx)
            });
        stop.store(true, Ordering::Relaxed);
        let ended = ours
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result.and(ended)
    })
}

fn contests(ctx: &mut Ctx) -> Result {
    let (zcn, kernel): (IpAddr, IpAddr) = (TAP_OURS.parse()?, VETH_PEER.parse()?);
    let sample = ctx.sample;
    let streams = [
        (Service::Source, "to a kernel socket, MTU 1500:", Some(1.0)),
        (Service::Sink, "from a kernel socket, MTU 1500:", None),
    ];
    for (service, situation, least) in streams {
        let mut contenders = [
            Contender::new(ZCN, || kernel::stream(zcn, service, sample)),
            Contender::new(KERNEL, || kernel::stream(kernel, service, sample)),
        ];
        let target = least.map(Target::RatioAtLeast);
        contest(ctx, situation, &mut contenders, "bytes", target)?;
    }
    let mut contenders = [
        Contender::new(ZCN, || kernel::exchange(zcn, sample)),
        Contender::new(KERNEL, || kernel::exchange(kernel, sample)),
    ];
    let target = Some(Target::RatioAtMost(1.2));
    let situation = "100 B asked, 100 kB answered:";
    contest(ctx, situation, &mut contenders, "time", target)
}

/// Runs a contest; the target is that of one metric.
fn contest(
    ctx: &mut Ctx,
    situation: &str,
    contenders: &mut [Contender<'_>],
    metric: &str,
    target: Option<Target>,
) -> Result {
    if !ctx.wants(situation) {
        return Ok(());
    }
    let contest = ctx.alternate(situation, contenders)?;
    for (name, peer) in [(ZCN, Some(KERNEL)), (KERNEL, None)] {
        for other in ["bytes", "bytes_by_cpu", "time", "longest"] {
            let target = target.filter(|_| other == metric && name == ZCN);
            report(ctx, &contest, BENCH, situation, name, other, peer, target)?;
        }
    }
    Ok(())
}

/// Runs `ip` in the namespace of the calling thread.
fn ip(arguments: &str) -> Result {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {arguments}: {}", said.trim()).into())
}

/// The kernel's sockets on the far end of a veth, in a namespace of their own.
fn kernel_peer(core: usize) -> Result {
    ip("link add zcnb0 type veth peer name zcnb1")?;
    let (entered, has_entered) = mpsc::channel();
    let (moved, has_moved) = mpsc::channel::<()>();
    let (serving, is_serving) = mpsc::channel();
    thread::spawn(move || {
        let result = (|| -> Result {
            pin(core)?;
            enter_new_network()?;
            entered.send(gettid().as_raw_nonzero())?;
            has_moved.recv()?;
            let interface = Interface::open("zcnb1")?;
            interface.add_address(VETH_PEER.parse()?, 24)?;
            interface.set_up(true)?;
            kernel::serve(VETH_PEER.parse()?)
        })();
        // Nobody listens any more if setting up has failed on the other side.
        let _ = serving.send(result);
    });
    if let Ok(thread) = has_entered.recv() {
        ip(&format!("link set zcnb1 netns {thread}"))?;
        moved.send(())?;
    }
    let near = Interface::open("zcnb0")?;
    near.add_address(VETH_LOAD.parse()?, 24)?;
    near.set_up(true)?;
    is_serving.recv()?
}

/// What is to be sent on a connection of [`Service::Answer`].
#[derive(Default)]
struct Dialogue {
    requested: usize,
    to_send: usize,
}

/// Our stack on the TAP device, with the same services as the kernel's.
fn our_peer(tap: Tun, core: usize, ready: &mpsc::Sender<()>, stop: &AtomicBool) -> Result {
    pin(core)?;
    let mut end = End::new(tap, TAP_OURS.parse()?, 1, StackConfig::default())?;
    let mut listeners = HashMap::new();
    for service in Service::ALL {
        let address = SocketAddr::new(TAP_OURS.parse()?, service.port());
        let listener = end
            .stack
            .tcp_listen(address, 16, SocketOptions::default())?;
        listeners.insert(listener, service);
    }
    ready.send(())?;
    let mut connections = HashMap::new();
    let mut buffer = vec![0; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        end.tick();
        let received = end.receive()?;
        while let Some(event) = end.stack.poll_event() {
            on_event(&mut end, &listeners, &mut connections, event, &mut buffer)?;
        }
        let sent = end.send()?;
        if received + sent == 0 {
            // Timers, and the end, are looked at every millisecond at least.
            end.driver.wait(SPIN, Some(Duration::from_millis(1)))?;
        }
    }
    Ok(())
}

fn on_event(
    end: &mut End<Tun>,
    listeners: &HashMap<Id, Service>,
    connections: &mut HashMap<Id, (Service, Dialogue)>,
    event: Event,
    buffer: &mut [u8],
) -> Result {
    let now = end.now;
    match event.socket {
        SocketId::TcpListener(listener) => {
            while let Ok((id, _)) = end.stack.tcp_accept(now, listener) {
                connections.insert(id, (listeners[&listener], Dialogue::default()));
                serve(end, connections, id, buffer);
            }
        }
        SocketId::Tcp(id) if event.readiness.contains(Readiness::CLOSED) => {
            connections.remove(&id);
            end.stack.tcp_close(now, id)?;
        }
        SocketId::Tcp(id) => serve(end, connections, id, buffer),
        _ => {}
    }
    Ok(())
}

/// Receives and sends as much as there is and fits. A connection that the load has ended ends
/// on our side, too.
fn serve(
    end: &mut End<Tun>,
    connections: &mut HashMap<Id, (Service, Dialogue)>,
    id: Id,
    buffer: &mut [u8],
) {
    let Some((service, dialogue)) = connections.get_mut(&id) else {
        return;
    };
    let (stack, now) = (&mut end.stack, end.now);
    let mut over = false;
    while let Ok(count) = stack.tcp_recv(now, id, buffer) {
        over = count == 0;
        if over {
            break;
        }
        if *service == Service::Answer {
            dialogue.requested += count;
            dialogue.to_send += dialogue.requested / REQUEST * ANSWER;
            dialogue.requested %= REQUEST;
        }
    }
    if *service == Service::Source {
        dialogue.to_send = usize::MAX;
    }
    while !over && dialogue.to_send > 0 {
        let count = buffer.len().min(dialogue.to_send);
        match stack.tcp_send(now, id, &buffer[..count], false) {
            Ok(count) => dialogue.to_send -= count,
            Err(_) => break, // an event tells when there is room, or that it is over
        }
    }
    if over {
        connections.remove(&id);
        // It was there a moment ago.
        let _ = stack.tcp_abort(now, id);
    }
}
