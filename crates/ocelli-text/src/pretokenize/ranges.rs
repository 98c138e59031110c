//! Sets of characters that splitting rules list one by one, as first and last of each range.

/// A set: ranges in increasing order.
pub(super) type Ranges = &'static [(char, char)];

/// Whether the set holds this character.
pub(super) fn holds(ranges: Ranges, character: char) -> bool {
    let at = ranges.partition_point(|&(_, last)| last < character);
    ranges.get(at).is_some_and(|&(first, _)| first <= character)
}

/// Chinese characters, Hiragana and Katakana.
pub(super) const KANA_AND_HAN: Ranges = &[('\u{3040}', '\u{30ff}'), ('\u{4e00}', '\u{9fa5}')];

/// What DeepSeek's first rules take for the scripts of Asia.
pub(super) const ASIAN: Ranges = &[('\u{800}', '\u{9fa5}'), ('\u{ac00}', '\u{d7ff}')];

/// Hangul, without the parts it is composed of.
pub(super) const HANGUL: Ranges = &[('\u{3131}', '\u{318e}'), ('\u{ac00}', '\u{d7a3}')];

/// The phonetic script of Taiwan.
pub(super) const BOPOMOFO: Ranges = &[('\u{3105}', '\u{312f}')];

/// Punctuation of Chinese texts.
#[rustfmt::skip]
pub(super) const CHINESE_PUNCTUATION: Ranges = &[
    ('\u{2014}', '\u{2014}'), ('\u{2018}', '\u{2019}'), ('\u{201c}', '\u{201d}'),
    ('\u{2026}', '\u{2026}'), ('\u{3001}', '\u{303f}'), ('\u{fe30}', '\u{fe4f}'),
    ('\u{ff01}', '\u{ff01}'), ('\u{ff0c}', '\u{ff0c}'), ('\u{ff1a}', '\u{ff1b}'),
];

/// Punctuation and symbols of DeepSeek's first rules.
#[rustfmt::skip]
pub(super) const DEEPSEEK_PUNCTUATION: Ranges = &[
    ('!', '/'), (':', '~'), ('\u{2018}', '\u{201f}'), ('\u{3000}', '\u{3002}'),
    ('\u{ff01}', '\u{ff0f}'), ('\u{ff1a}', '\u{ff5e}'),
];

/// Letters that have cases, as DeepSeek's first rules list them.
#[rustfmt::skip]
pub(super) const DEEPSEEK_LETTERS: Ranges = &[
    ('A', 'Z'), ('a', 'z'), ('\u{b5}', '\u{b5}'), ('\u{c0}', '\u{d6}'), ('\u{d8}', '\u{f6}'),
    ('\u{f8}', '\u{1ba}'), ('\u{1bc}', '\u{1bf}'), ('\u{1c4}', '\u{293}'), ('\u{295}', '\u{2af}'),
    ('\u{370}', '\u{373}'), ('\u{376}', '\u{376}'), ('\u{377}', '\u{377}'),
    ('\u{37b}', '\u{37d}'), ('\u{37f}', '\u{37f}'), ('\u{386}', '\u{386}'),
    ('\u{388}', '\u{38a}'), ('\u{38c}', '\u{38c}'), ('\u{38e}', '\u{3a1}'),
    ('\u{3a3}', '\u{3f5}'), ('\u{3f7}', '\u{481}'), ('\u{48a}', '\u{52f}'),
    ('\u{531}', '\u{556}'), ('\u{10a0}', '\u{10c5}'), ('\u{13a0}', '\u{13f5}'),
    ('\u{13f8}', '\u{13fd}'), ('\u{1c90}', '\u{1cba}'), ('\u{1cbd}', '\u{1cbf}'),
    ('\u{1d00}', '\u{1d2b}'), ('\u{1d6b}', '\u{1d77}'), ('\u{1d79}', '\u{1d9a}'),
    ('\u{1e00}', '\u{1f15}'), ('\u{1f18}', '\u{1f1d}'), ('\u{1f20}', '\u{1f45}'),
    ('\u{1f48}', '\u{1f4d}'), ('\u{1f50}', '\u{1f57}'), ('\u{1f59}', '\u{1f59}'),
    ('\u{1f5b}', '\u{1f5b}'), ('\u{1f5d}', '\u{1f5d}'), ('\u{1f5f}', '\u{1f7d}'),
    ('\u{1f80}', '\u{1fb4}'), ('\u{1fb6}', '\u{1fbc}'), ('\u{1fbe}', '\u{1fbe}'),
    ('\u{1fc2}', '\u{1fc4}'), ('\u{1fc6}', '\u{1fcc}'), ('\u{1fd0}', '\u{1fd3}'),
    ('\u{1fd6}', '\u{1fdb}'), ('\u{1fe0}', '\u{1fec}'), ('\u{1ff2}', '\u{1ff4}'),
    ('\u{1ff6}', '\u{1ffc}'), ('\u{2102}', '\u{2102}'), ('\u{2107}', '\u{2107}'),
    ('\u{210a}', '\u{2113}'), ('\u{2115}', '\u{2115}'), ('\u{2119}', '\u{211d}'),
    ('\u{2124}', '\u{2124}'), ('\u{2126}', '\u{2126}'), ('\u{2128}', '\u{2128}'),
    ('\u{212a}', '\u{212d}'), ('\u{212f}', '\u{2134}'), ('\u{2139}', '\u{2139}'),
    ('\u{213c}', '\u{213f}'), ('\u{2145}', '\u{2149}'), ('\u{214e}', '\u{214e}'),
    ('\u{2183}', '\u{2183}'), ('\u{2184}', '\u{2184}'), ('\u{2c00}', '\u{2c7b}'),
    ('\u{2c7e}', '\u{2ce4}'), ('\u{2ceb}', '\u{2cee}'), ('\u{2cf2}', '\u{2cf2}'),
    ('\u{2cf3}', '\u{2cf3}'), ('\u{a640}', '\u{a66d}'), ('\u{a680}', '\u{a69b}'),
    ('\u{a722}', '\u{a76f}'), ('\u{a771}', '\u{a787}'), ('\u{a78b}', '\u{a78e}'),
    ('\u{ab70}', '\u{abbf}'), ('\u{fb00}', '\u{fb06}'), ('\u{fb13}', '\u{fb17}'),
    ('\u{ff21}', '\u{ff3a}'), ('\u{ff41}', '\u{ff5a}'), ('\u{10400}', '\u{1044f}'),
    ('\u{104b0}', '\u{104d3}'), ('\u{104d8}', '\u{104fb}'), ('\u{10c80}', '\u{10cb2}'),
    ('\u{10cc0}', '\u{10cf2}'), ('\u{118a0}', '\u{118df}'), ('\u{1e900}', '\u{1e943}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_in_order_and_apart() {
        for ranges in [
            KANA_AND_HAN,
            ASIAN,
            HANGUL,
            BOPOMOFO,
            CHINESE_PUNCTUATION,
            DEEPSEEK_PUNCTUATION,
            DEEPSEEK_LETTERS,
        ] {
            assert!(ranges.iter().all(|(first, last)| first <= last));
            assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
            for &(first, last) in ranges {
                assert!(holds(ranges, first) && holds(ranges, last));
            }
        }
        assert!(!holds(DEEPSEEK_LETTERS, '@') && !holds(DEEPSEEK_LETTERS, 'ª'));
    }
}
