//! Connection ids: the ints by which callbacks and calls name the connections of a loop.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::Arc;

use zcn::{Attempt, CloseReason, ConnId};

use crate::address::ZCN_Address;
use crate::stats::Sends;

/// Bits of an id that tell the place; the generation has the 11 above, and the sign stays clear.
const PLACE_BITS: u32 = 20;
const PLACES_MAX: usize = 1 << PLACE_BITS;
const GENERATION_MAX: u16 = (1 << (31 - PLACE_BITS)) - 1;

/// A place is used again only when so many others are vacant, so that an id comes back after two
/// million connections at the earliest, however few there are at a time.
const VACANT_MIN: usize = 1024;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Connecting(Attempt),
    Open(ConnId),
    /// Only `on_close` is left, in which it is still known why.
    Closed(CloseReason),
}

/// One connection of a loop as C knows it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) link: Link,
    /// The server or client it is of.
    pub(crate) endpoint: u32,
    /// The application's; never looked through.
    pub(crate) user_data: *mut c_void,
    pub(crate) peer: ZCN_Address,
    /// Where its sends are counted.
    pub(crate) sends: Arc<Sends>,
}

/// What every call on a connection needs, apart from the rest: three of them share a cache line.
#[derive(Debug)]
struct Place {
    /// While it is open.
    open: Option<ConnId>,
    endpoint: u32,
    generation: u16,
}

/// The connections of a loop, by id.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    places: Vec<Place>,
    /// By the same index.
    all: Vec<Option<Connection>>,
    /// First vacated, first used again.
    vacant: VecDeque<u32>,
}

fn split(id: c_int) -> Option<(usize, u16)> {
    let id = u32::try_from(id).ok()?;
    Some((id as usize & (PLACES_MAX - 1), (id >> PLACE_BITS) as u16))
}

fn join(place: usize, generation: u16) -> c_int {
    (u32::from(generation) << PLACE_BITS | place as u32) as c_int
}

impl Connections {
    /// An id for a connection, above 0; `None` when there are a million.
    pub(crate) fn insert(&mut self, connection: Connection) -> Option<c_int> {
        let full = self.places.len() >= PLACES_MAX;
        let place = match self.vacant.len() >= VACANT_MIN || full {
            true => self.vacant.pop_front()? as usize,
            false => {
                self.places.push(Place {
                    open: None,
                    endpoint: 0,
                    generation: 1,
                });
                self.all.push(None);
                self.places.len() - 1
            }
        };
        let id = join(place, self.places[place].generation);
        let link = connection.link;
        self.places[place].endpoint = connection.endpoint;
        self.all[place] = Some(connection);
        self.set_link(id, link);
        Some(id)
    }

    /// The open connection of this id, and whose it is.
    #[inline(always)]
    pub(crate) fn open(&self, id: c_int) -> Option<(ConnId, u32)> {
        let (place, generation) = split(id)?;
        let place = self.places.get(place)?;
        match place.generation == generation {
            true => Some((place.open?, place.endpoint)),
            false => None,
        }
    }

    #[inline(always)]
    fn place_of(&self, id: c_int) -> Option<usize> {
        let (place, generation) = split(id)?;
        (self.places.get(place)?.generation == generation).then_some(place)
    }

    #[inline(always)]
    pub(crate) fn get(&self, id: c_int) -> Option<&Connection> {
        self.all[self.place_of(id)?].as_ref()
    }

    /// The connection, but for its link.
    pub(crate) fn get_mut(&mut self, id: c_int) -> Option<&mut Connection> {
        let place = self.place_of(id)?;
        self.all[place].as_mut()
    }

    /// Counts a send on this connection for its server or client.
    #[inline(always)]
    pub(crate) fn count_send(&self, id: c_int, bytes: usize, accepted: bool) {
        if let Some(connection) = self.get(id) {
            connection.sends.count(bytes, accepted);
        }
    }

    pub(crate) fn set_link(&mut self, id: c_int, link: Link) {
        if let Some(place) = self.place_of(id)
            && let Some(connection) = &mut self.all[place]
        {
            connection.link = link;
            self.places[place].open = match link {
                Link::Open(id) => Some(id),
                Link::Connecting(_) | Link::Closed(_) => None,
            };
        }
    }

    pub(crate) fn remove(&mut self, id: c_int) {
        let Some(index) = self.place_of(id) else {
            return;
        };
        if self.all[index].take().is_some() {
            let place = &mut self.places[index];
            place.open = None;
            place.generation = match place.generation {
                GENERATION_MAX => 1,
                generation => generation + 1,
            };
            self.vacant.push_back(index as u32);
        }
    }

    /// Takes away all that belong to one server or client.
    pub(crate) fn remove_all(&mut self, endpoint: u32) {
        let of = |(index, connection): (usize, &Option<Connection>)| {
            let theirs = connection.as_ref()?.endpoint == endpoint;
            theirs.then(|| join(index, self.places[index].generation))
        };
        let ids: Vec<c_int> = self.all.iter().enumerate().filter_map(of).collect();
        for id in ids {
            self.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(endpoint: u32) -> Connection {
        Connection {
            link: Link::Closed(CloseReason::Local),
            endpoint,
            user_data: std::ptr::null_mut(),
            peer: ZCN_Address::default(),
            sends: Arc::default(),
        }
    }

    #[test]
    fn an_id_is_positive_and_stale_once_its_connection_is_gone() {
        let mut connections = Connections::default();
        let first = connections.insert(sample(1)).unwrap();
        assert!(first > 0);
        assert_eq!(connections.get(first).unwrap().endpoint, 1);
        connections.remove(first);
        assert!(connections.get(first).is_none());
        assert!(connections.get_mut(first).is_none());
        connections.remove(first);
        for foreign in [0, -1, c_int::MIN, c_int::MAX] {
            assert!(connections.get(foreign).is_none(), "{foreign}");
        }
    }

    #[test]
    fn an_id_does_not_come_back_for_two_million_connections() {
        let mut connections = Connections::default();
        let first = connections.insert(sample(0)).unwrap();
        connections.remove(first);
        let least = VACANT_MIN as u64 * u64::from(GENERATION_MAX);
        for _ in 1..least {
            let id = connections.insert(sample(0)).unwrap();
            assert_ne!(id, first);
            assert!(id > 0);
            connections.remove(id);
        }
        assert!(connections.places.len() <= VACANT_MIN + 1);
    }

    #[test]
    fn one_owner_s_connections_go_together() {
        let mut connections = Connections::default();
        let ids: Vec<c_int> = (0..6)
            .map(|n| connections.insert(sample(n % 2)).unwrap())
            .collect();
        connections.remove_all(1);
        let left: Vec<bool> = ids
            .iter()
            .map(|&id| connections.get(id).is_some())
            .collect();
        assert_eq!(left, [true, false, true, false, true, false]);
    }
}
