//! Which implementation does the work.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::dispatch;
use crate::job::Job;
use crate::rolled::RolledJob;
use crate::search::{Nonces, Searched, Watch};

/// The implementations, from the slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EngineKind {
    /// Plain integers; everywhere.
    Scalar,
    /// Eight nonces in AVX2 registers, three streams interleaved.
    Avx2,
    /// The SHA-256 instructions of ARMv8, two nonces interleaved.
    Armv8,
    /// The SHA-256 instructions of x86, two nonces interleaved.
    ShaNi,
    /// Sixteen nonces in AVX-512 registers, three streams interleaved.
    Avx512,
}

/// An engine that this CPU cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this CPU cannot run the engine {0}; leave the choice to the program, or take scalar")]
pub struct UnsupportedEngine(pub EngineKind);

/// A name that no engine has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no engine is called {0:?}; there are scalar, avx2, armv8, sha-ni and avx512")]
pub struct UnknownEngine(pub String);

impl EngineKind {
    /// Every kind, from the slowest.
    pub const ALL: [Self; 5] = [
        Self::Scalar,
        Self::Avx2,
        Self::Armv8,
        Self::ShaNi,
        Self::Avx512,
    ];

    /// Whether this CPU can run it.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi => crate::x86::sha_ni::detected(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "aarch64")]
            Self::Armv8 => crate::aarch64::detected(),
            _ => false,
        }
    }

    /// The name, as `FromStr` reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Armv8 => "armv8",
            Self::ShaNi => "sha-ni",
            Self::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownEngine(name.to_owned()))
    }
}

/// An implementation that this CPU can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine {
    kind: EngineKind,
}

impl Engine {
    /// The engine of a kind.
    ///
    /// # Errors
    /// When the CPU lacks the instructions.
    pub fn new(kind: EngineKind) -> Result<Self, UnsupportedEngine> {
        if kind.is_supported() {
            Ok(Self { kind })
        } else {
            Err(UnsupportedEngine(kind))
        }
    }

    /// The fastest that this CPU can run.
    pub fn best() -> Self {
        Self::supported().last().unwrap_or(Self {
            kind: EngineKind::Scalar,
        })
    }

    /// All that this CPU can run, from the slowest.
    pub fn supported() -> impl Iterator<Item = Self> {
        EngineKind::ALL
            .into_iter()
            .filter_map(|kind| Self::new(kind).ok())
    }

    /// Its kind.
    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Whether it shares message schedules between versions: [`Self::search_rolled`].
    pub fn rolls(&self) -> bool {
        self.kind == EngineKind::Avx512
    }

    /// Tries nonces and tells `found` those that meet the job's target, in order.
    ///
    /// Stops at the end of the range or when the watched word changes ([`Watch`]). A batch
    /// has 48 nonces with AVX-512, 24 with AVX2, two with SHA instructions, one otherwise.
    /// Allocates nothing.
    pub fn search(
        &self,
        job: &Job,
        nonces: Nonces,
        watch: Watch<'_>,
        found: &mut dyn FnMut(u32),
    ) -> Searched {
        dispatch::search(self.kind, job, nonces, watch, found)
    }

    /// Tries nonces in all versions of the job and tells `found` version and nonce of
    /// those that meet the target, in no order. Every nonce counts sixteen hashes.
    ///
    /// `None` when the engine has no way to share the work between versions; only
    /// AVX-512 has.
    pub fn search_rolled(
        &self,
        job: &RolledJob,
        nonces: Nonces,
        watch: Watch<'_>,
        found: &mut dyn FnMut(u32, u32),
    ) -> Option<Searched> {
        dispatch::search_rolled(self.kind, job, nonces, watch, found)
    }

    /// SHA-256 of SHA-256 of many messages of 64 bytes: nodes of a merkle tree.
    ///
    /// # Panics
    /// When there are not as many hashes as messages.
    pub fn sha256d_64(&self, messages: &[[u8; 64]], hashes: &mut [[u8; 32]]) {
        assert_eq!(messages.len(), hashes.len(), "a hash for every message");
        dispatch::sha256d_64(self.kind, messages, hashes);
    }
}
