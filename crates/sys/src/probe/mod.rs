//! Probes of what this kernel, this machine and this process can do.
//!
//! Each family is a file with typed values of its own; [`all`] runs them and
//! judges what they found. Nothing is changed by probing: rings and sockets
//! that are tried are closed again.

pub mod access;
pub mod container;
pub mod cpu;
pub mod kernel;
pub mod memory;
pub mod network;
mod proc;
pub mod process;
pub mod ring;
mod uapi;
mod verdict;

pub use access::Access;
pub use kernel::KernelVersion;
pub use ring::{Answer, RingFeatures};
pub use uapi::{feature, setup};

use crate::check::Check;

/// Runs every probe, in the order in which a reader wants to see them.
///
/// Only [`Status::Fail`](crate::check::Status::Fail) stands for something
/// without which zcn cannot run: no epoll, no loopback sockets, strict
/// seccomp, or fewer than 64 descriptors.
pub fn all() -> Vec<Check> {
    let mut checks = vec![kernel::check()];
    let access = Access::probe();
    checks.push(access::check(access));
    if access == Access::Allowed {
        checks.extend(verdict::ring(RingFeatures::probe()));
    }
    checks.extend(network::checks());
    checks.extend(memory::checks());
    checks.extend(cpu::checks());
    checks.extend(process::checks());
    checks.push(container::check());
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_troubles_have_remedies() {
        let checks = all();
        let names: HashSet<_> = checks.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), checks.len());
        for check in checks {
            let troubled = matches!(check.status, Status::Warn | Status::Fail);
            assert!(!troubled || check.remedy.is_some(), "{check:?}");
            assert!(!check.value.is_empty(), "{check:?}");
        }
    }
}
