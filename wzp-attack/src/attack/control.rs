//! On the control stream.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use wzp_proto::control::{ClientMessage, Mute, client_message};
use wzp_proto::framing::encode;
use wzp_testbed::service::{Answer, Service};

use super::{Attack, Attacking, Prepared, Sent, Stranger, each, wait, word};
use crate::honest::{TOKEN, hello};
use crate::scene::{Scene, Target, stranger_v4};

/// The service does not answer for it.
const SLOW: &str = "slow";

/// The service fails over it.
const ODD: &str = "odd";

/// Everything a control stream takes, while a token is being checked.
pub(super) const PILE_UP: Attack = Attack {
    name: "pile-up",
    sends: "200 Hellos with a token for which the service does not answer, and behind each all that the control stream takes",
    prepare: with_a_service,
    run: pile_up,
};

/// Tokens that the service cannot bear.
pub(super) const ODD_TOKENS: Attack = Attack {
    name: "odd-tokens",
    sends: "20 Hellos a second from one address, with tokens for which the service answers 500",
    prepare: with_a_service,
    run: odd_tokens,
};

/// Members by the hundred in one room.
pub(super) const JOINS: Attack = Attack {
    name: "joins",
    sends: "200 joins a second in one room, from 4 addresses; each leaves after 2 s",
    prepare: |_| Ok(Prepared::default()),
    run: joins,
};

/// Members who mute and unmute.
pub(super) const MUTES: Attack = Attack {
    name: "mutes",
    sends: "40 members of a room of 200 who mute or unmute 5 times a second each",
    prepare: |_| Ok(Prepared::default()),
    run: mutes,
};

fn with_a_service(scene: &Scene) -> Result<Prepared> {
    let service = scene.relay_host().namespace.run(|| {
        Service::start(|asked| {
            let shows = |token: &str| asked.body.contains(&format!("\"token\":\"{token}"));
            let json = "Content-Type: application/json\r\n".to_owned();
            if shows(TOKEN) {
                Answer::Http(200, json, "{\"allow\":true}".to_owned())
            } else if shows(SLOW) {
                Answer::Silence
            } else {
                Answer::Http(500, json, "{}".to_owned())
            }
        })
    });
    let config =
        format!("[auth]\nmode = 'webhook'\n[auth.webhook]\nurl = '{}'\n", service.url("/"));
    Ok(Prepared { config, service: Some(service) })
}

fn pile_up(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let mut piles = tokio::task::JoinSet::new();
        for number in 0..200u16 {
            let stranger = Stranger::at(&target, stranger_v4(number % 8).into())?;
            piles.spawn(async move {
                let mut bytes = 0u64;
                while Instant::now() < end {
                    bytes += pile(&stranger, &target, number, end).await.unwrap_or(0);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                bytes
            });
        }
        let mut sent = Sent::default();
        while let Some(bytes) = piles.join_next().await {
            sent.count("KiB accepted by QUIC", bytes? >> 10);
        }
        Ok(sent)
    })
}

/// Bytes that the relay let one stranger write.
async fn pile(stranger: &Stranger, target: &Target, number: u16, end: Instant) -> Result<u64> {
    let connection = stranger.connect(target).await?;
    let (mut stream, _answers) = connection.open_bi().await?;
    let hello = hello("pile", &format!("{SLOW}{number}"));
    let hello = ClientMessage::from(client_message::Message::Hello(hello));
    stream.write_all(&encode(&hello)).await?;
    let mutes = encode(&ClientMessage::from(client_message::Message::Mute(Mute { muted: true })));
    let block = Bytes::from(mutes.repeat(2000));
    let mut bytes = 0;
    let fills = async {
        while stream.write_chunk(block.clone()).await.is_ok() {
            bytes += block.len() as u64;
        }
    };
    let _ = tokio::time::timeout_at(end.into(), fills).await;
    Ok(bytes)
}

fn odd_tokens(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let stranger = Stranger::at(&target, stranger_v4(1).into())?;
        let mut sent = Sent::default();
        let mut number = 0u32;
        each(Duration::from_millis(50), end, async || {
            number += 1;
            let joined = stranger.join(&target, "odd", &format!("{ODD}{number}")).await;
            sent.note(joined.map(drop));
        })
        .await;
        Ok(sent)
    })
}

fn joins(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let strangers: Vec<_> = (0..4)
            .map(|number| Stranger::at(&target, stranger_v4(number).into()))
            .collect::<Result<_, _>>()?;
        let mut joining = tokio::task::JoinSet::new();
        let mut next = 0usize;
        each(Duration::from_millis(5), end, async || {
            let stranger: &Stranger = &strangers[next % strangers.len()];
            next += 1;
            let (endpoint, config) = (stranger.endpoint.clone(), stranger.config.clone());
            joining.spawn(async move {
                let stranger = Stranger { endpoint, config };
                let joined = stranger.join(&target, "crowd", "").await?;
                tokio::time::sleep(Duration::from_secs(2)).await;
                joined.connection.close(0u32.into(), b"");
                Ok(())
            });
        })
        .await;
        let mut sent = Sent::default();
        while let Some(joined) = joining.join_next().await {
            sent.note(joined?);
        }
        Ok(sent)
    })
}

fn mutes(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let stranger = Stranger::at(&target, stranger_v4(1).into())?;
        let mut sent = Sent::default();
        let mut members = Vec::new();
        for _ in 0..200 {
            match stranger.join(&target, "mutes", "").await {
                Ok(joined) => members.push(joined),
                Err(error) => sent.count(word(&error), 1),
            }
        }
        let mut muted = false;
        each(Duration::from_millis(200), end, async || {
            muted = !muted;
            for member in members.iter_mut().take(40) {
                let message = client_message::Message::Mute(Mute { muted });
                if member.sender.send(message).await.is_ok() {
                    sent.count("mutes", 1);
                }
            }
        })
        .await;
        wait(end).await;
        Ok(sent)
    })
}
