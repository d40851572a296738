//! Second extranonces, one after the other.

use zcn_stratum::inline::Extranonce;

/// Draws second extranonces for all workers of a rig. It goes on from job to job and from
/// connection to connection: a pool that hands out the same job once more, to a session that
/// was resumed, is not searched for the same shares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    next: u64,
    len: usize,
    /// How many are left for the job; `None` when they do not end.
    left: Option<u64>,
}

impl Draw {
    /// Begins at `start`, cut to the length of the extranonces: one that differs between
    /// programs keeps a program from searching what the one before it did.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            next: start,
            len: 0,
            left: Some(0),
        }
    }

    /// A job whose second extranonces have `len` bytes, at most 32.
    pub(crate) fn begin_job(&mut self, len: usize) {
        self.len = len;
        self.left = u32::try_from(8 * len)
            .ok()
            .and_then(|bits| 1_u64.checked_shl(bits));
    }

    /// The next one; `None` when the job has no more.
    pub(crate) fn next(&mut self) -> Option<Extranonce> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.next.to_le_bytes());
        self.next = self.next.wrapping_add(1);
        Extranonce::new(bytes.get(..self.len)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_job_has_every_extranonce_once_from_wherever_it_begins() {
        let mut draw = Draw::new(u64::MAX - 77);
        assert_eq!(draw.next(), None, "no job yet");
        for _ in 0..3 {
            draw.begin_job(1);
            draw.next().expect("the first");
            draw.begin_job(1);
            let drawn: BTreeSet<_> = std::iter::from_fn(|| draw.next()).collect();
            assert_eq!(drawn.len(), 256);
        }
    }

    #[test]
    fn the_next_job_goes_on() {
        let mut draw = Draw::new(0x0102_0304_0506);
        draw.begin_job(4);
        assert_eq!(draw.next().expect("the first").as_bytes(), [6, 5, 4, 3]);
        draw.begin_job(12);
        let next = draw.next().expect("the next");
        assert_eq!(next.as_bytes(), [7, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0]);
        draw.begin_job(0);
        assert_eq!(draw.next(), Some(Extranonce::EMPTY));
        assert_eq!(draw.next(), None);
    }
}
