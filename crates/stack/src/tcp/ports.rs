//! Ephemeral ports (RFC 6056, algorithm 4: double hash).

use core::net::SocketAddr;
use std::collections::VecDeque;

use crate::random::{SecretKey, Seed};

/// Counters of the second hash.
const COUNTERS: usize = 256;
/// After so many ports that were taken, those that became free last are asked.
const TRIES: u32 = 64;
/// Ports that became free and are remembered.
const FREED: usize = 256;
/// So many draws without a long search, and none are remembered any more.
const CALM: u32 = 1_024;

/// Draws local ports: not to be guessed by a stranger, and slow to come again.
#[derive(Debug)]
pub(crate) struct Ports {
    offset: SecretKey,
    counter: SecretKey,
    counters: [u16; COUNTERS],
    first: u16,
    count: u32,
    /// Both ends of connections that are over, the oldest first: where nearly all ports are
    /// taken, a search finds one only after most of the others.
    freed: VecDeque<(SocketAddr, SocketAddr)>,
    /// Draws for which ends are still remembered.
    scarce: u32,
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
            freed: VecDeque::new(),
            scarce: 0,
        }
    }

    /// A connection between these ends is over, or its TIME-WAIT.
    #[inline]
    pub(crate) fn release(&mut self, ends: impl FnOnce() -> (SocketAddr, SocketAddr)) {
        if self.scarce > 0 {
            if self.freed.len() >= FREED {
                self.freed.pop_front();
            }
            self.freed.push_back(ends());
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
                if tried <= TRIES && self.scarce > 0 {
                    self.scarce -= 1;
                    if self.scarce == 0 {
                        self.freed = VecDeque::new();
                    }
                }
                return Some(port);
            }
            if tried == TRIES {
                self.scarce = CALM;
                if let Some(port) = self.reuse(&local, remote, &mut free) {
                    return Some(port);
                }
            }
        }
        None
    }

    /// A port that became free a while ago and is so still.
    fn reuse(
        &mut self,
        local: &SocketAddr,
        remote: &SocketAddr,
        mut free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let at = self.freed.iter().position(|(ours, theirs)| {
            let drawn = ours.port().checked_sub(self.first);
            ours.ip() == local.ip()
                && theirs == remote
                && drawn.is_some_and(|drawn| u32::from(drawn) < self.count)
                && free(ours.port())
        })?;
        self.freed.remove(at).map(|(ours, _)| ours.port())
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
    fn a_port_is_found_soon_where_nearly_all_are_taken() {
        let mut ports = Ports::new(&[5; 32], (40_000, 43_999));
        let local: SocketAddr = "10.0.0.1:0".parse().unwrap();
        let remote = "10.0.0.2:80".parse().unwrap();
        let mut taken = BTreeSet::new();
        while let Some(port) = ports.draw(&local, &remote, |port| !taken.contains(&port)) {
            taken.insert(port);
        }
        assert_eq!(taken.len(), 4_000);
        let mut longest = 0;
        for round in 0..1_000_u32 {
            // One connection ends; two at times, or the same one twice.
            let ends = 1 + usize::from(round.is_multiple_of(3));
            for number in 0..ends {
                let at = (round as usize * 7_919 + number * 104_729) % taken.len();
                let port = *taken.iter().nth(at).unwrap();
                taken.remove(&port);
                let ours = SocketAddr::new(local.ip(), port);
                ports.release(|| (ours, remote));
                ports.release(|| (ours, remote));
            }
            for _ in 0..ends {
                let mut tries = 0;
                let port = ports.draw(&local, &remote, |port| {
                    tries += 1;
                    !taken.contains(&port)
                });
                assert!(taken.insert(port.unwrap()));
                longest = longest.max(tries);
            }
            assert_eq!(taken.len(), 4_000);
        }
        assert!(longest <= TRIES + FREED as u32, "{longest}");
        assert!(ports.freed.len() <= FREED);
        // Another peer's are no help, and no harm.
        let other = "10.0.0.3:80".parse().unwrap();
        assert!(ports.draw(&local, &other, |_| true).is_some());
    }

    #[test]
    fn nothing_is_remembered_where_ports_are_plenty() {
        let mut ports = Ports::new(&[5; 32], (32_768, 60_999));
        let local = "10.0.0.1:0".parse().unwrap();
        let remote = "10.0.0.2:80".parse().unwrap();
        for _ in 0..100 {
            ports.draw(&local, &remote, |_| true).unwrap();
            ports.release(|| (local, remote));
        }
        assert!(ports.freed.is_empty());
    }

    #[test]
    fn what_is_remembered_is_forgotten_when_ports_are_plenty_again() {
        let mut ports = Ports::new(&[5; 32], (32_768, 60_999));
        let local = "10.0.0.1:0".parse().unwrap();
        let remote = "10.0.0.2:80".parse().unwrap();
        // A search that is long once.
        let mut asked = 0;
        let taken = |_| {
            asked += 1;
            asked > TRIES
        };
        ports.draw(&local, &remote, taken).unwrap();
        ports.release(|| (local, remote));
        assert_eq!(ports.freed.len(), 1);
        for _ in 0..CALM {
            assert!(!ports.freed.is_empty());
            ports.draw(&local, &remote, |_| true).unwrap();
        }
        ports.release(|| (local, remote));
        assert_eq!(ports.freed.capacity(), 0);
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
