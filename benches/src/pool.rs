//! Buffer pool, object pool and arena beside their peers.

use crate::harness::{Ctx, Result};

/// Measures the pools.
pub fn run(_ctx: &mut Ctx) -> Result {
    Ok(())
}
