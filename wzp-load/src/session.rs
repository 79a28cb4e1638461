//! One session of a load: how it joins, what it does with what comes.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, VarInt};
use rustix::net::sockopt;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;
use wzp_proto::close::CloseCode;
use wzp_proto::control::{Hello, Limits, Pong, Role, client_message, relay_message, sender_id};
use wzp_transport::connect;
use wzp_transport::join::{self, ControlReceiver, ControlSender, JoinError, Joined};

use super::ear::Ear;
use super::frame::Frame;
use super::options::LoadOptions;
use super::plan::Seat;
use super::tally::SessionTally;
use super::window::{Clock, Window};
use wzp_command::SOFTWARE;

/// Longest UDP payload taken, in bytes: an Ethernet frame's. quinn keeps room
/// for 32 batches of 64 such, of which the kernel gives it what is touched.
const MAX_UDP_PAYLOAD: u16 = 1472;

/// Room for packets that wait for this process, in bytes as the kernel counts
/// them: a tenth of a second of a hundred talkers.
const RECEIVE_BUFFER: usize = 1 << 20;

/// How often a client reports what it hears.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What all sessions of a thread have in common.
pub(crate) struct Common {
    pub(crate) options: Arc<LoadOptions>,
    pub(crate) clock: Clock,
    pub(crate) window: Window,
    /// Tells the frames of this run from those of others.
    pub(crate) run: u32,
    pub(crate) client: ClientConfig,
    pub(crate) token: String,
    pub(crate) endpoint: EndpointConfig,
    /// From sending to receiving, in nanoseconds.
    pub(crate) latency: RefCell<Histogram<u64>>,
    /// Frames of the measured time so far.
    pub(crate) heard: Cell<u64>,
    /// Frames of other runs.
    pub(crate) foreign: Cell<u64>,
    /// Frames that the relay says it dropped.
    pub(crate) refused: Cell<u64>,
}

/// The endpoint's side of QUIC.
///
/// # Errors
/// Never in practice: the constant is a valid one.
pub(crate) fn endpoint_config() -> Result<EndpointConfig, io::Error> {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(MAX_UDP_PAYLOAD).map_err(io::Error::other)?;
    Ok(config)
}

/// A session in its room.
pub(crate) struct Session {
    pub(crate) seat: Seat,
    pub(crate) endpoint: Endpoint,
    pub(crate) connection: Connection,
    pub(crate) sender_id: u16,
    pub(crate) limits: Limits,
    /// What it hears.
    pub(crate) ear: Rc<RefCell<Ear>>,
    /// Frames it sent in the measured time.
    pub(crate) sent: u64,
}

impl Session {
    /// Joins. What comes from then on is answered and counted by itself.
    pub(crate) async fn join(
        common: Rc<Common>,
        seat: Seat,
        relay: SocketAddr,
    ) -> Result<Self, JoinError> {
        let options = &common.options;
        let socket = open(options.source(seat, relay))?;
        let (endpoint, config) = (common.endpoint.clone(), common.client.clone());
        let (endpoint, connection) =
            connect::dial(socket, endpoint, config, relay, options.relay.name()).await?;
        let hello = Hello {
            role: Role::Participant.into(),
            software: SOFTWARE.to_owned(),
            room: options.room(seat),
            name: format!("load {}", seat.number),
            muted: !seat.talks,
            token: common.token.clone(),
        };
        let Joined { endpoint, connection, welcome, sender, receiver, .. } =
            join::enter(endpoint, connection, hello).await?;
        let sender_id = sender_id(welcome.sender_id)
            .ok_or_else(|| JoinError::Protocol(format!("sender id {}", welcome.sender_id)))?;
        let ear = Rc::new(RefCell::new(Ear::new(options.talkers())));
        spawn_local(listen(Rc::clone(&common), connection.clone(), Rc::clone(&ear)));
        spawn_local(answer(common, connection.clone(), sender, receiver, Rc::clone(&ear)));
        let limits = welcome.limits.unwrap_or_default();
        Ok(Self { seat, endpoint, connection, sender_id, limits, ear, sent: 0 })
    }
}

impl Session {
    /// What it sent and heard.
    pub(crate) fn tally(&self) -> SessionTally {
        SessionTally { seat: self.seat, sent: self.sent, counts: self.ear.borrow().counts }
    }
}

fn open(source: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(source)?;
    // The system may give less; what it drops then, QUIC counts as lost.
    let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
    Ok(socket)
}

/// Takes in media until the connection ends. All that is there is taken in one
/// go: the future of a datagram that is there does not wait.
async fn listen(common: Rc<Common>, connection: Connection, ear: Rc<RefCell<Ear>>) {
    while let Ok(datagram) = connection.read_datagram().await {
        let Some(frame) = Frame::decode(&datagram).filter(|frame| frame.run == common.run) else {
            common.foreign.set(common.foreign.get() + 1);
            continue;
        };
        let now = common.clock.now();
        let counted = common.window.contains(frame.sent);
        if ear.borrow_mut().hear(&frame, now, counted) {
            common.latency.borrow_mut().saturating_record(now.saturating_sub(frame.sent));
            common.heard.set(common.heard.get() + 1);
        }
    }
}

/// Does on the control stream what a client has to: answers and reports.
async fn answer(
    common: Rc<Common>,
    connection: Connection,
    mut sender: ControlSender,
    mut receiver: ControlReceiver,
    ear: Rc<RefCell<Ear>>,
) {
    let mut reports = interval(REPORT_INTERVAL);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let hears = common.options.talkers() > 0;
    loop {
        let message = tokio::select! {
            message = receiver.next() => match message {
                Ok(relay_message::Message::Ping(ping)) => {
                    client_message::Message::Pong(Pong { number: ping.number })
                }
                Ok(relay_message::Message::Notice(notice)) => {
                    common.refused.set(common.refused.get() + notice.dropped);
                    continue;
                }
                Ok(_) => continue,
                Err(JoinError::Protocol(breach)) => {
                    warn!("the relay broke the protocol: {breach}");
                    let code = VarInt::from_u32(CloseCode::Malformed.wire());
                    return connection.close(code, breach.as_bytes());
                }
                Err(_) => return,
            },
            _ = reports.tick(), if hears => match ear.borrow().report(common.clock.now()) {
                Some(report) => client_message::Message::ReceiverReport(report),
                None => continue,
            },
        };
        if sender.send(message).await.is_err() {
            return;
        }
    }
}
