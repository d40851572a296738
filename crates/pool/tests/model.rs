//! Random steps on buffers and slices, beside the same steps on plain vectors.
//!
//! A failure prints the steps, reduced to the fewest that fail, and the seed to repeat
//! them with.

use bytes::Bytes;
use proptest::prelude::*;
use zcn_pool::{Buf, BufferPool, SharedBuf};

const SIZE: usize = 4096;

#[derive(Debug, Clone)]
enum OnBuf {
    Headroom(usize),
    Extend(Vec<u8>),
    Prepend(Vec<u8>),
    Advance(usize),
    Truncate(usize),
    SetLen(usize),
    WriteSpare(u8),
    Clear,
    Raw,
    Share,
}

/// A buffer's bytes and what lies before them, as a vector would have it.
#[derive(Clone)]
struct Model {
    memory: Vec<u8>,
    from: usize,
    to: usize,
}

fn on_buf() -> impl Strategy<Value = OnBuf> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..3000);
    prop_oneof![
        (0..=SIZE).prop_map(OnBuf::Headroom),
        bytes().prop_map(OnBuf::Extend),
        bytes().prop_map(OnBuf::Prepend),
        (0..SIZE).prop_map(OnBuf::Advance),
        (0..2 * SIZE).prop_map(OnBuf::Truncate),
        (0..=SIZE).prop_map(OnBuf::SetLen),
        any::<u8>().prop_map(OnBuf::WriteSpare),
        Just(OnBuf::Clear),
        Just(OnBuf::Raw),
        Just(OnBuf::Share),
    ]
}

fn step(pool: &BufferPool, mut buf: Buf, model: &mut Model, step: OnBuf) -> Buf {
    match step {
        OnBuf::Headroom(headroom) => {
            if model.from == model.to {
                buf = buf.with_headroom(headroom);
                (model.from, model.to) = (headroom, headroom);
            }
        }
        OnBuf::Extend(bytes) => {
            let fits = bytes.len() <= SIZE - model.to;
            assert_eq!(buf.extend_from_slice(&bytes).is_ok(), fits);
            if fits {
                model.memory[model.to..][..bytes.len()].copy_from_slice(&bytes);
                model.to += bytes.len();
            }
        }
        OnBuf::Prepend(bytes) => {
            let fits = bytes.len() <= model.from;
            assert_eq!(buf.prepend(&bytes).is_ok(), fits);
            if fits {
                model.from -= bytes.len();
                model.memory[model.from..][..bytes.len()].copy_from_slice(&bytes);
            }
        }
        OnBuf::Advance(count) => {
            let count = count.min(model.to - model.from);
            buf.advance(count);
            model.from += count;
        }
        OnBuf::Truncate(len) => {
            buf.truncate(len);
            model.to = model.to.min(model.from + len);
        }
        OnBuf::SetLen(len) => {
            let len = len.min(buf.capacity());
            buf.set_len(len);
            model.to = model.from + len;
        }
        OnBuf::WriteSpare(byte) => {
            buf.spare_capacity().fill(byte);
            model.memory[model.to..].fill(byte);
        }
        OnBuf::Clear => {
            buf.clear();
            (model.from, model.to) = (0, 0);
        }
        OnBuf::Raw => buf = pool.from_raw(buf.into_raw()).unwrap(),
        OnBuf::Share => buf = SharedBuf::from(buf).try_into_buf().unwrap(),
    }
    assert_eq!(buf[..], model.memory[model.from..model.to]);
    assert_eq!(buf.headroom(), model.from);
    assert_eq!(buf.capacity(), SIZE - model.from);
    assert_eq!(buf.as_mut_capacity(), &model.memory[model.from..]);
    buf
}

#[derive(Debug, Clone)]
enum OnSlices {
    SplitTo(usize, usize),
    SplitOff(usize, usize),
    Slice(usize, usize, usize),
    Clone(usize),
    Advance(usize, usize),
    Truncate(usize, usize),
    Drop(usize),
    ThroughBytes(usize),
    ThroughBuf(usize),
}

fn on_slices() -> impl Strategy<Value = OnSlices> {
    let which = || 0..usize::MAX;
    let at = || 0..=SIZE;
    prop_oneof![
        (which(), at()).prop_map(|(i, n)| OnSlices::SplitTo(i, n)),
        (which(), at()).prop_map(|(i, n)| OnSlices::SplitOff(i, n)),
        (which(), at(), at()).prop_map(|(i, n, m)| OnSlices::Slice(i, n, m)),
        which().prop_map(OnSlices::Clone),
        (which(), at()).prop_map(|(i, n)| OnSlices::Advance(i, n)),
        (which(), at()).prop_map(|(i, n)| OnSlices::Truncate(i, n)),
        which().prop_map(OnSlices::Drop),
        which().prop_map(OnSlices::ThroughBytes),
        which().prop_map(OnSlices::ThroughBuf),
    ]
}

type Both = (SharedBuf, Vec<u8>);

fn act(all: &mut Vec<Both>, action: OnSlices) {
    let last = all.len();
    let pick = |which: usize| which % last;
    match action {
        OnSlices::SplitTo(which, at) => {
            let (shared, model) = &mut all[pick(which)];
            let at = at.min(model.len());
            let rest = model.split_off(at);
            let head = (shared.split_to(at), std::mem::replace(model, rest));
            all.push(head);
        }
        OnSlices::SplitOff(which, at) => {
            let (shared, model) = &mut all[pick(which)];
            let at = at.min(model.len());
            let tail = (shared.split_off(at), model.split_off(at));
            all.push(tail);
        }
        OnSlices::Slice(which, from, to) => {
            let (shared, model) = &all[pick(which)];
            let (from, to) = (from.min(to).min(model.len()), from.max(to).min(model.len()));
            let part = (shared.slice(from..to), model[from..to].to_vec());
            all.push(part);
        }
        OnSlices::Clone(which) => {
            let copy = all[pick(which)].clone();
            all.push(copy);
        }
        OnSlices::Advance(which, count) => {
            let (shared, model) = &mut all[pick(which)];
            let count = count.min(model.len());
            shared.advance(count);
            model.drain(..count);
        }
        OnSlices::Truncate(which, len) => {
            let (shared, model) = &mut all[pick(which)];
            shared.truncate(len);
            model.truncate(len);
        }
        OnSlices::Drop(which) => {
            if last > 1 {
                all.swap_remove(pick(which));
            }
        }
        OnSlices::ThroughBytes(which) => {
            let (shared, _) = &mut all[pick(which)];
            *shared = Bytes::from(std::mem::take(shared)).into();
        }
        OnSlices::ThroughBuf(which) => {
            let (shared, model) = &mut all[pick(which)];
            let unique = shared.is_unique();
            match std::mem::take(shared).try_into_buf() {
                Ok(mut buf) => {
                    assert!(unique);
                    // Nobody else may see this.
                    buf.iter_mut().for_each(|byte| *byte ^= 0xFF);
                    model.iter_mut().for_each(|byte| *byte ^= 0xFF);
                    *shared = buf.into();
                }
                Err(same) => {
                    assert!(!unique);
                    *shared = same;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn buffer_is_as_a_vector_would_be(steps in prop::collection::vec(on_buf(), 1..60)) {
        let pool = BufferPool::builder().count(2).build().unwrap();
        let mut buf = pool.acquire().unwrap();
        let mut model = Model { memory: vec![0; SIZE], from: 0, to: 0 };
        for next in steps {
            buf = step(&pool, buf, &mut model, next);
        }
        drop(buf);
        prop_assert_eq!(pool.stats().in_use, 0);
    }

    #[test]
    fn slices_are_as_vectors_would_be(
        content in prop::collection::vec(any::<u8>(), 0..SIZE),
        actions in prop::collection::vec(on_slices(), 1..80),
    ) {
        let pool = BufferPool::builder().count(2).build().unwrap();
        let mut buf = pool.acquire().unwrap();
        buf.extend_from_slice(&content).unwrap();
        let mut all: Vec<Both> = vec![(buf.into(), content)];
        for action in actions {
            act(&mut all, action);
            for (shared, model) in &all {
                prop_assert_eq!(&shared[..], &model[..]);
            }
        }
        drop(all);
        prop_assert_eq!(pool.stats().in_use, 0);
        prop_assert_eq!(pool.stats().free, 2);
    }
}
