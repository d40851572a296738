//! A lock-free stack of indices that is safe against ABA.

use crate::sync::{AtomicU32, AtomicU64, Ordering, lost_race};

/// "No index": the end of a chain.
pub(crate) const NIL: u32 = (1 << INDEX_BITS) - 1;
const INDEX_BITS: u32 = 25;
const TAG_ONE: u64 = 1 << INDEX_BITS;

/// Where the links of the stacked things live. An index is in at most one stack at a
/// time, so one link each is enough.
pub(crate) trait Links {
    /// The link of `index`. Panics if there is no such thing.
    fn link(&self, index: u32) -> &AtomicU32;

    /// Told of the index that will be popped next, if nobody else is faster.
    #[inline]
    fn will_pop(&self, _index: u32) {}
}

impl Links for [AtomicU32] {
    #[inline]
    fn link(&self, index: u32) -> &AtomicU32 {
        &self[index as usize]
    }
}

/// Treiber's stack over indices: the head holds the top index in its low 25 bits and a
/// 39-bit tag above them.
///
/// Every change of the head raises the tag, so a compare-exchange succeeds only if nobody
/// changed the stack since the head was read: the chain below it, too, is then as read,
/// because links of stacked things change only through the head. A thread would have to
/// sleep through exactly a multiple of 2^39 changes to be fooled; at 10 ns each that is
/// an hour and a half between two of its instructions.
pub(crate) struct TaggedStack {
    /// `push` releases the links and whatever the pusher wrote into the pushed things;
    /// `pop` acquires it. All changes are read-modify-writes, so each head value carries
    /// on the release sequences of all pushes before it, and acquiring any of them is
    /// acquiring what is on the stack.
    head: AtomicU64,
}

#[inline]
fn index_of(head: u64) -> u32 {
    (head as u32) & NIL
}

#[inline]
fn successor(head: u64, index: u32) -> u64 {
    ((head & !u64::from(NIL)).wrapping_add(TAG_ONE)) | u64::from(index)
}

impl TaggedStack {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicU64::new(u64::from(NIL)),
        }
    }

    /// Puts one index on top. The caller owns it and gives it away.
    #[inline]
    pub(crate) fn push<L: Links + ?Sized>(&self, links: &L, index: u32) {
        self.push_chain(links, index, index);
    }

    /// Puts a chain on top with one exchange: `first` is linked down to `last` already.
    fn push_chain<L: Links + ?Sized>(&self, links: &L, first: u32, last: u32) {
        let bottom = links.link(last);
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            bottom.store(index_of(head), Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                successor(head, first),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => {
                    head = now;
                    lost_race();
                }
            }
        }
    }

    /// Puts all of `indices` on top with one exchange, the last one uppermost. The caller
    /// owns them and gives them away.
    pub(crate) fn push_all<L: Links + ?Sized>(&self, links: &L, indices: &[u32]) {
        let (Some(&bottom), Some(&top)) = (indices.first(), indices.last()) else {
            return;
        };
        for pair in indices.windows(2) {
            // Ordered by the exchange that publishes the chain.
            links.link(pair[1]).store(pair[0], Ordering::Relaxed);
        }
        self.push_chain(links, top, bottom);
    }

    /// Takes the top index, which the caller owns from then on.
    #[inline]
    pub(crate) fn pop<L: Links + ?Sized>(&self, links: &L) -> Option<u32> {
        let mut one = [0];
        (self.pop_many(links, &mut one) == 1).then_some(one[0])
    }

    /// Takes up to `into.len()` indices with one exchange, the top one last in `into`,
    /// so that a reader from the end sees them in the order of single pops. Returns how
    /// many, at the start of `into`.
    pub(crate) fn pop_many<L: Links + ?Sized>(&self, links: &L, into: &mut [u32]) -> usize {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let mut next = index_of(head);
            let mut taken = 0;
            if next != NIL {
                links.will_pop(next);
            }
            // What is read here may be out of date, but it is always an index or NIL; if
            // it was out of date, the tag moved and the exchange fails.
            while taken < into.len() && next != NIL {
                into[taken] = next;
                taken += 1;
                next = links.link(next).load(Ordering::Relaxed);
            }
            if taken == 0 {
                return 0;
            }
            match self.head.compare_exchange_weak(
                head,
                successor(head, next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    into[..taken].reverse();
                    return taken;
                }
                Err(now) => {
                    head = now;
                    lost_race();
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn links(count: u32) -> Vec<AtomicU32> {
        (0..count).map(|_| AtomicU32::new(NIL)).collect()
    }

    #[test]
    fn is_last_in_first_out() {
        let (stack, links) = (TaggedStack::new(), links(4));
        assert_eq!(stack.pop(&links[..]), None);
        for index in 0..4 {
            stack.push(&links[..], index);
        }
        for index in (0..4).rev() {
            assert_eq!(stack.pop(&links[..]), Some(index));
        }
        assert_eq!(stack.pop(&links[..]), None);
    }

    #[test]
    fn pop_many_takes_what_there_is() {
        let (stack, links) = (TaggedStack::new(), links(5));
        for index in 0..5 {
            stack.push(&links[..], index);
        }
        let mut into = [NIL; 3];
        assert_eq!(stack.pop_many(&links[..], &mut into), 3);
        assert_eq!(into, [2, 3, 4]);
        assert_eq!(stack.pop_many(&links[..], &mut into), 2);
        assert_eq!(into[..2], [0, 1]);
        assert_eq!(stack.pop_many(&links[..], &mut into), 0);
    }

    #[test]
    fn tag_wraps_without_touching_the_index() {
        assert_eq!(index_of(successor(u64::MAX, 7)), 7);
        assert_eq!(successor(u64::MAX, 7) >> INDEX_BITS, 0);
    }
}
