//! Bytes of a connection cut into lines.

use thiserror::Error;

/// A line is longer than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a line of more than {max} bytes")]
pub struct LineTooLong {
    /// The bound.
    pub max: usize,
}

/// Cuts at line feeds. A line that lies whole in what was received is handed out where it is;
/// only one that is cut by the end of it is copied, into a buffer that never outgrows the bound.
#[derive(Debug)]
pub struct LineReader {
    partial: Vec<u8>,
    /// The partial line was handed out and is to be forgotten.
    given: bool,
    max: usize,
}

impl LineReader {
    /// Lines of at most `max` bytes, their end not counted.
    pub fn new(max: usize) -> Self {
        Self {
            partial: Vec::new(),
            given: false,
            max,
        }
    }

    /// Hands every line of `input` that is complete to `look`, but for empty ones.
    ///
    /// # Errors
    /// The first that `look` answers, or a line that is too long; the rest is not looked at.
    pub(crate) fn each_line<E: From<LineTooLong>>(
        &mut self,
        mut input: &[u8],
        mut look: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(line) = self.next_line(&mut input)? {
            if !line.is_empty() {
                look(line)?;
            }
        }
        Ok(())
    }

    /// Takes the next line off the front of `input`, without its end (LF, or CR and LF); `None`
    /// when all of `input` is taken and no line is complete.
    ///
    /// # Errors
    /// The line is too long. What follows it cannot be told apart from it: the connection is of
    /// no more use.
    #[inline]
    pub fn next_line<'a, 'input: 'a>(
        &'a mut self,
        input: &mut &'input [u8],
    ) -> Result<Option<&'a [u8]>, LineTooLong> {
        if std::mem::take(&mut self.given) {
            self.partial.clear();
        }
        let max = self.max;
        let found = memchr::memchr(b'\n', input);
        let part = &input[..found.unwrap_or(input.len())];
        if self.partial.len() + part.len() > max {
            return Err(LineTooLong { max });
        }
        *input = &input[part.len() + usize::from(found.is_some())..];
        if found.is_some() && self.partial.is_empty() {
            return Ok(Some(trimmed(part)));
        }
        self.partial.extend_from_slice(part);
        self.given = found.is_some();
        Ok(self.given.then(|| trimmed(&self.partial)))
    }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_arrive(
            lines in prop::collection::vec("[a-z]{0,20}", 0..10),
            cut in 1..30usize,
            carriage_return: bool,
        ) {
            let end = if carriage_return { "\r\n" } else { "\n" };
            let bytes: String = lines.iter().flat_map(|line| [line.as_str(), end]).collect();
            let mut reader = LineReader::new(40);
            let mut read = Vec::new();
            for mut part in bytes.as_bytes().chunks(cut) {
                while let Some(line) = reader.next_line(&mut part).expect("short lines") {
                    read.push(String::from_utf8(line.to_vec()).expect("letters"));
                }
                prop_assert!(part.is_empty());
            }
            prop_assert_eq!(read, lines);
        }
    }

    #[test]
    fn a_line_without_end_is_cut_off_at_the_bound() {
        let mut reader = LineReader::new(10);
        assert_eq!(reader.next_line(&mut &b"12345"[..]), Ok(None));
        assert_eq!(reader.next_line(&mut &b"67890"[..]), Ok(None));
        let error = reader.next_line(&mut &b"1"[..]).expect_err("too long");
        assert_eq!(error, LineTooLong { max: 10 });
        assert!(reader.partial.capacity() <= 20);
    }
}
