//! The bytes that loads send, so that every byte that comes back can be checked.

/// Step between neighbouring words: odd, so that no two words of a stream are equal.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

const WORD: usize = 8;

/// An endless stream of bytes that depend on the connection and on the place.
///
/// The 8-byte word number `i` is `seed + i * STEP`, little endian. Words never repeat
/// within a connection and hardly ever between two, so bytes that were lost, doubled,
/// reordered or mixed up between connections do not pass [`Pattern::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    seed: u64,
}

impl Pattern {
    /// The stream of connection number `connection`.
    pub fn new(connection: usize) -> Self {
        // The finalizer of splitmix64: neighbours get unrelated seeds.
        let mut seed = (connection as u64).wrapping_add(1).wrapping_mul(STEP);
        seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self {
            seed: seed ^ (seed >> 31),
        }
    }

    /// Writes the stream from `offset` on into `bytes`.
    pub fn fill(&self, offset: u64, bytes: &mut [u8]) {
        let (head, words, tail, first) = split_mut(offset, bytes);
        self.fill_edge(offset, head);
        let mut word = self.word(first);
        for chunk in words.as_chunks_mut::<WORD>().0 {
            *chunk = word.to_le_bytes();
            word = word.wrapping_add(STEP);
        }
        self.fill_edge(offset + (head.len() + words.len()) as u64, tail);
    }

    /// Compares `bytes` with the stream from `offset` on.
    ///
    /// # Errors
    /// The offset in the stream of the first byte that differs.
    pub fn check(&self, offset: u64, bytes: &[u8]) -> Result<(), u64> {
        let (head, middle) = bytes.split_at(head_len(offset, bytes.len()));
        let (words, tail) = middle.as_chunks::<WORD>();
        let mut word = self.word((offset + head.len() as u64) / WORD as u64);
        // Differences are gathered without a branch, so that the loop becomes SIMD.
        let mut wrong = 0;
        for chunk in words {
            wrong |= u64::from_le_bytes(*chunk) ^ word;
            word = word.wrapping_add(STEP);
        }
        let after = offset + (head.len() + words.len() * WORD) as u64;
        if wrong == 0 && self.edge_is_right(offset, head) && self.edge_is_right(after, tail) {
            return Ok(());
        }
        let place = (0..)
            .zip(bytes)
            .find(|(i, byte)| **byte != self.byte(offset + i));
        Err(offset + place.map_or(0, |(i, _)| i))
    }

    fn word(&self, index: u64) -> u64 {
        self.seed.wrapping_add(index.wrapping_mul(STEP))
    }

    fn byte(&self, offset: u64) -> u8 {
        self.word(offset / WORD as u64).to_le_bytes()[(offset % WORD as u64) as usize]
    }

    fn fill_edge(&self, offset: u64, bytes: &mut [u8]) {
        for (i, byte) in (0..).zip(bytes) {
            *byte = self.byte(offset + i);
        }
    }

    fn edge_is_right(&self, offset: u64, bytes: &[u8]) -> bool {
        (0..)
            .zip(bytes)
            .all(|(i, byte)| *byte == self.byte(offset + i))
    }
}

/// Bytes in front of the first whole word at or after `offset`, `len` at most.
fn head_len(offset: u64, len: usize) -> usize {
    let into = (offset % WORD as u64) as usize;
    ((WORD - into) % WORD).min(len)
}

/// Head, whole words and tail of `bytes`, and the index of the first whole word.
fn split_mut(offset: u64, bytes: &mut [u8]) -> (&mut [u8], &mut [u8], &mut [u8], u64) {
    let (head, middle) = bytes.split_at_mut(head_len(offset, bytes.len()));
    let whole = middle.len() / WORD * WORD;
    let (words, tail) = middle.split_at_mut(whole);
    let first = (offset + head.len() as u64) / WORD as u64;
    (head, words, tail, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_of_the_stream_is_the_same_stream() {
        let pattern = Pattern::new(3);
        let mut whole = vec![0; 100];
        pattern.fill(0, &mut whole);
        for from in 0..20 {
            for to in from..100 {
                let mut part = vec![0; to - from];
                pattern.fill(from as u64, &mut part);
                assert_eq!(part, whole[from..to], "{from}..{to}");
                assert_eq!(pattern.check(from as u64, &part), Ok(()));
            }
        }
    }

    #[test]
    fn the_first_wrong_byte_is_found() {
        let pattern = Pattern::new(0);
        for wrong in 0..64 {
            let mut bytes = [0; 64];
            pattern.fill(5, &mut bytes);
            bytes[wrong] ^= 1;
            assert_eq!(pattern.check(5, &bytes), Err(5 + wrong as u64));
        }
    }

    #[test]
    fn moved_and_foreign_bytes_do_not_pass() {
        let mut bytes = [0; 64];
        Pattern::new(1).fill(64, &mut bytes);
        assert!(Pattern::new(1).check(0, &bytes).is_err());
        assert!(Pattern::new(2).check(64, &bytes).is_err());
    }
}
