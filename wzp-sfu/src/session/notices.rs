//! What a client is told of what it did in vain, at most once a second.

use std::time::{Duration, Instant};

use wzp_proto::control::{Notice, notice};

use crate::count::reason::{DropReason, ReportRefusal};

/// A client hears at most one Notice in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was ignored since the last Notice.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    pending: Option<Pending>,
    last: Option<Instant>,
}

#[derive(Debug)]
struct Pending {
    code: notice::Code,
    dropped: u64,
    due: Instant,
}

impl Notices {
    /// A datagram of the client was dropped.
    pub(crate) fn note_drop(&mut self, now: Instant, reason: DropReason) {
        self.note(
            now,
            match reason {
                DropReason::PacketRate | DropReason::ByteRate => notice::Code::RateLimited,
                DropReason::TooLong => notice::Code::FrameTooLong,
                DropReason::MayNotPublish => notice::Code::MayNotPublish,
                _ => notice::Code::InvalidMedia,
            },
        );
    }

    /// What the client reported of a sender was ignored. It is not told of what
    /// the sender can have caused, by its numbers or by leaving.
    pub(crate) fn note_refusal(&mut self, now: Instant, reason: ReportRefusal) {
        match reason {
            ReportRefusal::Impossible | ReportRefusal::Repeated => {
                self.note(now, notice::Code::InvalidReport);
            }
            ReportRefusal::UnknownSender | ReportRefusal::Leap | ReportRefusal::ShardQueue => {}
        }
    }

    fn note(&mut self, now: Instant, code: notice::Code) {
        let due = self.last.map_or(now, |last| now.max(last + INTERVAL));
        let pending = self.pending.get_or_insert(Pending { code, dropped: 0, due });
        pending.code = code;
        pending.dropped += 1;
    }

    /// When [`Self::take`] has something.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.due)
    }

    /// The message, if its time has come.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Notice> {
        let Pending { code, dropped, .. } = self.pending.take_if(|pending| pending.due <= now)?;
        self.last = Some(now);
        let text = match code {
            notice::Code::RateLimited => "media above this relay's rate limits was dropped",
            notice::Code::FrameTooLong => {
                "media datagrams longer than this relay's limit were dropped"
            }
            notice::Code::MayNotPublish => {
                "media was dropped because your token does not let you publish"
            }
            notice::Code::InvalidReport => {
                "what your receiver reports say of some senders cannot be, or was said twice, \
                 and was ignored"
            }
            _ => "datagrams that are not media under the sender id given in Welcome were dropped",
        };
        Some(Notice { code: code.into(), text: text.to_owned(), dropped })
    }
}

/// What a listener is told who loses so many per cent of what it is sent.
pub(crate) fn poor_reception(percent: u64) -> Notice {
    let text = format!(
        "{percent} % of the voices sent to you were lost on their way in the last 10 seconds; \
         your network is the likely cause"
    );
    Notice { code: notice::Code::PoorReception.into(), text, dropped: 0 }
}
