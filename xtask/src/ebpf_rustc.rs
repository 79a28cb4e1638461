//! This program in the place of the compiler, for the kernel programs.
//!
//! Cargo tells the compiler a number for each crate, made from the folder that
//! a crate outside its workspace is in. The number is part of the names of
//! functions, and names decide the order of some instructions: the same source
//! in another folder would give another object. Here it is always the same.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Set to anything, it makes [`run`] a compiler.
pub(crate) const VARIABLE: &str = "WZP_XTASK_IS_RUSTC";

/// Crates of this repository.
const OWN: [&str; 4] = ["wzp_common", "wzp", "steer", "empty"];

/// Does the compiler's work if that is what this process is for.
pub(crate) fn run() -> Option<ExitCode> {
    std::env::var_os(VARIABLE)?;
    let mut arguments = std::env::args_os().skip(1);
    let compiler = arguments.next()?;
    let error = Command::new(compiler).args(with_fixed_number(arguments.collect())).exec();
    eprintln!("error: cannot start the compiler: {error}");
    Some(ExitCode::FAILURE)
}

fn with_fixed_number(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let own = arguments
        .windows(2)
        .find(|pair| pair[0] == "--crate-name")
        .and_then(|pair| OWN.into_iter().find(|own| pair[1] == *own));
    if let Some(own) = own {
        for argument in &mut arguments {
            if argument.to_string_lossy().starts_with("metadata=") {
                *argument = format!("metadata={own}").into();
            }
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_own_crates_is_fixed() {
        let line = |name: &str, number: &str| -> Vec<OsString> {
            ["--crate-name", name, "-C", number, "-C", "extra-filename=-0"].map(Into::into).into()
        };
        let fixed = |name, number| with_fixed_number(line(name, number));
        assert_eq!(fixed("wzp", "metadata=12"), line("wzp", "metadata=wzp"));
        assert_eq!(fixed("core", "metadata=12"), line("core", "metadata=12"));
        assert_eq!(with_fixed_number(vec!["-vV".into()]), ["-vV"]);
    }
}
