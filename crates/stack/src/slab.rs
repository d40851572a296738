//! Values by index and generation: a stale id finds nothing, never somebody else's value.

use core::fmt;

/// Names a value of a [`Slab`]; stale once the value has been removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Place in the slab; also the key of the value in a [`Wheel`](crate::wheel::Wheel).
    pub index: u32,
    /// How many values the place has held before; 31 bits, then from 0 again.
    pub generation: u32,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

const GENERATION_MASK: u32 = u32::MAX >> 1;
/// No free place.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    /// Free, and the next free place.
    Free(u32),
}

/// A growing table whose ids carry a generation. Insert, find and remove are O(1); places
/// are used again, last removed first.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<(u32, Place<T>)>,
    free: u32,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slab<T> {
    /// An empty slab, which holds no memory.
    pub const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    /// How many values there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The id that the next [`insert`](Self::insert) will give.
    pub fn next_id(&self) -> Id {
        match self.places.get(self.free as usize) {
            Some(&(generation, _)) => Id {
                index: self.free,
                generation,
            },
            None => Id {
                index: self.places.len() as u32,
                generation: 0,
            },
        }
    }

    /// Puts `value` into a place.
    ///
    /// # Panics
    /// With 2^32 - 1 values; caps of the callers are far below.
    pub fn insert(&mut self, value: T) -> Id {
        let id = self.next_id();
        assert!(id.index != NONE, "slab of 2^32 - 1 values");
        if self.free == NONE {
            self.places.push((0, Place::Taken(value)));
        } else {
            let place = &mut self.places[id.index as usize];
            if let Place::Free(next) = place.1 {
                self.free = next;
            }
            place.1 = Place::Taken(value);
        }
        self.len += 1;
        id
    }

    /// The value, if `id` is not stale.
    #[inline]
    pub fn get(&self, id: Id) -> Option<&T> {
        match self.places.get(id.index as usize) {
            Some((generation, Place::Taken(value))) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// The value, if `id` is not stale.
    #[inline]
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        match self.places.get_mut(id.index as usize) {
            Some((generation, Place::Taken(value))) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// The id of the value in place `index`, if there is one: for keys of a wheel.
    #[inline]
    pub fn id_at(&self, index: u32) -> Option<Id> {
        match self.places.get(index as usize) {
            Some(&(generation, Place::Taken(_))) => Some(Id { index, generation }),
            _ => None,
        }
    }

    /// Takes the value out, if `id` is not stale; from then on `id` is.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        let place = &mut self.places[id.index as usize];
        place.0 = (place.0 + 1) & GENERATION_MASK;
        let old = core::mem::replace(&mut place.1, Place::Free(self.free));
        self.free = id.index;
        self.len -= 1;
        match old {
            Place::Taken(value) => Some(value),
            Place::Free(_) => None,
        }
    }

    /// All values with their ids, by place.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.places
            .iter()
            .enumerate()
            .filter_map(|(index, (generation, place))| match place {
                Place::Taken(value) => Some((
                    Id {
                        index: index as u32,
                        generation: *generation,
                    },
                    value,
                )),
                Place::Free(_) => None,
            })
    }

    /// All values with their ids, by place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id, &mut T)> {
        self.places
            .iter_mut()
            .enumerate()
            .filter_map(|(index, (generation, place))| match place {
                Place::Taken(value) => Some((
                    Id {
                        index: index as u32,
                        generation: *generation,
                    },
                    value,
                )),
                Place::Free(_) => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index, second.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.id_at(0), Some(second));
    }

    #[test]
    fn places_are_used_again_before_the_slab_grows() {
        let mut slab = Slab::new();
        let ids: Vec<_> = (0..4).map(|value| slab.insert(value)).collect();
        slab.remove(ids[1]);
        slab.remove(ids[3]);
        assert_eq!(slab.id_at(3), None);
        let expected = slab.next_id();
        assert_eq!(slab.insert(10), expected);
        assert_eq!(expected.index, 3);
        assert_eq!(slab.insert(11).index, 1);
        assert_eq!(slab.insert(12).index, 4);
        let values: Vec<_> = slab.iter().map(|(_, &value)| value).collect();
        assert_eq!(values, [0, 11, 2, 10, 12]);
    }

    #[test]
    fn generations_wrap() {
        let mut slab = Slab::new();
        let id = slab.insert(());
        slab.places[0].0 = GENERATION_MASK;
        let last = slab.id_at(0).unwrap();
        assert_ne!(id, last);
        slab.remove(last);
        assert_eq!(slab.insert(()).generation, 0);
    }
}
