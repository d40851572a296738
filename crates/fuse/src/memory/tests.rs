//! Requests made by hand, as a kernel or somebody worse might send them.

use super::*;
use crate::protocol::{IN_HEADER, arguments_of, word};

/// Sends a request; the answer's body, or its errno.
fn ask(fs: &mut MemFs, opcode: u32, node: u64, arguments: &[u8], rest: &[u8]) -> Outcome<Vec<u8>> {
    let mut header = [0; IN_HEADER];
    header[4..8].copy_from_slice(&opcode.to_ne_bytes());
    header[16..24].copy_from_slice(&node.to_ne_bytes());
    let mut room = arguments.to_vec();
    room.resize(arguments_of(opcode).unwrap_or(0), 0);
    let request = Request::from_parts(&header, &room, rest).expect("a request");
    let answer = fs.handle(&request, Duration::from_secs(7));
    answer.map_or(Ok(Vec::new()), |answer| answer.map(<[u8]>::to_vec))
}

fn named(fs: &mut MemFs, opcode: u32, node: u64, name: &[u8]) -> Outcome<u64> {
    let entry = ask(fs, opcode, node, &[], &[name, b"\0"].concat())?;
    Ok(long(&entry, 0))
}

fn put(fs: &mut MemFs, node: u64, offset: u64, bytes: &[u8]) -> Outcome<Vec<u8>> {
    let mut arguments = [0; 40];
    arguments[8..16].copy_from_slice(&offset.to_ne_bytes());
    arguments[16..20].copy_from_slice(&(bytes.len() as u32).to_ne_bytes());
    ask(fs, opcode::WRITE, node, &arguments, bytes)
}

fn get(fs: &mut MemFs, opcode: u32, node: u64, offset: u64, len: u32) -> Outcome<Vec<u8>> {
    let mut arguments = [0; 40];
    arguments[8..16].copy_from_slice(&offset.to_ne_bytes());
    arguments[16..20].copy_from_slice(&len.to_ne_bytes());
    ask(fs, opcode, node, &arguments, b"")
}

fn rename(fs: &mut MemFs, from: u64, to: u64, names: &[u8], flags: u32) -> Outcome {
    let mut arguments = [0; 16];
    arguments[..8].copy_from_slice(&to.to_ne_bytes());
    arguments[8..12].copy_from_slice(&flags.to_ne_bytes());
    ask(fs, opcode::RENAME2, from, &arguments, names).map(drop)
}

fn forget(fs: &mut MemFs, node: u64, times: u64) {
    let answer = ask(fs, opcode::FORGET, node, &times.to_ne_bytes(), b"");
    assert_eq!(answer, Ok(Vec::new()));
}

fn file(fs: &mut MemFs, name: &[u8]) -> u64 {
    named(fs, opcode::CREATE, ROOT, name).expect("a file")
}

#[test]
fn offsets_beyond_what_is_possible_are_refused_and_nothing_grows() {
    let mut fs = MemFs::new(1 << 20);
    let file = file(&mut fs, b"file");
    let used = fs.used();
    for (offset, errno) in [
        (u64::MAX, libc::EFBIG),
        (u64::MAX - 3, libc::EFBIG),
        (i64::MAX as u64, libc::EFBIG),
        (MAX_FILE_BYTES as u64 - 3, libc::EFBIG),
        (1 << 20, libc::ENOSPC),
    ] {
        assert_eq!(put(&mut fs, file, offset, b"four"), Err(errno), "{offset}");
    }
    assert_eq!(fs.used(), used);
    put(&mut fs, file, 3, b"four").expect("a write");
    for (offset, len, expected) in [
        (0, 99, &b"\0\0\0four"[..]),
        (5, 1, b"u"),
        (7, 1, b""),
        (u64::MAX, u32::MAX, b""),
        (3, u32::MAX, b"four"),
    ] {
        let got = get(&mut fs, opcode::READ, file, offset, len);
        assert_eq!(got, Ok(expected.to_vec()), "{len} at {offset}");
    }
    // More is promised than there is.
    let mut arguments = [0; 40];
    arguments[16] = 9;
    let short = ask(&mut fs, opcode::WRITE, file, &arguments, b"eight...");
    assert_eq!(short, Err(libc::EINVAL));
}

#[test]
fn names_that_are_none_are_refused() {
    let mut fs = MemFs::new(1 << 20);
    let long = [b'x'; MAX_NAME_BYTES + 1];
    for opcode in [opcode::CREATE, opcode::MKDIR] {
        for (name, errno) in [
            (&b""[..], libc::EINVAL),
            (b".", libc::EINVAL),
            (b"..", libc::EINVAL),
            (b"a/b", libc::EINVAL),
            (&long, libc::ENAMETOOLONG),
        ] {
            assert_eq!(named(&mut fs, opcode, ROOT, name), Err(errno));
        }
        assert_eq!(
            ask(&mut fs, opcode, ROOT, &[], b"no zero"),
            Err(libc::EINVAL)
        );
    }
    assert_eq!(
        named(&mut fs, opcode::LOOKUP, ROOT, &long),
        Err(libc::ENAMETOOLONG)
    );
    assert_eq!(named(&mut fs, opcode::CREATE, ROOT, &long[1..]), Ok(2));
    assert_eq!(
        named(&mut fs, opcode::CREATE, ROOT, &long[1..]),
        Err(libc::EEXIST)
    );
    assert_eq!((fs.nodes(), fs.used()), (2, NODE_BYTES + MAX_NAME_BYTES));
}

#[test]
fn opcodes_and_nodes_that_are_not_known_are_refused() {
    let mut fs = MemFs::new(1 << 20);
    for opcode in [
        0,
        3 << 20,
        opcode::INIT,
        5,
        6,
        8,
        13,
        21,
        22,
        43,
        44,
        46,
        u32::MAX,
    ] {
        assert_eq!(
            ask(&mut fs, opcode, ROOT, &[], b""),
            Err(libc::ENOSYS),
            "{opcode}"
        );
    }
    for opcode in [opcode::GETATTR, opcode::OPEN, opcode::READ, opcode::READDIR] {
        assert_eq!(
            ask(&mut fs, opcode, 99, &[], b""),
            Err(libc::ENOENT),
            "{opcode}"
        );
    }
    let file = file(&mut fs, b"file");
    assert_eq!(
        named(&mut fs, opcode::LOOKUP, file, b"x"),
        Err(libc::ENOTDIR)
    );
    assert_eq!(
        ask(&mut fs, opcode::OPEN, ROOT, &[], b""),
        Err(libc::EISDIR)
    );
    assert_eq!(
        ask(&mut fs, opcode::OPENDIR, file, &[], b""),
        Err(libc::ENOTDIR)
    );
    assert_eq!(get(&mut fs, opcode::READ, ROOT, 0, 1), Err(libc::EISDIR));
}

#[test]
fn a_removed_file_lives_until_it_is_forgotten() {
    let mut fs = MemFs::new(1 << 20);
    let file = file(&mut fs, b"file");
    assert_eq!(named(&mut fs, opcode::LOOKUP, ROOT, b"file"), Ok(file));
    put(&mut fs, file, 0, &[1; 100]).expect("a write");
    named(&mut fs, opcode::UNLINK, ROOT, b"file").expect("removed");
    assert_eq!(
        named(&mut fs, opcode::LOOKUP, ROOT, b"file"),
        Err(libc::ENOENT)
    );
    assert_eq!(get(&mut fs, opcode::READ, file, 0, 1), Ok(vec![1]));
    forget(&mut fs, file, 1);
    put(&mut fs, file, 0, &[2; 100]).expect("still open");
    let both = [file, 1, 77, 5].into_iter().flat_map(u64::to_ne_bytes);
    let both: Vec<u8> = both.collect();
    let batch = ask(&mut fs, opcode::BATCH_FORGET, 0, &[2], &both);
    assert_eq!(batch, Ok(Vec::new()));
    assert_eq!(get(&mut fs, opcode::READ, file, 0, 1), Err(libc::ENOENT));
    assert_eq!((fs.nodes(), fs.used()), (1, 0));
    forget(&mut fs, ROOT, u64::MAX);
    assert_eq!(fs.nodes(), 1, "the root stays");
}

#[test]
fn rename_moves_replaces_and_refuses() {
    let mut fs = MemFs::new(1 << 20);
    let [one, _two] = [b"one", b"two"].map(|name| file(&mut fs, name));
    let folder = named(&mut fs, opcode::MKDIR, ROOT, b"folder").expect("a folder");
    let inner = named(&mut fs, opcode::MKDIR, folder, b"inner").expect("a folder");
    let used = fs.used();
    for (names, to, flags, errno) in [
        (&b"none\0x\0"[..], ROOT, 0, libc::ENOENT),
        (b"one\0two\0", ROOT, NO_REPLACE, libc::EEXIST),
        (b"one\0two\0", ROOT, 2, libc::EINVAL),
        (b"one\0folder\0", ROOT, 0, libc::EISDIR),
        (b"folder\0one\0", ROOT, 0, libc::ENOTDIR),
        (b"folder\0x\0", inner, 0, libc::EINVAL),
        (b"folder\0x\0", folder, 0, libc::EINVAL),
        (b"one\0x\0", one, 0, libc::ENOTDIR),
        (b"one\0", ROOT, 0, libc::EINVAL),
        (b"one\0..\0", ROOT, 0, libc::EINVAL),
    ] {
        assert_eq!(
            rename(&mut fs, ROOT, to, names, flags),
            Err(errno),
            "{names:?}"
        );
    }
    assert_eq!(fs.used(), used);
    rename(&mut fs, ROOT, inner, b"one\0three\0", 0).expect("moved");
    assert_eq!(named(&mut fs, opcode::LOOKUP, inner, b"three"), Ok(one));
    rename(&mut fs, inner, ROOT, b"three\0two\0", 0).expect("in place of another");
    assert_eq!(named(&mut fs, opcode::LOOKUP, ROOT, b"two"), Ok(one));
    rename(&mut fs, ROOT, ROOT, b"two\0two\0", 0).expect("nothing to do");
    assert_eq!(
        named(&mut fs, opcode::RMDIR, ROOT, b"folder"),
        Err(libc::ENOTEMPTY)
    );
    assert_eq!(
        named(&mut fs, opcode::RMDIR, ROOT, b"two"),
        Err(libc::ENOTDIR)
    );
    assert_eq!(
        named(&mut fs, opcode::UNLINK, ROOT, b"folder"),
        Err(libc::EISDIR)
    );
}

#[test]
fn everything_that_was_taken_is_given_back() {
    let mut fs = MemFs::new(10_000);
    let mut made = 0;
    while named(&mut fs, opcode::MKDIR, ROOT, format!("{made}").as_bytes()).is_ok() {
        made += 1;
    }
    assert_eq!(made, 38, "257 or 258 bytes each");
    let full = named(&mut fs, opcode::CREATE, ROOT, b"one more");
    assert_eq!(full, Err(libc::ENOSPC));
    for number in 0..made {
        named(&mut fs, opcode::RMDIR, ROOT, format!("{number}").as_bytes()).expect("empty");
        forget(&mut fs, number + ROOT + 1, 1);
    }
    assert_eq!((fs.nodes(), fs.used()), (1, 0));
    let file = file(&mut fs, b"file");
    put(&mut fs, file, 0, &[1; 5000]).expect("a write");
    assert_eq!(put(&mut fs, file, 5000, &[1; 5000]), Err(libc::ENOSPC));
    let mut shorter = [0; 88];
    shorter[0] = fattr::SIZE as u8;
    let attributes = ask(&mut fs, opcode::SETATTR, file, &shorter, b"").expect("truncated");
    assert_eq!((attributes.len(), long(&attributes, 24)), (104, 0));
    assert_eq!(fs.used(), NODE_BYTES + 4);
}

#[test]
fn a_listing_fits_the_room_that_there_is() {
    let mut fs = MemFs::new(1 << 20);
    for name in [&b"a"[..], b"bb", b"12345678", b"123456789"] {
        file(&mut fs, name);
    }
    for room in [0, 23, 31, 32, 63, 64, 100, 4096] {
        let (mut names, mut behind) = (Vec::new(), 0);
        loop {
            let list = get(&mut fs, opcode::READDIR, ROOT, behind, room).expect("a listing");
            assert!(list.len() <= room as usize);
            let mut at = 0;
            while at < list.len() {
                behind = long(&list, at + 8);
                let len = word(&list, at + 16) as usize;
                names.push(list[at + 24..at + 24 + len].to_vec());
                at += (24 + len).next_multiple_of(8);
            }
            assert_eq!(at, list.len());
            if list.is_empty() {
                break;
            }
        }
        let expected = match room {
            0..32 => 0,
            32..40 => 5,
            _ => 6,
        };
        assert_eq!(names.len(), expected, "{names:?} in {room}");
    }
}

#[test]
fn attributes_are_kept() {
    let mut fs = MemFs::new(1 << 20);
    let file = file(&mut fs, b"file");
    let mut set = [0; 88];
    let wanted = fattr::MODE | fattr::UID | fattr::GID | fattr::MTIME;
    set[..4].copy_from_slice(&wanted.to_ne_bytes());
    set[40..48].copy_from_slice(&1234_u64.to_ne_bytes());
    for (at, value) in [(60, 5_u32), (68, libc::S_IFREG | 0o640), (76, 11), (80, 12)] {
        set[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    let got = ask(&mut fs, opcode::SETATTR, file, &set, b"").expect("attributes");
    // Behind the 16 bytes of their validity.
    assert_eq!((long(&got, 16), long(&got, 16 + 32)), (file, 1234));
    assert_eq!(word(&got, 16 + 52), 5);
    assert_eq!(word(&got, 16 + 60), libc::S_IFREG | 0o640);
    assert_eq!((word(&got, 16 + 68), word(&got, 16 + 72)), (11, 12));
}

/// Each file could go over the capacity by as much as its new name was longer.
#[test]
fn a_longer_name_must_fit_as_everything_else() {
    let mut fs = MemFs::new(2 * (NODE_BYTES + 1) + 10);
    for name in [b"a", b"b"] {
        let node = file(&mut fs, name);
        forget(&mut fs, node, 1);
    }
    let mut to = |names: &[u8]| rename(&mut fs, ROOT, ROOT, names, 0);
    assert_eq!(to(b"a\0twelve bytes\0"), Err(libc::ENOSPC));
    assert_eq!(to(b"a\0the last 11\0"), Ok(()));
    assert_eq!(to(b"b\0bb\0"), Err(libc::ENOSPC));
    // It is there already.
    assert_eq!(to(b"b\0the last 11\0"), Ok(()));
    assert_eq!(fs.used(), NODE_BYTES + 11);
}

/// Bytes of all kinds, as requests of all kinds: no panic, and the bounds hold.
#[test]
#[allow(clippy::print_stderr)]
fn garbage_is_answered() {
    const CAPACITY: usize = 100_000;
    let seed = 0x5eed_f00d_u64;
    eprintln!("seed {seed:#x}");
    let mut random = seed;
    let mut next = || {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        random >> 33
    };
    let mut fs = MemFs::new(CAPACITY);
    for _ in 0..50_000 {
        let opcode = next() as u32 % 48;
        let arguments: Vec<u8> = (0..next() % 96)
            .map(|_| if next() % 3 == 0 { next() as u8 } else { 0 })
            .collect();
        let rest: Vec<u8> = (0..next() % 40)
            .map(|_| b"ab/.\0\0"[next() as usize % 6])
            .collect();
        let _ = ask(&mut fs, opcode, next() % 40, &arguments, &rest);
        assert!(fs.used() <= CAPACITY);
    }
    assert!(fs.nodes() > 2, "something was made");
}
