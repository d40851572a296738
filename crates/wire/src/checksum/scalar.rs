//! The plain sum: what the vector one is tested against, and the one for short inputs.

/// The sum of 16-bit words as they lie in memory, carries not folded; a last odd byte is the
/// first of its word.
#[inline]
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = 0;
    for word in words {
        // Two halves instead of one carry: no input that fits in memory overflows 64 bits.
        let word = u64::from_ne_bytes(*word);
        sum += (word >> 32) + (word & 0xffff_ffff);
    }
    sum + tail(rest)
}

/// The sum of the last bytes, fewer than 8: step by step, because a copy of unknown length
/// into a register costs a call.
#[inline]
fn tail(mut bytes: &[u8]) -> u64 {
    let mut sum = 0;
    if let Some((word, rest)) = bytes.split_first_chunk::<4>() {
        sum += u64::from(u32::from_ne_bytes(*word));
        bytes = rest;
    }
    if let Some((word, rest)) = bytes.split_first_chunk::<2>() {
        sum += u64::from(u16::from_ne_bytes(*word));
        bytes = rest;
    }
    if let [last] = bytes {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    sum
}
