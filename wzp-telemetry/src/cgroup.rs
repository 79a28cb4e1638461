//! The control groups that a process is in, by which a machine is divided (cgroups(7)).

use std::path::{Component, Path, PathBuf};

use wzp_untrusted::file;

/// Where the kernel shows them: version 2, and the controllers of version 1 below it.
const ROOT: &str = "/sys/fs/cgroup";

/// Longest file of them that is read, in bytes: their lines are short.
const MOST: u64 = 64 << 10;

/// The groups of a process.
#[derive(Debug)]
pub(crate) struct Groups {
    root: PathBuf,
    /// As `/proc/self/cgroup` has them, a line each: `number:controllers:path`.
    lines: String,
}

impl Groups {
    /// Those of this process.
    pub(crate) fn own() -> Self {
        let lines = file::read_text(Path::new("/proc/self/cgroup"), MOST).unwrap_or_default();
        Self::new(Path::new(ROOT), lines)
    }

    pub(crate) fn new(root: &Path, lines: impl Into<String>) -> Self {
        Self { root: root.to_owned(), lines: lines.into() }
    }

    /// The folders of the group of version 2 and of those that it is in.
    pub(crate) fn unified(&self) -> impl Iterator<Item = PathBuf> {
        self.paths().filter(|(controllers, _)| controllers.is_empty()).flat_map(|(_, group)| {
            let root = self.root.clone();
            upwards(group).map(move |group| root.join(group))
        })
    }

    /// The same of version 1, where each controller, or a few, has groups of its own.
    pub(crate) fn of_controller(&self, wanted: &str) -> impl Iterator<Item = PathBuf> {
        let of = move |controllers: &str| controllers.split(',').any(|name| name == wanted);
        self.paths().filter(move |(controllers, _)| of(controllers)).flat_map(
            |(controllers, group)| {
                let hierarchy = self.root.join(controllers);
                upwards(group).map(move |group| hierarchy.join(group))
            },
        )
    }

    fn paths(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'))
    }
}

/// The group and those that it is in, as paths from the hierarchy's root. One that is
/// outside of what this process is shown (`/../other`) has none but the root.
fn upwards(group: &str) -> impl Iterator<Item = &Path> {
    let inside = Path::new(group.trim_start_matches('/'));
    let is_shown = inside.components().all(|part| matches!(part, Component::Normal(_)));
    let group = if is_shown { inside } else { Path::new("") };
    group.ancestors()
}

/// What a file of a group says.
pub(crate) fn read(folder: &Path, name: &str) -> Option<String> {
    file::read_text(&folder.join(name), MOST).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_from_the_own_one_up() {
        let unified = |lines: &str| -> Vec<String> {
            let groups = Groups::new(Path::new("/r"), lines);
            groups.unified().map(|folder| folder.display().to_string()).collect()
        };
        assert_eq!(unified("0::/a.slice/b"), ["/r/a.slice/b", "/r/a.slice", "/r/"]);
        assert_eq!(unified("12:memory:/else\n0::/\n"), ["/r/"]);
        assert_eq!(unified("0::/../other"), ["/r/"]);
        for odd in ["", "0:", "memory:/a", "1:name=systemd:/", "::"] {
            assert!(unified(odd).len() <= 1, "{odd}: {:?}", unified(odd));
        }
        let groups = Groups::new(Path::new("/r"), "4:cpu,cpuacct:/docker/1\n3:cpuset:/x\n0::/");
        let of = |name| groups.of_controller(name).collect::<Vec<_>>();
        let expected = ["/r/cpu,cpuacct/docker/1", "/r/cpu,cpuacct/docker", "/r/cpu,cpuacct/"];
        assert_eq!(of("cpu"), expected.map(PathBuf::from));
        assert_eq!(of("memory"), Vec::<PathBuf>::new());
    }
}
