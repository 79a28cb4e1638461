//! What of the relay's life is in the audit log, and in which words. docs/logging.md
//! has the form of a record.

mod keys;
mod operator;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wzp_telemetry::audit::{Audit, AuditError, Outcome, User};
use wzp_telemetry::settings::AuditEvent;

use crate::build_info;
use wzp_sfu::ids::ShardIndex;
use wzp_sfu::shard::event::Event;

pub use keys::KeyChange;
pub use operator::{Action, Operator};

/// Has a session's event written, if it is one for the audit log. Never waits: shards
/// call it.
pub fn session(audit: &Audit, event: &Event) {
    let (Some((kind, is_success)), Some(session)) = (event.audit(), event.session()) else {
        return;
    };
    let outcome = if is_success { Outcome::Success } else { Outcome::Failure };
    audit.note(kind, &User::Peer { session: session.to_string() }, outcome, &event.details());
}

/// Writes what somebody had the relay do, and waits until it is on the disk.
///
/// # Errors
/// The disk did not take it, or not in time.
pub fn action(audit: &Audit, action: &Action) -> Result<(), AuditError> {
    let Action { by, event, details, result } = action;
    let user = by.as_ref().map_or(User::Signal, |by| User::Operator { uid: by.uid });
    let mut details = details.clone();
    let kind = match *event {
        "key_rotation" => AuditEvent::KeyRotation,
        "reload" => AuditEvent::ConfigChange,
        other => {
            put(&mut details, "action", other);
            AuditEvent::AdminAction
        }
    };
    if let Err(sentence) = result {
        put(&mut details, "error", sentence);
    }
    let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Failure };
    audit.record(kind, &user, outcome, &details)
}

/// What a record tells of other keys for tokens.
pub fn token_keys(change: &KeyChange) -> Value {
    let ids = |keys: &BTreeSet<String>| Vec::from_iter(keys.iter().map(String::as_str)).join(", ");
    json!({
        "what": "token_keys",
        "old_key_id": ids(&change.old),
        "new_key_id": ids(&change.new),
        "token_keys_added": change.added(),
        "token_keys_removed": change.removed(),
    })
}

/// Has it written that a key set which was fetched has other keys. Never waits.
pub fn fetched_keys(audit: &Audit, change: &KeyChange) {
    audit.note(AuditEvent::KeyRotation, &User::Program, Outcome::Success, &token_keys(change));
}

/// Writes that the relay has started or is about to end.
///
/// # Errors
/// The disk did not take it, or not in time.
pub fn lifecycle(audit: &Audit, what: &str) -> Result<(), AuditError> {
    let details = json!({ "what": what, "version": build_info::VERSION });
    audit.record(AuditEvent::Lifecycle, &User::Program, Outcome::Success, &details)
}

/// Has it written that a shard failed and begins again. Never waits: it is the shard's
/// thread that calls it.
pub fn shard_failed(audit: &Audit, shard: ShardIndex) {
    let details = json!({ "what": "shard_failed", "shard": shard });
    audit.note(AuditEvent::Lifecycle, &User::Program, Outcome::Failure, &details);
}

fn put(details: &mut Value, key: &str, value: &str) {
    if let Some(details) = details.as_object_mut() {
        details.insert(key.to_owned(), value.into());
    }
}
