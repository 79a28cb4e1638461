//! Whatever somebody writes, the answer is settings or a sentence.

use proptest::prelude::*;

use super::super::setting::keys;
use super::*;

/// Keys and values, right and wrong, in any order.
fn fragment() -> impl Strategy<Value = String> {
    let paths = keys(&key::sections()).map(|key| key.path.clone()).collect::<Vec<_>>();
    let name = prop_oneof![
        4 => proptest::sample::select(paths),
        1 => "[a-z.\"\\[\\]]{0,12}",
    ];
    let value = prop_oneof![
        "[0-9]{1,20}|-[0-9]|true|inf|nan|1979-05-27",
        "'[a-z0-9 ./:]{0,9}'",
        "\\[('lo',?)*\\]|\\{a = 1\\}|\\{\\}",
        "\\PC{0,8}",
    ];
    proptest::collection::vec((name, value), 0..6).prop_map(|lines| {
        lines.into_iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
    })
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in prop_oneof![fragment(), "\\PC{0,40}"]) {
        if let Ok(loaded) = load(&text, &[], &[]) {
            let shown = document::effective(&loaded, &key::sections(), true).unwrap();
            prop_assert_eq!(parse(&shown), Ok(loaded.config));
        }
    }

    #[test]
    fn no_variable_makes_it_panic(name in "WZP_[A-Z_]{0,16}", value in "\\PC{0,12}") {
        let _ = load("", &[(&name, &value)], &[]);
    }
}
