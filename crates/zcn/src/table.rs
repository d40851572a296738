//! Values by index and generation: a stale key finds nothing, never somebody else's value.

/// Names a value of a [`Table`]; stale once the value has been removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// Names no value of any table: generations begin with 1.
    pub(crate) const NOTHING: Self = Self {
        index: u32::MAX,
        generation: 0,
    };
}

/// Generations are 24 bits wide, so that a key fits a completion token beside its class.
const GENERATION_MASK: u32 = (1 << 24) - 1;

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// A slab whose keys carry a generation.
#[derive(Debug)]
pub(crate) struct Table<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return Key {
                index,
                generation: place.generation,
            };
        }
        let index = self.places.len() as u32;
        self.places.push(Place {
            generation: 1,
            value: Some(value),
        });
        Key {
            index,
            generation: 1,
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        if place.generation != key.generation {
            None
        } else {
            place.value.as_ref()
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            None
        } else {
            place.value.as_mut()
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = (place.generation + 1) & GENERATION_MASK;
        if place.generation == 0 {
            place.generation = 1;
        }
        self.free.push(key.index);
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Key of the first value at `index` or behind it, to visit all without collecting keys.
    pub(crate) fn key_from(&self, index: u32) -> Option<Key> {
        let mut places = self.places.iter().zip(0..).skip(index as usize);
        places.find_map(|(place, index)| {
            place.value.as_ref().map(|_| Key {
                index,
                generation: place.generation,
            })
        })
    }

    /// Keys of all values, collected so that the table may change while they are visited.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let key = Key {
                index: index as u32,
                generation: place.generation,
            };
            place.value.as_ref().map(|value| (key, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut table = Table::new();
        let first = table.insert("first");
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second");
        assert_eq!(first.index, second.index);
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&"second"));
        assert_eq!(table.len(), 1);
        assert_eq!(table.keys(), [second]);
        assert_eq!(table.key_from(0), Some(second));
        assert_eq!(table.key_from(1), None);
    }
}
