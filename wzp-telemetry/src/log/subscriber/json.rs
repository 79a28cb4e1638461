//! JSON lines, flat, as Logstash and its like want them: docs/logging.md.

use std::fmt::{self, Debug};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;
use wzp_untrusted::json;

use crate::trace;

/// Keys that a line has of its own. A field of that name is called `field_...`.
const RESERVED: [&str; 6] = ["timestamp", "level", "target", "trace_id", "span_id", "spans"];

/// An event as one line.
pub(super) struct Lines;

/// The fields of a span, as `,"key":value` each.
pub(super) struct Members;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let about = event.metadata();
        let now = humantime::format_rfc3339_micros(SystemTime::now());
        write!(line, r#"{{"timestamp":"{now}","level":"{}""#, about.level())?;
        let mut fields = Fields { line: &mut line, message: false, target: None, result: Ok(()) };
        event.record(&mut fields);
        let Fields { message, target, result, .. } = fields;
        result?;
        if !message {
            line.write_str(r#","message":"""#)?;
        }
        member(&mut line, "target", target.as_deref().unwrap_or(about.target()))?;
        if let Some(current) = trace::current() {
            let (trace, span) = (current.trace_id(), current.span_id());
            write!(line, r#","trace_id":"{trace}","span_id":"{span}""#)?;
        }
        let mut spans = context.event_scope().into_iter().flat_map(|scope| scope.from_root());
        if let Some(outermost) = spans.next() {
            line.write_str(r#","spans":["#)?;
            for (number, span) in std::iter::once(outermost).chain(spans).enumerate() {
                line.write_str(if number == 0 { r#"{"name":"# } else { r#",{"name":"# })?;
                value(&mut line, span.name())?;
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                    line.write_str(fields)?;
                }
                line.write_char('}')?;
            }
            line.write_char(']')?;
        }
        line.write_str("}\n")
    }
}

impl<'a> FormatFields<'a> for Members {
    fn format_fields<R: RecordFields>(&self, mut line: Writer<'a>, fields: R) -> fmt::Result {
        let mut visitor = Fields { line: &mut line, message: true, target: None, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }

    fn add_fields(
        &self,
        current: &'a mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        // The default puts a space in between.
        self.format_fields(current.as_writer(), fields)
    }
}

struct Fields<'a, 'w> {
    line: &'a mut Writer<'w>,
    message: bool,
    /// Of a line that came by the `log` crate, which tells it in a field.
    target: Option<String>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn put(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        let name = field.name();
        self.message |= name == "message";
        let written = if RESERVED.contains(&name) {
            member(self.line, &format!("field_{name}"), value)
        } else {
            member(self.line, name, value)
        };
        self.result = self.result.and(written);
    }
}

impl Visit for Fields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        match object(field.name(), &text) {
            Some(object) => self.put(field, &object),
            None => self.record_str(field, &text),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "log.target" => self.target = Some(value.to_owned()),
            name if name.starts_with("log.") => {}
            _ => self.put(field, value),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if !field.name().starts_with("log.") {
            self.put(field, &value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, &value);
    }
}

/// What fields of this name hold in the audit log, too: an object.
const DETAILS: &str = "details";

fn object(name: &str, text: &str) -> Option<Map<String, Value>> {
    if name != DETAILS {
        return None;
    }
    serde_json::from_str(text).ok()
}

fn member(line: &mut Writer<'_>, name: &str, of: &(impl Serialize + ?Sized)) -> fmt::Result {
    line.write_char(',')?;
    value(line, name)?;
    line.write_char(':')?;
    value(line, of)
}

fn value(line: &mut Writer<'_>, value: &(impl Serialize + ?Sized)) -> fmt::Result {
    line.write_str(&json::to_string(value).map_err(|_| fmt::Error)?)
}
