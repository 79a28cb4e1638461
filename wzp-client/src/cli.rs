//! What a call is to be like, by the command line. Everything that can be found wrong with an argument by
//! looking at it is found here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::styling::Styles;
use clap::{ArgAction, ArgGroup, Parser};
use wzp_command::arguments::{TokenOptions, TrustOptions, seconds, some_seconds};
use wzp_proto::control::{Invalid, MAX_NAME_BYTES, check_room};
use wzp_transport::address::RelayAddress;
use wzp_transport::parameters::{IDLE_TIMEOUT, KEEP_ALIVE};

use crate::exit::Exit;
use crate::feed::STREAM;

/// Joins a room on a WZP relay, sends a voice and listens.
///
/// With nothing to send the client joins muted and listens until Ctrl-C.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = Exit::HELP,
    styles = Styles::plain(),
    group = ArgGroup::new("voice").args(["send_file", "send_tone", "live"])
)]
pub(crate) struct Options {
    /// The relay, as host:port; the port is 4433 unless given. With several, the
    /// first that answers is joined, the earlier the better, and another when it is
    /// lost or stops.
    #[arg(value_name = "RELAY", required = true)]
    pub(crate) relays: Vec<RelayAddress>,

    /// The room to join, 1 to 128 bytes of UTF-8.
    #[arg(long, value_name = "NAME", value_parser = room)]
    pub(crate) room: String,

    /// How others see this participant.
    #[arg(long, value_name = "NAME", default_value = "anonymous", value_parser = name)]
    pub(crate) name: String,

    /// Send this sound file: WAV, FLAC, Ogg (Vorbis, Opus) or MP3, of any rate, all
    /// channels averaged. - is standard input. While a pipe is empty, silence is
    /// sent. Of a damaged file is sent what can be played.
    #[arg(long, value_name = "FILE")]
    pub(crate) send_file: Option<PathBuf>,

    /// Send a tone for so long.
    #[arg(long, value_name = "SECONDS", value_parser = some_seconds)]
    pub(crate) send_tone: Option<Duration>,

    /// The tone's frequency, 20 to 20000 Hz.
    #[arg(
        long, value_name = "HZ", default_value = "440", value_parser = hertz,
        requires = "send_tone"
    )]
    pub(crate) tone_hz: f64,

    /// Send the microphone and play the room on the speaker (cargo feature
    /// `live`).
    #[arg(long)]
    pub(crate) live: bool,

    /// Write what is heard to this WAV file, all talkers mixed. What was there is
    /// replaced when the relay has let the client in. - is standard output.
    #[arg(long, value_name = "WAV")]
    pub(crate) record: Option<PathBuf>,

    /// Leave so long after joining, whatever has been sent by then. Without
    /// it: when everything is sent, or at Ctrl-C if nothing is to be sent.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Option<Duration>,

    /// After everything is sent, stay so long for the last frames to arrive.
    #[arg(
        long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds,
        conflicts_with = "duration"
    )]
    pub(crate) linger: Duration,

    /// End when the session is lost, instead of joining again.
    #[arg(long)]
    pub(crate) no_reconnect: bool,

    /// Try to join again for so long, counted from when the session is taken for lost.
    #[arg(
        long, value_name = "SECONDS", default_value = "120", value_parser = some_seconds,
        conflicts_with = "no_reconnect"
    )]
    pub(crate) reconnect_for: Duration,

    /// Take the session for lost when nothing has come from the relay for so long, 1 to
    /// 20 (and three round trips). The client asks for a sign of life before that.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = silence)]
    pub(crate) lost_after: Duration,

    /// Begin to send when so many other members are in the room.
    #[arg(long, value_name = "N")]
    pub(crate) wait_for: Option<u16>,

    /// Give up waiting for members after this time.
    #[arg(
        long, value_name = "SECONDS", default_value = "30", value_parser = seconds,
        requires = "wait_for"
    )]
    pub(crate) wait_timeout: Duration,

    #[command(flatten)]
    pub(crate) trust: TrustOptions,

    #[command(flatten)]
    pub(crate) token: TokenOptions,

    /// Send next to nothing while the voice is silent.
    #[arg(long)]
    pub(crate) dtx: bool,

    /// Print warnings and errors only (and the summary of --json).
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// Print the summary as one JSON object on standard output, with what interrupted
    /// the call.
    #[arg(long)]
    pub(crate) json: bool,

    /// Log more: -v what happens, -vv details, -vvv everything. RUST_LOG is
    /// honoured and takes precedence.
    #[arg(long, short, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Options {
    /// What is wrong with options that are right each by itself.
    pub(crate) fn conflict(&self) -> Option<&'static str> {
        (self.json && self.records_to_stdout())
            .then_some("--json and --record - both write to standard output; give --record a file")
    }

    /// All relays, for messages.
    pub(crate) fn relays(&self) -> String {
        let relays: Vec<_> = self.relays.iter().map(RelayAddress::to_string).collect();
        relays.join(" or ")
    }

    /// Whether standard output is sound.
    pub(crate) fn records_to_stdout(&self) -> bool {
        self.record.as_deref() == Some(Path::new(STREAM))
    }

    /// How long nothing may have come before a sign of life is asked for: early enough
    /// for the question to be repeated before the session is taken for lost.
    pub(crate) fn asks_after(&self) -> Duration {
        (self.lost_after * 2 / 5).min(KEEP_ALIVE)
    }

    /// Whether there is anything to send.
    pub(crate) const fn has_voice(&self) -> bool {
        self.send_file.is_some() || self.send_tone.is_some() || self.live
    }
}

fn room(text: &str) -> Result<String, Invalid> {
    check_room(text).map(|()| text.to_owned())
}

fn name(text: &str) -> Result<String, Invalid> {
    if text.len() > MAX_NAME_BYTES {
        return Err(Invalid::NameTooLong(text.len()));
    }
    Ok(text.to_owned())
}

fn silence(text: &str) -> Result<Duration, String> {
    let limits = Duration::from_secs(1)..=IDLE_TIMEOUT;
    seconds(text)
        .ok()
        .filter(|silence| limits.contains(silence))
        .ok_or_else(|| format!("expected 1 to {} seconds", IDLE_TIMEOUT.as_secs()))
}

fn hertz(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|hertz| (20.0..=20_000.0).contains(hertz))
        .ok_or_else(|| "expected a frequency from 20 to 20000 Hz".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_none_is_not_quoted() {
        let token = "canary".repeat(2_000);
        let given = ["wzp-client", "--room", "r", "--token", &token, "127.0.0.1:1"];
        let error = match Options::try_parse_from(given) {
            Ok(options) => options.token.read().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("12000 bytes") && !error.contains("canary"), "{error:.200}");
    }
}
