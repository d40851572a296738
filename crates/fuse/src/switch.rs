//! The kernel's switch of FUSE over io_uring.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::MountError;

/// Parameter of the module `fuse`.
pub(crate) const PATH: &str = "/sys/module/fuse/parameters/enable_uring";

/// How long others may have it. Whoever may read the switch may lock it for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// FUSE over io_uring switched on or off, until this is dropped.
///
/// The switch is the whole machine's, and the kernel only asks it while a file system introduces
/// itself: it is put back as it was when this is dropped, in the course of a panic too. Programs that
/// set it by this type wait for each other.
#[derive(Debug)]
pub struct UringSwitch {
    path: PathBuf,
    before: String,
    /// Locked; the lock goes with the descriptor.
    _lock: File,
}

impl UringSwitch {
    /// Whether FUSE over io_uring is on.
    ///
    /// # Errors
    /// [`MountError::UringUnsupported`]: the kernel has no such switch.
    pub fn is_on() -> Result<bool, MountError> {
        read(PATH.as_ref()).map(|text| text == "Y")
    }

    /// Switches it on or off; waits for others who have it, 20 seconds at most.
    ///
    /// # Errors
    /// [`MountError::UringUnsupported`]: the kernel has no such switch.
    /// [`MountError::NotPermitted`]: it is root's.
    /// [`MountError::Resources`]: somebody else has it all the time.
    pub fn set(on: bool) -> Result<Self, MountError> {
        Self::set_at(PATH.as_ref(), on, PATIENCE)
    }

    fn set_at(path: &Path, on: bool, patience: Duration) -> Result<Self, MountError> {
        let lock = File::open(path).map_err(|source| MountError::UringUnsupported { source })?;
        let wrong = |source| MountError::of("switching FUSE over io_uring", source);
        let deadline = Instant::now() + patience;
        while let Err(errno) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            match errno {
                Errno::WOULDBLOCK if Instant::now() >= deadline => {
                    return Err(MountError::Resources {
                        what: "the switch of FUSE over io_uring, which another program has locked",
                        source: io::ErrorKind::TimedOut.into(),
                    });
                }
                Errno::WOULDBLOCK => thread::sleep(Duration::from_millis(1)),
                _ => return Err(wrong(errno.into())),
            }
        }
        let before = read(path)?;
        fs::write(path, if on { "Y" } else { "N" }).map_err(wrong)?;
        Ok(Self {
            path: path.to_owned(),
            before,
            _lock: lock,
        })
    }
}

fn read(path: &Path) -> Result<String, MountError> {
    let text = fs::read_to_string(path);
    text.map(|text| text.trim().to_owned())
        .map_err(|source| MountError::UringUnsupported { source })
}

impl Drop for UringSwitch {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.before) {
            let Self { path, before, .. } = self;
            tracing::error!(%error, "{} cannot be put back to {before}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in place of the machine's switch.
    struct Pretended(PathBuf);

    impl Pretended {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("zcn-{name}-{}", std::process::id()));
            fs::write(&path, text).expect("a file");
            Self(path)
        }

        fn text(&self) -> String {
            fs::read_to_string(&self.0).expect("the file")
        }
    }

    impl Drop for Pretended {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn it_is_put_back_as_it_was() {
        for before in ["N", "Y"] {
            let switch = Pretended::new("put-back", &format!("{before}\n"));
            for (on, text) in [(true, "Y"), (false, "N")] {
                let set = UringSwitch::set_at(&switch.0, on, PATIENCE).expect("set");
                assert_eq!(switch.text(), text);
                drop(set);
                assert_eq!(switch.text(), before);
            }
        }
    }

    #[test]
    fn it_is_put_back_in_the_course_of_a_panic() {
        let switch = Pretended::new("panic", "N\n");
        let path = switch.0.clone();
        let outcome = std::thread::spawn(move || {
            let _set = UringSwitch::set_at(&path, true, PATIENCE).expect("set");
            // Without the noise of a message.
            std::panic::resume_unwind(Box::new(()));
        })
        .join();
        assert!(outcome.is_err());
        assert_eq!(switch.text(), "N");
    }

    #[test]
    fn who_sets_it_waits_for_who_has_it() {
        let switch = Pretended::new("wait", "N\n");
        let first = UringSwitch::set_at(&switch.0, true, PATIENCE).expect("set");
        let path = switch.0.clone();
        let second =
            std::thread::spawn(move || UringSwitch::set_at(&path, false, PATIENCE).map(drop));
        assert_eq!(switch.text(), "Y");
        drop(first);
        second.join().expect("no panic").expect("set");
        assert_eq!(switch.text(), "N");
    }

    /// Anybody who may read the switch could keep root's mounts waiting for ever.
    #[test]
    fn who_does_not_let_go_of_it_is_not_waited_for_for_ever() {
        let switch = Pretended::new("locked", "N\n");
        let others = File::open(&switch.0).expect("a file");
        flock(&others, FlockOperation::LockExclusive).expect("locked");
        let error = UringSwitch::set_at(&switch.0, true, Duration::from_millis(5));
        let error = error.expect_err("it is another's");
        assert!(error.to_string().contains("locked"), "{error}");
        assert_eq!(switch.text().trim(), "N");
    }

    #[test]
    fn a_kernel_without_it_is_told() {
        let error = UringSwitch::set_at(Path::new("/proc/no-such-switch"), true, PATIENCE);
        let error = error.expect_err("there is none");
        assert!(matches!(error, MountError::UringUnsupported { .. }));
        assert!(error.to_string().contains("6.14"), "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
}
