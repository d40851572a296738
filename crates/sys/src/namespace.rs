//! Network namespaces: a machine's worth of interfaces of one's own.

#![allow(unsafe_code)]

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
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
