//! The line that shows a running call on a terminal.

use std::fmt;
use std::time::Duration;

use wzp_proto::media::Profile;

use crate::summary::percent_lost;

/// One glance at a call. Fits into 80 columns for the first ten hours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) elapsed: Duration,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) expected: u64,
    pub(crate) rtt: Duration,
    /// Voice waiting to be played, of the talker with most of it.
    pub(crate) buffer_ms: u32,
    /// None if there is nothing to send.
    pub(crate) profile: Option<Profile>,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs();
        if seconds >= 3600 {
            write!(f, "{}:", seconds / 3600)?;
        }
        write!(
            f,
            "{:02}:{:02} sent {} received {} loss {:.1}% rtt {:.0} ms buffer {} ms {}",
            seconds / 60 % 60,
            seconds % 60,
            self.sent,
            self.received,
            percent_lost(self.lost, self.expected),
            self.rtt.as_secs_f64() * 1000.0,
            self.buffer_ms,
            self.profile.map_or("listening", Profile::name),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_tells_everything() {
        let mut progress = Progress {
            elapsed: Duration::from_secs(65),
            sent: 3250,
            received: 6400,
            lost: 100,
            expected: 6500,
            rtt: Duration::from_micros(23_400),
            buffer_ms: 40,
            profile: Some(Profile::Good),
        };
        let expected = "01:05 sent 3250 received 6400 loss 1.5% rtt 23 ms buffer 40 ms GOOD";
        assert_eq!(progress.to_string(), expected);
        progress.elapsed = Duration::from_secs(36_000);
        progress.profile = None;
        assert!(progress.to_string().starts_with("10:00:00 "));
        assert!(progress.to_string().ends_with(" listening"));
    }
}
