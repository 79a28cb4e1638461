//! How a client decides that a relay is the right one. There are three honest
//! ways and no silent fourth.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier,
};
use rustls_native_certs::{CertificateResult, ErrorKind, load_certs_from_paths, load_native_certs};
use thiserror::Error;
use tracing::warn;
use wzp_untrusted::file;

use crate::crypto_provider;
use crate::fingerprint::Fingerprint;

/// Which relays a client accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A certificate for the host's name from an authority this system trusts
    /// (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured).
    WebPki,
    /// Exactly the certificate with this fingerprint, whatever it says.
    Pinned(Fingerprint),
    /// Any of the certificates with these fingerprints: those of several relays.
    PinnedAny(Vec<Fingerprint>),
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
    /// What the environment names has none, or cannot be read: an authority that somebody
    /// trusts would not be trusted here.
    #[error(
        "no certificate authority is trusted here ({variable}={}: {reason}); name PEM \
         certificates of authorities, or unset it", path.display()
    )]
    Named {
        /// The variable of the environment.
        variable: &'static str,
        /// What it names.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
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
            Self::Pinned(fingerprint) => without_authority(builder, Some(vec![fingerprint])),
            Self::PinnedAny(fingerprints) => without_authority(builder, Some(fingerprints)),
            Self::Insecure => without_authority(builder, None),
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

const FILE: &str = "SSL_CERT_FILE";
const DIR: &str = "SSL_CERT_DIR";

/// The authorities that the environment names, or the system's.
pub(crate) fn system_roots(otherwise: &'static str) -> Result<RootCertStore, TrustError> {
    if let Some(roots) = named_roots(std::env::var_os(FILE), std::env::var_os(DIR))? {
        return Ok(roots);
    }
    let mut roots = RootCertStore::empty();
    let (usable, reasons) = add(&mut roots, load_native_certs());
    if usable { Ok(roots) } else { Err(TrustError::NoRoots(reasons, otherwise)) }
}

/// The authorities in the file and in all of the directories, if there is one of these.
/// Each must have some: whoever named it meant it to.
fn named_roots(
    file: Option<OsString>,
    dirs: Option<OsString>,
) -> Result<Option<RootCertStore>, TrustError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = file.map(PathBuf::from) {
        let found = file::look(&path, ROOTS_BYTES).map_err(|error| error.to_string());
        let found = found.map(|_| load_certs_from_paths(Some(&path), None));
        let added = found.and_then(|found| {
            let is_whole = found.errors.is_empty();
            let (usable, reasons) = add(&mut roots, found);
            if usable && is_whole { Ok(()) } else { Err(reasons) }
        });
        added.map_err(|reason| TrustError::Named { variable: FILE, path, reason })?;
    }
    let dirs: Vec<_> = dirs.iter().flat_map(std::env::split_paths).collect();
    for path in dirs.into_iter().filter(|path| !path.as_os_str().is_empty()) {
        let found = load_certs_from_paths(None, Some(&path));
        let is_whole = found.errors.is_empty();
        let (usable, reason) = add(&mut roots, found);
        if !usable {
            return Err(TrustError::Named { variable: DIR, path, reason });
        }
        if !is_whole {
            warn!(target: "wzp::tls", path = %path.display(), reason, "not all authorities in SSL_CERT_DIR are trusted");
        }
    }
    Ok((!roots.is_empty()).then_some(roots))
}

/// Adds what was found: whether there was any of use, and why not all was read.
/// Certificates that are no authorities are passed over, as systems have some.
fn add(roots: &mut RootCertStore, found: CertificateResult) -> (bool, String) {
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    let reasons: Vec<_> = found.errors.iter().map(reason).collect();
    let reasons = if reasons.is_empty() { "none found".to_owned() } else { reasons.join("; ") };
    (usable > 0, reasons)
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

fn without_authority(
    builder: ConfigBuilder<rustls::ClientConfig, WantsVerifier>,
    pins: Option<Vec<Fingerprint>>,
) -> rustls::ClientConfig {
    let verifier = WithoutAuthority { pins, provider: crypto_provider() };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    builder.with_no_client_auth()
}

/// Checks the certificate's fingerprint, if one is wanted, and always that the
/// peer holds the certificate's key.
#[derive(Debug)]
struct WithoutAuthority {
    pins: Option<Vec<Fingerprint>>,
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
        match &self.pins {
            Some(pins) if !pins.contains(&Fingerprint::of(end_entity)) => {
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;

    use super::*;

    /// A certificate and its key.
    fn pem() -> String {
        let made = rcgen::generate_simple_self_signed(["wzp-relay".to_owned()]).unwrap();
        made.cert.pem() + &made.signing_key.serialize_pem()
    }

    /// What becomes of what the environment names, `D/` in it replaced: how many are
    /// trusted, or what is told.
    fn named(folder: &std::path::Path, file: &str, dirs: &str) -> Result<Option<usize>, String> {
        let fill = |text: &str| {
            let text = text.replace("D/", &format!("{}/", folder.display()));
            (!text.is_empty()).then(|| OsStr::new(&text).to_owned())
        };
        let found = named_roots(fill(file), fill(dirs));
        found.map(|roots| roots.map(|roots| roots.len())).map_err(|error| error.to_string())
    }

    #[test]
    fn whatever_the_environment_names_has_an_authority() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for dir in ["one", "two", "none", "damaged", "mixed"] {
            fs::create_dir(at(dir)).unwrap();
        }
        let damaged = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        for name in ["file.pem", "one/a.pem", "two/b.pem", "mixed/c.pem"] {
            fs::write(at(name), pem()).unwrap();
        }
        for name in ["damaged.pem", "damaged/d.pem", "mixed/d.pem"] {
            fs::write(at(name), damaged).unwrap();
        }
        let half = fs::read_to_string(at("file.pem")).unwrap() + damaged;
        fs::write(at("half.pem"), half).unwrap();
        fs::write(at("empty.pem"), "").unwrap();
        fs::write(at("none/readme"), "there are none").unwrap();
        let cases = [
            ("", "", Ok(None)),
            ("D/file.pem", "", Ok(Some(1))),
            ("", "D/one", Ok(Some(1))),
            ("D/file.pem", "D/one:D/two", Ok(Some(3))),
            ("D/file.pem", "::D/one:", Ok(Some(2))),
            ("", "D/mixed", Ok(Some(1))),
            ("D/no.pem", "D/one", Err(("SSL_CERT_FILE", "no.pem: No such file"))),
            ("D/empty.pem", "D/one", Err(("SSL_CERT_FILE", "empty.pem: none found"))),
            ("D/damaged.pem", "D/one", Err(("SSL_CERT_FILE", "damaged.pem: a file is not PEM"))),
            ("D/half.pem", "D/one", Err(("SSL_CERT_FILE", "half.pem: a file is not PEM"))),
            ("D/one", "D/one", Err(("SSL_CERT_FILE", "one: it is a folder"))),
            ("D/file.pem", "D/no", Err(("SSL_CERT_DIR", "No such file"))),
            ("D/file.pem", "D/none", Err(("SSL_CERT_DIR", "none: none found"))),
            ("D/file.pem", "D/damaged", Err(("SSL_CERT_DIR", "damaged: a file is not PEM"))),
            ("D/file.pem", "D/one:D/none", Err(("SSL_CERT_DIR", "none: none found"))),
            ("D/file.pem", "D/file.pem", Err(("SSL_CERT_DIR", "Not a directory"))),
        ];
        for (file, dirs, expected) in cases {
            match (named(folder.path(), file, dirs), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{file} {dirs}"),
                (Err(error), Err((variable, reason))) => assert!(
                    error.contains(variable) && error.contains(reason),
                    "{file} {dirs}: {error}"
                ),
                (found, _) => panic!("{file} {dirs}: {found:?}"),
            }
        }
    }
}
