//! The voice on its way out: every 20 ms one tick of it is encoded and, when a
//! frame is complete, sent as one datagram.

use std::time::Duration;

use quinn::{Connection, SendDatagramError};
use tokio::time::Instant;
use tracing::{debug, warn};
use wzp_media::encoder::{EncodedFrame, VoiceEncoder};
use wzp_media::profile::{Feedback, ProfileSelector};
use wzp_media::source::Damage;
use wzp_proto::control::SenderFeedback;
use wzp_proto::media::Profile;

use crate::capture::Voice;
use crate::exit::Failure;
use crate::pace::Pace;

/// Encodes and sends one voice.
pub(crate) struct Sending {
    voice: Voice,
    encoder: VoiceEncoder,
    dtx: bool,
    selector: ProfileSelector,
    connection: Connection,
    created: Instant,
    pace: Pace,
    frames: u64,
}

impl Sending {
    /// Ready to send under that sender id.
    pub(crate) fn new(
        voice: Voice,
        sender_id: u16,
        dtx: bool,
        connection: Connection,
    ) -> Result<Self, Failure> {
        let created = Instant::now();
        Ok(Self {
            voice,
            encoder: encoder(sender_id, dtx)?,
            dtx,
            selector: ProfileSelector::new(),
            connection,
            created,
            pace: Pace::new(created),
            frames: 0,
        })
    }

    /// Another session, under another sender id. The voice goes on where it stopped.
    pub(crate) fn moved(&mut self, connection: Connection, sender_id: u16) -> Result<(), Failure> {
        let profile = self.profile();
        self.encoder = encoder(sender_id, self.dtx)?;
        self.encoder.set_profile(profile);
        self.connection = connection;
        Ok(())
    }

    /// The first tick, or the first after a pause, is now.
    pub(crate) fn start(&mut self) {
        self.pace.restart(Instant::now());
    }

    /// The longest that this machine held a tick up.
    pub(crate) const fn longest_delay(&self) -> Duration {
        self.pace.longest_delay()
    }

    /// When the next tick is to be sent.
    pub(crate) fn next(&self) -> Instant {
        self.pace.next()
    }

    /// Sends the next tick. False when there was none left.
    pub(crate) fn tick(&mut self) -> Result<bool, Failure> {
        self.pace.ticked(Instant::now());
        let Some(tick) = self.voice.tick()? else {
            let last = self.encoder.finish();
            self.send(last);
            return Ok(false);
        };
        let frame = self.encoder.push(&tick);
        self.send(frame);
        Ok(true)
    }

    /// What the sound is called, and what of it could not be played so far.
    pub(crate) fn damages(&self) -> (&str, &[Damage]) {
        self.voice.damages()
    }

    /// Follows what the listeners say.
    pub(crate) fn feedback(&mut self, feedback: &SenderFeedback) {
        let choice = self.selector.update(
            self.created.elapsed(),
            &Feedback {
                listeners: feedback.listeners,
                mean_loss_ppm: feedback.mean_loss_ppm,
                deciding_loss_ppm: feedback.deciding_loss_ppm,
                deciding_jitter_us: feedback.deciding_jitter_us,
            },
        );
        self.encoder.set_profile(choice.profile);
        if let Err(error) = self.encoder.set_expected_loss(choice.expected_loss) {
            warn!("the encoder keeps its expectation of loss: {error}");
        }
    }

    /// How the voice is encoded now.
    pub(crate) fn profile(&self) -> Profile {
        self.encoder.profile()
    }

    /// Frames handed to QUIC so far.
    pub(crate) const fn frames(&self) -> u64 {
        self.frames
    }

    fn send(&mut self, frame: Result<Option<EncodedFrame>, wzp_media::CodecError>) {
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => return warn!("a frame is lost: {error}"),
        };
        match self.connection.send_datagram(frame.datagram().into()) {
            Ok(()) => self.frames += 1,
            // Told by whoever reads from the connection.
            Err(SendDatagramError::ConnectionLost(_)) => {}
            Err(error) => debug!("a frame cannot be sent: {error}"),
        }
    }
}

fn encoder(sender_id: u16, dtx: bool) -> Result<VoiceEncoder, Failure> {
    let codec = |error: wzp_media::CodecError| Failure::Codec(error.to_string());
    let mut encoder = VoiceEncoder::new(sender_id).map_err(codec)?;
    encoder.set_dtx(dtx).map_err(codec)?;
    Ok(encoder)
}
