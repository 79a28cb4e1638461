//! What a forwarded frame allocates, and how much of it is quinn-proto's: the
//! same calls through shards and through quinn-proto alone, in virtual time.
//! Prints Markdown.
//!
//! The one allocation per received packet in `net/run.rs` is not among them.

mod bare;
// What the simulation asks of a client is more than this needs.
#[allow(clippy::unwrap_used, dead_code)]
mod network;
mod shards;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use quinn_proto::StdSystemTime;
use wzp_proto::placement::PlacementKey;
use wzp_sfu::admission::Admission;
use wzp_sfu::count::rooms::RoomCounts;
use wzp_sfu::count::sessions::SessionBook;
use wzp_sfu::limits::Limits;
use wzp_sfu::shard::Shared;
use wzp_telemetry::settings::RoomLabel;
use wzp_transport::identity::Identity;
use wzp_transport::parameters;

use bare::Bare;
use network::{Books, MEMBERS, Network, Relay};
use shards::Shards;
use wzp_sim::memory::Tally;

#[global_allocator]
static ALLOCATOR: wzp_sim::memory::Counting = wzp_sim::memory::Counting;

/// Frames of each talker before counting begins, so that buffers have grown.
const WARM_UP: u32 = 500;

/// Frames of each talker that are counted.
const ROUNDS: u32 = 2000;

/// How frames come, and what the relay may do with them.
struct Case {
    name: &'static str,
    apart: Duration,
    hold: Duration,
    shards: usize,
    rooms: usize,
}

fn main() -> Result<()> {
    let ms = Duration::from_millis;
    println!(
        "| {MEMBERS} members, all talk | relay | frames out | packets in | packets out | \
         allocations | per frame out | per packet in | bytes per frame out |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for case in [
        Case { name: "each by itself", apart: ms(4), hold: ms(0), shards: 1, rooms: 1 },
        Case { name: "all at once", apart: ms(0), hold: ms(0), shards: 1, rooms: 1 },
        Case { name: "held for company", apart: ms(1), hold: ms(5), shards: 1, rooms: 1 },
        Case { name: "held, two shards", apart: ms(1), hold: ms(5), shards: 2, rooms: 1 },
        Case { name: "held, 40 rooms", apart: ms(1), hold: ms(5), shards: 1, rooms: 40 },
    ] {
        let shared = shared(&case)?;
        let mut network = Network::new(Bare::new(&shared), case.rooms, shared.start);
        let bare = measure(&mut network, &case)?;
        print(case.name, "quinn-proto alone", &bare);
        let mut network = Network::new(Shards::new(&shared), case.rooms, shared.start);
        let ours = measure(&mut network, &case)?;
        print("", "shards", &ours);
        let in_use = network.relay.in_use();
        ensure!(in_use == case.shards, "{}: {in_use} shards have members", case.name);
        let more = |of: fn(Tally) -> u64| {
            (of(ours.tally) as f64 - of(bare.tally) as f64) / ours.frames_out as f64
        };
        println!(
            "| | difference | | | | | {:+.4} | | {:+.2} |",
            more(|tally| tally.allocations),
            more(|tally| tally.bytes)
        );
    }
    Ok(())
}

fn shared(case: &Case) -> Result<Shared> {
    // Pings are control messages, one per session and interval: not media.
    let limits = Limits { ping_interval: Duration::from_secs(3600), ..Limits::default() };
    let (identity, _) = Identity::generate()?;
    let server = parameters::server(identity.quic_server_config()?, limits.idle_timeout);
    let start = Instant::now();
    Ok(Shared {
        software: "frame_allocations",
        shards: case.shards,
        placement: PlacementKey::new([7; 16]),
        server: Arc::new(server),
        reset_key: identity.reset_key(),
        admission: Admission::new(&limits, start),
        rooms: Arc::new(RoomCounts::new(10, RoomLabel::Name, Duration::ZERO)),
        sessions: Arc::new(SessionBook::new(10, Duration::ZERO)),
        auth: Arc::default(),
        decisions: Arc::default(),
        hold: case.hold,
        start,
        clock: Arc::new(StdSystemTime),
        limits: Arc::new(limits),
    })
}

fn measure<R: Relay>(network: &mut Network<R>, case: &Case) -> Result<Books> {
    network.run_for(Duration::from_secs(1));
    network.talk(WARM_UP, case.apart);
    let before = network.books();
    network.talk(ROUNDS, case.apart);
    let after = network.books();
    let books = Books {
        tally: after.tally - before.tally,
        packets_in: after.packets_in - before.packets_in,
        packets_out: after.packets_out - before.packets_out,
        frames_out: after.frames_out - before.frames_out,
    };
    let expected = u64::from(ROUNDS) * (case.rooms * MEMBERS * (MEMBERS - 1)) as u64;
    ensure!(
        books.frames_out == expected,
        "{}: {} frames were heard, not {expected}",
        case.name,
        books.frames_out
    );
    Ok(books)
}

fn print(case: &str, relay: &str, books: &Books) {
    let Books { tally, packets_in, packets_out, frames_out } = *books;
    let per = |count: u64, of: u64| count as f64 / of as f64;
    println!(
        "| {case} | {relay} | {frames_out} | {packets_in} | {packets_out} | {} | {:.4} | {:.4} | {:.1} |",
        tally.allocations,
        per(tally.allocations, frames_out),
        per(tally.allocations, packets_in),
        per(tally.bytes, frames_out)
    );
}
