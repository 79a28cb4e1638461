//! The relay's shards, driven as `net/run.rs` does. Mail is delivered in the
//! turn that it was written in.

use std::net::SocketAddr;
use std::time::Instant;

use quinn_proto::EcnCodepoint;
use wzp_sfu::mail::{Mail, Packet};
use wzp_sfu::shard::{Outgoing, Output, Shard, Shared};

use crate::network::Relay;

pub(crate) struct Shards {
    shards: Vec<Shard>,
    out: Outgoing,
    mail: Vec<(usize, Mail)>,
}

impl Shards {
    pub(crate) fn new(shared: &Shared) -> Self {
        let shard = |index| Shard::new(index, shared.clone(), [index as u8 + 1; 32], shared.start);
        Self {
            shards: (0..shared.shards).map(shard).collect(),
            out: Outgoing::default(),
            mail: Vec::new(),
        }
    }

    /// How many shards have connections.
    pub(crate) fn in_use(&self) -> usize {
        self.shards.iter().filter(|shard| shard.connections() > 0).count()
    }
}

impl Relay for Shards {
    fn turn(&mut self, now: Instant, arrived: &mut Vec<Packet>) {
        let Self { shards, out, mail } = self;
        out.clear();
        for packet in arrived.drain(..) {
            // Where the connection id is: after one byte, or after the version
            // and its length (RFC 8999 section 5).
            let at = if packet.data[0] & 0x80 == 0 { 1 } else { 6 };
            let shard = usize::from(packet.data[at]) % shards.len();
            shards[shard].handle_packet(now, packet, out);
        }
        loop {
            for (to, mail) in mail.drain(..) {
                shards[to].handle_mail(now, mail, out);
            }
            for shard in &mut *shards {
                shard.handle_timeouts(now);
                shard.flush(now, out);
                while let Some(output) = shard.poll_output() {
                    if let Output::Mail(to, letter) = output {
                        mail.push((to, letter));
                    }
                }
            }
            if mail.is_empty() {
                return;
            }
        }
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.shards.iter().filter_map(Shard::next_timeout).min()
    }

    fn sent(&self, mut send: impl FnMut(SocketAddr, Option<EcnCodepoint>, &[u8])) {
        for packet in self.out.packets() {
            send(packet.path.remote, packet.ecn, &packet.bytes);
        }
    }
}
