use proptest::prelude::*;

use super::*;

/// What somebody may call themselves, and how it is shown.
pub(crate) const CASES: &[(&str, &str)] = &[
    // Names as people have them.
    ("", ""),
    ("Zoë O'Neil-Müller \"Z\" <z>", "Zoë O'Neil-Müller \"Z\" <z>"),
    ("Комната", "Комната"),
    ("山田　太郎", "山田　太郎"),
    ("محمد", "محمد"),
    ("מִרְיָם", "מִרְיָם"),
    ("ngọc ŵ̃", "ngọc ŵ̃"),
    ("น้ำ", "น้ำ"),
    // Joiners that are seen: Persian, Sinhala, Malayalam, emoji.
    ("علی\u{200c}رضا", "علی\u{200c}رضا"),
    ("ශ\u{dca}\u{200d}රී", "ශ\u{dca}\u{200d}රී"),
    ("ന\u{d4d}\u{200d}മ", "ന\u{d4d}\u{200d}മ"),
    ("👩\u{200d}🚀", "👩\u{200d}🚀"),
    ("🏳\u{fe0f}\u{200d}🌈", "🏳\u{fe0f}\u{200d}🌈"),
    ("🧑🏽\u{200d}❤\u{fe0f}\u{200d}🧑🏻", "🧑🏽\u{200d}❤\u{fe0f}\u{200d}🧑🏻"),
    ("1\u{fe0f}\u{20e3} 🇳🇴", "1\u{fe0f}\u{20e3} 🇳🇴"),
    // Joiners that are not.
    ("lob\u{200d}by", r"lob\u{200d}by"),
    ("lobby\u{200c}", r"lobby\u{200c}"),
    ("دار\u{200c}ا", r"دار\u{200c}ا"),
    ("علی\u{200c}", r"علی\u{200c}"),
    ("👩\u{200d}", r"👩\u{200d}"),
    ("👩\u{200d}a", r"👩\u{200d}a"),
    ("😀\u{fe0f}", r"😀\u{fe0f}"),
    ("1\u{fe0f}", r"1\u{fe0f}"),
    ("a\u{fe0f}", r"a\u{fe0f}"),
    // What a terminal or a log obeys.
    ("\u{0}\u{7}\t\n\r\u{1b}[2J\u{7f}", r"\u{0}\u{7}\u{9}\u{a}\u{d}\u{1b}[2J\u{7f}"),
    ("\u{80}\u{85}\u{9b}31m", r"\u{80}\u{85}\u{9b}31m"),
    ("\u{2028}\u{2029}", r"\u{2028}\u{2029}"),
    // Directions.
    ("\u{61c}\u{200e}\u{200f}", r"\u{61c}\u{200e}\u{200f}"),
    ("\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}", r"\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}"),
    ("\u{2066}\u{2067}\u{2068}\u{2069}", r"\u{2066}\u{2067}\u{2068}\u{2069}"),
    // Nothing at all, or a space that is none.
    ("\u{200b}\u{2060}\u{feff}\u{ad}", r"\u{200b}\u{2060}\u{feff}\u{ad}"),
    ("\u{34f}a\u{3164}\u{2800}\u{115f}", r"\u{34f}a\u{3164}\u{2800}\u{115f}"),
    ("\u{e0041}\u{e0100}\u{180b}", r"\u{e0041}\u{e0100}\u{180b}"),
    ("\u{a0}\u{2003}", r"\u{a0}\u{2003}"),
    // Of no meaning that all know: private use, unassigned.
    ("\u{e000}\u{f0000}\u{378}\u{ffff}", r"\u{e000}\u{f0000}\u{378}\u{ffff}"),
    // Marks on nothing, and more of them than any writing has.
    ("\u{301}a", r"\u{301}a"),
    ("a\u{200b}\u{301}", r"a\u{200b}\u{301}"),
    (
        "a\u{300}\u{301}\u{302}\u{303}\u{304}b\u{300}",
        "a\u{300}\u{301}\u{302}\u{303}\\u{304}b\u{300}",
    ),
    // What looks like an escape is one.
    (r"\u{202e}", r"\u{5c}u{202e}"),
    (r"C:\user \\u{", r"C:\user \\u{5c}u{"),
];

#[test]
fn names_are_shown_and_not_obeyed() {
    for (text, shown) in CASES {
        assert_eq!(name(text).to_string(), *shown);
    }
}

#[test]
fn lines_keep_their_backslashes_and_their_ends() {
    assert_eq!(line("a\\u{1b}\n\u{1b}").to_string(), r"a\u{1b}\n\u{1b}");
    assert_eq!(lines("a\n\u{1b}b\r\n").to_string(), "a\n\\u{1b}b\\r\n");
}

#[test]
fn the_start_of_a_name_says_that_it_goes_on() {
    let cases = [
        ("lobby", 5, "lobby"),
        ("lobby", 4, "lob…"),
        ("ääääää", 3, "ää…"),
        ("ab\u{202e}", 9, "ab…"),
        ("ab\u{202e}", 10, r"ab\u{202e}"),
        ("ab", 0, "…"),
        ("", 0, ""),
    ];
    for (text, most, shown) in cases {
        assert_eq!(start_of_name(text, most), shown, "{text:?}");
    }
}

/// Every character there is, behind a letter; those that have names, also by themselves
/// and between what joiners look at.
#[test]
fn no_character_is_forgotten() {
    for c in '\0'..=char::MAX {
        let behind = format!("a{c}");
        assert_eq!(name(&behind).to_string() == behind, !is_hidden(c), "{behind:?}");
    }
    for c in '\0'..='\u{1ffff}' {
        for text in [format!("{c}"), format!("👩{c}👩"), format!("ب{c}ب"), format!("\u{dca}{c}ර")]
        {
            assert!(is_plain(&name(&text).to_string()), "{text:?}");
        }
    }
}

/// Undoes what [`name`] does.
fn read_back(shown: &str) -> String {
    let mut parts = shown.split("\\u{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('}').unwrap();
        text.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
        text += rest;
    }
    text
}

fn nasty() -> impl Strategy<Value = String> {
    let special = CASES.iter().flat_map(|(text, _)| text.chars()).collect::<Vec<_>>();
    let letter = prop_oneof![any::<char>(), prop::sample::select(special), Just('\\')];
    prop::collection::vec(letter, 0..24).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn all_that_is_shown_is_visible_and_no_two_names_are_alike(text in nasty()) {
        let shown = name(&text).to_string();
        prop_assert!(is_plain(&shown));
        prop_assert!(!shown.chars().any(|c| c.is_control()));
        prop_assert_eq!(read_back(&shown), text);
    }

    #[test]
    fn a_start_is_never_longer_than_asked(text in nasty(), most in 1_usize..30) {
        let start = start_of_name(&text, most);
        prop_assert!(start.chars().count() <= most && !start.chars().any(|c| c.is_control()));
    }
}
