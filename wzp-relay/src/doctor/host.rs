//! What the host has for a relay: descriptors, a table of connections that packets may
//! have to pass, and packets handled many at a time.

use std::path::Path;

use quinn_udp::UdpSocketState;
use rustix::process::{Resource, getrlimit};
use wzp_untrusted::file;

use super::report::Line;
use crate::admin::serve::shard_count;
use crate::admin::socket;
use crate::config::{AuthMode, Config, EbpfMode};
use crate::net::socket::{LANES, trial};

/// Longest of the kernel's pages with a number in it, in bytes.
const NUMBER: u64 = 4096;

/// From this share of a table on, packets may soon be dropped.
const NEARLY: f64 = 0.9;

/// Descriptors that a relay has whatever its settings: standard input, output and error,
/// and what the control plane waits for events and signals with.
const FIXED: u64 = 3 + 6;

/// Those that a start has open for a moment beside all that it keeps.
const PASSING: u64 = 2;

/// What counting in the kernel takes, and a little more: maps and programs.
const KERNEL: u64 = 16;

/// And for each interface: a link each way.
const LINKS: u64 = 2;

/// Files that a reload reads, names that are looked up, traces that are sent, logs that
/// are put aside.
const FEW: u64 = 48;

/// Descriptors that these settings take.
#[derive(Clone, Copy, Debug)]
struct Descriptors {
    shards: u64,
    /// Open before the sockets are, in the order of a start.
    before: u64,
    /// And those behind them.
    after: u64,
    /// What clients, operators and servers can have the relay open besides.
    later: u64,
}

impl Descriptors {
    /// A shard's sockets to send by, but that by which it receives, too.
    const LANES: u64 = LANES as u64 - 1;

    fn of(config: &Config) -> Self {
        let Config { metrics, health, logging, audit, ebpf, auth, .. } = config;
        let counted = |is_on: bool, number| if is_on { number } else { 0 };
        let pages = [
            counted(metrics.enabled, metrics.max_connections as u64 + 1),
            counted(health.enabled, health.max_connections as u64 + 1),
        ];
        let webhook = auth.mode == AuthMode::Webhook;
        let counts = ebpf.mode != EbpfMode::Off && !ebpf.interfaces.is_empty();
        let kernel = counted(counts, KERNEL + LINKS * ebpf.interfaces.len() as u64);
        let required = counted(ebpf.mode == EbpfMode::Require, kernel);
        let listeners = u64::from(metrics.enabled) + u64::from(health.enabled);
        Self {
            shards: shard_count(config) as u64,
            // A log has a lock beside it.
            before: FIXED + counted(logging.file.is_some(), 2) + u64::from(audit.enabled),
            // The last is the admin socket.
            after: listeners + required + 1,
            later: pages.iter().sum::<u64>()
                + socket::PLACES.all as u64
                + counted(webhook, auth.webhook.max_concurrent as u64)
                + (kernel - required)
                + FEW,
        }
    }

    /// The most that the relay can want.
    const fn most(self) -> u64 {
        // A shard's sockets, one of them a second time to see what it drops, and what wakes it.
        self.before + self.shards * (LANES as u64 + 2) + self.after + PASSING + self.later
    }

    /// Whether the relay starts where it may have so many. A shard that cannot have all of
    /// its sockets to send by has none of them, and the next one may all the same.
    fn start_with(self, allowed: u64) -> bool {
        let used = self.before + self.shards;
        let lanes = (allowed.saturating_sub(used) / Self::LANES).min(self.shards) * Self::LANES;
        used + lanes + self.shards * 2 + self.after + PASSING <= allowed
    }
}

/// Whether as many files may be open as the relay can want.
pub(super) fn open_files(config: &Config) -> Line {
    judge_files(getrlimit(Resource::Nofile).current, Descriptors::of(config))
}

fn judge_files(allowed: Option<u64>, wanted: Descriptors) -> Line {
    const CHECK: &str = "open_files";
    let most = wanted.most();
    let Some(allowed) = allowed else { return Line::ok(CHECK, "any number may be open") };
    if allowed >= most {
        return Line::ok(CHECK, format!("{allowed} may be open, {most} are enough"));
    }
    let has = format!("this user may open {allowed} files");
    let line = match wanted.start_with(allowed) {
        true => {
            Line::warning(CHECK, format!("{has}, and the relay can want {most}; {IN_UNIT}{most}"))
        }
        false => Line::error(
            CHECK,
            format!(
                "{has}, with which the relay does not start; it can want {most}; {IN_UNIT}{most}"
            ),
        ),
    };
    line.mended_by(format!("ulimit -n {most}"))
}

const IN_UNIT: &str = "in the unit, LimitNOFILE=";

/// Whether each client takes a place in the kernel's table of connections, and whether it
/// has enough. `proc` is where the kernel shows it.
pub(super) fn conntrack(proc: &Path, config: &Config) -> Line {
    const CHECK: &str = "conntrack";
    let number = |name: &str| -> Option<u64> {
        let path = proc.join("sys/net/netfilter").join(name);
        file::read_text(&path, NUMBER).ok()?.trim().parse().ok()
    };
    let (Some(used), Some(most)) = (number("nf_conntrack_count"), number("nf_conntrack_max"))
    else {
        return Line::ok(CHECK, "packets pass no table of connections");
    };
    if used == 0 {
        return Line::ok(CHECK, "the kernel's table of connections is empty");
    }
    if most == 0 {
        return Line::ok(CHECK, "the kernel's table of connections has no limit");
    }
    let sessions = u64::from(config.limits.sessions);
    let has = format!("{used} of {most} places in the kernel's table of connections are taken");
    let line = if used as f64 >= most as f64 * NEARLY {
        let text = format!("{has}: when it is full, packets of new clients are dropped");
        Line::error(CHECK, text)
    } else if most.saturating_sub(used) < sessions {
        let text = format!(
            "{has}, fewer are left than limits.sessions, {sessions}: when it is full, packets \
             of new clients are dropped"
        );
        Line::warning(CHECK, text)
    } else {
        return Line::ok(CHECK, has);
    };
    // Twice what there would be, for whatever else passes it.
    let enough = used.saturating_add(sessions).saturating_mul(2);
    let enough = enough.checked_next_power_of_two().unwrap_or(enough);
    line.mended_by(format!("sysctl -w net.netfilter.nf_conntrack_max={enough}"))
}

/// Whether the kernel hands over many packets at a time.
pub(super) fn offloads(config: &Config) -> Line {
    const CHECK: &str = "offloads";
    let relay = &config.relay;
    let state = trial(relay.listen.ip(), 1, relay.receive_buffer_bytes)
        .map_err(|error| error.to_string())
        .and_then(|sockets| {
            let socket = sockets.first().ok_or("there is no socket")?;
            let state = UdpSocketState::new(socket.into()).map_err(|error| error.to_string())?;
            Ok((state.gro_segments(), state.max_gso_segments()))
        });
    match state {
        Ok((1, _)) => {
            let text = "the kernel does not join received packets (UDP_GRO, Linux 5.0): each \
                        costs a shard a receipt of its own";
            Line::warning(CHECK, text)
        }
        Ok((joined, split)) => {
            let text = format!(
                "GRO: up to {joined} packets are received as one; GSO: up to {split} could be \
                 sent as one, of which the relay makes no use"
            );
            Line::ok(CHECK, text)
        }
        // Whether the relay's own address can be had is told with it.
        Err(error) => Line::warning(CHECK, format!("it could not be tried: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::report::Status;
    use super::*;

    fn config(shards: usize, change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        config.relay.shards = shards;
        change(&mut config);
        config
    }

    #[test]
    fn few_descriptors_are_told_with_how_many_it_takes() {
        let wanted = Descriptors::of(&config(2, |_| {}));
        let most = wanted.most();
        // Seen of a relay with two shards: 31 when it is ready.
        let cases = [
            (None, Status::Ok),
            (Some(most), Status::Ok),
            (Some(most - 1), Status::Warning),
            (Some(40), Status::Warning),
            (Some(30), Status::Error),
            (Some(20), Status::Error),
            (Some(0), Status::Error),
        ];
        for (allowed, expected) in cases {
            assert_eq!(judge_files(allowed, wanted).status, expected, "{allowed:?}");
        }
        let line = judge_files(Some(40), wanted);
        assert_eq!(line.command, Some(format!("ulimit -n {most}")));
    }

    #[test]
    fn all_that_settings_have_a_relay_open_counts() {
        let most = |change: fn(&mut Config)| Descriptors::of(&config(2, change)).most();
        let least = most(|config| config.metrics.enabled = false);
        type Change = fn(&mut Config);
        let cases: [(u64, Change); 8] = [
            (10, |config| config.relay.shards = 3),
            (2, |config| config.logging.file = Some("a.log".into())),
            (1, |config| config.audit.enabled = true),
            (7 + 2, |config| {
                (config.health.enabled, config.health.max_connections) = (true, 7);
            }),
            (7 + 2, |config| (config.metrics.enabled, config.metrics.max_connections) = (true, 7)),
            (500, |config| {
                (config.auth.mode, config.auth.webhook.max_concurrent) = (AuthMode::Webhook, 500);
            }),
            (KERNEL + LINKS, |config| config.ebpf.interfaces = vec!["eth0".into()]),
            (0, |config| {
                (config.ebpf.interfaces, config.ebpf.mode) = (vec!["eth0".into()], EbpfMode::Off);
            }),
        ];
        for (more, change) in cases {
            let mut config = config(2, |config| config.metrics.enabled = false);
            change(&mut config);
            assert_eq!(Descriptors::of(&config).most(), least + more);
        }
    }

    #[test]
    fn a_table_of_connections_is_told_before_it_is_full() {
        let mut config = Config::default();
        config.limits.sessions = 1000;
        let cases = [
            (None, None, Status::Ok),
            (Some("0\n"), Some("10\n"), Status::Ok),
            (Some("5\n"), Some("262144\n"), Status::Ok),
            (Some("5\n"), Some("1005\n"), Status::Ok),
            (Some("5\n"), Some("1004\n"), Status::Warning),
            (Some("900\n"), Some("1000\n"), Status::Error),
            (Some("9\n"), Some("0\n"), Status::Ok),
            (Some("nine\n"), Some("10\n"), Status::Ok),
            (Some("9\n"), Some("-1\n"), Status::Ok),
        ];
        for (used, most, expected) in cases {
            let proc = tempfile::tempdir().unwrap();
            let folder = proc.path().join("sys/net/netfilter");
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in [("nf_conntrack_count", used), ("nf_conntrack_max", most)] {
                if let Some(text) = text {
                    fs::write(folder.join(name), text).unwrap();
                }
            }
            let line = conntrack(proc.path(), &config);
            assert_eq!(line.status, expected, "{used:?} {most:?} {line:?}");
            let Some(command) = line.command else {
                assert_eq!(expected, Status::Ok, "{line:?}");
                continue;
            };
            // What is to be done is done, and there is nothing to tell any more.
            let set = command.strip_prefix("sysctl -w net.netfilter.nf_conntrack_max=").unwrap();
            let before: u64 = most.unwrap().trim().parse().unwrap();
            assert!(set.parse::<u64>().unwrap() > before, "{command}");
            fs::write(folder.join("nf_conntrack_max"), set).unwrap();
            let line = conntrack(proc.path(), &config);
            assert_eq!((line.status, line.command), (Status::Ok, None), "{command}");
        }
    }

    #[test]
    fn offloads_are_looked_at_here() {
        assert_eq!(offloads(&Config::default()).status, Status::Ok, "Linux 5.0 has them");
    }
}
