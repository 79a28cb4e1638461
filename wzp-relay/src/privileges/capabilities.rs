//! Giving up capabilities, for the calling thread and those that it starts.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// What root can do to files by other users. The configuration, keys and logs are
/// read and opened again at each reload, and may belong to others.
const FILES: CapabilitySet =
    CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH).union(CapabilitySet::FOWNER);

/// What attaching loaded programs to interfaces takes.
const INTERFACES: CapabilitySet = CapabilitySet::NET_ADMIN;

/// Keeps nothing but, where there are some, the capabilities over files: a service
/// that was started with CAP_BPF and CAP_NET_ADMIN keeps none, and root can still
/// read its configuration.
///
/// # Errors
/// The system says no.
pub(super) fn give_up() -> io::Result<()> {
    keep(FILES)
}

/// Keeps what attaching takes.
///
/// # Errors
/// The system says no.
pub(super) fn keep_for_interfaces() -> io::Result<()> {
    keep(INTERFACES)
}

/// Gives up every capability.
///
/// # Errors
/// The system says no.
pub(super) fn give_up_all() -> io::Result<()> {
    keep(CapabilitySet::empty())
}

fn keep(kept: CapabilitySet) -> io::Result<()> {
    let before = capabilities(None)?;
    let permitted = before.permitted & kept;
    let inheritable = CapabilitySet::empty();
    if before.permitted == permitted && before.inheritable == inheritable {
        // Where there is nothing to give up, the call need not be allowed.
        return Ok(());
    }
    // Ambient capabilities go with the inheritable ones.
    set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable })?;
    Ok(())
}
