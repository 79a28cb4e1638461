//! What a client is told of what it did in vain, at most once a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wzp_proto::control::{Notice, notice};

use crate::count::reason::{DropReason, ReportRefusal};

/// A client hears at most one Notice in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// What was ignored and is not yet told.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// One for each code, in the order in which they are told.
    pending: VecDeque<Pending>,
    last: Option<Instant>,
}

#[derive(Debug)]
struct Pending {
    code: notice::Code,
    dropped: u64,
    since: Instant,
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
        match self.pending.iter_mut().find(|pending| pending.code == code) {
            Some(pending) => pending.dropped += 1,
            None => self.pending.push_back(Pending { code, dropped: 1, since: now }),
        }
    }

    /// When [`Self::take`] has something.
    pub(crate) fn due(&self) -> Option<Instant> {
        let since = self.pending.front()?.since;
        Some(self.last.map_or(since, |last| since.max(last + INTERVAL)))
    }

    /// The message, if its time has come.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Notice> {
        self.due().filter(|due| *due <= now)?;
        let Pending { code, dropped, .. } = self.pending.pop_front()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself_and_told_in_its_turn() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut notices = Notices::default();
        for _ in 0..3 {
            notices.note_drop(at(0), DropReason::PacketRate);
        }
        let mut told = Vec::new();
        for ms in (0..3_000).step_by(20) {
            notices.note_drop(at(ms), DropReason::MayNotPublish);
            if ms < 1_000 {
                notices.note_drop(at(ms), DropReason::ByteRate);
            }
            let notice = notices.take(at(ms));
            told.extend(notice.map(|notice| (ms, notice.code(), notice.dropped)));
        }
        let expected = [
            (0, notice::Code::RateLimited, 4),
            (1_000, notice::Code::MayNotPublish, 51),
            (2_000, notice::Code::RateLimited, 49),
        ];
        assert_eq!(told, expected);
    }
}
