//! Certificates and private keys from PEM text (RFC 7468).
//!
//! What is wrong with a file is told in words of this crate alone: errors of
//! parsers quote what they could not read, and that may be a private key.

use rustls::pki_types::pem::{Error, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a PEM file cannot be used. The text is a sentence's predicate, for behind
/// the name of the file, and has nothing of the file in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No line begins a block.
    #[error("is not a PEM file: no line in it begins with -----BEGIN")]
    NoBlock,
    /// What belongs on several lines is on one, as a shell leaves it that was
    /// given a file's content without quotes.
    #[error(
        "has lost its line breaks: a PEM file has BEGIN, the lines of base64, and END on \
         lines of their own"
    )]
    OneLine,
    /// A block begins as none does.
    #[error("has a line that begins with -----BEGIN and does not end with five dashes")]
    Begin,
    /// A block does not end.
    #[error("has a block without its END line; is the file cut off?")]
    NoEnd,
    /// What is in a block cannot be decoded.
    #[error("has a block whose content is not base64; is the file damaged?")]
    NotBase64,
    /// A block beyond any use.
    #[error("has a block that is too large")]
    TooLarge,
    /// Blocks, but none is a certificate.
    #[error("holds no CERTIFICATE block")]
    NoCertificate,
    /// More certificates than a client takes.
    #[error(
        "holds a chain of more than 64,000 bytes, which no client takes in a TLS handshake; leave in \
         it the certificate itself and those between it and its authority"
    )]
    LongChain,
    /// A key where certificates belong.
    #[error("holds a private key and no certificate; are the two files swapped?")]
    KeyAlone,
    /// Blocks, but none is a private key.
    #[error("holds no PRIVATE KEY block")]
    NoKey,
    /// Certificates where a key belongs.
    #[error("holds a certificate and no private key; are the two files swapped?")]
    CertificateAlone,
    /// A key that needs a password.
    #[error(
        "holds an encrypted key, which nothing here can ask the password of; decrypt it: openssl pkey -in FILE -out NEW"
    )]
    Encrypted,
}

/// All certificates in a text, in their order: at least one.
///
/// # Errors
/// Any [`PemError`] but those about keys.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let blocks = blocks(pem)?;
    let holds_key = blocks.iter().any(|(kind, _)| is_key(*kind));
    let certificates = blocks.into_iter().filter(|(kind, _)| *kind == SectionKind::Certificate);
    let certificates: Vec<_> = certificates.map(|(_, der)| CertificateDer::from(der)).collect();
    match certificates.is_empty() {
        false => Ok(certificates),
        true if holds_key => Err(PemError::KeyAlone),
        true => Err(absent(pem, PemError::NoCertificate)),
    }
}

/// Most bytes of a chain, each certificate with the 5 bytes of its lengths (RFC 8446
/// section 4.4.2). rustls and others take a handshake message of 65,535, and over TCP no
/// more of the flight that it is in: its records, the messages beside it, and their tags.
const MOST_CHAIN: usize = 64_000;

/// The certificates in a text, as those of a chain that is shown to clients.
///
/// # Errors
/// Any [`PemError`] but those about keys.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let chain = certificates(pem)?;
    let length: usize = chain.iter().map(|certificate| certificate.len() + 5).sum();
    if length > MOST_CHAIN { Err(PemError::LongChain) } else { Ok(chain) }
}

/// The first private key in a text: PKCS #8, PKCS #1 or SEC 1.
///
/// # Errors
/// Any [`PemError`] but those about certificates.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let blocks = blocks(pem)?;
    let holds_certificate = blocks.iter().any(|(kind, _)| *kind == SectionKind::Certificate);
    let mut keys = blocks.into_iter().filter_map(|(kind, der)| PemObject::from_pem(kind, der));
    match keys.next() {
        Some(key) => Ok(key),
        None if contains(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || contains(pem, b"Proc-Type: 4,ENCRYPTED") =>
        {
            Err(PemError::Encrypted)
        }
        None if holds_certificate => Err(PemError::CertificateAlone),
        None => Err(absent(pem, PemError::NoKey)),
    }
}

/// Every block of a kind that is known.
fn blocks(pem: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, PemError> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| problem(pem, &error))
}

/// The error in words that have nothing of its own.
fn problem(pem: &[u8], error: &Error) -> PemError {
    match error {
        _ if is_on_one_line(pem) => PemError::OneLine,
        Error::MissingSectionEnd { .. } => PemError::NoEnd,
        Error::IllegalSectionStart { .. } => PemError::Begin,
        // An old way to encrypt keys has lines before the base64.
        Error::Base64Decode(_) if contains(pem, b"Proc-Type: 4,ENCRYPTED") => PemError::Encrypted,
        Error::Base64Decode(_) => PemError::NotBase64,
        Error::SectionTooLarge => PemError::TooLarge,
        _ => PemError::NoBlock,
    }
}

/// Why there is nothing of the kind.
fn absent(pem: &[u8], otherwise: PemError) -> PemError {
    let mut lines = pem.split(|byte| matches!(byte, b'\n' | b'\r'));
    if is_on_one_line(pem) {
        PemError::OneLine
    } else if lines.any(|line| line.starts_with(b"-----BEGIN ")) {
        otherwise
    } else {
        PemError::NoBlock
    }
}

fn is_on_one_line(pem: &[u8]) -> bool {
    let mut lines = pem.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.any(|line| contains(line, b"-----BEGIN ") && contains(line, b"-----END "))
}

fn is_key(kind: SectionKind) -> bool {
    matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A certificate and its key.
    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["relay".to_owned()]).unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn on_one_line(pem: &str, between: &str) -> String {
        pem.lines().collect::<Vec<_>>().join(between)
    }

    #[test]
    fn what_is_good_is_read_whatever_stands_around_it() {
        let (certificate, key) = pair();
        let both = format!("some words\n{certificate}more words\n{key}\n{certificate}");
        assert_eq!(certificates(both.as_bytes()).unwrap().len(), 2);
        assert!(private_key(both.as_bytes()).is_ok());
        assert!(private_key(key.replace('\n', "\r\n").as_bytes()).is_ok());
    }

    #[test]
    fn a_chain_is_no_longer_than_a_message_of_a_handshake() {
        let (certificate, _) = pair();
        let each = certificates(certificate.as_bytes()).unwrap()[0].len() + 5;
        let most = MOST_CHAIN / each;
        let of = |count| certificate.repeat(count);
        assert_eq!(chain(of(most).as_bytes()).unwrap().len(), most);
        assert_eq!(chain(of(most + 1).as_bytes()).err(), Some(PemError::LongChain));
        assert_eq!(certificates(of(most + 1).as_bytes()).unwrap().len(), most + 1);
    }

    #[test]
    fn each_fault_of_a_file_is_named() {
        let (certificate, key) = pair();
        let cut = |pem: &str| pem.lines().take(2).collect::<Vec<_>>().join("\n");
        let of_key = [
            (String::new(), PemError::NoBlock),
            ("nonsense".into(), PemError::NoBlock),
            (format!("\u{feff}{key}"), PemError::NoBlock),
            (on_one_line(&key, " "), PemError::OneLine),
            (on_one_line(&key, "\\n"), PemError::OneLine),
            (on_one_line(&key, ""), PemError::OneLine),
            (format!("words before {}", on_one_line(&key, " ")), PemError::OneLine),
            (cut(&key), PemError::NoEnd),
            ("-----BEGIN PRIVATE KEY---\n".into(), PemError::Begin),
            (key.replace("MI", "M!"), PemError::NotBase64),
            (certificate.clone(), PemError::CertificateAlone),
            (key.replace("PRIVATE", "PUBLIC"), PemError::NoKey),
            (key.replace("PRIVATE", "ENCRYPTED PRIVATE"), PemError::Encrypted),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n\
                 -----END RSA PRIVATE KEY-----\n"
                    .into(),
                PemError::Encrypted,
            ),
        ];
        for (text, expected) in of_key {
            assert_eq!(private_key(text.as_bytes()).err(), Some(expected), "{text}");
        }
        let of_certificates = [
            (String::new(), PemError::NoBlock),
            (on_one_line(&certificate, " "), PemError::OneLine),
            (cut(&certificate), PemError::NoEnd),
            (key.clone(), PemError::KeyAlone),
            (key.replace("PRIVATE", "PUBLIC"), PemError::NoCertificate),
        ];
        for (text, expected) in of_certificates {
            assert_eq!(certificates(text.as_bytes()).err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_a_parser_quotes_is_never_told() {
        let (_, key) = pair();
        let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
        let damaged = [on_one_line(&key, " "), key.replace("-----\n", "\n"), body.clone()];
        for text in damaged {
            let error = private_key(text.as_bytes()).unwrap_err();
            let told = format!("{error} {error:?}");
            let decimal = format!("{:?}", &body.as_bytes()[..8]);
            assert!(!told.contains(&body[..8]) && !told.contains(decimal.trim_matches(['[', ']'])));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            parts in prop::collection::vec(prop_oneof![
                Just("-----BEGIN PRIVATE KEY-----"), Just("-----END PRIVATE KEY-----"),
                Just("-----BEGIN CERTIFICATE-----"), Just("-----END CERTIFICATE-----"),
                Just("-----BEGIN "), Just("\n"), Just("\r"), Just(" "), Just("MIGH"), Just("="),
                Just("\u{feff}"),
            ], 0..20)
        ) {
            let text = parts.concat();
            let _ = private_key(text.as_bytes());
            let _ = certificates(text.as_bytes());
        }
    }
}
