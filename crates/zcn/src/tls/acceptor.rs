//! The server's side: what it shows.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::{TlsStream, failed, provider, setting};
use crate::TcpStream;
use crate::error::{Action, Result};

/// Makes TLS connections of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
}

impl TlsAcceptor {
    /// Shows the certificates in `chain`, the server's own first, and signs with `key`; both
    /// are PEM.
    ///
    /// # Errors
    /// One of them cannot be read, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| setting("the certificate", error))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| setting("the key", error))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| setting("versions of TLS", error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| setting("certificate and key", error))?;
        Ok(Self::from_config(Arc::new(config)))
    }

    /// Does what `config` says.
    pub fn from_config(config: Arc<ServerConfig>) -> Self {
        Self { config }
    }

    /// Makes an accepted connection one of TLS. There is no time limit: put
    /// [`timeout`](crate::timeout) around it, or a client that says nothing stays.
    ///
    /// # Errors
    /// The client does not speak TLS, or not what the settings ask for; what the connection
    /// died of.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream> {
        let peer = stream.peer_addr().map(|peer| peer.to_string());
        let peer = peer.unwrap_or_default();
        let connection = ServerConnection::new(self.config.clone())
            .map_err(|error| failed(Action::Secure, &peer, error))?;
        TlsStream::handshake(connection.into(), stream, &peer).await
    }
}
