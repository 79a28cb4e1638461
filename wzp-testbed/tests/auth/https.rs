//! Keys are fetched, and services asked, over https.

use std::io::{Read, Write};
use std::net::TcpListener;

use jsonwebtoken::Algorithm;
use serde_json::json;
use tempfile::TempDir;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::service::{Answer, Service};

use crate::tls::{Front, Identity, authority_and_server};
use crate::token::Signer;
use crate::{failures, folder, outcome, relay, relay_in_environment, visit};

/// What is asked, how the relay is told of it, and a token that would be good.
struct Case {
    service: Service,
    section: fn(&str) -> String,
    token: String,
    /// What the log says if there is no answer.
    complaint: &'static str,
}

/// A set of keys that is fetched, and a service that decides. Both may take so long
/// that a client would not wait for it.
fn cases() -> [Case; 2] {
    let signer = Signer::new(Algorithm::ES256);
    let token = signer.token(Some("one"));
    let set = json!({"keys": [signer.jwk("one")]}).to_string();
    let ok = |body: String| Service::start(move |_| Answer::Http(200, String::new(), body.clone()));
    [
        Case {
            service: ok(set),
            section: |url| {
                format!(
                    "mode = 'jwt'\njwt.audience = ['relay']\njwt.jwks_timeout = '1h'\n\
                     jwt.jwks_url = '{url}'"
                )
            },
            token,
            complaint: "signing keys cannot be fetched",
        },
        Case {
            service: ok(json!({"allow": true}).to_string()),
            section: |url| {
                format!("mode = 'webhook'\nwebhook.timeout = '1h'\nwebhook.url = '{url}'")
            },
            token: String::new(),
            complaint: "the auth service did not answer",
        },
    ]
}

/// A relay that asks a server with that certificate and trusts one authority.
fn asks(case: &Case, server: Identity, trusted: &str) -> (TempDir, Front, Loopback) {
    let folder = folder();
    let authorities = folder.path().join("authorities.pem");
    std::fs::write(&authorities, trusted).unwrap();
    let front = Front::new(case.service.address(), server);
    let section = (case.section)(&front.url("/path"));
    let loopback =
        relay_in_environment(&folder, &section, &[("SSL_CERT_FILE", authorities.as_path())]);
    (folder, front, loopback)
}

#[test]
fn a_server_of_a_private_authority_is_asked_if_the_authority_is_named() {
    for case in cases() {
        let (authority, server) = authority_and_server("private");
        let (_folder, _front, loopback) = asks(&case, server, &authority.pem);
        let (exit, message) = outcome(&visit(&loopback, &case.token));
        assert_eq!(exit, Some(0), "{message}\n{}", loopback.relay().log());
        assert_eq!(case.service.asked()[0].path, "/path");
        loopback.stop();
    }
}

#[test]
fn a_server_that_cannot_prove_who_it_is_learns_nothing_and_the_log_says_what_to_do() {
    for case in cases() {
        let (authority, server) = authority_and_server("private");
        let trusted = authority.pem.clone();
        for (server, trusted, advice) in [
            (server, authority_and_server("another").0.pem, "SSL_CERT_FILE"),
            // An authority that was made anew.
            (authority_and_server("private").1, trusted.clone(), "SSL_CERT_FILE"),
            (authority, trusted, "itself that of an authority"),
        ] {
            let (_folder, _front, loopback) = asks(&case, server, &trusted);
            let (exit, message) = outcome(&visit(&loopback, &case.token));
            assert_eq!(exit, Some(5), "{message}");
            assert!(message.contains("auth_unavailable"), "{message}");
            let line = loopback.relay().logged(case.complaint).unwrap();
            assert!(line.contains(advice), "{line}");
            assert_eq!(failures(loopback.relay(), "unavailable"), 1.0);
            assert!(case.service.asked().is_empty());
            loopback.stop();
        }
    }
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/path", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream?;
            // All of ClientHello: what is left unread would reset the connection.
            let mut head = [0; 5];
            stream.read_exact(&mut head)?;
            let length = u16::from_be_bytes([head[3], head[4]]);
            stream.read_exact(&mut vec![0; length.into()])?;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        }
        std::io::Result::Ok(())
    });
    for case in cases() {
        let folder = folder();
        let loopback = relay(&folder, &(case.section)(&url));
        let (exit, message) = outcome(&visit(&loopback, &case.token));
        assert_eq!(exit, Some(5), "{message}");
        let line = loopback.relay().logged(case.complaint).unwrap();
        assert!(line.contains("does not speak TLS"), "{line}");
        loopback.stop();
    }
}
