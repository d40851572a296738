//! Transfers by blocking sockets of the kernel.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;

use super::transfer::{Check, Plan, Progress, Source, port};
use crate::failure::Failure;
use crate::network::Host;

/// How often a thread that waits looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Listens in the namespace of `host` and receives all flows.
///
/// # Errors
/// A port or a thread cannot be had.
pub(super) fn receive(
    host: &Host,
    address: IpAddr,
    plan: Plan,
    progress: &Arc<Progress>,
) -> Result<(), Failure> {
    for flow in 0..plan.flows {
        let listener = host
            .enter(move || TcpListener::bind((address, port(flow))))?
            .map_err(|error| {
                Failure::new(format!("cannot listen on port {}", port(flow))).because(error)
            })?;
        let progress = progress.clone();
        host.spawn(move || {
            if let Err(error) = receive_flow(&listener, flow, &plan, &progress) {
                progress.fail(format!("flow {flow}, receiving: {error}"));
            }
        })?;
    }
    Ok(())
}

fn receive_flow(
    listener: &TcpListener,
    flow: u16,
    plan: &Plan,
    progress: &Progress,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if is_pause(&error) => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => return Err(error),
        }
        if progress.is_stopped() {
            return Ok(());
        }
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LOOK))?;
    let mut check = Check::new(flow);
    let mut buffer = vec![0; 256 * 1024];
    while !progress.is_stopped() {
        match stream.read(&mut buffer) {
            Ok(0) => {
                check.end(plan, progress);
                return Ok(());
            }
            Ok(len) => check.take(&buffer[..len], progress),
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Connects from the namespace of `host` and sends all flows.
///
/// # Errors
/// A thread cannot be had.
pub(super) fn send(
    host: &Host,
    to: IpAddr,
    plan: Plan,
    progress: &Arc<Progress>,
) -> Result<(), Failure> {
    for flow in 0..plan.flows {
        let progress = progress.clone();
        host.spawn(move || {
            let remote = SocketAddr::from((to, port(flow)));
            if let Err(error) = send_flow(remote, flow, &plan, &progress) {
                progress.fail(format!("flow {flow}, sending: {error}"));
            }
        })?;
    }
    Ok(())
}

fn send_flow(to: SocketAddr, flow: u16, plan: &Plan, progress: &Progress) -> io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    sockopt::set_tcp_congestion(&stream, plan.congestion.name())?;
    stream.set_write_timeout(Some(LOOK))?;
    let mut source = Source::new(flow, plan);
    let mut piece = vec![0; Source::PIECE];
    loop {
        let len = source.fill(&mut piece);
        if len == 0 {
            break;
        }
        let mut rest = &piece[..len];
        while !rest.is_empty() {
            if progress.is_stopped() {
                return Ok(());
            }
            match stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    stream.shutdown(Shutdown::Write)?;
    // The receiver closes when it has everything.
    stream.set_read_timeout(Some(LOOK))?;
    while !progress.is_stopped() {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(_) => return Err(io::Error::other("the receiver sent something")),
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
