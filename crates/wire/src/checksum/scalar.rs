//! The plain sum: what the vector one is tested against, and the one for short inputs.

/// The sum of 16-bit words as they lie in memory, carries not folded; a last odd byte is the
/// first of its word.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let mut sum = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        // Two halves instead of one carry: no input that fits in memory overflows 64 bits.
        let word = u64::from_ne_bytes(*word);
        sum += (word >> 32) + (word & 0xffff_ffff);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        let word = u64::from_ne_bytes(word);
        sum += (word >> 32) + (word & 0xffff_ffff);
    }
    sum
}
