//! `tls_server_config` of a web.config.yml.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{Error, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;
use wzp_pem::PemError;
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
    /// A sentence about the first file or key that cannot be used; nothing of a file's
    /// content is in it.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            MinVersion::Tls12 => &[&version::TLS13, &version::TLS12],
            MinVersion::Tls13 => &[&version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| format!("min_version: {error}"))?;
        let keys = provider.key_provider;
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
        let key = read("key_file", &self.key_file, wzp_pem::private_key)?;
        if keys.load_private_key(key.clone_key()).is_err() {
            return Err(format!(
                "key_file {} holds a private key that is damaged, or of another kind than RSA, \
                 P-256, P-384, P-521 and Ed25519",
                self.key_file.display()
            ));
        }
        let certificates = read("cert_file", &self.cert_file, wzp_pem::certificates)?;
        let mut config =
            builder.with_single_cert(certificates, key).map_err(|error| match error {
                Error::InconsistentKeys(_) => format!(
                    "cert_file {} and key_file {} do not belong together",
                    self.cert_file.display(),
                    self.key_file.display()
                ),
                _ => unusable("cert_file", &self.cert_file),
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    const KEY: &str = "client_ca_file";
    let mut store = RootCertStore::empty();
    for certificate in read(KEY, file, wzp_pem::certificates)? {
        store.add(certificate).map_err(|_| unusable(KEY, file))?;
    }
    Ok(store)
}

fn unusable(key: &str, file: &Path) -> String {
    format!("{key} {} holds a certificate that is damaged, or not X.509 version 3", file.display())
}

/// What the PEM file that a key names holds.
fn read<T>(
    key: &str,
    path: &Path,
    read: impl FnOnce(&[u8]) -> Result<T, PemError>,
) -> Result<T, String> {
    let problem = |problem: &dyn Display| format!("{key} {}{problem}", path.display());
    let pem = file::read(path, file::SETTINGS_BYTES)
        .map_err(|error| problem(&format_args!(": {error}")))?;
    read(&pem).map_err(|error| problem(&format_args!(" {error}")))
}
