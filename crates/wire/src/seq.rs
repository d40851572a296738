//! Sequence numbers of TCP.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// A sequence number (RFC 9293, section 3.4): 32 bits that wrap.
///
/// Numbers on a circle have no order, so there is no `Ord`. [`before`](Self::before) and its
/// kin compare two numbers that are less than 2^31 apart, which the window limits guarantee
/// for all numbers of one connection. For two numbers exactly 2^31 apart each is `before` the
/// other, as in the kernel's `before()`.
///
/// ```
/// use zcn_wire::SeqNum;
///
/// let last = SeqNum(u32::MAX);
/// assert_eq!(last + 1_u32, SeqNum(0));
/// assert!(last.before(SeqNum(0)));
/// assert_eq!(SeqNum(5).distance(last), 6);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// Whether this number comes strictly before `other`.
    #[inline]
    #[must_use]
    pub const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0).cast_signed()) < 0
    }

    /// Whether this number comes strictly after `other`.
    #[inline]
    #[must_use]
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// Whether this number is `other` or comes before it.
    #[inline]
    #[must_use]
    pub const fn before_eq(self, other: Self) -> bool {
        !other.before(self)
    }

    /// Whether this number is `other` or comes after it.
    #[inline]
    #[must_use]
    pub const fn after_eq(self, other: Self) -> bool {
        !self.before(other)
    }

    /// Whether this number is one of the `len` numbers from `start` on.
    ///
    /// Exact for every `len`; a window of zero contains nothing.
    #[inline]
    #[must_use]
    pub const fn in_window(self, start: Self, len: u32) -> bool {
        self.0.wrapping_sub(start.0) < len
    }

    /// Whether `low <= self <= high` on the circle, going up from `low`.
    #[inline]
    #[must_use]
    pub const fn between(self, low: Self, high: Self) -> bool {
        self.0.wrapping_sub(low.0) <= high.0.wrapping_sub(low.0)
    }

    /// How many numbers lie from `earlier` up to this one, going up.
    ///
    /// The caller knows that `earlier` is not after this number; otherwise the answer is the
    /// long way round the circle. See [`offset_from`](Self::offset_from) for both directions.
    #[inline]
    #[must_use]
    pub const fn distance(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// The signed offset from `other` to this number: negative if this one comes before.
    #[inline]
    #[must_use]
    pub const fn offset_from(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// The later of the two.
    #[inline]
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier of the two.
    #[inline]
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if other.before(self) { other } else { self }
    }
}

impl Add<u32> for SeqNum {
    type Output = Self;

    #[inline]
    fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }
}

impl Add<usize> for SeqNum {
    type Output = Self;

    /// Wraps like the number itself: `count` counts modulo 2^32.
    #[inline]
    fn add(self, count: usize) -> Self {
        Self(self.0.wrapping_add(count as u32))
    }
}

impl Sub<u32> for SeqNum {
    type Output = Self;

    #[inline]
    fn sub(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }
}

impl Sub<usize> for SeqNum {
    type Output = Self;

    #[inline]
    fn sub(self, count: usize) -> Self {
        Self(self.0.wrapping_sub(count as u32))
    }
}

impl AddAssign<u32> for SeqNum {
    #[inline]
    fn add_assign(&mut self, count: u32) {
        *self = *self + count;
    }
}

impl AddAssign<usize> for SeqNum {
    #[inline]
    fn add_assign(&mut self, count: usize) {
        *self = *self + count;
    }
}

impl SubAssign<u32> for SeqNum {
    #[inline]
    fn sub_assign(&mut self, count: u32) {
        *self = *self - count;
    }
}

impl fmt::Debug for SeqNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SeqNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<u32> for SeqNum {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers, many of them near the wrap and near the half circle.
    fn number() -> impl Strategy<Value = SeqNum> {
        prop_oneof![
            any::<u32>(),
            (0..100_u32),
            (0..100_u32).prop_map(|n| u32::MAX - n),
            (0..100_u32).prop_map(|n| (1 << 31) - 50 + n),
        ]
        .prop_map(SeqNum)
    }

    proptest! {
        #[test]
        fn comparisons_hold_across_the_wrap(start in number(), step in 1..(1_u32 << 31)) {
            let later = start + step;
            prop_assert!(start.before(later) && start.before_eq(later));
            prop_assert!(later.after(start) && later.after_eq(start));
            prop_assert!(!later.before(start) || step == 1 << 31);
            prop_assert_eq!(later.distance(start), step);
            prop_assert_eq!(later.offset_from(start), step.cast_signed());
            prop_assert_eq!(start.offset_from(later), -(step.cast_signed()));
            prop_assert_eq!(start.max(later), later);
            prop_assert_eq!(later.max(start), later);
            prop_assert_eq!(start.min(later), start);
            prop_assert_eq!(later.min(start), start);
            prop_assert_eq!(later - step, start);
            prop_assert_eq!(start + step as usize, later);
        }

        #[test]
        fn a_window_contains_exactly_its_numbers(start in number(), len: u32, offset: u32) {
            prop_assert_eq!((start + offset).in_window(start, len), offset < len);
            prop_assert_eq!((start + offset).between(start, start + len), offset <= len);
        }

        #[test]
        fn a_number_is_not_before_itself(number in number()) {
            prop_assert!(!number.before(number) && !number.after(number));
            prop_assert!(number.before_eq(number) && number.after_eq(number));
        }
    }

    #[test]
    fn the_wrap_itself() {
        assert_eq!(SeqNum(u32::MAX) + 1_u32, SeqNum(0));
        assert_eq!(SeqNum(0) - 1_u32, SeqNum(u32::MAX));
        let mut number = SeqNum(u32::MAX);
        number += 2_usize;
        number -= 1;
        assert_eq!(number, SeqNum(0));
        assert!(!SeqNum(7).in_window(SeqNum(7), 0));
        // Half a circle apart: each is before the other, as in the kernel.
        assert!(SeqNum(0).before(SeqNum(1 << 31)) && SeqNum(1 << 31).before(SeqNum(0)));
    }
}
