//! What the command line may set.

use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, Resettable, TypedValueParser};
use clap::error::ContextKind;
use clap::{Args, Command, FromArgMatches};
use toml::Value;
use wzp_telemetry::settings::{address, duration};

use super::problem::Origin;
use super::setting::Setting;
use super::{AuthMode, EbpfMode};

/// What the command line may set of the configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct Flags {
    /// UDP address to listen on for participants, for example 192.0.2.1:4433;
    /// :4433 for all addresses, IPv6 and IPv4, as without it
    #[arg(long, value_name = "ADDR:PORT", env = "WZP_LISTEN", value_parser = listen)]
    pub listen: Option<SocketAddr>,

    /// TCP port of /metrics, /health and /ready, on all addresses; without it
    /// 9090 on 127.0.0.1 only
    #[arg(long, value_name = "PORT", env = "WZP_METRICS_PORT")]
    pub metrics_port: Option<u16>,

    /// Whether the kernel counts packets: require it, do without any eBPF
    /// program, or count there if it can be done; without it auto
    #[arg(long, value_name = "MODE", env = "WZP_EBPF", value_enum)]
    pub ebpf: Option<EbpfMode>,

    /// Interface on which the kernel counts; may be given several times. Needs
    /// CAP_BPF and CAP_NET_ADMIN
    #[arg(long = "interface", value_name = "NAME", env = "WZP_INTERFACE", value_delimiter = ',')]
    pub interfaces: Vec<String>,

    /// HTTP service that is asked whether a participant may join; sets
    /// auth.mode to webhook
    #[arg(long, value_name = "URL", env = "WZP_AUTH_URL", hide_env_values = true)]
    pub auth_url: Option<String>,

    /// Configuration file (TOML); `wzp-relay config example` prints one with
    /// every key
    #[arg(long, value_name = "FILE", env = "WZP_CONFIG", global = true, value_parser = path())]
    pub config: Option<PathBuf>,

    /// PEM file with the certificate chain; without one a self-signed identity
    /// is made once and kept
    #[arg(long, value_name = "FILE", env = "WZP_CERT", value_parser = path())]
    pub cert: Option<PathBuf>,

    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", env = "WZP_KEY", value_parser = path())]
    pub key: Option<PathBuf>,

    /// Where the self-signed identity, the admin socket and the audit log are kept;
    /// without it /var/lib/wzp-relay for root, ~/.local/state/wzp-relay for others
    #[arg(long, value_name = "DIR", env = "WZP_STATE_DIR", global = true, value_parser = path())]
    pub state_dir: Option<PathBuf>,

    /// Threads that forward, each with its own socket; without it one per processor that it may use
    #[arg(long, value_name = "N", env = "WZP_SHARDS",
          value_parser = clap::value_parser!(u16).range(1..=super::MAX_SHARDS as i64))]
    pub shards: Option<u16>,

    /// How long a frame may wait for others to the same receiver, to leave in one
    /// packet, for example 2ms; 0s for not at all
    #[arg(long, value_name = "TIME", env = "WZP_BUNDLE_WINDOW", value_parser = humantime::parse_duration)]
    pub bundle_window: Option<std::time::Duration>,

    /// How long sessions may go on after SIGTERM, for example 30s
    #[arg(long, value_name = "TIME", env = "WZP_DRAIN_TIMEOUT", value_parser = humantime::parse_duration)]
    pub drain_timeout: Option<std::time::Duration>,
}

/// The flags alone, without the commands beside them.
pub(super) fn command() -> Command {
    Flags::augment_args(Command::new("wzp-relay"))
}

impl Flags {
    /// Reads arguments alone. The environment is a layer of its own (`environment.rs`): an
    /// empty variable is none there, and each mistake names its variable.
    pub(super) fn parse<I>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item: Into<OsString> + Clone>,
    {
        let command = command().mut_args(|argument| argument.env(Resettable::Reset));
        Self::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    /// Every option that sets a key: its id, the key, and what it was given.
    fn options(&self) -> [(&'static str, &'static str, Option<Value>); 12] {
        let text = |value: Option<String>| value.map(Value::String);
        let path = |given: &Option<PathBuf>| {
            text(given.as_ref().map(|path| path.to_string_lossy().into_owned()))
        };
        let metrics = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).to_string();
        let interfaces = self.interfaces.iter().cloned().map(Value::String).collect::<Vec<_>>();
        let mode = self.ebpf.and_then(|mode| Value::try_from(mode).ok());
        [
            ("listen", "relay.listen", text(self.listen.map(|address| address.to_string()))),
            ("metrics_port", "metrics.listen_addr", text(self.metrics_port.map(metrics))),
            ("ebpf", "ebpf.mode", mode),
            (
                "interfaces",
                "ebpf.interfaces",
                (!interfaces.is_empty()).then_some(Value::Array(interfaces)),
            ),
            ("auth_url", "auth.webhook.url", text(self.auth_url.clone())),
            (
                "auth_url",
                "auth.mode",
                self.auth_url.as_ref().and_then(|_| Value::try_from(AuthMode::Webhook).ok()),
            ),
            ("cert", "relay.cert", path(&self.cert)),
            ("key", "relay.key", path(&self.key)),
            ("state_dir", "relay.state_dir", path(&self.state_dir)),
            ("shards", "relay.shards", self.shards.map(|shards| i64::from(shards).into())),
            (
                "bundle_window",
                "forward.bundle_window",
                text(self.bundle_window.map(duration::format)),
            ),
            (
                "drain_timeout",
                "relay.drain_timeout",
                text(self.drain_timeout.map(duration::format)),
            ),
        ]
    }

    /// What was given.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let flags = flags();
        let given = self.options().into_iter().filter_map(|(id, key, value)| {
            let flag = flags.iter().find(|flag| flag.id == id)?;
            let origin = Origin::Flag(flag.long.clone());
            Some(Setting { key: key.to_owned(), value: value?, origin })
        });
        given.collect()
    }
}

/// What clap says of a value, without the flag that nobody gave.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<_> = lines.take_while(|line| !line.starts_with("For more information")).collect();
    let told = told.join(" ");
    let told = told.strip_prefix("error: ").unwrap_or(&told);
    match error.get(ContextKind::InvalidArg) {
        Some(flag) => told.replace(&format!(" for '{flag}'"), ""),
        None => told.to_owned(),
    }
}

/// An option that sets a key.
pub(super) struct Flag {
    id: &'static str,
    pub(super) key: &'static str,
    /// With its dashes.
    pub(super) long: String,
    /// The environment variable that does the same.
    pub(super) variable: String,
}

impl Flag {
    /// What its variable sets, as if the flag had been given.
    ///
    /// # Errors
    /// What is wrong with the value.
    pub(super) fn settings(&self, value: &str) -> Result<Vec<Setting>, String> {
        let flag = format!("{}={value}", self.long);
        let given = Flags::parse(["wzp-relay", &flag]).map_err(|error| reason(&error))?;
        let origin = || Origin::Environment(self.variable.clone());
        let settings = given.settings().into_iter();
        Ok(settings.map(|setting| Setting { origin: origin(), ..setting }).collect())
    }
}

/// The options that set keys.
pub(super) fn flags() -> Vec<Flag> {
    let command = command();
    let flag = |(id, key, _)| {
        let argument = command.get_arguments().find(|argument| argument.get_id() == id)?;
        let variable = argument.get_env()?.to_str()?.to_owned();
        Some(Flag { id, key, long: format!("--{}", argument.get_long()?), variable })
    };
    Flags::default().options().into_iter().filter_map(flag).collect()
}

/// TOML, in which settings are shown and compared, has no other text than UTF-8.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    NonEmptyStringValueParser::new().map(PathBuf::from)
}

/// An address, or what it lacks and what is wanted.
fn listen(text: &str) -> Result<SocketAddr, String> {
    address::parse(text).map_err(|lack| format!("{lack}; wanted is {}", address::FORM))
}
