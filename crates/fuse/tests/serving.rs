//! A mounted file system, used as programs do, by either transport.

#![allow(clippy::print_stderr)]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::num::NonZeroU16;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use common::{BOTH, Folder, errno, files, in_own_mounts, is_empty, mount, options, with_both};
use zcn_fuse::{MAX_FILE_BYTES, MAX_NAME_BYTES, Transport};
use zcn_sys::affinity;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.into_string().expect("plain names"))
        .collect();
    names.sort();
    names
}

#[test]
fn files_are_written_read_truncated_and_removed() {
    with_both(|at, _| {
        let bytes: Vec<u8> = (0..700_000_u32)
            .map(|number| (number % 251) as u8)
            .collect();
        assert!(is_empty(at));
        assert_eq!(errno(fs::read(at.join("missing"))), libc::ENOENT);
        for name in ["one", "two", "three"] {
            fs::write(at.join(name), &bytes).expect("a write");
        }
        for name in ["one", "two", "three"] {
            assert!(fs::read(at.join(name)).expect("a read") == bytes, "{name}");
        }
        assert_eq!(names(at), ["one", "three", "two"]);
        let file = OpenOptions::new().write(true).open(at.join("two"));
        let file = file.expect("a file");
        file.set_len(10).expect("a truncation");
        file.write_all_at(b"end", 20).expect("behind the end");
        let expected = [&bytes[..10], &[0; 10], b"end"].concat();
        assert_eq!(fs::read(at.join("two")).expect("a read"), expected);
        let before_the_end = file.set_len(MAX_FILE_BYTES as u64 + 1);
        assert_eq!(errno(before_the_end), libc::EFBIG);
        assert_eq!(
            errno(file.write_at(b"x", MAX_FILE_BYTES as u64)),
            libc::EFBIG
        );
        fs::remove_file(at.join("one")).expect("removed");
        assert_eq!(names(at), ["three", "two"]);
        let length = fs::metadata(at.join("three")).expect("attributes").len();
        assert_eq!(length, bytes.len() as u64);
    });
}

#[test]
fn folders_are_made_listed_moved_and_removed() {
    with_both(|at, _| {
        fs::create_dir_all(at.join("a/b/c")).expect("folders");
        fs::write(at.join("a/b/file"), b"moved").expect("a write");
        fs::rename(at.join("a/b/file"), at.join("file")).expect("moved");
        fs::rename(at.join("a"), at.join("z")).expect("renamed");
        assert_eq!(names(at), ["file", "z"]);
        assert_eq!(names(&at.join("z/b")), ["c"]);
        assert_eq!(fs::read(at.join("file")).expect("a read"), b"moved");
        assert_eq!(errno(fs::remove_dir(at.join("z"))), libc::ENOTEMPTY);
        assert_eq!(errno(fs::create_dir(at.join("file"))), libc::EEXIST);
        assert_eq!(
            errno(fs::rename(at.join("file"), at.join("z"))),
            libc::EISDIR
        );
        assert_eq!(errno(fs::read_dir(at.join("file"))), libc::ENOTDIR);
        // More than one listing has room for.
        for number in 0..500 {
            fs::write(at.join("z").join(format!("file-{number:03}")), []).expect("a file");
        }
        assert_eq!(names(&at.join("z")).len(), 501);
        // Entries go while they are listed.
        fs::remove_dir_all(at.join("z")).expect("removed");
        assert_eq!(names(at), ["file"]);
    });
}

#[test]
fn attributes_are_set_and_read() {
    with_both(|at, _| {
        let path = at.join("file");
        fs::write(&path, b"x").expect("a write");
        let file = OpenOptions::new().write(true).open(&path).expect("a file");
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        file.set_modified(time).expect("a time");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("a mode");
        let attributes = fs::metadata(&path).expect("attributes");
        assert_eq!(attributes.modified().expect("a time"), time);
        assert_eq!(attributes.mode(), libc::S_IFREG | 0o640);
        assert_eq!((attributes.nlink(), attributes.blksize()), (1, 4096));
        file.write_at(b"y", 0).expect("a write");
        let attributes = fs::metadata(&path).expect("attributes");
        assert!(
            attributes.modified().expect("a time") > time,
            "written since"
        );
        let room = rustix::fs::statvfs(at).expect("statistics");
        assert_eq!(room.f_namemax, MAX_NAME_BYTES as u64);
        assert!(room.f_bfree > 0 && room.f_bfree < room.f_blocks);
    });
}

#[test]
fn a_removed_file_is_there_while_it_is_open() {
    with_both(|at, _| {
        let path = at.join("file");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .expect("a file");
        file.write_all(b"still").expect("a write");
        fs::remove_file(&path).expect("removed");
        assert!(is_empty(at));
        file.write_all(b" here").expect("a write");
        file.seek(SeekFrom::Start(0)).expect("the start");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("a read");
        assert_eq!(text, "still here");
        assert_eq!(file.metadata().expect("attributes").nlink(), 0);
    });
}

#[test]
fn what_it_does_not_have_is_refused_and_counted() {
    with_both(|at, session| {
        assert_eq!(errno(symlink("target", at.join("link"))), libc::ENOSYS);
        fs::write(at.join("file"), b"x").expect("a write");
        fs::hard_link(at.join("file"), at.join("other")).expect_err("no links");
        assert!(session.stats().unsupported >= 2, "{:?}", session.stats());
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        assert_eq!(errno(fs::write(at.join(&long), b"x")), libc::ENAMETOOLONG);
        assert_eq!(errno(fs::metadata(at.join(&long))), libc::ENAMETOOLONG);
        fs::write(at.join(&long[1..]), b"x").expect("as long as can be");
        assert_eq!(names(at).len(), 2);
    });
}

#[test]
fn what_it_holds_outlives_the_session_and_the_transport() {
    let files = files();
    for (round, transport) in BOTH.into_iter().chain(BOTH).enumerate() {
        in_own_mounts(|| {
            let at = Folder::new();
            let Some(session) = mount(&files, &at, &options(transport)) else {
                return;
            };
            fs::write(at.path().join(format!("{round}")), format!("{transport:?}"))
                .expect("a write");
            for name in names(at.path()) {
                let text = fs::read_to_string(at.path().join(name)).expect("a read");
                assert!(!text.is_empty());
            }
            session.unmount().expect("unmounted");
        });
    }
    let files = files.lock().expect("no panic");
    assert!(
        files.nodes() == 1 || files.nodes() >= 3,
        "{} nodes",
        files.nodes()
    );
}

/// Writes and reads pieces of a file at random, beside a copy in memory.
fn scribble(path: &Path, seed: u64) {
    const BYTES: usize = 1 << 20;
    let mut random = seed;
    let mut next = |below: usize| {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (random >> 33) as usize % below
    };
    let mut copy = vec![0; BYTES];
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .expect("a file");
    file.set_len(BYTES as u64).expect("its length");
    for step in 0..60 {
        let start = next(BYTES);
        let len = next(300_000).min(BYTES - start);
        if step % 2 == 0 {
            copy[start..start + len].fill(step + 1);
            file.write_all_at(&copy[start..start + len], start as u64)
                .expect("a write");
        } else {
            let mut read = vec![0xff; len];
            file.read_exact_at(&mut read, start as u64).expect("a read");
            assert!(read == copy[start..start + len], "seed {seed}, step {step}");
        }
    }
    assert!(fs::read(path).expect("a read") == copy, "seed {seed}");
}

#[test]
fn requests_of_all_cpus_at_once_are_all_answered() {
    let one = NonZeroU16::MIN;
    let seed = u64::from(std::process::id());
    eprintln!("seeds from {seed}");
    for (transport, threads, depth) in [
        (Transport::Reads, None, 1),
        (Transport::Reads, Some(one), 1),
        (Transport::Uring, None, 1),
        (Transport::Uring, None, 8),
        (Transport::Uring, Some(one), 2),
    ] {
        in_own_mounts(|| {
            let at = Folder::new();
            let mut options = options(transport).depth(depth);
            if let Some(threads) = threads {
                options = options.threads(threads);
            }
            let Some(session) = mount(&files(), &at, &options) else {
                return;
            };
            let cores = affinity::allowed_cores().expect("cores");
            std::thread::scope(|scope| {
                for number in 0..2 * cores.len() {
                    let (at, core) = (at.path(), cores[number % cores.len()]);
                    scope.spawn(move || {
                        let _ = affinity::pin_current_thread(core);
                        scribble(&at.join(format!("{number}")), seed + number as u64);
                    });
                }
            });
            session.unmount().expect("unmounted");
            let stats = session.stats();
            assert_eq!((stats.malformed, stats.lost_entries), (0, 0), "{stats:?}");
        });
    }
}
