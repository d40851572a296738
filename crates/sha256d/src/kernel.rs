//! The double hash of a block header in vector lanes.
//!
//! A header has 80 bytes, hence two blocks, and the nonce is the last word that counts of
//! the second. [`Job`] holds all that does not depend on the nonce: the state after the
//! first block and three rounds of the second, message words 16 and 17 and the constant
//! parts of later ones. Of the second hash only the last word is computed, which is the
//! variable `e` after round 60; so the rounds 61 to 63 and the words that only they read
//! are left out, and of the rounds 57 to 60 all that leads to `a`.
//!
//! Each hash is two passes. The first makes the message schedule and stores every word
//! with its round constant added; the second runs the rounds, reading those sums. So the
//! rounds of three streams have their working variables in registers, and rounds and
//! schedule are loops: written out, the code of one hash is larger than what a CPU keeps
//! of decoded instructions (on Zen 5 that cost a third of the speed).

use crate::fips::{END, HASH_BITS, HEADER_BITS, IV, K, ch, maj, sigma0, sigma1};
use crate::fips::{upper_sigma0, upper_sigma1};
use crate::job::Job;
use crate::search::Watch;
use crate::word::{Streams, Word};

/// Message words of both hashes, and the words of the one in work.
///
/// The rows that no nonce changes are filled in once.
pub(crate) struct Schedule<W> {
    /// Words and constants of the second block of the first hash, from row 4.
    first: [W; 64],
    /// Words and constants of the second hash, up to row 60.
    second: [W; 64],
    /// Bare words, of the first hash and then of the second.
    words: [W; 64],
    /// The table of round constants, behind a pointer, so that reading from it takes
    /// short instructions.
    k: &'static [u32; 64],
}

impl<W: Word> Schedule<W> {
    /// A schedule that is still to be [prepared](Self::prepare); `kind` is any word.
    #[inline(always)]
    pub(crate) fn new(kind: W) -> Self {
        let zero = kind.splat(0);
        Self {
            first: [zero; 64],
            second: [zero; 64],
            words: [zero; 64],
            k: std::hint::black_box(&K),
        }
    }

    /// Fills in the rows that no nonce changes.
    ///
    /// In place and with plain loops: returned by value, a schedule of 36 KiB is copied, and
    /// adapters of iterators are functions that are not compiled for the extension.
    #[inline(always)]
    pub(crate) fn prepare(&mut self, job: &Job, kind: W) {
        let constant = |t: usize, word: u32| kind.splat(K[t].wrapping_add(word));
        let mut t = 4;
        while t < 16 {
            self.first[t] = constant(t, const { padding(4, HEADER_BITS) }[t]);
            t += 1;
        }
        t = 8;
        while t < 16 {
            self.second[t] = constant(t, const { padding(8, HASH_BITS) }[t]);
            t += 1;
        }
        self.first[16] = constant(16, job.w16);
        self.first[17] = constant(17, job.w17);
    }

    /// The rows of the first hash that depend on the nonce.
    #[inline(always)]
    pub(crate) fn expand_first(&mut self, job: &Job, nonce: W) {
        let Self {
            first, words, k, ..
        } = self;
        let splat = |value| nonce.splat(value);
        macro_rules! put {
            ($t:expr, $word:expr) => {
                words[$t] = $word;
                first[$t] = words[$t].add(splat(k[$t]));
            };
        }
        // The second hash of the batch before has overwritten them.
        words[16] = splat(job.w16);
        words[17] = splat(job.w17);
        put!(18, splat(job.w18).add(nonce.sigma0()));
        put!(19, splat(job.w19).add(nonce));
        put!(20, words[18].sigma1().add(splat(END)));
        put!(21, words[19].sigma1());
        put!(22, words[20].sigma1().add(splat(HEADER_BITS)));
        put!(23, words[21].sigma1().add(words[16]));
        put!(24, words[22].sigma1().add(words[17]));
        put!(25, words[23].sigma1().add(words[18]));
        put!(26, words[24].sigma1().add(words[19]));
        put!(27, words[25].sigma1().add(words[20]));
        put!(28, words[26].sigma1().add(words[21]));
        put!(29, words[27].sigma1().add(words[22]));
        let last = splat(const { sigma0(HEADER_BITS) });
        put!(30, words[28].sigma1().add(words[23]).add(last));
        put!(31, words[29].sigma1().add(words[24]).add(splat(job.w31)));
        expand(words, first, k, 64);
    }

    /// The rows of the second hash, whose message is the first one.
    #[inline(always)]
    fn expand_second(&mut self, hash: [W; 8]) {
        let Self {
            second, words, k, ..
        } = self;
        let splat = |value| hash[0].splat(value);
        macro_rules! put {
            ($t:expr, $word:expr) => {
                words[$t] = $word;
                second[$t] = words[$t].add(splat(k[$t]));
            };
        }
        for (t, word) in hash.into_iter().enumerate() {
            put!(t, word);
        }
        put!(16, words[0].add(words[1].sigma0()));
        let bits = splat(const { sigma1(HASH_BITS) });
        put!(17, words[1].add(words[2].sigma0()).add(bits));
        for t in 18..22 {
            let old = words[t - 16].add(words[t - 15].sigma0());
            put!(t, old.add(words[t - 2].sigma1()));
        }
        let bits = splat(HASH_BITS);
        let old = words[6].add(words[7].sigma0()).add(bits);
        put!(22, old.add(words[20].sigma1()));
        let end = splat(const { sigma0(END) });
        let old = words[7].add(end).add(words[16]);
        put!(23, old.add(words[21].sigma1()));
        put!(24, splat(END).add(words[17]).add(words[22].sigma1()));
        for t in 25..30 {
            put!(t, words[t - 7].add(words[t - 2].sigma1()));
        }
        let last = splat(const { sigma0(HASH_BITS) });
        put!(30, words[23].add(last).add(words[28].sigma1()));
        let old = bits.add(words[16].sigma0()).add(words[24]);
        put!(31, old.add(words[29].sigma1()));
        expand(words, second, k, 56);
        for t in 56..61 {
            let old = words[t - 16].add(words[t - 15].sigma0()).add(words[t - 7]);
            put!(t, old.fixed().add(words[t - 2].sigma1()));
        }
        // The sum that turns the last variable into the last word of the hash.
        second[60] = second[60].add(splat(IV[7]));
    }
}

/// The words of a block whose message ends before word `end` and has so many bits.
const fn padding(end: usize, bits: u32) -> [u32; 16] {
    let mut words = [0; 16];
    words[end] = END;
    words[15] = bits;
    words
}

/// Words 32 to `end`, a multiple of eight, by the general rule.
#[inline(always)]
fn expand<W: Word>(words: &mut [W; 64], sums: &mut [W; 64], k: &[u32; 64], end: usize) {
    let mut t = 32;
    while t < end {
        let (old, new) = words.split_at_mut(t);
        let old = &old[t - 16..];
        let (new, sums, k) = (&mut new[..8], &mut sums[t..t + 8], &k[t..t + 8]);
        // The last two words stay in registers.
        let (mut before, mut last) = (old[14], old[15]);
        macro_rules! word {
            ($i:expr, $seven_ago:expr) => {
                let sum = old[$i].add(old[$i + 1].sigma0()).add($seven_ago);
                let word = sum.fixed().add(before.sigma1());
                new[$i] = word;
                sums[$i] = word.add(word.splat(k[$i]));
                (before, last) = (last, word);
            };
        }
        word!(0, old[9]);
        word!(1, old[10]);
        word!(2, old[11]);
        word!(3, old[12]);
        word!(4, old[13]);
        word!(5, old[14]);
        word!(6, old[15]);
        word!(7, new[0]);
        let _ = (before, last);
        t += 8;
    }
}

/// Where a lane of a round finds its message word in a row of the schedule.
pub(crate) trait Supply: Copy {
    fn sum<W: Streams>(self, row: &W, stream: usize) -> W::One;
}

/// Each lane has its own nonce, hence its own words.
#[derive(Clone, Copy)]
pub(crate) struct OwnWords;

impl Supply for OwnWords {
    #[inline(always)]
    fn sum<W: Streams>(self, row: &W, stream: usize) -> W::One {
        row.stream(stream)
    }
}

/// One round in every stream. Afterwards `d` holds the next `e`, and `h` the next `a`.
macro_rules! round {
    ($supply:expr, $row:expr, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        round!(@ 0, $supply, $row, $a $b $c $d $e $f $g $h);
        round!(@ 1, $supply, $row, $a $b $c $d $e $f $g $h);
        round!(@ 2, $supply, $row, $a $b $c $d $e $f $g $h);
    };
    (@ $i:expr, $supply:expr, $row:expr, $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        if $i < W::STREAMS {
            let (a, e) = ($a.stream($i), $e.stream($i));
            let ch = W::One::ch(e, $f.stream($i), $g.stream($i));
            let maj = W::One::maj(a, $b.stream($i), $c.stream($i));
            let early = $h.stream($i).add($supply.sum($row, $i)).fixed().add(ch);
            let t1 = early.fixed().add(e.upper_sigma1()).fixed();
            $d.set_stream($i, $d.stream($i).add(t1));
            $h.set_stream($i, t1.add(maj).fixed().add(a.upper_sigma0()));
        }
    };
}

/// A round of which only the next `e` is wanted; `d` becomes it.
macro_rules! half_round {
    ($row:expr, $d:ident $e:ident $f:ident $g:ident $h:ident) => {
        let early = $h.add($row).fixed().add($d).fixed();
        $d = early.add(W::ch($e, $f, $g)).fixed().add($e.upper_sigma1());
    };
}

/// As many rounds as there are rows, a multiple of four.
#[inline(always)]
pub(crate) fn rounds<W: Streams>(state: [W; 8], rows: &[W], supply: impl Supply) -> [W; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
    for row in rows.chunks_exact(4) {
        round!(supply, &row[0], a b c d e f g h);
        round!(supply, &row[1], h a b c d e f g);
        round!(supply, &row[2], g h a b c d e f);
        round!(supply, &row[3], f g h a b c d e);
        (a, b, c, d, e, f, g, h) = (e, f, g, h, a, b, c, d);
    }
    [a, b, c, d, e, f, g, h]
}

/// `e` and `a` after round 0 of the second hash, without the first message word.
const T1: u32 = IV[7]
    .wrapping_add(upper_sigma1(IV[4]))
    .wrapping_add(ch(IV[4], IV[5], IV[6]));
const E0: u32 = IV[3].wrapping_add(T1);
const A0: u32 = T1
    .wrapping_add(upper_sigma0(IV[0]))
    .wrapping_add(maj(IV[0], IV[1], IV[2]));

impl<W: Streams> Schedule<W> {
    /// The rounds 4 to 63 of the first hash.
    #[inline(always)]
    pub(crate) fn first_rounds(&self, state: [W; 8], supply: impl Supply) -> [W; 8] {
        rounds(state, &self.first[4..], supply)
    }

    /// The last word of the hash of a hash; `None` when the caller's word has changed before
    /// or after the message schedule.
    #[inline(always)]
    pub(crate) fn last_word(&mut self, hash: [W; 8], watch: Watch<'_>) -> Option<W> {
        if !watch.goes_on() {
            return None;
        }
        self.expand_second(hash);
        if !watch.goes_on() {
            return None;
        }
        let sums = &self.second;
        let splat = |value| hash[0].splat(value);
        let state = [
            sums[0].add(splat(A0)),
            splat(IV[0]),
            splat(IV[1]),
            splat(IV[2]),
            sums[0].add(splat(E0)),
            splat(IV[4]),
            splat(IV[5]),
            splat(IV[6]),
        ];
        let [mut a, mut b, mut c, mut d, e, f, g, h] = rounds(state, &sums[1..57], OwnWords);
        half_round!(sums[57], d e f g h);
        half_round!(sums[58], c d e f g);
        half_round!(sums[59], b c d e f);
        half_round!(sums[60], a b c d e);
        Some(a)
    }
}

/// The last word of the double hash of the job's header, for the nonces of all lanes; `None`
/// when the caller's word has changed meanwhile.
#[inline(always)]
pub(crate) fn last_word<W: Streams>(
    job: &Job,
    schedule: &mut Schedule<W>,
    nonce: W,
    watch: Watch<'_>,
) -> Option<W> {
    schedule.expand_first(job, nonce);
    if !watch.goes_on() {
        return None;
    }
    // Written out: what `map` calls is not compiled for the extension, and clears the upper
    // halves of the registers.
    let start = |row: usize| nonce.splat(job.after_nonce[row]);
    let state = [
        start(0).add(nonce),
        start(1),
        start(2),
        start(3),
        start(4).add(nonce),
        start(5),
        start(6),
        start(7),
    ];
    let [a, b, c, d, e, f, g, h] = schedule.first_rounds(state, OwnWords);
    let middle = |row: usize| nonce.splat(job.midstate[row]);
    let hash = [
        a.add(middle(0)),
        b.add(middle(1)),
        c.add(middle(2)),
        d.add(middle(3)),
        e.add(middle(4)),
        f.add(middle(5)),
        g.add(middle(6)),
        h.add(middle(7)),
    ];
    schedule.last_word(hash, watch)
}
