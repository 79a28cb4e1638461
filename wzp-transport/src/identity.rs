//! Who a relay is: a certificate chain and its key, from files of the operator
//! or self-signed on first start and kept.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use thiserror::Error;
use wzp_untrusted::file;

use crate::crypto_provider;

/// File in the state directory that holds a self-signed identity.
pub const IDENTITY_FILE: &str = "identity.pem";

/// SHA-256 of a certificate's DER form, what `--pin` takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of that certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a SHA-256 fingerprint: 64 hexadecimal digits, colons allowed")]
pub struct InvalidFingerprint;

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| *byte != b':')
            .map(|byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or(InvalidFingerprint)?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0)).collect();
        if digits.len() != 64 {
            return Err(InvalidFingerprint);
        }
        bytes.try_into().map(Self).map_err(|_| InvalidFingerprint)
    }
}

/// Why there is no usable identity.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file is missing, unreadable or not PEM of the right kind.
    #[error("cannot read {what} from {path}: {reason}")]
    Read {
        /// "a certificate" or "a private key".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// The certificate is no X.509 certificate that can be read.
    #[error("the first certificate in {path} cannot be read: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// The key does not belong to the certificate, or neither is usable.
    #[error("certificate {cert} and key {key} do not work together: {reason}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        reason: rustls::Error,
    },
    /// A self-signed identity could not be made or kept.
    #[error(
        "cannot keep a self-signed identity in {path}: {reason}; choose a writable directory with --state-dir"
    )]
    Create {
        /// The file that was to be written.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

/// A certificate chain, end entity first, and its private key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    not_after: i64,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key(), not_after: self.not_after }
    }
}

impl Identity {
    /// Reads PEM files, the chain with its end entity first.
    ///
    /// # Errors
    /// [`IdentityError::Read`] or [`IdentityError::Mismatch`].
    pub fn from_files(cert: &Path, key: &Path) -> Result<Self, IdentityError> {
        let read = |what, path: &Path, reason: String| IdentityError::Read {
            what,
            path: path.into(),
            reason,
        };
        let pem = file::read(cert, file::SETTINGS_BYTES)
            .map_err(|error| read("a certificate", cert, error.to_string()))?;
        let chain = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| read("a certificate", cert, describe(&error)))?;
        let Some(end_entity) = chain.first() else {
            return Err(read("a certificate", cert, "it holds no CERTIFICATE block".into()));
        };
        let not_after = not_after(end_entity)
            .map_err(|reason| IdentityError::Certificate { path: cert.into(), reason })?;
        let secret = file::read(key, file::KEY_BYTES)
            .map_err(|error| read("a private key", key, error.to_string()))?;
        let identity = Self {
            not_after,
            chain,
            key: PrivateKeyDer::from_pem_slice(&secret)
                .map_err(|error| read("a private key", key, describe(&error)))?,
        };
        match identity.server_config() {
            Ok(_) => Ok(identity),
            Err(reason) => {
                Err(IdentityError::Mismatch { cert: cert.into(), key: key.into(), reason })
            }
        }
    }

    /// The self-signed identity kept in `directory`; made there the first time.
    ///
    /// # Errors
    /// Any [`IdentityError`]; an identity that exists is never replaced.
    pub fn load_or_create(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(IDENTITY_FILE);
        if !path.exists() {
            let create = |reason: String| IdentityError::Create { path: path.clone(), reason };
            let (_, pem) = Self::generate().map_err(|error| create(error.to_string()))?;
            persist(directory, &path, pem.as_bytes()).map_err(|error| create(error.to_string()))?;
        }
        Self::from_files(&path, &path)
    }

    /// A new self-signed identity (ECDSA P-256) and its PEM text.
    ///
    /// # Errors
    /// The crypto library failed.
    pub fn generate() -> Result<(Self, String), rcgen::Error> {
        let key = rcgen::KeyPair::generate()?;
        let mut parameters = rcgen::CertificateParams::new(vec!["wzp-relay".to_owned()])?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "wzp-relay");
        let certificate = parameters.self_signed(&key)?;
        let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
        let identity = Self {
            not_after: parameters.not_after.unix_timestamp(),
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        };
        Ok((identity, pem))
    }

    /// What clients pin: the fingerprint of the end entity.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.chain[0])
    }

    /// When the end entity expires, in seconds since 1970.
    pub const fn expires(&self) -> i64 {
        self.not_after
    }

    /// The key that signs stateless resets (RFC 9000 section 10.3.2). Derived
    /// from the private key, so that a relay that was restarted can tell its
    /// former clients at once that it no longer knows them.
    pub fn reset_key(&self) -> Arc<dyn quinn::crypto::HmacKey> {
        const PURPOSE: &[u8] = b"wzp stateless reset key";
        let digest =
            Sha256::new().chain_update(PURPOSE).chain_update(self.key.secret_der()).finalize();
        Arc::new(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &digest))
    }

    /// TLS for the relay's side: TLS 1.3, this identity, ALPN of the protocol.
    ///
    /// # Errors
    /// The key does not belong to the certificate.
    pub fn server_config(&self) -> Result<rustls::ServerConfig, rustls::Error> {
        let mut config = rustls::ServerConfig::builder_with_provider(crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![wzp_proto::ALPN.to_vec()];
        Ok(config)
    }

    /// The same as QUIC takes it.
    ///
    /// # Errors
    /// The key does not belong to the certificate.
    pub fn quic_server_config(
        &self,
    ) -> Result<Arc<quinn::crypto::rustls::QuicServerConfig>, rustls::Error> {
        quinn::crypto::rustls::QuicServerConfig::try_from(self.server_config()?)
            .map(Arc::new)
            .map_err(|error| rustls::Error::General(error.to_string()))
    }
}

/// When a certificate expires, in seconds since 1970.
fn not_after(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    Ok(parsed.validity().not_after.timestamp())
}

/// A reason without the noise of the library's own type names.
fn describe(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::NoItemsFound => "it holds no such PEM block".to_owned(),
        other => other.to_string(),
    }
}

/// Writes a secret so that a crash leaves either nothing or the whole file.
fn persist(directory: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let temporary = path.with_extension("pem.new");
    // One that a crash left behind, or that somebody put there.
    if let Err(error) = std::fs::remove_file(&temporary)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn identity_is_made_once_and_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("deep/state");
        let first = Identity::load_or_create(&state).unwrap();
        let second = Identity::load_or_create(&state).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        let mode = state.join(IDENTITY_FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn expiry_is_that_of_the_end_entity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pem");
        let (made, pem) = Identity::generate().unwrap();
        std::fs::write(&path, pem).unwrap();
        let read = Identity::from_files(&path, &path).unwrap();
        // 4096-01-01, rcgen's way to say never.
        assert_eq!((made.expires(), read.expires()), (67_090_118_400, 67_090_118_400));

        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, no_certificate).unwrap();
        let error = Identity::from_files(&path, &path).unwrap_err();
        assert!(matches!(error, IdentityError::Certificate { .. }), "{error}");
    }

    #[test]
    fn damaged_identity_is_reported_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(IDENTITY_FILE);
        std::fs::write(&path, "not PEM").unwrap();
        let error = Identity::load_or_create(directory.path()).unwrap_err().to_string();
        assert!(error.contains("identity.pem") && error.contains("certificate"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"not PEM");
    }

    #[test]
    fn devices_and_what_has_no_end_are_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let good = directory.path().join("good.pem");
        std::fs::write(&good, Identity::generate().unwrap().1).unwrap();
        let endless = directory.path().join("endless.pem");
        std::fs::File::create(&endless).unwrap().set_len(1 << 40).unwrap();
        for (bad, what) in [(Path::new("/dev/zero"), "a device"), (&endless, "more than")] {
            for (cert, key) in [(bad, good.as_path()), (&good, bad)] {
                let error = Identity::from_files(cert, key).unwrap_err().to_string();
                let place = bad.to_str().unwrap();
                assert!(error.contains(what) && error.contains(place), "{error}");
            }
        }
    }

    #[test]
    fn key_of_another_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a.pem"), directory.path().join("b.pem"));
        std::fs::write(&a, Identity::generate().unwrap().1).unwrap();
        std::fs::write(&b, Identity::generate().unwrap().1).unwrap();
        let error = Identity::from_files(&a, &b).unwrap_err();
        assert!(matches!(error, IdentityError::Mismatch { .. }), "{error}");
    }

    #[test]
    fn fingerprints_are_read_as_tools_print_them() {
        let (identity, _) = Identity::generate().unwrap();
        let plain = identity.fingerprint().to_string();
        let pairs: Vec<_> =
            plain.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
        for text in [plain.clone(), plain.to_uppercase(), pairs.join(":")] {
            assert_eq!(text.parse(), Ok(identity.fingerprint()), "{text}");
        }
        for text in ["", "abc", &plain[1..], &format!("{plain}0"), &plain.replace(&plain[..1], "x")]
        {
            assert_eq!(text.parse::<Fingerprint>(), Err(InvalidFingerprint), "{text}");
        }
    }
}
