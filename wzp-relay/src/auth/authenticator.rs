//! Takes the shards' requests and answers them, by what the configuration says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{Mutex, mpsc};
use wzp_telemetry::audit::Audit;
use wzp_telemetry::panics::supervised;
use wzp_transport::trust::TrustError;

use super::breaker::BreakerState;
use super::jwks::{self, Jwks};
use super::jwt::{Jwt, waits_for_keys};
pub use super::keys::KeyError;
use super::keys::KeySet;
use super::queue::Waiting;
use super::stats::AuthStats;
use super::webhook::{Fault, Webhook};
use crate::audit::KeyChange;
use crate::config::{AuthMode, AuthSection, Url, UrlError, WebhookSection};
use crate::mailbox::Postbox;
use wzp_sfu::access::{Answer, AuthRequest, Grant, Patience};
use wzp_sfu::mail::ControlMail;

/// What a shard waits for beyond the longest decision, in which a key set may be
/// fetched: the way there and back.
const MARGIN: Duration = Duration::from_secs(1);

/// Why the settings cannot be used, in words for the operator.
#[derive(Debug, Error)]
pub enum AuthError {
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// HTTPS is not possible.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A URL cannot be asked, or is not there.
    #[error("{0}: {1}")]
    Url(&'static str, UrlError),
}

/// Settings that are ready and not in force yet.
#[derive(Debug)]
pub struct NextMethod {
    method: Method,
    patience: Option<Duration>,
}

/// Where keys or decisions about tokens come from, looked at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// From so many keys in files; nobody is asked.
    Local(usize),
    /// A server has so many keys.
    Keys {
        /// Where the key set was to come from.
        url: Url,
        /// How many can be used.
        keys: usize,
    },
    /// A service answers, and does not let in whoever has no good token.
    Refuses(Url),
    /// A service answers, and does.
    Allows(Url),
    /// There is no answer that can be used.
    Fails {
        /// Who was asked.
        url: Url,
        /// Why, in words that have nothing of the answer.
        reason: String,
    },
}

/// Decides who may join.
#[derive(Debug)]
pub struct Authenticator {
    method: ArcSwap<Method>,
    patience: Arc<Patience>,
    stats: Arc<AuthStats>,
    audit: Audit,
}

#[derive(Debug)]
enum Method {
    None,
    Jwt(Box<Jwt>),
    Webhook(Box<Webhook>),
}

impl Authenticator {
    /// As the section says; `audit` has which keys were fetched. Needs the runtime
    /// that [`Self::serve`] runs on.
    ///
    /// # Errors
    /// Any [`AuthError`].
    pub fn new(section: &AuthSection, audit: Audit) -> Result<Self, AuthError> {
        let stats = Arc::default();
        let method = Method::new(section, None, &stats, &audit)?;
        let patience = Arc::<Patience>::default();
        patience.set(patience_for(section));
        Ok(Self { method: ArcSwap::from_pointee(method), patience, stats, audit })
    }

    /// Whether [`Self::new`] would do at this moment. Asks nobody.
    ///
    /// # Errors
    /// Any [`AuthError`].
    pub fn check(section: &AuthSection) -> Result<(), AuthError> {
        match section.mode {
            AuthMode::None => {}
            AuthMode::Jwt => {
                KeySet::from_files(&section.jwt)?;
                if let Some(url) = &section.jwt.jwks_url {
                    Jwks::client(&parse("auth.jwt.jwks_url", url)?)?;
                }
            }
            AuthMode::Webhook => drop(Webhook::client(&service(&section.webhook)?)?),
        }
        Ok(())
    }

    /// Asks the server that the section names, as for a participant, but for `patience`
    /// at most. `None`: there is nothing to ask, or [`Self::check`] has an error.
    pub async fn probe(section: &AuthSection, patience: Duration) -> Option<Probe> {
        match section.mode {
            AuthMode::None => None,
            AuthMode::Jwt => {
                let files = KeySet::from_files(&section.jwt).ok()?;
                let Some(url) = &section.jwt.jwks_url else {
                    return Some(Probe::Local(files.ids().len()));
                };
                let url = parse("auth.jwt.jwks_url", url).ok()?;
                let mut rules = section.jwt.clone();
                rules.jwks_timeout = rules.jwks_timeout.min(patience);
                let client = Jwks::client(&url).ok()?;
                Some(match jwks::fetch(&client, &url, &rules).await {
                    Ok((keys, _)) => Probe::Keys { url, keys: keys.ids().len() },
                    Err(reason) => Probe::Fails { url, reason },
                })
            }
            AuthMode::Webhook => {
                let mut rules = section.webhook.clone();
                rules.timeout = rules.timeout.min(patience);
                let url = service(&rules).ok()?;
                let webhook = Webhook::new(url.clone(), rules, Arc::default()).ok()?;
                Some(match webhook.probe().await {
                    Ok(Ok(_)) => Probe::Allows(url),
                    Ok(Err(_)) => Probe::Refuses(url),
                    Err(Fault::Down(reason) | Fault::Odd(reason)) => Probe::Fails { url, reason },
                })
            }
        }
    }

    /// For the shards: whether they have to ask.
    pub fn patience(&self) -> Arc<Patience> {
        self.patience.clone()
    }

    /// What is counted.
    pub fn stats(&self) -> Arc<AuthStats> {
        self.stats.clone()
    }

    /// Makes other settings ready. Nothing changes before [`Self::take`]. Key
    /// files are read again also if the settings are the same.
    ///
    /// # Errors
    /// Any [`AuthError`].
    pub fn prepare(&self, section: &AuthSection) -> Result<NextMethod, AuthError> {
        let method = Method::new(section, Some(&self.method.load()), &self.stats, &self.audit)?;
        Ok(NextMethod { method, patience: patience_for(section) })
    }

    /// Takes other settings on, for whoever asks from now on; sessions stay.
    pub fn take(&self, NextMethod { method, patience }: NextMethod) -> KeyChange {
        self.stats.set_breaker(BreakerState::Closed);
        let new = method.key_ids();
        let old = self.method.swap(Arc::new(method)).key_ids();
        self.patience.set(patience);
        KeyChange { old, new }
    }

    /// Answers requests, several at a time, for as long as there are shards.
    pub async fn serve(
        self: Arc<Self>,
        requests: mpsc::Receiver<Waiting>,
        postboxes: Vec<Postbox>,
    ) {
        let requests = Mutex::new(requests);
        supervised(|| async {
            let mut requests = requests.lock().await;
            while let Some(Waiting { request, place }) = requests.recv().await {
                let (authenticator, postbox) = (self.clone(), postboxes[request.shard].clone());
                // If this panics, the shard decides when it can wait no longer.
                tokio::spawn(async move {
                    if let Some(answer) = authenticator.answer(request).await {
                        postbox.post(ControlMail::Authenticated(Box::new(answer)));
                    }
                    drop(place);
                });
            }
        })
        .await;
    }

    /// Decides, and counts it, unless the shard has done so.
    async fn answer(&self, request: AuthRequest) -> Option<Answer> {
        let began = Instant::now();
        let result = match &*self.method.load_full() {
            Method::None => Ok(Grant::EVERYTHING),
            Method::Jwt(jwt) => jwt.decide(&request).await,
            Method::Webhook(webhook) => webhook.decide(&request).await,
        };
        let answer = request.answer(result)?;
        self.stats.decisions.count(answer.outcome(), began.elapsed());
        Some(answer)
    }
}

impl Method {
    fn new(
        section: &AuthSection,
        before: Option<&Self>,
        stats: &Arc<AuthStats>,
        audit: &Audit,
    ) -> Result<Self, AuthError> {
        match section.mode {
            AuthMode::None => Ok(Self::None),
            AuthMode::Jwt => {
                let rules = &section.jwt;
                let keys = KeySet::from_files(rules)?;
                let jwks = match &rules.jwks_url {
                    Some(url) => {
                        let url = parse("auth.jwt.jwks_url", url)?;
                        let kept = before.and_then(|before| before.keys_of(&url));
                        let kept = kept.unwrap_or_default();
                        Some(Jwks::start(&url, rules, kept, stats.clone(), audit.clone())?)
                    }
                    None => None,
                };
                Ok(Self::Jwt(Box::new(Jwt::new(rules.clone(), keys, jwks))))
            }
            AuthMode::Webhook => {
                let rules = &section.webhook;
                let webhook = Webhook::new(service(rules)?, rules.clone(), stats.clone())?;
                Ok(Self::Webhook(Box::new(webhook)))
            }
        }
    }

    /// The keys last fetched from that place.
    fn keys_of(&self, url: &Url) -> Option<Arc<KeySet>> {
        match self {
            Self::Jwt(jwt) => jwt.jwks.as_ref().filter(|jwks| jwks.url() == url).map(Jwks::keys),
            Self::None | Self::Webhook(_) => None,
        }
    }

    fn key_ids(&self) -> BTreeSet<String> {
        match self {
            Self::Jwt(jwt) => jwt.key_ids(),
            Self::None | Self::Webhook(_) => BTreeSet::new(),
        }
    }
}

/// The service that is asked.
fn service(rules: &WebhookSection) -> Result<Url, AuthError> {
    parse("auth.webhook.url", rules.url.as_deref().unwrap_or_default())
}

fn parse(key: &'static str, url: &str) -> Result<Url, AuthError> {
    url.parse().map_err(|error| AuthError::Url(key, error))
}

/// How long a decision takes at most.
fn patience_for(section: &AuthSection) -> Option<Duration> {
    let decision = match section.mode {
        AuthMode::None => return None,
        AuthMode::Jwt => waits_for_keys(&section.jwt),
        // Until it is its turn, and until the service answers.
        AuthMode::Webhook => section.webhook.timeout.saturating_mul(2),
    };
    Some(decision.saturating_add(MARGIN))
}

#[cfg(test)]
mod tests;
