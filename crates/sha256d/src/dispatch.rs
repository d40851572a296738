//! The calls of code compiled for CPU extensions.

#![allow(unsafe_code)]

use crate::digest::sha256d;
use crate::engine::EngineKind;
use crate::job::Job;
use crate::rolled::RolledJob;
use crate::search::{self, Nonces, Searched, Watch};

// An `Engine` of a kind exists only where `EngineKind::is_supported` said so.

pub(crate) fn search(
    kind: EngineKind,
    job: &Job,
    nonces: Nonces,
    watch: Watch<'_>,
    found: &mut dyn FnMut(u32),
) -> Searched {
    match kind {
        #[cfg(target_arch = "x86_64")]
        EngineKind::ShaNi => crate::x86::sha_ni::search(job, nonces, watch, found),
        // SAFETY: the CPU has AVX2, or there were no such engine.
        #[cfg(target_arch = "x86_64")]
        EngineKind::Avx2 => unsafe { crate::x86::avx2::search(job, nonces, watch, found) },
        // SAFETY: the CPU has AVX-512F, or there were no such engine.
        #[cfg(target_arch = "x86_64")]
        EngineKind::Avx512 => unsafe { crate::x86::avx512::search(job, nonces, watch, found) },
        #[cfg(target_arch = "aarch64")]
        EngineKind::Armv8 => crate::aarch64::search(job, nonces, watch, found),
        _ => search::search(0_u32, job, nonces, watch, found),
    }
}

pub(crate) fn search_rolled(
    kind: EngineKind,
    job: &RolledJob,
    nonces: Nonces,
    watch: Watch<'_>,
    found: &mut dyn FnMut(u32, u32),
) -> Option<Searched> {
    match kind {
        #[cfg(target_arch = "x86_64")]
        EngineKind::Avx512 => {
            // SAFETY: the CPU has AVX-512F, or there were no such engine.
            Some(unsafe { crate::x86::avx512::search_rolled(job, nonces, watch, found) })
        }
        _ => {
            let _ = (job, nonces, watch, found);
            None
        }
    }
}

pub(crate) fn sha256d_64(kind: EngineKind, messages: &[[u8; 64]], hashes: &mut [[u8; 32]]) {
    let many = match kind {
        #[cfg(target_arch = "x86_64")]
        EngineKind::ShaNi => return crate::x86::sha_ni::sha256d_64(messages, hashes),
        #[cfg(target_arch = "x86_64")]
        EngineKind::Avx2 => 8,
        #[cfg(target_arch = "x86_64")]
        EngineKind::Avx512 => 16,
        _ => 1,
    };
    for (messages, hashes) in messages.chunks(many).zip(hashes.chunks_mut(many)) {
        match (kind, messages) {
            // Few messages are sooner done one by one.
            (_, few) if few.len() < many / 2 + 1 => {
                for (message, hash) in few.iter().zip(hashes) {
                    *hash = sha256d(message);
                }
            }
            // SAFETY: the CPU has AVX2, or there were no such engine.
            #[cfg(target_arch = "x86_64")]
            (EngineKind::Avx2, _) => unsafe { crate::x86::avx2::sha256d_64(messages, hashes) },
            // SAFETY: the CPU has AVX-512F, or there were no such engine.
            #[cfg(target_arch = "x86_64")]
            (EngineKind::Avx512, _) => unsafe {
                crate::x86::avx512::sha256d_64(messages, hashes);
            },
            _ => {
                for (message, hash) in messages.iter().zip(hashes) {
                    *hash = sha256d(message);
                }
            }
        }
    }
}
