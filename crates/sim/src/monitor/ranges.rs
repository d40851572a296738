//! A set of bytes of a stream, as ranges of offsets.

use std::collections::BTreeMap;

/// Ranges that neither overlap nor touch: start to end.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u32, u32>);

impl Ranges {
    /// Adds `start..end`.
    pub(super) fn add(&mut self, mut start: u32, mut end: u32) {
        if start >= end {
            return;
        }
        while let Some((&low, &high)) = self.0.range(..=end).next_back() {
            if high < start {
                break;
            }
            start = start.min(low);
            end = end.max(high);
            self.0.remove(&low);
        }
        self.0.insert(start, end);
    }

    /// Whether all of `start..end` is in the set.
    pub(super) fn contains(&self, start: u32, end: u32) -> bool {
        let before = self.0.range(..=start).next_back();
        before.is_some_and(|(_, &high)| high >= end)
    }

    /// The end of what is there from 0 on.
    pub(super) fn contiguous(&self) -> u32 {
        self.0.get(&0).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_together() {
        let mut ranges = Ranges::default();
        for (start, end) in [(10, 20), (0, 5), (30, 40), (5, 6), (18, 30)] {
            ranges.add(start, end);
        }
        assert_eq!(ranges.contiguous(), 6);
        assert!(ranges.contains(10, 40));
        assert!(!ranges.contains(6, 11));
        assert!(!ranges.contains(10, 41));
        ranges.add(6, 10);
        assert_eq!(ranges.contiguous(), 40);
        ranges.add(7, 7);
        assert_eq!(ranges.0.len(), 1);
    }
}
