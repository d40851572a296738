//! What streams carry: bytes that tell their place.

/// Fills `bytes` with the part of a stream from `offset` on. Another key is another
/// stream; a byte in a wrong place is a wrong byte with probability 255/256, a run of them
/// surely.
pub fn fill(key: u64, offset: u64, bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = at(key, offset + index as u64);
    }
}

/// Where `bytes` first differ from the part of a stream from `offset` on.
pub fn first_difference(key: u64, offset: u64, bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|&index| bytes[index] != at(key, offset + index as u64))
}

#[inline]
fn at(key: u64, offset: u64) -> u8 {
    let word = (key ^ (offset >> 3)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (word >> ((offset & 7) * 8)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_together_and_a_shift_is_seen() {
        let mut whole = [0; 100];
        fill(5, 0, &mut whole);
        let mut part = [0; 40];
        fill(5, 13, &mut part);
        assert_eq!(part, whole[13..53]);
        assert_eq!(first_difference(5, 13, &part), None);
        assert!(first_difference(5, 14, &part).is_some());
        part[39] ^= 1;
        assert_eq!(first_difference(5, 13, &part), Some(39));
    }
}
