//! The benchmark itself: starts both processes and puts their figures together.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use zcn_measure::core::{Cores, on_core};
use zcn_measure::load::{ClosedLoop, Load, Window};

use super::client::Message;
use super::server::{State, servers};
use super::{CLIENT, SERVER};
use crate::harness::{Contender, Ctx, Error, Figure, Result, Target};
use crate::zcn;

const IDLE: usize = 10_000;
const ACTIVE: usize = 1_000;
const QUICK: (usize, usize) = (400, 40);

/// Measures servers with many connections.
pub fn run(ctx: &mut Ctx) -> Result {
    let cores = Cores::pick()?;
    let (idle, active) = ctx.pick((IDLE, ACTIVE), QUICK);
    let names: Vec<String> = servers()
        .iter()
        .map(|server| server.name().to_owned())
        .collect();
    let mut contenders: Vec<Contender<'_>> = names
        .iter()
        .map(|name| Contender::new(name, || once(ctx, cores, name, idle, active)))
        .collect();
    let situation = format!("{idle} idle, {active} active:");
    let outcome = ctx.alternate(&situation, &mut contenders)?;
    drop(contenders);
    let goal = format!("{situation} {}", zcn::URING);
    for row in outcome.rows("connections", &situation, Some("epoll")) {
        let row = match (row.case == goal, row.metric.as_str()) {
            (true, "memory_per_idle") => row.target(Target::ValueAtMost(512.0)),
            (true, "lost") => row.target(Target::ValueAtMost(0.0)),
            _ => row,
        };
        ctx.report(row)?;
    }
    Ok(())
}

fn once(ctx: &Ctx, cores: Cores, name: &str, idle: usize, active: usize) -> Result<Vec<Figure>> {
    let named = |error: Error| format!("{name}: {error}");
    let mut server = Process::start(SERVER, &[name.to_owned(), cores.server.to_string()])?;
    let started: State = server.hear().map_err(named)?;
    warm_up(&started, cores).map_err(named)?;
    let before: State = server.ask().map_err(named)?;
    let arguments = [
        before.address.to_string(),
        idle.to_string(),
        active.to_string(),
        ctx.sample.as_nanos().to_string(),
        cores.client.to_string(),
    ];
    let mut client = Process::start(CLIENT, &arguments)?;
    let Message::IdleOpen = client.hear().map_err(named)? else {
        return Err(format!("{name}: the client skipped the idle connections").into());
    };
    let open: State = server.ask().map_err(named)?;
    client.go_on()?;
    let Message::Done {
        requests,
        elapsed_ns,
        p99_ns,
        idle_messages,
    } = client.hear().map_err(named)?
    else {
        return Err(format!("{name}: the client did not finish").into());
    };
    let done: State = server.ask().map_err(named)?;
    client.end().map_err(named)?;
    server.end().map_err(named)?;
    // Idle connections talk twice; an active one that lost a message ends the client.
    let lost = (2 * idle as u64).saturating_sub(idle_messages) + done.errors;
    let grown = open.memory_bytes.saturating_sub(before.memory_bytes);
    Ok(vec![
        Figure::new("memory_per_idle", grown as f64 / idle as f64, "bytes"),
        Figure::new(
            "requests",
            requests as f64 / (elapsed_ns as f64 / 1e9),
            "1/s",
        ),
        Figure::new("latency_p99", p99_ns as f64, "ns"),
        Figure::new("lost", lost as f64, "messages"),
    ])
}

/// Moves every buffer of a server that has a pool once, so that its memory is there before
/// the first idle connection and is not taken for theirs.
fn warm_up(server: &State, cores: Cores) -> Result {
    let load = ClosedLoop {
        connections: 16,
        message_bytes: 64,
        duration: Duration::from_millis(100),
        spin: true,
    };
    on_core(cores.client, || {
        load.run(server.address, &mut Window::default())
    })?;
    Ok(())
}

/// One of the two processes, spoken to in lines.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(role: &str, arguments: &[String]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("a process without an output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("a process ended early; its error stands above".into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn go_on(&mut self) -> Result {
        let input = self.input.as_mut().ok_or("a process without an input")?;
        writeln!(input)?;
        Ok(())
    }

    fn ask<T: DeserializeOwned>(&mut self) -> Result<T> {
        self.go_on()?;
        self.hear()
    }

    fn end(mut self) -> Result {
        self.input = None;
        match self.child.wait()?.success() {
            true => Ok(()),
            false => Err("a process failed; its error stands above".into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only after an error is it still running; then it has nothing left to do.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
