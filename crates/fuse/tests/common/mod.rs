//! What the tests of mounted file systems share.
#![allow(dead_code)] // Each test binary uses a part of it.
#![allow(clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use zcn_fuse::{MemFs, MountError, Options, Session, Transport};
use zcn_sys::namespace::enter_new_mounts;

/// Both ways to serve.
pub(crate) const BOTH: [Transport; 2] = [Transport::Reads, Transport::Uring];

/// Says that the machine lacks something, so that the test proves nothing here.
pub(crate) fn skipped(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

/// A folder to mount on, removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("zcn-fuse-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Runs a test on a thread whose mounts nobody else sees; skipped where that is not permitted.
pub(crate) fn in_own_mounts(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| match enter_new_mounts() {
            Ok(()) => test(),
            Err(error) => skipped(&format!("no mount namespace: {error}")),
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// An empty file system.
pub(crate) fn files() -> Arc<Mutex<MemFs>> {
    Arc::new(Mutex::new(MemFs::new(256 << 20)))
}

/// Options to serve by a transport that is switched on where it must be.
pub(crate) fn options(transport: Transport) -> Options {
    Options::new(transport).enable_uring(true)
}

/// Mounts; says why if this machine cannot.
pub(crate) fn mount(files: &Arc<Mutex<MemFs>>, at: &Folder, options: &Options) -> Option<Session> {
    match Session::mount(files, at.path(), options) {
        Ok(session) => Some(session),
        Err(
            error @ (MountError::NoDevice { .. }
            | MountError::NotPermitted { .. }
            | MountError::UringUnsupported { .. }
            | MountError::Ring(_)),
        ) => {
            skipped(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs a test with a mounted file system, by both transports, and unmounts it.
pub(crate) fn with_both(test: impl Fn(&Path, &Session) + Sync) {
    for transport in BOTH {
        in_own_mounts(|| {
            let at = Folder::new();
            let Some(session) = mount(&files(), &at, &options(transport)) else {
                return;
            };
            eprintln!("{transport:?}");
            test(at.path(), &session);
            session.unmount().expect("unmounted");
            let stats = session.stats();
            let through_ring = transport == Transport::Uring;
            assert_eq!(stats.by_uring > 0, through_ring, "{stats:?}");
            assert_eq!((stats.malformed, stats.lost_entries), (0, 0), "{stats:?}");
            assert!(is_empty(at.path()), "nothing of it shows any more");
        });
    }
}

pub(crate) fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

/// The errno of what must fail.
pub(crate) fn errno<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> i32 {
    let error = outcome.expect_err("it cannot be done");
    error.raw_os_error().expect("an errno")
}
