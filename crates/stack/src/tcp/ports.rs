//! Ephemeral ports (RFC 6056, algorithm 4: double hash).

use core::net::SocketAddr;

use crate::random::{SecretKey, Seed};

/// Counters of the second hash.
const COUNTERS: usize = 256;

/// Draws local ports: not to be guessed by a stranger, and slow to come again.
#[derive(Debug)]
pub(crate) struct Ports {
    offset: SecretKey,
    counter: SecretKey,
    counters: [u16; COUNTERS],
    first: u16,
    count: u32,
}

impl Ports {
    /// Ports from `first` to `last`, both included.
    pub(crate) fn new(seed: &Seed, (first, last): (u16, u16)) -> Self {
        Self {
            offset: SecretKey::derive(seed, "tcp port offset"),
            counter: SecretKey::derive(seed, "tcp port counter"),
            counters: [0; COUNTERS],
            first,
            count: u32::from(last.saturating_sub(first)) + 1,
        }
    }

    /// The first port for `remote` that is `free`; `None` when all are taken.
    pub(crate) fn draw(
        &mut self,
        local: &SocketAddr,
        remote: &SocketAddr,
        mut free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let local = SocketAddr::new(local.ip(), 0);
        let offset = self.offset.hash_endpoints(&local, remote, 0) as u32 % self.count;
        let counter = self.counter.hash_endpoints(&local, remote, 0) as usize % COUNTERS;
        for tried in 1..=self.count {
            let step = u32::from(self.counters[counter]).wrapping_add(tried);
            let port = self.first + ((offset + step) % self.count) as u16;
            if free(port) {
                self.counters[counter] = (step % self.count) as u16;
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_port_is_drawn_once_and_then_none() {
        let mut ports = Ports::new(&[5; 32], (40_000, 40_099));
        let local = "10.0.0.1:0".parse().unwrap();
        let remote = "10.0.0.2:80".parse().unwrap();
        let mut taken = BTreeSet::new();
        while let Some(port) = ports.draw(&local, &remote, |port| !taken.contains(&port)) {
            assert!(taken.insert(port));
        }
        assert_eq!(taken.len(), 100);
        assert_eq!(
            (taken.first(), taken.last()),
            (Some(&40_000), Some(&40_099))
        );
    }

    #[test]
    fn starts_differ_by_peer_and_by_seed() {
        let local = "10.0.0.1:0".parse().unwrap();
        let first = |seed: u8, remote: &str| {
            let mut ports = Ports::new(&[seed; 32], (32_768, 60_999));
            ports
                .draw(&local, &remote.parse().unwrap(), |_| true)
                .unwrap()
        };
        assert_ne!(first(1, "10.0.0.2:80"), first(1, "10.0.0.3:80"));
        assert_ne!(first(1, "10.0.0.2:80"), first(2, "10.0.0.2:80"));
    }

    #[test]
    fn a_full_range_works() {
        let mut ports = Ports::new(&[6; 32], (1, u16::MAX));
        let end = "10.0.0.1:9".parse().unwrap();
        for _ in 0..1000 {
            assert!(ports.draw(&end, &end, |port| port > 0).is_some());
        }
    }
}
