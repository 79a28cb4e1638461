//! Where a file is, whatever symbolic links lead to it.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links that lead to a file that is not there are followed so often.
const MOST_LINKS: usize = 40;

/// The absolute path, without links as far as it exists.
pub fn resolve(path: &Path) -> PathBuf {
    follow(path, MOST_LINKS)
}

fn follow(path: &Path, links_left: usize) -> PathBuf {
    if let Ok(whole) = fs::canonicalize(path) {
        return whole;
    }
    let Some((folder, name)) = path.parent().zip(path.components().next_back()) else {
        return path.to_owned();
    };
    // Before a lone name is the empty path: here.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = follow(folder, links_left);
    match fs::read_link(path) {
        Ok(target) if links_left > 0 => follow(&folder.join(target), links_left - 1),
        _ if name == Component::ParentDir => folder.parent().unwrap_or(&folder).to_owned(),
        _ => folder.join(name),
    }
}
