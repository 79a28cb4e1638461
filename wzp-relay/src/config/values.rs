//! Settings as a flat list: dotted key to value.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// `limits.sessions` to its value. Tables are taken apart, arrays are not.
pub(super) type Values = BTreeMap<String, Value>;

/// What is set, by its dotted keys. A key that is not is not among them.
pub(super) fn flat(settings: &impl Serialize) -> Values {
    let mut values = Values::new();
    // Every value of the sections has a form in TOML; one that had none would be
    // missed by the test that compares what is shown with what is set.
    if let Ok(Value::Table(table)) = Value::try_from(settings) {
        take_apart(table, "", &mut values);
    }
    values
}

fn take_apart(table: Table, prefix: &str, values: &mut Values) {
    for (key, value) in table {
        let key = join(prefix, &key);
        match value {
            Value::Table(inner) => take_apart(inner, &key, values),
            value => drop(values.insert(key, value)),
        }
    }
}

/// The dotted key. One that itself has a dot is quoted, as in TOML.
pub(super) fn join(prefix: &str, key: &str) -> String {
    let key = if key.contains('.') { format!("{key:?}") } else { key.to_owned() };
    if prefix.is_empty() { key } else { format!("{prefix}.{key}") }
}

/// The settings that the values make, the rest being defaults.
pub(super) fn typed<'a, T: DeserializeOwned>(
    values: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Result<T, toml::de::Error> {
    let mut root = Table::new();
    for (key, value) in values {
        put(&mut root, key, value.clone());
    }
    root.try_into()
}

fn put(table: &mut Table, key: &str, value: Value) {
    let Some((section, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Some(inner) = inner.as_table_mut() {
        put(inner, rest, value);
    }
}
