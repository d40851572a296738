//! SHA-256 as FIPS 180-4 says it: constants, functions (section 4.1.2) and the
//! compression of one block (section 6.2.2), one word at a time.

/// The round constants (section 4.2.2).
pub(crate) static K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// The initial hash value (section 5.3.3).
pub(crate) const IV: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

/// The bit that ends a message, in its word (section 5.1.1).
pub(crate) const END: u32 = 0x8000_0000;

/// Bits of a block header: the last word of its second block.
pub(crate) const HEADER_BITS: u32 = 80 * 8;

/// Bits of a hash: the last word of the block of the second hash.
pub(crate) const HASH_BITS: u32 = 32 * 8;

/// Eight working variables or hash words, `a` to `h`.
pub(crate) type State = [u32; 8];

pub(crate) const fn upper_sigma0(x: u32) -> u32 {
    x.rotate_right(2) ^ x.rotate_right(13) ^ x.rotate_right(22)
}

pub(crate) const fn upper_sigma1(x: u32) -> u32 {
    x.rotate_right(6) ^ x.rotate_right(11) ^ x.rotate_right(25)
}

pub(crate) const fn sigma0(x: u32) -> u32 {
    x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3)
}

pub(crate) const fn sigma1(x: u32) -> u32 {
    x.rotate_right(17) ^ x.rotate_right(19) ^ (x >> 10)
}

pub(crate) const fn ch(e: u32, f: u32, g: u32) -> u32 {
    g ^ (e & (f ^ g))
}

pub(crate) const fn maj(a: u32, b: u32, c: u32) -> u32 {
    (a & b) | (c & (a | b))
}

/// One round; `kw` is the sum of the round's constant and its message word.
pub(crate) const fn round(state: State, kw: u32) -> State {
    let [a, b, c, d, e, f, g, h] = state;
    let t1 = h
        .wrapping_add(upper_sigma1(e))
        .wrapping_add(ch(e, f, g))
        .wrapping_add(kw);
    let t2 = upper_sigma0(a).wrapping_add(maj(a, b, c));
    [t1.wrapping_add(t2), a, b, c, d.wrapping_add(t1), e, f, g]
}

/// What is mixed into a state at a time.
pub(crate) type Block = [u8; 64];

/// The message schedule of a block, each word with its round constant added.
pub(crate) const fn sums(block: [u32; 16]) -> [u32; 64] {
    let (mut w, mut sums) = (block, [0; 64]);
    let mut t = 0;
    while t < 64 {
        let i = t % 16;
        if t >= 16 {
            w[i] = w[i]
                .wrapping_add(sigma0(w[(i + 1) % 16]))
                .wrapping_add(w[(i + 9) % 16])
                .wrapping_add(sigma1(w[(i + 14) % 16]));
        }
        sums[t] = K[t].wrapping_add(w[i]);
        t += 1;
    }
    sums
}

/// Mixes one block into `state`.
pub(crate) fn compress(state: &mut State, block: &Block) {
    let working = sums(words(block)).into_iter().fold(*state, round);
    for (word, mixed) in state.iter_mut().zip(working) {
        *word = word.wrapping_add(mixed);
    }
}

/// Big-endian words of bytes; what is missing is zero.
pub(crate) fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

/// The bytes of a hash.
pub(crate) fn bytes(state: &State) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    bytes
}
