//! Many messages of 64 bytes at once, one in each lane.

use crate::fips::{END, HASH_BITS, IV, K, bytes, words};
use crate::word::Word;

/// A word that reads its lanes from memory and writes them to it.
pub(crate) trait Lanes: Word {
    /// Lane `i` is `lanes[i]`; missing lanes are zero.
    fn load(self, lanes: &[u32]) -> Self;
    /// The lanes, as far as there are.
    fn store(self, lanes: &mut [u32; 16]);
}

/// Mixes one block into `state`.
#[inline(always)]
fn compress<W: Word>(state: [W; 8], block: [W; 16]) -> [W; 8] {
    let mut w = block;
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    macro_rules! round {
        ($k:expr, $i:expr, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
            let sum = $h.add(w[$i].add($h.splat($k[$i]))).fixed();
            let t1 = sum.add(W::ch($e, $f, $g)).fixed().add($e.upper_sigma1());
            let t1 = t1.fixed();
            $d = $d.add(t1);
            $h = t1.add(W::maj($a, $b, $c)).fixed().add($a.upper_sigma0());
        };
    }
    macro_rules! eight {
        ($k:expr, $i:expr) => {
            round!($k, $i, a b c d e f g h);
            round!($k, $i + 1, h a b c d e f g);
            round!($k, $i + 2, g h a b c d e f);
            round!($k, $i + 3, f g h a b c d e);
            round!($k, $i + 4, e f g h a b c d);
            round!($k, $i + 5, d e f g h a b c);
            round!($k, $i + 6, c d e f g h a b);
            round!($k, $i + 7, b c d e f g h a);
        };
    }
    macro_rules! word {
        ($($i:literal)*) => {$(
            w[$i] = w[$i]
                .add(w[($i + 1) % 16].sigma0())
                .add(w[($i + 9) % 16])
                .fixed()
                .add(w[($i + 14) % 16].sigma1());
        )*};
    }
    let (k, _) = K.as_chunks::<16>();
    for (index, k) in k.iter().enumerate() {
        if index > 0 {
            word!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        }
        eight!(k, 0);
        eight!(k, 8);
    }
    let mixed = [a, b, c, d, e, f, g, h];
    std::array::from_fn(|i| mixed[i].add(state[i]))
}

/// The double hashes of at most as many messages as there are lanes.
#[inline(always)]
pub(crate) fn sha256d_64<W: Lanes>(kind: W, messages: &[[u8; 64]], hashes: &mut [[u8; 32]]) {
    let mut lanes = [[0; 16]; 16];
    for (lane, message) in messages.iter().enumerate() {
        for (row, word) in lanes.iter_mut().zip(words::<16>(message)) {
            row[lane] = word;
        }
    }
    let zero = kind.splat(0);
    let iv = IV.map(|word| kind.splat(word));
    let state = compress(iv, lanes.map(|row| kind.load(&row)));
    let mut padding = [zero; 16];
    padding[0] = kind.splat(END);
    padding[15] = kind.splat(64 * 8);
    let state = compress(state, padding);
    padding[8] = padding[0];
    padding[15] = kind.splat(HASH_BITS);
    padding[..8].copy_from_slice(&state);
    let state = compress(iv, padding);
    for (row, word) in lanes.iter_mut().zip(state) {
        word.store(row);
    }
    for (lane, hash) in hashes.iter_mut().take(messages.len()).enumerate() {
        *hash = bytes(&std::array::from_fn(|word| lanes[word][lane]));
    }
}
