//! `tls_server_config` of a web.config.yml.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;
use wzp_untrusted::file;

/// The keys that are known here; the exporter toolkit has a few more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: ClientAuth,
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    min_version: MinVersion,
}

/// Whether clients need a certificate. To ask for one and not check it, which
/// the exporter toolkit has too, protects nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum ClientAuth {
    #[default]
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum MinVersion {
    #[default]
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

impl Section {
    /// Paths are meant from the folder of the file that names them.
    pub(super) fn relative_to(mut self, folder: &Path) -> Self {
        self.cert_file = folder.join(self.cert_file);
        self.key_file = folder.join(self.key_file);
        self.client_ca_file = self.client_ca_file.map(|file| folder.join(file));
        self
    }

    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        [&self.cert_file, &self.key_file].into_iter().chain(&self.client_ca_file).cloned()
    }

    /// # Errors
    /// A sentence about the first file or key that cannot be used.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            MinVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            MinVersion::Tls13 => &[&version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| format!("min_version: {error}"))?;
        let builder = match (self.client_auth_type, &self.client_ca_file) {
            (ClientAuth::NoClientCert, None) => builder.with_no_client_auth(),
            (ClientAuth::NoClientCert, Some(_)) => {
                return Err(
                    "client_ca_file says whom to trust, but client_auth_type asks nobody; \
                            set it to RequireAndVerifyClientCert"
                        .into(),
                );
            }
            (_, None) => {
                return Err("client_auth_type needs client_ca_file, the authority whose \
                            certificates clients must have"
                    .into());
            }
            (wanted, Some(file)) => {
                let authorities = Arc::new(authorities(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider);
                let verifier = match wanted {
                    ClientAuth::RequireAndVerifyClientCert => verifier,
                    _ => verifier.allow_unauthenticated(),
                };
                let verifier =
                    verifier.build().map_err(|error| format!("client_ca_file: {error}"))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = private_key(&self.key_file)
            .map_err(|problem| format!("key_file {}: {problem}", self.key_file.display()))?;
        let mut config = builder
            .with_single_cert(certificates("cert_file", &self.cert_file)?, key)
            .map_err(|error| format!("{}: {error}", self.cert_file.display()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// What a parser says of it is not passed on: it may quote the key.
fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = file::read(file, file::KEY_BYTES).map_err(|error| error.to_string())?;
    let wrong = |_| "there is no private key in it that can be read (PEM)".to_owned();
    PrivateKeyDer::from_pem_slice(&pem).map_err(wrong)
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates("client_ca_file", file)? {
        store.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(store)
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let problem = |error: &dyn Display| format!("{key} {}: {error}", file.display());
    let pem = file::read(file, file::SETTINGS_BYTES).map_err(|error| problem(&error))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| problem(&error))?;
    match certificates.is_empty() {
        true => Err(problem(&"there is no certificate in it")),
        false => Ok(certificates),
    }
}
