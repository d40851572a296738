//! NOPs on the bare `io-uring` crate, as well as it allows.
#![allow(unsafe_code)]

use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode};

use crate::harness::Result;

/// A ring of `entries` for the calling thread, with the flags that serve it best.
pub fn build(entries: u32) -> Result<IoUring> {
    Ok(IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .build(entries)?)
}

/// The parts of a ring, its descriptor registered: that saves a lookup in each system
/// call, and zcn's ring does it as well.
pub struct BareRing<'a> {
    submitter: Submitter<'a>,
    submissions: SubmissionQueue<'a>,
    completions: CompletionQueue<'a>,
}

impl<'a> BareRing<'a> {
    /// The parts of `ring`.
    pub fn over(ring: &'a mut IoUring) -> Result<Self> {
        let (mut submitter, submissions, completions) = ring.split();
        submitter.register_ring_fd()?;
        Ok(Self {
            submitter,
            submissions,
            completions,
        })
    }

    /// Submits `count` NOPs in one system call that waits for all of them, and reaps them.
    /// Returns how many completions came.
    pub fn batch(&mut self, count: u32) -> Result<u32> {
        for number in 0..count {
            let entry = opcode::Nop::new().build().user_data(number.into());
            // SAFETY: a NOP points at nothing.
            unsafe { self.submissions.push(&entry)? };
        }
        self.submissions.sync();
        self.submitter.submit_and_wait(count as usize)?;
        self.submissions.sync();
        self.completions.sync();
        let mut done = 0;
        for completion in &mut self.completions {
            if completion.result() != 0 {
                return Err("a NOP failed".into());
            }
            done += 1;
        }
        self.completions.sync();
        Ok(done)
    }
}

impl Drop for BareRing<'_> {
    fn drop(&mut self) {
        // A slot of the thread's sixteen; without it the next ring may find none.
        let _ = self.submitter.unregister_ring_fd();
    }
}
