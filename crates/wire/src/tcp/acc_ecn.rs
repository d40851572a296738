//! The Accurate ECN option (RFC 9768, section 3.2.3).

/// The order of the counters on the wire, told by the option kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccEcnOrder {
    /// Kind 172: ECT(0), CE, ECT(1).
    Zero,
    /// Kind 174: ECT(1), CE, ECT(0).
    One,
}

/// The byte counters of an AccECN option: up to three of 24 bits, in wire order. Those left
/// out at the end did not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccEcn {
    order: AccEcnOrder,
    count: u8,
    counters: [u32; 3],
}

impl AccEcn {
    const MASK: u32 = 0x00ff_ffff;

    /// An option with the first of `counters`, at most three, in the order of the wire; their
    /// low 24 bits count. `None` if there are more than three.
    #[must_use]
    pub fn new(order: AccEcnOrder, counters: &[u32]) -> Option<Self> {
        let mut kept = [0; 3];
        for (place, counter) in kept.get_mut(..counters.len())?.iter_mut().zip(counters) {
            *place = counter & Self::MASK;
        }
        Some(Self {
            order,
            count: counters.len() as u8,
            counters: kept,
        })
    }

    /// The order of the counters.
    #[must_use]
    pub const fn order(&self) -> AccEcnOrder {
        self.order
    }

    /// The counters in the order of the wire.
    #[must_use]
    pub fn counters(&self) -> &[u32] {
        &self.counters[..usize::from(self.count)]
    }

    /// Bytes received as ECT(0) (EE0B).
    #[must_use]
    pub fn ect0_bytes(&self) -> Option<u32> {
        let at = match self.order {
            AccEcnOrder::Zero => 0,
            AccEcnOrder::One => 2,
        };
        self.counters().get(at).copied()
    }

    /// Bytes received as CE (ECEB).
    #[must_use]
    pub fn ce_bytes(&self) -> Option<u32> {
        self.counters().get(1).copied()
    }

    /// Bytes received as ECT(1) (EE1B).
    #[must_use]
    pub fn ect1_bytes(&self) -> Option<u32> {
        let at = match self.order {
            AccEcnOrder::Zero => 2,
            AccEcnOrder::One => 0,
        };
        self.counters().get(at).copied()
    }

    /// Bytes of the option: 2, 5, 8 or 11.
    pub(super) const fn len(&self) -> usize {
        2 + 3 * self.count as usize
    }

    /// The option kind that tells the order.
    pub(super) const fn kind(&self) -> u8 {
        match self.order {
            AccEcnOrder::Zero => super::options::ACC_ECN_0,
            AccEcnOrder::One => super::options::ACC_ECN_1,
        }
    }

    /// From what follows the length byte. RFC 9768, section 3.2.3: counters beyond the third
    /// or cut short are ignored.
    pub(super) fn parse(order: AccEcnOrder, data: &[u8]) -> Self {
        let mut option = Self {
            order,
            count: 0,
            counters: [0; 3],
        };
        let (counters, _) = data.as_chunks::<3>();
        for (place, &[a, b, c]) in option.counters.iter_mut().zip(counters) {
            *place = u32::from_be_bytes([0, a, b, c]);
            option.count += 1;
        }
        option
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_names_the_counters() {
        let zero = AccEcn::parse(AccEcnOrder::Zero, &[0, 0, 1, 0, 0, 2, 0, 0, 3]);
        let counters = (zero.ect0_bytes(), zero.ce_bytes(), zero.ect1_bytes());
        assert_eq!(counters, (Some(1), Some(2), Some(3)));
        let one = AccEcn::parse(AccEcnOrder::One, &[0, 0, 1, 0, 0, 2, 9]);
        let counters = (one.ect0_bytes(), one.ce_bytes(), one.ect1_bytes());
        assert_eq!(counters, (None, Some(2), Some(1)));
        assert_eq!(one.len(), 8);
        assert_eq!(AccEcn::new(AccEcnOrder::One, &[1, 2, 3, 4]), None);
        let masked = AccEcn::new(AccEcnOrder::One, &[u32::MAX]);
        assert_eq!(
            masked.and_then(|option| option.ect1_bytes()),
            Some(0x00ff_ffff)
        );
    }
}
