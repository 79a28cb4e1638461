//! Which characters are not seen, or are not what they seem.

use unicode_properties::emoji::EmojiStatus;
use unicode_properties::{GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory};

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
const AS_EMOJI: char = '\u{fe0f}';
const KEYCAP: char = '\u{20e3}';

/// Marks above and below one letter that are shown. No writing needs more in a row
/// (UTS #39 section 5.4), and many cover the lines above and below.
const MOST_MARKS: u8 = 4;

/// Whether a character, wherever it stands, may be invisible or steer what shows it:
/// controls, line and paragraph separators, directions and other format characters,
/// spaces that are none of `U+0020` and `U+3000`, what looks like nothing, and what
/// looks different everywhere (private use) or nowhere yet like anything
/// (unassigned).
pub(crate) fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    match c.general_category() {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator
        | GeneralCategory::PrivateUse
        | GeneralCategory::Surrogate
        | GeneralCategory::Unassigned => true,
        // The space of Japanese names is as wide as their letters.
        GeneralCategory::SpaceSeparator => c != '\u{3000}',
        _ => is_blank(c),
    }
}

/// Letters, marks and symbols that look like nothing: those of the property
/// Default_Ignorable_Code_Point (UAX #44) that are no format characters, and the
/// blank pattern of Braille.
fn is_blank(c: char) -> bool {
    matches!(c,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}'
        | '\u{e0100}'..='\u{e01ef}')
}

/// What was shown before a character of a text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    /// The last character; none at the beginning and after one that was not shown.
    last: Option<char>,
    /// Marks in a row up to here.
    marks: u8,
}

impl Before {
    /// Whether `c` can be shown as it is, before `next`. Real names have invisible
    /// characters where these are seen by what they do to their neighbours.
    pub(super) fn shows(&mut self, c: char, next: Option<char>) -> bool {
        let is_mark = is_mark(c);
        let shows = match c {
            _ if is_mark && (self.last.is_none() || self.marks == MOST_MARKS) => false,
            _ if !is_hidden(c) => true,
            ZERO_WIDTH_JOINER => self.joins_emoji(next) || self.ends_conjunct(next),
            ZERO_WIDTH_NON_JOINER => self.parts_arabic(next) || self.ends_conjunct(next),
            AS_EMOJI => self.becomes_emoji(next),
            _ => false,
        };
        let marks = if is_mark && shows { self.marks + 1 } else { 0 };
        *self = Self { last: Some(c).filter(|_| shows), marks };
        shows
    }

    /// A family, a profession or a flag of several emoji (UTS #51 ED-16).
    fn joins_emoji(self, next: Option<char>) -> bool {
        let before = self.last.is_some_and(|c| c == AS_EMOJI || is_emoji(c));
        before && next.is_some_and(is_emoji)
    }

    /// ❤ and ☎ are drawn in colour with it; others are in colour already, and then
    /// it would tell apart what looks the same.
    fn becomes_emoji(self, next: Option<char>) -> bool {
        self.last.is_some_and(|c| match c.emoji_status() {
            EmojiStatus::EmojiOther | EmojiStatus::EmojiModifierBase => true,
            EmojiStatus::EmojiOtherAndEmojiComponent => next == Some(KEYCAP),
            _ => false,
        })
    }

    /// Behind a virama it chooses another shape of the letters (RFC 5892 appendices
    /// A.1 and A.2): Sinhala and Malayalam names are written so.
    fn ends_conjunct(self, next: Option<char>) -> bool {
        self.last.is_some_and(is_virama) && next.is_some_and(is_indic)
    }

    /// Between letters that would be joined it parts them (RFC 5892 appendix A.1):
    /// Persian names are written so.
    fn parts_arabic(self, next: Option<char>) -> bool {
        self.last.is_some_and(joins_to_the_left) && next.is_some_and(is_arabic_letter)
    }
}

/// Drawn over the character before it.
fn is_mark(c: char) -> bool {
    let category = || c.general_category();
    !c.is_ascii()
        && !is_blank(c)
        && matches!(category(), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

fn is_emoji(c: char) -> bool {
    !c.is_ascii() && c.is_emoji_char()
}

/// Those of the scripts of India and Sri Lanka.
fn is_virama(c: char) -> bool {
    is_indic(c) && matches!(u32::from(c) & 0x7f, 0x4d) || c == '\u{dca}'
}

fn is_indic(c: char) -> bool {
    matches!(c, '\u{900}'..='\u{dff}')
}

fn is_arabic_letter(c: char) -> bool {
    matches!(c, '\u{620}'..='\u{64a}' | '\u{66e}'..='\u{66f}' | '\u{671}'..='\u{6d3}' | '\u{6d5}')
}

/// Whether an Arabic letter has the Joining_Type D (UAX #44): it reaches for the
/// next. Those left out stand alone or reach only for the one before.
fn joins_to_the_left(c: char) -> bool {
    is_arabic_letter(c)
        && !matches!(c,
            '\u{621}'..='\u{625}' | '\u{627}' | '\u{629}' | '\u{62f}'..='\u{632}' | '\u{648}'
            | '\u{671}'..='\u{677}' | '\u{688}'..='\u{699}' | '\u{6c0}' | '\u{6c3}'..='\u{6cb}'
            | '\u{6cd}' | '\u{6cf}' | '\u{6d2}'..='\u{6d3}' | '\u{6d5}')
}
