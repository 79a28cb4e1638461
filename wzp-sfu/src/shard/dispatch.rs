//! Mail, whoever wrote it, given to the part of the shard that it is for.

use super::{Outgoing, Shard};
use crate::mail::{Change, ControlMail, Mail, MediaMail, RoomMail};
use wzp_proto::close::CloseCode;

impl Shard {
    pub(super) fn dispatch(&mut self, mail: Mail, out: &mut Outgoing) {
        match mail {
            Mail::Media(mail) => self.dispatch_media(mail),
            Mail::Room(mail) => self.dispatch_room(mail),
            Mail::Control(mail) => self.dispatch_control(mail),
            Mail::Packet(packet) => self.receive(packet, out),
        }
    }

    fn dispatch_media(&mut self, mail: MediaMail) {
        match mail {
            MediaMail::Frame { room, sender_id, frame, due } => {
                if let Some(key) = self.rooms.key(room) {
                    self.deliver(key, sender_id, &frame, due);
                }
            }
            MediaMail::Heard { room, listener, senders } => {
                self.pass_on(room, listener, &senders);
            }
        }
    }

    fn dispatch_room(&mut self, mail: RoomMail) {
        match mail {
            RoomMail::Join(request) => self.at_home(|home, now, out| home.join(now, request, out)),
            RoomMail::Leave { room, sender_id, session } => {
                self.at_home(|home, now, out| home.leave(now, room, sender_id, session, out));
            }
            RoomMail::SetMuted { room, sender_id, muted } => {
                self.at_home(|home, now, _| home.set_muted(now, room, sender_id, muted));
            }
            RoomMail::Admitted(admitted) => self.welcome(*admitted),
            RoomMail::Refused { session, code, text } => self.close_by_id(session, code, text),
            RoomMail::Spread { room, shards } => {
                if let Some(key) = self.rooms.key(room) {
                    self.rooms.set_routes(key, &shards);
                }
            }
            RoomMail::Changed(Change { room, messages }) => {
                if let Some(key) = self.rooms.key(room) {
                    self.tell_room(key, &messages);
                }
            }
        }
    }

    fn dispatch_control(&mut self, mail: ControlMail) {
        match mail {
            ControlMail::Authenticated(answer) => self.authenticated(*answer),
            ControlMail::Drain { deadline } => self.drain(deadline),
            ControlMail::Undrain => self.undrain(),
            ControlMail::Kick { session, text } => {
                self.close_by_id(session, CloseCode::Kicked, text);
            }
            ControlMail::MakeWay { session, cause } => self.make_way(session, cause),
            ControlMail::Probe(session) => self.probe(session),
            ControlMail::Server(config) => self.set_server(config),
            ControlMail::Limits(limits) => self.set_limits(limits),
            ControlMail::Failed { shard, room } => self.lose(shard, room),
            #[cfg(debug_assertions)]
            ControlMail::Panic => panic!("a test wants this shard to fail"),
        }
    }
}
