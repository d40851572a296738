//! A few pages over HTTP/1.1, for whoever watches a miner: read-only, made when asked for.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use zcn::TcpListener;

use crate::http_io::Io;

/// Connections at a time; more are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may last, whatever it does: a page takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What the body is, as in `application/json`.
    pub content_type: &'static str,
    /// What is sent.
    pub body: String,
}

/// Serves the pages that `page` makes of a path, for as long as the runtime lasts; where it
/// makes none, the answer is 404, and 405 to whatever would change something.
///
/// Returns when the listener fails for good. Bounded in connections and in their time.
pub async fn serve(listener: TcpListener, page: impl Fn(&str) -> Option<Page> + 'static) {
    let page = Rc::new(page);
    let open = Rc::new(Cell::new(0_usize));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) if open.get() < MAX_CONNECTIONS => stream,
            Ok(_) => continue,
            // Out of descriptors, most likely; they come back.
            Err(error) => {
                tracing::warn!(%error, "a reader of the pages could not be let in");
                zcn::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (page, open) = (page.clone(), open.clone());
        open.set(open.get() + 1);
        zcn::spawn(async move {
            let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &*page);
                async move { Ok::<_, Infallible>(answer) }
            });
            let serving = http1::Builder::new().serve_connection(Io(stream), service);
            if let Ok(Err(error)) = zcn::timeout(PATIENCE, serving).await {
                tracing::debug!(%error, "a reader of the pages is gone");
            }
            open.set(open.get() - 1);
        });
    }
}

fn answer(
    method: &Method,
    path: &str,
    page: &dyn Fn(&str) -> Option<Page>,
) -> Response<Full<Bytes>> {
    let (status, page) = if !matches!(*method, Method::GET | Method::HEAD) {
        (StatusCode::METHOD_NOT_ALLOWED, None)
    } else {
        match page(path) {
            Some(page) => (StatusCode::OK, Some(page)),
            None => (StatusCode::NOT_FOUND, None),
        }
    };
    let page = page.unwrap_or_else(|| Page {
        content_type: "text/plain",
        body: format!("{status}\n"),
    });
    let mut response = Response::new(Full::from(page.body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
