//! What is refused, and how it is told.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use zcn_ublk::{Control, Device, DeviceOptions, DeviceState, Target, UblkError};

use crate::child::as_nobody;
use crate::driver;
use crate::scratch::Scratch;

/// Where there is no driver, or it may not be used, the error says which, and what to do.
#[test]
fn a_machine_without_the_driver_is_told_what_to_do() {
    let Err(error) = Control::open() else { return };
    let text = error.to_string();
    match error {
        UblkError::NoDriver { .. } => assert!(text.contains("modprobe ublk_drv"), "{text}"),
        UblkError::NotPermitted { .. } => assert!(text.contains("run as root"), "{text}"),
        UblkError::TooOld { .. } => assert!(text.contains("Linux 6.5"), "{text}"),
        other => panic!("{other}"),
    }
    assert!(error_of_add().to_string() == text);
}

fn error_of_add() -> UblkError {
    let memory = Target::memory(1 << 20).expect("memory");
    Device::add(memory, &DeviceOptions::default()).expect_err("there is no driver")
}

/// Settings are checked before anything is asked of the driver.
#[test]
fn settings_out_of_range_are_named_on_every_machine() {
    let memory = || Target::memory(1 << 20).expect("memory");
    let options = DeviceOptions {
        queues: 0,
        ..DeviceOptions::default()
    };
    let error = Device::add(memory(), &options).expect_err("no queue");
    assert!(matches!(
        error,
        UblkError::Config {
            setting: "queues",
            ..
        }
    ));
    let error = Device::add(
        Target::memory(0).expect("nothing"),
        &DeviceOptions::default(),
    );
    assert!(matches!(
        error,
        Err(UblkError::Config {
            setting: "size",
            ..
        })
    ));
    let options = DeviceOptions {
        recoverable: true,
        ..DeviceOptions::default()
    };
    let error = Device::add(memory(), &options).expect_err("memory ends with its server");
    assert!(error.to_string().starts_with("recoverable"), "{error}");
    let scratch = Scratch::new("settings", 1 << 20);
    let target = Target::file(scratch.path(), true).expect("a file");
    let error = Device::add(target, &DeviceOptions::default()).expect_err("not for writing");
    assert!(error.to_string().starts_with("read-only"), "{error}");
}

#[test]
fn what_the_driver_refuses_is_told_apart() {
    // The last id that there can be.
    const UNKNOWN: u32 = (1 << 20) - 1;
    let Some((_one, mut control)) = driver() else {
        return;
    };
    let memory = || Target::memory(1 << 20).expect("memory");
    for error in [
        control.info(UNKNOWN).expect_err("no such device"),
        control.stop(UNKNOWN).expect_err("no such device"),
        control.delete(UNKNOWN).expect_err("no such device"),
        Device::recover(UNKNOWN, memory()).expect_err("no such device"),
    ] {
        assert!(
            matches!(error, UblkError::NoDevice { id: UNKNOWN }),
            "{error}"
        );
    }
    // An id that is taken.
    let device = Device::add(memory(), &DeviceOptions::default()).expect("added");
    let taken = device.id();
    let options = DeviceOptions {
        id: Some(taken),
        ..DeviceOptions::default()
    };
    assert_eq!(device.path(), PathBuf::from(format!("/dev/ublkb{taken}")));
    let error = Device::add(memory(), &options).expect_err("the id is taken");
    assert!(
        matches!(error, UblkError::Exists { id } if id == taken),
        "{error}"
    );
    // A device that cannot be taken over: the driver says that the command does not suit it.
    let scratch = Scratch::new("errors", 1 << 20);
    let target = Target::file(scratch.path(), false).expect("a file");
    let error = Device::recover(taken, target).expect_err("not recoverable");
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    assert!(error.to_string().contains("START_USER_RECOVERY"), "{error}");
    // Whoever deletes it first, all is well.
    control.delete(taken).expect("deleted");
    device.wait().expect("it has ended");
    // An id is free again at once.
    drop(Device::add(memory(), &options).expect("added"));
    assert!(matches!(
        control.delete(taken),
        Err(UblkError::NoDevice { .. })
    ));
}

/// The driver's control file with rights for everybody, until this is dropped.
struct OpenToAll(Permissions);

impl OpenToAll {
    const PATH: &str = "/dev/ublk-control";

    fn new() -> Self {
        let before = fs::metadata(Self::PATH).expect("it is there").permissions();
        fs::set_permissions(Self::PATH, Permissions::from_mode(0o666)).expect("root may");
        Self(before)
    }
}

impl Drop for OpenToAll {
    fn drop(&mut self) {
        fs::set_permissions(Self::PATH, self.0.clone()).expect("root may");
    }
}

#[test]
fn without_rights_the_error_says_so() {
    let Some((_one, _control)) = driver() else {
        return;
    };
    let text = as_nobody("open");
    assert!(
        text.contains("/dev/ublk-control may not be opened"),
        "{text}"
    );
    assert!(text.contains("run as root"), "{text}");
    // Who may open it still may not add devices.
    let open = OpenToAll::new();
    let text = as_nobody("add");
    drop(open);
    assert!(text.contains("ADD_DEV"), "{text}");
    assert!(text.contains("not permitted"), "{text}");
}

/// The server of a device that another process deleted must not delete the next one of the same id.
#[test]
fn a_device_of_the_same_id_survives_the_end_of_the_one_before() {
    let Some((_one, mut control)) = driver() else {
        return;
    };
    let memory = || Target::memory(1 << 20).expect("memory");
    for _ in 0..10 {
        let first = Device::add(memory(), &DeviceOptions::default()).expect("added");
        let id = first.id();
        let options = DeviceOptions {
            id: Some(id),
            ..DeviceOptions::default()
        };
        let waiting = std::thread::spawn(move || first.wait());
        control.delete(id).expect("deleted");
        let second = Device::add(memory(), &options).expect("the id is free");
        waiting.join().expect("no panic").expect("it has ended");
        assert_eq!(second.info().expect("it is there").state, DeviceState::Live);
        drop(second);
    }
}
