//! The second extranonce, rolled.

use crate::inline::Extranonce;

/// Second extranonces of a fixed length that no one else of the same owner draws: they count up
/// in steps, the lowest byte first.
///
/// Threads of one session take one stripe each. To the pool the bytes have no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtranonceRange {
    next: Option<u64>,
    step: u64,
    len: usize,
}

impl ExtranonceRange {
    /// Stripe number `stripe` of `stripes`, of `len` bytes.
    ///
    /// # Panics
    /// With a `stripe` that is not below `stripes`, or a `len` above 32.
    pub fn new(len: usize, stripe: u64, stripes: u64) -> Self {
        assert!(stripe < stripes, "stripe {stripe} of {stripes}");
        assert!(len <= 32, "an extranonce of {len} bytes");
        Self {
            next: Some(stripe),
            step: stripes,
            len,
        }
    }

    /// The next one; `None` when all are drawn, which takes a new job or a new time.
    pub fn draw(&mut self) -> Option<Extranonce> {
        let drawn = self.next?;
        if self.len < 8 && drawn >> (8 * self.len) != 0 {
            self.next = None;
            return None;
        }
        self.next = drawn.checked_add(self.step);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&drawn.to_le_bytes());
        Extranonce::new(&bytes[..self.len])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn stripes_together_draw_everything_once() {
        let mut drawn = BTreeSet::new();
        let mut count = 0;
        for stripe in 0..3 {
            let mut range = ExtranonceRange::new(1, stripe, 3);
            while let Some(extranonce) = range.draw() {
                drawn.insert(extranonce);
                count += 1;
            }
            assert_eq!(range.draw(), None);
        }
        assert_eq!((drawn.len(), count), (256, 256));
    }

    #[test]
    fn lengths_from_none_to_more_than_a_number() {
        let mut none = ExtranonceRange::new(0, 0, 1);
        assert_eq!(none.draw(), Some(Extranonce::EMPTY));
        assert_eq!(none.draw(), None);
        let mut long = ExtranonceRange::new(12, 5, 8);
        let first = long.draw().expect("the first");
        assert_eq!(first.as_bytes(), [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(long.draw().expect("the second").as_bytes()[0], 13);
    }
}
