//! What is left to search of a job, piece by piece.

use zcn_stratum::inline::Extranonce;

/// What one worker searches at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) extranonce_2: Extranonce,
    /// Which part of the nonces, and of how many: one, where there are extranonces.
    pub(crate) part: (usize, usize),
    /// Seconds to be added to the time of the job.
    pub(crate) later_s: u32,
}

/// Draws second extranonces for all workers of a rig. It goes on from job to job and from
/// connection to connection: a pool that hands out the same job once more, to a session that
/// was resumed, is not searched for the same shares.
///
/// Where a job has no second extranonce, as on a standard channel of Stratum V2, the workers
/// divide the nonces. When all is drawn, the time of the header goes on by a second, as far as
/// the clock has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    next: u64,
    len: usize,
    /// Parts that the nonces are divided into.
    parts: u64,
    /// Pieces that a second of the header's time has: none before the first job.
    round: u64,
    /// Pieces of the job that were drawn.
    drawn: u64,
}

impl Draw {
    /// Begins at `start`, cut to the length of the extranonces: one that differs between
    /// programs keeps a program from searching what the one before it did.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            next: start,
            len: 0,
            parts: 1,
            round: 0,
            drawn: 0,
        }
    }

    /// A job whose second extranonces have `len` bytes, at most 32, for so many workers.
    pub(crate) fn begin_job(&mut self, len: usize, workers: usize) {
        self.len = len;
        self.drawn = 0;
        if len == 0 {
            self.parts = workers as u64;
            self.round = self.parts;
            return;
        }
        self.parts = 1;
        let extranonces = u32::try_from(8 * len)
            .ok()
            .and_then(|bits| 1_u64.checked_shl(bits));
        // More than can be drawn.
        self.round = extranonces.unwrap_or(u64::MAX);
    }

    /// The next piece; `None` when the job has no more until another of the seconds has passed
    /// that `passed_s` tells since it came.
    pub(crate) fn next(&mut self, passed_s: impl FnOnce() -> u64) -> Option<Piece> {
        let later = self.drawn.checked_div(self.round)?;
        if later > 0 && later > passed_s() {
            return None;
        }
        let part = self.drawn % self.parts;
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.next.to_le_bytes());
        self.next = self.next.wrapping_add(1);
        self.drawn += 1;
        Some(Piece {
            extranonce_2: Extranonce::new(bytes.get(..self.len)?)?,
            part: (part as usize, self.parts as usize),
            later_s: u32::try_from(later).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_job_has_every_extranonce_once_from_wherever_it_begins() {
        let mut draw = Draw::new(u64::MAX - 77);
        assert_eq!(draw.next(|| 9), None, "no job yet");
        for _ in 0..3 {
            draw.begin_job(1, 3);
            extranonce(&mut draw);
            draw.begin_job(1, 3);
            let drawn: BTreeSet<_> =
                std::iter::from_fn(|| draw.next(|| 0).map(|piece| piece.extranonce_2)).collect();
            assert_eq!(drawn.len(), 256);
            // And again, when the clock has gone on.
            let again = draw.next(|| 1).expect("another second");
            assert_eq!((again.later_s, again.part), (1, (0, 1)));
        }
    }

    #[test]
    fn the_next_job_goes_on() {
        let mut draw = Draw::new(0x0102_0304_0506);
        draw.begin_job(4, 2);
        assert_eq!(extranonce(&mut draw).as_bytes(), [6, 5, 4, 3]);
        draw.begin_job(12, 2);
        let next = extranonce(&mut draw);
        assert_eq!(next.as_bytes(), [7, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn without_extranonces_the_workers_divide_the_nonces_of_each_second() {
        let mut draw = Draw::new(77);
        draw.begin_job(0, 2);
        let mut all = Vec::new();
        while let Some(piece) = draw.next(|| 2) {
            assert_eq!(piece.extranonce_2, Extranonce::EMPTY);
            all.push((piece.part, piece.later_s));
        }
        let seconds = (0..3).flat_map(|later| [((0, 2), later), ((1, 2), later)]);
        assert_eq!(all, seconds.collect::<Vec<_>>());
    }

    fn extranonce(draw: &mut Draw) -> Extranonce {
        draw.next(|| 0).expect("the next").extranonce_2
    }
}
