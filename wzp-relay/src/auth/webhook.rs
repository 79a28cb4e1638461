//! A service of the operator decides: the question is POSTed, the answer is
//! JSON. No answer is a refusal, so that a service that is down opens no room.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::time::timeout_at;
use tracing::{info, warn};
use wzp_telemetry::limited;
use wzp_telemetry::lock::{Mutex, MutexGuard};
use wzp_telemetry::log::target;
use wzp_transport::trust::TrustError;

use super::breaker::{Admission, Breaker, BreakerState, Outcome};
use super::cache::Cache;
use super::http::{HttpClient, HttpError};
use super::source::Source;
use super::stats::AuthStats;
use super::time::Seconds;
use super::turns::{Turn, Turns};
use crate::config::{Url, WebhookSection};
use wzp_sfu::access::after;
use wzp_sfu::access::{AuthRequest, Expiry, Grant, Refusal};
use wzp_sfu::count::reason::AuthFailReason;

/// Longest answer, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// The most of the service's own reason that a participant is told, in
/// characters: CONNECTION_CLOSE has to fit a packet.
const MAX_REASON: usize = 200;

/// The service and how it fares.
#[derive(Debug)]
pub(super) struct Webhook {
    url: Url,
    rules: WebhookSection,
    client: HttpClient,
    turns: Arc<Turns>,
    cache: Mutex<Cache>,
    breaker: Mutex<Breaker>,
    /// Told when the breaker has heard of a request.
    changed: Notify,
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

/// Why there is no decision. In words of this program: the answer may have a secret
/// in it.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The service does not work. Counts for the breaker.
    Down(String),
    /// It works, and its answer decides nothing: a stranger may have brought that
    /// about, and it says nothing about how the service is.
    Odd(String),
}

/// What the service decides.
pub type Decision = Result<Grant, Refusal>;

impl Webhook {
    pub(super) fn new(
        url: Url,
        rules: WebhookSection,
        stats: Arc<AuthStats>,
    ) -> Result<Self, TrustError> {
        Ok(Self {
            client: Self::client(&url)?,
            url,
            turns: Arc::new(Turns::new(rules.max_concurrent)),
            cache: Mutex::new(Cache::new(rules.cache_time, rules.refusal_cache_time)),
            breaker: Mutex::new(Breaker::new(
                rules.breaker_failures,
                rules.breaker_pause,
                rules.max_concurrent,
            )),
            changed: Notify::new(),
            rules,
            stats,
        })
    }

    /// Who asks there.
    pub(super) fn client(url: &Url) -> Result<HttpClient, TrustError> {
        HttpClient::new(url.uri(), MAX_BYTES)
    }

    pub(super) async fn decide(&self, request: &AuthRequest) -> Decision {
        let AuthRequest { room, name, ip, token, .. } = request;
        let question = Question { token: token.reveal(), room, name, ip: *ip };
        let question = serde_json::to_vec(&question).map_err(|_| unavailable())?;
        let digest = Sha256::digest(&question).into();
        if let Some(decision) = lock(&self.cache).get(&digest, Instant::now()) {
            return decision;
        }
        let source = Source::of(*ip);
        let turn = self.turn(source).await?;
        let outcome = self.ask(question).await;
        turn.ends(outcome.is_ok());
        self.note(source, &outcome);
        let decision = outcome.map_err(|_| unavailable())?;
        lock(&self.cache).keep(digest, source, &decision, Instant::now());
        decision
    }

    /// The end of a time-out that begins now.
    fn deadline(&self) -> tokio::time::Instant {
        after(Instant::now(), self.rules.timeout).into()
    }

    /// A turn to ask, which the breaker has agreed to. Who waits for the breaker has no
    /// turn meanwhile, and who waits for a turn none of the breaker's places.
    async fn turn(&self, source: Source) -> Result<Turn, Refusal> {
        let deadline = self.deadline();
        loop {
            self.leave(source, deadline).await?;
            let Some(turn) = self.turns.take(source, deadline).await else {
                let text = "too many wait for this relay's auth service; try again in some seconds";
                return Err(Refusal::new(AuthFailReason::Busy, text));
            };
            let mut breaker = lock(&self.breaker);
            let admission = breaker.admit(source, Instant::now());
            self.stats.set_breaker(breaker.state());
            match admission {
                Admission::Go => return Ok(turn),
                Admission::Paused => return Err(paused()),
                // Others were sooner, or it has opened since.
                Admission::Wait => {}
            }
        }
    }

    /// Waits until the breaker would let a request through.
    async fn leave(&self, source: Source, deadline: tokio::time::Instant) -> Result<(), Refusal> {
        loop {
            // From here on no change is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let admission = lock(&self.breaker).look(source, Instant::now());
            match admission {
                Admission::Go => return Ok(()),
                Admission::Paused => return Err(paused()),
                Admission::Wait => {
                    timeout_at(deadline, changed).await.map_err(|_| unavailable())?;
                }
            }
        }
    }

    /// Asks as for a participant whose token is none.
    pub(super) async fn probe(&self) -> Result<Decision, Fault> {
        const NOBODY: &str = "wzp-relay doctor";
        let ip = std::net::Ipv4Addr::UNSPECIFIED.into();
        let question = Question { token: NOBODY, room: NOBODY, name: NOBODY, ip };
        let question = serde_json::to_vec(&question);
        let question = question.map_err(|_| Fault::Odd("there is no such question".into()))?;
        let response = self.post(question).await?;
        match response.status() {
            // A participant is refused by these, too; who looks should know.
            status @ (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                Err(Fault::Odd(format!("it answered {status} to a POST")))
            }
            _ => interpret(&response, Instant::now()),
        }
    }

    /// The service's answer, or why there is none.
    async fn ask(&self, question: Vec<u8>) -> Result<Decision, Fault> {
        interpret(&self.post(question).await?, Instant::now())
    }

    async fn post(&self, question: Vec<u8>) -> Result<Response<Bytes>, Fault> {
        let request = Request::post(self.url.uri().clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .body(Full::from(question))
            .map_err(|_| Fault::Odd("no request can be made for its URL".to_owned()))?;
        let response = self.client.send(request, self.deadline()).await;
        response.map_err(|error| match error {
            HttpError::TooLong(_) | HttpError::Flood(_) => Fault::Odd(error.to_string()),
            _ => Fault::Down(error.to_string()),
        })
    }

    /// Tells the breaker how a request went, and the operator if that changes
    /// anything.
    fn note(&self, source: Source, result: &Result<Decision, Fault>) {
        let outcome = match result {
            Ok(_) => Outcome::Answered,
            Err(Fault::Odd(_)) => Outcome::Odd,
            Err(Fault::Down(_)) => Outcome::Failed,
        };
        let mut breaker = lock(&self.breaker);
        let before = breaker.state();
        let opened = breaker.tell(source, outcome, Instant::now());
        let state = breaker.state();
        self.stats.set_breaker(state);
        drop(breaker);
        self.changed.notify_waiters();
        match result {
            Err(Fault::Down(reason)) if opened => {
                warn!(target: target::AUTH, url = %self.url, reason, pause = ?self.rules.breaker_pause,
                      "the auth service does not answer; nobody new is let in until it does");
            }
            Err(Fault::Down(reason) | Fault::Odd(reason)) => {
                limited!(AUTH, WARN, per_minute(6), url = %self.url, reason,
                         "the auth service did not answer for a participant");
            }
            Ok(_) if before != BreakerState::Closed => {
                info!(target: target::AUTH, url = %self.url, "the auth service answers again");
            }
            Ok(_) => {}
        }
    }
}

/// What the answer means.
///
/// # Errors
/// It decides nothing.
pub fn interpret(response: &Response<Bytes>, now: Instant) -> Result<Decision, Fault> {
    match response.status() {
        StatusCode::OK => {}
        // The service has no time: for whom, it does not say. A participant is not
        // refused for that, and strangers who ask too often open no breaker by it.
        status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => {
            return Err(Fault::Odd(format!("it answered {status}")));
        }
        status if status.is_client_error() => {
            if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                limited!(AUTH, INFO, per_minute(6), %status,
                         "the auth service refused a participant; if it refuses all, \
                          look at auth.webhook.url");
            }
            return Ok(Err(denied(None)));
        }
        status if status.is_server_error() => {
            return Err(Fault::Down(format!("it answered {status}")));
        }
        status => return Err(Fault::Odd(format!("it answered {status}"))),
    }
    let answer: Answer = serde_json::from_slice(response.body()).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Fault::Odd(format!(
            "its answer is not the JSON that it should be: line {line}, column {column}"
        ))
    })?;
    if !answer.allow {
        return Ok(Err(denied(answer.reason.as_deref())));
    }
    Ok(Ok(Grant {
        publish: answer.publish.unwrap_or(true),
        listen: answer.listen.unwrap_or(true),
        expires: answer.expires_in.map(|time| Expiry::After(after(now, time.duration()))),
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

fn paused() -> Refusal {
    let text = "this relay's auth service failed for participants of your address; try again in \
                some seconds";
    Refusal::new(AuthFailReason::SourcePaused, text)
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves the state whole, so a panic elsewhere is no harm.
    state.lock()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use wzp_sfu::access::HORIZON;

    const DOWN: Result<Decision, bool> = Err(false);
    const ODD: Result<Decision, bool> = Err(true);

    #[test]
    fn a_time_beyond_all_clocks_ends_in_ten_years() {
        let now = Instant::now();
        for (time, expected) in [
            ("0", Duration::ZERO),
            ("1e18", HORIZON),
            ("9223372036854775807", HORIZON),
            ("1e300", HORIZON),
        ] {
            let body = format!(r#"{{"allow":true,"expires_in":{time}}}"#);
            let response = Response::new(Bytes::from(body));
            let grant = interpret(&response, now).unwrap().unwrap();
            assert_eq!(grant.expires, Some(Expiry::After(now + expected)), "{time}");
        }
    }

    #[test]
    fn what_the_service_answers_is_not_told_to_the_log() {
        for body in [
            r#"{"allow":"canary"}"#,
            r#"{"canary":1}"#,
            "canary",
            r#"{"allow":true,"expires_in":"canary"}"#,
        ] {
            let response = Response::new(Bytes::from_static(body.as_bytes()));
            let Err(Fault::Odd(told)) = interpret(&response, Instant::now()) else {
                panic!("{body}")
            };
            assert!(told.contains("line 1") && !told.contains("canary"), "{told}");
        }
    }

    #[test]
    fn every_answer_is_a_grant_a_refusal_or_none() {
        let now = Instant::now();
        let all = Grant::EVERYTHING;
        let long = format!(r#"{{"allow":false,"reason":"{}"}}"#, "no ".repeat(1000));
        let cases = [
            (200, r#"{"allow":true}"#, Ok(Ok(all.clone()))),
            (
                200,
                r#"{"allow":true,"publish":false,"expires_in":1.5,"more":7}"#,
                Ok(Ok(Grant {
                    publish: false,
                    expires: Some(Expiry::After(now + Duration::from_millis(1500))),
                    ..all.clone()
                })),
            ),
            (200, r#"{"allow":true,"listen":false}"#, Ok(Ok(Grant { listen: false, ..all }))),
            (200, r#"{"allow":false}"#, Ok(Err(denied(None)))),
            (200, r#"{"allow":false,"reason":"unpaid"}"#, Ok(Err(denied(Some("unpaid"))))),
            (200, &long, Ok(Err(denied(Some(&"no ".repeat(1000)))))),
            (400, "what?", Ok(Err(denied(None)))),
            (401, "whatever", Ok(Err(denied(None)))),
            (403, "", Ok(Err(denied(None)))),
            (404, r#"{"allow":true}"#, Ok(Err(denied(None)))),
            (422, "", Ok(Err(denied(None)))),
            (499, "", Ok(Err(denied(None)))),
            (200, "", ODD),
            (200, "allow", ODD),
            (200, r#"{"allow":"yes"}"#, ODD),
            (200, r#"{"allow":true,"expires_in":-1}"#, ODD),
            (200, r#"{"allow":true,"expires_in":"soon"}"#, ODD),
            (204, "", ODD),
            (302, r#"{"allow":true}"#, ODD),
            (408, "", ODD),
            (429, "", ODD),
            (500, r#"{"allow":true}"#, DOWN),
            (503, "", DOWN),
            (599, "", DOWN),
        ];
        for (status, body, expected) in cases {
            let response = Response::builder().status(status);
            let response = response.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
            let found = interpret(&response, now).map_err(|fault| match fault {
                Fault::Down(_) => false,
                Fault::Odd(_) => true,
            });
            assert_eq!(found, expected, "{status} {body}");
        }
        assert!(denied(Some(&long)).text.len() < 300);
        assert!(denied(Some("line\n\u{7}end")).text.ends_with("lineend"));
    }
}
