//! Words for a shell. A command that is shown has names of files, interfaces and servers
//! in it that somebody else chose, and does all the same what it says it does when it is
//! run as it stands.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wzp_untrusted::text;

/// One word. What would not be seen, or is no text, is written as `$'\033'`, which bash,
/// zsh, ksh and busybox take.
pub fn word(text: impl AsRef<OsStr>) -> String {
    let bytes = text.as_ref().as_bytes();
    let needs_none = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:,@".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(needs_none) => text.to_owned(),
        Ok(text) if text::is_plain(text) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => format!("$'{}'", escaped(bytes)),
    }
}

/// The word for a file, which no command takes for one of its options.
pub fn path(path: &Path) -> String {
    match path.as_os_str().as_bytes() {
        [b'-', ..] => word(Path::new(".").join(path)),
        _ => word(path),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b' '..=b'~' if !b"'\\".contains(byte) => text.push(char::from(*byte)),
            // A string takes all there is.
            _ => drop(write!(text, "\\{byte:03o}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_makes_the_same_word_of_it() {
        let words = [
            "",
            "eth0",
            "a b",
            "it's",
            "$(touch /tmp/x)",
            "`x`",
            "a;b&c|d",
            "~",
            "=ls",
            "a\\b",
            "#x",
            "*",
            "Grüße",
            "a\nb",
            "\u{1b}[2J",
            "\u{202e}abc",
            "'\u{1b}\\'",
            "!x",
            "{a,b}",
        ];
        let bytes = [vec![0xff, b'\'', 0xfe], b"\\\x01".to_vec()].map(OsString::from_vec);
        for given in words.map(OsString::from).into_iter().chain(bytes) {
            let made = word(&given);
            assert!(text::is_plain(&made), "{made}");
            let script = format!("printf %s {made}");
            let output = Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(output.stdout, given.as_bytes(), "{made}");
        }
        assert_eq!([word("eth0"), word("a b")], ["eth0", "'a b'"]);
        assert_eq!(path(Path::new("-rf")), "./-rf");
    }
}
