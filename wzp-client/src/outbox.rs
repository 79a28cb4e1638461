//! Control messages on their way to the relay. Writing them may wait while the
//! relay does not read; nothing else of the call ever waits for it.

use tokio::sync::mpsc;
use tracing::debug;
use wzp_proto::control::client_message::Message;
use wzp_transport::join::ControlSender;

/// Messages waiting at most: half a minute of reports and pongs. By then the
/// relay has given this client up for not answering.
const CAPACITY: usize = 64;

/// Takes messages without waiting.
#[derive(Debug)]
pub(crate) struct Outbox(mpsc::Sender<Message>);

impl Outbox {
    /// Starts the task that writes; it ends with the connection.
    pub(crate) fn new(mut sender: ControlSender) -> Self {
        let (queue, mut waiting) = mpsc::channel(CAPACITY);
        tokio::spawn(async move {
            while let Some(message) = waiting.recv().await {
                // The end of the connection is told by whoever reads from it.
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        });
        Self(queue)
    }

    /// Queues a message, or drops it if too many wait.
    pub(crate) fn send(&self, message: Message) {
        if self.0.try_send(message).is_err() {
            debug!("a control message was dropped: the relay does not read its stream");
        }
    }
}
