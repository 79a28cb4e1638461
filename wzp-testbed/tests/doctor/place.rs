//! A place for a doctor to look at, and what it told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use wzp_testbed::binaries;
use wzp_testbed::relay::temporary_state;

/// More than it may take, whatever does not answer.
const LIMIT: Duration = Duration::from_secs(45);

/// Settings in a folder of its own, with free ports unless they say otherwise.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    program: PathBuf,
}

/// What was printed, and the exit code.
pub(crate) struct Told {
    pub(crate) report: Value,
    pub(crate) text: String,
    pub(crate) code: i32,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = temporary_state().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, program: binaries::relay() }
    }

    /// A certificate of its own that is good for these days from now.
    pub(crate) fn certificate(&self, name: &str, days: std::ops::Range<i64>) -> PathBuf {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["relay.test".to_owned()]).unwrap();
        let day = |days: i64| match Duration::from_secs(days.unsigned_abs() * 86_400) {
            ago if days < 0 => SystemTime::now() - ago,
            ahead => SystemTime::now() + ahead,
        };
        parameters.not_before = day(days.start).into();
        parameters.not_after = day(days.end).into();
        let pem = parameters.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        let path = self.folder.path().join(name);
        fs::write(&path, pem).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The command behind these words, with these settings.
    pub(crate) fn command(&self, before: Command, settings: &str) -> Command {
        let defaults = [
            ("relay.listen", "'127.0.0.1:0'"),
            ("metrics.listen_addr", "'127.0.0.1:0'"),
            ("relay.shards", "2"),
        ];
        let missing = defaults.iter().filter(|(key, _)| !settings.contains(key));
        let settings = missing
            .fold(settings.to_owned(), |text, (key, value)| format!("{key} = {value}\n{text}\n"));
        let path = self.folder.path().join("relay.toml");
        fs::write(&path, settings).unwrap();
        let mut command = before;
        command.arg(&self.program).args(["doctor", "--config"]).arg(path);
        command.arg("--state-dir").arg(self.state()).env_remove("RUST_LOG");
        command
    }

    /// Where the relay keeps its state.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Another command of the program behind these words, with the settings of the last look.
    pub(crate) fn other(&self, before: Command, arguments: &[&str]) -> Command {
        let mut command = before;
        command.arg(&self.program).args(arguments).arg("--config");
        command.arg(self.folder.path().join("relay.toml")).arg("--state-dir").arg(self.state());
        command.env_remove("RUST_LOG");
        command
    }

    pub(crate) fn look_from(&self, before: Command, settings: &str) -> Told {
        let mut command = self.command(before, settings);
        let began = Instant::now();
        let output = command.arg("--json").output().unwrap();
        assert!(began.elapsed() < LIMIT, "it took {:?}", began.elapsed());
        let text = String::from_utf8(output.stdout).unwrap();
        let report = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text} {:?}", output.stderr));
        println!("{text}");
        let told = Told { report, text, code: output.status.code().unwrap() };
        for line in told.report["checks"].as_array().unwrap() {
            let command = line["command"].as_str().unwrap_or_default();
            // What ends a program, locks people out of a host, or cannot be run.
            for part in ["kill", "nft ", "notrack", "redacted", "…"] {
                assert!(!command.contains(part), "{line}");
            }
        }
        told
    }

    pub(crate) fn look(&self, settings: &str) -> Told {
        self.look_from(Command::new("env"), settings)
    }
}

impl Told {
    /// All lines of a check: status, text and command.
    pub(crate) fn lines(&self, check: &str) -> Vec<(&str, &str, &str)> {
        let all = self.report["checks"].as_array().unwrap().iter();
        all.filter(|line| line["check"] == check)
            .map(|line| {
                let of = |key: &str| line[key].as_str().unwrap_or_default();
                (of("status"), of("text"), of("command"))
            })
            .collect()
    }

    /// The command of the one line of a check.
    pub(crate) fn command(&self, check: &str) -> &str {
        let lines = self.lines(check);
        let [(_, _, command)] = lines[..] else { panic!("{check}: {lines:?}") };
        command
    }

    /// The one line of a check has that status, and these parts in text or command.
    pub(crate) fn assert(&self, check: &str, status: &str, parts: &[&str]) {
        let lines = self.lines(check);
        let [(found, text, command)] = lines[..] else { panic!("{check}: {lines:?}") };
        assert_eq!(found, status, "{check}: {text}");
        for part in parts {
            let is_there = text.contains(part) || command.contains(part);
            assert!(is_there, "{check} says nothing of {part:?}: {text} [{command}]");
        }
    }
}

/// What a shell makes of a command that was told: what it prints.
pub(crate) fn shell(command: &str) -> String {
    let output = Command::new("bash").args(["-c", command]).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}
