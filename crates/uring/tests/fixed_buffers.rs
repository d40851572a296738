//! Buffers registered once instead of being mapped each time.

mod common;

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;

use common::{
    bytes, errno, for_each_rung, perform, pool, push, reap_until, shared, skipped, target, tcp_pair,
};
use zcn_pool::SharedBuf;
use zcn_uring::{Consumption, Op};

#[test]
fn reads_and_writes_use_the_registered_pool() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        ring.register_pool(&pool).expect("registered");
        let error = ring.register_pool(&pool).expect_err("twice");
        assert!(error.to_string().contains("registered pools"), "{error}");
        let mut file = temporary();
        let data = shared(&pool, b"fixed and written");
        let index = ring.registered_index(&data).expect("of the pool");
        let done = perform(
            &mut ring,
            Op::write(target(&file), data, 0).registered(index),
        );
        assert_eq!(done.result().expect("written"), 17);
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).expect("a seek");
        file.read_to_string(&mut text).expect("a read");
        assert_eq!(text, "fixed and written");
        let buf = pool.acquire().expect("one");
        let done = perform(&mut ring, Op::read(target(&file), buf, 6).registered(index));
        assert_eq!(bytes(&done.payload), b"and written");
        // Foreign bytes lie in no registered buffer.
        let foreign = SharedBuf::from_static(b"foreign");
        assert_eq!(ring.registered_index(&foreign), None);
        let done = perform(
            &mut ring,
            Op::write(target(&file), foreign, 0).registered(index),
        );
        assert_eq!(errno(&done), libc::EFAULT);
    });
}

fn temporary() -> std::fs::File {
    let path = std::env::temp_dir().join(format!(
        "zcn-uring-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .expect("a file");
    std::fs::remove_file(path).expect("unlinked");
    file
}

#[test]
fn zero_copy_sends_use_the_registered_pool() {
    for_each_rung(|builder| {
        let pool = pool(8);
        let mut ring = builder.build().expect("a ring");
        if !ring.features().send_zc {
            return skipped("no zero-copy send");
        }
        ring.register_pool(&pool).expect("registered");
        let (ours, mut theirs) = tcp_pair();
        let data = shared(&pool, &[9; 4096]);
        let index = ring.registered_index(&data).expect("of the pool");
        push(
            &mut ring,
            Op::send_zc(target(&ours), data).fixed_buffer(index),
        );
        let mut all = Vec::new();
        reap_until(&mut ring, &mut all, |all| !all.is_empty());
        assert_eq!(all[0].result().expect("sent"), 4096);
        let mut got = [0; 4096];
        theirs.read_exact(&mut got).expect("a read");
        assert_eq!(got, [9; 4096]);
        drop(all);
        drop(ring);
        assert_eq!(pool.stats().in_use, 0);
    });
}

#[test]
fn a_registered_index_does_not_become_the_group_of_a_receive() {
    // Both live in the same field: the kernel would pick from one group, we give out of another.
    for_each_rung(|builder| {
        let pool = pool(64);
        let mut ring = builder.build().expect("a ring");
        let first = ring
            .register_group(4, pool.local(), Consumption::Whole)
            .expect("a group");
        let second = ring
            .register_group(4, pool.local(), Consumption::Whole)
            .expect("a group");
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.write_all(b"first").expect("a write");
        let op = Op::recv_from_group(target(&ours), first);
        let op = op
            .registered(second.number().into())
            .fixed_buffer(second.number().into());
        let done = perform(&mut ring, op);
        assert_eq!(bytes(&done.payload), b"first");
        assert_eq!(ring.group_stats(first).expect("stats").available, 3);
        assert_eq!(ring.group_stats(second).expect("stats").available, 4);
    });
}
