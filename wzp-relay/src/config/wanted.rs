//! What is wrong with a value, in words for people: what it is, and what is wanted.

use toml::Value;
use wzp_telemetry::settings::{address, duration, size, url};
use wzp_untrusted::text;

use super::key::Key;

/// More of a text says no more about what is wrong with it.
const LONGEST: usize = 60;

/// Why the key cannot have the value. `error` is what the type of the key said of it.
pub(super) fn refused(key: &Key, value: &Value, error: &toml::de::Error) -> String {
    let is_text = value.as_str().is_some();
    // Of these, the type's own sentence says more: which unit it does not know, and where.
    // But for what begins with "expected", which is about how it reads.
    let is_explained = is_text
        && ["address", "duration"].contains(&&*key.kind)
        && !error.message().starts_with("expected");
    let found = match value.as_array().filter(|_| key.kind.starts_with("list")) {
        _ if is_explained => error.message().to_owned(),
        Some(items) => item(key, items),
        None => format!("this is {}", told(value)),
    };
    format!("{}; wanted is {}", text::line(&found), wanted(key))
}

/// The first of a list's items that cannot be one.
fn item(key: &Key, items: &[Value]) -> String {
    let is_wrong = |item: &&Value| match (item.as_str(), &key.choices[..]) {
        (None, _) => true,
        (Some(_), []) => false,
        (Some(text), choices) => !choices.iter().any(|(choice, _)| choice == text),
    };
    items.iter().find(is_wrong).map_or_else(
        || "this list cannot be used".to_owned(),
        |item| format!("one in this list is {}", told(item)),
    )
}

/// What a value is.
fn told(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text {}", quoted(&url::shown(text))),
        Value::Integer(number) => format!("the whole number {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(date) => format!("the date or time {date}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a section".to_owned(),
    }
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?} and more", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What the key may be.
pub(super) fn wanted(key: &Key) -> String {
    let choices: Vec<_> = key.choices.iter().map(|(value, _)| format!("`{value}`")).collect();
    let choices = choices.join(", ");
    let form = match &*key.kind {
        "address" => address::FORM,
        "boolean" => "true or false",
        "duration" => duration::FORM,
        "integer" => "a whole number",
        "number" => "a number",
        "size" => size::FORM,
        "string" if choices.is_empty() => "a text in quotes",
        "string" => return format!("one of {choices}"),
        _ if choices.is_empty() => "a list of texts such as [\"a\", \"b\"]",
        _ => return format!("a list of any of {choices}"),
    };
    match (key.range, key.most) {
        (Some(range), _) => format!("{form}, {range}"),
        (None, Some(most)) => format!("{form}, 0 to {most}"),
        (None, None) if key.kind == "integer" => format!("{form}, 0 or more"),
        (None, None) => form.to_owned(),
    }
}
