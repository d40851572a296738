//! `zcn echo`: a server that sends back what it receives.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

/// What drives the event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReactorChoice {
    /// io_uring; an error where it is refused.
    Uring,
    /// epoll.
    Epoll,
}

/// Arguments of `zcn echo`.
#[derive(Debug, Args)]
pub struct EchoArgs {
    /// Address to listen on; port 0 takes a free one and prints it.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7777")]
    pub listen: SocketAddr,

    /// Serve UDP instead of TCP.
    #[arg(long)]
    pub udp: bool,

    /// Event loops, each on a core of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,

    /// Microseconds to spin before sleeping; 0 sleeps at once.
    #[arg(long, value_name = "US", default_value_t = 0)]
    pub spin: u64,

    /// What drives the event loop [default: io_uring, or epoll where it is
    /// refused].
    #[arg(long, value_enum)]
    pub reactor: Option<ReactorChoice>,

    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        echo: EchoArgs,
    }

    fn parse(arguments: &[&str]) -> Result<EchoArgs, clap::Error> {
        let line = [&["echo"], arguments].concat();
        Line::try_parse_from(line).map(|line| line.echo)
    }

    #[test]
    fn every_flag_of_the_plan_is_there() {
        let args = parse(&[
            "--listen",
            "[::1]:0",
            "--udp",
            "--threads",
            "4",
            "--spin",
            "50",
            "--reactor",
            "epoll",
            "--json",
        ])
        .expect("parses");
        assert!(args.listen.is_ipv6() && args.udp && args.json);
        assert_eq!((args.threads, args.spin), (4, 50));
        assert_eq!(args.reactor, Some(ReactorChoice::Epoll));
    }

    #[test]
    fn unusable_values_are_refused_by_name() {
        for (flag, value) in [
            ("--listen", "nowhere"),
            ("--listen", "127.0.0.1:65536"),
            ("--threads", "0"),
            ("--spin", "fast"),
            ("--reactor", "kqueue"),
        ] {
            let error = parse(&[flag, value]).expect_err(value);
            assert!(error.to_string().contains(flag), "{error}");
        }
    }
}
