//! Where a room has its home, among places that must agree without asking each other.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher24;

/// What the places have in common and clients must not know: who could tell where a
/// name's room goes would choose names that all go to one place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PlacementKey([u8; 16]);

impl PlacementKey {
    /// All 16 bytes should be random.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The number that decides about the room of that name: SipHash-2-4 (Aumasson and
    /// Bernstein, 2012) of the name's UTF-8 bytes. Of `n` places it is number `hash % n`.
    pub fn hash(&self, room: &str) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(room.as_bytes());
        hasher.finish()
    }
}

/// Does not tell the key.
impl fmt::Debug for PlacementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlacementKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the paper's appendix A: a relay of another release or another make
    /// places rooms alike.
    #[test]
    fn the_number_is_that_of_the_paper() {
        let key = PlacementKey::new(std::array::from_fn(|byte| byte as u8));
        let room: String = (0u8..15).map(char::from).collect();
        assert_eq!(key.hash(&room), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn another_key_places_otherwise() {
        let homes = |key| {
            let key = PlacementKey::new([key; 16]);
            (0..100).map(|room| key.hash(&format!("room {room}")) % 4).collect::<Vec<_>>()
        };
        assert_ne!(homes(1), homes(2));
        assert!((0..4).all(|place| homes(1).contains(&place)));
    }
}
