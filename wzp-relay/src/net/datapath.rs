//! How packets get from the network to a shard and back. One kind per way to do it: UDP
//! sockets ([`super::udp`]).

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use wzp_sfu::limits::Limits;
use wzp_sfu::mail::Packet;
use wzp_sfu::shard::OutPacket;

/// The network, as the loop around a shard sees it. Nothing here ever blocks but
/// [`Self::wait`].
pub(super) trait Datapath {
    /// Hands over one batch of what has come. Whether there may be more.
    fn receive(&mut self, take: impl FnMut(Packet)) -> Received;

    /// Sends packets. What cannot leave now is kept, within the limits, and leaves in a
    /// later call.
    fn send(&mut self, packets: &[OutPacket], limits: &Limits, now: Instant);

    /// Waits until there is something to receive, what was kept can leave, `wake` can be
    /// read, or so long; `None` is for ever. No time at all costs no system call where
    /// nothing was kept. Whether `wake` can be read.
    fn wait(&mut self, wake: BorrowedFd<'_>, at_most: Option<Duration>) -> bool;

    /// Forgets what was kept, after a panic in [`Self::send`].
    fn begin_again(&mut self);
}

/// What one call found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// There was nothing to receive.
    Nothing,
    /// All that there was.
    All,
    /// As much as fits in one call.
    Full,
}
