//! Sizes that TCP negotiates: the maximum segment size and the window scale.

/// The maximum segment size of TCP (RFC 9293, section 3.7.1): payload bytes of a segment
/// without options.
///
/// At least [`MIN`](Self::MIN), because a peer that asks for less costs both sides more in
/// headers than it carries and is a known attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mss(u16);

impl Mss {
    /// The smallest that is accepted: the kernel's `TCP_MIN_SND_MSS`, 40 bytes of options and
    /// 8 of payload.
    pub const MIN: Self = Self(48);
    /// What a peer that says nothing takes over IPv4 (RFC 9293, section 3.7.1).
    pub const DEFAULT_V4: Self = Self(536);
    /// What a peer that says nothing takes over IPv6 (RFC 9293, section 3.7.1).
    pub const DEFAULT_V6: Self = Self(1220);

    /// `bytes`, if it is at least [`MIN`](Self::MIN).
    #[must_use]
    pub const fn new(bytes: u16) -> Option<Self> {
        if bytes < Self::MIN.0 {
            None
        } else {
            Some(Self(bytes))
        }
    }

    /// `bytes`, raised to [`MIN`](Self::MIN) if it is less.
    #[must_use]
    pub const fn clamped(bytes: u16) -> Self {
        if bytes < Self::MIN.0 {
            Self::MIN
        } else {
            Self(bytes)
        }
    }

    /// In bytes.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The shift of the window field (RFC 7323, section 2): at most 14.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowScale(u8);

impl WindowScale {
    /// The largest shift.
    pub const MAX: Self = Self(14);
    /// No scaling.
    pub const ZERO: Self = Self(0);

    /// `shift`, if it is at most 14.
    #[must_use]
    pub const fn new(shift: u8) -> Option<Self> {
        if shift > Self::MAX.0 {
            None
        } else {
            Some(Self(shift))
        }
    }

    /// `shift`, or 14 if it is more, as RFC 7323, section 2.3, tells a receiver to read it.
    #[must_use]
    pub const fn clamped(shift: u8) -> Self {
        if shift > Self::MAX.0 {
            Self::MAX
        } else {
            Self(shift)
        }
    }

    /// The smallest shift with which `bytes` of window can be announced.
    #[must_use]
    pub const fn for_window(bytes: u32) -> Self {
        let mut shift = 0;
        while shift < Self::MAX.0 && (bytes >> shift) > u16::MAX as u32 {
            shift += 1;
        }
        Self(shift)
    }

    /// The shift in bits.
    #[must_use]
    pub const fn shift(self) -> u8 {
        self.0
    }

    /// The window in bytes that the field `window` means.
    #[must_use]
    pub const fn scale(self, window: u16) -> u32 {
        (window as u32) << self.0
    }

    /// The window field for `bytes`, rounded down, at most 65,535.
    #[must_use]
    pub const fn unscale(self, bytes: u32) -> u16 {
        let field = bytes >> self.0;
        if field > u16::MAX as u32 {
            u16::MAX
        } else {
            field as u16
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked_at_construction() {
        assert_eq!(Mss::new(47), None);
        assert_eq!(Mss::clamped(8), Mss::MIN);
        assert_eq!(Mss::new(1460).map(Mss::get), Some(1460));
        assert_eq!(WindowScale::new(15), None);
        assert_eq!(WindowScale::clamped(255), WindowScale::MAX);
    }

    #[test]
    fn windows_scale_and_round_down() {
        assert_eq!(WindowScale::for_window(65_535), WindowScale::ZERO);
        assert_eq!(WindowScale::for_window(65_536).shift(), 1);
        assert_eq!(WindowScale::for_window(u32::MAX), WindowScale::MAX);
        let scale = WindowScale::clamped(7);
        assert_eq!(scale.unscale(1_000_000), 7812);
        assert_eq!(scale.scale(7812), 999_936);
        assert_eq!(scale.unscale(u32::MAX), u16::MAX);
        assert_eq!(WindowScale::MAX.scale(u16::MAX), 1_073_725_440);
    }
}
