//! The names in one folder.

use std::collections::{BTreeMap, HashMap};

/// Where the entries of a folder begin: before them stand `.` and `..`.
const FIRST: u64 = 3;

/// Names with their nodes, and the order in which they came: a listing that goes on from an entry
/// finds its place again, whatever was made or removed meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    by_name: HashMap<Vec<u8>, (u64, u64)>,
    by_place: BTreeMap<u64, Vec<u8>>,
    last: u64,
}

impl Folder {
    pub(crate) fn get(&self, name: &[u8]) -> Option<u64> {
        self.by_name.get(name).map(|entry| entry.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Adds a name, or gives it to another node.
    pub(crate) fn set(&mut self, name: &[u8], node: u64) {
        if let Some(entry) = self.by_name.get_mut(name) {
            entry.0 = node;
            return;
        }
        self.last = self.last.max(FIRST - 1) + 1;
        self.by_name.insert(name.to_vec(), (node, self.last));
        self.by_place.insert(self.last, name.to_vec());
    }

    /// Removes a name; the node that it had.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<u64> {
        let (node, place) = self.by_name.remove(name)?;
        self.by_place.remove(&place);
        Some(node)
    }

    /// Entries behind a place, 0 for all, each with its own place, name and node. `own` is the
    /// folder's node, `parent` that of the one above.
    pub(crate) fn list(
        &self,
        behind: u64,
        own: u64,
        parent: u64,
    ) -> impl Iterator<Item = (u64, &[u8], u64)> {
        let dots = [(1, &b"."[..], own), (2, &b".."[..], parent)];
        let from = behind.saturating_add(1);
        dots.into_iter()
            .filter(move |entry| entry.0 > behind)
            .chain(self.by_place.range(from..).filter_map(|(place, name)| {
                self.get(name).map(|node| (*place, name.as_slice(), node))
            }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Folder, behind: u64) -> Vec<Vec<u8>> {
        folder
            .list(behind, 1, 1)
            .map(|entry| entry.1.to_vec())
            .collect()
    }

    #[test]
    fn a_listing_goes_on_where_it_was_whatever_has_changed() {
        let mut folder = Folder::default();
        for (node, name) in [b"a", b"b", b"c"].into_iter().enumerate() {
            folder.set(name, node as u64 + 2);
        }
        let seen: Vec<_> = folder.list(0, 1, 1).take(3).map(|entry| entry.0).collect();
        assert_eq!(folder.remove(b"a"), Some(2));
        folder.set(b"d", 9);
        assert_eq!(names(&folder, seen[2]), [b"b", b"c", b"d"]);
        assert_eq!(names(&folder, 0).len(), 5);
        assert_eq!(names(&folder, u64::MAX), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_name_keeps_its_place_when_its_node_changes() {
        let mut folder = Folder::default();
        folder.set(b"a", 2);
        folder.set(b"b", 3);
        folder.set(b"a", 4);
        assert_eq!(names(&folder, 2), [b"a", b"b"]);
        assert_eq!((folder.get(b"a"), folder.get(b"x")), (Some(4), None));
        folder.remove(b"a");
        folder.remove(b"b");
        assert!(folder.is_empty() && folder.remove(b"b").is_none());
    }
}
