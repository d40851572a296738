//! What a miner says to a pool.

use crate::inline::{Extranonce, JobId};
use crate::json::{Text, Value};
use crate::share::Share;
use crate::target::Target;

use super::params::hex_u32;
use super::{Message, MessageError};

/// A message of a miner.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum FromMiner<'a> {
    /// Which extensions it has (BIP 310).
    Configure(Configure),
    /// Wants jobs.
    Subscribe(Subscribe<'a>),
    /// Names a worker.
    Authorize {
        /// The worker's name.
        user: Text<'a>,
        /// Its password, which few pools look at.
        password: Text<'a>,
    },
    /// A share.
    Submit {
        /// The worker's name.
        user: Text<'a>,
        /// What it found.
        share: Share,
    },
    /// Would like this difficulty. Not checked here.
    SuggestDifficulty(f64),
    /// Would like this target.
    SuggestTarget(Target),
    /// Understands `mining.set_extranonce`.
    ExtranonceSubscribe,
    /// Asks whether we are there.
    Ping,
    /// An answer to something that we asked.
    Reply,
    /// Something that this version of the protocol does not have.
    Unknown(Text<'a>),
}

/// `mining.configure`: what a miner can do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Configure {
    /// Bits of the version that it can roll, and how many it wants at least; `None` when it
    /// does not roll.
    pub version_rolling: Option<(u32, u8)>,
    /// The smallest difficulty that it takes.
    pub minimum_difficulty: Option<f64>,
    /// Whether it understands `mining.set_extranonce`.
    pub subscribe_extranonce: bool,
    /// Whether it described itself; nothing of it is kept.
    pub info: bool,
}

/// `mining.subscribe`.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe<'a> {
    /// Name and version of the miner.
    pub agent: Option<Text<'a>>,
    /// The session to be resumed.
    pub session: Option<Text<'a>>,
}

impl<'a> FromMiner<'a> {
    /// What a line means, and the `id` to answer to, as it stands there.
    ///
    /// # Errors
    /// As [`Message::parse`], and parameters that are missing or of the wrong type.
    pub fn parse(line: &'a [u8]) -> Result<(Self, &'a [u8]), MessageError> {
        let message = Message::parse(line)?;
        Ok((Self::of(&message)?, message.raw_id))
    }

    /// What a message means.
    ///
    /// # Errors
    /// Parameters that are missing or of the wrong type.
    pub fn of(message: &Message<'a>) -> Result<Self, MessageError> {
        let Some(method) = message.method else {
            return Ok(Self::Reply);
        };
        let params = &message.params;
        let shape = |method, what| MessageError::Shape { method, what };
        Ok(match method.plain().unwrap_or_default() {
            b"mining.configure" => Self::Configure(Configure::read(message)?),
            b"mining.subscribe" => Self::Subscribe(Subscribe {
                agent: params.get(0).as_text(),
                session: params.get(1).as_text(),
            }),
            b"mining.authorize" => Self::Authorize {
                user: params.text(0, "mining.authorize", "user")?,
                password: params.get(1).as_text().unwrap_or(Text::EMPTY),
            },
            b"mining.submit" => submit(message)?,
            b"mining.suggest_difficulty" => {
                let difficulty = params.get(0).as_f64();
                Self::SuggestDifficulty(
                    difficulty.ok_or(shape("mining.suggest_difficulty", "difficulty"))?,
                )
            }
            b"mining.suggest_target" => {
                let target = params.get(0).as_text().and_then(read_target);
                Self::SuggestTarget(target.ok_or(shape("mining.suggest_target", "target"))?)
            }
            b"mining.extranonce.subscribe" => Self::ExtranonceSubscribe,
            b"mining.ping" => Self::Ping,
            _ => Self::Unknown(method),
        })
    }
}

fn submit<'a>(message: &Message<'a>) -> Result<FromMiner<'a>, MessageError> {
    const METHOD: &str = "mining.submit";
    let params = &message.params;
    let shape = |what| MessageError::Shape {
        method: METHOD,
        what,
    };
    let job_id = params.text(1, METHOD, "name of the job")?;
    let extranonce_2 = params.text(2, METHOD, "extranonce")?;
    let version_bits = match params.get(5) {
        Value::Null => None,
        value => Some(hex_u32(value).ok_or(shape("version bits"))?),
    };
    let share = Share {
        // A name that is too long is none of ours.
        job_id: JobId::new(job_id.to_str().as_bytes()).ok_or(shape("name of the job"))?,
        extranonce_2: extranonce_2
            .plain()
            .and_then(Extranonce::from_hex)
            .ok_or(shape("extranonce"))?,
        ntime: params.hex_u32(3, METHOD, "time")?,
        nonce: params.hex_u32(4, METHOD, "nonce")?,
        version_bits,
    };
    let user = params.text(0, METHOD, "user")?;
    Ok(FromMiner::Submit { user, share })
}

/// A target of 64 digits, the highest first.
fn read_target(text: Text<'_>) -> Option<Target> {
    let mut bytes: [u8; 32] = crate::hex::decode_array(text.plain()?).ok()?;
    bytes.reverse();
    Target::from_le_bytes(bytes)
}

impl Configure {
    fn read(message: &Message<'_>) -> Result<Self, MessageError> {
        let shape = |what| MessageError::Shape {
            method: "mining.configure",
            what,
        };
        let extensions = message.params.get(0).as_array();
        let extensions = extensions.ok_or(shape("list of extensions"))?;
        let options = match message.params.get(1) {
            Value::Object(object) => Some(object),
            Value::Null => None,
            _ => return Err(shape("options")),
        };
        let option = |name| options.and_then(|options| options.get(name));
        let mut configure = Self::default();
        for extension in extensions.filter_map(Value::as_text) {
            if extension.is("version-rolling") {
                let mask = match option("version-rolling.mask") {
                    None => u32::MAX,
                    Some(mask) => hex_u32(mask).ok_or(shape("version-rolling.mask"))?,
                };
                let bits = match option("version-rolling.min-bit-count") {
                    None => 0,
                    Some(bits) => bits
                        .as_i64()
                        .and_then(|bits| u8::try_from(bits).ok())
                        .ok_or(shape("version-rolling.min-bit-count"))?,
                };
                configure.version_rolling = Some((mask, bits));
            } else if extension.is("minimum-difficulty") {
                let value = option("minimum-difficulty.value").and_then(Value::as_f64);
                let value = value.ok_or(shape("minimum-difficulty.value"))?;
                configure.minimum_difficulty = Some(value);
            } else if extension.is("subscribe-extranonce") {
                configure.subscribe_extranonce = true;
            } else if extension.is("info") {
                configure.info = true;
            }
        }
        Ok(configure)
    }
}
