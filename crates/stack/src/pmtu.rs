//! What the paths to other hosts take: path MTU discovery (RFC 1191, RFC 8201).
//!
//! Messages are validated before they come here (RFC 5927): the caller has found the
//! connection or socket that sent what they quote.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use crate::time::Instant;

/// Smallest MTU that a message can bring about for IPv4. Below it packets go without DF,
/// so that routers cut them (RFC 1191 section 3 allows 68; 552 keeps an attacker from
/// making us send crumbs, as Linux does).
const MIN_V4: u32 = 552;
/// Smallest MTU of an IPv6 path (RFC 8200 section 5; RFC 8021: never below).
const MIN_V6: u32 = 1_280;

/// MTUs that links have, largest first: for messages from routers that name none (RFC 1191
/// section 7.1).
const PLATEAUS: [u32; 9] = [
    65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508,
];

/// What is known of the path to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PathMtu {
    /// Largest packet, headers of IP included.
    pub(crate) mtu: u32,
    /// IPv4: the path is narrower than [`MIN_V4`], so routers shall cut what we send.
    pub(crate) fragment_on_the_way: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    path: PathMtu,
    expires: Instant,
}

/// Path MTUs below the link's, by destination. Bounded; the oldest entry makes room.
#[derive(Debug)]
pub(crate) struct PathMtus {
    entries: BTreeMap<IpAddr, Entry>,
    /// In the order in which entries were made; those removed or renewed since are skipped.
    order: VecDeque<(IpAddr, Instant)>,
    cap: usize,
    lifetime: Duration,
}

impl PathMtus {
    /// Room for `cap` paths, each known for `lifetime` (RFC 8201 section 4: 10 minutes,
    /// never less than 5).
    pub(crate) fn new(cap: usize, lifetime: Duration) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            cap: cap.max(1),
            lifetime,
        }
    }

    /// Whether nothing is known of any path.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is known of the path to `destination`.
    #[inline]
    pub(crate) fn get(&self, now: Instant, destination: IpAddr) -> Option<PathMtu> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries
            .get(&destination)
            .filter(|entry| now < entry.expires)
            .map(|entry| entry.path)
    }

    /// The MTU that a router's message tells of the path to `destination`, or `None` if that
    /// is no news. `current` is what we took the path for so far, `quoted_len` the length
    /// of the packet that did not fit.
    pub(crate) fn plausible(
        &self,
        destination: IpAddr,
        mtu: u32,
        current: u32,
        quoted_len: u32,
    ) -> Option<u32> {
        if destination.is_ipv6() {
            // Less than every link must carry is discarded (RFC 8201 section 4).
            return (MIN_V6..current).contains(&mtu).then_some(mtu);
        }
        let told = if mtu < 68 {
            // An old router names no MTU: the next plateau below what did not fit.
            let below = quoted_len.min(current);
            *PLATEAUS.iter().find(|&&plateau| plateau < below)?
        } else {
            mtu
        };
        // Below the least we believe, there still is something to learn: not to set DF.
        (told < current || told < MIN_V4).then_some(told)
    }

    /// The path to `destination` is narrower than we took it for: the message was
    /// [`plausible`](Self::plausible), and quoted something that we sent.
    pub(crate) fn reduce(&mut self, now: Instant, destination: IpAddr, told: u32) {
        let min = if destination.is_ipv4() {
            MIN_V4
        } else {
            MIN_V6
        };
        let path = PathMtu {
            mtu: told.max(min),
            fragment_on_the_way: destination.is_ipv4() && told < MIN_V4,
        };
        // A path only becomes narrower until it is forgotten (RFC 8201 section 4).
        let path = match self.get(now, destination) {
            Some(known) => PathMtu {
                mtu: known.mtu.min(path.mtu),
                fragment_on_the_way: known.fragment_on_the_way || path.fragment_on_the_way,
            },
            None => path,
        };
        while self.entries.len() >= self.cap && !self.entries.contains_key(&destination) {
            let Some((oldest, expires)) = self.order.pop_front() else {
                break;
            };
            if self
                .entries
                .get(&oldest)
                .is_some_and(|entry| entry.expires == expires)
            {
                self.entries.remove(&oldest);
            }
        }
        let expires = now + self.lifetime;
        self.entries.insert(destination, Entry { path, expires });
        self.order.push_back((destination, expires));
        if self.order.len() > 2 * self.cap {
            let entries = &self.entries;
            self.order.retain(|(destination, expires)| {
                entries
                    .get(destination)
                    .is_some_and(|entry| entry.expires == *expires)
            });
        }
    }

    /// How many paths are known, expired ones included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(600);

    fn host(number: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + number).into())
    }

    /// A message about the path, taken as the stack takes it.
    fn told(paths: &mut PathMtus, now: Instant, to: IpAddr, mtu: u32, current: u32) -> Option<u32> {
        let told = paths.plausible(to, mtu, current, current)?;
        paths.reduce(now, to, told);
        Some(paths.get(now, to)?.mtu)
    }

    #[test]
    fn a_path_only_becomes_narrower_until_it_is_forgotten() {
        let mut paths = PathMtus::new(8, LIFETIME);
        let now = Instant::from_secs(1);
        assert_eq!(told(&mut paths, now, host(1), 1_400, 1_500), Some(1_400));
        assert_eq!(told(&mut paths, now, host(1), 1_450, 1_400), None);
        assert_eq!(told(&mut paths, now, host(1), 1_400, 1_400), None);
        assert_eq!(paths.get(now, host(1)).map(|path| path.mtu), Some(1_400));
        assert_eq!(paths.get(now, host(2)), None);
        let later = now + LIFETIME;
        assert_eq!(paths.get(later, host(1)), None);
        assert_eq!(told(&mut paths, later, host(1), 1_450, 1_500), Some(1_450));
    }

    #[test]
    fn no_message_makes_crumbs() {
        let mut paths = PathMtus::new(8, LIFETIME);
        let now = Instant::from_secs(1);
        assert_eq!(told(&mut paths, now, host(1), 68, 1_500), Some(552));
        assert!(paths.get(now, host(1)).unwrap().fragment_on_the_way);
        let v6: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(told(&mut paths, now, v6, 0, 1_500), None);
        assert_eq!(told(&mut paths, now, v6, 1_279, 1_500), None);
        assert_eq!(told(&mut paths, now, v6, 1_280, 1_500), Some(1_280));
        assert!(!paths.get(now, v6).unwrap().fragment_on_the_way);
    }

    #[test]
    fn a_router_that_names_no_mtu_leads_down_the_plateaus() {
        let mut paths = PathMtus::new(8, LIFETIME);
        let now = Instant::from_secs(1);
        let mut mtu = 9_000;
        let mut seen = Vec::new();
        while mtu > MIN_V4 {
            mtu = told(&mut paths, now, host(1), 0, mtu).unwrap();
            seen.push(mtu);
        }
        assert_eq!(seen, [8_166, 4_352, 2_002, 1_492, 1_006, 552]);
    }

    #[test]
    fn the_cache_is_bounded_and_the_oldest_makes_room() {
        let mut paths = PathMtus::new(4, LIFETIME);
        for number in 0..1_000 {
            let now = Instant::from_millis(u64::from(number));
            paths.reduce(now, host(number), 1_400);
            // Renewed again and again: its order entries must not pile up.
            paths.reduce(now, host(7), 1_399);
            assert!(paths.len() <= 4 && paths.order.len() <= 9);
        }
        let now = Instant::from_secs(1);
        assert!(paths.get(now, host(999)).is_some());
        assert!(paths.get(now, host(7)).is_some());
        assert!(paths.get(now, host(995)).is_none());
    }
}
