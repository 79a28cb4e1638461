//! How a client decides that a relay is the right one. There are three honest
//! ways and no silent fourth.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_native_certs::ErrorKind;
use thiserror::Error;
use wzp_untrusted::file;

use crate::crypto_provider;
use crate::identity::Fingerprint;

/// Which relays a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A certificate for the host's name from an authority this system trusts
    /// (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured).
    WebPki,
    /// Exactly the certificate with this fingerprint, whatever it says.
    Pinned(Fingerprint),
    /// Any certificate: whoever is in between can listen.
    Insecure,
}

/// Why no TLS configuration could be made.
#[derive(Debug, Error)]
pub enum TrustError {
    /// There are no certificate authorities to trust, and what else could be done.
    #[error(
        "no certificate authority is trusted here ({0}); install them (Debian: \
         ca-certificates), or name a file of them in SSL_CERT_FILE{1}"
    )]
    NoRoots(String, &'static str),
    /// rustls refused the configuration.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Trust {
    /// TLS for the client's side: TLS 1.3, ALPN of the protocol.
    ///
    /// # Errors
    /// Any [`TrustError`].
    pub fn client_config(self) -> Result<rustls::ClientConfig, TrustError> {
        let builder = rustls::ClientConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut config = match self {
            Self::WebPki => {
                let otherwise = ", or name the relay's certificate with --pin";
                builder.with_root_certificates(system_roots(otherwise)?).with_no_client_auth()
            }
            Self::Pinned(_) | Self::Insecure => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(WithoutAuthority {
                    pin: match self {
                        Self::Pinned(fingerprint) => Some(fingerprint),
                        _ => None,
                    },
                    provider: crypto_provider(),
                }))
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![wzp_proto::ALPN.to_vec()];
        // A client joins once: there is nothing to resume. A program that joins
        // often would measure handshakes that are cheaper than real ones.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// TLS for requests to other servers over HTTPS, under the authorities that
/// the system trusts.
///
/// # Errors
/// Any [`TrustError`].
pub fn https_client_config() -> Result<rustls::ClientConfig, TrustError> {
    let builder = rustls::ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)?;
    Ok(builder.with_root_certificates(system_roots("")?).with_no_client_auth())
}

/// Longest file of authorities, in bytes: a hundred times what systems have.
const ROOTS_BYTES: u64 = 32 << 20;

fn system_roots(otherwise: &'static str) -> Result<rustls::RootCertStore, TrustError> {
    if let Some(path) = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from)
        && let Err(error) = file::look(&path, ROOTS_BYTES)
        && error.kind() == io::ErrorKind::InvalidInput
    {
        let reason = format!("SSL_CERT_FILE={}: {error}", path.display());
        return Err(TrustError::NoRoots(reason, otherwise));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let reasons: Vec<_> = found.errors.iter().map(reason).collect();
        let reasons = if reasons.is_empty() { "none found".to_owned() } else { reasons.join("; ") };
        return Err(TrustError::NoRoots(reasons, otherwise));
    }
    Ok(roots)
}

/// Why a file of authorities is of no use, without a part of it: it may be a key that
/// somebody named by mistake.
fn reason(error: &rustls_native_certs::Error) -> String {
    match &error.kind {
        ErrorKind::Io { inner, path } => format!("{}: {inner}", path.display()),
        ErrorKind::Os(_) => "the system's store cannot be read".to_owned(),
        _ => "a file is not PEM as it should be".to_owned(),
    }
}

/// Checks the certificate's fingerprint, if one is wanted, and always that the
/// peer holds the certificate's key.
#[derive(Debug)]
struct WithoutAuthority {
    pin: Option<Fingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for WithoutAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.pin {
            Some(pin) if pin != Fingerprint::of(end_entity) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
