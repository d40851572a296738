//! The process of the client.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zcn_measure::core::on_core;
use zcn_measure::error::Error;
use zcn_measure::load::{Connections, Phase, Window};

use super::{tell, told};
use crate::harness::Result;

/// What the client says: first that the idle connections are open, then the rest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Message {
    IdleOpen,
    Done {
        requests: u64,
        elapsed_ns: u64,
        p99_ns: u64,
        idle_messages: u64,
    },
}

/// `ADDRESS IDLE ACTIVE NANOSECONDS CORE`: drives the server, pausing after the idle
/// connections are open until a line comes.
pub(super) fn run(arguments: &[String]) -> Result {
    let [address, idle, active, nanoseconds, core] = arguments else {
        return Err("the client's process needs five arguments".into());
    };
    let load = Connections {
        idle: idle.parse()?,
        active: active.parse()?,
        duration: Duration::from_nanos(nanoseconds.parse()?),
    };
    let address = address.parse()?;
    let done = on_core(core.parse()?, || {
        let mut window = Window::default();
        let report = load.run(address, &mut window, |phase| match phase {
            Phase::IdleOpen => pause().map_err(|error| Error::Options(error.to_string())),
            _ => Ok(()),
        })?;
        Ok(Message::Done {
            requests: report.active.requests,
            elapsed_ns: window.span().elapsed.as_nanos() as u64,
            p99_ns: report.active.latency.quantile_ns(0.99),
            idle_messages: report.idle_messages,
        })
    })?;
    tell(&done)
}

fn pause() -> Result {
    tell(&Message::IdleOpen)?;
    match told()? {
        true => Ok(()),
        false => Err("the benchmark is gone".into()),
    }
}
