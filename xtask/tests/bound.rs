//! Children of `cargo xtask run` end with it, also when it is killed.

use std::process::{Command, Output};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// What a shell and its children print until the last of them has ended.
fn shell(script: &str) -> Output {
    let output = Command::new("sh").args(["-c", script]).env("XTASK", XTASK).output();
    output.expect("there is a shell")
}

#[test]
fn a_child_ends_with_a_parent_that_is_killed() {
    // The child kills its parent and would then go on. What it waits with may
    // outlive it and must not hold the pipe.
    let child = "echo started; kill -KILL $PPID; sleep 5 >/dev/null 2>&1; echo survived";
    let output = shell(&format!(r#""$XTASK" bound $$ -- sh -c '{child}' & wait"#));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "started\n", "{output:?}");
}

#[test]
fn the_program_takes_the_place_of_the_child() {
    let output = shell(r#""$XTASK" bound $$ -- sh -c 'exit "$1"' -c 7 & wait $!; echo $?"#);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "7\n", "{output:?}");
}

#[test]
fn a_child_of_another_does_not_start() {
    let output = shell(r#""$XTASK" bound 1 -- echo started & wait $!; echo $?"#);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n", "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("process 1 is not the parent"));
}
