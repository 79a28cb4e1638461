//! What a crate's source files refer to, read off their tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A module by the names on the way to it from the crate's root.
pub(crate) type Module = Vec<String>;

/// One file of a crate, without its tests.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// Paths as they are written, each from its first name.
    pub(crate) paths: BTreeSet<Vec<String>>,
    /// Whether anything in it is `unsafe`.
    pub(crate) is_unsafe: bool,
    /// Log lines without a target.
    pub(crate) untargeted: Vec<String>,
    /// Lines, its tests included.
    pub(crate) lines: usize,
}

/// The modules below `src` that are not only for tests.
pub(crate) fn modules(src: &Path) -> BTreeMap<Module, Source> {
    let mut found = BTreeMap::new();
    walk(src, &mut Vec::new(), &mut found);
    found
}

fn walk(folder: &Path, at: &mut Module, found: &mut BTreeMap<Module, Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" || name == "testing" {
            continue;
        }
        if path.is_dir() {
            at.push(name);
            walk(&path, at, found);
            at.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module: Module = match &*name {
                "mod" | "lib" => at.clone(),
                // A program of its own beside the library, or alone.
                "main" if folder.join("lib.rs").exists() => vec!["main".into()],
                "main" => at.clone(),
                _ => at.iter().cloned().chain([name]).collect(),
            };
            let source = Source::read(&fs::read_to_string(&path).unwrap());
            found.insert(module, Source { path, ..source });
        }
    }
}

/// Macros of log lines, which take a target first.
const LOGS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

impl Source {
    pub(crate) fn read(text: &str) -> Self {
        let tokens: TokenStream = text.parse().unwrap();
        let mut source = Self { lines: text.lines().count(), ..Self::default() };
        source.take(&without_tests(tokens.into_iter().collect()));
        source
    }

    fn take(&mut self, tokens: &[TokenTree]) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Ident(name) if name == "unsafe" => {
                    self.is_unsafe = true;
                    at += 1;
                }
                TokenTree::Ident(name) => {
                    self.log_line(&name.to_string(), &tokens[at + 1..]);
                    at += self.path(Vec::new(), &tokens[at..]).max(1);
                }
                TokenTree::Group(group) => {
                    self.take(&without_tests(group.stream().into_iter().collect()));
                    at += 1;
                }
                _ => at += 1,
            }
        }
    }

    /// Takes a path that begins here, and those that a tree of `use` branches into; how
    /// many tokens they are.
    fn path(&mut self, mut names: Vec<String>, tokens: &[TokenTree]) -> usize {
        let mut at = 0;
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(name)) => names.push(name.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<_> = group.stream().into_iter().collect();
                    for branch in inner.split(|token| is(token, ',')) {
                        self.path(names.clone(), branch);
                    }
                    return at + 1;
                }
                _ => break,
            }
            at += 1;
            let follows = |offset, mark| tokens.get(at + offset).is_some_and(|it| is(it, mark));
            if !(follows(0, ':') && follows(1, ':')) {
                break;
            }
            at += 2;
        }
        if names.len() > 1 {
            self.paths.insert(names);
        }
        at
    }

    fn log_line(&mut self, name: &str, behind: &[TokenTree]) {
        if let [mark, TokenTree::Group(group), ..] = behind
            && is(mark, '!')
            && LOGS.contains(&name)
            && !group.stream().to_string().starts_with("target :")
        {
            self.untargeted.push(format!("{name}!({})", group.stream()));
        }
    }
}

fn is(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// Leaves out items that are only there in tests.
fn without_tests(tokens: Vec<TokenTree>) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let attribute = rest.peek().map(ToString::to_string);
        let is_test = is(&token, '#')
            && attribute.is_some_and(|text| matches!(&*text, "[cfg (test)]" | "[cfg(test)]"));
        if !is_test {
            kept.push(token);
            continue;
        }
        rest.next();
        // To the end of the item: its body, or a semicolon.
        for token in rest.by_ref() {
            let is_body = matches!(&token, TokenTree::Group(group)
                                   if group.delimiter() == Delimiter::Brace);
            if is_body || is(&token, ';') {
                break;
            }
        }
    }
    kept
}
