//! Numbers that a stranger cannot guess and a test can replay.
//!
//! Everything derives from one 32-byte seed by SipHash, a keyed pseudo-random function:
//! who knows the seed replays the run, who sees the outputs learns nothing of the next
//! ones.

use core::hash::Hasher;
use core::net::{IpAddr, SocketAddr};

use siphasher::sip::{SipHasher13, SipHasher24};

/// The seed of a stack: 32 bytes, which a program takes from the kernel's random source
/// and a test from a number it prints.
pub type Seed = [u8; 32];

/// A secret for one purpose, derived from the [`Seed`].
#[derive(Clone, Copy)]
pub struct SecretKey {
    k0: u64,
    k1: u64,
}

/// The secret is not printed.
impl core::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl SecretKey {
    /// The key for `purpose`, a name that no other use in the program has.
    pub fn derive(seed: &Seed, purpose: &str) -> Self {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&seed[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        // Each half of the key comes from one half of the seed, over the other half.
        let half = |k0, k1, other: &[u8]| {
            let mut hasher = SipHasher24::new_with_keys(k0, k1);
            hasher.write(other);
            hasher.write(purpose.as_bytes());
            hasher.finish()
        };
        Self {
            k0: half(word(0), word(8), &seed[16..]),
            k1: half(word(16), word(24), &seed[..16]),
        }
    }

    /// A key that was chosen elsewhere.
    pub fn of(key: [u8; 16]) -> Self {
        let [low, high] = [0, 8].map(|at| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&key[at..at + 8]);
            u64::from_le_bytes(bytes)
        });
        Self { k0: low, k1: high }
    }

    /// SipHash-2-4 of `bytes`: for what leaves the machine (sequence numbers, ports,
    /// cookies).
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        SipHasher24::new_with_keys(self.k0, self.k1).hash(bytes)
    }

    /// SipHash-1-3 of a connection's addresses and ports: for tables, where only
    /// collisions must not be chosen. Flow labels do not count; scope ids do.
    #[inline]
    pub fn table_hash(&self, local: &SocketAddr, remote: &SocketAddr) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.k0, self.k1);
        let ports = u32::from(local.port()) << 16 | u32::from(remote.port());
        match (local, remote) {
            (SocketAddr::V4(local), SocketAddr::V4(remote)) => {
                let hosts =
                    u64::from(local.ip().to_bits()) << 32 | u64::from(remote.ip().to_bits());
                hasher.write_u64(hosts);
                hasher.write_u32(ports);
            }
            _ => {
                for end in [local, remote] {
                    match end {
                        SocketAddr::V4(end) => hasher.write_u32(end.ip().to_bits()),
                        SocketAddr::V6(end) => {
                            hasher.write(&end.ip().octets());
                            hasher.write_u32(end.scope_id());
                        }
                    }
                }
                hasher.write_u32(ports);
            }
        }
        hasher.finish()
    }

    /// SipHash-2-4 of two endpoints and a word, distinct for every distinct input.
    pub fn hash_endpoints(&self, local: &SocketAddr, remote: &SocketAddr, extra: u64) -> u64 {
        let mut bytes = [0; 2 * ENDPOINT_BYTES + 8];
        write_endpoint(&mut bytes[..ENDPOINT_BYTES], local);
        write_endpoint(&mut bytes[ENDPOINT_BYTES..2 * ENDPOINT_BYTES], remote);
        bytes[2 * ENDPOINT_BYTES..].copy_from_slice(&extra.to_le_bytes());
        self.hash(&bytes)
    }

    /// SipHash-2-4 of two hosts, distinct for every distinct pair.
    pub fn hash_hosts(&self, local: IpAddr, remote: IpAddr) -> u64 {
        self.hash_endpoints(&SocketAddr::new(local, 0), &SocketAddr::new(remote, 0), 0)
    }
}

/// Family, address, scope, port.
const ENDPOINT_BYTES: usize = 1 + 16 + 4 + 2;

fn write_endpoint(into: &mut [u8], end: &SocketAddr) {
    match end {
        SocketAddr::V4(end) => {
            into[0] = 4;
            into[1..5].copy_from_slice(&end.ip().octets());
        }
        SocketAddr::V6(end) => {
            into[0] = 6;
            into[1..17].copy_from_slice(&end.ip().octets());
            into[17..21].copy_from_slice(&end.scope_id().to_le_bytes());
        }
    }
    into[21..].copy_from_slice(&end.port().to_be_bytes());
}

/// A replayable stream of unguessable numbers: SipHash-2-4 of a counter.
#[derive(Clone, Debug)]
pub struct Random {
    key: SecretKey,
    count: u64,
}

impl Random {
    /// The stream for `purpose`; see [`SecretKey::derive`].
    pub fn new(seed: &Seed, purpose: &str) -> Self {
        Self {
            key: SecretKey::derive(seed, purpose),
            count: 0,
        }
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        self.key.hash(&self.count.to_le_bytes())
    }

    /// The next 32 bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A number below `bound`, each as likely as the others to within 2^-32.
    ///
    /// # Panics
    /// If `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "no number is below 0");
        ((u64::from(self.next_u32()) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = [7; 32];

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_seed_replays_and_purposes_differ() {
        let draw = |seed: &Seed, purpose| {
            let mut random = Random::new(seed, purpose);
            [random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(&SEED, "a"), draw(&SEED, "a"));
        assert_ne!(draw(&SEED, "a"), draw(&SEED, "b"));
        let mut other = SEED;
        other[31] ^= 1;
        assert_ne!(draw(&SEED, "a"), draw(&other, "a"));
    }

    #[test]
    fn each_bit_of_the_seed_counts() {
        let key = SecretKey::derive(&SEED, "x");
        for bit in 0..256 {
            let mut seed = SEED;
            seed[bit / 8] ^= 1 << (bit % 8);
            let other = SecretKey::derive(&seed, "x");
            assert_ne!((key.k0, key.k1), (other.k0, other.k1), "bit {bit}");
            assert_ne!(key.hash(b"m"), other.hash(b"m"), "bit {bit}");
        }
    }

    #[test]
    fn hashes_tell_inputs_apart() {
        let key = SecretKey::derive(&SEED, "x");
        let a = end("10.0.0.1:80");
        let b = end("10.0.0.2:90");
        let c = end("[fe80::1%1]:80");
        let d = end("[fe80::1%2]:80");
        let mut seen = std::collections::BTreeSet::new();
        for (local, remote) in [(a, b), (b, a), (a, a), (c, d), (d, c), (c, c)] {
            assert!(seen.insert(key.table_hash(&local, &remote)));
            assert!(seen.insert(key.hash_endpoints(&local, &remote, 0)));
            assert!(seen.insert(key.hash_endpoints(&local, &remote, 1)));
        }
    }

    #[test]
    fn below_reaches_every_number_and_no_other() {
        let mut random = Random::new(&SEED, "below");
        let mut counts = [0_u32; 10];
        for _ in 0..10_000 {
            counts[random.below(10) as usize] += 1;
        }
        for count in counts {
            assert!((800..1_200).contains(&count), "{counts:?}");
        }
    }
}
