//! Parameters of a message.

use crate::hex::{self};
use crate::json::{JsonError, Scanner, Text, Value};

use super::MessageError;

/// Parameters that any message of Stratum has; more are checked and passed over.
const MAX: usize = 10;

/// The parameters of a message in their order.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a> {
    values: [Value<'a>; MAX],
    len: usize,
}

impl<'a> Params<'a> {
    pub(super) const fn new() -> Self {
        Self {
            values: [Value::Null; MAX],
            len: 0,
        }
    }

    /// Reads an array; `None` for another type than that or `null`.
    #[inline]
    pub(super) fn scan(scanner: &mut Scanner<'a>) -> Result<Option<Self>, JsonError> {
        let mut params = Self::new();
        if !scanner.take(b'[') {
            return Ok(scanner.value()?.is_null().then_some(params));
        }
        if scanner.take(b']') {
            return Ok(Some(params));
        }
        loop {
            let value = scanner.value()?;
            if let Some(to) = params.values.get_mut(params.len) {
                *to = value;
                params.len += 1;
            }
            if !scanner.take(b',') {
                break;
            }
        }
        scanner.expect(b']')?;
        Ok(Some(params))
    }

    /// The parameters, at most ten.
    pub fn as_slice(&self) -> &[Value<'a>] {
        &self.values[..self.len]
    }

    /// The parameter at `index`, `null` where there is none.
    pub(super) fn get(&self, index: usize) -> Value<'a> {
        self.as_slice().get(index).copied().unwrap_or(Value::Null)
    }

    /// The text at `index`.
    pub(super) fn text(
        &self,
        index: usize,
        method: &'static str,
        what: &'static str,
    ) -> Result<Text<'a>, MessageError> {
        self.get(index)
            .as_text()
            .ok_or(MessageError::Shape { method, what })
    }

    /// The eight hexadecimal digits at `index` as a number.
    pub(super) fn hex_u32(
        &self,
        index: usize,
        method: &'static str,
        what: &'static str,
    ) -> Result<u32, MessageError> {
        hex_u32(self.get(index)).ok_or(MessageError::Shape { method, what })
    }
}

/// Eight hexadecimal digits as a number.
pub(super) fn hex_u32(value: Value<'_>) -> Option<u32> {
    hex::decode_u32(value.as_text()?.plain()?).ok()
}
