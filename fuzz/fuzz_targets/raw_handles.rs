//! Raw handles, genuine, stale and forged: an error at worst, never a buffer twice.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zcn_pool::{Buf, BufferPool, RawBuf};

#[derive(Arbitrary, Debug)]
enum Step {
    Acquire,
    ToRaw(u8),
    FromRaw(u8),
    Release(u8),
    Forge(u32, u32),
    Drop(u8),
}

fuzz_target!(|steps: Vec<Step>| {
    let pool = BufferPool::builder()
        .buffer_size(4096)
        .count(8)
        .build()
        .expect("eight buffers");
    let local = pool.local();
    let mut bufs: Vec<Buf> = Vec::new();
    // Every handle ever made, with whether it still names a buffer that is out.
    let mut raws: Vec<(RawBuf, bool)> = Vec::new();
    for step in steps {
        match step {
            Step::Acquire => {
                if let Some(buf) = local.acquire() {
                    assert!(bufs.iter().all(|other| other.index() != buf.index()));
                    bufs.push(buf);
                }
            }
            Step::ToRaw(index) if !bufs.is_empty() => {
                let index = usize::from(index) % bufs.len();
                raws.push((bufs.swap_remove(index).into_raw(), true));
            }
            Step::FromRaw(index) if !raws.is_empty() => {
                let index = usize::from(index) % raws.len();
                let (raw, out) = raws[index];
                let back = pool.from_raw(raw);
                assert_eq!(back.is_ok(), out);
                raws[index].1 = false;
                bufs.extend(back.ok());
            }
            Step::Release(index) if !raws.is_empty() => {
                let index = usize::from(index) % raws.len();
                let (raw, out) = raws[index];
                assert_eq!(pool.release_raw(raw).is_ok(), out);
                raws[index].1 = false;
            }
            Step::Forge(index, generation) => {
                let forged = RawBuf { index, generation };
                let genuine = raws.iter().position(|&(raw, out)| out && raw == forged);
                assert_eq!(pool.release_raw(forged).is_ok(), genuine.is_some());
                if let Some(genuine) = genuine {
                    raws[genuine].1 = false;
                }
            }
            Step::Drop(index) if !bufs.is_empty() => {
                let index = usize::from(index) % bufs.len();
                bufs.swap_remove(index);
            }
            _ => {}
        }
    }
    for (raw, out) in raws {
        assert_eq!(pool.release_raw(raw).is_ok(), out);
    }
    drop(bufs);
    assert_eq!(pool.stats().in_use, 0, "every buffer is home");
});
