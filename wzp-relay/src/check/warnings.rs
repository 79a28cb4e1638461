//! What does not keep a relay from starting, and yet an operator should know.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use wzp_telemetry::http::WebConfig;
use wzp_transport::identity::Validity;

use crate::config::Complaint;
use crate::config::{AuthMode, Config};
use crate::shell;
use crate::words::date;

/// A certificate that is good for no longer than this should be replaced.
const SOON: i64 = 30 * 24 * 3600;

/// How long a name may take to be found.
const PATIENCE: Duration = Duration::from_secs(5);

/// All but what only the files' own readers know.
pub(super) fn all(config: &Config) -> Vec<Complaint> {
    let mut found = Vec::new();
    let Config { relay, metrics, auth, .. } = config;
    found.extend(relay.key.as_deref().and_then(|key| exposed("relay.key", key)));
    if let Some(path) = metrics.web_config.as_deref().filter(|_| metrics.enabled) {
        found.extend(pages(path));
    }
    if auth.mode == AuthMode::Jwt {
        let secrets = auth.jwt.secret_files.iter();
        found.extend(secrets.filter_map(|file| exposed("auth.jwt.secret_files", file)));
    }
    found.extend(names(config));
    found
}

/// The certificate and the key that the metrics are served with.
fn pages(path: &Path) -> Vec<Complaint> {
    const KEY: &str = "metrics.web_config";
    let files = WebConfig::load(path).map(|web| web.files()).unwrap_or_default();
    let [_, cert, key, ..] = &files[..] else { return Vec::new() };
    let chain = CertificateDer::pem_file_iter(cert).into_iter().flatten().flatten();
    let validities: Vec<_> = chain.map(|certificate| Validity::of(&certificate).ok()).collect();
    let validity = validity(KEY, &format!(" in {}", cert.display()), &validities);
    validity.into_iter().chain(exposed(KEY, key)).collect()
}

/// A chain that is not good, or not for long; `place`: where it is, behind "the certificate".
pub(super) fn validity(
    key: &'static str,
    place: &str,
    chain: &[Option<Validity>],
) -> Option<Complaint> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let text = told_of_chain(place, chain, now.try_into().unwrap_or(i64::MAX));
    text.map(|text| Complaint::new([key], text))
}

/// A chain is good for as long as all of it, so of several that are not, the one that
/// expires first is named.
fn told_of_chain(place: &str, chain: &[Option<Validity>], now: i64) -> Option<String> {
    let mut numbered: Vec<_> =
        (1..).zip(chain).filter_map(|(number, validity)| Some((number, (*validity)?))).collect();
    numbered.sort_by_key(|(_, validity)| validity.expires);
    numbered.into_iter().find_map(|(number, validity)| {
        let what = match number {
            1 => format!("the certificate{place}"),
            _ => format!("certificate {number} of the chain{place}"),
        };
        told(&what, validity, now)
    })
}

fn told(what: &str, Validity { begins, expires }: Validity, now: i64) -> Option<String> {
    if now > expires {
        return Some(format!("{what} expired on {}; replace it", date(expires)));
    }
    if now < begins {
        let begins = date(begins);
        return Some(format!(
            "{what} is good only from {begins} on; is this machine's clock right?"
        ));
    }
    let left = expires.saturating_sub(now);
    (left < SOON).then(|| {
        format!("{what} expires on {}, in {} days; replace it", date(expires), left / (24 * 3600))
    })
}

/// A secret that is none.
fn exposed(key: &'static str, path: &Path) -> Option<Complaint> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| {
        let command = format!("chmod o= {}", shell::path(path));
        let text = format!("every user of this machine can read {}; {command}", path.display());
        Complaint::new([key], text).mended_by(command)
    })
}

/// Names of servers that nobody knows. They may be there later.
fn names(config: &Config) -> Vec<Complaint> {
    let url = |key, url: &Option<String>| {
        let uri: Uri = url.as_deref()?.parse().ok()?;
        Some((key, uri.host()?.trim_matches(['[', ']']).to_owned()))
    };
    let server = match config.auth.mode {
        AuthMode::None => None,
        AuthMode::Jwt => url("auth.jwt.jwks_url", &config.auth.jwt.jwks_url),
        AuthMode::Webhook => url("auth.webhook.url", &config.auth.webhook.url),
    };
    let receiver = config.tracing.enabled.then(|| {
        let endpoint = &config.tracing.endpoint;
        let host = endpoint.split_once("://").map_or(&**endpoint, |(_, host)| host);
        url("tracing.endpoint", &Some(format!("http://{host}")))
    });
    let asked = server.into_iter().chain(receiver.flatten());
    let unknown = asked.filter_map(|(key, host)| Some(Complaint::new([key], unknown(&host)?)));
    unknown.collect()
}

/// Why a name cannot be found. The system's own patience is longer than an operator's.
fn unknown(host: &str) -> Option<String> {
    let (answer, answered) = channel();
    let asked = host.to_owned();
    let resolver = thread::Builder::new().spawn(move || {
        let found = (asked.as_str(), 0).to_socket_addrs().map(Vec::<SocketAddr>::from_iter);
        // Nobody waits any more.
        let _ = answer.send(found);
    });
    let reason = match (resolver, answered.recv_timeout(PATIENCE)) {
        (Err(error), _) | (Ok(_), Ok(Err(error))) => error.to_string(),
        (Ok(_), Err(_)) => "no answer in time".to_owned(),
        (Ok(_), Ok(Ok(found))) if found.is_empty() => "it has no address".to_owned(),
        (Ok(_), Ok(Ok(_))) => return None,
    };
    Some(format!("the address of {host} cannot be found: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_told_of_before_they_expire() {
        const NOW: i64 = 1_800_000_000;
        for (begins, expires, part) in [
            (NOW - 10, NOW + SOON, None),
            (NOW, NOW + SOON - 1, Some("in 29 days")),
            (NOW - 10, NOW, Some("in 0 days")),
            (NOW - 10, NOW - 1, Some("expired on 2027-01-15")),
            (NOW + 1, NOW + 2 * SOON, Some("good only from 2027-01-15")),
            (i64::MIN, i64::MAX, None),
            (i64::MIN, i64::MIN, Some("expired on 1970")),
        ] {
            let text = told("the certificate", Validity { begins, expires }, NOW);
            let as_expected = match (&text, part) {
                (Some(text), Some(part)) => text.contains(part),
                (text, part) => text.is_none() && part.is_none(),
            };
            assert!(as_expected, "{begins} to {expires}: {text:?}");
        }
    }

    #[test]
    fn the_certificate_of_a_chain_that_expires_first_is_told() {
        const NOW: i64 = 1_800_000_000;
        let good = |days: i64| Some(Validity { begins: 0, expires: NOW + days * 24 * 3600 + 1 });
        let early = Some(Validity { begins: NOW + 1, expires: i64::MAX });
        for (chain, expected) in [
            (&[][..], None),
            (&[None], None),
            (&[good(90)], None),
            (&[good(9)], Some("the certificate in a.pem expires on")),
            (&[good(90), good(9)], Some("certificate 2 of the chain in a.pem expires on")),
            (&[good(20), None, good(3)], Some("certificate 3 of the chain in a.pem expires on")),
            (&[good(3), good(-3)], Some("certificate 2 of the chain in a.pem expired on")),
            (&[good(90), early], Some("certificate 2 of the chain in a.pem is good only from")),
        ] {
            let text = told_of_chain(" in a.pem", chain, NOW);
            let is_right = match (&text, expected) {
                (Some(text), Some(start)) => text.starts_with(start),
                (text, expected) => text.is_none() && expected.is_none(),
            };
            assert!(is_right, "{chain:?}: {text:?}");
        }
    }
}
