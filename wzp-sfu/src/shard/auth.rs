//! Who may join: the part of a shard that has it decided, and acts on what was.

use wzp_proto::control::Hello;

use super::event::Event;
use super::life::Life;
use super::{Output, Shard};
use crate::access::{Answer, AuthRequest, Decided, Refusal, Token};
use crate::count::reason::AuthFailReason;
use crate::session::Phase;

impl Shard {
    /// Asks who may decide whether a session may join, if anybody has to.
    pub(super) fn authenticate(&mut self, number: usize, mut hello: Hello) {
        let Some(session) = &mut self.sessions[number] else { return };
        let token = Token::new(std::mem::take(&mut hello.token));
        session.asked_at = Some(self.now);
        let Some(patience) = self.shared.auth.get().filter(|_| self.life == Life::Serving) else {
            return self.join(number, hello);
        };
        let decided = Decided::default();
        self.outputs.push_back(Output::Question(AuthRequest {
            shard: self.index,
            session: session.conn.id,
            ip: session.conn.peer().ip(),
            room: hello.room.clone(),
            name: hello.name.clone(),
            token,
            decided: decided.clone(),
        }));
        let deadline = self.now + patience;
        let phase = Phase::Authenticating { deadline, hello: Box::new(hello), decided };
        session.set_phase(phase, &self.stats.states);
    }

    /// Refuses a session about which nobody has decided in time.
    pub(super) fn decide_late(&mut self, number: usize) {
        let Some(session) = &mut self.sessions[number] else { return };
        let Some(hello) = session.take_hello() else { return };
        let text = "nothing decided about the token in time; try again in some seconds";
        let answer = Answer {
            session: session.conn.id,
            ip: session.conn.peer().ip(),
            room: hello.room,
            result: Err(Refusal::new(AuthFailReason::Unavailable, text)),
        };
        let waited = session.asked_at.map(|at| self.now.duration_since(at));
        self.shared.decisions.count(answer.outcome(), waited.unwrap_or_default());
        self.authenticated(answer);
    }

    /// Lets a session go on, or ends it, as was decided.
    pub(super) fn authenticated(&mut self, answer: Answer) {
        let Answer { session: id, ip, room, result } = answer;
        match result {
            Ok(grant) => {
                // It may have gone away meanwhile.
                let Some(number) = self.by_id.get(&id).copied() else { return };
                let Some(session) = &mut self.sessions[number] else { return };
                let Some(hello) = session.take_hello() else { return };
                session.grant = grant;
                self.join(number, hello);
            }
            // Told also of who did not wait to hear it: that must not hide a guess.
            Err(refusal) => {
                let reason = refusal.reason;
                self.emit(Event::Refused { session: id, room, ip, reason });
                self.close_by_id(id, refusal.code(), refusal.text);
            }
        }
    }
}
