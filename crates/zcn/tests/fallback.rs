//! Where io_uring is refused.

mod common;

use common::{HangGuard, echo, serve, talk};
use zcn::{ReactorKind, Runtime};

/// Runs in a thread that may not have a ring, because the filter stays.
fn refused(errno: i32, test: impl FnOnce() + Send + 'static) {
    let _guard = HangGuard::new(format!("with errno {errno}"));
    std::thread::spawn(move || {
        if let Err(error) = zcn_sys::refusal::refuse_io_uring(errno) {
            return common::skipped(format_args!("seccomp: {error}"));
        }
        test();
    })
    .join()
    .unwrap();
}

#[test]
fn auto_runs_on_epoll_and_serves() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        refused(errno, || {
            let mut runtime = Runtime::new().unwrap();
            assert_eq!(runtime.reactor_kind(), ReactorKind::Epoll);
            let (server, address) = echo(&runtime);
            serve(&mut runtime, move || {
                for len in [1, 5000, 3 << 20] {
                    talk(address, len, len);
                }
            });
            assert_eq!(server.stats().accepted, 3);
        });
    }
}

#[test]
fn uring_says_why_there_is_none_and_what_helps() {
    for (errno, parts) in [
        (libc::EPERM, ["not permitted", "kernel.io_uring_disabled"]),
        (libc::ENOSYS, ["Linux 6.1", "epoll reactor"]),
        (libc::ENOMEM, ["RLIMIT_MEMLOCK", "fewer entries"]),
        (libc::EMFILE, ["RLIMIT_NOFILE", "ulimit -n"]),
    ] {
        refused(errno, move || {
            let error = common::builder(ReactorKind::Uring).build().unwrap_err();
            let text = error.to_string();
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in: {text}");
            }
        });
    }
}
