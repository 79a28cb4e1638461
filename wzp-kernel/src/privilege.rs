//! What this process may do and what this kernel can.

use aya::util::KernelVersion;

use super::error::Error;

/// A capability (capabilities(7)).
struct Capability {
    name: &'static str,
    bit: u32,
    /// Whether CAP_SYS_ADMIN stands for it.
    of_admin: bool,
}

/// What loading any program takes.
const BPF: Capability = Capability { name: "CAP_BPF", bit: 39, of_admin: true };

/// What loading and attaching the programs that count take.
const NEEDED: [Capability; 2] =
    [BPF, Capability { name: "CAP_NET_ADMIN", bit: 12, of_admin: false }];

/// Without it the kernel guards each first write to the stack against
/// speculation, which makes the programs twice as slow.
const FAST: Capability = Capability { name: "CAP_PERFMON", bit: 38, of_admin: true };

const ADMIN: u32 = 21;

/// TCX.
const OLDEST: (u8, u8, u16) = (6, 6, 0);

/// Whether counting in the kernel can work at all.
///
/// # Errors
/// It cannot; says what is missing.
pub(super) fn check() -> Result<(), Error> {
    is_recent(KernelVersion::current().ok())?;
    let missing = missing(&NEEDED);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Capabilities { missing: missing.join(" and ") })
}

/// The names of capabilities that counting takes, or makes fast, and that this process
/// lacks.
pub fn missing_capabilities() -> Vec<&'static str> {
    [missing(&NEEDED), missing(&[FAST])].concat()
}

fn missing(wanted: &[Capability]) -> Vec<&'static str> {
    let effective = effective();
    wanted.iter().filter(|wanted| !has(effective, wanted)).map(|wanted| wanted.name).collect()
}

/// Whether this process may load programs of the kinds that take no further
/// capability, such as those that choose a socket.
pub fn has_bpf() -> bool {
    has(effective(), &BPF)
}

/// `None` is one that does not tell its version.
fn is_recent(version: Option<KernelVersion>) -> Result<(), Error> {
    let (major, minor, patch) = OLDEST;
    if version.is_some_and(|version| version >= KernelVersion::new(major, minor, patch)) {
        return Ok(());
    }
    Err(Error::OldKernel { found: release() })
}

/// The name of a capability that would make the programs faster and is not
/// there.
pub(super) fn slow_without() -> Option<&'static str> {
    (!has(effective(), &FAST)).then_some(FAST.name)
}

fn has(effective: u64, capability: &Capability) -> bool {
    let bits = 1 << capability.bit | u64::from(capability.of_admin) << ADMIN;
    effective & bits != 0
}

fn effective() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

fn release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|_| "of unknown version".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_without_tcx_are_refused() {
        for (version, recent) in [
            (Some((4, 19, 325)), false),
            (Some((6, 5, 13)), false),
            (Some((6, 6, 0)), true),
            (Some((6, 18, 4)), true),
            (Some((7, 0, 0)), true),
            (None, false),
        ] {
            let answer = is_recent(version.map(|(a, b, c)| KernelVersion::new(a, b, c)));
            assert_eq!(answer.is_ok(), recent, "{version:?}");
            let Err(error) = answer else { continue };
            assert!(error.to_string().contains(&release()), "{error}");
        }
    }

    #[test]
    fn the_administrator_has_one_of_the_two() {
        let [bpf, net_admin] = &NEEDED;
        for (bits, has_bpf, has_net_admin) in [
            (0, false, false),
            (1 << 39, true, false),
            (1 << 12, false, true),
            (1 << 21, true, false),
        ] {
            assert_eq!(
                (has(bits, bpf), has(bits, net_admin)),
                (has_bpf, has_net_admin),
                "{bits:x}"
            );
        }
    }
}
