//! That keys changed.

use std::collections::BTreeSet;

/// The keys before and after, by what they are known by: the `kid`, or a hash of a
/// key that has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Those that tokens could be signed with.
    pub old: BTreeSet<String>,
    /// Those that they can be signed with now.
    pub new: BTreeSet<String>,
}

impl KeyChange {
    /// Whether it is one.
    pub fn is_any(&self) -> bool {
        self.old != self.new
    }

    /// Those that are new.
    pub fn added(&self) -> Vec<String> {
        self.new.difference(&self.old).cloned().collect()
    }

    /// Those that are gone.
    pub fn removed(&self) -> Vec<String> {
        self.old.difference(&self.new).cloned().collect()
    }
}
