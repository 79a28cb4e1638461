//! What must not be seen, and a look for it.

use std::process::{Command, Output};

use wzp_testbed::binaries;

/// A secret. It is base64, a path, part of a URL, and a password.
pub(crate) const CANARY: &str = "Q2FuYXJ5SW5BQ29hbE1pbmU";

/// A private key that is damaged in this way.
pub(crate) fn key(between: &str) -> String {
    let (begin, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
    format!("{begin}{between}{CANARY}{between}{end}{between}")
}

/// The canary is not in the text, neither as it is nor as libraries print bytes.
pub(crate) fn assert_unseen(whence: &str, text: &str) {
    let bytes = CANARY.as_bytes();
    let list = |one: fn(&u8) -> String, between: &str| {
        bytes.iter().map(one).collect::<Vec<_>>().join(between)
    };
    let forms = [
        CANARY.to_owned(),
        list(|byte| byte.to_string(), ", "),
        list(|byte| byte.to_string(), ","),
        list(|byte| format!("{byte:02x}"), ""),
        list(|byte| format!("{byte:x}"), ", "),
    ];
    for form in forms {
        // Less than half of it is as bad.
        let part = &form[..form.len() / 2];
        assert!(!text.contains(part), "{whence} has {part:?}, part of a secret:\n{text}");
    }
}

/// A program that is not the relay's daemon, run to its end; what it printed.
pub(crate) fn printed(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let text = text.concat();
    (output, text)
}

pub(crate) fn relay(arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries::relay());
    command.args(arguments);
    command
}
