//! From addresses and ports to sockets: connections by both ends, listeners by one.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::collections::BTreeMap;

use hashbrown::HashTable;

use crate::random::SecretKey;

/// Connections by their two ends.
///
/// An open-addressing table hashed with a secret, so that nobody can choose addresses that
/// collide. It holds the hash and the value, 16 bytes for an [`Id`](crate::slab::Id), and
/// asks the caller whether a value is the one looked for: the ends themselves are stored
/// once, in the connection.
#[derive(Debug)]
pub struct Demux<V> {
    key: SecretKey,
    table: HashTable<(u64, V)>,
}

impl<V: Copy> Demux<V> {
    /// An empty table, which holds no memory.
    pub fn new(key: SecretKey) -> Self {
        Self {
            key,
            table: HashTable::new(),
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The hash that the other methods take: computed once for several of them.
    #[inline]
    pub fn hash(&self, local: &SocketAddr, remote: &SocketAddr) -> u64 {
        self.key.table_hash(local, remote)
    }

    /// The value of this hash for which `is` answers yes.
    #[inline]
    pub fn get(&self, hash: u64, mut is: impl FnMut(V) -> bool) -> Option<V> {
        self.table
            .find(hash, |&(other, value)| other == hash && is(value))
            .map(|&(_, value)| value)
    }

    /// Adds a value. That there is none for the same ends is the caller's to know.
    pub fn insert(&mut self, hash: u64, value: V) {
        self.table
            .insert_unique(hash, (hash, value), |&(hash, _)| hash);
    }

    /// Takes out the value of this hash for which `is` answers yes.
    pub fn remove(&mut self, hash: u64, mut is: impl FnMut(V) -> bool) -> Option<V> {
        let entry = self
            .table
            .find_entry(hash, |&(other, value)| other == hash && is(value))
            .ok()?;
        Some(entry.remove().0.1)
    }
}

/// What a listener or an unconnected socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Address; an unspecified one (`0.0.0.0`, `::`) means every address.
    pub address: SocketAddr,
    /// Bound to `::`, whether IPv4 is not received too (IPV6_V6ONLY).
    pub v6_only: bool,
    /// Whether a binding to every address and one to a single address may share the port
    /// (SO_REUSEADDR); both must wish so.
    pub reuse_address: bool,
}

impl Binding {
    /// A binding to `address`, both families for `::`, shared with nobody.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            v6_only: false,
            reuse_address: false,
        }
    }

    /// Whether it receives what is sent to `address` (not asking for the port).
    fn covers(&self, address: IpAddr) -> bool {
        match self.address.ip() {
            IpAddr::V4(own) => own.is_unspecified() && address.is_ipv4() || address == own,
            IpAddr::V6(own) => {
                own.is_unspecified() && (address.is_ipv6() || !self.v6_only) || address == own
            }
        }
    }

    fn is_wildcard(&self) -> bool {
        self.address.ip().is_unspecified()
    }

    /// Whether the two cannot both be.
    fn conflicts(&self, other: &Self) -> bool {
        let overlap = self.covers(other.address.ip()) || other.covers(self.address.ip());
        let differ_in_width = self.address.ip() != other.address.ip();
        let scopes_differ = scope(&self.address) != scope(&other.address)
            && !self.is_wildcard()
            && !other.is_wildcard();
        overlap && !scopes_differ && !(self.reuse_address && other.reuse_address && differ_in_width)
    }
}

fn scope(address: &SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

/// The address and port are taken (EADDRINUSE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address already in use")]
pub struct AddressInUse;

/// Listeners and unconnected sockets by the end they are bound to.
///
/// An exact address is found before every address of its family, and that before `::`
/// with both families.
#[derive(Debug)]
pub struct Listeners<V> {
    ports: BTreeMap<u16, Vec<(Binding, V)>>,
    len: usize,
}

impl<V> Default for Listeners<V> {
    fn default() -> Self {
        Self {
            ports: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<V: Copy + PartialEq> Listeners<V> {
    /// How many bindings there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no binding.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a binding.
    ///
    /// # Errors
    /// If another one receives from the same address and port.
    pub fn insert(&mut self, binding: Binding, value: V) -> Result<(), AddressInUse> {
        if self.conflicts(&binding) {
            return Err(AddressInUse);
        }
        self.ports
            .entry(binding.address.port())
            .or_default()
            .push((binding, value));
        self.len += 1;
        Ok(())
    }

    /// Whether [`insert`](Self::insert) would fail.
    pub fn conflicts(&self, binding: &Binding) -> bool {
        self.ports
            .get(&binding.address.port())
            .is_some_and(|bindings| bindings.iter().any(|(other, _)| other.conflicts(binding)))
    }

    /// Takes out the binding of `value` at `port`.
    pub fn remove(&mut self, port: u16, value: V) -> Option<Binding> {
        let bindings = self.ports.get_mut(&port)?;
        let at = bindings.iter().position(|&(_, other)| other == value)?;
        let (binding, _) = bindings.swap_remove(at);
        if bindings.is_empty() {
            self.ports.remove(&port);
        }
        self.len -= 1;
        Some(binding)
    }

    /// Who receives what is sent to `local`.
    pub fn get(&self, local: &SocketAddr) -> Option<V> {
        let rank = |binding: &Binding| {
            if !binding.is_wildcard() {
                0
            } else if binding.address.is_ipv4() == local.is_ipv4() {
                1
            } else {
                2
            }
        };
        self.ports
            .get(&local.port())?
            .iter()
            .filter(|(binding, _)| {
                binding.covers(local.ip())
                    && (binding.is_wildcard()
                        || scope(&binding.address) == 0
                        || scope(&binding.address) == scope(local))
            })
            .min_by_key(|(binding, _)| rank(binding))
            .map(|&(_, value)| value)
    }
}

/// The same address as both ends of a connection write it: an IPv4-mapped one as IPv4,
/// no flow label, a scope only where it is link-local (RFC 4007).
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => {
                let mut v6 = v6;
                v6.set_flowinfo(0);
                if !is_link_local(v6.ip()) {
                    v6.set_scope_id(0);
                }
                v6.into()
            }
        },
    }
}

/// Whether an address means something on its link only: `fe80::/10`, or multicast of
/// interface or link scope.
pub fn is_link_local(address: &Ipv6Addr) -> bool {
    address.is_unicast_link_local()
        || address.is_multicast() && matches!(address.octets()[1] & 0xf, 1 | 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Id;

    fn end(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<(u64, Id)>(), 16);
    }

    #[test]
    fn connections_are_found_by_both_ends() {
        let ends: Vec<_> = (0..5_000_u16)
            .map(|port| {
                (
                    end("10.0.0.1:80"),
                    SocketAddr::new([10, 0, 0, 2].into(), port),
                )
            })
            .collect();
        let mut demux = Demux::new(SecretKey::derive(&[1; 32], "demux"));
        for (index, (local, remote)) in ends.iter().enumerate() {
            let hash = demux.hash(local, remote);
            assert_eq!(demux.get(hash, |at: usize| ends[at].1 == *remote), None);
            demux.insert(hash, index);
        }
        for (index, (local, remote)) in ends.iter().enumerate() {
            let hash = demux.hash(local, remote);
            assert_eq!(demux.get(hash, |at| ends[at].1 == *remote), Some(index));
            let swapped = demux.hash(remote, local);
            assert_eq!(demux.get(swapped, |at| ends[at].0 == *remote), None);
        }
        for (index, (local, remote)) in ends.iter().enumerate() {
            let hash = demux.hash(local, remote);
            assert_eq!(demux.remove(hash, |at| at == index), Some(index));
            assert_eq!(demux.remove(hash, |at| at == index), None);
        }
        assert!(demux.is_empty());
    }

    #[test]
    fn an_exact_listener_is_found_before_a_wildcard_before_dual_stack() {
        let mut listeners = Listeners::default();
        let bind = |address, v6_only| Binding {
            v6_only,
            reuse_address: true,
            ..Binding::new(end(address))
        };
        listeners.insert(bind("[::]:80", false), 1).unwrap();
        assert_eq!(listeners.get(&end("10.0.0.1:80")), Some(1));
        listeners.insert(bind("0.0.0.0:80", false), 2).unwrap();
        listeners.insert(bind("10.0.0.1:80", false), 3).unwrap();
        for (to, found) in [
            ("10.0.0.1:80", Some(3)),
            ("10.0.0.2:80", Some(2)),
            ("[fd00::1]:80", Some(1)),
            ("10.0.0.1:81", None),
        ] {
            assert_eq!(listeners.get(&end(to)), found, "{to}");
        }
        assert_eq!(listeners.remove(80, 3).unwrap().address, end("10.0.0.1:80"));
        assert_eq!(listeners.get(&end("10.0.0.1:80")), Some(2));
        listeners.remove(80, 2).unwrap();
        listeners.remove(80, 1).unwrap();
        assert!(listeners.is_empty());
        listeners.insert(bind("[::]:80", true), 4).unwrap();
        assert_eq!(listeners.get(&end("10.0.0.1:80")), None);
    }

    #[test]
    fn overlapping_bindings_are_refused() {
        let bind = |address: &str, v6_only, reuse_address| Binding {
            address: end(address),
            v6_only,
            reuse_address,
        };
        let exact = bind("10.0.0.1:80", false, false);
        let any4 = bind("0.0.0.0:80", false, false);
        let any6 = bind("[::]:80", false, false);
        let only6 = bind("[::]:80", true, false);
        let table = [
            (exact, exact, true),
            (exact, bind("10.0.0.2:80", false, false), false),
            (exact, bind("10.0.0.1:81", false, false), false),
            (exact, any4, true),
            (exact, any6, true),
            (exact, only6, false),
            (any4, any6, true),
            (any4, only6, false),
            (bind("10.0.0.1:80", false, true), any4, true),
            (
                bind("10.0.0.1:80", false, true),
                bind("0.0.0.0:80", false, true),
                false,
            ),
            (
                bind("10.0.0.1:80", false, true),
                bind("10.0.0.1:80", false, true),
                true,
            ),
            (
                bind("[fe80::1%1]:80", false, false),
                bind("[fe80::1%2]:80", false, false),
                false,
            ),
        ];
        for (first, second, conflict) in table {
            for (first, second) in [(first, second), (second, first)] {
                let mut listeners = Listeners::default();
                listeners.insert(first, 0).unwrap();
                assert_eq!(
                    listeners.insert(second, 1).is_err(),
                    conflict,
                    "{first:?} {second:?}"
                );
            }
        }
    }

    #[test]
    fn canonical_addresses_compare() {
        for (given, same) in [
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("[::ffff:10.0.0.1]:1", "10.0.0.1:1"),
            ("[fd00::1%3]:1", "[fd00::1]:1"),
            ("[fe80::1%3]:1", "[fe80::1%3]:1"),
            ("[ff02::1%3]:1", "[ff02::1%3]:1"),
            ("[ff05::1%3]:1", "[ff05::1]:1"),
        ] {
            assert_eq!(canonical(end(given)), end(same));
        }
    }
}
