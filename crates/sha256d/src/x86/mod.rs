//! The vector engines of x86-64.

pub(crate) mod avx2;
pub(crate) mod avx512;
mod rolled;
pub(crate) mod sha_ni;
