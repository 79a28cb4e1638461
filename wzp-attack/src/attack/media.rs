//! By a guest in a room of the attacker's.

use std::time::{Duration, Instant};

use bytes::Bytes;
use wzp_proto::media::{AudioLevel, MediaHeader, Profile};

use super::{Attack, Attacking, Sent, Stranger, each, nothing_special};
use crate::scene::{Target, stranger_v4};

/// Media above all rates.
pub(super) const FLOOD: Attack = Attack {
    name: "media-flood",
    sends: "10,000 frames a second by one member of a room of three, 250 of which are allowed",
    prepare: nothing_special,
    run: flood,
};

/// Members who read nothing.
pub(super) const UNREAD: Attack = Attack {
    name: "unread",
    sends: "media at the allowed rate by ten members of a room, 20 others of which read nothing",
    prepare: nothing_special,
    run: unread,
};

fn flood(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let stranger = Stranger::at(&target, stranger_v4(1).into())?;
        let talker = stranger.join(&target, "flood", "").await?;
        let _listeners = (
            stranger.join(&target, "flood", "").await?,
            stranger.join(&target, "flood", "").await?,
        );
        let mut sent = Sent::default();
        let mut sequence = 0;
        each(Duration::from_millis(10), end, async || {
            for _ in 0..100 {
                sequence += 1;
                let frame = frame(talker.welcome.sender_id, sequence);
                if talker.connection.send_datagram(frame).is_ok() {
                    sent.count("frames", 1);
                }
            }
        })
        .await;
        Ok(sent)
    })
}

fn unread(target: Target, end: Instant) -> Attacking {
    Box::pin(async move {
        let stranger = Stranger::at(&target, stranger_v4(1).into())?;
        let mut members = Vec::new();
        for _ in 0..30 {
            members.push(stranger.join(&target, "unread", "").await?);
        }
        let mut sent = Sent::default();
        let mut sequence = 0;
        // Nobody reads a stream or a datagram of these connections.
        each(Duration::from_millis(4), end, async || {
            sequence += 1;
            for talker in members.iter().take(10) {
                let frame = frame(talker.welcome.sender_id, sequence);
                if talker.connection.send_datagram(frame).is_ok() {
                    sent.count("frames", 1);
                }
            }
        })
        .await;
        let lost = members.iter().filter(|member| member.connection.close_reason().is_some());
        sent.count("sessions ended by the relay", lost.count() as u64);
        Ok(sent)
    })
}

fn frame(sender_id: u32, sequence: u32) -> Bytes {
    let header = MediaHeader {
        profile: Profile::Good,
        level: AudioLevel::SILENCE,
        sender_id: u16::try_from(sender_id).unwrap_or(0),
        sequence,
        timestamp: sequence.wrapping_mul(960),
    };
    let mut frame = header.encode().to_vec();
    frame.resize(frame.len() + 80, 0);
    frame.into()
}
