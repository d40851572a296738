//! Commands of an NVMe device: what each does, each of its errors, and its end.
//!
//! They overwrite the disk, so they need to be told which: `ZCN_NVME_TEST=/dev/ng0n1` names the
//! character device of a namespace that holds nothing. `cargo xtask guest -- nvme` does so with a
//! disk that QEMU emulates; otherwise they are skipped.
#![allow(unsafe_code)]

mod common;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::{GUARD, Random, pool, shared, skipped, target};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use zcn_pool::BufferPool;
use zcn_uring::nvme::{Controller, Identify, Namespace, NvmeCommand, NvmeError};
use zcn_uring::{
    CommandError, Completion, Completion32, Entry128, Kind, Op128, Payload, Ring, leaked_ops,
};

type Done = Completion<[u64; 2]>;

/// The disk, for one test at a time.
struct Disk {
    path: PathBuf,
    namespace_file: File,
    controller_file: File,
    namespace: Namespace,
    ring: Ring<Entry128, Completion32>,
    pool: BufferPool,
    _alone: MutexGuard<'static, ()>,
}

fn open(path: &Path) -> File {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `/dev/ng0n1` is namespace 1 of `/dev/nvme0`.
fn parts(path: &Path) -> Option<(PathBuf, u32)> {
    let name = path.file_name()?.to_str()?.strip_prefix("ng")?;
    let (controller, nsid) = name.split_once('n')?;
    let controller = path.with_file_name(format!("nvme{controller}"));
    Some((controller, nsid.parse().ok()?))
}

fn ring() -> Ring<Entry128, Completion32> {
    Ring::builder()
        .entries(64)
        .entries_of_128_bytes()
        .completions_of_32_bytes()
        .build()
        .expect("a ring")
}

impl Disk {
    fn find() -> Option<Self> {
        static ONE: Mutex<()> = Mutex::new(());
        let Some(path) = std::env::var_os("ZCN_NVME_TEST").map(PathBuf::from) else {
            skipped("no disk to overwrite: ZCN_NVME_TEST names none");
            return None;
        };
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (controller, nsid) = parts(&path).expect("a path such as /dev/ng0n1");
        let controller_file = open(&controller);
        let (mut ring, pool) = (ring(), pool(128));
        let told = identify(
            &mut ring,
            &pool,
            &controller_file,
            Identify::Namespace(nsid),
        );
        Some(Self {
            namespace_file: open(&path),
            controller_file,
            path,
            namespace: Namespace::parse(nsid, &bytes(&told)).expect("a namespace"),
            ring,
            pool,
            _alone: alone,
        })
    }

    fn identify(&mut self, what: Identify) -> Done {
        identify(&mut self.ring, &self.pool, &self.controller_file, what)
    }

    fn perform(&mut self, op: Op128) -> Done {
        self.ring.push(op).expect("a push");
        self.reap(1).remove(0)
    }

    fn reap(&mut self, count: usize) -> Vec<Done> {
        reap(&mut self.ring, count)
    }

    fn read(&self, block: u64) -> Op128 {
        let buf = self.pool.acquire().expect("a buffer");
        let device = target(&self.namespace_file);
        // SAFETY: the namespace is what its controller told.
        unsafe { Op128::nvme_read(device, &self.namespace, block, buf) }.expect("whole blocks")
    }

    fn write(&self, block: u64, data: &[u8]) -> Op128 {
        let data = shared(&self.pool, data);
        let device = target(&self.namespace_file);
        // SAFETY: the namespace is what its controller told, and the disk is ours to overwrite.
        unsafe { Op128::nvme_write(device, &self.namespace, block, data) }.expect("whole blocks")
    }

    /// Blocks in a buffer of 4096 bytes.
    fn blocks(&self) -> u64 {
        u64::from(4096 / self.namespace.block_bytes)
    }
}

fn identify(
    ring: &mut Ring<Entry128, Completion32>,
    pool: &BufferPool,
    controller: &File,
    what: Identify,
) -> Done {
    let buf = pool.acquire().expect("a buffer");
    let op = Op128::nvme_identify(target(controller), what, buf).expect("room");
    ring.push(op).expect("a push");
    reap(ring, 1).remove(0)
}

fn reap(ring: &mut Ring<Entry128, Completion32>, count: usize) -> Vec<Done> {
    let deadline = Instant::now() + GUARD;
    let mut all = Vec::new();
    while all.len() < count {
        assert!(Instant::now() < deadline, "hangs with {all:?}");
        ring.wait(1, Some(Duration::from_millis(200)))
            .expect("a wait");
        all.extend(ring.completions());
    }
    assert_eq!(all.len(), count);
    all
}

fn bytes(done: &Done) -> Vec<u8> {
    match &done.payload {
        Some(Payload::Buf(buf)) => buf.to_vec(),
        other => panic!("no buffer: {other:?}"),
    }
}

/// Type and code of the status that a device refused with.
fn status(done: &Done) -> (u8, u8) {
    match done.nvme_result() {
        Err(NvmeError::Status(status)) => (status.code_type(), status.code()),
        other => panic!("no status: {other:?}"),
    }
}

fn kernel_error(done: &Done) -> CommandError {
    match done.nvme_result() {
        Err(NvmeError::Kernel(error)) => error,
        other => panic!("the kernel did not refuse: {other:?}"),
    }
}

#[test]
fn a_controller_and_a_namespace_tell_what_they_are() {
    let Some(mut disk) = Disk::find() else { return };
    let told = disk.identify(Identify::Controller);
    told.nvme_result().expect("it tells");
    assert_eq!(bytes(&told).len(), 4096);
    let controller = Controller::parse(&bytes(&told)).expect("a controller");
    assert!(!controller.model.is_empty() && controller.namespaces > 0);
    // QEMU's, as `cargo xtask guest` starts it.
    if controller.serial == "zcn" {
        assert_eq!(controller.model, "QEMU NVMe Ctrl");
    }
    // A namespace that is not there is all zeros, or refused.
    let none = disk.identify(Identify::Namespace(0x00ff_fff0));
    assert_eq!(Namespace::parse(1, &bytes(&none)), None);
    drop((told, none));
    assert_eq!(disk.pool.stats().in_use, 0);
}

#[test]
fn what_is_written_at_random_is_read_back() {
    let Some(mut disk) = Disk::find() else { return };
    const PLACES: u64 = 256;
    let seed = u64::from(std::process::id());
    let mut random = Random(seed);
    let mut expected: Vec<Option<u8>> = vec![None; PLACES as usize];
    let per_place = disk.blocks();
    let distance = (disk.namespace.blocks / per_place / PLACES).max(1) * per_place;
    for round in 0..20 {
        // A batch of writes to places of its own each, then one of reads.
        let first = random.below(PLACES);
        for step in 0..32 {
            let place = (first + step * 7) % PLACES;
            let fill = random.next() as u8;
            expected[place as usize] = Some(fill);
            let op = disk.write(place * distance, &[fill; 4096]);
            disk.ring.push(op.token(place)).expect("a push");
        }
        for done in disk.reap(32) {
            assert_eq!(done.kind(), Kind::Nvme);
            done.nvme_result().expect("written");
        }
        for _ in 0..32 {
            let place = random.below(PLACES);
            let op = disk.read(place * distance);
            disk.ring.push(op.token(place)).expect("a push");
        }
        for done in disk.reap(32) {
            done.nvme_result().expect("read");
            let bytes = bytes(&done);
            assert_eq!(bytes.len(), 4096);
            if let Some(fill) = expected[done.token as usize] {
                assert!(bytes == [fill; 4096], "seed {seed}, round {round}");
            }
        }
    }
    assert_eq!(disk.pool.stats().in_use, 0);
}

#[test]
fn what_the_device_refuses_has_its_status() {
    let Some(mut disk) = Disk::find() else { return };
    // Behind the last block, and across it.
    for block in [
        disk.namespace.blocks,
        disk.namespace.blocks - disk.blocks() + 1,
        u64::MAX - 100,
    ] {
        let op = disk.read(block);
        let done = disk.perform(op);
        assert_eq!(status(&done), (0, 0x80), "LBA out of range");
        assert!(bytes(&done).is_empty(), "nothing was read");
        let op = disk.write(block, &[1; 4096]);
        assert_eq!(status(&disk.perform(op)), (0, 0x80));
    }
    // An opcode that no device has, to either queue.
    for (admin, file) in [(true, &disk.controller_file), (false, &disk.namespace_file)] {
        let command = NvmeCommand {
            opcode: 0x7f,
            nsid: if admin { 0 } else { disk.namespace.nsid },
            ..NvmeCommand::default()
        };
        // SAFETY: the command moves no data.
        let op = unsafe { Op128::nvme(target(file), admin, &command, None) };
        disk.ring.push(op).expect("a push");
        let done = reap(&mut disk.ring, 1).remove(0);
        assert_eq!(status(&done), (0, 0x01), "invalid opcode");
    }
    assert_eq!(disk.pool.stats().in_use, 0);
}

#[test]
fn what_the_kernel_refuses_is_told_apart() {
    let Some(mut disk) = Disk::find() else { return };
    // A namespace that is not this device's.
    let mut other = disk.namespace;
    other.nsid += 1;
    let buf = disk.pool.acquire().expect("a buffer");
    // SAFETY: the kernel refuses it.
    let op = unsafe { Op128::nvme_read(target(&disk.namespace_file), &other, 0, buf) };
    let done = disk.perform(op.expect("whole blocks"));
    let error = kernel_error(&done);
    assert!(matches!(error, CommandError::Invalid { .. }), "{error}");
    drop(done);
    // No NVMe device at all.
    let null = open(Path::new("/dev/zero"));
    let buf = disk.pool.acquire().expect("a buffer");
    let op = Op128::nvme_identify(target(&null), Identify::Controller, buf);
    let done = disk.perform(op.expect("room"));
    let error = kernel_error(&done);
    assert!(matches!(error, CommandError::Unsupported { .. }), "{error}");
    drop(done);
    // Completions that are too small for the result.
    let mut small = Ring::builder()
        .entries(8)
        .entries_of_128_bytes()
        .build()
        .expect("a ring");
    small.push(disk.read(0)).expect("a push");
    small.wait(1, Some(GUARD)).expect("a wait");
    let done = small.completions().next().expect("a completion");
    let error = done.command_result().expect_err("refused");
    assert!(matches!(error, CommandError::Unsupported { .. }), "{error}");
    drop(done);
    // Open for reading only, and nobody special any more. Last, because it is for good.
    let read_only = File::open(&disk.path).expect("the device");
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).expect("nothing is given up too much");
    let data = shared(&disk.pool, &[1; 4096]);
    // SAFETY: the kernel refuses it.
    let op = unsafe { Op128::nvme_write(target(&read_only), &disk.namespace, 0, data) };
    let done = disk.perform(op.expect("whole blocks"));
    let error = kernel_error(&done);
    assert!(
        matches!(error, CommandError::NotPermitted { .. }),
        "{error}"
    );
    drop(done);
    assert_eq!(disk.pool.stats().in_use, 0);
}

#[test]
fn a_buffer_that_does_not_suit_is_given_back() {
    let Some(disk) = Disk::find() else { return };
    let mut buf = disk.pool.acquire().expect("a buffer");
    buf.extend_from_slice(b"not empty").expect("room");
    let device = target(&disk.controller_file);
    let error = Op128::nvme_identify(device, Identify::Controller, buf).expect_err("too short");
    assert_eq!(
        (error.bytes, &error.buffer[..]),
        (4096 - 9, &b"not empty"[..])
    );
    // SAFETY: the namespace is what its controller told.
    let error = unsafe { Op128::nvme_read(device, &disk.namespace, 0, error.buffer) };
    assert!(
        error
            .expect_err("a rest")
            .to_string()
            .contains("without a rest")
    );
    assert_eq!(disk.pool.stats().in_use, 0);
}

#[test]
fn commands_that_are_cancelled_or_abandoned_give_everything_back() {
    let Some(mut disk) = Disk::find() else { return };
    for round in 0..50 {
        let op = disk.read(round);
        let id = disk.ring.push(op.token(1)).expect("a push");
        let given_up = disk.ring.push(disk.read(round)).expect("a push");
        if round % 2 == 0 {
            disk.ring.submit().expect("a submit");
        }
        disk.ring.abandon(given_up);
        // It heeds no cancel, so it succeeds all the same (rule 7).
        disk.ring.cancel(id, 2).expect("a cancel");
        let mut done = disk.reap(2);
        done.sort_by_key(|done| done.token);
        assert_eq!(
            done.iter().map(|done| done.token).collect::<Vec<_>>(),
            [1, 2]
        );
        done[0].nvme_result().expect("read");
        assert_eq!(bytes(&done[0]).len(), 4096);
        drop(done);
        let deadline = Instant::now() + GUARD;
        while disk.ring.in_flight() > 0 {
            assert!(Instant::now() < deadline, "the abandoned one does not end");
            disk.ring
                .wait(1, Some(Duration::from_millis(50)))
                .expect("a wait");
            assert_eq!(disk.ring.completions().count(), 0, "nobody waits for these");
        }
        assert_eq!(disk.pool.stats().in_use, 0);
    }
}

#[test]
fn a_ring_dropped_with_commands_in_flight_gives_everything_back() {
    let Some(mut disk) = Disk::find() else { return };
    for round in 0..10 {
        for block in 0..32 {
            let op = match block % 2 {
                0 => disk.read(block * disk.blocks()),
                _ => disk.write(block * disk.blocks(), &[1; 4096]),
            };
            disk.ring.push(op).expect("a push");
        }
        if round % 2 == 0 {
            disk.ring.submit().expect("a submit");
        }
        disk.ring = ring();
        assert_eq!(disk.pool.stats().in_use, 0);
    }
    assert_eq!(leaked_ops(), 0);
}
