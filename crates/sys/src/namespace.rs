//! Namespaces: a machine's worth of interfaces of one's own, and the privilege to set them
//! up.

#![allow(unsafe_code)]

use std::fs;
use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread into a new network namespace that has nothing but a loopback
/// interface, set down.
///
/// Sockets that the thread opens, and threads and processes that it starts, are in it;
/// other threads stay where they are, and so does every descriptor that is open already.
/// The namespace, and all interfaces in it, goes with the last of its threads, processes
/// and sockets. A thread cannot go back: give it one of its own.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`; `EINVAL` on a kernel without network namespaces.
pub fn enter_new_network() -> io::Result<()> {
    // SAFETY: a network namespace is looked at when a socket is opened, never through
    // memory; only unsharing descriptor tables or the like would break what safe code
    // relies on.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(Into::into)
}

/// Moves the calling thread into a new mount namespace, in which it sees what was mounted until
/// then; what is mounted or unmounted afterwards on one side does not show on the other.
///
/// Threads and processes that the thread starts are in it. Its mounts go with the last of them. The
/// thread also gets a working folder of its own. It cannot go back.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`.
pub fn enter_new_mounts() -> io::Result<()> {
    // SAFETY: mounts are looked at when a path is, never through memory; a working folder of the
    // thread's own breaks nothing that safe code relies on.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    let none = std::ptr::null();
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: a path that ends with a zero; the other strings do not matter to a change of
    // propagation (mount(2)).
    match unsafe { libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Moves the process into a new user namespace in which it is root, with its own user and
/// group standing behind that: what an ordinary user needs before
/// [`enter_new_network`]. Files keep their owners, and whoever owned them still may do what
/// they could; towards the rest of the machine there is no privilege.
///
/// To be called before the process starts threads. It cannot go back.
///
/// # Errors
/// `EINVAL` if there are threads already; `EPERM`, `ENOSPC` or `EACCES` where the system
/// does not let users have namespaces.
pub fn enter_new_user() -> io::Result<()> {
    let (user, group) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    // SAFETY: a user namespace changes what the process may do, and nothing in memory.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }?;
    // Without it an ordinary user may not map a group (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::PathBuf;
    use std::thread;

    /// The namespace of the calling thread.
    fn network() -> PathBuf {
        fs::read_link("/proc/thread-self/ns/net").expect("proc is mounted")
    }

    #[test]
    fn the_thread_is_in_another_network_and_others_are_not() {
        let before = network();
        let inside = thread::spawn(|| enter_new_network().map(|()| network()))
            .join()
            .expect("the thread ends well");
        match inside {
            Ok(inside) => assert_ne!(inside, before),
            Err(error) => {
                let _ = writeln!(io::stdout(), "SKIPPED: no network namespace: {error}");
            }
        }
        assert_eq!(network(), before);
    }
}
