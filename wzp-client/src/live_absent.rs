//! Stands in for the sound card in a program built without it.

use wzp_media::Tick;

use crate::exit::Failure;

/// There is none.
pub(crate) enum Microphone {}

/// There is none.
pub(crate) enum Loudspeaker {}

impl Microphone {
    pub(crate) fn open() -> Result<Self, Failure> {
        Err(Failure::SoundCard(
            "this wzp-client was built without sound card support, which --live needs; build it \
             with `cargo build --release -p wzp-client --features live` (Debian: libasound2-dev)"
                .to_owned(),
        ))
    }

    pub(crate) fn tick(&mut self) -> Result<Tick, Failure> {
        match *self {}
    }
}

impl Loudspeaker {
    pub(crate) fn open() -> Result<Self, Failure> {
        Microphone::open().map(|microphone| match microphone {})
    }

    pub(crate) fn push(&mut self, _tick: &Tick) -> Result<(), Failure> {
        match *self {}
    }
}
