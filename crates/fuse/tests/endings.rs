//! What cannot be mounted, and how a mount ends.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use common::{BOTH, Folder, files, in_own_mounts, is_empty, mount, options, skipped, with_both};
use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use zcn_fuse::{MountError, Options, Session, Transport, UringSwitch};
use zcn_sys::refusal::refuse_io_uring;

/// Long enough for what is sure to come.
const GUARD: Duration = Duration::from_secs(30);

/// The error of a mount that must fail, with nothing mounted.
fn refused(at: &Path, options: &Options) -> MountError {
    let error = Session::mount(&files(), at, options).expect_err("it cannot be mounted");
    assert!(!at.is_dir() || is_empty(at));
    error
}

#[test]
fn a_kernel_that_has_it_switched_off_is_told() {
    let _off = match UringSwitch::set(false) {
        Ok(off) => off,
        Err(error) => return skipped(&error.to_string()),
    };
    in_own_mounts(|| {
        let at = Folder::new();
        let error = refused(at.path(), &Options::new(Transport::Uring));
        assert!(matches!(error, MountError::UringDisabled), "{error}");
        assert!(error.to_string().contains("enable_uring"), "{error}");
        // The other way needs no switch.
        if let Some(session) = mount(&files(), &at, &Options::new(Transport::Reads)) {
            fs::write(at.path().join("file"), b"x").expect("a write");
            session.unmount().expect("unmounted");
        }
    });
}

#[test]
fn who_lacks_the_right_to_mount_is_told() {
    in_own_mounts(|| {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).expect("nothing is given up too much");
        let at = Folder::new();
        let error = refused(at.path(), &Options::new(Transport::Reads));
        match error {
            MountError::NotPermitted { .. } => {
                assert!(error.to_string().contains("run as root"), "{error}");
            }
            MountError::NoDevice { .. } => skipped(&error.to_string()),
            other => panic!("{other}"),
        }
    });
}

#[test]
fn a_ring_that_is_refused_ends_the_mount() {
    in_own_mounts(|| {
        let at = Folder::new();
        // First without the refusal: does it work here at all?
        let Some(session) = mount(&files(), &at, &options(Transport::Uring)) else {
            return;
        };
        session.unmount().expect("unmounted");
        refuse_io_uring(libc::EPERM).expect("a filter");
        let error = refused(at.path(), &options(Transport::Uring));
        assert!(matches!(error, MountError::Ring(_)), "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    });
}

#[test]
fn settings_and_mount_points_that_are_none_are_refused_by_name() {
    in_own_mounts(|| {
        let at = Folder::new();
        for depth in [0, 257] {
            let error = refused(at.path(), &Options::new(Transport::Uring).depth(depth));
            assert!(error.to_string().contains(&depth.to_string()), "{error}");
        }
        let Some(session) = mount(&files(), &at, &options(Transport::Reads)) else {
            return;
        };
        let file = at.path().join("file");
        File::create(&file).expect("a file");
        for (path, errno) in [
            (at.path().join("missing"), libc::ENOENT),
            (file, libc::ENOTDIR),
        ] {
            let error = Session::mount(&files(), &path, &options(Transport::Reads));
            let error = error.expect_err("no folder");
            assert!(matches!(error, MountError::MountPoint { .. }), "{error}");
            assert_eq!(error.raw_os_error(), Some(errno));
        }
        session.unmount().expect("unmounted");
    });
}

#[test]
fn a_mount_that_somebody_else_ends_ends_the_session() {
    with_both(|at, session| {
        fs::write(at.join("file"), b"x").expect("a write");
        unmount(at, UnmountFlags::empty()).expect("unmounted");
        session.wait().expect("a good end");
    });
}

/// Its path may be another's by then.
#[test]
fn a_session_whose_mount_has_ended_unmounts_nothing_else() {
    for transport in BOTH {
        in_own_mounts(|| {
            let at = Folder::new();
            let Some(ended) = mount(&files(), &at, &options(transport)) else {
                return;
            };
            unmount(at.path(), UnmountFlags::empty()).expect("unmounted");
            ended.wait().expect("a good end");
            let next = mount(&files(), &at, &options(transport)).expect("as before");
            fs::write(at.path().join("file"), b"x").expect("a write");
            ended.unmount().expect("nothing to do");
            assert!(at.path().join("file").is_file(), "of the next one");
            next.unmount().expect("unmounted");
        });
    }
}

/// The device vanishes under files that are open, and under calls that are under way.
#[test]
fn calls_on_a_mount_that_was_ended_by_force_fail_and_do_not_hang() {
    for transport in BOTH {
        in_own_mounts(|| {
            let at = Folder::new();
            let Some(session) = mount(&files(), &at, &options(transport)) else {
                return;
            };
            fs::write(at.path().join("file"), [7; 5000]).expect("a write");
            let mut open = File::open(at.path().join("file")).expect("a file");
            let (tell, told) = mpsc::channel();
            std::thread::scope(|scope| {
                let other = open.try_clone().expect("a descriptor");
                let reading = scope.spawn(move || {
                    let mut buf = [0; 4096];
                    let _ = tell.send(());
                    // Ends with an error, sooner or later.
                    loop {
                        match other.read_at(&mut buf, 0) {
                            Ok(read) => assert_eq!((read, buf[0]), (4096, 7)),
                            Err(error) => return error,
                        }
                    }
                });
                told.recv_timeout(GUARD).expect("it reads");
                session.unmount().expect("by force");
                reading.join().expect("no panic");
            });
            open.read(&mut [0; 10]).expect_err("nothing is behind it");
            assert!(is_empty(at.path()), "nothing of it shows any more");
        });
    }
}

#[test]
fn a_dropped_session_ends_its_mount() {
    for transport in BOTH {
        in_own_mounts(|| {
            let at = Folder::new();
            let Some(session) = mount(&files(), &at, &options(transport)) else {
                return;
            };
            fs::write(at.path().join("file"), b"x").expect("a write");
            drop(session);
            assert!(is_empty(at.path()), "nothing of it shows any more");
        });
    }
}
