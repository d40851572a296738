//! The search of sixteen versions of a header at once.

use super::avx512::WordOfLane;
use crate::kernel::Schedule;
use crate::lanes::Lanes;
use crate::rolled::{RolledJob, VERSIONS};
use crate::search::{Nonces, Searched, Watch};
use crate::triple::Triple;
use crate::word::Word;

/// Three nonces at a time, each in all versions. `nonces` in the answer counts whole
/// rounds of all versions.
#[inline(always)]
pub(crate) fn search<W: Lanes>(
    kind: Triple<W>,
    job: &RolledJob,
    nonces: Nonces,
    watch: Watch<'_>,
    found: &mut dyn FnMut(u32, u32),
) -> Searched {
    let count = nonces.limited();
    let shared = job.job(0);
    let mut schedule = Schedule::new(kind);
    schedule.prepare(shared, kind);
    let load = |row: &[u32; VERSIONS]| {
        let word = kind.0.load(row);
        Triple(word, word, word)
    };
    let mut done = 0;
    while done < count {
        // The words of 48 nonces at once, three of which go through side by side.
        let first = nonces.first.wrapping_add(done as u32);
        let words = kind.count_from(first).swap_bytes();
        schedule.expand_first(shared, words);
        let left = count - done;
        for lane in 0..W::LANES.min(usize::try_from(left).unwrap_or(usize::MAX)) {
            if !watch.goes_on() {
                return Searched {
                    nonces: done,
                    interrupted: true,
                };
            }
            let nonce_of = |stream: usize| first.wrapping_add((stream * W::LANES + lane) as u32);
            let nonce = Triple(
                kind.0.splat(nonce_of(0).swap_bytes()),
                kind.0.splat(nonce_of(1).swap_bytes()),
                kind.0.splat(nonce_of(2).swap_bytes()),
            );
            // Written out, as in `kernel::last_word`.
            let start = |row: usize| load(&job.after_nonce[row]);
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
            let hash = schedule.first_rounds(state, WordOfLane(lane));
            let [a, b, c, d, e, f, g, h] = hash;
            let middle = |row: usize| load(&job.midstate[row]);
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
            let Some(last) = schedule.last_word(hash, watch) else {
                return Searched {
                    nonces: done,
                    interrupted: true,
                };
            };
            let candidates = last.clear_of(shared.reject);
            if candidates != 0 {
                report(job, candidates, nonce_of, left, first, found);
            }
        }
        done += left.min(3 * W::LANES as u64);
    }
    Searched {
        nonces: done,
        interrupted: false,
    }
}

/// Looks at the whole hash of the lanes whose last word may meet the target.
#[cold]
#[inline(never)]
fn report(
    job: &RolledJob,
    mut candidates: u64,
    nonce_of: impl Fn(usize) -> u32,
    left: u64,
    first: u32,
    found: &mut dyn FnMut(u32, u32),
) {
    while candidates != 0 {
        let place = candidates.trailing_zeros() as usize;
        let (stream, version) = (place / VERSIONS, place % VERSIONS);
        let nonce = nonce_of(stream);
        let inside = u64::from(nonce.wrapping_sub(first)) < left;
        if inside && job.job(version).is_met_by(nonce) {
            found(job.versions[version], nonce);
        }
        candidates &= candidates - 1;
    }
}
