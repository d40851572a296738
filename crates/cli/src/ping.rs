//! `zcn ping`: echo requests from a stack of our own.

mod pinger;
mod tally;

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use clap::Args;
use zcn::stack::{
    Driver, Event, Instant, IpCidr, LinkKind, Stack, StackConfig, StackHandler, StackLoop,
    StackStopper,
};
use zcn_link::{MEMORY_FRAMES, Medium, MemoryLink, memory_capabilities};
use zcn_stack::echo::PAYLOAD_MAX;

use crate::failure::Failure;
use crate::quantity;
use crate::signal;
use crate::stack::failure;
use crate::stack::link_args::LinkArgs;
use pinger::Pinger;

/// Arguments of `zcn ping`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  zcn ping --mem --address 10.9.0.1/24 -c 3 10.9.0.2
  zcn ping --tap zcn0 --address 10.9.0.2/24 --kernel-address 10.9.0.1/24 -c 3 10.9.0.1

The first needs no privilege: with --mem a second stack of this program is on the other end of the \
memory, and answers. It exits with 0 if anything was answered, with 1 otherwise.")]
pub struct PingArgs {
    /// Whom to ask: an address, or a name that the system resolves.
    #[arg(value_name = "HOST")]
    pub host: String,

    /// Stop after so many requests [default: Ctrl-C stops].
    #[arg(short, long, value_name = "N", value_parser = quantity::whole(1_u64..))]
    pub count: Option<u64>,

    /// Time between requests.
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = quantity::duration)]
    pub interval: Duration,

    /// Bytes behind the ICMP header, at most 65507; what does not fit a packet goes in
    /// fragments.
    #[arg(short, long, value_name = "SIZE", default_value = "56", value_parser = size)]
    pub size: usize,

    /// How long to wait for the last answer.
    #[arg(short = 'W', long, value_name = "TIME", default_value = "2s", value_parser = quantity::duration)]
    pub timeout: Duration,

    /// Hop limit of the requests.
    #[arg(short, long, value_name = "N", value_parser = quantity::whole(1_u8..=255))]
    pub ttl: Option<u8>,

    /// Send no fragments, and forbid them on the way.
    #[arg(long)]
    pub dont_fragment: bool,

    /// Print the statistics only.
    #[arg(short, long)]
    pub quiet: bool,

    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,

    /// The stack that asks.
    #[command(flatten)]
    pub on: LinkArgs,
}

fn size(text: &str) -> Result<usize, String> {
    match quantity::bytes(text)? {
        size if size <= PAYLOAD_MAX => Ok(size),
        _ => Err(format!(
            "an echo request carries at most {PAYLOAD_MAX} bytes"
        )),
    }
}

/// Asks until all requests are answered or lost, or a signal comes.
///
/// # Errors
/// No link, no address of the host's family, no way there.
pub fn run(args: &PingArgs) -> Result<ExitCode, Failure> {
    let config = args.on.settings()?;
    let host = resolve(&args.host, &config.addresses)?;
    let (mut stack, answerer) = match config.link.kind {
        LinkKind::Memory => {
            let (stack, answerer) = with_answerer(&config, host)?;
            (stack, Some(answerer))
        }
        _ => (StackLoop::open(&config).map_err(failure)?, None),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, stopper) = (stop.clone(), stack.stopper());
    signal::on_first(move || {
        stopped.store(true, Ordering::SeqCst);
        stopper.stop();
    })
    .map_err(|error| Failure::new("cannot watch for signals").because(error))?;
    pinger::await_address(&mut stack, host, &stop)?;
    if !(args.quiet || args.json) {
        writeln!(
            io::stdout(),
            "PING {} ({}) {} bytes of data, by {}",
            args.host,
            host.ip(),
            args.size,
            config.link.kind
        )?;
    }
    let mut pinger = Pinger::new(args, host, &mut stack)?;
    let ended = pinger.run(&mut stack, &stop);
    drop(answerer);
    if ended.is_ok() || pinger.tally().received() > 0 {
        pinger.tally().print(&args.host, args.json)?;
    }
    ended?;
    Ok(match pinger.tally().received() {
        0 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// The host's address, of a family that the stack has an address of.
fn resolve(host: &str, own: &[IpCidr]) -> Result<SocketAddr, Failure> {
    let failed = || {
        Failure::new(format!("cannot resolve {host}"))
            .remedy("an address such as 10.9.0.1, or check the name with `getent hosts`")
    };
    let found: Vec<SocketAddr> = (host, 0)
        .to_socket_addrs()
        .map_err(|error| failed().because(error))?
        .collect();
    let usable = |to: &&SocketAddr| {
        own.iter()
            .any(|cidr| cidr.address().is_ipv4() == to.is_ipv4())
    };
    match (found.iter().find(usable), found.first()) {
        (Some(host), _) => Ok(*host),
        (None, None) => Err(failed().because("the name has no address")),
        (None, Some(other)) => {
            let (family, example) = match other.is_ipv4() {
                true => ("IPv4", "10.9.0.2/24"),
                false => ("IPv6", "fd09::2/64"),
            };
            Err(Failure::new(format!(
                "the stack has no {family} address to ask {host} from"
            ))
            .remedy(format!(
                "--address {example}, in a network that leads there"
            )))
        }
    }
}

/// A second stack, for a link through memory; it goes when this is dropped.
struct Answerer {
    stopper: StackStopper,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            // Nothing in it panics.
            let _ = thread.join();
        }
    }
}

/// Pings are answered by the stack itself.
struct Silent;

impl StackHandler for Silent {
    fn on_event(&mut self, _: &mut Stack, _: Instant, _: Event) {}
}

/// Two stacks on one link: ours, and one that has the address to be asked, in the network
/// of ours.
fn with_answerer(config: &StackConfig, host: SocketAddr) -> Result<(StackLoop, Answerer), Failure> {
    let mtu = config.link.mtu.unwrap_or(1500);
    let end = |last| {
        let address = [2, 0, 0, 0, 0, last];
        memory_capabilities(Medium::Ethernet { address }, mtu)
    };
    let (one, other) = MemoryLink::pair(end(1), end(2), MEMORY_FRAMES)
        .map_err(|error| Failure::new("cannot make a link through memory").because(error))?;
    let one: Box<dyn Driver> = match &config.link.capture {
        None => Box::new(one),
        Some(path) => zcn::stack::capture(Box::new(one), path, &config.link).map_err(failure)?,
    };
    let stack = StackLoop::with_driver(config, one).map_err(failure)?;
    let mut answering = StackConfig::new(config.link.clone());
    answering.addresses = config
        .addresses
        .iter()
        .filter_map(|cidr| other_end(*cidr, host.ip()))
        .collect();
    let (ready, is_ready) = channel();
    let thread = thread::Builder::new()
        .name("answerer".to_owned())
        .spawn(move || {
            let answering = StackLoop::with_driver(&answering, Box::new(other));
            // The other side waits for it below.
            match answering {
                Ok(mut answering) => {
                    let _ = ready.send(Ok(answering.stopper()));
                    // It ends with the link, too.
                    let _ = answering.run(&mut Silent);
                }
                Err(error) => {
                    let _ = ready.send(Err(failure(error)));
                }
            }
        })
        .map_err(|error| Failure::new("cannot start a thread").because(error))?;
    let stopper = is_ready
        .recv()
        .unwrap_or_else(|_| Err(Failure::new("the thread of the other stack has ended")))?;
    let answerer = Answerer {
        stopper,
        thread: Some(thread),
    };
    Ok((stack, answerer))
}

/// The address of the other end in the network `own`, unless it is our own.
fn other_end(own: IpCidr, host: IpAddr) -> Option<IpCidr> {
    let same_family = own.address().is_ipv4() == host.is_ipv4();
    (same_family && own.address() != host)
        .then(|| format!("{host}/{}", own.prefix_len()).parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_is_in_the_network() {
        let own = "10.9.0.1/24".parse().expect("an address");
        let other = other_end(own, [10, 9, 0, 2].into()).expect("another one");
        assert_eq!(other.to_string(), "10.9.0.2/24");
        assert!(other_end(own, [10, 9, 0, 1].into()).is_none());
        assert!(other_end(own, "fd09::1".parse().expect("an address")).is_none());
    }

    #[test]
    fn a_host_needs_an_address_of_its_family() {
        let own = ["10.9.0.1/24".parse().expect("an address")];
        assert!(resolve("10.9.0.2", &own).is_ok());
        let failure = resolve("fd09::2", &own).expect_err("IPv4 only").to_string();
        assert!(failure.contains("--address fd09::2/64"), "{failure}");
        let failure = resolve("no.such.name.invalid", &own).expect_err("no name");
        assert!(failure.to_string().contains("cannot resolve"));
    }

    #[test]
    fn sizes_have_a_limit() {
        assert_eq!(
            size("64k"),
            Err("an echo request carries at most 65507 bytes".to_owned())
        );
        assert_eq!(size("65507"), Ok(65_507));
    }
}
