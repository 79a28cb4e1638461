//! `wzp-relay ctl events`: what happens, a line of JSON each, until the relay ends.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, ensure};
use wzp_untrusted::text;

use crate::admin::{api, socket};
use crate::output::Output;

/// Longest line, in bytes: thirty times that of a relay's longest event.
const MOST_BYTES: usize = 64 * 1024;

/// Prints what the relay behind `socket` tells from now on.
///
/// # Errors
/// No relay is there, it refuses, it tells what no relay does, or what was printed could
/// not be.
pub(super) async fn follow(socket: &Path) -> Result<()> {
    let mut lines = Lines { rest: Vec::new(), out: Output::new() };
    socket::follow(socket, api::EVENTS, |piece| lines.print(piece)).await
}

/// Whole lines of what comes in pieces, safe to show.
#[derive(Debug)]
struct Lines<W> {
    /// A line that has not ended.
    rest: Vec<u8>,
    out: W,
}

impl<W: Write> Lines<W> {
    fn print(&mut self, piece: &[u8]) -> Result<()> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let length = self.rest.len().saturating_add(part.len());
            ensure!(length <= MOST_BYTES, "the relay's event has more than {MOST_BYTES} bytes");
            self.rest.extend_from_slice(part);
            if let Some(line) = self.rest.strip_suffix(b"\n") {
                writeln!(self.out, "{}", text::line(&String::from_utf8_lossy(line)))?;
                self.rest.clear();
            }
        }
        // Who reads wants each line as it comes.
        Ok(self.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_and_what_is_no_event_moves_no_cursor() {
        let event = "{\"event\":\"joined\",\"room\":\"Grüße\"}\n";
        let mut lines = Lines { rest: Vec::new(), out: Vec::new() };
        for piece in event.as_bytes().chunks(3) {
            lines.print(piece).unwrap();
        }
        assert_eq!(String::from_utf8_lossy(&lines.out), event);
        lines.print(b"\x1b[2J\xff\r\nnext\n").unwrap();
        let shown = String::from_utf8(lines.out.split_off(event.len())).unwrap();
        assert!(!shown.contains(['\x1b', '\r']) && shown.ends_with("\nnext\n"), "{shown:?}");
        lines.print(&vec![b'x'; MOST_BYTES]).unwrap();
        assert!(lines.print(b"x").unwrap_err().to_string().contains("65536 bytes"));
    }
}
