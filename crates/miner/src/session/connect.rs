//! From the address of a pool to a session.

use std::time::{Duration, Instant};

use zcn::tls::TlsConnector;
use zcn::{ConnectOptions, TcpStream};

use super::settings::{Pool, SessionSettings};
use super::talk::{Talk, TalkConfig};
use super::{Disconnect, PoolUrl, Protocol};
use crate::signal::Signal;
use crate::wire::{Wire, Woken};

/// Probes of the kernel on a connection that carries nothing.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Connects to `url` with the trust that is set for `pool`.
pub(super) async fn connect(
    settings: &SessionSettings,
    pool: &Pool,
    url: &PoolUrl,
) -> Result<Wire, Disconnect> {
    let connecting = async {
        let mut options = ConnectOptions::default();
        options.keepalive = Some(TCP_KEEPALIVE);
        let stream = TcpStream::connect_host(&url.target(), &options).await?;
        if url.protocol != Protocol::V1Tls {
            return Ok(Wire::Plain(stream));
        }
        let connector = match (&pool.pins[..], &settings.trust) {
            ([], Some(trust)) => trust.clone(),
            ([], None) => TlsConnector::system()?,
            (pins, _) => TlsConnector::pinned(pins.iter().copied())?,
        };
        let stream = connector.connect(&url.host, stream).await?;
        Ok(Wire::Tls(Box::new(stream)))
    };
    let limit = settings.connect_timeout;
    let connected = zcn::timeout(limit, connecting).await;
    connected.unwrap_or(Err(Disconnect::Timeout(limit)))
}

/// Connects, and goes on until the pool takes shares; what it has told by then waits in the
/// session.
pub(super) async fn establish(
    settings: &SessionSettings,
    pool: &Pool,
    config: TalkConfig,
) -> Result<(Wire, Talk), Disconnect> {
    let wire = connect(settings, pool, &pool.url).await?;
    let mut session = Talk::start(config, Instant::now())?;
    let (nobody, mut heard) = (Signal::default(), 0);
    while !session.is_ready() {
        send(&wire, &mut session, settings.connect_timeout).await?;
        let deadline = session.poll_timeout();
        match wire.wait(&nobody, &mut heard, deadline).await? {
            Woken::Bytes(bytes) => session.handle_bytes(Instant::now(), &bytes)?,
            Woken::End => return Err(session.ended()),
            Woken::Signal | Woken::Time => session.handle_timeout(Instant::now())?,
        }
    }
    Ok((wire, session))
}

/// Sends what the session has to say.
pub(super) async fn send(
    wire: &Wire,
    session: &mut Talk,
    limit: Duration,
) -> Result<(), Disconnect> {
    let count = session.output().len();
    wire.send(session.output(), limit).await?;
    session.consume_output(count);
    Ok(())
}
