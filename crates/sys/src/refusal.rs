//! Seccomp filters that refuse io_uring, or namespaces, as container runtimes do.
//!
//! Tests use them to see what a process does where these are forbidden; a
//! program may use them to give them up for good.

#![allow(unsafe_code)]

use std::io;

use rustix::thread::set_no_new_privs;

/// Refuses `io_uring_setup(2)` with `errno` to the calling thread, and to
/// every thread and process that it starts from now on. Other threads that
/// run already keep their rights. It cannot be undone.
///
/// The thread also gives up gaining privileges by exec, without which an
/// ordinary user may not install filters. Rings that are open stay usable.
///
/// # Errors
/// `InvalidInput` when `errno` is not between 1 and 4095; `EINVAL` or
/// `ENOSYS` on a kernel without seccomp filters.
pub fn refuse_io_uring(errno: i32) -> io::Result<()> {
    refuse(libc::SYS_io_uring_setup, errno)
}

/// Refuses `unshare(2)`, and so new namespaces, as [`refuse_io_uring`] does the ring.
///
/// # Errors
/// As [`refuse_io_uring`].
pub fn refuse_namespaces(errno: i32) -> io::Result<()> {
    refuse(libc::SYS_unshare, errno)
}

fn refuse(call: libc::c_long, errno: i32) -> io::Result<()> {
    let errno = u32::try_from(errno)
        .ok()
        .filter(|errno| (1..=4095).contains(errno))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no errno"))?;
    // Numbers of system calls are small and positive.
    let mut filter = filter(call as u32, errno);
    let program = libc::sock_fprog {
        // Four instructions.
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    set_no_new_privs(true)?;
    // SAFETY: `program` points to `len` instructions that live through the
    // call; the kernel copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Load the number of the call; for `call` answer `errno`, for all others let it pass.
///
/// The architecture is not looked at: what slips through by a foreign calling convention
/// is no breach of a filter that protects nothing.
fn filter(call: u32, errno: u32) -> [libc::sock_filter; 4] {
    let statement = |code: u32, k: u32| libc::sock_filter {
        // The codes fit the kernel's type by definition.
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    // The number stands first in `struct seccomp_data`.
    let load = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0);
    let compare = libc::sock_filter {
        jf: 1,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call)
    };
    let answer = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno);
    let pass = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    [load, compare, answer, pass]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Access;

    /// In a thread of its own, because the filter stays.
    fn access_behind(errno: i32) -> Access {
        std::thread::spawn(move || {
            refuse_io_uring(errno).expect("filters can be installed");
            Access::probe()
        })
        .join()
        .expect("the thread ends well")
    }

    #[test]
    fn a_filter_is_told_from_an_absent_ring_and_from_want_of_memory() {
        assert_eq!(access_behind(libc::ENOSYS), Access::Absent);
        assert_eq!(access_behind(libc::ENOMEM), Access::OutOfMemory);
        let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        if setting.is_ok_and(|setting| setting.trim() == "0") {
            assert_eq!(access_behind(libc::EPERM), Access::Filtered);
        }
    }

    #[test]
    fn an_impossible_errno_is_refused_before_anything_is_given_up() {
        for errno in [0, -1, 4096] {
            let error = refuse_io_uring(errno).expect_err("no such errno");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
