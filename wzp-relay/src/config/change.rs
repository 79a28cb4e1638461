//! What differs between two configurations, and what it takes to have it.

use std::fmt;

use super::setting::keys;
use super::{Config, key, values};

/// When a changed key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// At once, on SIGHUP. Where it is about a session or a file, for the next
    /// that begins.
    Live,
    /// When the relay is started again.
    Restart,
}

use Applies::{Live, Restart};

/// A key, or all of a section that are not named themselves. The tests see to it
/// that none is forgotten.
const APPLIES: [(&str, Applies); 20] = [
    ("relay", Restart),
    ("relay.cert", Live),
    ("relay.key", Live),
    ("relay.drain_timeout", Live),
    ("metrics", Restart),
    ("metrics.max_room_series", Live),
    ("metrics.max_session_series", Live),
    ("metrics.keep_ended", Live),
    ("health", Restart),
    ("logging", Live),
    ("tracing", Restart),
    ("audit", Restart),
    ("audit.events", Live),
    ("audit.auth_failures_per_minute", Live),
    ("auth", Live),
    ("admin", Restart),
    ("ebpf", Restart),
    // Each shard's clock is set by it.
    ("forward", Restart),
    ("limits", Live),
    // In the QUIC parameters that are made at the start.
    ("limits.idle_timeout", Restart),
];

/// When a change of that key counts.
pub(super) fn applies(key: &str) -> Option<Applies> {
    let of = |name| APPLIES.iter().find(|(known, _)| *known == name).map(|(_, applies)| *applies);
    of(key).or_else(|| applies(key.rsplit_once('.')?.0))
}

/// A key that has another value than before. Secrets in URLs are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// With its section.
    pub key: String,
    /// As in the file; `None`: it was not set.
    pub old: Option<String>,
    /// As in the file; `None`: it is not set any more.
    pub new: Option<String>,
    /// When it counts.
    pub applies: Applies,
}

impl Change {
    /// The old configuration with those changes that count at once.
    ///
    /// # Errors
    /// They do not make a configuration, which no two that were checked do.
    pub fn apply(old: &Config, new: &Config) -> Result<Config, toml::de::Error> {
        let (mut values, mut wanted) = (values::flat(old), values::flat(new));
        for change in Self::between(old, new).iter().filter(|change| change.applies == Live) {
            values.remove(&change.key);
            values.extend(wanted.remove_entry(&change.key));
        }
        values::typed(values.iter().map(|(key, value)| (key.as_str(), value)))
    }

    /// All changes, in the order of the reference.
    pub fn between(old: &Config, new: &Config) -> Vec<Self> {
        let (old, new) = (values::flat(old), values::flat(new));
        let changed = |key: &key::Key| {
            let (old, new) = (old.get(&key.path), new.get(&key.path));
            (old != new).then(|| Self {
                key: key.path.clone(),
                old: old.map(key::shown),
                new: new.map(key::shown),
                applies: applies(&key.path).unwrap_or(Restart),
            })
        };
        keys(&key::sections()).filter_map(changed).collect()
    }
}

/// `limits.sessions: 10000 -> 500`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        write!(f, "{}: {} -> {}", self.key, side(&self.old), side(&self.new))?;
        match self.applies {
            Live => Ok(()),
            Restart => write!(f, " (after a restart)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_key_is_classified_and_every_row_is_of_a_key() {
        let sections = key::sections();
        for key in keys(&sections) {
            assert!(applies(&key.path).is_some(), "say in change.rs when {} applies", key.path);
        }
        for (row, _) in APPLIES {
            let known = sections.iter().any(|section| section.name == row)
                || keys(&sections).any(|key| key.path == row);
            assert!(known, "{row} is in change.rs and nowhere else");
        }
    }

    #[test]
    fn changes_say_what_they_need() {
        let old = Config::default();
        let mut new = old.clone();
        new.relay.listen = "127.0.0.1:1".parse().unwrap();
        new.relay.cert = Some("a.pem".into());
        new.limits.sessions = 5;
        new.limits.idle_timeout = Duration::from_secs(60);
        let expected = [
            ("relay.listen", Some("\"[::]:4433\""), Some("\"127.0.0.1:1\""), Restart),
            ("relay.cert", None, Some("\"a.pem\""), Live),
            ("limits.sessions", Some("10000"), Some("5"), Live),
            ("limits.idle_timeout", Some("\"20s\""), Some("\"1m\""), Restart),
        ];
        let expected = expected.map(|(key, old, new, applies)| Change {
            key: key.into(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            applies,
        });
        assert_eq!(Change::between(&old, &new), expected);
        assert_eq!(Change::between(&new, &new), []);
        let applied = Change::apply(&old, &new).unwrap();
        let rest = Change::between(&applied, &new);
        assert_eq!(
            rest.iter().map(|c| c.key.as_str()).collect::<Vec<_>>(),
            ["relay.listen", "limits.idle_timeout"]
        );
        assert_eq!(expected[1].to_string(), "relay.cert: not set -> \"a.pem\"");
    }

    #[test]
    fn secrets_in_urls_are_not_told() {
        let old = Config::default();
        let mut new = old.clone();
        new.tracing.endpoint = "http://ben:hunter2@collector:4317".into();
        new.auth.webhook.url = Some("https://app.example/voice?key=hunter2".into());
        for (change, host) in Change::between(&old, &new).iter().zip(["collector", "app.example"]) {
            let told = change.to_string();
            assert!(told.contains(host) && !told.contains("hunter2"), "{told}");
        }
    }
}
