//! Chains and frames against plain vectors of bytes.

use bytes::Bytes;
use proptest::prelude::*;
use zcn_frame::{Chain, Frame, HEAD_MAX, Head, SLICES_MAX};
use zcn_pool::SharedBuf;

fn slices() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..=SLICES_MAX)
}

fn chain_of(slices: &[Vec<u8>]) -> Chain {
    let mut chain = Chain::new();
    for slice in slices {
        chain
            .push(SharedBuf::from(Bytes::from(slice.clone())))
            .expect("as many as fit");
    }
    chain
}

fn assert_is(chain: &Chain, bytes: &[u8]) {
    assert_eq!(chain.to_vec(), bytes);
    assert_eq!(chain.len(), bytes.len());
    assert_eq!(chain.is_empty(), bytes.is_empty());
    assert!(chain.slices().iter().all(|slice| !slice.is_empty()));
}

proptest! {
    #[test]
    fn a_chain_is_the_concatenation_of_its_slices(
        slices in slices(),
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = slices.concat();
        let chain = chain_of(&slices);
        assert_is(&chain, &bytes);

        let at = at.index(bytes.len() + 1);
        let mut rest = chain.clone();
        let head = rest.split_to(at);
        assert_is(&head, &bytes[..at]);
        assert_is(&rest, &bytes[at..]);

        let mut advanced = chain.clone();
        advanced.advance(at);
        assert_is(&advanced, &bytes[at..]);

        let cut = cut.index(bytes.len() + 1);
        advanced.truncate(cut);
        let end = bytes.len().min(at + cut);
        assert_is(&advanced, &bytes[at..end]);

        let mut target = vec![0; cut];
        let copied = chain.copy_to_slice(at, &mut target);
        prop_assert_eq!(copied, end - at);
        prop_assert_eq!(&target[..copied], &bytes[at..end]);

        // Of a chain whose first slices were taken, as of a whole one.
        let mut both = head;
        if both.append(&mut rest) {
            assert_is(&rest, &[]);
            assert_is(&both, &bytes);
        }
        let mut drained = both.split_to(at.min(both.len())).to_vec();
        drained.extend(both.drain().flat_map(|slice| slice.to_vec()));
        drained.extend(rest.clone().into_iter().flat_map(|slice| slice.to_vec()));
        prop_assert_eq!(&drained, &bytes);
        assert_is(&both, &[]);
        drop(rest.drain());
        assert_is(&rest, &[]);

        let joined: Vec<u8> = chain.into_iter().flat_map(|slice| slice.to_vec()).collect();
        prop_assert_eq!(joined, bytes);
    }

    #[test]
    fn a_frame_is_its_head_and_its_body(
        head in prop::collection::vec(any::<u8>(), 0..=HEAD_MAX),
        slices in slices(),
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = Frame::new(Head::new());
        frame.head.extend_from_slice(&head).expect("fits");
        frame.body = chain_of(&slices);
        let bytes = [head.clone(), slices.concat()].concat();
        prop_assert_eq!(frame.to_vec(), bytes.clone());
        let gathered: Vec<u8> = frame.io_slices().flat_map(|part| part.to_vec()).collect();
        prop_assert_eq!(gathered, bytes.clone());
        prop_assert_eq!(frame.io_slices().count(), frame.parts());

        let at = at.index(bytes.len() + 1);
        let mut pulled = frame.clone();
        let possible = at <= HEAD_MAX || at <= pulled.linear().len();
        prop_assert_eq!(pulled.pull(at), possible);
        if possible {
            prop_assert_eq!(&pulled.linear()[..at], &bytes[..at]);
        }
        prop_assert_eq!(pulled.to_vec(), bytes.clone());

        frame.advance(at);
        prop_assert_eq!(frame.to_vec(), bytes[at..].to_vec());
        prop_assert_eq!(frame.clone().into_body().to_vec(), bytes[at..].to_vec());
        let cut = cut.index(bytes.len() + 1);
        frame.truncate(cut);
        prop_assert_eq!(frame.to_vec(), bytes[at..bytes.len().min(at + cut)].to_vec());
    }
}

#[test]
fn a_full_chain_gives_the_slice_back() {
    let mut chain = chain_of(&vec![vec![1]; SLICES_MAX]);
    let back = chain.push(SharedBuf::from_static(b"x")).expect_err("full");
    assert_eq!(&back.0[..], b"x");
    chain.push(SharedBuf::new()).expect("nothing needs no room");
    let mut other = chain_of(&[vec![2]]);
    assert!(!chain.append(&mut other));
    assert_eq!(other.to_vec(), [2]);
    chain.advance(1);
    assert!(chain.append(&mut other));
    assert!(other.is_empty());
    assert_eq!(chain.len(), SLICES_MAX);
}

#[test]
fn a_pull_beyond_the_frame_changes_nothing() {
    let mut frame = Frame::from(SharedBuf::from_static(b"short"));
    assert!(!frame.pull(6));
    assert!(frame.head.is_empty());
    assert_eq!(frame.to_vec(), b"short");
}
