//! One call from joining to leaving: the loop that waits for everything that
//! can happen and does one thing at a time.

mod staying;

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::info;
use wzp_command::thousandths;
use wzp_media::source::Damage;
use wzp_proto::control::{Notice, Pong, SenderFeedback, client_message, relay_message};
use wzp_transport::join::{Ended, JoinError};

use crate::capture::Voice;
use crate::cli::Options;
use crate::exit::{Exit, Failure};
use crate::members::{Event, Impossible, describe};
use crate::notices::Notices;
use crate::playout::{Outputs, Playout};
use crate::progress::Progress;
use crate::reconnect::{Advice, Away};
use crate::sending::Sending;
use crate::session::{JoinFailure, Session};
use crate::summary::{End, Feedback, Interruption, SourceDamage, Summary};
use wzp_command::signals::Signals;
use wzp_command::terminal::Terminal;

/// How often the relay hears of what is heard, and people see progress.
const SECOND: Duration = Duration::from_secs(1);

/// A call that ends with so much said of which nothing is known to have arrived has not
/// done what it was to do. It is more than a packet that is lost and comes again.
const UNDELIVERED: Duration = Duration::from_secs(3);

/// Names listed when a room is entered; the rest is a number.
const NAMES_LISTED: usize = 10;

/// Joins, sends, listens, leaves and tells how it went.
pub(crate) async fn run(options: &Options, terminal: Terminal) -> Result<(), Failure> {
    let mut signals =
        Signals::new().map_err(|source| Failure::System { what: "catch signals", source })?;
    let begun = async {
        // Local problems come to light before anyone else is bothered.
        let voice = Voice::open(options).await?;
        let outputs = Outputs::open(options).await?;
        let session = Session::enter(options, &options.relays).await;
        Ok((voice, outputs, session.map_err(|failure| failure.of_call(options))?))
    };
    let (voice, outputs, session) = tokio::select! {
        begun = begun => begun?,
        () = signals.next() => return Err(Failure::Interrupted(options.relays())),
    };
    let mut call = Call::new(options, terminal, session, outputs);
    let outcome = call.run(voice, &mut signals).await;
    if let Err(Failure::Lost { source, .. }) = &outcome {
        call.session.reproach(source);
    }
    let took = call.joined_at.elapsed();
    let unacknowledged = call.unacknowledged();
    // Leaving first: the others need not wait for this machine's disk.
    call.session.leave().await;
    let written = call.playout.finish().await;
    let outcome = outcome.and_then(|end| written.map(|()| end));
    let outcome = outcome.and_then(|end| call.all_played(end));
    let summary = call.summary(took, unacknowledged, &outcome);
    if options.json {
        terminal.json(&summary);
    } else if options.records_to_stdout() {
        terminal.result_aside(&summary);
    } else if !options.quiet {
        terminal.result(summary);
    }
    outcome.map(drop)
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
    /// The session that there is, or was.
    session: Session,
    /// On the way to another.
    away: Option<Away<'a>>,
    /// Sessions in a row that were lost soon.
    short_sessions: u32,
    sending: Option<Sending>,
    playout: Playout,
    stage: Stage,
    joined_at: Instant,
    feedback: Option<Feedback>,
    interruptions: Vec<Interruption>,
    notices: Notices,
}

impl<'a> Call<'a> {
    fn new(options: &'a Options, terminal: Terminal, session: Session, outputs: Outputs) -> Self {
        let joined_at = Instant::now();
        Self {
            options,
            terminal,
            away: None,
            short_sessions: 0,
            sending: None,
            playout: Playout::new(outputs, session.room_members, session.sender_id),
            session,
            stage: Stage::Waiting(joined_at + options.wait_timeout),
            joined_at,
            feedback: None,
            interruptions: Vec::new(),
            notices: Notices::default(),
        }
    }

    async fn run(&mut self, voice: Option<Voice>, signals: &mut Signals) -> Result<End, Failure> {
        self.playout.begin()?;
        self.announce("joined");
        self.sending = voice
            .map(|voice| {
                let Session { sender_id, connection, .. } = &self.session;
                Sending::new(voice, *sender_id, self.options.dtx, connection.clone())
            })
            .transpose()?;
        self.begin_if_complete();
        let mut second = interval(SECOND);
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let leave = self.leaving();
            let there = self.is_there();
            let send_at = match (self.stage, &self.sending) {
                (Stage::Sending, Some(sending)) if there => Some(sending.next()),
                _ => None,
            };
            // First what ends the call, then what has its time, which leaves
            // most of the time free, then what came: control before media, so
            // that a talker is mostly known before it is heard.
            tokio::select! {
                biased;
                () = signals.next() => return Ok(End::Signal),
                () = at(leave.map(|(when, _)| when)) => {
                    if let Some((_, end)) = leave
                        && let Some(end) = self.ended(end)?
                    {
                        return Ok(end);
                    }
                }
                () = at(send_at) => self.send()?,
                () = sleep_until(self.playout.next()) => {
                    if !self.playout.tick()? {
                        // The recording's own failure is told when it is finished.
                        return Ok(End::Local);
                    }
                    if there {
                        self.check_pulse()?;
                    }
                }
                _ = second.tick() => {
                    self.every_second(there);
                    if there {
                        self.check_delivery()?;
                    }
                }
                attempted = attempted(&mut self.away) => self.attempted(attempted)?,
                message = self.session.control.next(), if there => {
                    let obeyed = match message {
                        Ok(message) => self.obey(message).map_err(JoinError::Protocol),
                        Err(error) => Err(error),
                    };
                    if let Err(error) = obeyed {
                        self.lost(error)?;
                    }
                }
                datagram = self.session.connection.read_datagram(), if there => match datagram {
                    Ok(datagram) => self.playout.receive(&datagram),
                    Err(error) => self.lost(Ended::from(error).into())?,
                },
            }
        }
    }

    /// Whether there is a session.
    fn is_there(&self) -> bool {
        self.away.as_ref().is_none_or(|away| away.since.is_none())
    }

    fn announce(&self, what: &str) {
        let Session { members, sender_id, relay, grant, .. } = &self.session;
        let mut others: Vec<_> =
            members.iter().take(NAMES_LISTED).map(|(id, name)| describe(id, name)).collect();
        match members.count() - others.len() {
            0 if others.is_empty() => others.push("nobody else is there".to_owned()),
            0 => {}
            more => others.push(format!("and {more} more")),
        }
        let room = &self.options.room;
        let others = others.join(", ");
        self.terminal
            .event(format_args!("{what} room '{room}' at {relay} as member {sender_id}: {others}"));
        if grant.is_some_and(|grant| !grant.listen) {
            self.terminal.event("the token does not let you hear the others");
        }
        if grant.is_some_and(|grant| !grant.publish) {
            self.terminal.event("the token does not let you talk");
        }
    }

    /// Begins to send, or just to listen, if those waited for are here.
    fn begin_if_complete(&mut self) {
        let wanted = self.options.wait_for.unwrap_or(0);
        if !matches!(self.stage, Stage::Waiting(_)) || self.session.members.count() < wanted.into()
        {
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
        let was_whole = sending.damages().1.is_empty();
        let goes_on = sending.tick()?;
        if let (name, [first, ..]) = sending.damages()
            && was_whole
        {
            self.terminal.warning(format_args!(
                "{name} is damaged, {first}; what can be played of it is sent"
            ));
        }
        if goes_on {
            return Ok(());
        }
        let elsewhere = !self.options.no_reconnect || self.session.drain_at.is_none();
        let stays = self.options.duration.is_some() && elsewhere;
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
        let drain = self.session.drain_at.filter(|_| self.is_there());
        let drain = drain.map(|when| (when, End::Draining));
        let away = self.away.as_ref().filter(|away| away.since.is_some());
        let away = away.map(|away| (away.until, End::Lost));
        [stage, duration, drain, away].into_iter().flatten().min_by_key(|(when, _)| *when)
    }

    /// The end of the call; None if it goes on without the relay that it was at.
    fn ended(&mut self, end: End) -> Result<Option<End>, Failure> {
        let after = self.joined_at.elapsed();
        match end {
            End::MembersMissing => Err(Failure::MembersMissing {
                wanted: self.options.wait_for.unwrap_or(0),
                present: self.session.members.count(),
                waited: after,
            }),
            End::Draining => {
                let relay = self.session.relay.to_string();
                let drained = Failure::Drained { relay, after };
                if self.options.no_reconnect || matches!(self.stage, Stage::Lingering(_)) {
                    return Err(drained);
                }
                self.go_away(Advice::Later, drained.to_string(), Duration::ZERO);
                Ok(None)
            }
            End::Lost => Err(self.given_up()),
            end => self.delivered().map(|()| Some(end)),
        }
    }

    /// Whether all of the sound was what it should be, unless it was broken off anyway.
    fn all_played(&self, end: End) -> Result<End, Failure> {
        match self.damages() {
            (name, damages) if end != End::Signal && !damages.is_empty() => {
                Err(Failure::Damaged { name: name.to_owned(), damages: damages.to_vec() })
            }
            _ => Ok(end),
        }
    }

    /// What the sound that is sent is called, and what of it could not be played so far.
    fn damages(&self) -> (&str, &[Damage]) {
        self.sending.as_ref().map_or(("", &[]), Sending::damages)
    }

    /// How long before the end of the last session nothing was acknowledged any more.
    fn unacknowledged(&mut self) -> Duration {
        match &self.away {
            Some(away) if away.since.is_some() => away.unacknowledged,
            _ => self.session.delivery.look().waits,
        }
    }

    /// Whether what was said has arrived; what was sent last may still be on its way.
    fn delivered(&mut self) -> Result<(), Failure> {
        let spoke = matches!(self.stage, Stage::Sending | Stage::Lingering(_)) && self.is_there();
        let patience = UNDELIVERED + self.session.connection.rtt();
        match self.session.delivery.look() {
            told if spoke && told.waits > patience => {
                Err(self.loss(Ended::Unacknowledged(told.waits).into()))
            }
            _ => Ok(()),
        }
    }

    fn every_second(&mut self, there: bool) {
        if let Some(report) = self.playout.report().filter(|_| there) {
            self.session.outbox.send(client_message::Message::ReceiverReport(report));
        }
        if self.terminal.shows_progress() {
            let overall = self.playout.overall();
            self.terminal.progress(Progress {
                elapsed: self.joined_at.elapsed(),
                sent: self.sending.as_ref().map_or(0, Sending::frames),
                received: self.playout.received(),
                lost: overall.lost,
                expected: overall.expected,
                rtt: self.session.connection.rtt(),
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
                self.session
                    .outbox
                    .send(client_message::Message::Pong(Pong { number: ping.number }));
            }
            Message::RoomChanged(change) => {
                self.session.members.change(change)?.into_iter().for_each(|event| self.tell(event));
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
                let who = describe(id, self.session.members.name(id));
                self.terminal.event(format_args!("{who} joined"));
            }
            Event::Left(id, member) => {
                self.playout.left(id, &member);
                self.terminal.event(format_args!("{} left", describe(id, &member.name)));
            }
            Event::Muted(id, muted) => {
                let who = describe(id, self.session.members.name(id));
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

    /// A relay repeats itself once a second while it drops something; people
    /// are told the first time.
    fn notice(&mut self, notice: &Notice) {
        let mut text = notice.text.clone();
        if notice.dropped > 0 {
            text += &format!(" ({} dropped)", notice.dropped);
        }
        if !self.notices.take(notice) {
            return info!("the relay says again: {text}");
        }
        self.terminal.warning(format_args!("the relay says: {text}"));
    }

    fn summary(
        &self,
        took: Duration,
        unacknowledged: Duration,
        outcome: &Result<End, Failure>,
    ) -> Summary {
        let (end, exit) = match outcome {
            Ok(end) => (*end, Exit::Done),
            Err(failure) => (End::by(failure), failure.exit()),
        };
        let held_up = self.sending.as_ref().map_or(Duration::ZERO, Sending::longest_delay);
        let held_up = held_up.max(self.playout.longest_delay());
        Summary {
            room: self.options.room.clone(),
            relay: self.session.relay.to_string(),
            sender_id: self.session.sender_id,
            session_id: format!("{:016x}", self.session.session_id),
            seconds: thousandths(took.as_secs_f64()),
            frames_sent: self.sending.as_ref().map_or(0, Sending::frames),
            frames_received: self.playout.received(),
            talkers: self.playout.talkers(&self.session.members),
            rtt_ms: thousandths(self.session.connection.rtt().as_secs_f64() * 1000.0),
            feedback: self.feedback,
            notices: self.notices.clone(),
            source_damages: self.damages().1.iter().map(SourceDamage::from).collect(),
            profile: self.sending.as_ref().map(|sending| sending.profile().name()),
            interruptions: self.interruptions.clone(),
            unacknowledged_seconds: thousandths(unacknowledged.as_secs_f64()),
            held_up_ms: thousandths(held_up.as_secs_f64() * 1000.0),
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

/// What came of an attempt to join again; waits for ever if there is none.
async fn attempted(away: &mut Option<Away<'_>>) -> Result<Session, JoinFailure> {
    match away {
        Some(away) => away.attempted().await,
        None => pending().await,
    }
}
