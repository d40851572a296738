//! RFC 864: characters without end.

use bytes::Bytes;
use zcn::{Conn, SharedBuf};

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
    /// Sends as many as there is room for.
    pub(super) fn fill(&self, conn: &mut Conn<'_>) {
        while conn.is_writable() && conn.send(self.0.clone()).is_ok() {}
    }

    /// One line, for a datagram: RFC 864 allows up to 512 characters.
    pub(super) fn line(&self) -> &[u8] {
        &self.0[..LINE + 2]
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
