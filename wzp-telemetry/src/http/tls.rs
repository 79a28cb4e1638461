//! `tls_server_config` of a web.config.yml.

mod allowed;
mod choices;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, RootCertStore, ServerConfig};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio_rustls::TlsAcceptor;
use wzp_pem::PemError;
use wzp_untrusted::file;

use allowed::Allowed;
use choices::Version;

/// The keys that the exporter toolkit has. Those that are refused are there to say why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: ClientAuth,
    client_ca_file: Option<PathBuf>,
    client_allowed_sans: Option<Vec<String>>,
    #[serde(default = "least")]
    min_version: Version,
    #[serde(default = "most")]
    max_version: Version,
    cipher_suites: Option<Vec<String>>,
    curve_preferences: Option<Vec<String>>,
    #[serde(default)]
    prefer_server_cipher_suites: bool,
    cert: Option<IgnoredAny>,
    key: Option<IgnoredAny>,
    client_ca: Option<IgnoredAny>,
}

fn least() -> Version {
    Version::Tls12
}

fn most() -> Version {
    Version::Tls13
}

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum ClientAuth {
    #[default]
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
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

    /// Whether a client without a certificate is refused.
    pub(super) fn asks_for_certificates(&self) -> bool {
        self.client_auth_type == ClientAuth::RequireAndVerifyClientCert
    }

    /// # Errors
    /// A sentence about the first file or key that cannot be used; nothing of a file's
    /// content is in it.
    pub(super) fn acceptor(self) -> Result<TlsAcceptor, String> {
        self.refuse_inline()?;
        let suites = self.cipher_suites.as_deref();
        let provider = Arc::new(choices::provider(suites, self.curve_preferences.as_deref())?);
        let versions = choices::versions(self.min_version, self.max_version)?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .map_err(|_| "cipher_suites has none for max_version: TLS12".to_owned())?;
        let (keys, suites_offered) = (provider.key_provider, provider.cipher_suites.clone());
        let builder = match self.clients(provider)? {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let key = read("key_file", &self.key_file, wzp_pem::private_key)?;
        let signing = keys.load_private_key(key.clone_key()).map_err(|_| {
            format!(
                "key_file {} holds a private key that is damaged, or of another kind than RSA, \
                 P-256, P-384, P-521 and Ed25519",
                self.key_file.display()
            )
        })?;
        if !choices::fit(&suites_offered, &versions, signing.algorithm()) {
            return Err(format!(
                "cipher_suites has none for the key in key_file {}, which is {:?}, and max_version: \
                 TLS12 leaves no others, so nobody could connect",
                self.key_file.display(),
                signing.algorithm()
            ));
        }
        let certificates = read("cert_file", &self.cert_file, wzp_pem::chain)?;
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
        config.ignore_client_order = self.prefer_server_cipher_suites;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// What would be in the file itself, which is read by more than who may read a key.
    fn refuse_inline(&self) -> Result<(), String> {
        let inline = [
            ("cert", "cert_file", &self.cert),
            ("key", "key_file", &self.key),
            ("client_ca", "client_ca_file", &self.client_ca),
        ];
        match inline.into_iter().find(|(_, _, given)| given.is_some()) {
            None => Ok(()),
            Some((key, file, _)) => Err(format!(
                "{key} would have the PEM text in this file; write it to one of its own, and name \
                 that by {file}"
            )),
        }
    }

    /// What clients have to show; `None`: nothing.
    fn clients(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
        let wanted = self.client_auth_type;
        let names = self.client_allowed_sans.clone().unwrap_or_default();
        let file = match (wanted, &self.client_ca_file) {
            (ClientAuth::NoClientCert, None) if names.is_empty() => return Ok(None),
            (ClientAuth::NoClientCert, None) => {
                return Err("client_allowed_sans says whom to let in, but client_auth_type asks \
                            nobody; set it to RequireAndVerifyClientCert"
                    .into());
            }
            (ClientAuth::NoClientCert, Some(_)) => {
                return Err(
                    "client_ca_file says whom to trust, but client_auth_type asks nobody; \
                            set it to RequireAndVerifyClientCert"
                        .into(),
                );
            }
            (ClientAuth::RequestClientCert | ClientAuth::RequireAnyClientCert, _) => {
                return Err(
                    "this client_auth_type would take any certificate, one that the client \
                            has made itself too, and keep nobody out; set it to \
                            RequireAndVerifyClientCert, or to NoClientCert"
                        .into(),
                );
            }
            (_, None) => {
                return Err("client_auth_type needs client_ca_file, the authority whose \
                            certificates clients must have"
                    .into());
            }
            (_, Some(file)) => file,
        };
        let authorities = Arc::new(authorities(file)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider);
        let verifier = match wanted {
            ClientAuth::RequireAndVerifyClientCert => verifier,
            _ => verifier.allow_unauthenticated(),
        };
        let verifier = verifier.build().map_err(|error| format!("client_ca_file: {error}"))?;
        Ok(Some(match self.client_allowed_sans {
            None => verifier,
            Some(_) => Allowed::new(verifier, names),
        }))
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
