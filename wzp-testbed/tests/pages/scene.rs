//! A host of its own, on which commands of the pages are run by `sh` as they stand.
//!
//! The network is a namespace with an interface `eth0`; /etc, /var/lib and /usr/local are
//! views whose changes go nowhere; the programs under test, and a `sudo` that is root
//! already, are in PATH.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use wzp_testbed::binaries;
use wzp_testbed::netns::Namespace;
use wzp_testbed::process::Process;
use wzp_testbed::relay::temporary_state;

use crate::commands::Command;

/// Longer than any scene takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

/// Names that pages use are this host.
const HOSTS: &str = "127.0.0.1 localhost relay.example app.example\n";

const SUDO: &str = "#!/bin/sh\nif [ \"$1\" = -u ]; then shift 2; fi\nexec \"$@\"\n";

/// What comes before the commands.
const START: &str = r#"
# Variables are for the commands that have a shell of their own, too.
set -eua
views=$(mktemp -d)
mount -t tmpfs none "$views"
for folder in /etc /var/lib /usr/local; do
    name=$(echo "$folder" | tr / _)
    mkdir "$views/$name" "$views/$name.work"
    mount -t overlay overlay \
        -o "lowerdir=$folder,upperdir=$views/$name,workdir=$views/$name.work" "$folder"
done
rm -rf /var/lib/wzp-relay /etc/wzp-relay
cp hosts /etc/hosts
fail() { echo "failed: $*" >&2; exit 1; }
until_true() {
    for _ in $(seq 600); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    fail "waited in vain for: $*"
}
"#;

/// A script of commands of pages, and of what is done and looked at between them.
#[derive(Default)]
pub(crate) struct Scene {
    script: String,
    /// What stands for the words that pages leave to the reader.
    words: Vec<(&'static str, &'static str)>,
    /// The starts of the commands that are in it.
    pub(crate) runs: Vec<&'static str>,
}

impl Scene {
    /// From here on a word of the pages is what the shell takes for `meant`.
    pub(crate) fn word(mut self, word: &'static str, meant: &'static str) -> Self {
        self.words.push((word, meant));
        self
    }

    /// Something of the test's own.
    pub(crate) fn own(mut self, script: &str) -> Self {
        let _ = writeln!(self.script, "{script}");
        self
    }

    /// The command that begins so, and must succeed.
    pub(crate) fn run(self, start: &'static str) -> Self {
        self.with(start, |text| format!("{{\n{text}\n}} >out 2>&1 || fail \"$(cat out)\"\ncat out"))
    }

    /// The command that begins so, in the background as `$background`; its output is in the
    /// file `background`.
    pub(crate) fn background(self, start: &'static str) -> Self {
        self.with(start, |text| format!("{{\nexec {text}\n}} >background 2>&1 &\nbackground=$!"))
    }

    /// The command that begins so, which goes on until Ctrl-C: for three seconds.
    pub(crate) fn for_a_while(self, start: &'static str) -> Self {
        self.with(start, |text| {
            format!(
                "cat >forever <<'END'\nexec {text}\nEND\ncode=0\n\
                 timeout --signal INT 3 sh forever >out 2>&1 || code=$?\n\
                 [ $code = 124 ] || fail \"it ended with $code: $(cat out)\"\ncat out"
            )
        })
    }

    fn with(mut self, start: &'static str, shell: impl FnOnce(&str) -> String) -> Self {
        let commands = crate::commands::all();
        let found = commands.iter().find(|command| command.start() == start);
        let Command { text, .. } = found.unwrap_or_else(|| panic!("no page has {start:?}"));
        let words = self.words.iter();
        let text = words.fold(text.clone(), |text, (word, meant)| text.replace(word, meant));
        let _ = writeln!(self.script, "{}", shell(&text));
        self.runs.push(start);
        self
    }

    /// Runs it on a host of its own.
    pub(crate) fn play(self, name: &str) {
        let host = Namespace::new("pages").unwrap();
        host.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]).unwrap();
        host.ip(&["address", "add", "198.51.100.1/24", "dev", "eth0"]).unwrap();
        for interface in ["eth0", "eth1"] {
            host.ip(&["link", "set", interface, "up"]).unwrap();
        }
        let folder = temporary_state().unwrap();
        let write =
            |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        write("hosts", HOSTS);
        write("script", &format!("{START}{}", self.script));
        let programs = folder.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        write("bin/sudo", SUDO);
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(programs.join("sudo"), executable).unwrap();
        for program in [binaries::relay(), binaries::client()] {
            let link = programs.join(program.file_name().unwrap());
            std::os::unix::fs::symlink(program, link).unwrap();
        }
        let mut command = host.command("unshare");
        // A child that is left is killed with its script.
        command.args(["--mount-proc", "--pid", "--fork", "--kill-child", "sh", "script"]);
        command.current_dir(folder.path()).env("PATH", path(&programs)).env("HOME", folder.path());
        let mut shell = Process::start(name, command).unwrap();
        let deadline = Instant::now() + LIMIT;
        let mut output = String::new();
        while let Some(line) = shell.next_line(deadline).unwrap() {
            output.push_str(&line);
            output.push('\n');
        }
        let status = shell.wait(LIMIT).unwrap();
        assert!(status.success(), "{name}: {output}\n{}", shell.stderr());
    }
}

fn path(programs: &Path) -> String {
    format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default())
}
