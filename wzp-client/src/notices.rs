//! What the relay says about what this client does in vain: it says so again while it goes
//! on, people are told once, and everything is counted.

use std::fmt;

use serde::Serialize;
use wzp_proto::control::Notice;
use wzp_proto::control::notice::Code;

/// By reason, in the order in which the relay first said it. A list in JSON.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Notices(Vec<Said>);

/// What was said for one reason.
#[derive(Clone, Debug, Serialize)]
struct Said {
    /// The name of the code in the protocol.
    reason: &'static str,
    /// So often.
    times: u64,
    /// So many datagrams were dropped, or parts of reports ignored.
    dropped: u64,
    #[serde(skip)]
    code: Code,
}

impl Notices {
    /// Counts it. True the first time for a reason.
    pub(crate) fn take(&mut self, notice: &Notice) -> bool {
        let (code, dropped) = (notice.code(), notice.dropped);
        match self.0.iter_mut().find(|said| said.code == code) {
            Some(said) => {
                said.times = said.times.saturating_add(1);
                said.dropped = said.dropped.saturating_add(dropped);
                false
            }
            None => {
                self.0.push(Said { reason: reason(code), times: 1, dropped, code });
                true
            }
        }
    }
}

/// The name of a code in JSON.
const fn reason(code: Code) -> &'static str {
    match code {
        Code::Unspecified => "unspecified",
        Code::RateLimited => "rate_limited",
        Code::FrameTooLong => "frame_too_long",
        Code::InvalidMedia => "invalid_media",
        Code::MayNotPublish => "may_not_publish",
        Code::InvalidReport => "invalid_report",
        Code::PoorReception => "poor_reception",
    }
}

/// A line for each reason, with a line break before it.
impl fmt::Display for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Said { times, dropped, code, .. } in &self.0 {
            let what = match code {
                Code::RateLimited => "frames sent above its rate limits",
                Code::FrameTooLong => "frames longer than its limit",
                Code::InvalidMedia => "datagrams that are no media of this client",
                Code::MayNotPublish => "frames sent without leave to publish",
                Code::Unspecified => "datagrams for a reason of its own",
                Code::InvalidReport => {
                    write!(f, "\nthe relay ignored {dropped} statements about senders in reports")?;
                    continue;
                }
                Code::PoorReception => {
                    let times = if *times == 1 { "once" } else { &format!("{times} times") };
                    write!(f, "\nthe relay warned {times} that much of what it sent was lost")?;
                    continue;
                }
            };
            write!(f, "\nthe relay dropped {dropped} {what}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(code: Code, dropped: u64) -> Notice {
        Notice { code: code.into(), text: String::new(), dropped }
    }

    #[test]
    fn each_reason_is_counted_by_itself() {
        let mut notices = Notices::default();
        assert!(notices.take(&notice(Code::RateLimited, 1)));
        assert!(notices.take(&notice(Code::MayNotPublish, 50)));
        assert!(!notices.take(&notice(Code::RateLimited, 40)));
        assert!(notices.take(&notice(Code::PoorReception, 0)));
        assert!(!notices.take(&notice(Code::RateLimited, u64::MAX)));
        let json = serde_json::to_value(&notices).unwrap();
        let expected = serde_json::json!([
            {"reason": "rate_limited", "times": 3, "dropped": u64::MAX},
            {"reason": "may_not_publish", "times": 1, "dropped": 50},
            {"reason": "poor_reception", "times": 1, "dropped": 0},
        ]);
        assert_eq!(json, expected);
        let text = notices.to_string();
        assert!(
            text.contains("\nthe relay dropped 50 frames sent without leave to publish\n"),
            "{text}"
        );
        assert!(text.ends_with("warned once that much of what it sent was lost"), "{text}");
    }
}
