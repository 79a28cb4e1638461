//! `wzp-relay doctor`: whether this host is fit for a relay with these settings, and the
//! command that mends what is not. Looks as a start does, changes nothing, attaches to no
//! interface, and ends within half a minute, whatever does not answer.

mod certificate;
mod clock;
mod host;
mod kernel;
mod owner;
mod reach;
mod report;
mod settings;

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use crate::config::{Flags, Loaded};
use report::{Line, Report, Status};

/// How the answer looks.
#[derive(Clone, Copy, Debug, Args)]
pub struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All looks together take no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a look tells whoever waits.
enum Step {
    /// What is looked at from now on.
    Begin(&'static str),
    Found(Line),
}

/// Tells what is looked at and what is found.
struct Teller(Sender<Step>);

impl Teller {
    fn look(&self, check: &'static str, look: impl FnOnce() -> Vec<Line>) {
        // Nobody waits any more once it has taken too long.
        let _ = self.0.send(Step::Begin(check));
        look().into_iter().for_each(|line| drop(self.0.send(Step::Found(line))));
    }
}

/// Looks at everything and prints what was found.
///
/// # Errors
/// Something would keep a relay from doing what it should, or nothing can be printed.
pub fn run(flags: Flags, options: Options, out: &mut impl Write) -> Result<()> {
    let report = gather(PATIENCE, move |teller| look_at_all(&flags, teller))?;
    report.print(options.json, out)?;
    out.flush()?;
    match report.count(Status::Error) {
        0 => Ok(()),
        1 => bail!("1 thing is wrong"),
        many => bail!("{many} things are wrong"),
    }
}

/// What `look` tells in time. It goes on alone after that, until the process ends.
fn gather(patience: Duration, look: impl FnOnce(&Teller) + Send + 'static) -> Result<Report> {
    let deadline = Instant::now() + patience;
    let (teller, steps) = channel();
    thread::Builder::new().spawn(move || look(&Teller(teller)))?;
    let (mut lines, mut current) = (Vec::new(), "start");
    loop {
        match steps.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Step::Begin(check)) => current = check,
            Ok(Step::Found(line)) => lines.push(line),
            Err(RecvTimeoutError::Disconnected) => return Ok(Report::new(lines)),
            Err(RecvTimeoutError::Timeout) => {
                let text = format!(
                    "no answer within {} seconds; what comes after it was not looked at",
                    patience.as_secs()
                );
                lines.push(Line::error(current, text));
                return Ok(Report::new(lines));
            }
        }
    }
}

fn look_at_all(flags: &Flags, teller: &Teller) {
    let loaded = match Loaded::new(flags) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            teller.look("configuration", || vec![Line::error("configuration", error.to_string())]);
            None
        }
    };
    let mut running = None;
    if let Some(loaded) = &loaded {
        running = settings::look(loaded, teller);
        teller.look("auth", || reach::look(&loaded.config.auth));
    }
    // What the host is like can be told without settings, as if none were set.
    let config = loaded.map(|loaded| loaded.config).unwrap_or_default();
    teller.look("clock", || vec![clock::look()]);
    teller.look("open_files", || vec![host::open_files(&config)]);
    teller.look("conntrack", || vec![host::conntrack("/proc".as_ref(), &config)]);
    teller.look("offloads", || vec![host::offloads(&config)]);
    kernel::look(&config, running.as_ref(), teller);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_answer_ends_the_looks_and_is_named() {
        let (_never, answer) = channel::<()>();
        let report = gather(Duration::from_secs(1), move |teller| {
            teller.look("clock", || vec![Line::ok("clock", "right")]);
            teller.look("auth", || {
                let _ = answer.recv();
                Vec::new()
            });
        });
        let mut text = Vec::new();
        report.unwrap().print(false, &mut text).unwrap();
        let expected = "ok       clock  right\nerror    auth   no answer within 1 seconds; what \
                        comes after it was not looked at\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
