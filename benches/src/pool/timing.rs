//! How long one pair takes.

use std::time::{Duration, Instant};

/// Pairs between two looks at the clock, which costs as much as ten of them.
const BLOCK: usize = 1 << 14;

/// Repeats `step`, which does `burst` pairs, for about `sample`, and returns nanoseconds
/// per pair. The first block is not counted.
pub fn pairs(sample: Duration, burst: usize, mut step: impl FnMut()) -> f64 {
    let steps = BLOCK.div_ceil(burst);
    let mut block = || {
        for _ in 0..steps {
            step();
        }
    };
    block();
    let start = Instant::now();
    let mut blocks = 0u64;
    loop {
        block();
        blocks += 1;
        let elapsed = start.elapsed();
        if elapsed >= sample {
            return elapsed.as_nanos() as f64 / (blocks as f64 * (steps * burst) as f64);
        }
    }
}
