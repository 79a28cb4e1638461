//! `service.instance.id`: tells this process from all others of its name, on this host and
//! elsewhere, and is the same after a restart.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// machine-id(5): made when the system was installed.
const MACHINE: &str = "/etc/machine-id";

/// An id for who `own` tells from others on this host, such as a state directory and a port.
///
/// Beside it count the machine's id and the host's name. Containers may share the one, with
/// their image, and then have a name each; those with the host's name have its ports, of
/// which each has another one. A hash, because the machine's id is not for others
/// (machine-id(5)), as a UUID of version 8 (RFC 9562 section 5.8), because the semantic
/// conventions of OpenTelemetry want one.
pub fn instance_id(own: &[&str]) -> String {
    let machine = fs::read_to_string(Path::new(MACHINE)).unwrap_or_default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    of([machine.trim(), &host].into_iter().chain(own.iter().copied()))
}

fn of<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
        // No part has it, so that no two lists of parts are the same text.
        digest.update([0]);
    }
    let mut bits =
        digest.finalize()[..16].iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
    bits = bits & !(0xf << 76) | 8 << 76;
    bits = bits & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_part_counts_and_the_same_parts_give_the_same_id() {
        let parts = [
            ["m", "h", "/var/lib/wzp-relay", "[::]:4433"],
            ["n", "h", "/var/lib/wzp-relay", "[::]:4433"],
            ["m", "i", "/var/lib/wzp-relay", "[::]:4433"],
            ["m", "h", "/var/lib/wzp-relay2", "[::]:4433"],
            ["m", "h", "/var/lib/wzp-relay", "[::]:4434"],
            ["mh", "", "/var/lib/wzp-relay", "[::]:4433"],
        ];
        let ids: BTreeSet<_> = parts.iter().map(|parts| of(parts.iter().copied())).collect();
        assert_eq!(ids.len(), parts.len());
        assert_eq!(of(parts[0].iter().copied()), of(parts[0].iter().copied()));
        for id in ids {
            let lengths: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert_eq!((&id[14..15], "89ab".contains(&id[19..20])), ("8", true), "{id}");
        }
    }
}
