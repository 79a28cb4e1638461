//! A service of the operator decides: the question is POSTed, the answer is
//! JSON. No answer is a refusal, so that a service that is down opens no room.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Request, Response, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tracing::{info, warn};
use wzp_telemetry::limited;
use wzp_transport::trust::TrustError;

use super::breaker::{Breaker, BreakerState};
use super::cache::Cache;
use super::http::HttpClient;
use super::stats::AuthStats;
use super::time::{Seconds, after};
use super::{AuthRequest, Grant, Refusal};
use crate::config::WebhookSection;
use crate::metrics::reason::AuthFailReason;

/// Longest answer, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// The most of the service's own reason that a participant is told, in
/// characters: CONNECTION_CLOSE has to fit a packet.
const MAX_REASON: usize = 200;

/// The service and how it fares.
#[derive(Debug)]
pub(super) struct Webhook {
    url: Uri,
    rules: WebhookSection,
    client: HttpClient,
    turns: Semaphore,
    cache: Mutex<Cache>,
    breaker: Mutex<Breaker>,
    stats: Arc<AuthStats>,
}

#[derive(Serialize)]
struct Question<'a> {
    token: &'a str,
    room: &'a str,
    name: &'a str,
    ip: IpAddr,
}

#[derive(Deserialize)]
struct Answer {
    allow: bool,
    publish: Option<bool>,
    listen: Option<bool>,
    expires_in: Option<Seconds>,
    reason: Option<String>,
}

impl Webhook {
    pub(super) fn new(
        url: Uri,
        rules: WebhookSection,
        stats: Arc<AuthStats>,
    ) -> Result<Self, TrustError> {
        Ok(Self {
            client: HttpClient::new(&url)?,
            url,
            turns: Semaphore::new(rules.max_concurrent),
            cache: Mutex::default(),
            breaker: Mutex::new(Breaker::new(rules.breaker_failures, rules.breaker_pause)),
            rules,
            stats,
        })
    }

    pub(super) async fn decide(&self, request: &AuthRequest) -> Result<Grant, Refusal> {
        let AuthRequest { room, name, ip, token, .. } = request;
        let question = Question { token: token.reveal(), room, name, ip: *ip };
        let question = serde_json::to_vec(&question).map_err(|_| unavailable())?;
        let digest = Sha256::digest(&question).into();
        if let Some(result) = lock(&self.cache).get(&digest, Instant::now()) {
            return result;
        }
        let deadline = tokio::time::Instant::now() + self.rules.timeout;
        let turn = timeout_at(deadline, self.turns.acquire()).await;
        if turn.is_err() || deadline <= tokio::time::Instant::now() {
            let text = "too many wait for this relay's auth service; try again in some seconds";
            return Err(Refusal::new(AuthFailReason::Busy, text));
        }
        if !self.is_admitted() {
            return Err(unavailable());
        }
        let outcome = self.ask(question, deadline).await;
        self.note(outcome.as_ref().err());
        let result = outcome.map_err(|_| unavailable())?;
        let time = match result {
            Ok(_) => self.rules.cache_time,
            Err(_) => self.rules.refusal_cache_time,
        };
        lock(&self.cache).keep(digest, result.clone(), Instant::now(), time);
        result
    }

    /// The service's answer, or why there is none.
    async fn ask(
        &self,
        question: Vec<u8>,
        deadline: tokio::time::Instant,
    ) -> Result<Result<Grant, Refusal>, String> {
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Full::from(question))
            .map_err(|error| error.to_string())?;
        let response = self.client.send(request, MAX_BYTES, deadline).await;
        interpret(&response.map_err(|error| error.to_string())?, Instant::now())
    }

    fn is_admitted(&self) -> bool {
        let mut breaker = lock(&self.breaker);
        let admitted = breaker.admits(Instant::now());
        self.stats.set_breaker(breaker.state());
        admitted
    }

    /// Tells the breaker how a request went, and the operator if that changes
    /// anything.
    fn note(&self, failure: Option<&String>) {
        let mut breaker = lock(&self.breaker);
        match failure {
            Some(reason) => {
                if breaker.failed(Instant::now()) {
                    warn!(url = %self.url, reason, pause = ?self.rules.breaker_pause,
                          "the auth service does not answer; nobody new is let in");
                } else {
                    limited!(WARN, per_minute(6), url = %self.url, reason,
                             "the auth service did not answer for a participant");
                }
            }
            None => {
                if breaker.state() != BreakerState::Closed {
                    info!(url = %self.url, "the auth service answers again");
                }
                breaker.succeeded();
            }
        }
        self.stats.set_breaker(breaker.state());
    }
}

/// What the answer means; what means nothing is no answer.
fn interpret(response: &Response<Bytes>, now: Instant) -> Result<Result<Grant, Refusal>, String> {
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(Err(denied(None))),
        status => return Err(format!("it answered {status}")),
    }
    let answer: Answer = serde_json::from_slice(response.body())
        .map_err(|error| format!("its answer is not what it should be: {error}"))?;
    if !answer.allow {
        return Ok(Err(denied(answer.reason.as_deref())));
    }
    Ok(Ok(Grant {
        publish: answer.publish.unwrap_or(true),
        listen: answer.listen.unwrap_or(true),
        expires: answer.expires_in.map(|time| after(now, time.duration())),
        user: None,
    }))
}

fn denied(reason: Option<&str>) -> Refusal {
    let mut text = "this relay's auth service does not let you in".to_owned();
    if let Some(reason) = reason {
        text.push_str(": ");
        text.extend(reason.chars().filter(|letter| !letter.is_control()).take(MAX_REASON));
    }
    Refusal::new(AuthFailReason::Denied, text)
}

fn unavailable() -> Refusal {
    let text = "this relay's auth service does not answer now; try again in some seconds";
    Refusal::new(AuthFailReason::Unavailable, text)
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves the state whole, so a panic elsewhere is no harm.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_answer_is_a_grant_a_refusal_or_none() {
        let now = Instant::now();
        let all = Grant::EVERYTHING;
        let long = format!(r#"{{"allow":false,"reason":"{}"}}"#, "no ".repeat(1000));
        let cases = [
            (200, r#"{"allow":true}"#, Some(Ok(all.clone()))),
            (
                200,
                r#"{"allow":true,"publish":false,"expires_in":1.5,"more":7}"#,
                Some(Ok(Grant {
                    publish: false,
                    expires: Some(now + Duration::from_millis(1500)),
                    ..all.clone()
                })),
            ),
            (200, r#"{"allow":true,"listen":false}"#, Some(Ok(Grant { listen: false, ..all }))),
            (200, r#"{"allow":false}"#, Some(Err(denied(None)))),
            (200, r#"{"allow":false,"reason":"unpaid"}"#, Some(Err(denied(Some("unpaid"))))),
            (200, &long, Some(Err(denied(Some(&"no ".repeat(1000)))))),
            (401, "whatever", Some(Err(denied(None)))),
            (403, "", Some(Err(denied(None)))),
            (200, "", None),
            (200, "allow", None),
            (200, r#"{"allow":"yes"}"#, None),
            (200, r#"{"allow":true,"expires_in":-1}"#, None),
            (302, r#"{"allow":true}"#, None),
            (500, r#"{"allow":true}"#, None),
        ];
        for (status, body, expected) in cases {
            let response = Response::builder().status(status);
            let response = response.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
            assert_eq!(interpret(&response, now).ok(), expected, "{status} {body}");
        }
        assert!(denied(Some(&long)).text.len() < 300);
        assert!(denied(Some("line\n\u{7}end")).text.ends_with("lineend"));
    }
}
