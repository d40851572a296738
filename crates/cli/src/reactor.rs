//! Choice of what drives a runtime.

use std::time::Duration;

use clap::ValueEnum;
use zcn::{ReactorKind, RuntimeBuilder, Sleep};

/// What drives the event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReactorChoice {
    /// io_uring; an error where it is refused.
    Uring,
    /// epoll.
    Epoll,
}

/// Settings of a runtime after `--reactor` and `--spin`.
pub fn builder(choice: Option<ReactorChoice>, spin_us: u64) -> RuntimeBuilder {
    let kind = match choice {
        None => ReactorKind::Auto,
        Some(ReactorChoice::Uring) => ReactorKind::Uring,
        Some(ReactorChoice::Epoll) => ReactorKind::Epoll,
    };
    let sleep = match spin_us {
        0 => Sleep::Block,
        us => Sleep::Spin(Duration::from_micros(us)),
    };
    zcn::Runtime::builder().reactor(kind).sleep(sleep)
}

/// The name of a reactor in use.
pub fn name(kind: ReactorKind) -> &'static str {
    match kind {
        ReactorKind::Uring => "io_uring",
        ReactorKind::Epoll => "epoll",
        ReactorKind::Auto => "auto",
    }
}
