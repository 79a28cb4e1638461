//! `wzp-relay ctl status`: one screen.

use std::fmt::Write as _;
use std::net::IpAddr;

use wzp_untrusted::text;

use super::live::short;
use super::sessions::age;
use crate::admin::lists::{DrainStatus, Status, Traffic};
use crate::words::counted;

pub(super) fn screen(status: &Status) -> String {
    let mut screen = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String does not fail.
        let _ = writeln!(screen, "{name:<13} {}", text::line(&value));
    };
    let Status { version, commit, pid, .. } = status;
    line("relay", format!("wzp-relay {version} ({commit}), process {pid}"));
    line("up", age(status.uptime_seconds));
    let ready = if status.ready { "ready" } else { "takes nobody in" };
    line("health", format!("{}, {ready}", status.health));
    if let Some(drain) = &status.drain {
        line("drain", describe(drain));
    }
    line("sessions", format!("{} in {}", status.sessions, counted(status.rooms, "room")));
    line("pending", format!("{} not in a room", counted(status.pending_connections, "connection")));
    line("listens on", format!("{}, {}", status.listen, counted(status.shards, "shard")));
    if let Some(traffic) = &status.traffic {
        line(
            "receives",
            rate(traffic.received_packets_per_second, traffic.received_bits_per_second),
        );
        line("sends", rate(traffic.sent_packets_per_second, traffic.sent_bits_per_second));
        line("forwards", forwarded(traffic));
        line("cpu", format!("{:.1} % of what it may use", traffic.cpu_pct));
    }
    line("loss", loss(status));
    line("log level", status.log_level.clone());
    line("blocked", blocked(&status.blocked));
    line("counted by", status.forwarded_source.clone());
    line("fingerprint", status.fingerprint.clone());
    line("expires", status.certificate_expires.clone());
    screen
}

fn rate(packets: f64, bits: f64) -> String {
    format!("{packets:.0} packets/s, {} bit/s", short(bits))
}

fn forwarded(traffic: &Traffic) -> String {
    let Traffic { forwarded_per_second, dropped_per_second, dropped_pct, .. } = traffic;
    format!(
        "{forwarded_per_second:.0} frames/s, and drops {dropped_per_second:.0} frames/s \
         ({dropped_pct:.1} %)"
    )
}

/// Of the sessions that fare worst.
fn loss(status: &Status) -> String {
    let told =
        |pct: Option<f64>| pct.map_or("not measured yet".to_owned(), |pct| format!("{pct:.1} %"));
    format!(
        "worst from a participant: {}; worst to one: {}; `ctl top` shows whose",
        told(status.worst_loss_pct),
        told(status.worst_loss_out_pct)
    )
}

/// The first of them, and how many there are.
fn blocked(addresses: &[IpAddr]) -> String {
    let shown: Vec<_> = addresses.iter().take(5).map(ToString::to_string).collect();
    match (addresses.len(), addresses.len() - shown.len()) {
        (0, _) => "nobody".to_owned(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn describe(drain: &DrainStatus) -> String {
    let left = match drain.remaining_seconds {
        seconds if seconds > 0.0 => format!("those left are closed in {}", age(seconds)),
        _ => "those left were closed".to_owned(),
    };
    let then = match (drain.exits, drain.can_be_taken_back) {
        (false, _) => "the relay stays; undrain takes people in again",
        (true, true) => "then the relay ends, unless undrain comes first",
        (true, false) => "then the relay ends",
    };
    format!("{left}; {then}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_tells_what_comes_after_it() {
        let cases = [
            (12.5, false, true, "closed in 12s; the relay stays"),
            (0.0, false, true, "were closed; the relay stays"),
            (1.0, true, true, "unless undrain"),
            (1.0, true, false, "then the relay ends"),
        ];
        for (remaining_seconds, exits, can_be_taken_back, expected) in cases {
            let text = describe(&DrainStatus { remaining_seconds, exits, can_be_taken_back });
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn blocked_addresses_are_told_and_long_lists_counted() {
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        assert_eq!(blocked(&[]), "nobody");
        assert_eq!(blocked(&[address(1), address(2)]), "192.0.2.1, 192.0.2.2");
        let many: Vec<_> = (1..=9).map(address).collect();
        assert!(blocked(&many).ends_with("192.0.2.5 and 4 more"), "{}", blocked(&many));
    }

    #[test]
    fn what_a_socket_answers_is_shown_and_not_obeyed() {
        const EVIL: &str = "\u{1b}]0;x\u{7}\n\u{202e}";
        let evil = || EVIL.to_owned();
        let screen = screen(&Status {
            version: evil(),
            commit: evil(),
            pid: u32::MAX,
            health: evil(),
            ready: true,
            uptime_seconds: f64::MAX,
            sessions: 0,
            rooms: u64::MAX,
            pending_connections: 0,
            shards: usize::MAX,
            listen: evil(),
            forwarded_source: evil(),
            interfaces: Vec::new(),
            fingerprint: evil(),
            certificate_expires: evil(),
            log_level: evil(),
            traffic: Some(Traffic {
                seconds: 0.0,
                received_packets_per_second: f64::MAX,
                received_bits_per_second: f64::MAX,
                sent_packets_per_second: f64::MIN,
                sent_bits_per_second: f64::MIN,
                forwarded_per_second: 0.0,
                dropped_per_second: 0.0,
                dropped_pct: 0.0,
                cpu_pct: 0.0,
            }),
            worst_loss_pct: Some(f64::MAX),
            worst_loss_out_pct: None,
            blocked: Vec::new(),
            drain: Some(DrainStatus {
                remaining_seconds: f64::INFINITY,
                exits: true,
                can_be_taken_back: true,
            }),
        });
        assert_eq!(screen.matches(r"\u{1b}]0;x\u{7}\n\u{202e}").count(), 8, "{screen}");
        assert_eq!(screen.lines().count(), 17, "{screen}");
        assert!(screen.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{screen}");
    }
}
