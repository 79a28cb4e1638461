//! Who a relay is: a certificate chain and its key, from files of the operator
//! or self-signed on first start and kept.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn_proto::crypto::HmacKey;
use quinn_proto::crypto::rustls::QuicServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use thiserror::Error;
use wzp_pem::PemError;
use wzp_untrusted::file;

use crate::crypto_provider;
use crate::fingerprint::Fingerprint;

/// File in the state directory that holds a self-signed identity.
pub const IDENTITY_FILE: &str = "identity.pem";

/// The same while it is being written.
pub const NEW_IDENTITY_FILE: &str = "identity.pem.new";

/// Why there is no usable identity. No variant has anything of a file's content in
/// it, nor what a library said of it: the file may hold a private key.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file is missing or unreadable.
    #[error("cannot read {what} from {}: {reason}", path.display())]
    Read {
        /// "a certificate" or "a private key".
        what: &'static str,
        /// The file that the error is about.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// A file is not PEM of the right kind.
    #[error("cannot read {what}: {} {problem}", path.display())]
    Pem {
        /// "a certificate" or "a private key".
        what: &'static str,
        /// The file that the error is about.
        path: PathBuf,
        /// What is wrong with it.
        problem: PemError,
    },
    /// The certificate is no X.509 certificate that can be used.
    #[error(
        "the first certificate in {} cannot be used: it is damaged, or not X.509 version 3",
        .0.display()
    )]
    Certificate(PathBuf),
    /// The key is of no use.
    #[error(
        "the private key in {} cannot be used: it is damaged, or of another kind than RSA, \
         P-256, P-384, P-521 and Ed25519",
        .0.display()
    )]
    Key(PathBuf),
    /// The key does not belong to the certificate.
    #[error("certificate {} and key {} do not belong together", cert.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A link where the self-signed identity is kept leads to nothing: a disk is missing, it
    /// may be, and with it the identity that clients know.
    #[error(
        "{} is a link to {}, where nothing is; bring that back, or remove the link to have a \
         new identity made, whose fingerprint clients do not know yet",
        path.display(), target.display()
    )]
    Dangling {
        /// The link that leads nowhere.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A self-signed identity could not be made or kept.
    #[error(
        "cannot keep a self-signed identity in {}: {reason}; choose a writable directory with --state-dir",
        path.display()
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
    /// In the order of the chain; `None`: it cannot be told.
    validities: Vec<Option<Validity>>,
}

/// When a certificate is good, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When it begins to be valid, in seconds since 1970.
    pub begins: i64,
    /// When it expires, in seconds since 1970.
    pub expires: i64,
}

impl Validity {
    /// That of an X.509 certificate.
    ///
    /// # Errors
    /// What the parser said.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
        let validity = parsed.validity();
        Ok(Self {
            begins: validity.not_before.timestamp(),
            expires: validity.not_after.timestamp(),
        })
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        let (chain, validities) = (self.chain.clone(), self.validities.clone());
        Self { chain, key: self.key.clone_key(), validities }
    }
}

impl Identity {
    /// Reads PEM files, the chain with its end entity first.
    ///
    /// # Errors
    /// Any [`IdentityError`] but the last.
    pub fn from_files(cert: &Path, key: &Path) -> Result<Self, IdentityError> {
        let chain = read_pem("a certificate", cert, wzp_pem::chain)?;
        // The others are for clients to read.
        Validity::of(&chain[0]).map_err(|_| IdentityError::Certificate(cert.into()))?;
        let identity = Self {
            validities: chain.iter().map(|one| Validity::of(one).ok()).collect(),
            chain,
            key: read_pem("a private key", key, wzp_pem::private_key)?,
        };
        if crypto_provider().key_provider.load_private_key(identity.key.clone_key()).is_err() {
            return Err(IdentityError::Key(key.into()));
        }
        match identity.server_config() {
            Ok(_) => Ok(identity),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(IdentityError::Mismatch { cert: cert.into(), key: key.into() })
            }
            Err(_) => Err(IdentityError::Certificate(cert.into())),
        }
    }

    /// The self-signed identity kept in `directory`, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or not be used.
    pub fn load(directory: &Path) -> Result<Option<Self>, IdentityError> {
        let path = directory.join(IDENTITY_FILE);
        if path.exists() {
            return Self::from_files(&path, &path).map(Some);
        }
        match path.read_link() {
            Ok(target) => Err(IdentityError::Dangling { path, target }),
            Err(_) => Ok(None),
        }
    }

    /// Whether what is in `directory` leaves room for an identity that is being made.
    ///
    /// # Errors
    /// [`IdentityError::Create`].
    pub fn check_room(directory: &Path) -> Result<(), IdentityError> {
        let new = directory.join(NEW_IDENTITY_FILE);
        match new.symlink_metadata() {
            Ok(found) if found.is_dir() => Err(IdentityError::Create {
                path: directory.join(IDENTITY_FILE),
                reason: format!("{} is a folder, remove it", new.display()),
            }),
            _ => Ok(()),
        }
    }

    /// The self-signed identity kept in `directory`; made there the first time.
    ///
    /// # Errors
    /// Any [`IdentityError`]; an identity that exists is never replaced.
    pub fn load_or_create(directory: &Path) -> Result<Self, IdentityError> {
        if let Some(kept) = Self::load(directory)? {
            return Ok(kept);
        }
        Self::check_room(directory)?;
        let path = directory.join(IDENTITY_FILE);
        let create = |reason: String| IdentityError::Create { path: path.clone(), reason };
        let (_, pem) = Self::generate().map_err(|error| create(error.to_string()))?;
        persist(directory, &path, pem.as_bytes()).map_err(|error| create(error.to_string()))?;
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
            validities: vec![Some(Validity {
                begins: parameters.not_before.unix_timestamp(),
                expires: parameters.not_after.unix_timestamp(),
            })],
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        };
        Ok((identity, pem))
    }

    /// The certificates, end entity first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What clients pin: the fingerprint of the end entity.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.chain[0])
    }

    /// When the first of the certificates expires, in seconds since 1970: a chain is good
    /// for as long as all of it.
    pub fn expires(&self) -> i64 {
        self.validities.iter().flatten().map(|validity| validity.expires).min().unwrap_or(i64::MAX)
    }

    /// When each of the certificates is good, end entity first; `None`: that cannot be read.
    pub fn validities(&self) -> &[Option<Validity>] {
        &self.validities
    }

    /// The key that signs stateless resets (RFC 9000 section 10.3.2). Derived
    /// from the private key, so that a relay that was restarted can tell its
    /// former clients at once that it no longer knows them.
    pub fn reset_key(&self) -> Arc<dyn HmacKey> {
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
    pub fn quic_server_config(&self) -> Result<Arc<QuicServerConfig>, rustls::Error> {
        QuicServerConfig::try_from(self.server_config()?)
            .map(Arc::new)
            .map_err(|error| rustls::Error::General(error.to_string()))
    }
}

/// What a PEM file holds.
fn read_pem<T>(
    what: &'static str,
    path: &Path,
    read: impl FnOnce(&[u8]) -> Result<T, PemError>,
) -> Result<T, IdentityError> {
    let pem = file::read(path, file::SETTINGS_BYTES).map_err(|reason| IdentityError::Read {
        what,
        path: path.into(),
        reason,
    })?;
    read(&pem).map_err(|problem| IdentityError::Pem { what, path: path.into(), problem })
}

/// Writes a secret so that a crash leaves either nothing or the whole file.
fn persist(directory: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let temporary = directory.join(NEW_IDENTITY_FILE);
    // One that a crash left behind, or that somebody put there.
    if let Err(error) = std::fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.and_then(|()| std::fs::rename(&temporary, path)).inspect_err(|_| {
        // Half of it, or none, is of no use to anybody.
        let _ = std::fs::remove_file(&temporary);
    })?;
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
    fn a_chain_expires_with_the_first_of_its_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chain.pem");
        let (_, leaf) = Identity::generate().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2031, 5, 4);
        let sooner = parameters.self_signed(&key).unwrap().pem();
        let (_, last) = Identity::generate().unwrap();
        let (last, _) = last.split_once("-----BEGIN PRIVATE").unwrap();
        std::fs::write(&path, leaf + &sooner + last).unwrap();
        let read = Identity::from_files(&path, &path).unwrap();
        assert_eq!(read.expires(), parameters.not_after.unix_timestamp());
        let all: Vec<_> = read.validities().iter().flatten().map(|one| one.expires).collect();
        assert_eq!(all, [67_090_118_400, read.expires(), 67_090_118_400]);
        assert_eq!(read.clone().expires(), read.expires());
    }

    #[test]
    fn expiry_is_that_of_the_certificate() {
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
        assert!(matches!(error, IdentityError::Certificate(_)), "{error}");
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
    fn a_link_that_leads_to_nothing_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(IDENTITY_FILE);
        std::os::unix::fs::symlink("disk/identity.pem", &path).unwrap();
        let error = Identity::load_or_create(directory.path()).unwrap_err().to_string();
        assert!(error.contains("disk/identity.pem, where nothing is"), "{error}");
        assert!(path.symlink_metadata().unwrap().is_symlink());
        std::fs::create_dir(directory.path().join("disk")).unwrap();
        std::fs::write(&path, Identity::generate().unwrap().1).unwrap();
        Identity::load_or_create(directory.path()).unwrap();
        assert!(path.symlink_metadata().unwrap().is_symlink());
    }

    #[test]
    fn a_folder_in_the_place_of_a_new_identity_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let new = directory.path().join(NEW_IDENTITY_FILE);
        std::fs::create_dir(&new).unwrap();
        for outcome in [
            Identity::check_room(directory.path()),
            Identity::load_or_create(directory.path()).map(drop),
        ] {
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains("identity.pem.new is a folder"), "{error}");
        }
        // Anything else makes way.
        std::fs::remove_dir(&new).unwrap();
        std::os::unix::fs::symlink("/dev/null", &new).unwrap();
        Identity::load_or_create(directory.path()).unwrap();
    }

    /// Whether a client takes the identity, by a handshake in memory.
    fn is_taken(identity: &Identity) -> bool {
        let trust = crate::trust::Trust::Pinned(identity.fingerprint());
        let client = Arc::new(trust.client_config().unwrap());
        let name = "relay".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(client, name).unwrap();
        let server = Arc::new(identity.server_config().unwrap());
        let mut server = rustls::ServerConnection::new(server).unwrap();
        while client.is_handshaking() {
            for to_server in [true, false] {
                let mut bytes = Vec::new();
                if to_server {
                    while client.wants_write() {
                        client.write_tls(&mut bytes).unwrap();
                    }
                } else {
                    while server.wants_write() {
                        server.write_tls(&mut bytes).unwrap();
                    }
                }
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let outcome = if to_server {
                        server.read_tls(&mut rest).unwrap();
                        server.process_new_packets()
                    } else {
                        if client.read_tls(&mut rest).is_err() {
                            return false;
                        }
                        client.process_new_packets()
                    };
                    if outcome.is_err() {
                        return false;
                    }
                }
            }
        }
        true
    }

    #[test]
    fn the_longest_chain_that_is_read_is_one_that_a_client_takes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pem");
        let (identity, pem) = Identity::generate().unwrap();
        let certificate = pem.find("-----BEGIN PRIVATE").map(|end| &pem[..end]).unwrap();
        let most = 64_000 / (identity.chain[0].len() + 5);
        let read = |count: usize| {
            std::fs::write(&path, certificate.repeat(count - 1) + &pem).unwrap();
            Identity::from_files(&path, &path)
        };
        let longest = read(most).unwrap();
        assert!(is_taken(&longest));
        let error = read(most + 1).unwrap_err().to_string();
        assert!(error.contains("a.pem holds a chain of more than 64,000 bytes"), "{error}");
        // What a client says of it if it is not refused.
        let mut longer = longest;
        longer.chain.extend(vec![longer.chain[0].clone(); 10]);
        assert!(!is_taken(&longer));
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
    fn a_file_that_cannot_be_used_is_named_and_nothing_in_it_is_told() {
        const CANARY: &str = "Q2FuYXJ5IGluIGEgY29hbCBtaW5l";
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pem = Identity::generate().unwrap().1;
        let whole = file("whole.pem", &pem);
        let block = |kind: &str, between: &str| {
            format!("-----BEGIN {kind}-----{between}{CANARY}{between}-----END {kind}-----\n")
        };
        let no_key = file("key.pem", &block("PRIVATE KEY", "\n"));
        let one_line = file("line.pem", &block("PRIVATE KEY", " "));
        let bare = file("bare.pem", CANARY);
        let no_certificate = file("cert.pem", &block("CERTIFICATE", "\n"));
        let one_line_certificate = file("crt.pem", &block("CERTIFICATE", " "));
        let cases = [
            (&whole, &one_line, ["line.pem", "line breaks"]),
            (&whole, &no_key, ["key.pem", "damaged"]),
            (&whole, &bare, ["bare.pem", "not a PEM file"]),
            (&no_certificate, &whole, ["cert.pem", "damaged"]),
            (&one_line_certificate, &whole, ["crt.pem", "line breaks"]),
            (&no_key, &whole, ["key.pem", "swapped"]),
        ];
        let decimal = format!("{:?}", CANARY.as_bytes());
        for (cert, key, parts) in cases {
            let error = Identity::from_files(cert, key).unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(parts.iter().all(|part| told.contains(part)), "{told}");
            let shown = told.contains(CANARY) || told.contains(decimal.trim_matches(['[', ']']));
            assert!(!shown, "the file's content is told: {told}");
        }
    }
}
