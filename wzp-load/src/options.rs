//! The command line of `wzp-client load`.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use wzp_proto::control::MAX_ROOM_BYTES;
use wzp_transport::address::RelayAddress;

use super::failure::LoadFailure;
use super::frame;
use wzp_command::arguments::{TokenOptions, TrustOptions, seconds, some_seconds};

/// Shown by `--help`.
const EXAMPLES: &str = "\
Examples (RELAY stands for --pin FINGERPRINT HOST:PORT):
  20 calls of 5 who all talk, for a minute:
      wzp-client load --rooms 20 --members 5 --duration 60 RELAY
  A hall of 100 in which 15 talk:
      wzp-client load --members 100 --talkers 15 RELAY
  10,000 sessions that only stay, 200 more each second:
      wzp-client load --rooms 2000 --talkers 0 --joins-per-second 200 RELAY

The relay's limits are meant for people, so many sessions from one address need
higher ones: limits.sessions_per_address above all. If the result says that the
load generator was saturated, give it more --threads, or another machine.

Exit codes are those of wzp-client: 0 only if every session joined and stayed.";

/// Measures what a relay carries: joins many sessions, lets them talk, and
/// counts what arrives, how late, and what does not.
///
/// Each session is a client of its own with its own UDP socket. Frames carry no
/// voice but the time they were sent at.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LoadOptions {
    /// The relay, as host:port; the port is 4433 unless given.
    pub(crate) relay: RelayAddress,

    #[command(flatten)]
    pub(crate) trust: TrustOptions,

    #[command(flatten)]
    pub(crate) token: TokenOptions,

    /// Rooms.
    #[arg(long, value_name = "N", default_value = "1", value_parser = RangedU64ValueParser::<u32>::new().range(1..=1_000_000))]
    pub(crate) rooms: u32,

    /// Members of each room.
    #[arg(long, value_name = "N", default_value = "5", value_parser = RangedU64ValueParser::<u32>::new().range(1..=65_535))]
    pub(crate) members: u32,

    /// Members of each room who talk: all unless given; 0 for idle sessions.
    #[arg(long, value_name = "N")]
    pub(crate) talkers: Option<u32>,

    /// Frames per second of each talker, 0.1 to 10000.
    #[arg(long, value_name = "HZ", default_value = "50", value_parser = rate)]
    pub(crate) rate: f64,

    /// Bytes of each frame behind the media header, at least 16.
    #[arg(long, value_name = "N", default_value = "80", value_parser = RangedU64ValueParser::<usize>::new().range(frame::MIN_PAYLOAD as u64..=65_000))]
    pub(crate) frame_bytes: usize,

    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = some_seconds)]
    pub(crate) duration: Duration,

    /// How long to talk before measuring.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) warm_up: Duration,

    /// Join so many sessions each second; as many as possible unless given.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) joins_per_second: Option<f64>,

    /// Sessions on their way into their rooms at a time, at most.
    #[arg(long, value_name = "N", default_value = "64", value_parser = RangedU64ValueParser::<u32>::new().range(1..=100_000))]
    pub(crate) concurrent_joins: u32,

    /// Local addresses to spread the sessions over; the system's choice unless
    /// given.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) sources: Vec<IpAddr>,

    /// Threads that the sessions are spread over.
    #[arg(long, value_name = "N", default_value = "1", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub(crate) threads: usize,

    /// The rooms are called so, with a number behind it. Another name for each
    /// generator, unless they are to meet.
    #[arg(long, value_name = "TEXT", default_value = "load", value_parser = room_prefix)]
    pub(crate) room_prefix: String,

    /// Print events and the result as one JSON object per line on standard
    /// output.
    #[arg(long)]
    pub json: bool,
}

impl LoadOptions {
    /// Sessions in all.
    pub(crate) fn sessions(&self) -> u64 {
        u64::from(self.rooms) * u64::from(self.members)
    }

    /// Talkers in each room.
    pub(crate) fn talkers(&self) -> u32 {
        self.talkers.unwrap_or(self.members)
    }

    /// What is wrong with options that are right each by itself.
    pub(crate) fn check(&self) -> Result<(), LoadFailure> {
        let usage = |text: String| Err(LoadFailure::Usage(text));
        if self.talkers() > self.members {
            return usage(format!(
                "--talkers {} is more than --members {}: talkers are members of their room",
                self.talkers(),
                self.members
            ));
        }
        if self.sources.iter().any(|source| source.is_ipv4() != self.sources[0].is_ipv4()) {
            return usage("--sources takes IPv4 or IPv6 addresses, not both".to_owned());
        }
        Ok(())
    }
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| (0.1..=10_000.0).contains(rate))
        .ok_or_else(|| "expected a number from 0.1 to 10000".to_owned())
}

/// Room for a dash and the number of a room behind the prefix.
const MAX_PREFIX_BYTES: usize = MAX_ROOM_BYTES - "-1000000".len();

fn room_prefix(text: &str) -> Result<String, String> {
    if (1..=MAX_PREFIX_BYTES).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected 1 to {MAX_PREFIX_BYTES} bytes of UTF-8"))
    }
}
