//! Blocks whose content says which they are, and how often they were written.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use zcn_pool::{Buf, BufferPool};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;
/// Blocks of the largest transfer: more than the largest request of the devices here, so that the
/// block layer has to split it.
pub(crate) const RUN: usize = 80;

/// What a block holds once it has been written for the `version`th time. Zeroes before the first.
pub(crate) fn fill(seed: u64, block: u64, version: u64, bytes: &mut [u8]) {
    if version == 0 {
        return bytes.fill(0);
    }
    let mut random = Pcg64Mcg::seed_from_u64(seed ^ block.rotate_left(40) ^ version);
    random.fill(&mut bytes[16..]);
    bytes[..8].copy_from_slice(&block.to_ne_bytes());
    bytes[8..16].copy_from_slice(&version.to_ne_bytes());
}

/// Which version a block holds, if it is a whole one.
pub(crate) fn version(seed: u64, block: u64, bytes: &[u8]) -> Option<u64> {
    let version = u64::from_ne_bytes(bytes[8..16].try_into().expect("eight bytes"));
    let mut whole = [0; BLOCK];
    fill(seed, block, version, &mut whole);
    (whole == bytes).then_some(version)
}

/// Opens a device past the page cache, as `O_DIRECT` does.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true);
    options.custom_flags(libc::O_DIRECT).open(path)
}

/// Memory as `O_DIRECT` wants it: on a page.
pub(crate) fn aligned(blocks: usize) -> Buf {
    let pool = BufferPool::builder()
        .count(1)
        .buffer_size(blocks * BLOCK)
        .build()
        .expect("a pool");
    let mut buf = pool.acquire().expect("a buffer");
    buf.set_len(blocks * BLOCK);
    buf
}

/// Blocks `first..first + versions.len()` of a device, and how often each was written.
pub(crate) struct Region {
    pub(crate) seed: u64,
    pub(crate) first: u64,
    pub(crate) versions: Vec<u64>,
}

impl Region {
    pub(crate) fn new(seed: u64, first: u64, blocks: u64) -> Self {
        Self {
            seed,
            first,
            versions: vec![0; blocks as usize],
        }
    }

    /// Writes, reads, flushes and discards at random places, and compares what is read.
    pub(crate) fn exercise(&mut self, device: &File, steps: usize) {
        let mut random = Pcg64Mcg::seed_from_u64(self.seed ^ self.first);
        let mut buf = aligned(RUN);
        for _ in 0..steps {
            let at = random.random_range(0..self.versions.len());
            let most = RUN.min(self.versions.len() - at);
            let long = random.random_range(0..4) == 0;
            let blocks = random.random_range(1..=if long { most } else { most.min(4) });
            match random.random_range(0..16) {
                0..8 => self.write(device, at, &mut buf[..blocks * BLOCK]),
                8..14 => self.check(device, at, &mut buf[..blocks * BLOCK]),
                14 => device.sync_data().expect("flushed"),
                _ => self.discard(device, at, blocks),
            }
        }
    }

    fn write(&mut self, device: &File, at: usize, bytes: &mut [u8]) {
        for (index, block) in bytes.chunks_mut(BLOCK).enumerate() {
            self.versions[at + index] += 1;
            let number = self.first + (at + index) as u64;
            fill(self.seed, number, self.versions[at + index], block);
        }
        let offset = (self.first + at as u64) * BLOCK as u64;
        device.write_all_at(bytes, offset).expect("written");
    }

    /// A hole in a device reads as zeroes, and the kernel waits until it is there.
    fn discard(&mut self, device: &File, at: usize, blocks: usize) {
        let offset = (self.first + at as u64) * BLOCK as u64;
        let len = (blocks * BLOCK) as u64;
        use rustix::fs::FallocateFlags as Flags;
        let mode = Flags::PUNCH_HOLE | Flags::KEEP_SIZE;
        rustix::fs::fallocate(device, mode, offset, len).expect("punched");
        // Later versions must not repeat earlier content, so the count goes on elsewhere.
        let bytes = &mut aligned(blocks)[..];
        self.read(device, at, bytes);
        assert!(bytes.iter().all(|&byte| byte == 0), "a hole holds zeroes");
        self.write(device, at, bytes);
    }

    fn read(&self, device: &File, at: usize, bytes: &mut [u8]) {
        bytes.fill(0xee);
        let offset = (self.first + at as u64) * BLOCK as u64;
        device.read_exact_at(bytes, offset).expect("read");
    }

    fn check(&self, device: &File, at: usize, bytes: &mut [u8]) {
        self.read(device, at, bytes);
        for (index, block) in bytes.chunks(BLOCK).enumerate() {
            let number = self.first + (at + index) as u64;
            let expected = self.versions[at + index];
            let mut whole = [0; BLOCK];
            fill(self.seed, number, expected, &mut whole);
            assert!(
                whole == block,
                "block {number}: version {:?}, expected {expected} (seed {})",
                version(self.seed, number, block),
                self.seed
            );
        }
    }

    /// Compares every block.
    pub(crate) fn check_all(&self, device: &File) {
        let mut buf = aligned(RUN);
        for at in (0..self.versions.len()).step_by(RUN) {
            let blocks = RUN.min(self.versions.len() - at);
            self.check(device, at, &mut buf[..blocks * BLOCK]);
        }
    }
}

/// Threads that each exercise a part of a device; what it holds afterwards.
pub(crate) fn exercise(path: &Path, blocks: u64, threads: u64, steps: usize) -> Vec<Region> {
    let seed = crate::seed();
    let part = blocks / threads;
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let device = open(path).expect("the device");
                    let mut region = Region::new(seed, thread * part, part);
                    region.exercise(&device, steps);
                    region.check_all(&device);
                    region
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("every block is right"))
            .collect()
    })
}
