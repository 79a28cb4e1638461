//! Two counts beside each other, in Markdown.

use std::fmt::Write;

use crate::count::Count;
use crate::look::Both;

/// One row for each flow.
pub(crate) struct Table(pub(crate) String);

impl Default for Table {
    fn default() -> Self {
        Self(
            "| flow | packets in | truth | bytes in | truth | packets out | truth | bytes out \
             | truth |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
                .to_owned(),
        )
    }
}

impl Table {
    pub(crate) fn row(&mut self, name: &str, kernel: Both, truth: Both) {
        let _ = write!(self.0, "| {name} ");
        for (kernel, truth) in [(kernel.rx, truth.rx), (kernel.tx, truth.tx)] {
            let Count { packets, bytes } = kernel;
            let _ = write!(self.0, "| {packets} | {} | {bytes} | {} ", truth.packets, truth.bytes);
        }
        self.0.push_str("|\n");
    }
}
