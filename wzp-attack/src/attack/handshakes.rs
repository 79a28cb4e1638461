//! Connections for the sake of having them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Attack, Attacking, Prepared, Sent, Stranger, each, nothing_special, wait};
use crate::scene::{Target, stranger_v4, stranger_v6};

/// Handshakes without a Hello behind them.
pub(super) const HALF_OPEN: Attack = Attack {
    name: "half-open",
    sends: "QUIC handshakes from 64 addresses, 400 a second, without a Hello behind them",
    prepare: nothing_special,
    run: half_open,
};

/// Everything that one household's network has.
pub(super) const HOUSEHOLD: Attack = Attack {
    name: "household",
    sends: "sessions from 40 /64 networks of one IPv6 household, as many as a relay for 400 takes",
    prepare: |_| {
        Ok(Prepared {
            // The defaults in small.
            config: "[limits]\nsessions = 400\nsessions_per_address = 10\n\
                     sessions_per_site = 20\nsessions_per_network = 100\n"
                .to_owned(),
            ..Prepared::default()
        })
    },
    run: household,
};

fn half_open(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let strangers: Vec<_> = (0..64)
            .map(|number| Stranger::at(&target, stranger_v4(number).into()))
            .collect::<Result<_, _>>()?;
        let mut dials = tokio::task::JoinSet::new();
        let mut next = 0;
        each(Duration::from_millis(10), end, async || {
            for _ in 0..4 {
                let stranger: &Stranger = &strangers[next % strangers.len()];
                next += 1;
                let (endpoint, config) = (stranger.endpoint.clone(), stranger.config.clone());
                dials.spawn(async move {
                    let stranger = Stranger { endpoint, config };
                    stranger.connect(&target).await
                });
            }
        })
        .await;
        let mut sent = Sent::default();
        let mut kept = Vec::new();
        dials.abort_all();
        while let Some(dialled) = dials.join_next().await {
            match dialled {
                Ok(Ok(connection)) => {
                    sent.count("handshakes", 1);
                    kept.push(connection);
                }
                Ok(Err(error)) => sent.count(super::word(&error), 1),
                Err(_) => sent.count("under way", 1),
            }
        }
        Ok(sent)
    })
}

fn household(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let mut sent = Sent::default();
        let mut kept = Vec::new();
        'all: for _ in 0..20 {
            for subnet in 0..40 {
                if Instant::now() >= end {
                    break 'all;
                }
                let address: IpAddr = stranger_v6(subnet);
                let stranger = Stranger::at(&target, address)?;
                let joined = stranger.join(&target, &format!("house {subnet}"), "").await;
                sent.note(joined.map(|joined| kept.push(joined)));
            }
        }
        wait(end).await;
        Ok(sent)
    })
}
