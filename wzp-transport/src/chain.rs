//! How clients that trust the authorities of this system judge a certificate.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;

use crate::crypto_provider;
use crate::trust::system_roots;

/// Why clients that trust the authorities of this system would refuse a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// It, or one that vouches for it, has expired.
    Expired,
    /// It, or one that vouches for it, is not good yet.
    NotYet,
    /// No authority that is trusted here vouches for it, by way of those that come with it.
    Untrusted,
    /// It names no host.
    Nameless,
    /// Anything else, in words that have nothing of a file.
    Other(String),
}

/// Looks at a chain, end entity first, as a client does that trusts the authorities of
/// this system. Gives the first host that it names.
///
/// # Errors
/// Any [`ChainError`].
pub fn check_chain(chain: &[CertificateDer<'_>]) -> Result<String, ChainError> {
    let other = |error: &dyn Display| ChainError::Other(error.to_string());
    let (end_entity, intermediates) = chain.split_first().ok_or(ChainError::Nameless)?;
    let name = first_host(end_entity).ok_or(ChainError::Nameless)?;
    // Any name that it is for will do.
    let host = name.replacen('*', "any", 1);
    let host = ServerName::try_from(host).map_err(|_| ChainError::Nameless)?;
    let roots = system_roots("").map_err(|error| other(&error))?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto_provider()).build();
    let verifier = verifier.map_err(|error| other(&error))?;
    let now = UnixTime::now();
    match verifier.verify_server_cert(end_entity, intermediates, &host, &[], now) {
        Ok(_) => Ok(name),
        Err(rustls::Error::InvalidCertificate(error)) => Err(match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ChainError::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ChainError::NotYet
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                ChainError::Untrusted
            }
            error => other(&error),
        }),
        Err(error) => Err(other(&error)),
    }
}

/// The first host that a certificate is for.
fn first_host(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok().flatten()?;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from);
            Some(v4.or_else(v6)?.to_string())
        }
        _ => None,
    })
}
