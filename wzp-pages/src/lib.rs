//! Man pages and completions of a program, made of its own command line: whoever builds a
//! package asks the program for them, `PROGRAM --write-pages FOLDER`. `cargo xtask man`
//! does.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;

/// The only argument but for the folder. It is in no help: users have the pages.
const FLAG: &str = "--write-pages";

/// Where completions are, and for which shells.
const SHELLS: [(&str, Shell); 3] =
    [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

/// Writes the pages if the program was started for that, by these arguments (with its own
/// name). `None`: it was not, and should do its work.
pub fn answer(
    arguments: impl Iterator<Item = OsString>,
    command: impl FnOnce() -> Command,
) -> Option<io::Result<()>> {
    let arguments: Vec<_> = arguments.skip(1).take(3).collect();
    match &arguments[..] {
        [flag, folder] if flag == FLAG => Some(write(command(), Path::new(folder))),
        _ => None,
    }
}

/// `man1` has a page of each command, `bash`, `zsh` and `fish` the completions. Folders are
/// made.
fn write(command: Command, folder: &Path) -> io::Result<()> {
    let command = without_values(command);
    let name = command.get_name().to_owned();
    let made = |part: &str| -> io::Result<PathBuf> {
        let part = folder.join(part);
        fs::create_dir_all(&part)?;
        Ok(part)
    };
    clap_mangen::generate_to(command.clone(), made("man1")?)?;
    for (part, shell) in SHELLS {
        clap_complete::generate_to(shell, &mut command.clone(), name.clone(), made(part)?)?;
    }
    Ok(())
}

/// What the variables of whoever builds the package say is not for its pages.
fn without_values(command: Command) -> Command {
    command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(without_values)
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn command() -> Command {
        let secret = Arg::new("secret").long("secret").env("PATH").help("A secret");
        Command::new("wzp").arg(secret).subcommand(Command::new("sub").about("Does more"))
    }

    fn arguments(given: &[&str]) -> impl Iterator<Item = OsString> {
        given.iter().map(OsString::from).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn pages_are_written_if_they_are_asked_for() {
        for given in [&["wzp"][..], &["wzp", FLAG], &["wzp", "sub", FLAG, "x"], &["wzp", "x", "y"]]
        {
            assert!(answer(arguments(given), command).is_none(), "{given:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        answer(arguments(&["wzp", FLAG, path]), command).unwrap().unwrap();
        let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(read("man1/wzp-sub.1").contains("Does more"));
        let page = read("man1/wzp.1");
        assert!(page.contains("A secret") && page.contains("PATH"), "{page}");
        let path = std::env::var("PATH").unwrap();
        for file in ["man1/wzp.1", "bash/wzp.bash", "zsh/_wzp", "fish/wzp.fish"] {
            assert!(!read(file).contains(&path), "{file}");
        }
        let nowhere = answer(arguments(&["wzp", FLAG, "/proc/none"]), command).unwrap();
        assert!(nowhere.is_err());
    }
}
