//! The commands on the pages. A line of a code block that begins with one of the programs
//! is one, with the lines that continue it: behind a backslash, or within quotes.

use std::path::{Path, PathBuf};

/// What begins a command, behind a `$ ` where there is one.
const PROGRAMS: &[&str] = &[
    "wzp-relay",
    "wzp-client",
    "cargo",
    "chmod",
    "curl",
    "export",
    "ip",
    "mv",
    "openssl",
    "PIN=1ba227e2…",
    "python3",
    "sed",
    "sudo",
    "systemctl",
    "tc",
];

/// A command as it stands on a page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Command {
    pub(crate) page: String,
    /// Without what the block is indented by.
    pub(crate) text: String,
}

impl Command {
    /// Its first line without the remark behind it: what tells it from others.
    pub(crate) fn start(&self) -> &str {
        let line = self.text.lines().next().unwrap_or_default();
        line.split_once("   #").map_or(line, |(command, _)| command).trim_end()
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// README.md and the pages in docs, but for the specifications, which are others'.
pub(crate) fn all() -> Vec<Command> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let mut pages: Vec<_> = docs
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|page| page.ends_with(".md"))
        .collect();
    pages.push("README.md".to_owned());
    pages.sort();
    let on = |page: &String| on_page(page, &std::fs::read_to_string(root().join(page)).unwrap());
    pages.iter().flat_map(on).collect()
}

fn on_page(page: &str, text: &str) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    let mut lines = text.lines();
    // The language of a fenced block.
    let mut fence: Option<&str> = None;
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            fence = fence.is_none().then_some(language);
            continue;
        }
        let is_code = match fence {
            Some(language) => ["", "sh", "console"].contains(&language),
            None => line.starts_with("    "),
        };
        let indent = line.len() - line.trim_start().len();
        let line = line.trim_start();
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let program = line.split(' ').next().unwrap_or_default();
        if !is_code || !PROGRAMS.contains(&program) {
            continue;
        }
        let mut text = line.to_owned();
        while text.ends_with('\\') || text.matches('\'').count() % 2 == 1 {
            let next = lines.next().unwrap_or_else(|| panic!("{page}: {text} has no end"));
            text.push('\n');
            text.push_str(next.get(indent..).unwrap_or_default());
        }
        found.push(Command { page: page.to_owned(), text });
    }
    found
}

#[test]
fn commands_are_found_with_what_continues_them() {
    let page = "text\n    wzp-relay a   # remark\n    its output\n\n    $ openssl b \\\n      c\n    \
                python3 -c 'd\n    e'\n```toml\nsed x\n```\n```sh\nsed y\n```\nwzp-relay no code\n";
    let found = on_page("p", page);
    let texts: Vec<_> = found.iter().map(|command| command.text.as_str()).collect();
    assert_eq!(
        texts,
        ["wzp-relay a   # remark", "openssl b \\\n  c", "python3 -c 'd\ne'", "sed y"]
    );
    assert_eq!(found[0].start(), "wzp-relay a");
}
