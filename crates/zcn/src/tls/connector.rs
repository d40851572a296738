//! The client's side: whom it trusts.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::pinned::Pinned;
use super::{Fingerprint, TlsStream, failed, provider, setting};
use crate::TcpStream;
use crate::error::{Action, Error, Result};

/// Makes TLS connections of a client. Cheap to clone; keeps sessions to resume them.
#[derive(Clone, Debug)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
}

impl TlsConnector {
    /// Trusts whom the system trusts: its store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR`
    /// name. Reads files; make one and keep it.
    ///
    /// # Errors
    /// There is no certificate at all.
    pub fn system() -> Result<Self> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some in every store are too old to be read, which is no loss.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let source = found.errors.first().map(ToString::to_string);
            let source = source.unwrap_or_else(|| "it is empty".to_owned());
            return Err(setting("the system's certificates", source).hinted(
                "install the package ca-certificates, name a file in SSL_CERT_FILE, or pin a \
                 fingerprint",
            ));
        }
        Self::trusting(roots)
    }

    /// Trusts the certificates in `pem` and those that they signed, and nobody else.
    ///
    /// # Errors
    /// There is none in it, or one cannot be read.
    pub fn with_roots(pem: &[u8]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| setting("a root certificate", error))?;
            roots
                .add(certificate)
                .map_err(|error| setting("a root certificate", error))?;
        }
        if roots.is_empty() {
            return Err(setting("root certificates", "there is none"));
        }
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Self> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| setting("root certificates", error))?;
        Self::verified_by(verifier)
    }

    /// Trusts servers whose certificate has one of these fingerprints, whoever signed it and
    /// whatever name it is for, and nobody else.
    ///
    /// # Errors
    /// There is no fingerprint.
    pub fn pinned(fingerprints: impl IntoIterator<Item = Fingerprint>) -> Result<Self> {
        let fingerprints: Vec<_> = fingerprints.into_iter().collect();
        if fingerprints.is_empty() {
            return Err(setting("pinned fingerprints", "there is none"));
        }
        Self::verified_by(Arc::new(Pinned {
            fingerprints,
            provider: provider(),
        }))
    }

    fn verified_by(verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>) -> Result<Self> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| setting("versions of TLS", error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self::from_config(Arc::new(config)))
    }

    /// Does what `config` says.
    pub fn from_config(config: Arc<ClientConfig>) -> Self {
        Self { config }
    }

    /// Makes `stream` a TLS connection to the server called `name` (a host name or an address).
    /// There is no time limit: put [`timeout`](crate::timeout) around it.
    ///
    /// # Errors
    /// `name` is none; the server is not who it should be, or does not speak TLS; what the
    /// connection died of.
    pub async fn connect(&self, name: &str, stream: TcpStream) -> Result<TlsStream> {
        let invalid = |error| Error::setting(Action::Secure, format!("{name}: {error}"));
        let server = ServerName::try_from(name.to_owned()).map_err(invalid)?;
        let connection = ClientConnection::new(self.config.clone(), server)
            .map_err(|error| failed(Action::Secure, name, error))?;
        TlsStream::handshake(connection.into(), stream, name).await
    }
}
