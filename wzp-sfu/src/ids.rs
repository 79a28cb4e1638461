//! What shards, rooms and sessions are called.

/// A shard's number, 0 to one less than there are.
pub type ShardIndex = usize;

/// One life of a room: a room that empties and comes back is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId {
    /// The shard that owns the room's directory entry.
    pub home: u16,
    /// Unique on that shard for the life of the process.
    pub number: u64,
}

/// Names one session in mail, logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl SessionId {
    /// The id as [`fmt::Display`](std::fmt::Display) writes it: 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_plain.then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
