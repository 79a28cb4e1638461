//! Which modules of a crate use which, and whether they do so in circles.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Module, Source};

/// From who uses to who is used, among the members of one folder.
pub(crate) type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The arrows within each folder of a crate. What a file has of a folder's parts, or a part
/// of its folder, is no arrow: they are one thing.
pub(crate) fn of(modules: &BTreeMap<Module, Source>) -> BTreeMap<Module, Arrows> {
    let mut folders: BTreeMap<Module, Arrows> = BTreeMap::new();
    for (module, source) in modules {
        for path in &source.paths {
            let Some(used) = resolve(module, path, modules) else { continue };
            let common = module.iter().zip(&used).take_while(|(one, other)| one == other).count();
            if let (Some(from), Some(to)) = (module.get(common), used.get(common)) {
                let arrows = folders.entry(module[..common].to_vec()).or_default();
                arrows.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    folders
}

/// The module that a path leads to, if it is one of this crate.
fn resolve(from: &Module, path: &[String], modules: &BTreeMap<Module, Source>) -> Option<Module> {
    let mut names = path.iter().peekable();
    let mut at = match names.peek()?.as_str() {
        "crate" => {
            names.next();
            Module::new()
        }
        "self" | "super" => from.clone(),
        child => {
            let is_child = modules.contains_key(&[from.as_slice(), &[child.to_owned()]].concat());
            is_child.then(|| from.clone())?
        }
    };
    for name in names {
        match name.as_str() {
            "self" => {}
            "super" => _ = at.pop(),
            name => {
                at.push(name.to_owned());
                if !modules.keys().any(|module| module.starts_with(&at)) {
                    at.pop();
                    break;
                }
            }
        }
    }
    Some(at)
}

/// A circle, if there is one: each uses the next, and the last one the first.
pub(crate) fn circle(arrows: &Arrows) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|start| visit(start, arrows, &mut Vec::new(), &mut done))
}

fn visit(
    at: &str,
    arrows: &Arrows,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(begin) = way.iter().position(|before| before == at) {
        return Some(way[begin..].to_vec());
    }
    if done.contains(at) {
        return None;
    }
    way.push(at.to_owned());
    let found = arrows.get(at).into_iter().flatten();
    let found = found.into_iter().find_map(|next| visit(next, arrows, way, done));
    way.pop();
    done.insert(at.to_owned());
    found
}
