//! No attack costs others a frame, a join or an answer.

use std::time::Duration;

use wzp_attack::attack::ALL;
use wzp_attack::trial;
use wzp_testbed::skip;

/// Long enough for every attack to have its effect.
const TIME: Duration = Duration::from_secs(4);

macro_rules! attacks {
    ($($test:ident = $name:literal),+ $(,)?) => {
        const TESTED: &[&str] = &[$($name),+];

        $(
            #[test]
            fn $test() {
                harms_nobody($name);
            }
        )+
    };
}

attacks! {
    none = "none",
    initials = "initials",
    garbage = "garbage",
    unknown = "unknown",
    half_open = "half-open",
    household = "household",
    pile_up = "pile-up",
    odd_tokens = "odd-tokens",
    joins = "joins",
    mutes = "mutes",
    media_flood = "media-flood",
    unread = "unread",
    http_idle = "http-idle",
    http_unread = "http-unread",
    passwords = "passwords",
}

fn harms_nobody(name: &str) {
    if !skip::have_namespaces(name) {
        return;
    }
    let attack = ALL.iter().find(|attack| attack.name == name).expect("an attack of that name");
    let outcome = trial::run(attack, TIME).expect("a relay that stands it");
    println!("{outcome:?}");
    assert!(!outcome.has_harmed(), "{outcome:?}");
}

#[test]
fn every_attack_is_tested() {
    let names: Vec<_> = ALL.iter().map(|attack| attack.name).collect();
    assert_eq!(names, TESTED);
}
