//! What was found, for people and programs.

use std::io::{self, Write};

use serde::Serialize;
use wzp_untrusted::text;

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// A relay would start, and be worse for it.
    Warning,
    /// A relay would not start, or not do what it is set to do.
    Error,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// What; one of those in docs/operations.md.
    pub(super) check: &'static str,
    pub(super) status: Status,
    /// What was found, and what to do.
    pub(super) text: String,
    /// What mends it, for a shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<String>,
}

impl Line {
    pub(super) fn new(check: &'static str, status: Status, text: impl Into<String>) -> Self {
        Self { check, status, text: text.into(), command: None }
    }

    pub(super) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Status::Ok, text)
    }

    pub(super) fn warning(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Status::Warning, text)
    }

    pub(super) fn error(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Status::Error, text)
    }

    pub(super) fn mended_by(self, command: impl Into<String>) -> Self {
        Self { command: Some(command.into()), ..self }
    }
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// The worst of them.
    status: Status,
    checks: Vec<Line>,
}

impl Report {
    pub(super) fn new(checks: Vec<Line>) -> Self {
        let status = checks.iter().map(|line| line.status).max().unwrap_or(Status::Ok);
        Self { status, checks }
    }

    pub(super) fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|line| line.status == status).count()
    }

    pub(super) fn print(&self, json: bool, out: &mut impl Write) -> io::Result<()> {
        if json {
            return writeln!(out, "{}", wzp_untrusted::json::to_string(self)?);
        }
        let width = self.checks.iter().map(|line| line.check.len()).max().unwrap_or(0);
        for Line { check, status, text, command } in &self.checks {
            let status = status.name();
            writeln!(out, "{status:7}  {check:width$}  {}", text::line(text))?;
            if let Some(command) = command {
                writeln!(out, "{:7}  {:width$}  {}", "", "", text::line(command))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_columns_and_programs_json() {
        let report = Report::new(vec![
            Line::ok("clock", "it is synchronised"),
            Line::warning("conntrack", "full\u{1b}[2J").mended_by("sysctl -w a=1"),
        ]);
        let printed = |json| {
            let mut out = Vec::new();
            report.print(json, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let expected = "ok       clock      it is synchronised\n\
                        warning  conntrack  full\\u{1b}[2J\n                    sysctl -w a=1\n";
        assert_eq!(printed(false), expected);
        let value: serde_json::Value = serde_json::from_str(&printed(true)).unwrap();
        assert_eq!(value["status"], "warning");
        assert_eq!(value["checks"][0].get("command"), None);
        assert_eq!(value["checks"][1]["command"], "sysctl -w a=1");
        assert!(!printed(true).contains('\u{1b}'));
        assert_eq!(Report::new(Vec::new()).status, Status::Ok);
    }
}
