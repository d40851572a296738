//! RFC 864: characters without end.

use bytes::Bytes;
use zcn::SharedBuf;

use super::stream::{Received, Stream, Waiting};

/// Printable characters of ASCII, and how many of them a line has.
const PRINTABLE: std::ops::RangeInclusive<u8> = b' '..=b'~';
const LINE: usize = 72;

/// Lines of characters, each begun one character further on, as often as they make a good
/// piece to send.
pub(super) struct Characters(SharedBuf);

impl Default for Characters {
    fn default() -> Self {
        let ring: Vec<u8> = PRINTABLE.collect();
        let mut lines = Vec::new();
        for start in 0..ring.len() {
            lines.extend(ring.iter().cycle().skip(start).take(LINE));
            lines.extend(b"\r\n");
        }
        let repeated = lines.repeat(64 * 1024 / lines.len());
        Self(SharedBuf::from(Bytes::from(repeated)))
    }
}

impl Characters {
    /// One line, for a datagram: RFC 864 allows up to 512 characters.
    pub(super) fn line(&self) -> &[u8] {
        &self.0[..LINE + 2]
    }
}

/// A connection that gets characters until it ends.
#[derive(Default)]
pub(super) struct Chargen {
    unsent: Option<SharedBuf>,
}

impl Chargen {
    pub(super) fn drive(&mut self, stream: &mut Stream<'_>, characters: &Characters) -> Waiting {
        // What the peer sends is thrown away; that it sends no more does not end us.
        loop {
            match stream.receive() {
                Ok(Received::Data(_)) => {}
                Ok(Received::End) | Err(Waiting::Event) => break,
                Err(Waiting::Nothing) => return Waiting::Nothing,
            }
        }
        loop {
            let piece = self.unsent.take().unwrap_or_else(|| characters.0.clone());
            if let Err(waiting) = stream.send(piece, true, &mut self.unsent) {
                return waiting;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_rotate_and_meet_where_pieces_do() {
        let characters = Characters::default();
        let text = std::str::from_utf8(&characters.0).expect("ASCII");
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert!(lines.len().is_multiple_of(95) && lines.len() > 95);
        assert!(lines.iter().all(|line| line.len() == LINE));
        assert!(lines[0].starts_with(" !\"#") && lines[1].starts_with("!\"#$"));
        assert_eq!(lines[94], &format!("~{}", &lines[0][..71]));
        assert_eq!(lines[95], lines[0]);
        assert_eq!(characters.line().len(), 74);
    }
}
