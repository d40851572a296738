//! Operations on buffers and their slices, against vectors.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zcn_pool::{BufferPool, SharedBuf};

#[derive(Arbitrary, Debug)]
enum Step {
    Extend(Vec<u8>),
    Prepend(Vec<u8>),
    Advance(u16),
    Truncate(u16),
    Share,
    SplitTo(u8, u16),
    SplitOff(u8, u16),
    Clone(u8),
    AdvanceSlice(u8, u16),
    ThroughBytes(u8),
    Drop(u8),
    Unshare(u8),
}

fn pick<T>(list: &[T], index: u8) -> Option<usize> {
    (!list.is_empty()).then(|| usize::from(index) % list.len())
}

fuzz_target!(|steps: Vec<Step>| {
    let pool = BufferPool::builder()
        .buffer_size(4096)
        .count(4)
        .build()
        .expect("four buffers");
    let local = pool.local();
    let mut buf = local.acquire().expect("a fresh pool").with_headroom(64);
    let mut model: Vec<u8> = Vec::new();
    let mut headroom = 64;
    let mut slices: Vec<(SharedBuf, Vec<u8>)> = Vec::new();
    for step in steps {
        match step {
            Step::Extend(bytes) => {
                if buf.extend_from_slice(&bytes).is_ok() {
                    model.extend_from_slice(&bytes);
                } else {
                    assert!(headroom + model.len() + bytes.len() > 4096);
                }
            }
            Step::Prepend(bytes) => {
                if buf.prepend(&bytes).is_ok() {
                    headroom -= bytes.len();
                    model.splice(..0, bytes);
                } else {
                    assert!(bytes.len() > headroom);
                }
            }
            Step::Advance(count) => {
                let count = usize::from(count).min(model.len());
                buf.advance(count);
                headroom += count;
                model.drain(..count);
            }
            Step::Truncate(len) => {
                buf.truncate(len.into());
                model.truncate(len.into());
            }
            Step::Share => {
                let Some(next) = local.acquire() else { continue };
                let full = std::mem::replace(&mut buf, next.with_headroom(64));
                headroom = 64;
                slices.push((full.into(), std::mem::take(&mut model)));
            }
            Step::SplitTo(index, at) => {
                let Some(index) = pick(&slices, index) else { continue };
                let (slice, bytes) = &mut slices[index];
                let at = usize::from(at).min(bytes.len());
                let front = slice.split_to(at);
                let back = bytes.split_off(at);
                let front_bytes = std::mem::replace(bytes, back);
                slices.push((front, front_bytes));
            }
            Step::SplitOff(index, at) => {
                let Some(index) = pick(&slices, index) else { continue };
                let (slice, bytes) = &mut slices[index];
                let at = usize::from(at).min(bytes.len());
                let tail = (slice.split_off(at), bytes.split_off(at));
                slices.push(tail);
            }
            Step::Clone(index) => {
                let Some(index) = pick(&slices, index) else { continue };
                let copy = slices[index].clone();
                slices.push(copy);
            }
            Step::AdvanceSlice(index, count) => {
                let Some(index) = pick(&slices, index) else { continue };
                let (slice, bytes) = &mut slices[index];
                let count = usize::from(count).min(bytes.len());
                slice.advance(count);
                bytes.drain(..count);
            }
            Step::ThroughBytes(index) => {
                let Some(index) = pick(&slices, index) else { continue };
                let (slice, bytes) = slices.swap_remove(index);
                let through = bytes::Bytes::from(slice);
                assert_eq!(&through[..], &bytes[..]);
                slices.push((SharedBuf::from(through), bytes));
            }
            Step::Drop(index) => {
                let Some(index) = pick(&slices, index) else { continue };
                slices.swap_remove(index);
            }
            Step::Unshare(index) => {
                let Some(index) = pick(&slices, index) else { continue };
                let (slice, bytes) = slices.swap_remove(index);
                match slice.try_into_buf() {
                    Ok(unique) => assert_eq!(&unique[..], &bytes[..]),
                    Err(slice) => slices.push((slice, bytes)),
                }
            }
        }
        assert_eq!(&buf[..], &model[..]);
        for (slice, bytes) in &slices {
            assert_eq!(&slice[..], &bytes[..]);
        }
    }
    drop(buf);
    drop(slices);
    assert_eq!(pool.stats().in_use, 0, "every buffer is home");
});
