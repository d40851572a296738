//! Who takes part.

use zcn::{ReactorKind, Runtime};
use zcn_measure::baseline;
use zcn_measure::core::{self, Cores};
use zcn_measure::server::{Server, ServerOptions};

use super::server::{self, Ledger};
use crate::failure::Failure;

/// A server, and how it runs.
pub(super) struct Contender {
    /// Its name in tables and plots.
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) options: ServerOptions,
    /// Whether it, and the client of its round trips, look for work all the
    /// time instead of sleeping.
    pub(super) spins: bool,
    /// Name of the contender it is compared with.
    pub(super) versus: Option<&'static str>,
}

/// Everybody who takes part, and where.
pub(super) struct Field {
    pub(super) contenders: Vec<Contender>,
    /// Cores of servers and clients; `None` when there is but one.
    pub(super) cores: Option<Cores>,
    /// Why io_uring is not used, when it is not.
    pub(super) refused: Option<String>,
    pub(super) account: Ledger,
}

impl Field {
    /// Finds out what this machine allows.
    pub(super) fn enter() -> Result<Self, Failure> {
        let failed = |error| Failure::new("cannot learn which cores are there").because(error);
        let cores = match core::allowed().map_err(failed)?.len() {
            0 | 1 => None,
            _ => Some(Cores::pick().map_err(failed)?),
        };
        let refused = Runtime::builder()
            .reactor(ReactorKind::Uring)
            .build()
            .err()
            .map(|error| error.to_string());
        let account = Ledger::default();
        Ok(Self {
            contenders: contenders(cores, refused.is_none(), &account),
            cores,
            refused,
            account,
        })
    }
}

fn contenders(cores: Option<Cores>, uring: bool, ledger: &Ledger) -> Vec<Contender> {
    let (name, name_spinning, reactor) = match uring {
        true => (
            "io_uring (zcn)",
            "io_uring (zcn), spins",
            ReactorKind::Uring,
        ),
        false => ("zcn on epoll", "zcn on epoll, spins", ReactorKind::Epoll),
    };
    let zcn = |name| server::zcn(name, reactor, ledger);
    let blocking = match cores {
        Some(cores) => ServerOptions::blocking(cores.server),
        None => ServerOptions::default(),
    };
    let sleeps = |name, server, versus| Contender {
        name,
        server,
        options: blocking.clone(),
        spins: false,
        versus,
    };
    let mut all = vec![
        sleeps("blocking", baseline::blocking(), None),
        sleeps("epoll", baseline::epoll(), None),
        sleeps(name, zcn(name), Some("epoll")),
    ];
    if let Some(cores) = cores {
        let spins = |name, server, versus| Contender {
            name,
            server,
            options: ServerOptions::spinning(cores.server),
            spins: true,
            versus,
        };
        all.push(spins("epoll, spins", baseline::epoll(), None));
        all.push(spins(
            name_spinning,
            zcn(name_spinning),
            Some("epoll, spins"),
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_spins_on_a_single_core() {
        let ledger = Ledger::default();
        let alone = contenders(None, true, &ledger);
        assert!(alone.iter().all(|contender| !contender.spins));
        let cores = Cores {
            server: 0,
            client: 1,
        };
        let two = contenders(Some(cores), false, &ledger);
        assert_eq!(two.iter().filter(|contender| contender.spins).count(), 2);
        assert!(
            two.iter()
                .all(|contender| !contender.name.contains("uring"))
        );
        for contender in &two {
            if let Some(versus) = contender.versus {
                assert!(two.iter().any(|other| other.name == versus), "{versus}");
            }
        }
    }
}
