//! Rust source without its comments and literals, so that rules about code see only code.

/// The source with comments, strings and characters replaced by spaces; lines stay where they are.
pub(super) fn without_comments_and_literals(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let length = opaque_length(rest, previous);
        if length == 0 {
            code.push(first);
            previous = first;
            rest = rest.split_at(first.len_utf8()).1;
        } else {
            let (opaque, remaining) = rest.split_at(length);
            code.extend(opaque.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            previous = ' ';
            rest = remaining;
        }
    }
    code
}

/// Lines (from 1) on which `word` stands as a whole word.
pub(super) fn lines_with_word(code: &str, word: &str) -> Vec<usize> {
    code.lines()
        .enumerate()
        .filter(|(_, line)| {
            line.match_indices(word).any(|(start, _)| {
                let before = line.split_at(start).0.chars().next_back();
                let after = line.split_at(start + word.len()).1.chars().next();
                !before.is_some_and(is_word) && !after.is_some_and(is_word)
            })
        })
        .map(|(index, _)| index + 1)
        .collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Bytes of the comment or literal that `rest` starts with; 0 when it starts with code.
fn opaque_length(rest: &str, previous: char) -> usize {
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        block_comment_length(rest)
    } else if rest.starts_with('"') {
        quoted_length(rest)
    } else if rest.starts_with('\'') {
        character_length(rest)
    } else if is_word(previous) {
        0
    } else {
        raw_string_length(rest)
    }
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            match tail.chars().next() {
                Some(c) => at += c.len_utf8(),
                None => break,
            }
        }
    }
    rest.len()
}

fn quoted_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal; 0 for a lifetime.
fn character_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            chars
                .find(|(_, c)| *c == '\'')
                .map_or(rest.len(), |(at, _)| at + 1)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

fn raw_string_length(rest: &str) -> usize {
    let after_prefix = ["br", "cr", "r"]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix));
    let Some(after_prefix) = after_prefix else {
        return 0;
    };
    let after_hashes = after_prefix.trim_start_matches('#');
    if !after_hashes.starts_with('"') {
        return 0;
    }
    let hashes = after_prefix.len() - after_hashes.len();
    let end = format!("\"{}", "#".repeat(hashes));
    let body = after_hashes.split_at(1).1;
    match body.find(&end) {
        Some(at) => rest.len() - body.len() + at + end.len(),
        None => rest.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_disappear_and_lines_stay() {
        let source = "a // unsafe\n/* unsafe /* b */ */ c\n\"unsafe \\\" \" d\n";
        let code = without_comments_and_literals(source);
        assert_eq!(code.lines().count(), 3);
        assert!(lines_with_word(&code, "unsafe").is_empty(), "{code}");
        for (line, word) in [(1, "a"), (2, "c"), (3, "d")] {
            assert_eq!(lines_with_word(&code, word), [line]);
        }
    }

    #[test]
    fn raw_strings_characters_and_lifetimes_are_told_apart() {
        let source = r###"fn f<'a>(x: &'a str) { g(r#"unsafe " "#, '"', '\'', b'x', br"unsafe"); unsafe }"###;
        let code = without_comments_and_literals(source);
        assert_eq!(code.matches("unsafe").count(), 1, "{code}");
        assert!(code.contains("'a str"), "{code}");
    }

    #[test]
    fn words_are_whole() {
        assert!(lines_with_word("#![forbid(unsafe_code)]", "unsafe").is_empty());
        assert_eq!(lines_with_word("x\nunsafe{}", "unsafe"), [2]);
    }

    #[test]
    fn unfinished_literals_end_with_the_file() {
        for source in ["\"abc", "/* abc", "r#\"abc", "'\\", "'"] {
            assert!(without_comments_and_literals(source).len() <= source.len());
        }
    }
}
