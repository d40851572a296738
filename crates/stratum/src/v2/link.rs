//! Frames over Noise: the handshake, then records out and in.
//!
//! A frame is a header of six bytes (extension and channel bit, type, length) and a payload. Each
//! travels encrypted with 16 bytes of tag: the header as a record of its own, the payload in
//! records of at most 65,535 bytes.

use std::fmt;

use noise_sv2::{
    AEAD_MAC_LEN, ELLSWIFT_ENCODING_SIZE, INITIATOR_EXPECTED_HANDSHAKE_MESSAGE_SIZE, Initiator,
    NoiseEngine, Responder,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use thiserror::Error;

use super::key::{AuthorityKey, AuthoritySecret};
use crate::output::Output;

/// Bytes of a frame's header.
const HEADER: usize = 6;
/// Bytes of plain text in the longest record.
const MAX_RECORD: usize = 65_535 - AEAD_MAC_LEN;
/// So many bytes of text in place of a key are no accident: one key in 10^10 begins so.
const PLAIN_TEXT: usize = 24;
/// Set in the extension field of messages for one channel.
const CHANNEL_BIT: u16 = 1 << 15;

/// What ends a connection below its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The other side is not who it should be, its certificate is over, or it speaks something
    /// else.
    #[error("a handshake that fails: another key, an outdated certificate, or no Stratum V2")]
    Handshake,
    /// The other side speaks in the clear.
    #[error("plain text where the handshake belongs: Stratum V1, it seems")]
    PlainText,
    /// A record is not what the other side has encrypted.
    #[error("a record that does not decrypt")]
    Record,
    /// A frame is longer than the bound.
    #[error("a frame of {len} bytes where {max} are the bound")]
    TooLong {
        /// Bytes that it says it has.
        len: usize,
        /// The bound.
        max: usize,
    },
}

/// A message as it travels.
#[derive(Debug)]
pub(super) struct Frame {
    /// What extension it belongs to; 0 is the protocol itself.
    pub(super) extension: u16,
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

enum Stage {
    Initiator(Box<Initiator>),
    Responder(Box<Responder>, Box<ChaCha20Rng>),
    Open(Box<NoiseEngine>),
    Failed,
}

/// A frame of which the header was read.
struct Started {
    extension: u16,
    kind: u8,
    len: usize,
    payload: Vec<u8>,
}

/// One end of an encrypted connection.
pub(super) struct Link {
    stage: Stage,
    input: Vec<u8>,
    /// Bytes of `input` that are done with.
    read: usize,
    started: Option<Started>,
    output: Output,
    max_frame: usize,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("open", &self.is_open())
            .field("output", &self.output.waiting().len())
            .finish_non_exhaustive()
    }
}

impl Link {
    fn new(stage: Stage, max_frame: usize, max_output: usize) -> Self {
        Self {
            stage,
            input: Vec::new(),
            read: 0,
            started: None,
            output: Output::new(max_output),
            max_frame,
        }
    }

    /// The miner's end, which speaks first.
    pub(super) fn initiator(
        authority: AuthorityKey,
        seed: [u8; 32],
        max_frame: usize,
        max_output: usize,
    ) -> Self {
        let mut random = ChaCha20Rng::from_seed(seed);
        let mut initiator = Initiator::new_with_rng(Some(authority.point()), &mut random);
        let first = initiator.step_0();
        let mut link = Self::new(Stage::Initiator(initiator), max_frame, max_output);
        match first {
            Ok(first) => link.output.lines().extend_from_slice(&first),
            Err(_) => link.stage = Stage::Failed,
        }
        link
    }

    /// The pool's end; its certificate holds for `validity_s` seconds.
    pub(super) fn responder(
        secret: &AuthoritySecret,
        validity_s: u32,
        seed: [u8; 32],
        max_frame: usize,
        max_output: usize,
    ) -> Self {
        let mut random = ChaCha20Rng::from_seed(seed);
        let responder = Responder::new_with_rng(secret.pair(), validity_s, &mut random);
        let stage = Stage::Responder(responder, Box::new(random));
        Self::new(stage, max_frame, max_output)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Takes bytes of the other side; [`next`](Self::next) makes frames of them.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        // What is left is less than a record.
        self.input.drain(..self.read);
        self.read = 0;
        self.input.extend_from_slice(bytes);
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let bytes = self.input.get(self.read..self.read + count)?.to_vec();
        self.read += count;
        Some(bytes)
    }

    /// The next frame; `None` until there is more. `unix_s` is the time of the day, for the
    /// pool's certificate. After an error the link is of no more use.
    pub(super) fn next(&mut self, unix_s: u32) -> Result<Option<Frame>, LinkError> {
        let frame = self.advance(unix_s);
        if frame.is_err() {
            self.stage = Stage::Failed;
            self.input = Vec::new();
            self.read = 0;
        }
        frame
    }

    fn advance(&mut self, unix_s: u32) -> Result<Option<Frame>, LinkError> {
        if !self.is_open() && !self.shake(unix_s)? {
            return Ok(None);
        }
        let started = match self.started.take() {
            Some(started) => started,
            None => {
                let Some(record) = self.take(HEADER + AEAD_MAC_LEN) else {
                    return Ok(None);
                };
                let header = self.decrypt(record)?;
                let &[low, high, kind, a, b, c] = &header[..] else {
                    return Err(LinkError::Record);
                };
                let len = u32::from_le_bytes([a, b, c, 0]) as usize;
                if len > self.max_frame {
                    let max = self.max_frame;
                    return Err(LinkError::TooLong { len, max });
                }
                Started {
                    extension: u16::from_le_bytes([low, high]) & !CHANNEL_BIT,
                    kind,
                    len,
                    payload: Vec::new(),
                }
            }
        };
        self.finish(started)
    }

    /// Reads the records of a payload as far as they are there.
    fn finish(&mut self, mut started: Started) -> Result<Option<Frame>, LinkError> {
        while started.payload.len() < started.len {
            let left = started.len - started.payload.len();
            let Some(record) = self.take(left.min(MAX_RECORD) + AEAD_MAC_LEN) else {
                self.started = Some(started);
                return Ok(None);
            };
            let part = self.decrypt(record)?;
            started.payload.extend_from_slice(&part);
        }
        Ok(Some(Frame {
            extension: started.extension,
            kind: started.kind,
            payload: started.payload,
        }))
    }

    /// Goes on with the handshake; whether it is done.
    fn shake(&mut self, unix_s: u32) -> Result<bool, LinkError> {
        let count = match &self.stage {
            Stage::Initiator(_) => INITIATOR_EXPECTED_HANDSHAKE_MESSAGE_SIZE,
            Stage::Responder(..) => ELLSWIFT_ENCODING_SIZE,
            Stage::Open(_) => return Ok(true),
            Stage::Failed => return Err(LinkError::Handshake),
        };
        let text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        let begin = self.input.get(self.read..self.read + PLAIN_TEXT);
        if begin.is_some_and(|begin| begin.iter().all(text)) {
            return Err(LinkError::PlainText);
        }
        let Some(message) = self.take(count) else {
            return Ok(false);
        };
        let engine = match std::mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Initiator(mut initiator) => {
                let message = message.try_into().map_err(|_| LinkError::Handshake)?;
                initiator
                    .step_2_with_now(message, unix_s)
                    .map_err(|_| LinkError::Handshake)?
            }
            Stage::Responder(mut responder, mut random) => {
                let message = message.try_into().map_err(|_| LinkError::Handshake)?;
                let (answer, engine) = responder
                    .step_1_with_now_rng(message, unix_s, &mut *random)
                    .map_err(|_| LinkError::Handshake)?;
                self.output.lines().extend_from_slice(&answer);
                engine
            }
            Stage::Open(_) | Stage::Failed => return Err(LinkError::Handshake),
        };
        self.stage = Stage::Open(Box::new(engine));
        Ok(true)
    }

    fn decrypt(&mut self, mut record: Vec<u8>) -> Result<Vec<u8>, LinkError> {
        let Stage::Open(engine) = &mut self.stage else {
            return Err(LinkError::Handshake);
        };
        engine.decrypt(&mut record).map_err(|_| LinkError::Record)?;
        Ok(record)
    }

    fn encrypt(&mut self, plain: &[u8]) {
        let Stage::Open(engine) = &mut self.stage else {
            return;
        };
        let mut record = Vec::with_capacity(plain.len() + AEAD_MAC_LEN);
        record.extend_from_slice(plain);
        // Fails when 2^64 records were sent.
        match engine.encrypt(&mut record) {
            Ok(()) => self.output.lines().extend_from_slice(&record),
            Err(_) => self.stage = Stage::Failed,
        }
    }

    /// Sends a message; before the handshake is done it goes nowhere.
    pub(super) fn send(&mut self, kind: u8, for_channel: bool, payload: &[u8]) {
        let extension = if for_channel { CHANNEL_BIT } else { 0 };
        let [low, high] = extension.to_le_bytes();
        // Ours are of at most some 140,000 bytes; the field holds 24 bits.
        let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
        self.encrypt(&[low, high, kind, a, b, c]);
        for part in payload.chunks(MAX_RECORD) {
            self.encrypt(part);
        }
    }

    /// What waits to be sent.
    pub(super) fn output(&self) -> &[u8] {
        self.output.waiting()
    }

    pub(super) fn consume_output(&mut self, count: usize) {
        self.output.consume(count);
    }

    /// The other side does not read.
    pub(super) fn is_full(&self) -> bool {
        self.output.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 1_700_000_000;

    fn pair(max_frame: usize) -> (Link, Link) {
        let secret = AuthoritySecret::new(&[7; 32]).expect("a secret");
        let max = 1 << 20;
        let miner = Link::initiator(secret.public(), [1; 32], max_frame, max);
        (miner, Link::responder(&secret, 60, [2; 32], max_frame, max))
    }

    /// Carries what waits, `cut` bytes at a time.
    fn carry(from: &mut Link, to: &mut Link, cut: usize) -> Result<Vec<Frame>, LinkError> {
        let bytes = from.output().to_vec();
        from.consume_output(bytes.len());
        let mut frames = Vec::new();
        for part in bytes.chunks(cut) {
            to.receive(part);
            while let Some(frame) = to.next(NOW)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn open(max_frame: usize) -> (Link, Link) {
        let (mut miner, mut pool) = pair(max_frame);
        assert!(carry(&mut miner, &mut pool, 7).expect("good").is_empty());
        assert!(carry(&mut pool, &mut miner, 11).expect("good").is_empty());
        assert!(miner.is_open() && pool.is_open());
        (miner, pool)
    }

    #[test]
    fn frames_of_every_length_come_through_however_they_are_cut() {
        let (mut miner, mut pool) = open(200_000);
        for len in [1, 2, MAX_RECORD - 1, MAX_RECORD, MAX_RECORD + 1, 200_000, 0] {
            for cut in [13, 70_000] {
                let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
                miner.send(0x1a, true, &payload);
                miner.send(0x00, false, b"x");
                let frames = carry(&mut miner, &mut pool, cut).expect("good");
                assert_eq!(frames.len(), 2);
                assert_eq!((frames[0].extension, frames[0].kind), (0, 0x1a));
                assert_eq!(frames[0].payload, payload);
                assert_eq!(frames[1].payload, b"x");
            }
        }
        pool.send(1, false, b"back");
        let frames = carry(&mut pool, &mut miner, 1).expect("good");
        assert_eq!(frames[0].payload, b"back");
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_at_its_header() {
        let (mut miner, mut pool) = open(100);
        miner.send(1, false, &[0; 101]);
        let error = carry(&mut miner, &mut pool, HEADER + AEAD_MAC_LEN).expect_err("long");
        assert_eq!(error, LinkError::TooLong { len: 101, max: 100 });
        assert_eq!(pool.next(NOW).expect_err("over"), LinkError::Handshake);
    }

    #[test]
    fn a_changed_bit_is_found_in_every_record() {
        for at in [0, 5, 21, 22, 30, 41] {
            let (mut miner, mut pool) = open(100);
            miner.send(1, false, b"four");
            let mut bytes = miner.output().to_vec();
            assert_eq!(bytes.len(), HEADER + 4 + 2 * AEAD_MAC_LEN);
            bytes[at] ^= 1;
            pool.receive(&bytes);
            assert_eq!(pool.next(NOW).expect_err("changed"), LinkError::Record);
        }
    }

    #[test]
    fn another_key_and_an_outdated_certificate_are_refused() {
        let (mut miner, mut pool) = pair(100);
        carry(&mut miner, &mut pool, 64).expect("good");
        miner.receive(pool.output());
        // Ten seconds of leeway.
        assert_eq!(miner.next(NOW + 71).expect_err("old"), LinkError::Handshake);

        let (mut miner, mut pool) = pair(100);
        carry(&mut miner, &mut pool, 64).expect("good");
        let other = AuthoritySecret::new(&[8; 32]).expect("a secret").public();
        let mut other = Link::initiator(other, [1; 32], 100, 100);
        other.receive(pool.output());
        assert_eq!(other.next(NOW).expect_err("other"), LinkError::Handshake);
    }

    #[test]
    fn noise_that_is_none_fails_the_handshake() {
        let (mut miner, mut pool) = pair(100);
        miner.receive(&[0xd5; INITIATOR_EXPECTED_HANDSHAKE_MESSAGE_SIZE]);
        assert_eq!(miner.next(NOW).expect_err("noise"), LinkError::Handshake);
        // Any 64 bytes are a key; what follows does not decrypt.
        pool.receive(&[0xd5; 64 + 22]);
        assert_eq!(pool.next(NOW).expect_err("noise"), LinkError::Record);
    }

    #[test]
    fn plain_text_is_told_apart_before_it_is_all_there() {
        let (mut miner, mut pool) = pair(100);
        miner.receive(b"{\"id\":null,\"error\":\"no");
        assert!(miner.next(NOW).expect("too little to tell").is_none());
        miner.receive(b" JSON\"}\n");
        assert_eq!(miner.next(NOW).expect_err("text"), LinkError::PlainText);
        pool.receive(b"{\"id\":1,\"method\":\"mining.configure\"");
        assert_eq!(pool.next(NOW).expect_err("text"), LinkError::PlainText);
        assert!(pool.output().is_empty());
    }
}
