//! How often ICMP speaks.

use core::net::{IpAddr, Ipv4Addr};

use crate::config::IcmpConfig;
use crate::limit::RateLimit;
use crate::random::{Random, SecretKey, Seed};
use crate::time::Instant;

/// Sets of buckets; a secret hash chooses the one of a host.
const SETS: usize = 64;

/// Buckets in a set: as many hosts of it have one each.
const WAYS: usize = 4;

/// The bucket of a host.
#[derive(Clone, Copy, Debug)]
struct Host {
    address: IpAddr,
    limit: RateLimit,
}

/// Limits of errors, to all hosts and to each, and of echo replies.
#[derive(Debug)]
pub(crate) struct IcmpLimits {
    errors: RateLimit,
    hosts: Vec<[Host; WAYS]>,
    key: SecretKey,
    random: Random,
    pub(crate) echo_replies: RateLimit,
}

impl IcmpLimits {
    pub(crate) fn new(config: &IcmpConfig, seed: &Seed) -> Self {
        let host = Host {
            address: Ipv4Addr::UNSPECIFIED.into(),
            limit: RateLimit::new(config.errors_per_host, config.errors_per_host_burst),
        };
        Self {
            errors: RateLimit::new(config.errors, config.errors_burst),
            hosts: vec![[host; WAYS]; SETS],
            key: SecretKey::derive(seed, "icmp limits"),
            random: Random::new(seed, "icmp limits"),
            echo_replies: RateLimit::new(config.echo_replies, config.echo_replies_burst),
        }
    }

    /// Whether an error may go to `host` now.
    pub(crate) fn take_error(&mut self, now: Instant, host: IpAddr) -> bool {
        if !self.bucket(host).take(now) || !self.errors.take(now) {
            return false;
        }
        // Somebody who counts our errors to others by what is left for himself counts
        // wrongly (CVE-2020-25705).
        if self.random.below(4) == 0 {
            self.errors.take(now);
        }
        true
    }

    /// The bucket of `host`. A host that has none takes over the fullest one of its set, and what
    /// was taken out of it stays out: with however many addresses somebody asks, he gets no more
    /// than what all buckets hold.
    fn bucket(&mut self, host: IpAddr) -> &mut RateLimit {
        let set = self.key.hash_hosts(host, host) as usize % SETS;
        let set = &mut self.hosts[set];
        let mut way = 0;
        for at in 0..WAYS {
            if set[at].address == host {
                way = at;
                break;
            }
            if set[at].limit.full_at() < set[way].limit.full_at() {
                way = at;
            }
        }
        set[way].address = host;
        &mut set[way].limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limits: &mut IcmpLimits, now: Instant, hosts: impl Iterator<Item = u32>) -> usize {
        hosts
            .filter(|&host| limits.take_error(now, IpAddr::V4(host.into())))
            .count()
    }

    #[test]
    fn one_host_gets_few_and_all_hosts_not_many() {
        let config = IcmpConfig::default();
        let mut limits = IcmpLimits::new(&config, &[1; 32]);
        let now = Instant::from_secs(1);
        assert_eq!(allowed(&mut limits, now, std::iter::repeat_n(7, 100)), 6);
        let now = Instant::from_secs(100);
        let all = allowed(&mut limits, now, 0..10_000);
        assert!((30..=50).contains(&all), "{all}");
    }

    /// Two hosts in one bucket: the second of two traceroutes got no answer, one time in 256.
    #[test]
    fn a_few_hosts_never_share_a_bucket() {
        for seed in 0..250 {
            let mut limits = IcmpLimits::new(&IcmpConfig::default(), &[seed; 32]);
            let now = Instant::from_secs(1);
            for host in 0..4 {
                let one = std::iter::repeat_n(host, 7);
                assert_eq!(allowed(&mut limits, now, one), 6, "seed {seed} host {host}");
            }
        }
    }

    #[test]
    fn what_is_left_for_one_does_not_count_the_others() {
        let mut counts = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let mut limits = IcmpLimits::new(&IcmpConfig::default(), &[seed; 32]);
            counts.insert(allowed(&mut limits, Instant::from_secs(1), 0..10_000));
        }
        assert!(counts.len() > 3, "{counts:?}");
    }
}
