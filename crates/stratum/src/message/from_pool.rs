//! What a pool says to a miner.

use crate::inline::Extranonce;
use crate::json::{Array, Text, Value};
use crate::reject::Rejection;

use super::params::hex_u32;
use super::{Message, MessageError};

/// A message of a pool.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FromPool<'a> {
    /// A job.
    Notify(Notify<'a>),
    /// The difficulty of shares of later jobs. Not checked here.
    SetDifficulty(f64),
    /// Another first extranonce and length of the second, for later jobs.
    SetExtranonce(Subscribed),
    /// Another mask of version rolling, at once.
    SetVersionMask(u32),
    /// Wishes us elsewhere.
    Reconnect(Reconnect<'a>),
    /// Words for whoever runs the miner.
    ShowMessage(Text<'a>),
    /// Asks for our name and version.
    GetVersion,
    /// Asks whether we are there.
    Ping,
    /// An answer.
    Reply(Reply<'a>),
    /// Something that this version of the protocol does not have.
    Unknown(Text<'a>),
}

/// A job as it stands in the line; [`Job::assign`](crate::Job::assign) decodes it.
#[derive(Clone, Copy, Debug)]
pub struct Notify<'a> {
    /// The pool's name for the job.
    pub job_id: Text<'a>,
    /// Hash of the block before, in hexadecimal, the bytes of each word turned around.
    pub prev_hash: Text<'a>,
    /// The coinbase transaction up to the extranonce, in hexadecimal.
    pub coinbase_1: Text<'a>,
    /// The coinbase transaction after the extranonce, in hexadecimal.
    pub coinbase_2: Text<'a>,
    /// Merkle branches, each in hexadecimal.
    pub branches: Array<'a>,
    /// Version of the block, in hexadecimal.
    pub version: Text<'a>,
    /// Target of the block in compact form, in hexadecimal.
    pub nbits: Text<'a>,
    /// Time, in hexadecimal.
    pub ntime: Text<'a>,
    /// What was handed out before is worth nothing any more.
    pub clean: bool,
}

/// A wish to see us elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Reconnect<'a> {
    /// Where; `None` for the same host.
    pub host: Option<Text<'a>>,
    /// The port there; `None` for the same one.
    pub port: Option<u16>,
    /// Seconds to wait before.
    pub wait_s: u32,
}

/// The two lengths of extranonces: the first as it is, the second in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// What the pool puts into every coinbase of this connection.
    pub extranonce_1: Extranonce,
    /// Bytes that the miner may choose.
    pub extranonce_2_len: usize,
}

/// Bytes of a second extranonce that a pool may ask for.
const MAX_EXTRANONCE_2: usize = 32;

impl Subscribed {
    fn read(extranonce_1: Value<'_>, len: Value<'_>) -> Option<Self> {
        let extranonce_1 = Extranonce::from_hex(extranonce_1.as_text()?.plain()?)?;
        let extranonce_2_len = usize::try_from(len.as_i64()?).ok()?;
        (extranonce_2_len <= MAX_EXTRANONCE_2).then_some(Self {
            extranonce_1,
            extranonce_2_len,
        })
    }
}

/// What came of `mining.configure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// Bits of the version that may be rolled; `None` when the pool wants none rolled.
    pub version_mask: Option<u32>,
    /// Whether the pool heeds the smallest difficulty that was asked for.
    pub minimum_difficulty: bool,
    /// Whether it will send `mining.set_extranonce`.
    pub subscribe_extranonce: bool,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The number of the request; `None` where it is no number.
    pub id: Option<i64>,
    result: Value<'a>,
    error: Value<'a>,
    reject_reason: Option<Text<'a>>,
}

impl<'a> Reply<'a> {
    /// What was answered, or why not. A result of `false` is a refusal, with or without words;
    /// an `error` that is `null`, `false` or empty is none.
    ///
    /// # Errors
    /// The refusal.
    pub fn outcome(&self) -> Result<Value<'a>, Rejection> {
        let silent = match self.error {
            Value::Null | Value::Bool(false) => true,
            Value::Text(text) => text.is(""),
            Value::Array(mut array) => array.next().is_none(),
            Value::Object(mut object) => object.next().is_none(),
            _ => false,
        };
        if silent && self.result != Value::Bool(false) {
            return Ok(self.result);
        }
        let words = self.reject_reason.map(|text| text.to_str().into_owned());
        Err(Rejection::read(self.error, words))
    }

    /// The answer to `mining.subscribe`, and the name of the session, by which it can be resumed.
    ///
    /// # Errors
    /// Of a result that is none.
    pub fn subscribed(result: Value<'a>) -> Result<(Subscribed, Option<Text<'a>>), MessageError> {
        let error = MessageError::Shape {
            method: "mining.subscribe",
            what: "result",
        };
        let mut result = result.as_array().ok_or(error)?;
        let subscriptions = result.next().and_then(Value::as_array);
        let mut next = || result.next().unwrap_or(Value::Null);
        let subscribed = Subscribed::read(next(), next()).ok_or(error)?;
        Ok((subscribed, subscriptions.and_then(session_name)))
    }

    /// The answer to `mining.configure`; what is not there was not agreed to.
    pub fn configured(result: Value<'a>) -> Configured {
        let Value::Object(object) = result else {
            return Configured::default();
        };
        let is = |name| object.get(name).and_then(Value::as_bool).unwrap_or(false);
        let mask = object.get("version-rolling.mask").and_then(hex_u32);
        Configured {
            version_mask: mask.filter(|_| is("version-rolling")),
            minimum_difficulty: is("minimum-difficulty"),
            subscribe_extranonce: is("subscribe-extranonce"),
        }
    }
}

/// The name beside `mining.notify` among the subscriptions, or else the last one. Some pools
/// send one pair where an array of pairs belongs.
fn session_name(subscriptions: Array<'_>) -> Option<Text<'_>> {
    let is_notify = |mut pair: Array<'_>| {
        let method = pair.next().and_then(Value::as_text);
        method.is_some_and(|method| method.is("mining.notify"))
    };
    let mut pairs = subscriptions.filter_map(Value::as_array);
    let mut pair = pairs
        .clone()
        .find(|pair| is_notify(*pair))
        .or_else(|| pairs.by_ref().last())
        .unwrap_or(subscriptions);
    pair.nth(1).and_then(Value::as_text)
}

impl<'a> FromPool<'a> {
    /// What a line means, and the `id` to answer to, as it stands there; `null` for a
    /// notification.
    ///
    /// # Errors
    /// As [`Message::parse`], and parameters that are missing or of the wrong type.
    #[inline]
    pub fn parse(line: &'a [u8]) -> Result<(Self, &'a [u8]), MessageError> {
        let message = Message::parse(line)?;
        let Some(method) = message.method else {
            let reply = Reply {
                id: message.id.as_i64(),
                result: message.result,
                error: message.error,
                reject_reason: message.reject_reason,
            };
            return Ok((Self::Reply(reply), message.raw_id));
        };
        let params = &message.params;
        let meaning = match method.plain().unwrap_or_default() {
            b"mining.notify" => Self::Notify(Notify::read(&message)?),
            b"mining.set_difficulty" => {
                let difficulty = params.get(0).as_f64().ok_or(MessageError::Shape {
                    method: "mining.set_difficulty",
                    what: "difficulty",
                })?;
                Self::SetDifficulty(difficulty)
            }
            b"mining.set_extranonce" => {
                let subscribed = Subscribed::read(params.get(0), params.get(1));
                Self::SetExtranonce(subscribed.ok_or(MessageError::Shape {
                    method: "mining.set_extranonce",
                    what: "extranonce",
                })?)
            }
            b"mining.set_version_mask" => {
                Self::SetVersionMask(params.hex_u32(0, "mining.set_version_mask", "mask")?)
            }
            b"client.reconnect" => Self::Reconnect(Reconnect::read(&message)?),
            b"client.show_message" => {
                Self::ShowMessage(params.text(0, "client.show_message", "text")?)
            }
            b"client.get_version" => Self::GetVersion,
            b"mining.ping" => Self::Ping,
            _ => Self::Unknown(method),
        };
        Ok((meaning, message.raw_id))
    }
}

impl<'a> Notify<'a> {
    #[inline]
    fn read(message: &Message<'a>) -> Result<Self, MessageError> {
        const METHOD: &str = "mining.notify";
        let shape = |what| MessageError::Shape {
            method: METHOD,
            what,
        };
        let params = &message.params;
        let text = |index, what| params.text(index, METHOD, what);
        Ok(Self {
            job_id: text(0, "name of the job")?,
            prev_hash: text(1, "previous hash")?,
            coinbase_1: text(2, "first part of the coinbase")?,
            coinbase_2: text(3, "second part of the coinbase")?,
            branches: params.get(4).as_array().ok_or(shape("merkle branches"))?,
            version: text(5, "version")?,
            nbits: text(6, "nbits")?,
            ntime: text(7, "ntime")?,
            clean: params.get(8).as_bool().ok_or(shape("clean_jobs"))?,
        })
    }
}

impl<'a> Reconnect<'a> {
    /// All three parameters may be missing. Ports come as numbers and as strings.
    fn read(message: &Message<'a>) -> Result<Self, MessageError> {
        let shape = |what| MessageError::Shape {
            method: "client.reconnect",
            what,
        };
        let params = &message.params;
        let host = match params.get(0) {
            Value::Null => None,
            value => Some(value.as_text().ok_or(shape("host"))?).filter(|host| !host.is("")),
        };
        let port = match params.get(1) {
            Value::Null => None,
            value => {
                let port = value.as_i64().and_then(|port| u16::try_from(port).ok());
                let port = port.ok_or(shape("port"))?;
                (port != 0).then_some(port)
            }
        };
        let wait_s = match params.get(2) {
            Value::Null => 0,
            value => {
                let wait = value.as_i64().and_then(|wait| u32::try_from(wait).ok());
                wait.ok_or(shape("wait"))?
            }
        };
        Ok(Self { host, port, wait_s })
    }
}
