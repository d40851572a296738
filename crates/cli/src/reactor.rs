//! Choice of what drives a runtime, and of how it sleeps.

use std::time::Duration;

use clap::{Args, ValueEnum};
use zcn::{ReactorKind, RuntimeBuilder, Sleep};

use crate::quantity;

/// What drives the event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReactorChoice {
    /// io_uring; an error where it is refused.
    Uring,
    /// epoll.
    Epoll,
}

/// Arguments of every subcommand that runs an event loop.
#[derive(Clone, Copy, Debug, Args)]
pub struct LoopArgs {
    /// Microseconds to spin before sleeping; 0 sleeps at once [default: 0].
    #[arg(long, value_name = "US", value_parser = quantity::whole(0_u64..))]
    pub spin: Option<u64>,

    /// What drives the event loop [default: io_uring, or epoll where it is
    /// refused].
    #[arg(long, value_enum)]
    pub reactor: Option<ReactorChoice>,
}

impl LoopArgs {
    /// Microseconds to spin before sleeping.
    pub fn spin_us(&self) -> u64 {
        self.spin.unwrap_or(0)
    }

    /// Settings of a runtime after these arguments.
    pub fn builder(&self) -> RuntimeBuilder {
        let kind = match self.reactor {
            None => ReactorKind::Auto,
            Some(ReactorChoice::Uring) => ReactorKind::Uring,
            Some(ReactorChoice::Epoll) => ReactorKind::Epoll,
        };
        let sleep = match self.spin_us() {
            0 => Sleep::Block,
            us => Sleep::Spin(Duration::from_micros(us)),
        };
        zcn::Runtime::builder().reactor(kind).sleep(sleep)
    }
}

/// The name of a reactor in use.
pub fn name(kind: ReactorKind) -> &'static str {
    match kind {
        ReactorKind::Uring => "io_uring",
        ReactorKind::Epoll => "epoll",
        ReactorKind::Auto => "auto",
    }
}
