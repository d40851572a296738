//! A small HTTP/1.1 server (RFC 9112): GET and HEAD, connections kept alive, pipelining.

use bytes::Bytes;
use zcn::{Conn, SharedBuf};

use super::pages::{Page, Pages};

/// Longest head of a request.
const HEAD_MAX: usize = 16 * 1024;
/// Most header fields.
const FIELDS_MAX: usize = 64;

/// A connection of a browser.
#[derive(Default)]
pub(super) struct Http {
    /// What came and is not answered.
    input: Vec<u8>,
    answer: Option<Answer>,
    /// The peer sends no more requests.
    ended: bool,
}

/// An answer on its way.
struct Answer {
    head: Option<SharedBuf>,
    page: Option<Page>,
    offset: u64,
    close: bool,
}

/// A request that was understood.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Length of its head.
    len: usize,
    page: Option<Page>,
    body: bool,
    close: bool,
    /// Whether the answer is to say that the connection stays (HTTP/1.0).
    old: bool,
}

/// A request that is refused, with the status line's code and reason.
type Refusal = (u16, &'static str);

impl Http {
    /// Further bytes of requests.
    pub(super) fn read(&mut self, data: &[u8]) {
        self.input.extend_from_slice(data);
    }

    /// There are no more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Answers as far as there is room, and tells how many requests it has begun to answer.
    pub(super) fn serve(&mut self, conn: &mut Conn<'_>, pages: &Pages) -> u64 {
        let mut requests = 0;
        while conn.is_writable() {
            if let Some(answer) = &mut self.answer {
                if let Some(piece) = answer.next(pages) {
                    // It was writable a moment ago; if it is closed, it is over.
                    let _ = conn.send(piece);
                    continue;
                }
                if answer.close {
                    conn.close();
                    break;
                }
                self.answer = None;
            }
            match self.request() {
                Some(answer) => {
                    requests += 1;
                    self.answer = Some(answer);
                }
                None if self.ended => {
                    conn.close();
                    break;
                }
                None => break,
            }
        }
        requests
    }

    /// The answer to the next request, if one is complete.
    fn request(&mut self) -> Option<Answer> {
        match parse(&self.input) {
            Ok(None) => None,
            Ok(Some(request)) => {
                self.input.drain(..request.len);
                Some(Answer::to(&request))
            }
            Err(refusal) => {
                self.input.clear();
                Some(Answer::refuse(refusal))
            }
        }
    }
}

impl Answer {
    fn to(request: &Request) -> Self {
        let (code, reason) = match request.page {
            Some(_) => (200, "OK"),
            None => (404, "Not Found"),
        };
        let page = request.page;
        let connection = match (request.close, request.old) {
            (true, _) => "Connection: close\r\n",
            (false, true) => "Connection: keep-alive\r\n",
            (false, false) => "",
        };
        let head = format!(
            "HTTP/1.1 {code} {reason}\r\nServer: zcn\r\nContent-Type: {}\r\nContent-Length: {}\r\n{connection}\r\n",
            page.map_or("text/plain", Page::media_type),
            page.map_or(0, Page::len),
        );
        Self {
            head: Some(SharedBuf::from(Bytes::from(head))),
            page: page.filter(|page| request.body && page.len() > 0),
            offset: 0,
            close: request.close,
        }
    }

    fn refuse((code, reason): Refusal) -> Self {
        let head = format!(
            "HTTP/1.1 {code} {reason}\r\nServer: zcn\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        Self {
            head: Some(SharedBuf::from(Bytes::from(head))),
            page: None,
            offset: 0,
            close: true,
        }
    }

    /// The next piece.
    fn next(&mut self, pages: &Pages) -> Option<SharedBuf> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        let piece = pages.piece(self.page?, self.offset);
        self.offset += piece.len() as u64;
        (!piece.is_empty()).then_some(piece)
    }
}

/// The first request in `input`, or nothing if it is not complete yet.
fn parse(input: &[u8]) -> Result<Option<Request>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let len = match request.parse(input) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if input.len() < HEAD_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err((431, "Request Header Fields Too Large"));
        }
        Err(_) => return Err((400, "Bad Request")),
    };
    let field = |name: &str| {
        let mut found = request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        found.next().map(|field| field.value)
    };
    let body = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return Err((405, "Method Not Allowed")),
    };
    // Where a body would end is nothing that we need to know.
    if field("transfer-encoding").is_some() || field("content-length").is_some_and(|v| v != b"0") {
        return Err((413, "Content Too Large"));
    }
    let old = request.version == Some(0);
    if !old && field("host").is_none() {
        return Err((400, "Bad Request"));
    }
    let says = |word: &[u8]| {
        field("connection").is_some_and(|value| {
            value
                .split(|&byte| byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(word))
        })
    };
    let close = says(b"close") || old && !says(b"keep-alive");
    let path = request.path.unwrap_or("");
    let path = path.split('?').next().unwrap_or(path);
    Ok(Some(Request {
        len,
        page: Page::at(path),
        body,
        close,
        old,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_one_by_one() {
        let first = b"GET /bytes/5 HTTP/1.1\r\nHost: a\r\n\r\n";
        let both = [
            &first[..],
            b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ]
        .concat();
        for len in 0..first.len() {
            assert_eq!(parse(&both[..len]), Ok(None), "{len} bytes");
        }
        let request = parse(&both).expect("good").expect("complete");
        assert_eq!(request.page, Some(Page::Bytes(5)));
        assert!(request.body && !request.close);
        let request = parse(&both[request.len..])
            .expect("good")
            .expect("complete");
        assert_eq!(request.page, Some(Page::Index));
        assert!(!request.body && request.close);
    }

    #[test]
    fn connections_of_http_1_0_close_unless_asked() {
        for (fields, close) in [("", true), ("Connection: Keep-Alive\r\n", false)] {
            let text = format!("GET / HTTP/1.0\r\n{fields}\r\n");
            let request = parse(text.as_bytes()).expect("good").expect("complete");
            assert_eq!(request.close, close, "{fields}");
        }
    }

    #[test]
    fn what_is_not_served_is_refused() {
        let long = format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(HEAD_MAX));
        for (text, code) in [
            ("\0\0\0\0", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n",
                413,
            ),
            (&long, 431),
        ] {
            let (refused, _) = parse(text.as_bytes()).expect_err(text);
            assert_eq!(refused, code);
        }
    }
}
