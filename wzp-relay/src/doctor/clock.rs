//! Whether the clock of this host is right, as far as the kernel knows: tokens and
//! certificates are good for times, and clients compare theirs with it.

use super::report::Line;

const CHECK: &str = "clock";

pub(super) fn look() -> Line {
    // SAFETY: all-zero is a valid timex, with which nothing is set.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel reads and writes this struct and nothing else.
    let status = unsafe { libc::adjtimex(&raw mut state) };
    if status < 0 {
        let error = std::io::Error::last_os_error();
        return Line::warning(CHECK, format!("the kernel does not tell how it is: {error}"));
    }
    judge(status == libc::TIME_ERROR || state.status & libc::STA_UNSYNC != 0, state.maxerror)
}

/// `error`: what the clock may be off, in microseconds.
fn judge(is_adrift: bool, error: i64) -> Line {
    if is_adrift {
        let text = "nothing keeps it right (adjtimex(2)): tokens and certificates may be \
                    refused, or taken for too long";
        return Line::warning(CHECK, text).mended_by("timedatectl set-ntp true");
    }
    Line::ok(CHECK, format!("synchronised, to {} ms or better", error.max(0) / 1000 + 1))
}

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;

    #[test]
    fn a_clock_that_nothing_keeps_is_told() {
        assert_eq!(judge(true, 0).status, Status::Warning);
        assert!(judge(false, 16_500).text.contains("17 ms"));
        assert!(judge(false, i64::MIN).text.contains("1 ms"));
        assert_eq!(look().check, CHECK);
    }
}
