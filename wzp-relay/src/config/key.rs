//! Every key that can be set, read off the types through their JSON Schema.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};
use toml::Value;
use wzp_telemetry::settings::url;

use super::Config;
use super::bounds;
use super::range::Range;
use super::values::join;

/// The JSON Schema of the configuration file, draft 2020-12.
pub(crate) fn schema() -> Json {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    // Each key has its own; those of whole sections would tell this user's state_dir.
    for (_, section) in schema["properties"].as_object_mut().into_iter().flatten() {
        if let Json::Object(section) = section {
            section.remove("default");
        }
    }
    for (key, range) in bounds::all() {
        let pointer: String = key.split('.').map(|part| format!("/properties/{part}")).collect();
        if let Some(Json::Object(leaf)) = schema.pointer_mut(&pointer) {
            let keywords = range.keywords().into_iter().flatten();
            leaf.extend(keywords.map(|(name, value)| (name.to_owned(), value)));
        }
    }
    schema
}

/// A table of the file.
#[derive(Debug)]
pub(crate) struct Section {
    /// As in its header.
    pub(crate) name: String,
    pub(crate) meaning: String,
    pub(crate) keys: Vec<Key>,
}

/// One key, and what may be said about it.
#[derive(Debug)]
pub(crate) struct Key {
    /// With its section.
    pub(crate) path: String,
    /// Of the value, as the reference has it.
    pub(crate) kind: String,
    pub(crate) range: Option<Range>,
    /// The most that its type holds, where no range says less.
    pub(crate) most: Option<u64>,
    pub(crate) meaning: String,
    /// The values that there are, with their meanings, if they are few.
    pub(crate) choices: Vec<(String, String)>,
    /// `None`: not set.
    pub(crate) default: Option<Value>,
    /// Of what is not set by default.
    pub(crate) example: Option<Value>,
}

impl Key {
    /// Without its section.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit_once('.').map_or(&self.path, |(_, name)| name)
    }

    /// What the value is: "integer, 0 to 256".
    pub(crate) fn form(&self) -> String {
        let range = self.range.map(|range| format!(", {range}")).unwrap_or_default();
        format!("{}{range}", self.kind)
    }

    /// The variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("WZP_{}", self.path.replace('.', "__").to_uppercase())
    }

    /// Whether a value is text as it stands, without quotes.
    pub(crate) fn takes_text(&self) -> bool {
        ["string", "duration", "size", "address"].contains(&&*self.kind)
    }

    fn new(path: String, schema: &Map<String, Json>) -> Self {
        let value = |json: &Json| Value::try_from(json).ok();
        Self {
            kind: kind(schema),
            range: bounds::of(&path),
            most: most(schema),
            meaning: sentence(schema),
            choices: options(schema).filter_map(choice).collect(),
            default: schema.get("default").and_then(value),
            example: schema.get("examples").and_then(|examples| value(examples.get(0)?)),
            path,
        }
    }
}

/// All sections in the order in which they are declared.
pub(crate) fn sections() -> Vec<Section> {
    let mut sections = Vec::new();
    if let Json::Object(root) = schema() {
        collect(&root, "", &mut sections);
    }
    sections
}

fn collect(table: &Map<String, Json>, prefix: &str, sections: &mut Vec<Section>) {
    let fields = table.get("properties").and_then(Json::as_object).into_iter().flatten();
    let fields =
        fields.filter_map(|(name, schema)| Some((join(prefix, name), schema.as_object()?)));
    let (tables, leaves): (Vec<_>, Vec<_>) =
        fields.partition(|(_, schema)| schema.contains_key("properties"));
    if !leaves.is_empty() {
        sections.push(Section {
            name: prefix.to_owned(),
            meaning: sentence(table),
            keys: leaves.into_iter().map(|(path, schema)| Key::new(path, schema)).collect(),
        });
    }
    for (path, schema) in tables {
        collect(schema, &path, sections);
    }
}

/// The schema of the value, if there is one: not the `null` of an option.
fn present(schema: &Map<String, Json>) -> &Map<String, Json> {
    let mut alternatives = schema.get("anyOf").and_then(Json::as_array).into_iter().flatten();
    let is_null =
        |schema: &Map<String, Json>| schema.get("type").is_some_and(|kind| kind == "null");
    alternatives.find_map(|one| one.as_object().filter(|one| !is_null(one))).unwrap_or(schema)
}

fn kind(schema: &Map<String, Json>) -> String {
    let schema = present(schema);
    if let Some(title) = schema.get("title").and_then(Json::as_str) {
        return title.to_owned();
    }
    let of_items = schema.get("items").and_then(Json::as_object).map(kind);
    match (schema.get("type"), of_items) {
        (_, Some(items)) => format!("list of {items}s"),
        (Some(Json::Array(kinds)), _) => kinds[0].as_str().unwrap_or_default().to_owned(),
        (Some(Json::String(kind)), _) => kind.clone(),
        // The variants of an enum.
        _ => "string".to_owned(),
    }
}

/// By the format that the schema of a number has.
fn most(schema: &Map<String, Json>) -> Option<u64> {
    match present(schema).get("format").and_then(Json::as_str) {
        Some("uint16") => Some(u16::MAX.into()),
        Some("uint32") => Some(u32::MAX.into()),
        // More than that is no number in TOML.
        _ => None,
    }
}

/// The variants of an enum, or of a list's items.
fn options(schema: &Map<String, Json>) -> impl Iterator<Item = &Json> {
    let schema = present(schema);
    let items = schema.get("items").and_then(Json::as_object).unwrap_or(schema);
    items.get("oneOf").and_then(Json::as_array).into_iter().flatten()
}

fn choice(variant: &Json) -> Option<(String, String)> {
    let variant = variant.as_object()?;
    Some((variant.get("const")?.as_str()?.to_owned(), sentence(variant)))
}

/// The doc comment, in one line.
fn sentence(schema: &Map<String, Json>) -> String {
    let text = schema.get("description").and_then(Json::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The value as it may be shown. Secrets are in files of their own, but a URL may
/// carry some.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => Value::String(url::shown(text)).to_string(),
        other => other.to_string(),
    }
}

/// The same for an object of sections.
pub fn redact(settings: &mut Json) {
    match settings {
        Json::String(text) => *text = url::shown(text),
        Json::Object(section) => section.values_mut().for_each(redact),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_what_may_let_somebody_in() {
        let mut config = Config::default();
        config.auth.webhook.url = Some("https://app.example/voice?key=hunter2".into());
        config.auth.jwt.jwks_url = Some("https://ben:hunter2@id.example/keys#hunter2".into());
        let mut settings = serde_json::to_value(&config).unwrap();
        redact(&mut settings);
        let text = settings.to_string();
        assert!(text.contains("app.example/voice") && !text.contains("hunter2"), "{text}");
        let read: Config = serde_json::from_value(settings).unwrap();
        config.auth = read.auth.clone();
        assert_eq!(read, config, "all else is as it was");
    }

    #[test]
    fn keys_carry_what_the_types_say() {
        let sections = sections();
        let key = |path: &str| {
            sections.iter().flat_map(|section| &section.keys).find(|key| key.path == path).unwrap()
        };
        let cases = [
            ("relay.listen", "address", Some("\"[::]:4433\"")),
            ("relay.cert", "string", None),
            ("relay.state_dir", "string", Some("\"/var/lib/wzp-relay\"")),
            ("limits.sessions", "integer", Some("10000")),
            ("limits.idle_timeout", "duration", Some("\"20s\"")),
            ("logging.max_size", "size", Some("\"100MB\"")),
            ("ebpf.interfaces", "list of strings", Some("[]")),
            ("ebpf.trace", "boolean", Some("false")),
            ("tracing.sample_rate", "number", Some("0.1")),
            ("audit.events", "list of strings", None),
        ];
        for (path, kind, default) in cases {
            let key = key(path);
            assert_eq!(key.kind, kind, "{path}");
            assert_eq!(key.default.as_ref().map(Value::to_string).as_deref(), default, "{path}");
            assert!(!key.meaning.is_empty(), "{path}");
        }
        let modes: Vec<_> =
            key("ebpf.mode").choices.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(modes, ["off", "auto", "require"]);
        assert_eq!(key("audit.events").choices.len(), 9);
        assert_eq!(key("limits.room_members").range.unwrap().to_string(), "1 to 65535");
    }

    #[test]
    fn bounds_are_in_the_schema() {
        let schema = schema();
        let sessions = schema.pointer("/properties/limits/properties/sessions").unwrap();
        assert_eq!((&sessions["minimum"], &sessions["maximum"]), (&1.into(), &10_000_000.into()));
    }

    #[test]
    fn every_bound_is_of_a_key() {
        let sections = sections();
        for (bounded, _) in bounds::all() {
            let mut keys = sections.iter().flat_map(|section| &section.keys);
            assert!(keys.any(|key| key.path == bounded), "{bounded} has bounds but is no key");
        }
    }
}
