//! Who has the relay do something beside its work, and what that was: for the
//! log and the audit log.

use serde_json::Value;

/// The user behind a connection to the admin socket, as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The user's number.
    pub uid: u32,
    /// The user's name, if the system knows one.
    pub name: Option<String>,
}

impl Operator {
    /// The user of that number.
    pub fn of(uid: u32) -> Self {
        let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
        Self { uid, name: user.map(|user| user.name) }
    }
}

impl std::fmt::Display for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// Something that somebody had the relay do, or wanted to.
#[derive(Clone, Debug)]
pub struct Action {
    /// Who; `None` for a signal, which does not tell.
    pub by: Option<Operator>,
    /// What: `drain`, `undrain`, `kick`, `block`, `unblock`, `log_level`,
    /// `reload` or `key_rotation`.
    pub event: &'static str,
    /// The particulars, an object.
    pub details: Value,
    /// Whether it was done, or why not.
    pub result: Result<(), String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_where_the_system_knows_them() {
        let root = Operator::of(0);
        assert_eq!((root.uid, root.to_string().as_str()), (0, "root"));
        let nobody_at_all = Operator::of(u32::MAX - 7);
        assert_eq!(nobody_at_all.to_string(), format!("uid {}", u32::MAX - 7));
    }
}
