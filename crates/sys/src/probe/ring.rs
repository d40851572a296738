//! What the io_uring of this kernel can do, found out by trying it on rings
//! of two entries that are closed again at once.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::thread;
use std::time::Duration;

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

/// What came of trying a part of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It works.
    Yes,
    /// The kernel does not know it (`EINVAL`).
    No,
    /// Something else stood in the way, with this errno: mostly `ENOMEM`,
    /// because rings count against a small memlock limit.
    Unknown(i32),
}

impl Answer {
    /// Whether it is certain to work.
    pub fn is_yes(self) -> bool {
        self == Answer::Yes
    }

    fn from_result<T>(result: &io::Result<T>) -> Self {
        match result.as_ref().map_err(io::Error::raw_os_error) {
            Ok(_) => Answer::Yes,
            Err(Some(libc::EINVAL)) | Err(None) => Answer::No,
            Err(Some(errno)) => Answer::Unknown(errno),
        }
    }
}

/// Whether the kernel accepts one setup flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupFlag {
    /// The name without its `IORING_SETUP_` in front.
    pub name: &'static str,
    /// The bit.
    pub flag: u32,
    /// Whether a ring with it (and the flags that it needs) could be set up.
    pub accepted: Answer,
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
    pub buffer_ring: Answer,
    /// Provided-buffer rings can be consumed in pieces (6.12).
    pub incremental: Answer,
    /// A ring may busy-poll network devices (6.9).
    pub napi: Answer,
}

impl RingFeatures {
    /// Tries everything. Takes a millisecond or two on most machines, and up
    /// to a second where a small memlock limit makes each ring wait for the
    /// last one to be gone.
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
                accepted: Answer::from_result(&try_setup(trial.flag | trial.with)),
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
            .any(|tried| tried.flag == flag && tried.accepted.is_yes())
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

/// How often, and how long apart, what lacks memory is tried again.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(3);

/// Tries again while memory lacks: the kernel takes a closed ring apart a
/// little later, and until then it counts against the memlock limit.
fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut tries = 0;
    loop {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && tries < PATIENCE => {
                tries += 1;
                thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// Sets up a ring of two entries with `flags`.
pub(super) fn try_setup(flags: u32) -> io::Result<(OwnedFd, Params)> {
    patiently(|| try_setup_once(flags))
}

fn try_setup_once(flags: u32) -> io::Result<(OwnedFd, Params)> {
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
fn buffer_ring_registers(ring: &OwnedFd, flags: u16) -> Answer {
    let page = Box::new(Page([0; PAGE_BYTES]));
    let group = BufReg {
        ring_addr: page.0.as_ptr() as u64,
        ring_entries: 8,
        bgid: 1,
        flags,
        resv: [0; 3],
    };
    let argument = (&raw const group).cast::<c_void>();
    let taken = patiently(|| {
        // SAFETY: `group` is a whole `io_uring_buf_reg` whose page is aligned
        // and holds 8 entries of 16 bytes; the page outlives the
        // registration, or is leaked below.
        unsafe { syscall::io_uring_register(ring.as_fd(), register::PBUF_RING, argument, 1) }
    });
    if taken.is_err() {
        return Answer::from_result(&taken);
    }
    // SAFETY: as above; the kernel reads only the group number.
    let returned = unsafe {
        syscall::io_uring_register(ring.as_fd(), register::UNREGISTER_PBUF_RING, argument, 1)
    };
    if returned.is_err() {
        // The kernel may still look at the page.
        Box::leak(page);
    }
    Answer::Yes
}

/// Switches busy polling on and off again.
fn napi_registers(ring: &OwnedFd) -> Answer {
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
    Answer::from_result(&taken)
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
    fn want_of_memory_is_not_taken_for_want_of_the_part() {
        let answer = |errno| Answer::from_result::<()>(&Err(io::Error::from_raw_os_error(errno)));
        assert_eq!(answer(libc::EINVAL), Answer::No);
        assert_eq!(answer(libc::ENOMEM), Answer::Unknown(libc::ENOMEM));
        assert_eq!(Answer::from_result(&Ok(())), Answer::Yes);
    }

    #[test]
    fn incremental_rings_are_rings() {
        let Some(features) = features() else { return };
        assert!(features.buffer_ring.is_yes() || !features.incremental.is_yes());
    }
}
