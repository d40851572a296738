//! The place of a thread on the cores.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The cores on which the calling thread may run, in ascending order.
///
/// This is what containers, `taskset` and cpusets leave over: it can be fewer
/// than the machine has.
///
/// # Errors
/// Whatever `sched_getaffinity(2)` answers; `EINVAL` on machines with more
/// than 1024 cores.
pub fn allowed_cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect())
}

/// Ties the calling thread to one core.
///
/// Threads that it starts later inherit the tie.
///
/// # Errors
/// `InvalidInput` when `core` is not among [`allowed_cores`] (the message
/// lists them), else whatever `sched_setaffinity(2)` answers.
pub fn pin_current_thread(core: usize) -> io::Result<()> {
    let allowed = allowed_cores()?;
    if !allowed.contains(&core) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("core {core} is not among the cores this process may use: {allowed:?}"),
        ));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)?;
    Ok(())
}

/// The core on which the calling thread runs at this moment.
pub fn current_core() -> usize {
    sched_getcpu()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_stays_and_reports_its_core() {
        let cores = allowed_cores().expect("affinity can be read");
        let last = *cores.last().expect("at least one core");
        std::thread::spawn(move || {
            pin_current_thread(last).expect("an allowed core");
            assert_eq!(current_core(), last);
            assert_eq!(allowed_cores().expect("readable"), vec![last]);
        })
        .join()
        .expect("the thread ends well");
    }

    #[test]
    fn a_core_that_is_not_there_is_named_in_the_error() {
        let error = pin_current_thread(CpuSet::MAX_CPU + 7).expect_err("no such core");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("1031"), "{error}");
    }
}
