//! Whether the servers that decide about tokens answer, asked as the relay asks them.

use std::time::Duration;

use super::report::Line;
use crate::auth::authenticator::{Authenticator, Probe};
use crate::config::{AuthSection, Url};
use crate::shell;

/// The settings may let a server take a day.
const PATIENCE: Duration = Duration::from_secs(5);

const CHECK: &str = "auth";

pub(super) fn look(section: &AuthSection) -> Vec<Line> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let probe = runtime.block_on(Authenticator::probe(section, PATIENCE));
            probe.map(line).into_iter().collect()
        }
        Err(error) => vec![Line::error(CHECK, error.to_string())],
    }
}

fn line(probe: Probe) -> Line {
    match probe {
        Probe::Local(keys) => Line::ok(
            CHECK,
            format!("keys for tokens are in files, {keys} of them; nobody is asked"),
        ),
        Probe::Keys { url, keys } => {
            Line::ok(CHECK, format!("{url} answers; keys for tokens there: {keys}"))
        }
        Probe::Refuses(url) => {
            Line::ok(CHECK, format!("{url} answers, and refuses a token that is none"))
        }
        Probe::Allows(url) => {
            let text = format!("{url} answers, and lets in whoever has a token that is none");
            Line::warning(CHECK, text)
        }
        Probe::Fails { url, reason } => {
            Line::error(CHECK, format!("{url}: {reason}")).mended_by(asked_by_hand(&url))
        }
    }
}

/// What asks there, for a shell. Without a query, which may be a secret.
fn asked_by_hand(url: &Url) -> String {
    let uri = url.uri();
    let (scheme, path) = (uri.scheme_str().unwrap_or("http"), uri.path());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let url = shell::word(format!("{scheme}://{host}{path}"));
    format!("curl -sS -o /dev/null -w '%{{http_code}}\\n' {url}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_by_hand_has_no_secret_and_can_be_run() {
        let cases = [
            ("http://a.example/x?key=canary", "http://a.example/x"),
            ("https://[::1]:8443/a;b&c'd?x", r"'https://[::1]:8443/a;b&c'\''d'"),
            ("https://a.example", "https://a.example/"),
        ];
        for (url, expected) in cases {
            let command = asked_by_hand(&url.parse().unwrap());
            assert!(command.ends_with(&format!(" {expected}")), "{command}");
            assert!(!command.contains("canary") && !command.contains("redacted"), "{command}");
        }
    }
}
