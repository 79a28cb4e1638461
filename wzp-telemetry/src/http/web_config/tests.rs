use std::fs;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::http::testing::{Answer, Server, ask, limits};

/// A folder with a file and what it names.
struct Folder {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Folder {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = Self { folder: tempfile::tempdir().unwrap(), authority };
        folder.write("ca.pem", &folder.authority.pem());
        folder.certify();
        folder
    }

    /// A new key and certificate.
    fn certify(&self) {
        let (certificate, key) = self.issue();
        self.write("cert.pem", &certificate.pem());
        self.write("key.pem", &key.serialize_pem());
    }

    fn issue(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.authority).unwrap(), key)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes `web.yml`.
    fn file(&self, text: &str) -> PathBuf {
        self.write("web.yml", text)
    }

    async fn connect(
        &self,
        to: SocketAddr,
        with_certificate: bool,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match with_certificate {
            false => builder.with_no_client_auth(),
            true => {
                let (certificate, key) = self.issue();
                let key = PrivatePkcs8KeyDer::from(key.serialize_der());
                builder.with_client_auth_cert(vec![certificate.der().clone()], key.into()).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(to).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn get(&self, server: &Server, fields: &[(&str, &str)]) -> Answer {
        let stream = self.connect(server.address, false).await.unwrap();
        ask(stream, Method::GET, "/health", fields).await
    }

    /// The certificate that a new connection sees.
    async fn seen(&self, server: &Server) -> CertificateDer<'static> {
        let stream = self.connect(server.address, false).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

const TLS: &str = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";

async fn serve(path: &Path) -> Server {
    Server::within(limits(), Some(WebConfig::load(path).unwrap())).await
}

#[test]
fn mistakes_are_named_with_what_to_do() {
    let folder = Folder::new();
    folder.write("empty.pem", "");
    let other = folder.issue().1.serialize_pem();
    folder.write("other.pem", &other);
    folder.write("line.pem", &other.replace('\n', " "));
    folder.write("damaged.pem", &other.replace("MI", "AA"));
    let cases: [(String, &[&str]); 30] = [
        ("tls_server_config: [".into(), &["web.yml", "line 1"]),
        ("tls_config:\n  cert_file: a\n".into(), &["line 1, column 1", "tls_server_config"]),
        (format!("{TLS}  max_versions: TLS13\n"), &["line 4, column 3", "max_version"]),
        (
            format!("{TLS}  min_version: TLS13\n  max_version: TLS12\n"),
            &["max_version is below min_version"],
        ),
        (
            format!("{TLS}  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n"),
            &["cipher_suites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"],
        ),
        (format!("{TLS}  cipher_suites: []\n"), &["cipher_suites has none"]),
        (
            format!("{TLS}  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"),
            &["cipher_suites has none for max_version: TLS12"],
        ),
        (
            format!(
                "{TLS}  max_version: TLS12\n  cipher_suites: \
                 [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"
            ),
            &["cipher_suites has none for the key in key_file", "ECDSA", "max_version: TLS12"],
        ),
        (format!("{TLS}  curve_preferences: [CurveP224]\n"), &["curve_preferences", "CurveP256"]),
        (format!("{TLS}  client_allowed_sans: [a]\n"), &["client_allowed_sans", "asks nobody"]),
        (format!("{TLS}  cert: |\n    secret\n"), &["cert would have", "cert_file"]),
        (format!("{TLS}  key: secret\n"), &["key would have", "key_file"]),
        ("http_server_config:\n  http2: true\n".into(), &["HTTP/2", "false"]),
        (
            "http_server_config:\n  headers:\n    Set-Cookie: secret\n".into(),
            &["headers", "Strict-Transport-Security"],
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: \"secret\\u0007\"\n".into(),
            &["x-frame-options", "one line"],
        ),
        ("rate_limit:\n  interval: 1s\n".into(), &["rate_limit would bound", "max_connections"]),
        (format!("{TLS}  min_version: TLS10\n"), &["line 4", "known are TLS12"]),
        (
            format!("{TLS}  client_auth_type: RequestClientCert\n"),
            &["would take any certificate", "RequireAndVerifyClientCert"],
        ),
        ("basic_auth_users: secret\n".into(), &["line 1", "not what belongs here"]),
        (format!("{TLS}{TLS}"), &["line 4", "twice"]),
        (TLS.replace("key.pem", "line.pem"), &["key_file", "line.pem", "line breaks"]),
        (TLS.replace("key.pem", "damaged.pem"), &["key_file", "damaged.pem"]),
        (TLS.replace("key.pem", "other.pem"), &["cert.pem", "other.pem", "belong together"]),
        (TLS.replace("key.pem", "cert.pem"), &["key_file", "swapped"]),
        (format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n"), &["client_ca_file"]),
        (format!("{TLS}  client_ca_file: ca.pem\n"), &["client_auth_type"]),
        ("tls_server_config:\n  cert_file: cert.pem\n".into(), &["key_file"]),
        (TLS.replace("cert.pem", "empty.pem"), &["cert_file", "empty.pem", "not a PEM file"]),
        (TLS.replace("key.pem", "nothing.pem"), &["key_file", "nothing.pem"]),
        ("basic_auth_users:\n  anna: secret\n".into(), &["anna", "bcrypt", "htpasswd"]),
    ];
    for (text, expected) in cases {
        let error = WebConfig::load(&folder.file(&text)).err().unwrap().to_string();
        for part in expected {
            assert!(error.contains(part), "{text:?} gave {error:?}, which lacks {part:?}");
        }
        let body = &other.lines().nth(1).unwrap()[4..24];
        let decimal = format!("{:?}", body.as_bytes());
        for secret in ["secret", body, decimal.trim_matches(['[', ']'])] {
            assert!(!error.contains(secret), "{text:?} is told: {error:?}");
        }
    }
    let missing = WebConfig::load(Path::new("/nonexistent/web.yml")).err().unwrap();
    assert!(missing.to_string().contains("/nonexistent/web.yml"), "{missing}");
}

#[tokio::test]
async fn an_empty_file_protects_nothing() {
    let folder = Folder::new();
    for text in ["", "# nothing yet\n", "{}\n"] {
        let protection = WebConfig::load(&folder.file(text)).unwrap().current().await;
        assert!(protection.tls.is_none() && protection.users.is_empty(), "{text:?}");
    }
}

#[tokio::test]
async fn pages_need_tls_and_a_user() {
    let folder = Folder::new();
    let hash = bcrypt::hash("secret", 4).unwrap();
    let path = folder.file(&format!("{TLS}basic_auth_users:\n  anna: {hash}\n"));
    let server = serve(&path).await;
    for (user, status) in [(None, 401), (Some("anna:wrong"), 401), (Some("anna:secret"), 200)] {
        let header = user.map(|user| format!("Basic {}", STANDARD.encode(user)));
        let fields: Vec<_> = header.iter().map(|value| ("authorization", &**value)).collect();
        let answer = folder.get(&server, &fields).await;
        assert_eq!(answer.status, status, "{user:?}");
        assert_eq!(answer.field("www-authenticate").is_some(), status == 401);
    }
}

#[tokio::test]
async fn clients_need_a_certificate_if_it_says_so() {
    let folder = Folder::new();
    let path = folder.file(&format!(
        "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
    ));
    let server = serve(&path).await;
    let stream = folder.connect(server.address, true).await.unwrap();
    assert_eq!(ask(stream, Method::GET, "/ready", &[]).await.status, 200);
    // With TLS 1.3 a client learns of the refusal when it reads.
    let mut stream = folder.connect(server.address, false).await.unwrap();
    assert!(stream.read_to_end(&mut Vec::new()).await.is_err());
}

#[tokio::test]
async fn of_those_with_a_certificate_only_the_named_get_in() {
    let folder = Folder::new();
    for (names, gets_in) in [("localhost", true), ("other, localhost", true), ("other", false)] {
        let path = folder.file(&format!(
            "{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  \
             client_allowed_sans: [{names}]\n"
        ));
        let server = serve(&path).await;
        let mut stream = folder.connect(server.address, true).await.unwrap();
        if gets_in {
            assert_eq!(ask(stream, Method::GET, "/ready", &[]).await.status, 200, "{names}");
        } else {
            assert!(stream.read_to_end(&mut Vec::new()).await.is_err(), "{names}");
        }
    }
}

#[tokio::test]
async fn versions_suites_and_groups_are_those_that_are_named() {
    use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
    let folder = Folder::new();
    let path = folder.file(&format!(
        "{TLS}  max_version: TLS12\n  prefer_server_cipher_suites: true\n  cipher_suites:\n    \
         - TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\n  curve_preferences: [CurveP384]\n"
    ));
    let server = serve(&path).await;
    let stream = folder.connect(server.address, false).await.unwrap();
    let (_, tls) = stream.get_ref();
    assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(
        tls.negotiated_cipher_suite().unwrap().suite(),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
    );
    let group = tls.negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::secp384r1));
}

#[tokio::test]
async fn answers_have_the_fields_that_are_named() {
    let folder = Folder::new();
    let headers = "http_server_config:\n  http2: false\n  headers:\n    \
                   strict-transport-security: max-age=31536000\n    X-Frame-Options: deny\n    \
                   Content-Security-Policy: default-src 'self'\n";
    let server = serve(&folder.file(&format!("{TLS}{headers}"))).await;
    let answer = folder.get(&server, &[]).await;
    for (name, value) in [
        ("strict-transport-security", "max-age=31536000"),
        ("x-frame-options", "deny"),
        ("content-security-policy", "default-src 'self'"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.field(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn new_connections_get_a_new_certificate() {
    let folder = Folder::new();
    let server = serve(&folder.file(TLS)).await;
    let before = folder.seen(&server).await;
    assert_eq!(folder.seen(&server).await, before);
    folder.certify();
    assert_ne!(folder.seen(&server).await, before);
}

#[tokio::test]
async fn handshakes_that_never_end_keep_nobody_out() {
    let folder = Folder::new();
    let server = serve(&folder.file(TLS)).await;
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(server.connect_from(0x00_02_00).await);
    }
    let answer = timeout(Duration::from_secs(5), folder.get(&server, &[])).await;
    assert_eq!(answer.expect("it is answered soon").status, 200);
}

#[tokio::test]
async fn a_connection_does_not_wait_for_files_that_do_not_answer() {
    let folder = Folder::new();
    let config = WebConfig::load(&folder.file(TLS)).unwrap();
    // As while another connection looks, for as long as that takes.
    let look = config.0.stamps.lock().await;
    folder.file("nonsense: 1\n");
    assert!(config.current().await.tls.is_some());
    drop(look);
}

#[tokio::test]
async fn a_change_that_cannot_be_used_changes_nothing() {
    let folder = Folder::new();
    let hash = bcrypt::hash("secret", 4).unwrap();
    let users = format!("basic_auth_users:\n  anna: {hash}\n");
    let server = serve(&folder.file(&format!("{TLS}{users}"))).await;
    for text in ["", TLS, &users, "nonsense: 1\n"] {
        folder.file(text);
        assert_eq!(folder.get(&server, &[]).await.status, 401, "{text:?}");
    }
}
