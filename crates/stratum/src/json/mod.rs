//! JSON read where it lies: values borrow from the line, nothing is allocated.
//!
//! A line is scanned once and strictly (RFC 8259); what is nested is handed out as a slice
//! that is known to be well formed, and is read when somebody asks. Depth is bounded. Text is
//! kept as the bytes between the quotes; whether it is UTF-8 matters only when it is shown.

mod number;
mod scanner;
mod text;

use crate::hex;

pub use number::Number;
pub use scanner::JsonError;
pub use text::Text;

pub(crate) use scanner::Scanner;
pub(crate) use text::write_text;

/// How deep arrays and objects may be nested; Stratum itself needs four.
pub const MAX_DEPTH: u8 = 16;

/// A value of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, unconverted.
    Number(Number<'a>),
    /// A string, escapes unresolved.
    Text(Text<'a>),
    /// An array.
    Array(Array<'a>),
    /// An object.
    Object(Object<'a>),
}

impl<'a> Value<'a> {
    /// The value of a whole line.
    ///
    /// # Errors
    /// The first fault of the line, with its place.
    pub fn parse(line: &'a [u8]) -> Result<Self, JsonError> {
        let mut scanner = Scanner::new(line);
        let value = scanner.value()?;
        scanner.end()?;
        Ok(value)
    }

    /// The text, if it is one.
    pub fn as_text(self) -> Option<Text<'a>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(self) -> Option<Array<'a>> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The truth, if it is one.
    pub fn as_bool(self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// A finite number; some pools put it between quotes, which is taken as well.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            Self::Text(text) => Number::parse(text.plain()?)?.as_f64(),
            _ => None,
        }
    }

    /// An integer; between quotes it is taken as well.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Number(number) => number.as_i64(),
            Self::Text(text) => Number::parse(text.plain()?)?.as_i64(),
            _ => None,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self == Self::Null
    }
}

/// An array known to be well formed; an iterator over its elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a>(&'a [u8]);

impl<'a> Array<'a> {
    /// An array without elements.
    pub const EMPTY: Self = Self(b"");

    /// Takes the first element if it is 64 hexadecimal digits without escapes, white space
    /// around it or anything else in the way; otherwise takes nothing.
    pub(crate) fn next_of_digits(&mut self) -> Option<[u8; 32]> {
        let (digits, rest) = self.0.strip_prefix(b"\"")?.split_first_chunk::<64>()?;
        let rest = rest.strip_prefix(b"\"")?;
        let rest = match rest {
            [] => rest,
            [b',', rest @ ..] => rest,
            _ => return None,
        };
        let bytes = hex::decode_array(digits).ok()?;
        self.0 = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Array<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        let mut scanner = Scanner::new(self.0);
        let value = scanner.next_element()?;
        self.0 = scanner.rest();
        Some(value)
    }
}

/// An object known to be well formed; an iterator over its members, in the order of the line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object<'a>(&'a [u8]);

impl<'a> Object<'a> {
    /// The member of a name; of several the last, as most readers do.
    pub fn get(self, name: &str) -> Option<Value<'a>> {
        self.filter(|(key, _)| key.is(name))
            .last()
            .map(|(_, value)| value)
    }
}

impl<'a> Iterator for Object<'a> {
    type Item = (Text<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut scanner = Scanner::new(self.0);
        let member = scanner.next_member()?;
        self.0 = scanner.rest();
        Some(member)
    }
}

#[cfg(test)]
mod tests;
