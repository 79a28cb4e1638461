//! Text that is shown to people and to programs: nothing in it is hidden, and it can be
//! read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wzp_untrusted::{json, text};

fuzz_target!(|chosen: &str| {
    let shown = text::name(chosen).to_string();
    assert!(text::is_plain(&shown));
    assert_eq!(read_back(&shown), chosen);
    assert!(text::is_plain(&text::line(chosen).to_string()));
    assert!(text::start_of_name(chosen, 20).chars().count() <= 20);

    let json = json::to_string(chosen).expect("text is always JSON");
    assert!(!json.chars().any(char::is_control));
    assert_eq!(serde_json::from_str::<String>(&json).expect("it is JSON"), chosen);
});

fn read_back(shown: &str) -> String {
    let mut parts = shown.split("\\u{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('}').expect("an escape has an end");
        let code = u32::from_str_radix(code, 16).expect("it is a number");
        text.push(char::from_u32(code).expect("of a character"));
        text += rest;
    }
    text
}
