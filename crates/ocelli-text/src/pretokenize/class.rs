//! Character classes of the splitting rules, and scanning over runs of them.

use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// A set of character classes.
pub(super) type Classes = u8;

/// `\p{Lu}` and `\p{Lt}`
pub(super) const UPPER: Classes = 1;
/// `\p{Ll}`
pub(super) const LOWER: Classes = 1 << 1;
/// `\p{Lm}` and `\p{Lo}`
pub(super) const CASELESS: Classes = 1 << 2;
/// `\p{M}`
pub(super) const MARK: Classes = 1 << 3;
/// `\p{N}`
pub(super) const NUMBER: Classes = 1 << 4;
/// `\s`
pub(super) const SPACE: Classes = 1 << 5;
/// `\p{P}`
pub(super) const PUNCTUATION: Classes = 1 << 6;
/// `\p{S}`
pub(super) const SYMBOL: Classes = 1 << 7;
/// `\p{L}`
pub(super) const LETTER: Classes = UPPER | LOWER | CASELESS;

const ASCII: [Classes; 128] = {
    let mut table = [0; 128];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z' => LOWER,
            b'0'..=b'9' => NUMBER,
            b'\t'..=b'\r' | b' ' => SPACE,
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~' => SYMBOL,
            b'!'..=b'~' => PUNCTUATION,
            _ => 0,
        };
        byte += 1;
    }
    table
};

fn class_of(character: char) -> Classes {
    if character.is_whitespace() {
        return SPACE;
    }
    match get_general_category(character) {
        Category::UppercaseLetter | Category::TitlecaseLetter => UPPER,
        Category::LowercaseLetter => LOWER,
        Category::ModifierLetter | Category::OtherLetter => CASELESS,
        Category::NonspacingMark | Category::SpacingMark | Category::EnclosingMark => MARK,
        Category::DecimalNumber | Category::LetterNumber | Category::OtherNumber => NUMBER,
        Category::ConnectorPunctuation
        | Category::DashPunctuation
        | Category::OpenPunctuation
        | Category::ClosePunctuation
        | Category::InitialPunctuation
        | Category::FinalPunctuation
        | Category::OtherPunctuation => PUNCTUATION,
        Category::MathSymbol
        | Category::CurrencySymbol
        | Category::ModifierSymbol
        | Category::OtherSymbol => SYMBOL,
        _ => 0,
    }
}

/// Class of the character at byte `at` and the byte after it; `None` at the end.
pub(super) fn next(text: &str, at: usize) -> Option<(Classes, usize)> {
    let byte = *text.as_bytes().get(at)?;
    if byte < 128 {
        return Some((ASCII[byte as usize], at + 1));
    }
    let character = text[at..].chars().next()?;
    Some((class_of(character), at + character.len_utf8()))
}

/// `\d`
pub(super) fn is_decimal(character: char) -> bool {
    get_general_category(character) == Category::DecimalNumber
}

/// Whether there is a character at `at` and it has one of `classes`.
pub(super) fn is(text: &str, at: usize, classes: Classes) -> bool {
    next(text, at).is_some_and(|(class, _)| class & classes != 0)
}

/// Whether there is a character at `at` and it has none of `classes`.
pub(super) fn is_not(text: &str, at: usize, classes: Classes) -> bool {
    next(text, at).is_some_and(|(class, _)| class & classes == 0)
}

/// End of the run of characters of `classes` that starts at `at`.
pub(super) fn run(text: &str, mut at: usize, classes: Classes) -> usize {
    while let Some((class, after)) = next(text, at) {
        if class & classes == 0 {
            break;
        }
        at = after;
    }
    at
}

/// End of the run of characters of none of `classes` that starts at `at`.
pub(super) fn run_not(text: &str, mut at: usize, classes: Classes) -> usize {
    while let Some((class, after)) = next(text, at) {
        if class & classes != 0 {
            break;
        }
        at = after;
    }
    at
}

/// End of the run of these ASCII bytes that starts at `at`.
pub(super) fn run_bytes(text: &str, at: usize, bytes: &[u8]) -> usize {
    let run = text.as_bytes()[at..]
        .iter()
        .take_while(|byte| bytes.contains(byte));
    at + run.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_table_agrees_with_the_unicode_categories() {
        for byte in 0..128u8 {
            assert_eq!(
                ASCII[byte as usize],
                class_of(char::from(byte)),
                "{byte:#x}"
            );
        }
    }
}
