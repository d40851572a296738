//! `zcn send`: bytes as fast as the server takes them, or at a rate.

use std::future::poll_fn;
use std::io::{self, Write};
use std::process::ExitCode;
use std::task::Poll;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use zcn_measure::table::number;

use crate::client::{BUFFER_BYTES, ClientArgs, Datagrams, Line, Link, PATIENCE, Plan, Ran};
use crate::echo::plural;
use crate::failure::Failure;
use crate::{client, quantity};

/// Arguments of `zcn send`.
#[derive(Debug, Args)]
#[command(after_help = "\
What comes back is counted and dropped. With --check every byte must come back, is compared with \
what was sent, and the end waits for the last one.")]
pub struct SendArgs {
    /// What all clients take.
    #[command(flatten)]
    pub client: ClientArgs,

    /// Bits per second of all connections together: 500M, 1G; as fast as
    /// possible without.
    #[arg(long, value_name = "BITS", value_parser = quantity::bits_per_second)]
    pub rate: Option<f64>,

    /// Demand every byte back and compare it.
    #[arg(long)]
    pub check: bool,
}

/// Drives the server and prints how much it took.
///
/// # Errors
/// When the server cannot be reached, stands still or, with `--check`, answers
/// wrongly.
pub fn run(args: &SendArgs) -> Result<ExitCode, Failure> {
    let client = &args.client;
    let ran = client::run(client, |line, plan| {
        let job = Job {
            size: client.size as u64,
            interval: args.rate.map(|rate| interval(client, rate)),
            check: args.check,
            plan,
        };
        job.run(line)
    })?;
    print(args, &ran)?;
    ran.outcome()
}

/// Time between two messages of one connection.
fn interval(client: &ClientArgs, rate: f64) -> Duration {
    let bits = client.size as f64 * 8.0 * f64::from(client.connections);
    Duration::try_from_secs_f64(bits / rate).unwrap_or(client.duration)
}

/// Datagrams that may be on their way: few enough for the sockets' buffers.
const WINDOW: u64 = 64;

struct Job {
    size: u64,
    interval: Option<Duration>,
    check: bool,
    plan: Plan,
}

impl Job {
    async fn run(self, mut line: Line) {
        let outcome = match &mut line {
            Line::Stream(link) => self.drive(link).await,
            Line::Datagrams(datagrams) => self.drive_datagrams(datagrams).await,
        };
        if let Err(failure) = outcome {
            self.plan.tally.borrow_mut().fail(failure);
        }
    }

    async fn drive(&self, link: &mut Link) -> Result<(), Failure> {
        let mut due = Instant::now();
        // Small messages share a buffer, unless each has its time.
        let together = match self.interval {
            Some(_) => 1,
            None => (BUFFER_BYTES as u64 / self.size).max(1),
        };
        let mut left = self.plan.count;
        while left > 0 {
            if let Some(interval) = self.interval {
                self.receive_until(link, due).await?;
                due += interval;
            }
            if Instant::now() >= self.plan.end {
                break;
            }
            let messages = together.min(left);
            self.send(link, messages).await?;
            left -= messages;
        }
        link.finish();
        self.receive_rest(link).await
    }

    /// With `check`, at most a window is on its way, and what does not come
    /// back is counted; without, datagrams leave as fast as the kernel takes
    /// them.
    async fn drive_datagrams(&self, datagrams: &mut Datagrams) -> Result<(), Failure> {
        let mut due = Instant::now();
        // Sent minus given up.
        let mut lost = 0;
        let mut left = self.plan.count;
        while left > 0 && Instant::now() < self.plan.end {
            if let Some(interval) = self.interval {
                zcn::sleep_until(due).await;
                due += interval;
            }
            while self.check && datagrams.sent - datagrams.returned - lost >= WINDOW {
                if datagrams.answer().await?.is_none() {
                    lost = datagrams.sent - datagrams.returned;
                }
            }
            datagrams.send().await?;
            while datagrams.answer_now()?.is_some() {}
            left -= 1;
            self.account(datagrams);
            if datagrams.sent.is_multiple_of(WINDOW) {
                // The loop must come to its turn.
                zcn::sleep(Duration::ZERO).await;
            }
        }
        if self.check {
            while datagrams.returned < datagrams.sent && datagrams.answer().await?.is_some() {}
        }
        self.account(datagrams);
        self.plan.tally.borrow_mut().lost += match self.check {
            true => datagrams.sent - datagrams.returned,
            false => 0,
        };
        Ok(())
    }

    fn account(&self, datagrams: &mut Datagrams) {
        let (sent, returned) = datagrams.news();
        let mut tally = self.plan.tally.borrow_mut();
        tally.messages += sent;
        tally.sent += sent * self.size;
        tally.returned += returned * self.size;
    }

    /// Sends so many messages, as far as the time allows, and takes what
    /// arrives meanwhile: a server that cannot get rid of its echoes would
    /// stop receiving.
    async fn send(&self, link: &mut Link, messages: u64) -> Result<(), Failure> {
        let before = link.sent;
        let mut goal = before.saturating_add(messages.saturating_mul(self.size));
        let mut told = before;
        poll_fn(|context| {
            if Instant::now() >= self.plan.end {
                // What is in a buffer already still goes.
                goal = link.sent;
            }
            let sent = link.poll_fill(context, goal)?;
            self.plan.tally.borrow_mut().sent += link.sent - told;
            told = link.sent;
            self.take_arrivals(link, context)?;
            sent.map(Ok::<(), Failure>)
        })
        .await?;
        self.plan.tally.borrow_mut().messages += (link.sent - before) / self.size;
        Ok(())
    }

    /// Takes what has arrived; true at the end of the stream.
    fn take_arrivals(
        &self,
        link: &mut Link,
        context: &mut std::task::Context<'_>,
    ) -> Result<bool, Failure> {
        loop {
            match link.poll_arrival(context, self.check)? {
                Poll::Pending => return Ok(false),
                Poll::Ready(client::Arrival::End) => return Ok(true),
                Poll::Ready(client::Arrival::Bytes(count)) => {
                    self.plan.tally.borrow_mut().returned += count as u64;
                }
            }
        }
    }

    /// Takes what arrives until `due`.
    async fn receive_until(&self, link: &mut Link, due: Instant) -> Result<(), Failure> {
        let mut sleep = std::pin::pin!(zcn::sleep_until(due));
        poll_fn(|context| {
            self.take_arrivals(link, context)?;
            sleep.as_mut().poll(context).map(Ok)
        })
        .await
    }

    /// After the last send: everything is taken by the kernel, and with
    /// `check` has come back, or the server has closed.
    async fn receive_rest(&self, link: &mut Link) -> Result<(), Failure> {
        let rest = poll_fn(|context| {
            let ended = self.take_arrivals(link, context)?;
            match (self.check, ended) {
                (true, _) if link.returned == link.sent => Poll::Ready(Ok(())),
                (true, true) => Poll::Ready(Err(client::closed(link.returned))),
                (false, true) => Poll::Ready(Ok(())),
                (_, false) => Poll::Pending,
            }
        });
        match zcn::timeout(PATIENCE, rest).await {
            Ok(outcome) => outcome,
            // A server that takes everything and says nothing is none of ours
            // to judge.
            Err(_) if !self.check && link.unsent() == 0 => Ok(()),
            Err(_) => Err(client::silent(PATIENCE)),
        }
    }
}

fn print(args: &SendArgs, ran: &Ran) -> io::Result<()> {
    let (tally, reactor, elapsed) = (&ran.tally, ran.reactor, ran.elapsed);
    let client = &args.client;
    let mut out = io::stdout().lock();
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let gigabits = |bytes: u64| bytes as f64 * 8.0 / 1e9 / seconds;
    let rate = tally.messages as f64 / seconds;
    if client.json {
        let line = json!({
            "peer": client.connect.to_string(),
            "reactor": reactor,
            "connections": client.connections,
            "message_bytes": client.size,
            "spin_us": client.event_loop.spin_us(),
            "seconds": seconds,
            "messages": tally.messages,
            "messages_per_second": rate,
            "bytes_sent": tally.sent,
            "bytes_returned": tally.returned,
            "gbit_per_second": gigabits(tally.sent),
            "gbit_per_second_returned": gigabits(tally.returned),
            "checked": args.check,
            "lost": tally.lost,
            "errors": tally.errors,
        });
        writeln!(out, "{line}")?;
        return out.flush();
    }
    writeln!(
        out,
        "{} on {reactor}: {}, messages of {}",
        client.connect,
        plural(u64::from(client.connections), "connection"),
        plural(client.size as u64, "byte"),
    )?;
    let checked = match args.check {
        true => ", every byte checked",
        false => ", not checked",
    };
    writeln!(
        out,
        "sent     {} Gbit/s, {} messages/s, {} messages in {seconds:.2} s",
        number(gigabits(tally.sent)),
        number(rate.round()),
        number(tally.messages as f64),
    )?;
    writeln!(
        out,
        "returned {} Gbit/s, {} bytes{checked}, {} lost, {}",
        number(gigabits(tally.returned)),
        number(tally.returned as f64),
        tally.lost,
        plural(tally.errors, "error"),
    )?;
    out.flush()
}
