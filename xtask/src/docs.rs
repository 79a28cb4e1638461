//! `cargo xtask docs`: the parts of pages that are written from declarations.

use anyhow::Result;

use crate::project::cargo;
use crate::setup;
use crate::step::Steps;

/// Has the tests that compare them write them.
pub(crate) fn run() -> Result<()> {
    setup::for_building()?;
    let mut steps = Steps::default();
    let packages = ["--package", "wzp-relay", "--package", "xtask"];
    let tests = ["--test", "pages", "--test", "tidy"];
    let mut write = cargo(&[&["test", "--locked"][..], &packages, &tests].concat());
    write.env("WZP_WRITE_DOCS", "1");
    steps.run_long("docs", "about 10 minutes the first time", write)?;
    steps.print();
    Ok(())
}
