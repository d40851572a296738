//! SYN cookies (RFC 4987 section 3.6): a half-open connection that lives in the sequence
//! number of its SYN-ACK, and its options in the timestamp.

use core::net::SocketAddr;

use zcn_wire::SeqNum;

use super::syncache::{SACK, TIMESTAMPS, WINDOW_SCALE};
use crate::random::{SecretKey, Seed};
use crate::time::Instant;

/// The clock of cookies: a step takes this many seconds.
const STEP_SECONDS: u64 = 64;
/// A cookie is good for so many steps: two to three minutes, as long as a SYN-ACK is kept
/// in the table with its retransmissions.
const STEPS: u32 = 2;
/// Bits of the number that hold the MSS and the step.
const MSS_BITS: u32 = 3;
const STEP_BITS: u32 = 5;

/// The sizes that a cookie can say: those that most paths have (1220, 1440 of IPv6
/// included).
const MSS: [u16; 1 << MSS_BITS] = [48, 536, 1024, 1220, 1300, 1440, 1460, 8960];

/// Bits of a timestamp that hold the options: shift count, SACK, one that is kept free for
/// ECN, as Linux lays them out.
const OPTION_BITS: u32 = 6;
const SACK_BIT: u32 = 1 << 4;
/// The shift count that stands for "no scaling".
const NO_SCALE: u32 = 15;

/// What a cookie tells of its SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) mss: u16,
    pub(crate) flags: u8,
    pub(crate) scale: u8,
}

/// Makes and checks cookies.
#[derive(Debug)]
pub(crate) struct Cookies {
    key: SecretKey,
}

impl Cookies {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            key: SecretKey::derive(seed, "tcp syn cookie"),
        }
    }

    fn step(now: Instant) -> u32 {
        (now.as_nanos() / (STEP_SECONDS * 1_000_000_000)) as u32
    }

    fn hash(
        &self,
        local: &SocketAddr,
        remote: &SocketAddr,
        irs: SeqNum,
        step: u32,
        mss: u32,
    ) -> u32 {
        let extra = (u64::from(irs.0) << 32) | u64::from((step << MSS_BITS) | mss);
        self.key.hash_endpoints(local, remote, extra) as u32 >> (MSS_BITS + STEP_BITS)
    }

    fn join(hash: u32, step: u32, mss: u32) -> u32 {
        (((hash << STEP_BITS) | (step % (1 << STEP_BITS))) << MSS_BITS) | mss
    }

    /// The initial sequence number of the SYN-ACK: 24 bits of hash, 5 of time, 3 of MSS.
    pub(crate) fn make(
        &self,
        now: Instant,
        local: &SocketAddr,
        remote: &SocketAddr,
        irs: SeqNum,
        mss: u16,
    ) -> SeqNum {
        let index = MSS.iter().rposition(|&size| size <= mss).unwrap_or(0) as u32;
        let step = Self::step(now);
        let hash = self.hash(local, remote, irs, step, index);
        SeqNum(Self::join(hash, step, index))
    }

    /// The timestamp of the SYN-ACK, with the options in its low bits; never one from the
    /// future.
    pub(crate) fn stamp(value: u32, flags: u8, scale: u8) -> u32 {
        let scale = if flags & WINDOW_SCALE != 0 {
            u32::from(scale.min(14))
        } else {
            NO_SCALE
        };
        let sack = if flags & SACK != 0 { SACK_BIT } else { 0 };
        let mask = (1 << OPTION_BITS) - 1;
        let stamped = (value & !mask) | sack | scale;
        if stamped.wrapping_sub(value).cast_signed() > 0 {
            stamped.wrapping_sub(1 << OPTION_BITS)
        } else {
            stamped
        }
    }

    /// Steps since the number that a segment acknowledges was made, if it is a cookie.
    fn age(now: Instant, iss: SeqNum) -> u32 {
        let step_bits = (iss.0 >> MSS_BITS) & ((1 << STEP_BITS) - 1);
        Self::step(now).wrapping_sub(step_bits) & ((1 << STEP_BITS) - 1)
    }

    /// Whether a number that [`check`](Self::check) refused may still be a cookie's: of a
    /// segment that overtook the first one, whose number alone is in the hash.
    pub(crate) fn is_plausible(now: Instant, iss: SeqNum) -> bool {
        Self::age(now, iss) <= STEPS
    }

    /// What the acknowledgement of a SYN-ACK with a cookie tells: `iss` is the number
    /// before the one acknowledged, `irs` the one before the segment's, `echo` its TSecr.
    /// `None` if we made no such cookie within its time.
    pub(crate) fn check(
        &self,
        now: Instant,
        local: &SocketAddr,
        remote: &SocketAddr,
        irs: SeqNum,
        iss: SeqNum,
        echo: Option<u32>,
    ) -> Option<Cookie> {
        let index = iss.0 & ((1 << MSS_BITS) - 1);
        let age = Self::age(now, iss);
        let step = Self::step(now).checked_sub(age)?;
        let hash = self.hash(local, remote, irs, step, index);
        if age > STEPS || Self::join(hash, step, index) != iss.0 {
            return None;
        }
        let mut cookie = Cookie {
            mss: MSS[index as usize],
            flags: 0,
            scale: 0,
        };
        if let Some(echo) = echo {
            cookie.flags |= TIMESTAMPS;
            if echo & SACK_BIT != 0 {
                cookie.flags |= SACK;
            }
            let scale = echo & 15;
            if scale != NO_SCALE {
                cookie.flags |= WINDOW_SCALE;
                cookie.scale = scale as u8;
            }
        }
        Some(cookie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn ends() -> (SocketAddr, SocketAddr) {
        (
            "10.0.0.1:80".parse().unwrap(),
            "10.0.0.2:4000".parse().unwrap(),
        )
    }

    #[test]
    fn a_cookie_tells_its_options_for_two_minutes() {
        let cookies = Cookies::new(&[8; 32]);
        let (local, remote) = ends();
        let now = Instant::from_secs(1000);
        let irs = SeqNum(77);
        let iss = cookies.make(now, &local, &remote, irs, 1450);
        let stamp = Cookies::stamp(123_456, SACK | WINDOW_SCALE | TIMESTAMPS, 9);
        assert!(stamp <= 123_456);
        let later = now + Duration::from_secs(120);
        assert_eq!(
            cookies.check(later, &local, &remote, irs, iss, Some(stamp)),
            Some(Cookie {
                mss: 1440,
                flags: SACK | WINDOW_SCALE | TIMESTAMPS,
                scale: 9
            })
        );
        let plain = cookies
            .check(later, &local, &remote, irs, iss, None)
            .unwrap();
        assert_eq!((plain.flags, plain.scale), (0, 0));
        let late = now + Duration::from_secs(200);
        assert_eq!(cookies.check(late, &local, &remote, irs, iss, None), None);
    }

    #[test]
    fn guesses_fail() {
        let cookies = Cookies::new(&[8; 32]);
        let (local, remote) = ends();
        let now = Instant::from_secs(1000);
        let irs = SeqNum(77);
        let iss = cookies.make(now, &local, &remote, irs, 1460);
        let check = |local, remote, irs, iss| cookies.check(now, local, remote, irs, iss, None);
        assert!(check(&local, &remote, irs, iss).is_some());
        assert!(check(&remote, &local, irs, iss).is_none());
        assert!(check(&local, &remote, irs + 1_u32, iss).is_none());
        let hits = (1..10_000_u32)
            .filter(|&step| check(&local, &remote, irs, iss + step * 4_001).is_some())
            .count();
        assert_eq!(hits, 0);
        assert!(
            Cookies::new(&[9; 32])
                .check(now, &local, &remote, irs, iss, None)
                .is_none()
        );
    }

    #[test]
    fn stamps_are_never_from_the_future() {
        for value in [0, 1, 63, 64, u32::MAX, 0x8000_0000] {
            for scale in 0..15 {
                let stamp = Cookies::stamp(value, SACK | WINDOW_SCALE, scale);
                assert!(value.wrapping_sub(stamp) < 128, "{value} {scale}");
            }
        }
    }
}
