//! What the web server shows.

use bytes::Bytes;
use zcn::SharedBuf;
use zcn_measure::pattern::Pattern;

/// Bytes after which the content of `/bytes/N` begins anew: a prime, so that no two pieces
/// of a segment's or a buffer's size are equal.
const PERIOD: usize = 1_048_573;
/// Most bytes queued at a time.
const PIECE: usize = 64 * 1024;

const INDEX: &str = "<!DOCTYPE html>
<title>zcn</title>
<h1>zcn</h1>
<p>This page came over a TCP/IP in user space.
<p><a href=\"/bytes/1000000\">/bytes/N</a> has N bytes.
";

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Index,
    /// So many bytes.
    Bytes(u64),
}

impl Page {
    /// The page at a path.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path.strip_prefix("/bytes/") {
            Some(count) => count.parse().ok().map(Self::Bytes),
            None => (path == "/").then_some(Self::Index),
        }
    }

    pub(super) fn len(self) -> u64 {
        match self {
            Self::Index => INDEX.len() as u64,
            Self::Bytes(count) => count,
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Index => "text/html",
            Self::Bytes(_) => "application/octet-stream",
        }
    }
}

/// The content of all pages.
pub(super) struct Pages {
    block: SharedBuf,
}

impl Default for Pages {
    fn default() -> Self {
        let mut block = vec![0; PERIOD];
        Pattern::new(0).fill(0, &mut block);
        Self {
            block: SharedBuf::from(Bytes::from(block)),
        }
    }
}

impl Pages {
    /// The next piece of a page from `offset` on; empty at the end.
    pub(super) fn piece(&self, page: Page, offset: u64) -> SharedBuf {
        let left = usize::try_from(page.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        match page {
            Page::Index => SharedBuf::from_static(&INDEX.as_bytes()[INDEX.len() - left..]),
            Page::Bytes(_) => {
                let start = (offset % PERIOD as u64) as usize;
                let end = (start + left.min(PIECE)).min(PERIOD);
                self.block.slice(start..end)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_page() {
        let pages = Pages::default();
        for page in [Page::Index, Page::Bytes(0), Page::Bytes(2_500_000)] {
            let mut content = Vec::new();
            loop {
                let piece = pages.piece(page, content.len() as u64);
                if piece.is_empty() {
                    break;
                }
                content.extend_from_slice(&piece);
            }
            assert_eq!(content.len() as u64, page.len());
            if let Page::Bytes(_) = page {
                for (index, chunk) in content.chunks(PERIOD).enumerate() {
                    assert_eq!(chunk, &pages.block[..chunk.len()], "period {index}");
                }
            }
        }
    }

    #[test]
    fn paths() {
        assert_eq!(Page::at("/"), Some(Page::Index));
        assert_eq!(Page::at("/bytes/12"), Some(Page::Bytes(12)));
        for nothing in ["", "/x", "/bytes", "/bytes/", "/bytes/-1", "/bytes/1/2"] {
            assert_eq!(Page::at(nothing), None, "{nothing}");
        }
    }
}
