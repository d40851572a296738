//! One pass over a line.

use thiserror::Error;

use super::{Array, MAX_DEPTH, Number, Object, Text, Value};

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Something else had to come.
    #[error("not JSON at byte {at}")]
    Syntax {
        /// Where, from the start of the line.
        at: usize,
    },
    /// The line is over in the middle of a value.
    #[error("JSON that ends too early")]
    Incomplete,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("JSON nested too deeply at byte {at}")]
    Deep {
        /// Where, from the start of the line.
        at: usize,
    },
}

/// A place in a line.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Bytes looked at together; the compiler makes vector instructions of it.
const BLOCK: usize = 32;

/// The high bit of each of eight bytes, set for the lowest that ends a plain run: a quote, a
/// backslash or a control character. Above that one, bits may be set that mean nothing.
#[inline]
fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let zeroes = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zeroes(word ^ (ONES * b'"' as u64));
    let backslashes = zeroes(word ^ (ONES * b'\\' as u64));
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | backslashes | controls) & HIGH
}

impl<'a> Scanner<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn fault<T>(&self) -> Result<T, JsonError> {
        Err(if self.at < self.bytes.len() {
            JsonError::Syntax { at: self.at }
        } else {
            JsonError::Incomplete
        })
    }

    /// The next byte that is not white space, which stays where it is.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Takes `byte` if it comes next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Takes `byte`, which has to come.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) {
            Ok(())
        } else {
            self.fault()
        }
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fault(),
        }
    }

    /// The next value, all of it checked.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Value<'a>, JsonError> {
        self.nested_value(MAX_DEPTH)
    }

    /// The next value, and how it stands in the line.
    pub(crate) fn raw_value(&mut self) -> Result<(Value<'a>, &'a [u8]), JsonError> {
        self.peek();
        let begin = self.at;
        let value = self.value()?;
        Ok((value, &self.bytes[begin..self.at]))
    }

    fn nested_value(&mut self, depth: u8) -> Result<Value<'a>, JsonError> {
        match self.peek() {
            Some(b'"') => self.text().map(Value::Text),
            Some(b'[') => Ok(Value::Array(Array(self.array(depth)?))),
            Some(b'{') => Ok(Value::Object(Object(self.object(depth)?))),
            Some(b't') => self.literal(b"true", Value::Bool(true)),
            Some(b'f') => self.literal(b"false", Value::Bool(false)),
            Some(b'n') => self.literal(b"null", Value::Null),
            _ => self.number(),
        }
    }

    fn literal(&mut self, word: &[u8], value: Value<'a>) -> Result<Value<'a>, JsonError> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.fault();
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Value<'a>, JsonError> {
        let rest = &self.bytes[self.at..];
        let number =
            Number::length(rest).and_then(|len| Number::parse(&rest[..len]).zip(Some(len)));
        let Some((number, len)) = number else {
            return self.fault();
        };
        self.at += len;
        Ok(Value::Number(number))
    }

    /// A string, the place being before its quote.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<Text<'a>, JsonError> {
        self.expect(b'"')?;
        let begin = self.at;
        let mut escaped = false;
        loop {
            self.skip_plain();
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let raw = &self.bytes[begin..self.at];
                    self.at += 1;
                    return Ok(Text::new(raw, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.fault(),
            }
        }
    }

    /// Goes on to the next byte of a string that means something.
    #[inline]
    fn skip_plain(&mut self) {
        let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        let mut rest = &self.bytes[self.at..];
        while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
            let found = block
                .iter()
                .fold(false, |found, &byte| found | special(byte));
            if found {
                break;
            }
            rest = after;
        }
        // It stands among the next bytes, or there are few left.
        while let Some((word, after)) = rest.split_first_chunk::<8>() {
            let found = specials(u64::from_le_bytes(*word));
            if found != 0 {
                let place = found.trailing_zeros() as usize / 8;
                self.at = self.bytes.len() - rest.len() + place;
                return;
            }
            rest = after;
        }
        let tail = rest.iter().position(|&byte| special(byte));
        self.at = self.bytes.len() - rest.len() + tail.unwrap_or(rest.len());
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                for _ in 0..4 {
                    self.at += 1;
                    if !self.bytes.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return self.fault();
                    }
                }
                self.at += 1;
            }
            _ => return self.fault(),
        }
        Ok(())
    }

    /// Checks an array; what stands between its brackets.
    fn array(&mut self, depth: u8) -> Result<&'a [u8], JsonError> {
        let deeper = self.deeper(depth)?;
        self.at += 1;
        let begin = self.at;
        if !self.take(b']') {
            loop {
                self.nested_value(deeper)?;
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b']')?;
        }
        Ok(&self.bytes[begin..self.at - 1])
    }

    /// Checks an object; what stands between its braces.
    fn object(&mut self, depth: u8) -> Result<&'a [u8], JsonError> {
        let deeper = self.deeper(depth)?;
        self.at += 1;
        let begin = self.at;
        if !self.take(b'}') {
            loop {
                self.text()?;
                self.expect(b':')?;
                self.nested_value(deeper)?;
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        Ok(&self.bytes[begin..self.at - 1])
    }

    fn deeper(&self, depth: u8) -> Result<u8, JsonError> {
        depth.checked_sub(1).ok_or(JsonError::Deep { at: self.at })
    }

    /// What is not looked at yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next element of what [`array`](Self::array) has checked.
    #[inline]
    pub(crate) fn next_element(&mut self) -> Option<Value<'a>> {
        self.peek()?;
        let value = self.value().ok()?;
        self.take(b',');
        Some(value)
    }

    /// The next member of what [`object`](Self::object) has checked.
    pub(crate) fn next_member(&mut self) -> Option<(Text<'a>, Value<'a>)> {
        self.peek()?;
        let name = self.text().ok()?;
        self.expect(b':').ok()?;
        let value = self.value().ok()?;
        self.take(b',');
        Some((name, value))
    }
}
