//! Sessions and blocks that happened: what a pool sent, what a miner answered, and the hash
//! that came of it.

use zcn_stratum::hash::Hash;
use zcn_stratum::header::Header;
use zcn_stratum::inline::{Extranonce, JobId};
use zcn_stratum::message::FromPool;
use zcn_stratum::share::Share;
use zcn_stratum::target::hash_difficulty;
use zcn_stratum::{Job, Target, hex};

/// A job out of a line of a pool.
fn job(line: &str) -> Job {
    let (message, id) = FromPool::parse(line.as_bytes()).expect("a message");
    assert_eq!(id, b"null");
    let FromPool::Notify(notify) = message else {
        panic!("not a job: {message:?}");
    };
    let mut job = Job::default();
    job.assign(&notify).expect("a job");
    job
}

fn share(job: &str, extranonce_2: &str, ntime: u32, nonce: u32, bits: Option<u32>) -> Share {
    Share {
        job_id: JobId::new(job.as_bytes()).expect("short"),
        extranonce_2: Extranonce::from_hex(extranonce_2.as_bytes()).expect("digits"),
        ntime,
        nonce,
        version_bits: bits,
    }
}

/// As people write it, the highest digit first.
fn shown(mut hash: Hash) -> String {
    hash.reverse();
    hex::encode(&hash)
}

fn bytes(digits: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    hex::decode_onto(digits.as_bytes(), &mut bytes).expect("digits");
    bytes
}

const SLUSH: &str = r#"{"params": ["bf", "4d16b6f85af6e2198f44ae2a6de67f78487ae5611b77c6c0440b921e00000000",
"01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff20020862062f503253482f04b8864e5008",
"072f736c7573682f000000000100f2052a010000001976a914d23fcdf86f7e756a64a7a9688ef9903327048ed988ac00000000", [],
"00000002", "1c2ac4af", "504e86b9", false], "id": null, "method": "mining.notify"}"#;

#[test]
fn the_slush_session_of_the_manual() {
    let job = job(SLUSH);
    let share = share("bf", "00000001", 0x504e_86ed, 0xb295_7c02, None);
    let header = job.header_of(&bytes("08000002"), 0, &share);
    assert_eq!(
        hex::encode(&header.to_bytes()),
        "02000000f8b6164d19e2f65a2aae448f787fe66d61e57a48c0c6771b1e920b44\
         0000000032414daa9ddac879fd2c62839b9ba710a3546363a5f5e22915d90dc3\
         b1699deced864e50afc42a1c027c95b2",
    );
    let hash = header.hash();
    assert!(
        shown(hash).starts_with("000000002076870f"),
        "{}",
        shown(hash)
    );
    assert_eq!(format!("{:.4}", hash_difficulty(&hash)), "7.8858");
    let met = |difficulty| {
        Target::from_difficulty(difficulty)
            .expect("a difficulty")
            .is_met_by(&hash)
    };
    assert!(met(7.88) && !met(7.89));
    // More than the block of that day asked for.
    let block = Target::from_compact(job.nbits).expect("a target");
    assert!(block.is_met_by(&hash) && block.difficulty() < 6.0);
}

const PUBLIC_POOL: &str = r#"{"method":"mining.notify","id":null,"params":["1",
"171592f223740e92d223f6e68bff25279af7ac4f2246451e0000000200000000",
"02000000010000000000000000000000000000000000000000000000000000000000000000ffffffff1903c943255c7075626c69632d706f6f6c5c",
"ffffffff037a90000000000000160014e6f22ca44dc800e9d049621a3b9a42c509f1c4bc3b0f250000000000160014e6f22ca44dc800e9d049621a3b9a42c509f1c4bc0000000000000000266a24aa21a9edbd3d1d916aa0b57326a2d88ebe1b68a1d7c48585f26d8335fe6a94b62755f64c00000000",
["175335649d5e8746982969ec88f52e85ac9917106fba5468e699c8879ab974a1",
 "d5644ab3e708c54cd68dc5aedc92b8d3037449687f92ec41ed6e37673d969d4a",
 "5c9ec187517edc0698556cca5ce27e54c96acb014770599ed9df4d4937fbf2b0"],
"20000000","192495f8","64b3f3ec",false]}"#;

#[test]
fn a_session_of_public_pool_with_branches_and_rolled_version() {
    let job = job(PUBLIC_POOL);
    let with = |bits| share("1", "c7080000", 0x64b3_f3ec, 0xed46_0d91, Some(bits));
    let difficulty = |bits| {
        let header = job.header_of(&bytes("57a6f098"), 0x1fff_e000, &with(bits));
        (header, hash_difficulty(&header.hash()))
    };
    let (header, rolled) = difficulty(0x0000_2000);
    assert_eq!(
        hex::encode(&header.to_bytes()),
        "00200020f2921517920e7423e6f623d22725ff8b4facf79a1e45462202000000\
         000000006b5d684a704b4abe62b2375c5326d1fc1dbb61168aff84e920ba2896\
         8bf1075fecf3b364f8952419910d46ed",
    );
    assert_eq!(format!("{rolled:.3}"), "669.868");
    let (_, unrolled) = difficulty(0);
    assert!((4e-10..6e-10).contains(&unrolled), "{unrolled}");
}

/// A block of the chain by the fields of its header, hashes as people write them.
fn block(version: u32, prev_hash: &str, root: &str, ntime: u32, nbits: u32, nonce: u32) -> Header {
    let [prev_hash, merkle_root] = [prev_hash, root].map(|digits| {
        let mut hash: Hash = hex::decode_array(digits.as_bytes()).expect("a hash");
        hash.reverse();
        hash
    });
    Header {
        version,
        prev_hash,
        merkle_root,
        ntime,
        nbits,
        nonce,
    }
}

#[test]
fn the_first_block() {
    let header = block(
        1,
        &"0".repeat(64),
        "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
        1_231_006_505,
        0x1d00_ffff,
        0x7c2b_ac1d,
    );
    let hash = header.hash();
    assert_eq!(
        shown(hash),
        "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    );
    assert_eq!(format!("{:.1}", hash_difficulty(&hash)), "2536.4");
    assert!(
        Target::from_compact(header.nbits)
            .expect("a target")
            .is_met_by(&hash)
    );
}

/// The coinbase of the first block, cut in two around four bytes, is a job like any other.
#[test]
fn the_first_block_as_a_job() {
    let coinbase = bytes(
        "01000000010000000000000000000000000000000000000000000000000000000000000000ffffffff4d04ff\
         ff001d0104455468652054696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e206272\
         696e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff0100f2052a01000000\
         434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f3\
         5504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac00000000",
    );
    for cut in [0, 42, 100, coinbase.len() - 4] {
        let job = Job {
            coinbase_1: coinbase[..cut].to_vec(),
            coinbase_2: coinbase[cut + 4..].to_vec(),
            version: 1,
            nbits: 0x1d00_ffff,
            ntime: 1_231_006_505,
            ..Job::default()
        };
        let (first, second) = (
            hex::encode(&coinbase[cut..cut + 1]),
            hex::encode(&coinbase[cut + 1..cut + 4]),
        );
        let share = share("x", &second, 1_231_006_505, 0x7c2b_ac1d, None);
        let hash = job.header_of(&bytes(&first), 0, &share).hash();
        assert!(shown(hash).starts_with("000000000019d668"), "cut at {cut}");
        let mut whole = Vec::new();
        job.write_coinbase(&bytes(&first), &bytes(&second), &mut whole);
        assert_eq!(whole, coinbase);
    }
}

#[test]
fn block_125552() {
    let header = block(
        1,
        "00000000000008a3a41b85b8b29ad444def299fee21793cd8b9e567eab02cd81",
        "2b12fcf1b09288fcaff797d71e950e71ae42b91e8bdb2304758dfcffc2b620e3",
        0x4dd7_f5c7,
        0x1a44_b9f2,
        0x9546_a142,
    );
    let hash = header.hash();
    assert!(
        shown(hash).starts_with("00000000000000001e8d6829"),
        "{}",
        shown(hash)
    );
    assert!(
        Target::from_compact(header.nbits)
            .expect("a target")
            .is_met_by(&hash)
    );
}
