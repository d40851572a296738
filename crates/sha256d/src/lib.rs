//! Double SHA-256 of zcn: the search of a nonce range for a block header whose hash meets
//! a target, and many hashes at once.
//!
//! * [`Job`] is a header prepared for the search, with its [`Target`].
//! * [`Engine`] is one of the implementations that this CPU can run: scalar, AVX2,
//!   SHA-NI, AVX-512, or the SHA-256 instructions of ARMv8. [`Engine::best`] takes the
//!   fastest.
//! * [`Engine::search`] tries [`Nonces`] until they end or until a word that the caller
//!   shares with another thread changes ([`Watch`]), some hundred nanoseconds later.
//! * [`Engine::search_rolled`] tries every nonce in sixteen versions of the header
//!   ([`RolledJob`]), which saves a sixth of the work. See below.
//! * [`sha256d`], [`Sha256d`], [`Engine::sha256d_64`], [`merkle_path`] and [`merkle_root`]
//!   hash for other purposes.
//!
//! Nothing here allocates, and nothing depends on how a program is compiled: code for CPU
//! extensions is compiled function by function and chosen at run time. Do not build with
//! `target-cpu=native`: other crates' SHA-NI code then meets vector registers whose upper
//! halves are in use, which makes some CPUs a hundred times slower. This crate clears
//! them.
//!
//! ```
//! use zcn_sha256d::{Engine, Job, Nonces, Target, Watch};
//!
//! // The header of block 0.
//! let mut header = [0; 80];
//! header[0] = 1;
//! header[36..68].copy_from_slice(&[
//!     0x3b, 0xa3, 0xed, 0xfd, 0x7a, 0x7b, 0x12, 0xb2, 0x7a, 0xc7, 0x2c, 0x3e, 0x67, 0x76, 0x8f,
//!     0x61, 0x7f, 0xc8, 0x1b, 0xc3, 0x88, 0x8a, 0x51, 0x32, 0x3a, 0x9f, 0xb8, 0xaa, 0x4b, 0x1e,
//!     0x5e, 0x4a,
//! ]);
//! header[68..72].copy_from_slice(&1_231_006_505_u32.to_le_bytes());
//! header[72..76].copy_from_slice(&0x1d00_ffff_u32.to_le_bytes());
//!
//! let job = Job::new(&header, Target::from_compact(0x1d00_ffff)?);
//! let nonces = Nonces { first: 2_083_236_000, count: 1000 };
//! let mut found = Vec::new();
//! Engine::best().search(&job, nonces, Watch::never(), &mut |nonce| found.push(nonce));
//! assert_eq!(found, [2_083_236_893]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Versions that share a message schedule
//!
//! What [`RolledJob`] does is known as overt AsicBoost. Patents were applied for; holders
//! announced a licence for defensive use only in 2018 (the Blockchain Defensive Patent
//! License), and a suit in Korea was reported later. Nothing here uses it unless it is
//! asked to; whoever turns it on should know the law of the place.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod census;
mod digest;
mod dispatch;
mod engine;
mod fips;
mod job;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod rolled;
mod search;
mod target;
#[cfg(target_arch = "x86_64")]
mod triple;
mod word;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use census::{Census, census, rolled_census};
pub use digest::{Sha256d, merkle_path, merkle_root, sha256d};
pub use engine::{Engine, EngineKind, UnknownEngine, UnsupportedEngine};
pub use job::Job;
pub use rolled::{RolledJob, VERSIONS};
pub use search::{Nonces, Searched, Watch};
pub use target::{CompactError, Target};
