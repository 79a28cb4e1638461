//! What is logged: the level of the settings, or directives as in RUST_LOG.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::LogError;
use crate::settings::Level;

/// What RUST_LOG says, else what the level means.
pub(super) fn initial(level: Level) -> Result<EnvFilter, LogError> {
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) if !text.is_empty() => parse(&text),
        _ => parse(directives(level)),
    }
}

/// Strangers can make quinn-proto warn once per packet; who debugs wants to see it.
fn directives(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info,quinn_proto=error",
        Level::Warn => "warn,quinn_proto=error",
        Level::Error => "error",
    }
}

/// The same, given at run time. A misspelt level alone is the name of a target, and
/// would silence the rest.
pub(super) fn given(text: &str) -> Result<EnvFilter, LogError> {
    let level = |part: &str| part.rsplit('=').next().unwrap_or(part).trim().parse::<LevelFilter>();
    if !text.split(',').any(|part| level(part).is_ok()) {
        let reason = "it names no level: trace, debug, info, warn, error or off".to_owned();
        return Err(LogError::Filter { text: text.to_owned(), reason });
    }
    parse(text)
}

/// A level alone means what it means in the settings.
pub(super) fn parse(text: &str) -> Result<EnvFilter, LogError> {
    let text = match text.trim().to_ascii_lowercase().as_str() {
        "info" => directives(Level::Info),
        "warn" => directives(Level::Warn),
        _ => text.trim(),
    };
    let refused = |reason| LogError::Filter { text: text.to_owned(), reason };
    if text.is_empty() {
        return Err(refused("it is empty".into()));
    }
    EnvFilter::builder().parse(text).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_means_the_same_wherever_it_is_given() {
        for (text, directives) in [
            ("info", "quinn_proto=error,info"),
            ("WARN", "quinn_proto=error,warn"),
            ("error", "error"),
            ("debug", "debug"),
            ("wzp_relay=trace", "wzp_relay=trace"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), directives, "{text}");
        }
    }

    #[test]
    fn what_is_no_filter_is_named() {
        let error = given("debgu").unwrap_err().to_string();
        assert!(error.contains("names no level"), "{error}");
        assert!(given("wzp_relay=debug,info").is_ok());
        for text in ["wzp_relay=loud", "", "a=b=c"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\" is no log filter")), "{error}");
        }
    }
}
