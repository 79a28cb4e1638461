//! Five talkers at once: each hears exactly the other four.

#![allow(clippy::unwrap_used)] // In a helper of a test, too, it is an assertion.

use std::time::Duration;

use wzp_testbed::client::Client;
use wzp_testbed::loopback::Loopback;
use wzp_testbed::{speech, tone};

/// No tone is near a sum or difference of others, which a limiter could make.
const TONES: [(&str, u16); 5] =
    [("anna", 440), ("boris", 620), ("chen", 930), ("dara", 1370), ("émile", 2110)];

/// A tone that is heard, in decibels below full scale.
const HEARD: f64 = -30.0;

/// A tone that is not.
const NOT_HEARD: f64 = -50.0;

#[test]
fn each_talker_hears_the_other_four() {
    let loopback = Loopback::new(&[]);
    let recording = |name: &str| loopback.folder().join(name).with_extension("wav");
    let clients: Vec<_> = TONES
        .iter()
        .map(|(name, hz)| {
            let arguments = ["--send-tone", "5", "--wait-for", "4", "--linger", "1"];
            let (hz, path) = (hz.to_string(), recording(name));
            let specific = ["--tone-hz", &hz, "--record", path.to_str().unwrap()];
            let launch = loopback.client("talkers", name);
            Client::start(&launch, &[&arguments[..], &specific].concat()).unwrap()
        })
        .collect();
    let summaries: Vec<_> =
        clients.into_iter().map(|client| client.finish(Duration::from_secs(60)).unwrap()).collect();

    for ((name, own), summary) in TONES.iter().zip(&summaries) {
        assert_eq!(summary.frames_sent, 250, "{name}");
        let mut heard: Vec<_> = summary.talkers.iter().map(|talker| talker.name.as_str()).collect();
        heard.sort_unstable();
        let mut others: Vec<_> = TONES.iter().map(|tone| tone.0).filter(|n| n != name).collect();
        others.sort_unstable();
        assert_eq!(heard, others, "{name} heard other talkers");
        for talker in &summary.talkers {
            assert_eq!((talker.received, talker.lost), (250, 0), "{name} heard {talker:?}");
        }
        let samples = speech::read(&recording(name)).unwrap();
        let sounding = &samples[wzp_testbed::measure::sounding(&samples)];
        for (other, hz) in TONES {
            let level = tone::level_db(sounding, hz.into());
            println!("{name} hears {hz} Hz at {level:.1} dB");
            if hz == *own {
                assert!(level < NOT_HEARD, "{name} hears itself at {level:.1} dB");
            } else {
                assert!(level > HEARD, "{name} hears {other} at {level:.1} dB only");
            }
        }
    }
    loopback.stop();
}
