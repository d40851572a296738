//! Devices in this process: what is written is read, whatever stands behind and how many queues.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use zcn_ublk::{Device, DeviceOptions, DeviceState, Stopper, Tally, Target, UblkError};

use crate::driver;
use crate::pattern::{BLOCK, aligned, exercise, open};
use crate::scratch::Scratch;

/// Blocks of a device: 16 MiB.
const BLOCKS: u64 = 4096;
const SIZE: u64 = BLOCKS * BLOCK as u64;

/// A device that is waited for on a thread of its own.
struct Running {
    path: PathBuf,
    stopper: Stopper,
    server: JoinHandle<Result<Tally, UblkError>>,
}

fn run(device: Device) -> Running {
    Running {
        path: device.path(),
        stopper: device.stopper(),
        server: thread::spawn(move || device.wait()),
    }
}

impl Running {
    fn end(self) -> Tally {
        self.stopper.stop().expect("stopped");
        let tally = self.server.join().expect("no panic");
        let tally = tally.expect("served to the end");
        assert!(!self.path.exists(), "the device is gone");
        tally
    }
}

#[test]
fn memory_holds_what_several_threads_write_through_several_queues() {
    let Some((_one, mut control)) = driver() else {
        return;
    };
    for (queues, depth, block_size) in [(1, 1, 512), (2, 64, 512), (4, 3, 4096)] {
        let options = DeviceOptions {
            queues,
            depth,
            block_size,
            ..DeviceOptions::default()
        };
        let device = Device::add(Target::memory(SIZE).expect("memory"), &options).expect("added");
        let info = control.info(device.id()).expect("it is there");
        assert_eq!(info.state, DeviceState::Live);
        assert_eq!((info.size, info.block_size), (SIZE, block_size));
        assert_eq!(info.depth, depth);
        // No more than there are CPUs.
        assert!(info.queues >= 1 && info.queues <= queues);
        assert_eq!(info.queues, device.queues());
        assert_eq!(info.server, Some(std::process::id()));
        assert!(control.list().expect("listed").contains(&info));
        let running = run(device);
        exercise(&running.path, BLOCKS, 4, 150);
        let tally = running.end();
        assert!(tally.reads > 0 && tally.writes > 0 && tally.ranges > 0);
        assert_eq!(tally.failed, 0);
        let rest = control.list().expect("listed");
        assert!(rest.iter().all(|other| other.id != info.id), "{rest:?}");
    }
}

#[test]
fn a_file_holds_what_was_written_through_the_device() {
    let Some((_one, _control)) = driver() else {
        return;
    };
    let scratch = Scratch::new("file", SIZE);
    let options = DeviceOptions {
        queues: 2,
        ..DeviceOptions::default()
    };
    let target = Target::file(scratch.path(), false).expect("a file");
    let running = run(Device::add(target, &options).expect("added"));
    let regions = exercise(&running.path, BLOCKS, 4, 150);
    let tally = running.end();
    assert!(tally.flushes > 0, "{tally:?}");
    assert_eq!(tally.failed, 0);
    let file = File::open(scratch.path()).expect("the file");
    for region in &regions {
        region.check_all(&file);
    }
    // The same through a device that can only be read.
    let options = DeviceOptions {
        read_only: true,
        ..options
    };
    let target = Target::file(scratch.path(), true).expect("a file");
    let running = run(Device::add(target, &options).expect("added"));
    // Some kernels refuse to open it for writing, others to write.
    if let Ok(device) = open(&running.path) {
        let error = device
            .write_all_at(&aligned(1), 0)
            .expect_err("not for writing");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
    }
    let device = File::open(&running.path).expect("for reading");
    for region in &regions {
        region.check_all(&device);
    }
    drop(device);
    assert_eq!(running.end().writes, 0);
}

/// A file that shrinks reads as zeroes behind its end; one that cannot be written fails the request
/// that wanted to, and no other.
#[test]
fn trouble_with_the_file_is_an_error_of_the_request_alone() {
    let Some((_one, _control)) = driver() else {
        return;
    };
    let scratch = Scratch::new("trouble", SIZE);
    let target = Target::file(scratch.path(), false).expect("a file");
    let running = run(Device::add(target, &DeviceOptions::default()).expect("added"));
    let device = open(&running.path).expect("the device");
    let mut block = aligned(1);
    block.fill(7);
    device.write_all_at(&block, 0).expect("written");
    let file = File::options()
        .write(true)
        .open(scratch.path())
        .expect("the file");
    file.set_len(BLOCK as u64).expect("shrunk");
    device
        .read_exact_at(&mut block, BLOCK as u64)
        .expect("read");
    assert!(block.iter().all(|&byte| byte == 0));
    device.read_exact_at(&mut block, 0).expect("read");
    assert!(block.iter().all(|&byte| byte == 7));
    drop(device);
    assert_eq!(running.end().failed, 0);
}

/// The ring of every queue is dropped while all its tags wait for requests.
#[test]
fn an_abandoned_device_is_taken_over_with_all_it_held() {
    let Some((_one, mut control)) = driver() else {
        return;
    };
    let scratch = Scratch::new("abandoned", SIZE);
    let options = DeviceOptions {
        queues: 2,
        depth: 16,
        recoverable: true,
        ..DeviceOptions::default()
    };
    let target = Target::file(scratch.path(), false).expect("a file");
    let device = Device::add(target, &options).expect("added");
    let (id, path) = (device.id(), device.path());
    let regions = exercise(&path, BLOCKS, 2, 50);
    // Not while it is served.
    let other = Scratch::new("abandoned-other", SIZE);
    let target = Target::file(other.path(), false).expect("a file");
    let error = Device::recover(id, target).expect_err("it is served");
    assert!(matches!(error, UblkError::Served { .. }), "{error}");
    device.abandon();
    let info = control.info(id).expect("it is still there");
    assert!(info.recoverable);
    assert_eq!(info.server, None);
    // A request that comes now waits for the next server.
    let early = open(&path).expect("the device");
    let reader = thread::spawn(move || {
        let mut block = aligned(1);
        early.read_exact_at(&mut block, 0).expect("read");
    });
    let small = Scratch::new("abandoned-small", SIZE / 2);
    let target = Target::file(small.path(), false).expect("a file");
    let error = Device::recover(id, target).expect_err("too small");
    assert!(matches!(error, UblkError::Size { .. }), "{error}");
    let error = Device::recover(id, Target::memory(SIZE).expect("memory"));
    assert!(matches!(error, Err(UblkError::Config { .. })), "{error:?}");
    // Its writes would fail.
    let target = Target::file(scratch.path(), true).expect("a file");
    let error = Device::recover(id, target).expect_err("it can be written");
    assert!(matches!(error, UblkError::Config { .. }), "{error}");
    let device = recovered(id, &scratch);
    reader.join().expect("it was answered");
    assert_eq!(control.info(id).expect("there").state, DeviceState::Live);
    let file = open(&path).expect("the device");
    for region in &regions {
        region.check_all(&file);
    }
    drop(file);
    // Dropping it deletes it.
    drop(device);
    assert!(matches!(control.info(id), Err(UblkError::NoDevice { .. })));
    assert_eq!(zcn_uring::leaked_ops(), 0);
}

/// Takes a device over as soon as the kernel has noticed that its server is gone.
pub(crate) fn recovered(id: u32, scratch: &Scratch) -> Device {
    loop {
        let target = Target::file(scratch.path(), false).expect("a file");
        match Device::recover(id, target) {
            Ok(device) => return device,
            Err(UblkError::Served { .. }) => thread::sleep(std::time::Duration::from_millis(20)),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Without recovery, requests fail when the server lets go, and the device ends.
#[test]
fn an_abandoned_device_that_nobody_may_take_over_ends() {
    let Some((_one, mut control)) = driver() else {
        return;
    };
    let target = Target::memory(SIZE).expect("memory");
    let device = Device::add(target, &DeviceOptions::default()).expect("added");
    let (id, path) = (device.id(), device.path());
    let client = thread::spawn(move || {
        let device = open(&path).expect("the device");
        let mut block = aligned(1);
        while device.read_exact_at(&mut block, 0).is_ok() {}
    });
    device.abandon();
    client.join().expect("its requests fail at last");
    let scratch = Scratch::new("ended", SIZE);
    let target = Target::file(scratch.path(), false).expect("a file");
    let error = Device::recover(id, target).expect_err("not recoverable");
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
    control.delete(id).expect("deleted");
}
