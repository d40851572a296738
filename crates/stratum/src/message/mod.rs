//! Messages: lines of JSON-RPC as Stratum uses it.
//!
//! [`Message`] is any line; [`FromPool`] and [`FromMiner`] are what it means on each side.

mod from_miner;
mod from_pool;
mod params;
pub mod write;

use thiserror::Error;

use crate::json::{JsonError, Scanner, Text, Value};

pub use from_miner::{Configure, FromMiner, Subscribe};
pub use from_pool::{Configured, FromPool, Notify, Reconnect, Reply, Subscribed};
pub use params::Params;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The line is not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It is, but not an object.
    #[error("a line that is no JSON object")]
    NoObject,
    /// A member or a parameter is missing or of the wrong type.
    #[error("{method} whose {what} is missing or not what belongs there")]
    Shape {
        /// The method, or what the message is.
        method: &'static str,
        /// The member or parameter.
        what: &'static str,
    },
}

/// Bytes of an `id` that are sent back; ours have at most 20.
const MAX_ID: usize = 64;

/// Any line: a request, a notification or an answer.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The value of `id`.
    pub id: Value<'a>,
    /// The same as it stands in the line, to be sent back; `null` where there is none.
    pub raw_id: &'a [u8],
    /// What is asked for; an answer has none.
    pub method: Option<Text<'a>>,
    /// The parameters in their order.
    pub params: Params<'a>,
    /// Of an answer.
    pub result: Value<'a>,
    /// Of an answer.
    pub error: Value<'a>,
    /// Of an answer: words that ckpool and its kin put beside `error`.
    pub reject_reason: Option<Text<'a>>,
}

impl<'a> Message<'a> {
    /// Reads a line. Members may stand in any order; unknown ones are checked and passed over;
    /// of two with one name the last counts.
    ///
    /// # Errors
    /// The line is no JSON object, its `method` is no string, its `params` are no array, or its
    /// `id` is longer than 64 bytes.
    #[inline]
    pub fn parse(line: &'a [u8]) -> Result<Self, MessageError> {
        let shape = |what| MessageError::Shape {
            method: "a message",
            what,
        };
        let mut message = Self {
            id: Value::Null,
            raw_id: b"null",
            method: None,
            params: Params::new(),
            result: Value::Null,
            error: Value::Null,
            reject_reason: None,
        };
        let mut scanner = Scanner::new(line);
        if !scanner.take(b'{') {
            // Whether it is JSON at all says more about the other side.
            Value::parse(line)?;
            return Err(MessageError::NoObject);
        }
        if !scanner.take(b'}') {
            loop {
                let name = scanner.text()?;
                scanner.expect(b':')?;
                match name.plain().unwrap_or_default() {
                    b"id" => {
                        (message.id, message.raw_id) = scanner.raw_value()?;
                        if message.raw_id.len() > MAX_ID {
                            return Err(shape("id"));
                        }
                    }
                    b"method" => {
                        message.method = match scanner.value()? {
                            Value::Text(method) => Some(method),
                            Value::Null => None,
                            _ => return Err(shape("method")),
                        }
                    }
                    b"params" => {
                        message.params = Params::scan(&mut scanner)?.ok_or(shape("params"))?;
                    }
                    b"result" => message.result = scanner.value()?,
                    b"error" => message.error = scanner.value()?,
                    b"reject-reason" => message.reject_reason = scanner.value()?.as_text(),
                    _ => {
                        scanner.value()?;
                    }
                }
                if !scanner.take(b',') {
                    break;
                }
            }
            scanner.expect(b'}')?;
        }
        scanner.end()?;
        Ok(message)
    }
}
