//! What the kernel under this ring can do, found by asking it.

use std::io;

use io_uring::{IoUring, Probe, cqueue, squeue};

use crate::constants::opcode;

/// Features of the running kernel as this ring sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// `IORING_SETUP_SINGLE_ISSUER` accepted (6.0).
    pub single_issuer: bool,
    /// `IORING_SETUP_DEFER_TASKRUN` accepted (6.1).
    pub defer_taskrun: bool,
    /// `IORING_SETUP_COOP_TASKRUN` in use instead of deferred task run (5.19).
    pub coop_taskrun: bool,
    /// `IORING_SETUP_TASKRUN_FLAG` accepted (5.19).
    pub taskrun_flag: bool,
    /// `IORING_SETUP_SUBMIT_ALL` accepted (5.18).
    pub submit_all: bool,
    /// `IORING_SETUP_CLAMP` accepted.
    pub clamp: bool,
    /// `IORING_SETUP_NO_SQARRAY` accepted (6.6).
    pub no_sqarray: bool,
    /// The ring's descriptor is registered with itself (5.18).
    pub registered_ring: bool,
    /// Zero-copy send (6.0).
    pub send_zc: bool,
    /// Zero-copy `sendmsg` (6.1).
    pub sendmsg_zc: bool,
    /// Bind and listen (6.11).
    pub bind_listen: bool,
    /// Direct descriptors can become ordinary ones (6.8).
    pub install_fd: bool,
    /// One receive or send may span several provided buffers (6.10).
    pub bundles: bool,
    /// A wait can settle for less after a minimum time (6.12).
    pub min_wait: bool,
    /// A place of the file table is freed as soon as its own operations have ended, not only when
    /// all earlier ones of the ring have (6.13; recognised by an opcode of 6.15).
    pub independent_files: bool,
    /// Busy polling of network devices from the wait (6.9); known once asked for.
    pub napi: bool,
}

impl Features {
    /// Fills in what the parameters and an opcode probe tell.
    pub(crate) fn probe<S: squeue::EntryMarker, C: cqueue::EntryMarker>(
        &mut self,
        ring: &IoUring<S, C>,
    ) -> io::Result<()> {
        let params = ring.params();
        self.bundles = params.is_feature_recvsend_bundle();
        self.min_wait = params.is_feature_min_timeout();
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        self.send_zc = probe.is_supported(opcode::SEND_ZC);
        self.sendmsg_zc = probe.is_supported(opcode::SENDMSG_ZC);
        self.bind_listen = probe.is_supported(opcode::BIND) && probe.is_supported(opcode::LISTEN);
        self.independent_files = probe.is_supported(opcode::RECV_ZC);
        self.install_fd = probe.is_supported(opcode::FIXED_FD_INSTALL);
        Ok(())
    }
}
