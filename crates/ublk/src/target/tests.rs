//! Requests carried out on both targets, on a real ring.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use zcn_pool::BufferPool;
use zcn_uring::Ring;

use super::*;

/// A file that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, size: u64) -> Self {
        let path = std::env::temp_dir().join(format!("zcn-ublk-{name}-{}", std::process::id()));
        let file = File::create(&path).expect("a file");
        file.set_len(size).expect("its size");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Rig {
    ring: Ring,
    pool: BufferPool,
    target: Arc<Target>,
}

impl Rig {
    fn new(target: Target) -> Self {
        Self {
            ring: Ring::builder().entries(8).build().expect("a ring"),
            pool: BufferPool::builder()
                .count(4)
                .buffer_size(8192)
                .build()
                .expect("a pool"),
            target: Arc::new(target),
        }
    }

    /// Carries a request out; its result and what is in its buffer.
    fn carry_out(&mut self, request: Request, data: &[u8]) -> (i32, Vec<u8>) {
        let mut buf = self.pool.acquire().expect("a buffer");
        buf.as_mut_capacity()[..data.len()].copy_from_slice(data);
        let mut work = Work::new(Arc::clone(&self.target), 4);
        let mut step = work.begin(&mut self.ring, 3, request, buf);
        loop {
            match step {
                Step::Answer(mut buf, result) => {
                    let len = request.len.min(8192) as usize;
                    return (result, buf.as_mut_capacity()[..len].to_vec());
                }
                Step::Waits => {}
            }
            self.ring.wait(1, None).expect("a wait");
            let done = self.ring.completions().next().expect("waited for it");
            assert_eq!(done.token, 3);
            let result = done.raw_result();
            let buf = done.payload.and_then(Payload::into_buf).expect("a buffer");
            step = work.go_on(&mut self.ring, 3, result, buf);
        }
    }
}

fn request(operation: Operation, offset: u64, len: u64) -> Request {
    Request {
        operation,
        offset,
        len,
        durable: false,
        keeps_space: false,
    }
}

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| seed.wrapping_add((at % 253) as u8))
        .collect()
}

/// What both targets must do.
fn reads_what_was_written(rig: &mut Rig) {
    let bytes = pattern(1, 8192);
    let write = request(Operation::Write, 4096, 8192);
    assert_eq!(rig.carry_out(write, &bytes).0, 8192);
    let durable = Request {
        durable: true,
        ..request(Operation::Write, 0, 512)
    };
    assert_eq!(rig.carry_out(durable, &bytes[..512]).0, 512);
    assert_eq!(rig.carry_out(request(Operation::Flush, 0, 0), &[]).0, 0);
    let read = request(Operation::Read, 4096, 8192);
    assert_eq!(rig.carry_out(read, &[]), (8192, bytes.clone()));
    let discard = request(Operation::Discard, 4096, 4096);
    assert_eq!(rig.carry_out(discard, &[]).0, 0);
    let zeroes = request(Operation::WriteZeroes, 8192, 512);
    assert_eq!(rig.carry_out(zeroes, &[]).0, 0);
    let (result, found) = rig.carry_out(read, &[]);
    assert_eq!(result, 8192);
    assert_eq!(found[..4608], [0; 4608]);
    assert_eq!(found[4608..], bytes[4608..]);
    let (result, found) = rig.carry_out(request(Operation::Read, 0, 512), &[]);
    assert_eq!((result, &found[..]), (512, &bytes[..512]));
    // Out of range, or unknown.
    for (request, errno) in [
        (request(Operation::Read, 65536 - 512, 1024), libc::EIO),
        (request(Operation::Write, u64::MAX - 511, 512), libc::EIO),
        (request(Operation::Write, 0, 16384), libc::EIO),
        (request(Operation::Other(9), 0, 512), libc::EOPNOTSUPP),
    ] {
        assert_eq!(rig.carry_out(request, &[]).0, -errno, "{request:?}");
    }
}

#[test]
fn memory_reads_what_was_written() {
    let mut rig = Rig::new(Target::memory(65536).expect("memory"));
    reads_what_was_written(&mut rig);
}

#[test]
fn a_file_reads_what_was_written() {
    let scratch = Scratch::new("written", 65536);
    let mut rig = Rig::new(Target::file(&scratch.0, false).expect("a file"));
    reads_what_was_written(&mut rig);
    let file = File::open(&scratch.0).expect("it is there");
    let mut bytes = [0; 512];
    file.read_exact_at(&mut bytes, 0).expect("its bytes");
    assert_eq!(bytes[..], pattern(1, 512));
    assert_eq!(file.metadata().expect("known").len(), 65536);
}

#[test]
fn what_is_discarded_takes_no_space_in_a_file() {
    let scratch = Scratch::new("discarded", 65536);
    let mut rig = Rig::new(Target::file(&scratch.0, false).expect("a file"));
    for at in (0..65536).step_by(8192) {
        let write = request(Operation::Write, at, 8192);
        assert_eq!(rig.carry_out(write, &pattern(1, 8192)).0, 8192);
    }
    let sync = request(Operation::Flush, 0, 0);
    assert_eq!(rig.carry_out(sync, &[]).0, 0);
    let blocks = || std::fs::metadata(&scratch.0).expect("known").blocks();
    let before = blocks();
    let discard = request(Operation::Discard, 4096, 32768);
    assert_eq!(rig.carry_out(discard, &[]).0, 0);
    assert!(blocks() < before, "{before} blocks before and after");
}

/// The end of the file is not where it was: what is not there reads as zeroes.
#[test]
fn a_short_read_is_filled_with_zeroes() {
    let scratch = Scratch::new("short", 65536);
    let file = File::options()
        .write(true)
        .open(&scratch.0)
        .expect("a file");
    file.write_all_at(&pattern(7, 65536), 0).expect("written");
    let mut rig = Rig::new(Target::file(&scratch.0, true).expect("a file"));
    file.set_len(5000).expect("shorter");
    let (result, found) = rig.carry_out(request(Operation::Read, 4096, 4096), &pattern(1, 4096));
    assert_eq!(result, 4096);
    assert_eq!(found[..904], pattern(7, 65536)[4096..5000]);
    assert_eq!(found[904..], [0; 4096 - 904]);
}

#[test]
fn errors_of_the_file_are_errors_of_the_request() {
    let scratch = Scratch::new("errors", 65536);
    let mut rig = Rig::new(Target::file(&scratch.0, true).expect("a file"));
    // It was opened for reading only.
    assert_eq!(
        rig.carry_out(request(Operation::Write, 0, 512), &[]).0,
        -libc::EIO
    );
    let full = Target {
        kind: Kind::File(Backing {
            file: File::options()
                .write(true)
                .open("/dev/full")
                .expect("it is everywhere"),
            size: 65536,
            read_only: false,
        }),
    };
    let mut rig = Rig::new(full);
    assert_eq!(
        rig.carry_out(request(Operation::Write, 0, 512), &[]).0,
        -libc::ENOSPC
    );
    assert_eq!(told(libc::EDQUOT), libc::ENOSPC);
    assert_eq!(told(libc::EOPNOTSUPP), libc::EOPNOTSUPP);
    assert_eq!(told(libc::EBADF), libc::EIO);
}

#[test]
fn what_cannot_stand_behind_a_device_is_refused_by_name() {
    let refused = |path: &str, read_only| {
        let error = Target::file(path, read_only).expect_err(path);
        assert!(matches!(error, UblkError::File { .. }));
        error.to_string()
    };
    assert!(refused("/no/such/file", false).contains("/no/such/file"));
    assert!(refused("/dev", true).contains("neither a file nor a block device"));
    assert!(refused("/dev/null", false).contains("neither a file nor a block device"));
}

/// Two servers on one file would each undo what the other does.
#[test]
fn a_file_stands_behind_one_device_unless_it_is_only_read() {
    let scratch = Scratch::new("locked", 4096);
    let mut file = File::options()
        .write(true)
        .open(&scratch.0)
        .expect("a file");
    file.write_all(b"bytes").expect("written");
    let first = Target::file(&scratch.0, false).expect("a file");
    for read_only in [false, true] {
        let error = Target::file(&scratch.0, read_only).expect_err("it is in use");
        assert!(error.to_string().contains("in use"), "{error}");
    }
    drop(first);
    let _first = Target::file(&scratch.0, true).expect("a file");
    let second = Target::file(&scratch.0, true).expect("both only read");
    assert_eq!(second.size(), 4096);
}
