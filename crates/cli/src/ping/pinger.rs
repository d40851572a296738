//! Requests out, answers in.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Clock};

use bytes::Bytes;
use serde_json::json;
use zcn::SharedBuf;
use zcn::stack::{Event, Instant, SocketId, Stack, StackHandler, StackLoop};
use zcn_stack::AddressState;
use zcn_stack::echo::{EchoError, EchoRequest};
use zcn_stack::slab::Id;

use super::PingArgs;
use super::tally::Tally;
use crate::failure::Failure;
use crate::stack::failure;

/// How long an address of ours may take to be found unique.
const TENTATIVE: Duration = Duration::from_secs(5);
/// Requests that are remembered; an answer to an older one is not counted.
const REMEMBERED: usize = 16_384;

/// Waits until the stack may use an address of the host's family: duplicate address
/// detection takes a second.
///
/// # Errors
/// Somebody else on the link has the address, or the link is gone.
pub(super) fn await_address(
    stack: &mut StackLoop,
    host: SocketAddr,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let begun = Clock::now();
    let interface = stack.interface();
    while begun.elapsed() < TENTATIVE && !stop.load(Ordering::SeqCst) {
        let states: Vec<_> = stack
            .stack()
            .addresses(interface)
            .filter(|(cidr, _)| cidr.address().is_ipv4() == host.is_ipv4())
            .collect();
        if states
            .iter()
            .any(|(_, state)| *state == AddressState::Preferred)
        {
            return Ok(());
        }
        if let Some((cidr, _)) = states
            .iter()
            .find(|(_, state)| *state == AddressState::Duplicated)
        {
            return Err(
                Failure::new(format!("somebody else on the link has {}", cidr.address()))
                    .remedy("another --address in the same network"),
            );
        }
        turn(stack, &mut Nobody, Duration::from_millis(100))?;
    }
    // What is still wrong the first request will tell.
    Ok(())
}

fn turn(
    stack: &mut StackLoop,
    handler: &mut impl StackHandler,
    limit: Duration,
) -> Result<(), Failure> {
    let gone = |error| failure(zcn::stack::StackError::LinkGone(error));
    if !stack.turn(handler).map_err(gone)? {
        stack.wait(Some(limit)).map_err(gone)?;
    }
    Ok(())
}

struct Nobody;

impl StackHandler for Nobody {
    fn on_event(&mut self, _: &mut Stack, _: Instant, _: Event) {}
}

/// Asks one host.
pub(super) struct Pinger {
    args: PingArgs,
    host: SocketAddr,
    socket: Id,
    payload: Bytes,
    /// When each request left, by its number, and whether it was answered.
    asked: HashMap<u16, (Clock, bool)>,
    tally: Tally,
    begun: Clock,
}

impl Pinger {
    pub(super) fn new(
        args: &PingArgs,
        host: SocketAddr,
        stack: &mut StackLoop,
    ) -> Result<Self, Failure> {
        let socket = stack
            .stack()
            .echo_open()
            .map_err(|error| Failure::new("cannot send echo requests").because(error))?;
        Ok(Self {
            args: args.clone(),
            host,
            socket,
            payload: (0..args.size).map(|place| place as u8).collect(),
            asked: HashMap::new(),
            tally: Tally::default(),
            begun: Clock::now(),
        })
    }

    pub(super) const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Asks, and takes answers, until the end.
    pub(super) fn run(&mut self, stack: &mut StackLoop, stop: &AtomicBool) -> Result<(), Failure> {
        let mut next = self.begun;
        let mut last = self.begun;
        while !stop.load(Ordering::SeqCst) {
            let now = Clock::now();
            let all_sent = self
                .args
                .count
                .is_some_and(|count| self.tally.sent() >= count);
            let due = if all_sent {
                let answered = self.tally.received() + self.tally.errors() >= self.tally.sent();
                if answered || now >= last + self.args.timeout {
                    break;
                }
                last + self.args.timeout
            } else {
                if now >= next {
                    self.ask(stack)?;
                    last = now;
                    // A stack that was busy does not make up for what it missed.
                    next = (next + self.args.interval).max(now);
                    continue;
                }
                next
            };
            turn(stack, self, due.saturating_duration_since(now))?;
        }
        self.tally.took(self.begun.elapsed());
        Ok(())
    }

    fn ask(&mut self, stack: &mut StackLoop) -> Result<(), Failure> {
        // 16 bits, after which numbers begin anew.
        let sequence = (self.tally.sent() + 1) as u16;
        if self.asked.len() >= REMEMBERED {
            self.asked.clear();
        }
        self.asked.insert(sequence, (Clock::now(), false));
        let request = EchoRequest {
            remote: self.host,
            sequence,
            payload: SharedBuf::from(self.payload.clone()).into(),
            hop_limit: self.args.ttl,
            dont_fragment: self.args.dont_fragment,
        };
        let now = stack.now();
        let sent = stack.stack().echo_send(now, self.socket, request);
        self.tally.count_sent();
        match sent {
            Ok(()) => turn(stack, self, Duration::ZERO),
            // The way out is full: lost, as on any link.
            Err(EchoError::WouldBlock) => {
                self.tally.count_error();
                turn(stack, self, Duration::from_millis(1))
            }
            Err(error @ EchoError::MessageTooLong { .. }) => Err(Failure::new(format!(
                "cannot send {} bytes",
                self.args.size
            ))
            .because(error)
            .remedy("a smaller --size, or without --dont-fragment")),
            Err(error) => {
                Err(Failure::new(format!("cannot ask {}", self.host.ip())).because(error))
            }
        }
    }

    fn take(&mut self, stack: &mut Stack) -> io::Result<()> {
        while let Ok(echo) = stack.echo_recv(self.socket) {
            let Some((asked, answered)) = self.asked.get_mut(&echo.sequence) else {
                continue;
            };
            let rtt = asked.elapsed();
            let duplicate = std::mem::replace(answered, true);
            let wrong = echo.payload.to_vec() != self.payload;
            let bytes = echo.payload.len() + 8;
            self.tally.count_answer(rtt, duplicate, wrong);
            if self.args.quiet {
                continue;
            }
            let millis = rtt.as_secs_f64() * 1e3;
            let mut out = io::stdout().lock();
            if self.args.json {
                let line = json!({
                    "kind": "answer",
                    "from": echo.remote,
                    "sequence": echo.sequence,
                    "bytes": bytes,
                    "ttl": echo.hop_limit,
                    "rtt_ms": millis,
                    "duplicate": duplicate,
                    "wrong": wrong,
                });
                writeln!(out, "{line}")?;
            } else {
                let mut remark = String::new();
                if duplicate {
                    remark.push_str(" (DUP!)");
                }
                if wrong {
                    remark.push_str(" (wrong data!)");
                }
                writeln!(
                    out,
                    "{bytes} bytes from {}: icmp_seq={} ttl={} time={millis:.3} ms{remark}",
                    echo.remote, echo.sequence, echo.hop_limit
                )?;
            }
        }
        while let Some(told) = stack.echo_take_error(self.socket) {
            self.tally.count_error();
            if self.args.quiet {
                continue;
            }
            let sequence = told.remote.port();
            let mut out = io::stdout().lock();
            if self.args.json {
                let line = json!({
                    "kind": "error",
                    "sequence": sequence,
                    "error": told.error.to_string(),
                });
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "icmp_seq={sequence}: {}", told.error)?;
            }
        }
        Ok(())
    }
}

impl StackHandler for Pinger {
    fn on_event(&mut self, stack: &mut Stack, _: Instant, event: Event) {
        if event.socket == SocketId::Echo(self.socket) && self.take(stack).is_err() {
            // Nobody reads us any more; the statistics will say so, too.
            self.args.quiet = true;
        }
    }
}
