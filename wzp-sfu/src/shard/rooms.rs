//! The part of a shard that knows rooms: joining, membership, and handing
//! frames to members.

use std::mem;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{
    Grant as WireGrant, Hello, Limits as WireLimits, ReceiverReport, Welcome, client_message,
    relay_message,
};
use wzp_proto::media;

use super::event::Event;
use super::life::Life;
use super::{Shard, mark};
use crate::access::Now;
use crate::conn::Close;
use crate::conn::backlog::Outcome;
use crate::count::reason::DropReason;
use crate::count::sessions::Participant;
use crate::ids::{RoomId, SessionId};
use crate::mail::{Admitted, Hearing, JoinRequest, MediaMail, RoomMail};
use crate::room::directory::{Directory, Letters};
use crate::room::home_of;
use crate::room::local::{LocalMember, RoomKey, TALKS_ON};
use crate::session::{HOME_ANSWERS, Phase, Seat};

impl Shard {
    /// Acts on the control messages that are complete.
    pub(super) fn handle_messages(&mut self, number: usize) {
        use client_message::Message;
        loop {
            let Some(session) = &mut self.sessions[number] else { return };
            let message = match session.next_message(self.now) {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(close) => return self.settle(number, Err(close)),
            };
            match (message, session.seat()) {
                (Message::Hello(hello), None) => self.authenticate(number, hello),
                // Who hears nobody has nothing to report.
                (Message::ReceiverReport(_), Some(_)) if !session.grant.listen => {}
                (Message::ReceiverReport(report), Some(seat)) => self.hear(number, seat, &report),
                (Message::Mute(mute), Some(seat)) => {
                    let Seat { room_id: room, sender_id, .. } = seat;
                    let (session, muted) = (session.conn.id, mute.muted);
                    self.emit(Event::Muted { session, muted });
                    self.post(room.home.into(), RoomMail::SetMuted { room, sender_id, muted });
                }
                (Message::Pong(pong), Some(_)) => {
                    session.pong(pong.number);
                    // Who is neither heard nor hears has no other occasion.
                    session.show_vitals(self.now, &self.shared.sessions.distributions, &self.stats);
                }
                (Message::Hello(_), Some(_)) => {
                    let close =
                        Close::new(CloseCode::UnexpectedMessage, "Hello came a second time");
                    return self.settle(number, Err(close));
                }
                (_, None) => {
                    let close =
                        Close::new(CloseCode::UnexpectedMessage, "the first message must be Hello");
                    return self.settle(number, Err(close));
                }
            }
        }
    }

    /// Asks the room's home to let a session in.
    pub(super) fn join(&mut self, number: usize, hello: Hello) {
        if self.life != Life::Serving {
            let text = "this relay is stopping and takes nobody in; join another one";
            return self.settle(number, Err(Close::new(CloseCode::Draining, text)));
        }
        let Some(session) = &mut self.sessions[number] else { return };
        let Ok(displaced) = session.conn.permit.join(session.grant.user.as_ref(), self.now) else {
            let most = self.shared.limits.sessions;
            let text = format!("this relay is full: it takes {most} sessions at most");
            return self.settle(number, Err(Close::new(CloseCode::ServerFull, text)));
        };
        let deadline = self.now + HOME_ANSWERS;
        session.set_phase(Phase::Joining { deadline }, &self.stats.states);
        session.name.clone_from(&hello.name);
        let home = home_of(&hello.room, &self.shared.placement, self.shared.shards);
        let request = JoinRequest {
            room: hello.room.into(),
            session: session.conn.id,
            shard: self.index,
            member_name: hello.name,
            muted: hello.muted,
        };
        self.post(home, RoomMail::Join(request));
        self.displace(displaced);
        self.touch(number);
    }

    /// Ends the session if it is here.
    pub(super) fn close_by_id(&mut self, session: SessionId, code: CloseCode, text: String) {
        if let Some(number) = self.by_id.get(&session).copied() {
            self.settle(number, Err(Close::new(code, text)));
        }
    }

    /// Tells the members of rooms for which it is time; whether there are any.
    pub(super) fn tell_rooms(&mut self) -> bool {
        let is_due = self.directory.next_timeout().is_some_and(|due| due <= self.now);
        if is_due {
            self.at_home(Directory::tell);
        }
        is_due
    }

    /// Lets the directory act and posts what it has to say.
    pub(super) fn at_home(&mut self, act: impl FnOnce(&mut Directory, Instant, &mut Letters)) {
        act(&mut self.directory, self.now, &mut self.home_mail);
        self.directory.settle();
        self.post_home_mail();
    }

    /// Posts what the directory had to say; after a panic, what it said before.
    pub(super) fn post_home_mail(&mut self) {
        let mut said = mem::take(&mut self.home_mail);
        said.drain(..).for_each(|(to, mail)| self.post(to, mail));
        self.home_mail = said;
    }

    /// Seats a session that its room's home let in.
    pub(super) fn welcome(&mut self, admitted: Admitted) {
        let Admitted { session: id, room, name, sender_id, snapshot, shards } = admitted;
        let here = self.by_id.get(&id).copied();
        let Some((number, session)) =
            here.and_then(|number| Some((number, self.sessions[number].as_mut()?)))
        else {
            // It went away while the home decided.
            return self.post(room.home.into(), RoomMail::Leave { room, sender_id, session: id });
        };
        let member = LocalMember { connection: number, sender_id, listens: session.grant.listen };
        let key = self.rooms.enter(room, &name, &shards, member);
        let limits = &self.shared.limits;
        let clocks = Now { steady: self.now, wall: self.shared.clock.now() };
        let handle = self.shared.sessions.open(Participant {
            id,
            room: name.clone(),
            name: session.name.clone(),
            peer: session.conn.peer(),
            shard: self.index,
            joined: clocks.steady,
            joined_at: clocks.wall,
        });
        let seat = Seat { room: key, room_id: room, sender_id };
        session.enter(clocks, seat, handle, limits, &self.stats.states);
        let event = Event::Joined {
            session: id,
            room: name.clone(),
            sender_id,
            name: session.name.clone(),
            user: session.grant.user.clone(),
            peer: session.conn.peer(),
            counts: self.rooms.room(key).forwarded.count.clone(),
        };
        event.span(session.asked_at.unwrap_or(self.now), self.now, session.conn.trace.as_ref());
        let welcome = Welcome {
            session_id: id.0,
            sender_id: sender_id.into(),
            member_count: snapshot.count,
            room_version: snapshot.version,
            limits: Some(WireLimits {
                packets_per_second: limits.packets_per_second,
                bytes_per_second: limits.bytes_per_second,
                frame_bytes: limits.frame_bytes,
                message_bytes: limits.message_bytes,
                room_members: limits.room_members,
                ping_timeout_ms: u32::try_from(limits.ping_timeout.as_millis()).unwrap_or(u32::MAX),
            }),
            server_time_ms: since_1970_ms(clocks.wall),
            software: self.shared.software.to_owned(),
            grant: Some(WireGrant {
                publish: session.grant.publish,
                listen: session.grant.listen,
                // 0 stands for a time that no clock can tell, too.
                expires_ms: session
                    .grant
                    .expires
                    .and_then(|expires| expires.time_of_day(clocks))
                    .map_or(0, since_1970_ms),
            }),
        };
        let welcomed = session.conn.tell(relay_message::Message::Welcome(welcome));
        let verdict = welcomed.and_then(|()| session.conn.tell_encoded(snapshot.messages));
        self.emit(event);
        self.touch(number);
        self.settle(number, verdict);
        if let Some(deadline) = self.drain_deadline() {
            self.tell_draining(number, deadline);
        }
        // The client may have sent more right behind Hello.
        self.handle_messages(number);
    }

    /// Queues encoded control messages for every member here.
    pub(super) fn tell_room(&mut self, key: RoomKey, messages: &Bytes) {
        let mut unresponsive = Vec::new();
        for member in &self.rooms.room(key).members {
            let Some(session) = &mut self.sessions[member.connection] else { continue };
            if let Err(close) = session.conn.tell_encoded(messages.clone()) {
                unresponsive.push((member.connection, close));
            }
            mark(&mut self.touched, member.connection, session);
        }
        for (number, close) in unresponsive {
            self.settle(number, Err(close));
        }
    }

    /// Hands a frame to every member here but its sender; it leaves by `due`.
    /// The payload is shared, not copied.
    pub(super) fn deliver(&mut self, key: RoomKey, sender_id: u16, frame: &Bytes, due: Instant) {
        let limit = self.shared.limits.send_buffer_bytes as usize;
        let talkers = self.rooms.heard(key, sender_id, media::sequence_of(frame), self.now);
        let mut outcome = Outcome::default();
        for member in &self.rooms.room(key).members {
            if member.sender_id == sender_id || !member.listens {
                continue;
            }
            let Some(session) = &mut self.sessions[member.connection] else { continue };
            let offered = session.conn.backlog.offer(&mut session.conn.quic, frame.clone(), limit);
            session.conn.forwarded += offered.sent;
            outcome += offered;
            let talks = session.spoke.is_some_and(|at| self.now.duration_since(at) < TALKS_ON);
            session.conn.bundle.add(
                frame.len(),
                self.now,
                due,
                talkers.saturating_sub(talks.into()),
            );
            mark(&mut self.touched, member.connection, session);
        }
        self.count_forwarded(key, outcome);
    }

    /// The one place where forwarded frames are counted in userspace.
    pub(super) fn count_forwarded(&self, key: RoomKey, outcome: Outcome) {
        let Outcome { sent, sent_bytes, evicted, unfit } = outcome;
        let room = &self.rooms.room(key).forwarded.count;
        room.packets.add(sent);
        room.bytes.add(sent_bytes);
        self.stats.media_packets_forwarded.add(sent);
        self.stats.media_bytes_forwarded.add(sent_bytes);
        self.stats.packets_dropped[DropReason::SendBuffer].add(evicted);
        self.stats.packets_dropped[DropReason::Path].add(unfit);
    }

    /// Passes a listener's report to the senders it speaks of.
    fn hear(&mut self, number: usize, seat: Seat, report: &ReceiverReport) {
        let Some(session) = &mut self.sessions[number] else { return };
        let Seat { room: key, room_id: room, sender_id: listener } = seat;
        let (rooms, now) = (&self.rooms, self.now);
        let passed = |sender| rooms.passed(key, sender, now);
        let hearings = session.report(now, &report.sources, passed, &self.stats);
        session.show_vitals(now, &self.shared.sessions.distributions, &self.stats);
        let hearings = match hearings {
            Ok(hearings) => hearings,
            Err(close) => return self.settle(number, Err(close)),
        };
        let is_here =
            |(sender, _): &(u16, Hearing)| self.rooms.room(key).by_sender.contains_key(sender);
        let (here, elsewhere): (Vec<_>, Vec<_>) = hearings.into_iter().partition(is_here);
        self.pass_on(room, listener, &here);
        if !elsewhere.is_empty() {
            let senders: Arc<[(u16, Hearing)]> = elsewhere.into();
            for shard in self.rooms.room(key).routes.clone() {
                let senders = senders.clone();
                self.post(shard, MediaMail::Heard { room, listener, senders });
            }
        }
    }

    /// Gives each sender that is here what was heard of it.
    pub(super) fn pass_on(&mut self, room: RoomId, listener: u16, senders: &[(u16, Hearing)]) {
        let Some(key) = self.rooms.key(room) else { return };
        for (sender, hearing) in senders {
            let Some(number) = self.rooms.room(key).by_sender.get(sender).copied() else {
                continue;
            };
            if let Some(session) = &mut self.sessions[number] {
                // The first report of a second sets when the sender is told.
                if session.feedback.add(self.now, listener, *hearing) {
                    mark(&mut self.touched, number, session);
                }
            }
        }
    }
}

/// Milliseconds, as clients are told times of day.
fn since_1970_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
