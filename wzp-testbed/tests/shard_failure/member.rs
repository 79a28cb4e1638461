//! A participant that talks, listens, and joins again when the relay wants it to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use wzp_proto::close::CloseCode;
use wzp_proto::control::{Hello, Pong, Role, client_message, relay_message};
use wzp_proto::media::{AudioLevel, HEADER_LEN, MediaHeader, Profile};
use wzp_testbed::loopback::Loopback;
use wzp_transport::address::RelayAddress;
use wzp_transport::join::{Ended, JoinError, Joined, client_config, join, leave};
use wzp_transport::trust::Trust;

const FRAME: Duration = Duration::from_millis(20);

/// Where members join.
pub(crate) struct Place {
    relay: SocketAddr,
    pin: String,
    /// Members there have been.
    count: AtomicU32,
}

/// A participant in a task of its own.
pub(crate) struct Member {
    pub(crate) number: u32,
    pub(crate) room: String,
    /// The shard that it joined on first.
    pub(crate) shard: u64,
    talks: watch::Sender<bool>,
    diary: Arc<Mutex<Diary>>,
    life: AbortHandle,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.life.abort();
    }
}

/// What became of a member.
#[derive(Debug, Default)]
struct Diary {
    joins: u32,
    sent: u32,
    /// Which frames were heard of which member.
    heard: BTreeMap<u32, BTreeSet<u32>>,
    closes: Vec<(CloseCode, String)>,
    /// The others in the room, by sender id.
    members: BTreeMap<u32, String>,
}

impl Place {
    pub(crate) fn at(loopback: &Loopback) -> Arc<Self> {
        let relay = loopback.relay();
        let (relay, pin) = (relay.listen(), relay.fingerprint().to_owned());
        Arc::new(Self { relay, pin, count: AtomicU32::default() })
    }

    async fn join(&self, room: &str, number: u32) -> Joined {
        let address: RelayAddress = self.relay.to_string().parse().unwrap();
        let trust = Trust::Pinned(self.pin.parse().unwrap());
        let (room, name) = (room.to_owned(), number.to_string());
        let hello = Hello { role: Role::Participant.into(), room, name, ..Hello::default() };
        join(std::slice::from_ref(&address), &client_config(trust).unwrap(), hello).await.unwrap()
    }

    /// A member whose session sits on that shard. Chance decides, so it may take
    /// several tries.
    pub(crate) async fn join_on(
        self: &Arc<Self>,
        loopback: &Loopback,
        shard: u64,
        room: &str,
    ) -> Member {
        loop {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            let joined = self.join(room, number).await;
            let sessions = loopback.ask_admin("GET", "/sessions").body;
            let sessions: Value = serde_json::from_str(&sessions).unwrap();
            let name = Value::from(number.to_string());
            let own = sessions.as_array().unwrap().iter().find(|row| row["name"] == name);
            if own.unwrap()["shard"] == shard {
                return self.clone().live(joined, number, shard, room.to_owned());
            }
            leave(&joined.endpoint, &joined.connection).await;
        }
    }

    fn live(self: Arc<Self>, joined: Joined, number: u32, shard: u64, room: String) -> Member {
        let (talks, is_talking) = watch::channel(false);
        let diary = Arc::<Mutex<Diary>>::default();
        let (own_diary, own_room) = (diary.clone(), room.clone());
        let life = tokio::spawn(async move {
            let mut joined = joined;
            loop {
                own_diary.lock().unwrap().begin(&joined);
                let end = call(&mut joined, number, &is_talking, &own_diary).await;
                let Ended::Closed { code, reason } = end else { panic!("{number}: {end}") };
                own_diary.lock().unwrap().closes.push((code, reason));
                // Not all at once.
                sleep(Duration::from_millis(u64::from(number % 10) * 20)).await;
                joined = self.join(&own_room, number).await;
            }
        });
        let life = life.abort_handle();
        Member { number, room, shard, talks, diary, life }
    }
}

impl Member {
    fn diary(&self) -> MutexGuard<'_, Diary> {
        self.diary.lock().unwrap()
    }

    pub(crate) fn sent(&self) -> usize {
        self.diary().sent as usize
    }

    pub(crate) fn heard_of(&self, member: u32) -> usize {
        self.diary().heard.get(&member).map_or(0, BTreeSet::len)
    }

    pub(crate) fn joins(&self) -> u32 {
        self.diary().joins
    }

    pub(crate) fn closes(&self) -> Vec<(CloseCode, String)> {
        self.diary().closes.clone()
    }

    pub(crate) fn knows(&self, member: u32) -> bool {
        self.diary().members.values().any(|name| *name == member.to_string())
    }

    /// Silent at first, so that others can hear it from its first frame on.
    pub(crate) fn talk(&self) {
        self.talks.send(true).unwrap();
    }

    pub(crate) fn be_silent(&self) {
        self.talks.send(false).unwrap();
    }
}

impl Diary {
    fn begin(&mut self, joined: &Joined) {
        self.joins += 1;
        let members = joined.members.iter();
        self.members = members.map(|member| (member.sender_id, member.name.clone())).collect();
    }

    fn hear(&mut self, frame: &[u8]) {
        let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        let of = self.heard.entry(word(HEADER_LEN)).or_default();
        assert!(of.insert(word(HEADER_LEN + 4)), "a frame came twice");
    }

    fn note(&mut self, message: relay_message::Message) {
        let relay_message::Message::RoomChanged(change) = message else { return };
        for left in change.left {
            assert!(self.members.remove(&left).is_some(), "nobody left");
        }
        for member in change.joined {
            let before = self.members.insert(member.sender_id, member.name);
            assert_eq!(before, None, "a sender id was given twice");
        }
    }
}

/// Talks and listens until the session ends.
async fn call(
    joined: &mut Joined,
    number: u32,
    talks: &watch::Receiver<bool>,
    diary: &Mutex<Diary>,
) -> Ended {
    let sender_id = joined.welcome.sender_id as u16;
    let mut ticks = interval(FRAME);
    // After a stall of this process a burst would only overflow buffers.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            frame = joined.connection.read_datagram() => match frame {
                Ok(frame) => diary.lock().unwrap().hear(&frame),
                Err(error) => return error.into(),
            },
            message = joined.receiver.next() => match message {
                Ok(relay_message::Message::Ping(ping)) => {
                    let pong = client_message::Message::Pong(Pong { number: ping.number });
                    let _ = joined.sender.send(pong).await;
                }
                Ok(message) => diary.lock().unwrap().note(message),
                Err(JoinError::Ended(ended)) => return ended,
                Err(error) => panic!("{number}: {error}"),
            },
            _ = ticks.tick() => {
                if !*talks.borrow() {
                    continue;
                }
                let mut diary = diary.lock().unwrap();
                let frame = frame(sender_id, number, diary.sent);
                if joined.connection.send_datagram(frame.into()).is_ok() {
                    diary.sent += 1;
                }
            }
        }
    }
}

fn frame(sender_id: u16, number: u32, sequence: u32) -> Vec<u8> {
    let header = MediaHeader {
        profile: Profile::Good,
        level: AudioLevel::new(30, true),
        sender_id,
        sequence,
        timestamp: sequence.wrapping_mul(Profile::Good.frame_ticks()),
    };
    let mut frame = header.encode().to_vec();
    frame.extend(number.to_be_bytes());
    frame.extend(sequence.to_be_bytes());
    frame.resize(HEADER_LEN + 60, 0xa5);
    frame
}
