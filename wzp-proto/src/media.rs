//! The media datagram: a 12-byte header, then a payload the relay never opens.
//!
//! ```text
//! byte 0    version (2 bits) | kind (2 bits) | profile (4 bits)
//! byte 1    voice activity (1 bit) | audio level (7 bits, -dBov, RFC 6464)
//! 2-3       sender id, assigned by the relay in Welcome
//! 4-7       sequence number, one per frame of this sender, wraps
//! 8-11      timestamp of the frame's first sample, 48 kHz clock, wraps
//! 12-       payload
//! ```
//!
//! All fields are big-endian.

use thiserror::Error;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 12;

/// Value of the version field in every datagram of protocol version 2.
pub const VERSION: u8 = 2;

/// Ticks of the timestamp field in one second.
pub const CLOCK_HZ: u32 = 48_000;

/// How the sender encodes its voice, chosen from what its listeners report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Opus at 24 kbit/s in frames of 20 ms.
    #[default]
    Good,
    /// Opus at 16 kbit/s in frames of 40 ms.
    Degraded,
    /// Opus at 6 kbit/s in frames of 60 ms. Opus finds no room for FEC there.
    Catastrophic,
}

impl Profile {
    /// All profiles, best first.
    pub const ALL: [Self; 3] = [Self::Good, Self::Degraded, Self::Catastrophic];

    /// The profile field's value on the wire.
    pub const fn wire(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Degraded => 1,
            Self::Catastrophic => 2,
        }
    }

    /// The profile with that value, if one is assigned.
    pub const fn from_wire(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Good),
            1 => Some(Self::Degraded),
            2 => Some(Self::Catastrophic),
            _ => None,
        }
    }

    /// Length of one frame, in milliseconds.
    pub const fn frame_ms(self) -> u32 {
        match self {
            Self::Good => 20,
            Self::Degraded => 40,
            Self::Catastrophic => 60,
        }
    }

    /// Length of one frame, in ticks of the 48 kHz clock (also samples).
    pub const fn frame_ticks(self) -> u32 {
        self.frame_ms().saturating_mul(CLOCK_HZ / 1000)
    }

    /// Opus target rate, in bits per second.
    pub const fn bits_per_second(self) -> u32 {
        match self {
            Self::Good => 24_000,
            Self::Degraded => 16_000,
            Self::Catastrophic => 6_000,
        }
    }

    /// The name used in logs and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "GOOD",
            Self::Degraded => "DEGRADED",
            Self::Catastrophic => "CATASTROPHIC",
        }
    }
}

/// Loudness of a frame as RFC 6464 section 3 writes it: 0 is the loudest
/// (0 dBov), 127 is digital silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AudioLevel {
    minus_dbov: u8,
    voice: bool,
}

impl AudioLevel {
    /// A frame of digital silence.
    pub const SILENCE: Self = Self { minus_dbov: 127, voice: false };

    /// A level `minus_dbov` decibels below overload, limited to 127.
    pub const fn new(minus_dbov: u8, voice: bool) -> Self {
        let minus_dbov = if minus_dbov > 127 { 127 } else { minus_dbov };
        Self { minus_dbov, voice }
    }

    /// Decibels below overload, 0 to 127.
    pub const fn minus_dbov(self) -> u8 {
        self.minus_dbov
    }

    /// Whether the sender's encoder holds the frame for speech.
    pub const fn voice(self) -> bool {
        self.voice
    }
}

/// The header of a media datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaHeader {
    /// How the payload is encoded.
    pub profile: Profile,
    /// Loudness and voice activity.
    pub level: AudioLevel,
    /// The sender, as the relay numbered it.
    pub sender_id: u16,
    /// Grows by one with every frame; wraps.
    pub sequence: u32,
    /// First sample of the frame on the sender's 48 kHz clock; wraps.
    pub timestamp: u32,
}

/// Why a datagram is not a media datagram of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Shorter than a header and one byte of payload.
    #[error("shorter than a header and one byte of payload")]
    Short,
    /// The version field is not 2.
    #[error("protocol version {0} instead of 2")]
    Version(u8),
    /// The kind field is not "media".
    #[error("datagram kind {0} is not media")]
    Kind(u8),
    /// The profile field has no meaning yet.
    #[error("profile {0} is not assigned")]
    Profile(u8),
}

const KIND_MEDIA: u8 = 0;

/// What a relay looks at: the version, the kind and the sender. It forwards
/// profiles that it does not know, so that they can be added without it.
///
/// # Errors
/// [`HeaderError::Short`], [`HeaderError::Version`] or [`HeaderError::Kind`].
pub fn sender_of(datagram: &[u8]) -> Result<u16, HeaderError> {
    if datagram.len() <= HEADER_LEN {
        return Err(HeaderError::Short);
    }
    let first = datagram[0];
    match (first >> 6, first >> 4 & 0b11) {
        (VERSION, KIND_MEDIA) => Ok(u16::from_be_bytes([datagram[2], datagram[3]])),
        (VERSION, kind) => Err(HeaderError::Kind(kind)),
        (version, _) => Err(HeaderError::Version(version)),
    }
}

/// The sequence number of a datagram that [`sender_of`] accepts, without a look
/// at the rest.
///
/// # Panics
/// The datagram is shorter than [`HEADER_LEN`].
pub fn sequence_of(datagram: &[u8]) -> u32 {
    word(datagram, 4)
}

fn word(datagram: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&datagram[at..][..4]);
    u32::from_be_bytes(word)
}

impl MediaHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0] = VERSION << 6 | KIND_MEDIA << 4 | self.profile.wire();
        out[1] = u8::from(self.level.voice) << 7 | self.level.minus_dbov;
        out[2..4].copy_from_slice(&self.sender_id.to_be_bytes());
        out[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        out[8..12].copy_from_slice(&self.timestamp.to_be_bytes());
        out
    }

    /// Splits a datagram into its header and its payload.
    ///
    /// # Errors
    /// Any [`HeaderError`]; endpoints ignore such a datagram.
    pub fn decode(datagram: &[u8]) -> Result<(Self, &[u8]), HeaderError> {
        let sender_id = sender_of(datagram)?;
        let code = datagram[0] & 0b1111;
        let profile = Profile::from_wire(code).ok_or(HeaderError::Profile(code))?;
        let header = Self {
            profile,
            level: AudioLevel::new(datagram[1] & 0x7f, datagram[1] & 0x80 != 0),
            sender_id,
            sequence: word(datagram, 4),
            timestamp: word(datagram, 8),
        };
        Ok((header, &datagram[HEADER_LEN..]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layout_is_the_documented_one() {
        let header = MediaHeader {
            profile: Profile::Catastrophic,
            level: AudioLevel::new(35, true),
            sender_id: 0x0102,
            sequence: 0x0304_0506,
            timestamp: 0x0708_090a,
        };
        assert_eq!(header.encode(), [0x82, 0xa3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn refusals_name_their_reason() {
        let mut datagram = [0u8; 13];
        let cases = [
            (0x80, 12, Err(HeaderError::Short)),
            (0x80, 0, Err(HeaderError::Short)),
            (0x40, 13, Err(HeaderError::Version(1))),
            (0x90, 13, Err(HeaderError::Kind(1))),
            (0x80, 13, Ok(7)),
            (0x8f, 13, Ok(7)),
        ];
        for (first, len, expected) in cases {
            datagram[0] = first;
            datagram[3] = 7;
            assert_eq!(sender_of(&datagram[..len]), expected, "first byte {first:#x}, {len} bytes");
        }
        datagram[0] = 0x8f;
        assert_eq!(MediaHeader::decode(&datagram), Err(HeaderError::Profile(15)));
    }

    proptest! {
        #[test]
        fn round_trip(profile in 0u8..3, level in 0u8..128, voice: bool, sender_id: u16,
                      sequence: u32, timestamp: u32, payload in prop::collection::vec(any::<u8>(), 1..1200)) {
            let header = MediaHeader {
                profile: Profile::from_wire(profile).unwrap(),
                level: AudioLevel::new(level, voice),
                sender_id,
                sequence,
                timestamp,
            };
            let mut datagram = header.encode().to_vec();
            datagram.extend_from_slice(&payload);
            prop_assert_eq!(MediaHeader::decode(&datagram), Ok((header, &payload[..])));
            prop_assert_eq!(sender_of(&datagram), Ok(sender_id));
            prop_assert_eq!(sequence_of(&datagram), sequence);
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((header, payload)) = MediaHeader::decode(&bytes) {
                prop_assert_eq!(&header.encode()[..], &bytes[..HEADER_LEN]);
                prop_assert_eq!(payload, &bytes[HEADER_LEN..]);
            }
        }
    }
}
