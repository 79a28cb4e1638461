//! One call from joining to leaving: the loop that waits for everything that
//! can happen and does one thing at a time.

use std::future::pending;
use std::time::Duration;

use quinn::{Connection, VarInt};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::info;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{
    Draining, Grant, Hello, Notice, Pong, Role, SenderFeedback, client_message, notice,
    relay_message, sender_id,
};
use wzp_transport::join::{self, ControlReceiver, Ended, JoinError, Joined};

use crate::capture::Voice;
use crate::cli::Options;
use crate::exit::{Exit, Failure};
use crate::members::{Event, Impossible, Members, describe};
use crate::outbox::Outbox;
use crate::playout::{Outputs, Playout};
use crate::progress::Progress;
use crate::sending::Sending;
use crate::signals::Signals;
use crate::summary::{End, Feedback, Summary, thousandths};
use crate::terminal::Terminal;

/// Names this program in the relay's log.
pub(crate) const SOFTWARE: &str = concat!("wzp-client ", env!("CARGO_PKG_VERSION"));

/// How often the relay hears of what is heard, and people see progress.
const SECOND: Duration = Duration::from_secs(1);

/// A draining relay is left so long before its deadline: it should see a
/// participant leave, not one that it has to disconnect.
const BEFORE_DEADLINE: Duration = Duration::from_millis(250);

/// Names listed when a room is entered; the rest is a number.
const NAMES_LISTED: usize = 10;

/// Joins, sends, listens, leaves and tells how it went.
pub(crate) async fn run(options: &Options, terminal: Terminal) -> Result<(), Failure> {
    // Local problems come to light before anyone else is bothered.
    let voice = Voice::open(options)?;
    let outputs = Outputs::open(options)?;
    let mut signals = Signals::new()?;
    let entered = tokio::select! {
        entered = enter(options) => entered?,
        () = signals.next() => return Err(Failure::Interrupted(options.relay.clone())),
    };
    let endpoint = entered.session.endpoint.clone();
    let connection = entered.session.connection.clone();

    let mut call = Call::new(options, terminal, entered, outputs);
    let outcome = call.run(voice, &mut signals).await;
    if let Err(Failure::Lost { source, .. }) = &outcome {
        reproach(&connection, source);
    }
    let took = call.joined_at.elapsed();
    // Leaving first: the others need not wait for this machine's disk.
    join::leave(&endpoint, &connection).await;
    let written = call.playout.finish();
    let outcome = outcome.and_then(|end| written.map(|()| end));
    let summary = call.summary(took, &outcome);
    if options.json {
        terminal.json(&summary);
    } else if !options.quiet {
        terminal.result(summary);
    }
    outcome.map(drop)
}

/// A session whose Welcome makes sense.
struct Entered {
    session: Joined,
    sender_id: u16,
    members: Members,
}

async fn enter(options: &Options) -> Result<Entered, Failure> {
    let fail = |error| Failure::Join {
        room: options.room.clone(),
        relay: options.relay.clone(),
        source: Box::new(error),
    };
    let hello = Hello {
        role: Role::Participant.into(),
        software: SOFTWARE.to_owned(),
        room: options.room.clone(),
        name: options.name.clone(),
        muted: !options.has_voice(),
        token: options.token.read()?,
    };
    let session = join::join(&options.relay, options.trust.trust(), hello).await.map_err(fail)?;
    match check(&session) {
        Ok((sender_id, members)) => Ok(Entered { session, sender_id, members }),
        Err(breach) => {
            let error = JoinError::Protocol(breach);
            reproach(&session.connection, &error);
            join::leave(&session.endpoint, &session.connection).await;
            Err(fail(error))
        }
    }
}

fn check(session: &Joined) -> Result<(u16, Members), Impossible> {
    if session.connection.max_datagram_size().is_none() {
        return Err("it takes no datagrams (RFC 9221)".to_owned());
    }
    let given = session.welcome.sender_id;
    let own = sender_id(given).ok_or_else(|| format!("a Welcome with sender id {given}"))?;
    Ok((own, Members::new(own, &session.members)?))
}

/// Tells a relay that broke the protocol how, and closes.
fn reproach(connection: &Connection, error: &JoinError) {
    if let JoinError::Protocol(breach) = error {
        connection.close(VarInt::from_u32(CloseCode::Malformed.wire()), breach.as_bytes());
    }
}

/// What the call is doing.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// `--wait-for` members to come, until then.
    Waiting(Instant),
    /// Sending the voice.
    Sending,
    /// Everything is sent; leaves then.
    Lingering(Instant),
    /// Listening until something else ends the call.
    Staying,
}

struct Call<'a> {
    options: &'a Options,
    terminal: Terminal,
    connection: Connection,
    control: ControlReceiver,
    outbox: Outbox,
    sender_id: u16,
    session_id: u64,
    members: Members,
    sending: Option<Sending>,
    playout: Playout,
    stage: Stage,
    joined_at: Instant,
    /// When a draining relay is left at the latest.
    drain_at: Option<Instant>,
    feedback: Option<Feedback>,
    /// What the relay lets this client do; everything if it does not say.
    grant: Option<Grant>,
    /// Kinds of notices already shown.
    noticed: Vec<notice::Code>,
}

impl<'a> Call<'a> {
    fn new(options: &'a Options, terminal: Terminal, entered: Entered, outputs: Outputs) -> Self {
        let Entered { session, sender_id, members } = entered;
        let welcome = session.welcome;
        let room_members = welcome.limits.map_or(0, |limits| limits.room_members);
        let joined_at = Instant::now();
        Self {
            options,
            terminal,
            connection: session.connection,
            control: session.receiver,
            outbox: Outbox::new(session.sender),
            sender_id,
            session_id: welcome.session_id,
            members,
            sending: None,
            playout: Playout::new(outputs, room_members, sender_id),
            stage: Stage::Waiting(joined_at + options.wait_timeout),
            joined_at,
            drain_at: None,
            feedback: None,
            grant: welcome.grant,
            noticed: Vec::new(),
        }
    }

    async fn run(&mut self, voice: Option<Voice>, signals: &mut Signals) -> Result<End, Failure> {
        self.announce();
        self.sending = voice
            .map(|voice| {
                Sending::new(voice, self.sender_id, self.options.dtx, self.connection.clone())
            })
            .transpose()?;
        self.begin_if_complete();
        let mut second = interval(SECOND);
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let leave = self.leaving();
            let send_at = match (self.stage, &self.sending) {
                (Stage::Sending, Some(sending)) => Some(sending.next()),
                _ => None,
            };
            // First what ends the call, then what has its time, which leaves
            // most of the time free, then what came: control before media, so
            // that a talker is mostly known before it is heard.
            tokio::select! {
                biased;
                () = signals.next() => return Ok(End::Signal),
                () = at(leave.map(|(when, _)| when)) => {
                    if let Some((_, end)) = leave {
                        return self.ended(end);
                    }
                }
                () = at(send_at) => self.send()?,
                () = sleep_until(self.playout.next()) => {
                    if !self.playout.tick()? {
                        // The recording's own failure is told when it is finished.
                        return Ok(End::Local);
                    }
                }
                _ = second.tick() => self.every_second(),
                message = self.control.next() => {
                    let message = message.map_err(|error| self.lost(error))?;
                    self.obey(message).map_err(|breach| self.lost(JoinError::Protocol(breach)))?;
                }
                datagram = self.connection.read_datagram() => match datagram {
                    Ok(datagram) => self.playout.receive(&datagram),
                    Err(error) => return Err(self.lost(Ended::from(error).into())),
                },
            }
        }
    }

    fn announce(&self) {
        let mut others: Vec<_> =
            self.members.iter().take(NAMES_LISTED).map(|(id, name)| describe(id, name)).collect();
        match self.members.count() - others.len() {
            0 if others.is_empty() => others.push("nobody else is there".to_owned()),
            0 => {}
            more => others.push(format!("and {more} more")),
        }
        let Options { room, relay, .. } = self.options;
        let others = others.join(", ");
        self.terminal.event(format_args!(
            "joined room '{room}' at {relay} as member {}: {others}",
            self.sender_id
        ));
        if self.grant.is_some_and(|grant| !grant.listen) {
            self.terminal.event("the token does not let you hear the others");
        }
        if self.grant.is_some_and(|grant| !grant.publish) {
            self.terminal.event("the token does not let you talk");
        }
    }

    /// Begins to send, or just to listen, if those waited for are here.
    fn begin_if_complete(&mut self) {
        let wanted = self.options.wait_for.unwrap_or(0);
        if !matches!(self.stage, Stage::Waiting(_)) || self.members.count() < wanted.into() {
            return;
        }
        self.stage = match &mut self.sending {
            Some(sending) => {
                sending.start();
                Stage::Sending
            }
            None => Stage::Staying,
        };
    }

    fn send(&mut self) -> Result<(), Failure> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        if sending.tick()? {
            return Ok(());
        }
        let stays = self.options.duration.is_some() && self.drain_at.is_none();
        self.stage = if stays {
            Stage::Staying
        } else {
            Stage::Lingering(Instant::now() + self.options.linger)
        };
        Ok(())
    }

    /// When the call ends if nothing happens, and what will have ended it.
    fn leaving(&self) -> Option<(Instant, End)> {
        let duration = self.options.duration.map(|duration| {
            let waiting = matches!(self.stage, Stage::Waiting(_));
            let end = if waiting { End::MembersMissing } else { End::Duration };
            (self.joined_at + duration, end)
        });
        let stage = match self.stage {
            Stage::Waiting(until) => Some((until, End::MembersMissing)),
            Stage::Lingering(until) if self.options.duration.is_some() => {
                Some((until, End::Draining))
            }
            Stage::Lingering(until) => Some((until, End::Sent)),
            Stage::Sending | Stage::Staying => None,
        };
        let drain = self.drain_at.map(|when| (when, End::Draining));
        [stage, duration, drain].into_iter().flatten().min_by_key(|(when, _)| *when)
    }

    fn ended(&self, end: End) -> Result<End, Failure> {
        let after = self.joined_at.elapsed();
        match end {
            End::MembersMissing => Err(Failure::MembersMissing {
                wanted: self.options.wait_for.unwrap_or(0),
                present: self.members.count(),
                waited: after,
            }),
            End::Draining => Err(Failure::Drained { relay: self.options.relay.clone(), after }),
            end => Ok(end),
        }
    }

    fn lost(&self, error: JoinError) -> Failure {
        // A relay that closes tells why in its close, whatever was read first.
        let source = Box::new(match self.connection.close_reason() {
            Some(reason) => Ended::from(reason).into(),
            None => error,
        });
        Failure::Lost { relay: self.options.relay.clone(), after: self.joined_at.elapsed(), source }
    }

    fn every_second(&mut self) {
        if let Some(report) = self.playout.report() {
            self.outbox.send(client_message::Message::ReceiverReport(report));
        }
        if self.terminal.shows_progress() {
            let overall = self.playout.overall();
            self.terminal.progress(Progress {
                elapsed: self.joined_at.elapsed(),
                sent: self.sending.as_ref().map_or(0, Sending::frames),
                received: self.playout.received(),
                lost: overall.lost,
                expected: overall.expected,
                rtt: self.connection.rtt(),
                buffer_ms: overall.buffer_ms,
                profile: self.sending.as_ref().map(Sending::profile),
            });
        }
    }

    /// Does what a message of the relay asks for.
    fn obey(&mut self, message: relay_message::Message) -> Result<(), Impossible> {
        use relay_message::Message;
        match message {
            Message::Ping(ping) => {
                self.outbox.send(client_message::Message::Pong(Pong { number: ping.number }));
            }
            Message::RoomChanged(change) => {
                self.members.change(change)?.into_iter().for_each(|event| self.tell(event));
                self.begin_if_complete();
            }
            Message::SenderFeedback(feedback) => self.heard_of(&feedback),
            Message::Draining(draining) => self.draining(draining),
            Message::Resumed(_) => self.resumed(),
            Message::Notice(notice) => self.notice(&notice),
            Message::Welcome(_) => return Err("a second Welcome".to_owned()),
            Message::Members(_) => return Err("a second member list".to_owned()),
        }
        Ok(())
    }

    /// Shows what became of another member.
    fn tell(&mut self, event: Event) {
        match event {
            Event::Joined(id) => {
                self.playout.joined(id);
                let who = describe(id, self.members.name(id));
                self.terminal.event(format_args!("{who} joined"));
            }
            Event::Left(id, member) => {
                self.playout.left(id, &member);
                self.terminal.event(format_args!("{} left", describe(id, &member.name)));
            }
            Event::Muted(id, muted) => {
                let who = describe(id, self.members.name(id));
                let state = if muted { "is muted" } else { "is no longer muted" };
                self.terminal.event(format_args!("{who} {state}"));
            }
        }
    }

    fn heard_of(&mut self, feedback: &SenderFeedback) {
        self.feedback = Some(feedback.into());
        if let Some(sending) = &mut self.sending {
            sending.feedback(feedback);
        }
    }

    fn draining(&mut self, draining: Draining) {
        let deadline = Duration::from_millis(draining.deadline_ms.into());
        self.drain_at = Some(Instant::now() + deadline.saturating_sub(BEFORE_DEADLINE));
        self.terminal.warning(format_args!(
            "the relay is going to stop within {:.1} s; join another relay",
            deadline.as_secs_f64()
        ));
    }

    fn resumed(&mut self) {
        self.drain_at = None;
        // Who stays for a given time was only going to leave because of the relay.
        if matches!(self.stage, Stage::Lingering(_)) && self.options.duration.is_some() {
            self.stage = Stage::Staying;
        }
        self.terminal.event(format_args!("the relay goes on; there is no need to leave it"));
    }

    /// A relay repeats itself once a second while it drops something; people
    /// are told the first time.
    fn notice(&mut self, notice: &Notice) {
        let mut text = notice.text.clone();
        if notice.dropped > 0 {
            text += &format!(" ({} dropped)", notice.dropped);
        }
        if self.noticed.contains(&notice.code()) {
            return info!("the relay says again: {text}");
        }
        self.noticed.push(notice.code());
        self.terminal.warning(format_args!("the relay says: {text}"));
    }

    fn summary(&self, took: Duration, outcome: &Result<End, Failure>) -> Summary {
        let (end, exit) = match outcome {
            Ok(end) => (*end, Exit::Done),
            Err(failure) => (End::by(failure), failure.exit()),
        };
        Summary {
            room: self.options.room.clone(),
            sender_id: self.sender_id,
            session_id: format!("{:016x}", self.session_id),
            seconds: thousandths(took.as_secs_f64()),
            frames_sent: self.sending.as_ref().map_or(0, Sending::frames),
            frames_received: self.playout.received(),
            talkers: self.playout.talkers(&self.members),
            rtt_ms: thousandths(self.connection.rtt().as_secs_f64() * 1000.0),
            feedback: self.feedback,
            profile: self.sending.as_ref().map(|sending| sending.profile().name()),
            end,
            exit_code: exit as u8,
        }
    }
}

/// Waits until then; forever if that is never.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => pending().await,
    }
}
