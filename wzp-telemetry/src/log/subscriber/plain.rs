//! The fields of lines for people, each line one line, whatever is in it.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use wzp_untrusted::text;

/// The message, and `key=value` of the others.
pub(super) struct Fields;

impl<'a> FormatFields<'a> for Fields {
    fn format_fields<R: RecordFields>(&self, line: Writer<'a>, fields: R) -> fmt::Result {
        let mut told = Told { line, is_first: true, result: Ok(()) };
        fields.record(&mut told);
        told.result
    }
}

struct Told<'a> {
    line: Writer<'a>,
    is_first: bool,
    result: fmt::Result,
}

impl Told<'_> {
    fn put(&mut self, name: &str, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.line.write_char(' ')?;
        }
        if name != "message" {
            write!(self.line, "{name}=")?;
        }
        write!(self.line, "{}", text::line(value))
    }
}

impl Visit for Told<'_> {
    /// Text comes in quotes, as [`Debug`] has it.
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // What the `log` crate tells of the place where a line comes from.
        if self.result.is_ok() && !field.name().starts_with("log.") {
            self.result = self.put(field.name(), &format!("{value:?}"));
        }
    }
}
