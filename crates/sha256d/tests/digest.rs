//! Hashes of whole messages, beside the crate `sha2`.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use zcn_sha256d::{Engine, Sha256d, merkle_path, merkle_root, sha256d};

fn oracle(message: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(message)).into()
}

#[test]
fn messages_of_every_length_around_the_blocks() {
    let mut bytes = [0; 300];
    Pcg64Mcg::seed_from_u64(11).fill_bytes(&mut bytes);
    for length in 0..bytes.len() {
        let message = &bytes[..length];
        assert_eq!(sha256d(message), oracle(message), "{length}");
    }
}

#[test]
fn messages_in_parts_of_every_length() {
    let mut bytes = [0; 400];
    Pcg64Mcg::seed_from_u64(14).fill_bytes(&mut bytes);
    for step in (1..70).chain([127, 128, 129, 300]) {
        let mut parts = Sha256d::new();
        let mut length = 0;
        for part in bytes.chunks(step) {
            parts.update(part);
            length += part.len();
            // A hash in between does not end the message.
            assert_eq!(
                parts.finish(),
                oracle(&bytes[..length]),
                "{length} by {step}"
            );
        }
        parts.update(&[]);
        assert_eq!(parts.clone().finish(), oracle(&bytes), "by {step}");
    }
}

#[test]
fn the_path_from_the_first_leaf_leads_to_the_root() {
    let mut rng = Pcg64Mcg::seed_from_u64(15);
    let mut hashes = [[0; 32]; 33];
    for hash in &mut hashes {
        rng.fill_bytes(hash);
    }
    let (leaf, branches) = hashes.split_first().unwrap();
    for count in 0..=branches.len() {
        let branches = &branches[..count];
        let root = branches
            .iter()
            .fold(*leaf, |node, branch| oracle(&[node, *branch].concat()));
        assert_eq!(merkle_path(leaf, branches), root, "{count}");
    }
}

#[test]
fn many_messages_at_once_by_every_engine() {
    let mut rng = Pcg64Mcg::seed_from_u64(12);
    let mut messages = [[0; 64]; 70];
    for message in &mut messages {
        rng.fill_bytes(message);
    }
    let expected: Vec<_> = messages.iter().map(|message| oracle(message)).collect();
    for engine in Engine::supported() {
        for count in (0..40).chain([64, 70]) {
            let mut hashes = vec![[0; 32]; count];
            engine.sha256d_64(&messages[..count], &mut hashes);
            assert_eq!(hashes, expected[..count], "{}, {count}", engine.kind());
        }
    }
}

#[test]
fn the_root_of_a_tree_of_any_size() {
    fn plain(mut level: Vec<[u8; 32]>) -> Option<[u8; 32]> {
        while level.len() > 1 {
            let pair = |pair: &[[u8; 32]]| oracle(&[pair[0], pair[pair.len() - 1]].concat());
            level = level.chunks(2).map(pair).collect();
        }
        level.first().copied()
    }
    let mut rng = Pcg64Mcg::seed_from_u64(13);
    let mut leaves = vec![[0; 32]; 300];
    for leaf in &mut leaves {
        rng.fill_bytes(leaf);
    }
    for engine in Engine::supported() {
        for count in (0..20).chain([127, 128, 129, 130, 131, 255, 257, 300]) {
            let root = merkle_root(&engine, &mut leaves[..count].to_vec());
            assert_eq!(root, plain(leaves[..count].to_vec()), "{count}");
        }
    }
}

/// Block 100000 has four transactions.
#[test]
fn the_merkle_root_of_a_known_block() {
    let hex = |text: &str| -> [u8; 32] {
        std::array::from_fn(|i| {
            let at = text.len() - 2 * i - 2;
            u8::from_str_radix(&text[at..at + 2], 16).unwrap()
        })
    };
    let mut leaves = [
        "8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87",
        "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
        "6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4",
        "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
    ]
    .map(hex);
    let root = hex("f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766");
    assert_eq!(merkle_root(&Engine::best(), &mut leaves), Some(root));
}
