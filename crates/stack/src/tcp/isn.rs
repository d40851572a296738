//! Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323 section 5.4).

use core::net::SocketAddr;

use zcn_wire::SeqNum;

use crate::random::{SecretKey, Seed};
use crate::time::Instant;

/// Draws initial sequence numbers and timestamp offsets.
#[derive(Debug)]
pub(crate) struct Isn {
    number: SecretKey,
    timestamp: SecretKey,
}

impl Isn {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            number: SecretKey::derive(seed, "tcp isn"),
            timestamp: SecretKey::derive(seed, "tcp timestamp"),
        }
    }

    /// `ISN = M + F(local, remote, secret)`, with M a clock of one tick per 64 ns as in
    /// Linux: a later connection between the same ends starts higher.
    pub(crate) fn number(&self, now: Instant, local: &SocketAddr, remote: &SocketAddr) -> SeqNum {
        let hash = self.number.hash_endpoints(local, remote, 0) as u32;
        SeqNum(hash.wrapping_add((now.as_nanos() >> 6) as u32))
    }

    /// What is added to the clock for a pair of hosts: uptime and other hosts' clocks
    /// cannot be told from it, and TIME-WAIT reuse by timestamps still works.
    pub(crate) fn timestamp_offset(&self, local: &SocketAddr, remote: &SocketAddr) -> u32 {
        self.timestamp.hash_hosts(local.ip(), remote.ip()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn isn_is_not_a_clock() {
        // origins.md 1a: the predecessor's ISN was the millisecond clock.
        let isn = Isn::new(&[1; 32]);
        let now = Instant::from_secs(5);
        let (local, remote) = (end("10.0.0.1:80"), end("10.0.0.2:4000"));
        let other = end("10.0.0.2:4001");
        let first = isn.number(now, &local, &remote);
        assert_ne!(first, isn.number(now, &local, &other));
        let later = isn.number(now + Duration::from_millis(1), &local, &remote);
        assert_eq!(later.distance(first), 1_000_000 / 64);
        assert_ne!(first, Isn::new(&[2; 32]).number(now, &local, &remote));
    }

    #[test]
    fn isns_of_ten_thousand_ports_spread() {
        let isn = Isn::new(&[3; 32]);
        let mut buckets = [0_u32; 16];
        for port in 1..=10_000 {
            let remote = SocketAddr::new([192, 0, 2, 1].into(), port);
            let number = isn.number(Instant::ZERO, &end("10.0.0.1:80"), &remote);
            buckets[(number.0 >> 28) as usize] += 1;
        }
        assert!(
            buckets.iter().all(|&n| (500..750).contains(&n)),
            "{buckets:?}"
        );
    }

    #[test]
    fn timestamp_offset_is_of_the_hosts() {
        let isn = Isn::new(&[4; 32]);
        let (a, b, c) = (end("10.0.0.1:1"), end("10.0.0.2:2"), end("10.0.0.2:3"));
        assert_eq!(isn.timestamp_offset(&a, &b), isn.timestamp_offset(&a, &c));
        assert_ne!(isn.timestamp_offset(&a, &b), isn.timestamp_offset(&b, &a));
    }
}
