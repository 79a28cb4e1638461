//! Who may join: what decides about the token in Hello.

use std::path::PathBuf;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wzp_telemetry::settings::duration;

use super::problem::Complaint;
use super::range::Range;
use super::url::Url;

/// `[auth]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSection {
    /// What decides about tokens.
    pub mode: AuthMode,
    /// For `mode = "jwt"`.
    pub jwt: JwtSection,
    /// For `mode = "webhook"`.
    pub webhook: WebhookSection,
}

/// `auth.mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Nothing: whoever reaches the relay may join any room.
    #[default]
    None,
    /// The relay, by the token's signature and claims (RFC 7519).
    Jwt,
    /// An HTTP service of the operator.
    Webhook,
}

/// `auth.jwt.algorithms`, by the names of RFC 7518 and RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlgorithm {
    /// A secret that both sides have.
    HS256,
    /// ECDSA on P-256.
    ES256,
    /// RSA, 2048 to 8192 bits.
    RS256,
    /// Ed25519.
    EdDSA,
}

impl JwtAlgorithm {
    /// The name in a token's header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl From<JwtAlgorithm> for Algorithm {
    fn from(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::HS256 => Self::HS256,
            JwtAlgorithm::ES256 => Self::ES256,
            JwtAlgorithm::RS256 => Self::RS256,
            JwtAlgorithm::EdDSA => Self::EdDSA,
        }
    }
}

/// `[auth.jwt]`. Keys of all four places are taken together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JwtSection {
    /// Algorithms that tokens may be signed with. Each key is for one of them.
    pub algorithms: Vec<JwtAlgorithm>,
    /// Files that hold an HS256 secret each, at least 32 bytes; a line end
    /// behind it is not part of it.
    pub secret_files: Vec<PathBuf>,
    /// PEM files with a public key each: RSA, P-256 or Ed25519.
    pub public_key_files: Vec<PathBuf>,
    /// A JSON Web Key Set (RFC 7517) of public keys.
    #[schemars(example = "/etc/wzp-relay/jwks.json")]
    pub jwks_file: Option<PathBuf>,
    /// Where such a set is fetched from, http or https. Kept while the server
    /// cannot be reached.
    #[schemars(example = "https://id.example.org/jwks.json")]
    pub jwks_url: Option<String>,
    /// When the set is fetched again, unless its `Cache-Control: max-age` says
    /// otherwise.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub jwks_refresh: Duration,
    /// How long the server of the set may take.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub jwks_timeout: Duration,
    /// `aud` must name one of these. Empty: tokens must not have it.
    pub audience: Vec<String>,
    /// `iss` must be one of these. Empty: it is not looked at.
    pub issuer: Vec<String>,
    /// How far the clock of who makes the tokens may be off.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub leeway: Duration,
}

/// `[auth.webhook]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSection {
    /// Who is asked, http or https.
    #[schemars(example = "https://id.example.org/may-join")]
    pub url: Option<String>,
    /// How long a participant waits for the answer, and before that for its turn;
    /// then `auth_unavailable`
    /// (`wzp_relay_auth_failures_total{reason="unavailable"}` or `"busy"`).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub timeout: Duration,
    /// How long an answer counts for the same question. 0: each is asked.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub cache_time: Duration,
    /// The same for a refusal, so that a new permission is soon noticed.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub refusal_cache_time: Duration,
    /// Requests on their way at a time; further ones wait their turn. One address
    /// has at most half of them.
    pub max_concurrent: usize,
    /// After so many failures in a row of one address it is not asked for that
    /// (`wzp_relay_auth_failures_total{reason="source_paused"}`), after failures of
    /// so many addresses it is left alone.
    pub breaker_failures: u32,
    /// For how long it is not asked for an address that failed; then one request
    /// tries.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub breaker_pause: Duration,
}

impl Default for JwtSection {
    fn default() -> Self {
        use JwtAlgorithm::{ES256, EdDSA, HS256, RS256};
        Self {
            algorithms: vec![HS256, ES256, RS256, EdDSA],
            secret_files: Vec::new(),
            public_key_files: Vec::new(),
            jwks_file: None,
            jwks_url: None,
            jwks_refresh: Duration::from_secs(600),
            jwks_timeout: Duration::from_secs(5),
            audience: Vec::new(),
            issuer: Vec::new(),
            leeway: Duration::from_secs(30),
        }
    }
}

impl Default for WebhookSection {
    fn default() -> Self {
        Self {
            url: None,
            timeout: Duration::from_secs(2),
            cache_time: Duration::from_secs(30),
            refusal_cache_time: Duration::from_secs(2),
            max_concurrent: 64,
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(10),
        }
    }
}

/// A day at most.
const MOST: Duration = Duration::from_secs(24 * 3600);

/// From none to a day.
const ANY: Range = Range::Time(Duration::ZERO, MOST);
const PATIENCE: Range = Range::Time(Duration::from_millis(10), MOST);

pub(super) const RANGES: [(&str, Range); 9] = [
    ("auth.jwt.jwks_refresh", Range::Time(Duration::from_secs(10), MOST)),
    ("auth.jwt.jwks_timeout", PATIENCE),
    ("auth.jwt.leeway", ANY),
    ("auth.webhook.timeout", PATIENCE),
    ("auth.webhook.cache_time", ANY),
    ("auth.webhook.refusal_cache_time", ANY),
    ("auth.webhook.max_concurrent", Range::Number(1, 10_000)),
    ("auth.webhook.breaker_failures", Range::Number(1, u32::MAX as u64)),
    ("auth.webhook.breaker_pause", PATIENCE),
];

impl AuthSection {
    /// What the chosen mode lacks.
    pub(super) fn check(&self) -> Option<Complaint> {
        match self.mode {
            AuthMode::None => None,
            AuthMode::Jwt => self.jwt.check(),
            AuthMode::Webhook => self.webhook.check(),
        }
    }
}

impl JwtSection {
    fn check(&self) -> Option<Complaint> {
        let keyless = self.secret_files.is_empty()
            && self.public_key_files.is_empty()
            && self.jwks_file.is_none()
            && self.jwks_url.is_none();
        if keyless {
            return Some(Complaint::new(
                ["auth.mode"],
                "no key can check a token; give auth.jwt.secret_files, public_key_files, \
                 jwks_file or jwks_url",
            ));
        }
        if self.algorithms.is_empty() {
            let text = "none is allowed, so no token could be good";
            return Some(Complaint::new(["auth.jwt.algorithms"], text));
        }
        check_url("auth.jwt.jwks_url", self.jwks_url.as_ref()?)
    }
}

impl WebhookSection {
    fn check(&self) -> Option<Complaint> {
        let key = "auth.webhook.url";
        match &self.url {
            Some(url) => check_url(key, url),
            None => Some(Complaint::new([key], "mode = \"webhook\" needs it; or give --auth-url")),
        }
    }
}

fn check_url(key: &'static str, text: &str) -> Option<Complaint> {
    let error = text.parse::<Url>().err()?;
    Some(Complaint::new([key], error.to_string()))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn check(text: &str) -> Result<(), String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        match &config.check()[..] {
            [] => Ok(()),
            found => {
                Err(found.iter().map(|c| format!("{}: {}", c.keys.join(", "), c.text)).collect())
            }
        }
    }

    #[test]
    fn each_mode_says_what_it_lacks() {
        let cases = [
            ("", Ok(())),
            ("auth.mode = 'jwt'", Err("no key")),
            ("[auth]\nmode = 'jwt'\njwt.jwks_file = 'keys.json'", Ok(())),
            (
                "[auth]\nmode = 'jwt'\njwt.jwks_file = 'k'\njwt.algorithms = []",
                Err("none is allowed"),
            ),
            ("[auth]\nmode = 'jwt'\njwt.jwks_file = 'k'\njwt.algorithms = ['none']", Err("HS256")),
            ("[auth]\nmode = 'jwt'\njwt.jwks_url = 'ftp://keys'", Err("auth.jwt.jwks_url")),
            ("[auth]\nmode = 'jwt'\njwt.jwks_url = 'https://a:b@keys'", Err("not be sent")),
            ("[auth]\nmode = 'jwt'\njwt.jwks_url = '/keys'", Err("auth.jwt.jwks_url")),
            ("[auth]\nmode = 'jwt'\njwt.jwks_url = 'https://keys:65536'", Err("1 to 65535")),
            ("[auth]\nmode = 'webhook'\nwebhook.url = 'http://a:99999/'", Err("1 to 65535")),
            ("[auth]\njwt.leeway = '2days'", Err("leeway")),
            ("auth.mode = 'webhook'", Err("--auth-url")),
            ("[auth]\nmode = 'webhook'\nwebhook.url = 'http://[::1]:8000/auth'", Ok(())),
            ("auth.webhook.timeout = '0s'", Err("timeout")),
            ("auth.webhook.max_concurrent = 0", Err("max_concurrent")),
            ("auth.webhook.breaker_failures = 0", Err("breaker_failures")),
            ("auth.mode = 'ldap'", Err("webhook")),
            ("auth.webhook.uri = 'http://a'", Err("url")),
        ];
        for (text, expected) in cases {
            match (check(text), expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.contains(part), "{text:?}: {error}"),
                (outcome, _) => panic!("{text:?} gave {outcome:?}"),
            }
        }
    }
}
