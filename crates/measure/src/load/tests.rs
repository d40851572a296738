use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::*;
use crate::baseline;
use crate::core::Cores;

const SHORT: Duration = Duration::from_millis(30);

fn tcp_baselines() -> [Server; 2] {
    [baseline::epoll(), baseline::blocking()]
}

fn options_of_both_kinds(core: usize) -> [ServerOptions; 2] {
    [ServerOptions::blocking(core), ServerOptions::spinning(core)]
}

fn run_all<L: Load>(servers: &[Server], load: &L, mut check: impl FnMut(Outcome<L::Report>)) {
    let cores = Cores::pick().unwrap();
    for server in servers {
        for options in options_of_both_kinds(cores.server) {
            let begun = Instant::now();
            let outcome = loop {
                let outcome = drive(server, &options, cores.client, load).unwrap();
                // On a busy machine a short span may pass without the server getting the core.
                if outcome.span.server.cpu > Duration::ZERO || begun.elapsed() > PATIENCE {
                    break outcome;
                }
            };
            assert!(outcome.span.elapsed > Duration::ZERO);
            assert!(
                outcome.span.server.cpu > Duration::ZERO,
                "{} {options:?} {:?}",
                server.name(),
                outcome.span
            );
            assert_eq!(outcome.span.server.errors, 0);
            assert!(!load.figures(&outcome).is_empty());
            check(outcome);
        }
    }
}

#[test]
fn round_trips() {
    let [epoll, blocking] = tcp_baselines();
    let servers = [epoll, blocking, baseline::spin_receive()];
    for spin in [false, true] {
        let load = RoundTrip {
            message_bytes: 64,
            duration: SHORT,
            spin,
        };
        run_all(&servers, &load, |outcome| {
            assert!(outcome.report.latency.count() > 0);
            assert!(outcome.report.latency.quantile_ns(0.5) > 0);
        });
    }
}

/// A process that is stopped and goes on finds its sleeping receives interrupted (signal(7)).
#[test]
fn an_interrupted_receive_is_no_silence() {
    const PAUSE: Duration = Duration::from_millis(200);
    let slow = Server::new("slow", |seat| {
        let (mut stream, _) = seat.listen()?.accept().action("accept")?;
        let mut bytes = [0; 64];
        while stream.read_exact(&mut bytes).is_ok() {
            std::thread::sleep(PAUSE);
            let _ = stream.write_all(&bytes);
        }
        Ok(())
    });
    let load = RoundTrip {
        message_bytes: 64,
        duration: 4 * PAUSE,
        spin: false,
    };
    let process = std::process::id();
    let interrupt = format!("sleep 0.1; kill -STOP {process}; sleep 0.05; kill -CONT {process}");
    let mut interrupted = std::process::Command::new("sh")
        .args(["-c", &format!("{interrupt}; {interrupt}; {interrupt}")])
        .spawn()
        .unwrap();
    let outcome = drive(&slow, &ServerOptions::default(), 0, &load).unwrap();
    assert!(outcome.report.latency.count() > 0);
    assert!(interrupted.wait().unwrap().success());
}

#[test]
fn closed_loops() {
    for spin in [false, true] {
        let load = ClosedLoop {
            connections: 40,
            message_bytes: 64,
            duration: SHORT,
            spin,
        };
        run_all(&tcp_baselines(), &load, |outcome| {
            assert!(outcome.report.requests > 0);
        });
    }
}

#[test]
fn streams() {
    for load in [Stream::pipeline(SHORT), Stream::bulk(SHORT)] {
        run_all(&tcp_baselines(), &load, |outcome| {
            assert!(outcome.report.bytes > 0);
        });
    }
}

#[test]
fn a_pace() {
    let load = Paced {
        bits_per_second: 1e8,
        message_bytes: 10_000,
        duration: SHORT,
    };
    run_all(&tcp_baselines(), &load, |outcome| {
        assert!(outcome.report.bytes > 0);
    });
}

#[test]
fn datagrams() {
    for super_packets in [false, true] {
        let load = Datagrams {
            payload_bytes: 100,
            window: 256,
            super_packets,
            duration: SHORT,
        };
        let cores = Cores::pick().unwrap();
        for mut options in options_of_both_kinds(cores.server) {
            options.udp_segment = super_packets.then_some(100);
            let outcome = drive(&baseline::udp(), &options, cores.client, &load).unwrap();
            assert!(outcome.report.echoed > 0);
            assert_eq!(outcome.report.lost, 0);
        }
    }
}

#[test]
fn idle_and_active_connections() {
    let cores = Cores::pick().unwrap();
    let running = baseline::epoll()
        .start(&ServerOptions::blocking(cores.server))
        .unwrap();
    let load = Connections {
        idle: 300,
        active: 20,
        duration: SHORT,
    };
    let mut phases = Vec::new();
    let mut window = Window::over(&running);
    let report = load
        .run(running.address(), &mut window, |phase| {
            phases.push(phase);
            Ok(())
        })
        .unwrap();
    assert_eq!(phases, [Phase::Begun, Phase::IdleOpen, Phase::Done]);
    assert_eq!(report.idle_messages, 600);
    assert!(report.active.requests > 0);
    assert_eq!(running.stop().unwrap().connections, 320);
}

#[test]
fn a_server_that_lies_or_leaves_is_found_out() {
    let liar = Server::new("liar", |seat| {
        let (mut stream, _) = seat.listen()?.accept().action("accept")?;
        let mut bytes = [0; 64];
        while stream.read_exact(&mut bytes).is_ok() {
            bytes[5] ^= 1;
            let _ = stream.write_all(&bytes);
        }
        Ok(())
    });
    let leaver = Server::new("leaver", |seat| {
        let (mut stream, _) = seat.listen()?.accept().action("accept")?;
        let _ = stream.read_exact(&mut [0; 64]);
        Ok(())
    });
    let load = RoundTrip {
        message_bytes: 64,
        duration: SHORT,
        spin: true,
    };
    let options = ServerOptions::default();
    let found = |server| drive(&server, &options, 0, &load).err().unwrap();
    assert!(matches!(found(liar), Error::Corrupt { offset: 5, .. }));
    assert!(matches!(found(leaver), Error::Closed { received: 0, .. }));
}
