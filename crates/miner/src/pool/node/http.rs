//! One HTTP exchange with a node: hyper over a stream of zcn's.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use zcn::{ConnectOptions, TcpStream};

use super::error::NodeError;
use crate::http_io::Io;

/// Bytes of the longest answer: four times a template full of the largest block, in digits.
const MAX_ANSWER: usize = 64 << 20;
/// Probes of the kernel while a long poll waits.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// Posts `body` to `path` of `target` on a connection of its own: a node hangs up on idle
/// ones whenever it likes, and a found block must not meet such a one.
pub(super) async fn post(
    target: &str,
    path: &str,
    authorization: HeaderValue,
    body: Vec<u8>,
) -> Result<Answer, NodeError> {
    let mut options = ConnectOptions::default();
    options.keepalive = Some(TCP_KEEPALIVE);
    let stream = TcpStream::connect_host(target, &options).await?;
    let (mut sender, connection) = http1::handshake(Io(stream)).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, target)
        .header(AUTHORIZATION, authorization)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| NodeError::Url {
            url: format!("{target}{path}"),
            reason: "HTTP cannot ask for it",
        })?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER);
        match body.collect().await {
            Ok(body) => Ok(Answer {
                status,
                body: body.to_bytes(),
            }),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(NodeError::TooLong { max: MAX_ANSWER })
            }
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(error) => Err(NodeError::Http(*error)),
                // Nothing else can fail in a body.
                Err(_) => Err(NodeError::Status {
                    method: "HTTP",
                    status,
                }),
            },
        }
    };
    // The connection moves the bytes of the exchange; both end with this future.
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let mut ended = false;
    poll_fn(|context| {
        if !ended {
            // Its error is also the exchange's.
            ended = connection.as_mut().poll(context).is_ready();
        }
        exchange.as_mut().poll(context)
    })
    .await
}
