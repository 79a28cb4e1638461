//! The requests of the admin socket. docs/operations.md lists them.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::control::Control;
use crate::audit::Operator;
use crate::config::redact;
use crate::events::Lines;
use wzp_sfu::ids::SessionId;

/// Longest reason for a kick, in bytes: it has to fit a packet.
const MAX_REASON: usize = 256;

/// What may come with `PUT /drain`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainOrder {
    /// How long sessions may go on; without it `relay.drain_timeout`.
    pub timeout_seconds: Option<f64>,
    /// Whether the relay ends when nobody is left.
    pub exit: bool,
}

/// What may come with `DELETE /sessions/ID`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KickOrder {
    /// A sentence for the client.
    pub reason: Option<String>,
}

/// What may come with `PUT /block/IP`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockOrder {
    /// Whether sessions from there end at once and not for want of packets.
    pub kick: bool,
}

/// What comes with `PUT /log-level`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogOrder {
    /// As in `RUST_LOG`.
    pub filter: String,
}

/// A refusal: what HTTP says, and a sentence.
pub type Refusal = (StatusCode, String);

fn refuse(status: StatusCode, sentence: impl ToString) -> Refusal {
    (status, sentence.to_string())
}

/// Shows something: the answer to GET, JSON.
///
/// # Errors
/// Any [`Refusal`].
pub fn look(control: &Control, path: &str) -> Result<Value, Refusal> {
    match path {
        "/status" => show(control.status()),
        "/sessions" => show(control.sessions()),
        "/rooms" => show(control.rooms()),
        "/flows" => flows(control),
        "/config" => {
            let mut settings = show(&*control.config())?;
            redact(&mut settings);
            Ok(settings)
        }
        _ => Err(absent(&Method::GET, path)),
    }
}

/// Where lines are told as they come.
pub const EVENTS: &str = "/events";

/// Follows what happens from now on.
///
/// # Errors
/// Too many do.
pub fn follow(control: &Control) -> Result<Lines, Refusal> {
    control.followers.follow().ok_or_else(|| {
        let sentence = format!(
            "{} follow already; end one of them first, or raise admin.followers",
            control.followers.most()
        );
        refuse(StatusCode::CONFLICT, sentence)
    })
}

/// Has the relay do something and gives what was done, JSON.
///
/// # Errors
/// Any [`Refusal`].
pub fn act(
    control: &Control,
    by: &Operator,
    method: &Method,
    path: &str,
    body: &Bytes,
) -> Result<Value, Refusal> {
    let segments: Vec<_> = path.trim_start_matches('/').split('/').collect();
    match (method.as_str(), &segments[..]) {
        ("PUT", ["block", ip]) => block(control, by, ip, body),
        ("DELETE", ["block", ip]) => unblock(control, by, ip),
        ("DELETE", ["sessions", id]) => kick(control, by, id, body),
        ("PUT", ["drain"]) => drain(control, by, body),
        ("DELETE", ["drain"]) => {
            let result = control.undrain().map_err(|error| error.to_string());
            done(control, by, "undrain", json!({}), result, StatusCode::CONFLICT)
        }
        ("PUT", ["log-level"]) => {
            let LogOrder { filter } = parse(body)?;
            let result = control.log.set_filter(&filter).map_err(|error| error.to_string());
            done(control, by, "log_level", json!({ "filter": filter }), result, BAD)
        }
        // It reports by itself: a signal leads there, too.
        ("POST", ["reload"]) => match control.reload(Some(by)) {
            Ok(change) => show(change),
            Err(error) => Err(refuse(BAD, format!("{error:#}"))),
        },
        #[cfg(debug_assertions)]
        ("POST", ["debug", "shards", index, "fail"]) => fail_shard(control, index),
        _ => Err(absent(method, path)),
    }
}

/// Has a shard panic at its next mail. For tests: release builds do not have it.
#[cfg(debug_assertions)]
fn fail_shard(control: &Control, index: &str) -> Result<Value, Refusal> {
    let shard = index.parse().ok().and_then(|index: usize| control.shards.get(index));
    let shard = shard.ok_or_else(|| refuse(StatusCode::NOT_FOUND, "there is no such shard"))?;
    shard.post(wzp_sfu::mail::ControlMail::Panic);
    Ok(json!({ "shard": index }))
}

fn absent(method: &Method, path: &str) -> Refusal {
    let sentence = format!("there is no {method} {path}; docs/operations.md lists what there is");
    refuse(StatusCode::NOT_FOUND, sentence)
}

const BAD: StatusCode = StatusCode::BAD_REQUEST;

fn show(value: impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error))
}

/// Nothing stands for all defaults.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let text = if body.is_empty() { b"{}" } else { &body[..] };
    serde_json::from_slice(text)
        .map_err(|error| refuse(BAD, format!("the request's content is wrong: {error}")))
}

/// Reports an operator's action and answers with its outcome.
fn done(
    control: &Control,
    by: &Operator,
    event: &'static str,
    details: Value,
    result: Result<(), String>,
    status: StatusCode,
) -> Result<Value, Refusal> {
    control.report(Some(by), event, details.clone(), result.clone());
    result.map(|()| details).map_err(|sentence| (status, sentence))
}

fn flows(control: &Control) -> Result<Value, Refusal> {
    if !control.sources.accounts.counts_rooms() {
        return Err(refuse(
            BAD,
            "the kernel does not count packets of this relay; start it with --interface",
        ));
    }
    show(control.sources.accounts.flows())
}

/// In canonical form, as peers' are.
fn address(text: &str) -> Result<IpAddr, Refusal> {
    let ip: Result<IpAddr, _> = text.parse();
    ip.map(|ip| ip.to_canonical()).map_err(|_| refuse(BAD, "that is not an IP address"))
}

fn block(control: &Control, by: &Operator, ip: &str, body: &Bytes) -> Result<Value, Refusal> {
    let ip = address(ip)?;
    let BlockOrder { kick } = parse(body)?;
    let result = control.sources.accounts.set_blocked(ip, true).map_err(|error| error.to_string());
    let kicked = if kick && result.is_ok() {
        control.kick_all_from(ip, Some("its address is blocked"))
    } else {
        0
    };
    done(control, by, "block", json!({ "ip": ip, "kicked": kicked }), result, BAD)
}

fn unblock(control: &Control, by: &Operator, ip: &str) -> Result<Value, Refusal> {
    let ip = address(ip)?;
    let result = control.sources.accounts.set_blocked(ip, false).map_err(|error| error.to_string());
    done(control, by, "unblock", json!({ "ip": ip }), result, BAD)
}

fn kick(control: &Control, by: &Operator, id: &str, body: &Bytes) -> Result<Value, Refusal> {
    let session = SessionId::parse(id).ok_or_else(|| {
        refuse(BAD, "a session id has 16 hexadecimal digits; `wzp-relay ctl sessions` lists them")
    })?;
    let KickOrder { reason } = parse(body)?;
    if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON) {
        return Err(refuse(BAD, format!("the reason is longer than {MAX_REASON} bytes")));
    }
    let result = match control.kick(session, reason.as_deref()) {
        true => Ok(()),
        false => Err(format!("there is no session {session}")),
    };
    let details = json!({ "session_id": session.to_string(), "reason": reason });
    done(control, by, "kick", details, result, StatusCode::NOT_FOUND)
}

fn drain(control: &Control, by: &Operator, body: &Bytes) -> Result<Value, Refusal> {
    let DrainOrder { timeout_seconds, exit } = parse(body)?;
    let patience = timeout_seconds.map(Duration::try_from_secs_f64).transpose();
    let patience = patience.map_err(|error| refuse(BAD, format!("timeout_seconds: {error}")))?;
    let patience = patience.unwrap_or(control.config().relay.drain_timeout);
    if patience > MAX_PATIENCE {
        return Err(refuse(BAD, "timeout_seconds: more than a year"));
    }
    let result = control.drain(patience, exit).map_err(|error| error.to_string());
    let details = json!({ "timeout_seconds": patience.as_secs_f64(), "exit": exit });
    done(control, by, "drain", details, result, StatusCode::CONFLICT)
}

/// Far more than anybody waits, and far less than a clock can add.
const MAX_PATIENCE: Duration = Duration::from_secs(365 * 24 * 3600);
