//! The relay that anyone would write in an evening, for `cargo xtask bench` to
//! compare with: async quinn as it comes, a task per connection, one lock
//! around the rooms. It takes Hello, answers Welcome and forwards media; it
//! checks, limits, counts and tells its members nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use quinn::{Connection, Endpoint, Incoming, ServerConfig};
use wzp_proto::control::{
    ClientMessage, Hello, Limits, RelayMessage, Welcome, client_message, relay_message,
};
use wzp_proto::framing::{Deframer, MAX_MESSAGE_BYTES, encode};
use wzp_transport::identity::Identity;

/// Who is in which room, under which sender id.
type Rooms = Arc<Mutex<HashMap<String, Vec<(u16, Connection)>>>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let listen: SocketAddr = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--listen"), Some(address)) => address.parse()?,
        _ => bail!("usage: naive_relay --listen ADDR:PORT"),
    };
    let workers = std::thread::available_parallelism()?.get().max(2);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(workers).enable_all().build()?.block_on(serve(listen))
}

async fn serve(listen: SocketAddr) -> Result<()> {
    let (identity, _) = Identity::generate()?;
    let config = ServerConfig::with_crypto(identity.quic_server_config()?);
    let endpoint = Endpoint::server(config, listen)?;
    println!("listening on {}", endpoint.local_addr()?);
    println!("fingerprint {}", identity.fingerprint());
    let rooms = Rooms::default();
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(attend(incoming, Arc::clone(&rooms)));
    }
    Ok(())
}

async fn attend(incoming: Incoming, rooms: Rooms) -> Result<()> {
    let connection = incoming.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let mut deframer = Deframer::new(MAX_MESSAGE_BYTES);
    let Hello { room, .. } = loop {
        let chunk = receive.read_chunk(MAX_MESSAGE_BYTES, true).await?.context("no Hello")?;
        deframer.push(&chunk.bytes);
        match deframer.decode::<ClientMessage>()?.map(|message| message.message) {
            Some(Some(client_message::Message::Hello(hello))) => break hello,
            Some(_) => bail!("something other than Hello"),
            None => {}
        }
    };
    let id = {
        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let members = rooms.entry(room.clone()).or_default();
        let id = members.last().map_or(1, |(last, _)| last + 1);
        members.push((id, connection.clone()));
        id
    };
    let limits = Limits {
        packets_per_second: u32::MAX,
        bytes_per_second: u32::MAX,
        frame_bytes: 1100,
        message_bytes: MAX_MESSAGE_BYTES as u32,
        room_members: u16::MAX.into(),
        ping_timeout_ms: u32::MAX,
    };
    let welcome = Welcome { sender_id: id.into(), limits: Some(limits), ..Welcome::default() };
    let message = RelayMessage::from(relay_message::Message::Welcome(welcome));
    if send.write_all(&encode(&message)).await.is_ok() {
        while let Ok(frame) = connection.read_datagram().await {
            let rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
            for (other, member) in rooms.get(&room).into_iter().flatten() {
                if *other != id {
                    // One who is leaving, or has no room for it, does without.
                    let _ = member.send_datagram(frame.clone());
                }
            }
        }
    }
    let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(members) = rooms.get_mut(&room) {
        members.retain(|(other, _)| *other != id);
        if members.is_empty() {
            rooms.remove(&room);
        }
    }
    Ok(())
}
