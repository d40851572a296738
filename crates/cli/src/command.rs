//! The command line.

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

use crate::failure::Failure;
use crate::{
    capture, completions, connect, demo, doctor, echo, man, mine, ping, ping_pong, pool, send, ss,
    stack, ublk,
};

const AFTER_HELP: &str = "\
Environment:
  ZCN_LOG   what to log to stderr, as in ZCN_LOG=zcn=debug; -v goes before it
  NO_COLOR  when set, no colour in any output

Exit codes:
  0  done
  1  failed; the reason and a remedy are on stderr
  2  misused; the usage is on stderr";

/// Zero-copy networking for Linux: echo servers, load, and diagnosis.
#[derive(Debug, Parser)]
#[command(name = "zcn", version, propagate_version = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// Log more to stderr: -v information, -vv details, -vvv everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the stack on real traffic beside epoll and blocking calls; takes
    /// no arguments and no privileges.
    Demo(demo::DemoArgs),
    /// Serve: send back what is received.
    Echo(echo::EchoArgs),
    /// Measure round trips to an echo server.
    PingPong(ping_pong::PingPongArgs),
    /// Send as fast as possible, or at a rate.
    Send(send::SendArgs),
    /// Run the TCP/IP in user space on a TAP device or an interface.
    Stack(stack::StackArgs),
    /// Send standard input to a server, and show what it answers.
    Connect(connect::ConnectArgs),
    /// Show the connections of a stack that `zcn stack up` runs.
    Ss(ss::SsArgs),
    /// Send echo requests from a stack of our own.
    Ping(ping::PingArgs),
    /// Write what passes an interface to a pcapng file, or show it.
    Capture(capture::CaptureArgs),
    /// Mine for a pool over Stratum, on every core.
    Mine(mine::MineArgs),
    /// Serve work to miners over Stratum: a small solo pool, for tests and
    /// demonstrations.
    Pool(pool::PoolArgs),
    /// Serve block devices from memory or files, by the kernel's ublk driver.
    Ublk(ublk::UblkArgs),
    /// Examine what this kernel, machine and process allow, and what to do
    /// about the rest.
    Doctor(doctor::DoctorArgs),
    /// Print a completion script for a shell.
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write the pages of all subcommands.
    Man(man::ManArgs),
}

impl Command {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// What failed, with cause and remedy.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Command::Demo(args) => demo::run(&args),
            Command::Echo(args) => echo::run(&args),
            Command::PingPong(args) => ping_pong::run(&args),
            Command::Send(args) => send::run(&args),
            Command::Stack(args) => stack::run(&args),
            Command::Connect(args) => connect::run(&args),
            Command::Ss(args) => ss::run(&args),
            Command::Ping(args) => ping::run(&args),
            Command::Capture(args) => capture::run(&args),
            Command::Mine(args) => mine::run(&args),
            Command::Pool(args) => pool::run(&args),
            Command::Ublk(args) => ublk::run(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn verbosity_may_stand_anywhere() {
        let cli = Cli::try_parse_from(["zcn", "doctor", "-vv"]).expect("parses");
        assert_eq!(cli.verbose, 2);
        let cli = Cli::try_parse_from(["zcn", "-v", "doctor", "--json"]).expect("parses");
        assert_eq!(cli.verbose, 1);
        assert!(matches!(cli.command, Command::Doctor(args) if args.json));
    }

    #[test]
    fn nonsense_is_misuse() {
        let error = Cli::try_parse_from(["zcn", "dance"]).expect_err("no such subcommand");
        assert_eq!(error.exit_code(), 2);
    }
}
