//! Limits of the process that networking programs run into.

use std::fmt;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A resource limit; `None` stands for "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What the kernel enforces now.
    pub soft: Option<u64>,
    /// Up to where the process may raise `soft` without privilege.
    pub hard: Option<u64>,
}

impl Limit {
    /// Whether `soft` leaves room for `needed`.
    pub fn allows(&self, needed: u64) -> bool {
        self.soft.is_none_or(|soft| soft >= needed)
    }

    /// Whether raising `soft` to `hard` would leave room for `needed`.
    pub fn could_allow(&self, needed: u64) -> bool {
        self.hard.is_none_or(|hard| hard >= needed)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: Option<u64>| side.map_or("unlimited".to_owned(), |n| n.to_string());
        write!(f, "soft {}, hard {}", side(self.soft), side(self.hard))
    }
}

impl From<Rlimit> for Limit {
    fn from(limit: Rlimit) -> Self {
        Self {
            soft: limit.current,
            hard: limit.maximum,
        }
    }
}

/// How many descriptors the process may hold (`RLIMIT_NOFILE`).
pub fn open_files() -> Limit {
    getrlimit(Resource::Nofile).into()
}

/// How many bytes the process may lock (`RLIMIT_MEMLOCK`); registered buffers
/// and AF_XDP memory count against it unless the process has `CAP_IPC_LOCK`.
pub fn locked_memory() -> Limit {
    getrlimit(Resource::Memlock).into()
}

/// Raises the soft limit of descriptors to the hard one and returns the limit
/// as it is afterwards.
///
/// Rings capture the limit when an accept is armed, so call this first.
///
/// # Errors
/// Whatever `setrlimit(2)` answers; the limit is then unchanged.
pub fn raise_open_files() -> io::Result<Limit> {
    let now = open_files();
    if now.soft == now.hard {
        return Ok(now);
    }
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: now.hard,
            maximum: now.hard,
        },
    )?;
    Ok(open_files())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlimited_allows_everything() {
        let limit = Limit {
            soft: None,
            hard: None,
        };
        assert!(limit.allows(u64::MAX) && limit.could_allow(u64::MAX));
        assert_eq!(limit.to_string(), "soft unlimited, hard unlimited");
    }

    #[test]
    fn soft_and_hard_are_told_apart() {
        let limit = Limit {
            soft: Some(1024),
            hard: Some(4096),
        };
        assert!(limit.allows(1024) && !limit.allows(1025));
        assert!(limit.could_allow(4096) && !limit.could_allow(4097));
        assert_eq!(limit.to_string(), "soft 1024, hard 4096");
    }

    #[test]
    fn raising_reaches_the_hard_limit() {
        let raised = raise_open_files().expect("raising to the hard limit needs no privilege");
        assert_eq!(raised.soft, raised.hard);
        assert_eq!(raised, open_files());
    }
}
