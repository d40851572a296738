//! Both ends of Stratum V2 against the reference codec, which frames and encrypts by itself.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use codec_sv2::{
    Decrypted, EncodableFrame, Handshake, MessageFrame, NoiseDecoder, NoiseEncoder,
    TransportDecryptState, TransportEncryptState,
};
use common_messages_sv2 as common;
use mining_sv2 as mining;
use noise_sv2::{Initiator, Responder};
use zcn_stratum::Target;
use zcn_stratum::inline::Extranonce;
use zcn_stratum::v2::client::{Channel, Event};
use zcn_stratum::v2::server::ServerEvent;
use zcn_stratum::v2::work::Root;
use zcn_stratum::v2::{AuthoritySecret, ClientConfig, ClientSession, ServerConfig, ServerSession};

const SECRET: [u8; 32] = [7; 32];

fn secret() -> AuthoritySecret {
    AuthoritySecret::new(&SECRET).expect("a secret")
}

/// The reference takes the time of the day from the system.
fn unix_s() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs() as u32
}

/// The other end of a connection that is open.
struct Reference {
    encrypt: TransportEncryptState,
    decrypt: Option<TransportDecryptState>,
    encoder: NoiseEncoder,
    decoder: NoiseDecoder,
}

impl Reference {
    fn new((encrypt, decrypt): (TransportEncryptState, TransportDecryptState)) -> Self {
        Self {
            encrypt,
            decrypt: Some(decrypt),
            encoder: NoiseEncoder::new(),
            decoder: NoiseDecoder::new(),
        }
    }

    fn say<T>(&mut self, message: T, kind: u8, for_channel: bool) -> Vec<u8>
    where
        MessageFrame<T>: EncodableFrame,
        T: binary_sv2::Serialize + binary_sv2::GetSize,
    {
        let frame = MessageFrame::from_message(message, kind, 0, for_channel).expect("short");
        let bytes = self.encoder.encode_transport(frame, &mut self.encrypt);
        bytes.expect("it encrypts").to_vec()
    }

    /// All frames in `bytes`: number, whether it is for a channel, payload.
    fn hear(&mut self, mut bytes: &[u8]) -> Vec<(u8, bool, Vec<u8>)> {
        let mut frames = Vec::new();
        loop {
            // What is asked for to be written to counts as written.
            if bytes.is_empty() && self.decoder.writable_len() > 0 {
                return frames;
            }
            let into = self.decoder.writable();
            let (now, later) = bytes.split_at(into.len());
            into.copy_from_slice(now);
            bytes = later;
            let state = self.decrypt.take().expect("it goes on");
            self.decrypt = Some(match self.decoder.next_transport_frame(state) {
                Ok(Decrypted::Incomplete(_, state)) => state,
                Ok(Decrypted::Frame(mut frame, state)) => {
                    let header = frame.header();
                    let payload = frame.payload().to_vec();
                    frames.push((header.msg_type(), header.channel_msg(), payload));
                    state
                }
                Err(error) => panic!("{error:?}"),
            });
        }
    }
}

#[test]
fn our_miner_and_the_reference_codec_understand_each_other() {
    let now = Instant::now();
    let mut config = ClientConfig::new(secret().public(), "pool.example", 3336, "worker");
    config.channel = Channel::Extended {
        min_extranonce_len: 6,
    };
    let mut miner = ClientSession::new(config, now, unix_s(), [1; 32]);
    let public = secret().public().to_bytes();
    let responder = Responder::from_authority_kp(&public, &SECRET, Duration::from_secs(60));
    let handshake = Handshake::responder(responder.expect("a key pair"));
    let first = miner.output().try_into().expect("64 bytes");
    let (second, transport) = handshake.step_1(first).expect("a handshake");
    miner.consume_output(64);
    let mut pool = Reference::new(transport.split());
    miner
        .handle_bytes(now, second.payload())
        .expect("a good pool");

    let mut said = pool.hear(miner.output());
    miner.consume_output(miner.output().len());
    let (kind, for_channel, payload) = &mut said[0];
    assert_eq!((*kind, *for_channel), (0x00, false));
    let setup: common::SetupConnection<'_> = binary_sv2::from_bytes(payload).expect("parses");
    assert_eq!(setup.protocol, common::Protocol::MiningProtocol);
    assert_eq!(setup.get_version(2, 2), Some(2));
    assert_eq!(setup.endpoint_host.as_bytes(), b"pool.example");

    let success = common::SetupConnectionSuccess {
        used_version: 2,
        flags: 0,
    };
    let bytes = pool.say(success, 0x01, false);
    miner.handle_bytes(now, &bytes).expect("a good pool");
    let mut said = pool.hear(miner.output());
    miner.consume_output(miner.output().len());
    let (kind, for_channel, payload) = &mut said[0];
    assert_eq!((*kind, *for_channel), (0x13, false));
    let open: mining::OpenExtendedMiningChannel<'_> =
        binary_sv2::from_bytes(payload).expect("parses");
    assert_eq!(open.user_identity.as_bytes(), b"worker");
    assert_eq!(open.min_extranonce_size, 6);

    let opened = mining::OpenExtendedMiningChannelSuccess {
        request_id: open.request_id,
        channel_id: 77,
        target: (&[0xff; 32]).into(),
        extranonce_size: 6,
        extranonce_prefix: (&[9u8, 8, 7][..]).try_into().expect("short"),
        group_channel_id: 0,
    };
    // Each of the two is longer than a record: the frame travels in three.
    let (front, back) = (vec![0xaa; 65_000], vec![0xbb; 65_000]);
    let job = mining::NewExtendedMiningJob {
        channel_id: 77,
        job_id: 5,
        min_ntime: binary_sv2::Sv2Option::new(None),
        version: 0x2000_0000,
        version_rolling_allowed: true,
        merkle_path: binary_sv2::Seq0255::new(vec![(&[3; 32]).into()]).expect("short"),
        coinbase_tx_prefix: front.as_slice().try_into().expect("short"),
        coinbase_tx_suffix: back.as_slice().try_into().expect("short"),
    };
    let block = mining::SetNewPrevHash {
        channel_id: 77,
        job_id: 5,
        prev_hash: (&[4; 32]).into(),
        min_ntime: 1_700_000_000,
        nbits: 0x207f_ffff,
    };
    let mut bytes = pool.say(opened, 0x14, false);
    bytes.extend(pool.say(job, 0x1f, true));
    bytes.extend(pool.say(block, 0x20, true));
    // In pieces that end nowhere in particular.
    for part in bytes.chunks(1009) {
        miner.handle_bytes(now, part).expect("a good pool");
    }
    let events: Vec<Event> = std::iter::from_fn(|| miner.poll_event()).collect();
    let [Event::Opened { .. }, Event::NewBlock, Event::Work(key)] = events[..] else {
        panic!("{events:?}");
    };
    let work = miner.work(key).expect("kept").clone();
    let Root::Rolled { job, .. } = &work.root else {
        panic!("extended");
    };
    assert_eq!((&job.coinbase_1, &job.coinbase_2), (&front, &back));
    assert_eq!(work.prefix.as_bytes(), [9, 8, 7]);

    let extranonce = Extranonce::new(&[1, 2, 3, 4, 5, 6]).expect("short");
    let share = work.share(extranonce, 0x2000_2000, 1_700_000_001, 42);
    miner.submit(now, &share).expect("ready");
    let mut said = pool.hear(miner.output());
    let (kind, for_channel, payload) = &mut said[0];
    assert_eq!((*kind, *for_channel), (0x1b, true));
    let sent: mining::SubmitSharesExtended<'_> = binary_sv2::from_bytes(payload).expect("parses");
    assert_eq!((sent.channel_id, sent.job_id, sent.nonce), (77, 5, 42));
    assert_eq!((sent.version, sent.ntime), (0x2000_2000, 1_700_000_001));
    assert_eq!(sent.extranonce.as_bytes(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn our_pool_and_the_reference_codec_understand_each_other() {
    let now = Instant::now();
    let prefix = Extranonce::new(&[1, 2, 3, 4]).expect("short");
    let config = ServerConfig::new(secret(), prefix, Target::MAX);
    let mut pool = ServerSession::new(config, now, unix_s(), [2; 32]);
    let initiator = Initiator::from_raw_k(secret().public().to_bytes()).expect("a key");
    let handshake = Handshake::initiator(initiator);
    let (first, handshake) = handshake.step_0().expect("a handshake");
    pool.handle_bytes(now, first.payload())
        .expect("a good miner");
    let second = pool.output().try_into().expect("234 bytes");
    let transport = handshake.step_2(second).expect("a handshake");
    pool.consume_output(pool.output().len());
    let mut miner = Reference::new(transport.split());

    let text = |words: &'static [u8]| binary_sv2::Str0255::new(words).expect("short");
    let setup = common::SetupConnection {
        protocol: common::Protocol::MiningProtocol,
        min_version: 2,
        max_version: 2,
        flags: 1,
        endpoint_host: text(b"here"),
        endpoint_port: 1,
        vendor: text(b"reference"),
        hardware_version: text(b""),
        firmware: text(b""),
        device_id: text(b""),
    };
    let open = mining::OpenStandardMiningChannel {
        request_id: 3,
        user_identity: text(b"worker"),
        nominal_hash_rate: 1e6,
        max_target: (&[0xff; 32]).into(),
    };
    let mut bytes = miner.say(setup, 0x00, false);
    bytes.extend(miner.say(open, 0x10, false));
    pool.handle_bytes(now, &bytes).expect("a good miner");
    let job = zcn_stratum::Job {
        nbits: 0x1d00_ffff,
        ntime: 1_700_000_000,
        ..zcn_stratum::Job::default()
    };
    pool.announce(now, &Arc::new(job)).expect("short");
    let mut said = miner.hear(pool.output());
    pool.consume_output(pool.output().len());
    let kinds: Vec<_> = said.iter().map(|(kind, bit, _)| (*kind, *bit)).collect();
    assert_eq!(
        kinds,
        [(0x01, false), (0x11, false), (0x15, true), (0x20, true)]
    );
    let opened: mining::OpenStandardMiningChannelSuccess<'_> =
        binary_sv2::from_bytes(&mut said[1].2).expect("parses");
    assert_eq!((opened.request_id, opened.channel_id), (3, 1));
    let channel_id = opened.channel_id;
    let job: mining::NewMiningJob<'_> = binary_sv2::from_bytes(&mut said[2].2).expect("parses");
    assert!(job.is_future());

    // Any hash meets the target.
    let share = mining::SubmitSharesStandard {
        channel_id,
        sequence_number: 9,
        job_id: job.job_id,
        nonce: 1,
        ntime: 1_700_000_000,
        version: job.version,
    };
    let bytes = miner.say(share, 0x1a, true);
    pool.handle_bytes(now, &bytes).expect("a good miner");
    let mut said = miner.hear(pool.output());
    assert_eq!((said[0].0, said[0].1), (0x1c, true));
    let success: mining::SubmitSharesSuccess =
        binary_sv2::from_bytes(&mut said[0].2).expect("parses");
    assert_eq!(success.last_sequence_number, 9);
    let told: Vec<_> = std::iter::from_fn(|| pool.poll_event()).collect();
    assert!(
        matches!(
            told[..],
            [ServerEvent::Opened { .. }, ServerEvent::Share(_)]
        ),
        "{told:?}"
    );
}
