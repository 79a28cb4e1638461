//! On whose behalf something happened.

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::sync::LazyLock;

use wzp_untrusted::file;

/// On whose behalf something happened, as the field `user` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// Who gave a command on this machine: `root@host`, or `uid-1000@host` where
    /// /etc/passwd has no name.
    Operator {
        /// The user id of the process that asked.
        uid: u32,
    },
    /// Who sent a signal: `signal@host`.
    Signal,
    /// A participant, by its session: `peer:4d1f…`.
    Peer {
        /// The session, as the log names it.
        session: String,
    },
    /// The program itself: `program@host`.
    Program,
}

static HOST: LazyLock<String> =
    LazyLock::new(|| rustix::system::uname().nodename().to_string_lossy().into_owned());

impl Display for User {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let host = &*HOST;
        match self {
            Self::Operator { uid } => match name(*uid) {
                Some(name) => write!(f, "{name}@{host}"),
                None => write!(f, "uid-{uid}@{host}"),
            },
            Self::Signal => write!(f, "signal@{host}"),
            Self::Peer { session } => write!(f, "peer:{session}"),
            Self::Program => write!(f, "program@{host}"),
        }
    }
}

fn name(uid: u32) -> Option<String> {
    let users = file::read_text(Path::new("/etc/passwd"), file::SETTINGS_BYTES).ok()?;
    let entry = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut own = entry.filter(|entry| entry.get(2).is_some_and(|id| id.parse() == Ok(uid)));
    own.next()?.first().map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_as_an_operator_knows_them() {
        let host = &*HOST;
        for (user, expected) in [
            (User::Operator { uid: 0 }, format!("root@{host}")),
            (User::Operator { uid: 4_000_000_000 }, format!("uid-4000000000@{host}")),
            (User::Signal, format!("signal@{host}")),
            (User::Peer { session: "4d1f".into() }, "peer:4d1f".into()),
            (User::Program, format!("program@{host}")),
        ] {
            assert_eq!(user.to_string(), expected);
        }
    }
}
