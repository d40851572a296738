//! What the io_uring of this kernel can do, found out by trying it on rings
//! of two entries that are closed again at once.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;

use super::uapi::{BufReg, NAMED_OPS, Napi, PAGE_BYTES, Page, Params, Probe};
use super::uapi::{feature, register, setup};
use crate::syscall;

/// One setup flag, its name, and the flags that it cannot do without.
struct Trial {
    name: &'static str,
    flag: u32,
    with: u32,
}

const TRIALS: &[Trial] = &[
    trial("SINGLE_ISSUER", setup::SINGLE_ISSUER, 0),
    trial("DEFER_TASKRUN", setup::DEFER_TASKRUN, setup::SINGLE_ISSUER),
    trial("TASKRUN_FLAG", setup::TASKRUN_FLAG, setup::COOP_TASKRUN),
    trial("SUBMIT_ALL", setup::SUBMIT_ALL, 0),
    trial("CLAMP", setup::CLAMP, 0),
    trial("NO_SQARRAY", setup::NO_SQARRAY, 0),
    trial("COOP_TASKRUN", setup::COOP_TASKRUN, 0),
    trial("R_DISABLED", setup::R_DISABLED, 0),
    trial("SQE128", setup::SQE128, 0),
    trial("CQE32", setup::CQE32, 0),
    trial("CQE_MIXED", setup::CQE_MIXED, 0),
    trial("SQE_MIXED", setup::SQE_MIXED, 0),
    trial("SQ_REWIND", setup::SQ_REWIND, setup::NO_SQARRAY),
    trial("SQPOLL", setup::SQPOLL, 0),
    trial("IOPOLL", setup::IOPOLL, 0),
    trial("HYBRID_IOPOLL", setup::HYBRID_IOPOLL, setup::IOPOLL),
];

const fn trial(name: &'static str, flag: u32, with: u32) -> Trial {
    Trial { name, flag, with }
}

/// Whether the kernel accepted one setup flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupFlag {
    /// The name without its `IORING_SETUP_` in front.
    pub name: &'static str,
    /// The bit.
    pub flag: u32,
    /// Whether a ring with it (and the flags that it needs) could be set up.
    pub accepted: bool,
}

/// What the ring of this kernel offers.
#[derive(Clone, Debug)]
pub struct RingFeatures {
    /// Each setup flag that zcn knows, tried.
    pub setup_flags: Vec<SetupFlag>,
    /// The `IORING_FEAT_*` bits that the kernel announces.
    pub features: u32,
    /// For each opcode number, whether the kernel supports it.
    pub opcodes: Vec<bool>,
    /// Provided-buffer rings can be registered (5.19).
    pub buffer_ring: bool,
    /// Provided-buffer rings can be consumed in pieces (6.12).
    pub incremental: bool,
    /// A ring may busy-poll network devices (6.9).
    pub napi: bool,
}

impl RingFeatures {
    /// Tries everything. Takes well under a millisecond on most machines.
    ///
    /// # Errors
    /// The error of the first `io_uring_setup(2)`; see
    /// [`Access::from_error`](super::Access::from_error).
    pub fn probe() -> io::Result<Self> {
        let (ring, params) = try_setup(0)?;
        let setup_flags = TRIALS
            .iter()
            .map(|trial| SetupFlag {
                name: trial.name,
                flag: trial.flag,
                accepted: try_setup(trial.flag | trial.with).is_ok(),
            })
            .collect();
        Ok(Self {
            setup_flags,
            features: params.features,
            opcodes: supported_opcodes(&ring).unwrap_or_default(),
            buffer_ring: buffer_ring_registers(&ring, 0),
            incremental: buffer_ring_registers(&ring, register::PBUF_RING_INC),
            napi: napi_registers(&ring),
        })
    }

    /// Whether the kernel took this single setup flag.
    pub fn accepts(&self, flag: u32) -> bool {
        self.setup_flags
            .iter()
            .any(|tried| tried.flag == flag && tried.accepted)
    }

    /// Whether the kernel knows this opcode.
    pub fn supports(&self, opcode: u8) -> bool {
        self.opcodes
            .get(usize::from(opcode))
            .copied()
            .unwrap_or(false)
    }

    /// Whether sends and receives may span several buffers (6.10).
    pub fn bundles(&self) -> bool {
        self.features & feature::RECVSEND_BUNDLE != 0
    }

    /// Whether a wait may ask for a batch first and a single completion
    /// later (6.12).
    pub fn min_wait(&self) -> bool {
        self.features & feature::MIN_TIMEOUT != 0
    }

    /// Names of the operations that zcn uses and this kernel lacks.
    pub fn missing_opcodes(&self) -> Vec<&'static str> {
        NAMED_OPS
            .iter()
            .filter(|(opcode, _)| !self.supports(*opcode))
            .map(|(_, name)| *name)
            .collect()
    }

    /// Names of the announced feature bits.
    pub fn feature_names(&self) -> Vec<&'static str> {
        feature::NAMES
            .iter()
            .filter(|(bit, _)| self.features & bit != 0)
            .map(|(_, name)| *name)
            .collect()
    }
}

/// Sets up a ring of two entries with `flags`.
pub(super) fn try_setup(flags: u32) -> io::Result<(OwnedFd, Params)> {
    let mut params = Params {
        flags,
        // Only the thread of SQPOLL reads this: let it sleep soon.
        sq_thread_idle: 1,
        ..Params::default()
    };
    // SAFETY: `params` is a whole `io_uring_params` that lives through the
    // call, and no flag tried here makes the kernel keep an address.
    let ring = unsafe { syscall::io_uring_setup(2, (&raw mut params).cast::<c_void>()) }?;
    Ok((ring, params))
}

fn supported_opcodes(ring: &OwnedFd) -> io::Result<Vec<bool>> {
    let mut probe = Probe::default();
    // SAFETY: the kernel writes at most `ops.len()` entries behind the
    // header, which is the room that `Probe` has.
    unsafe {
        syscall::io_uring_register(
            ring.as_fd(),
            register::PROBE,
            (&raw mut probe).cast::<c_void>(),
            // The array has 256 entries.
            probe.ops.len() as u32,
        )
    }?;
    let known = usize::from(probe.ops_len).min(probe.ops.len());
    Ok(probe.ops[..known]
        .iter()
        .map(|op| op.flags & register::OP_SUPPORTED != 0)
        .collect())
}

/// Registers a page as a ring of provided buffers and takes it back.
fn buffer_ring_registers(ring: &OwnedFd, flags: u16) -> bool {
    let page = Box::new(Page([0; PAGE_BYTES]));
    let group = BufReg {
        ring_addr: page.0.as_ptr() as u64,
        ring_entries: 8,
        bgid: 1,
        flags,
        resv: [0; 3],
    };
    let argument = (&raw const group).cast::<c_void>();
    // SAFETY: `group` is a whole `io_uring_buf_reg` whose page is aligned and
    // holds 8 entries of 16 bytes; the page outlives the registration, or is
    // leaked below.
    let taken =
        unsafe { syscall::io_uring_register(ring.as_fd(), register::PBUF_RING, argument, 1) };
    if taken.is_err() {
        return false;
    }
    // SAFETY: as above; the kernel reads only the group number.
    let returned = unsafe {
        syscall::io_uring_register(ring.as_fd(), register::UNREGISTER_PBUF_RING, argument, 1)
    };
    if returned.is_err() {
        // The kernel may still look at the page.
        Box::leak(page);
    }
    true
}

/// Switches busy polling on and off again.
fn napi_registers(ring: &OwnedFd) -> bool {
    let mut napi = Napi {
        busy_poll_to: 10,
        ..Napi::default()
    };
    let argument = (&raw mut napi).cast::<c_void>();
    // SAFETY: `napi` is a whole `io_uring_napi`, written back by the kernel
    // during the call only.
    let taken = unsafe { syscall::io_uring_register(ring.as_fd(), register::NAPI, argument, 1) };
    if taken.is_ok() {
        // SAFETY: null is allowed here: the old settings are not asked for.
        // Failure does not matter: the ring is closed soon after.
        let _ = unsafe {
            syscall::io_uring_register(ring.as_fd(), register::UNREGISTER_NAPI, ptr::null(), 1)
        };
    }
    taken.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// `None`, after saying so, where io_uring is refused.
    fn features() -> Option<RingFeatures> {
        match RingFeatures::probe() {
            Ok(features) => Some(features),
            Err(error) => {
                let reason = super::super::Access::from_error(&error);
                // Written past the capture of the harness, to be seen and
                // counted.
                let _ = writeln!(io::stdout(), "SKIPPED: io_uring is {reason}");
                None
            }
        }
    }

    #[test]
    fn a_nop_is_supported_and_a_number_of_tomorrow_is_not() {
        let Some(features) = features() else { return };
        assert!(features.supports(0));
        assert!(!features.supports(255));
    }

    #[test]
    fn an_unknown_setup_flag_is_refused() {
        if features().is_none() {
            return;
        }
        let error = try_setup(1 << 31).expect_err("no kernel knows bit 31");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn deferred_task_run_needs_a_single_issuer() {
        let Some(features) = features() else { return };
        if features.accepts(setup::DEFER_TASKRUN) {
            assert!(features.accepts(setup::SINGLE_ISSUER));
            assert!(try_setup(setup::DEFER_TASKRUN).is_err());
        }
    }

    #[test]
    fn incremental_rings_are_rings() {
        let Some(features) = features() else { return };
        assert!(features.buffer_ring || !features.incremental);
    }
}
