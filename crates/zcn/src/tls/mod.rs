//! TLS over [`TcpStream`]: rustls with the streams of this crate (feature `tls`).
//!
//! A [`TlsConnector`] says whom a client trusts, a [`TlsAcceptor`] what a server shows; both
//! make a [`TlsStream`], with the methods of a plain one. Everything that rustls can be set up
//! to do goes in through `from_config`.
//!
//! Bytes are copied: sealing and opening a record is a pass over them, from and into pool
//! buffers. The primitives are *ring*'s: it builds with a C compiler alone, where the other
//! provider of rustls wants CMake and builds several times as long.
//!
//! ```no_run
//! use zcn::tls::TlsConnector;
//! use zcn::{ConnectOptions, Runtime, TcpStream};
//!
//! let mut runtime = Runtime::new()?;
//! runtime.block_on(async {
//!     let connector = TlsConnector::system()?;
//!     let stream = TcpStream::connect_host("pool.example:3443", &ConnectOptions::default()).await?;
//!     let stream = connector.connect("pool.example", stream).await?;
//!     stream.send_copy(b"hello\n").await?;
//!     while let Some(buf) = stream.recv().await? {
//!         println!("{} bytes", buf.len());
//!     }
//!     Ok::<(), zcn::Error>(())
//! })??;
//! # Ok::<(), zcn::Error>(())
//! ```
//!
//! [`TcpStream`]: crate::TcpStream

mod acceptor;
mod connector;
mod fingerprint;
mod pinned;
mod stream;

pub use acceptor::TlsAcceptor;
pub use connector::TlsConnector;
pub use fingerprint::{Fingerprint, FingerprintError};
/// The library underneath, for `from_config`.
pub use rustls;
pub use stream::TlsStream;

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::error::{Action, Error};

/// The primitives, whatever else the process has installed.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Settings that rustls does not take.
fn setting(what: &str, source: impl std::fmt::Display) -> Error {
    Error::setting(Action::Secure, format!("{what}: {source}"))
}

/// An error of rustls, with what helps.
fn failed(action: Action, target: &str, error: rustls::Error) -> Error {
    use rustls::CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, UnknownIssuer,
    };
    let hint = match &error {
        rustls::Error::InvalidCertificate(UnknownIssuer) => Some(
            "nobody that this machine trusts has signed the certificate: pin its fingerprint, or \
             add its issuer to the system's store",
        ),
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            Some("the certificate is for another name: connect by that, or pin its fingerprint")
        }
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            Some("the certificate is too old, or this machine's clock is wrong")
        }
        rustls::Error::InvalidMessage(_) => Some("the other side does not speak TLS on this port"),
        _ => None,
    };
    let failed = Error::new(
        action,
        target,
        io::Error::new(io::ErrorKind::InvalidData, error),
    );
    match hint {
        Some(hint) => failed.hinted(hint),
        None => failed,
    }
}
