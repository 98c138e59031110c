//! GBNF, the notation of llama.cpp, to Lark's.
//!
//! ```text
//! rule  ::= name "::=" choices          names: letters, digits, `-`, `_`; the first is `root`
//! items ::= "text" [set] [^set] . name ( choices ), each with * + ? {n} {n,} {n,m}
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;

/// True when the rules are written with `::=`.
pub(super) fn is_gbnf(text: &str) -> bool {
    text.contains("::=")
}

enum Token {
    Name(String),
    Assign,
    /// A text, already as Lark writes it.
    Text(String),
    /// A set of characters, already as a regular expression.
    Set(String),
    Mark(char),
    Count(String),
}

/// Translates; what is wrong is named with its line and column.
pub(super) fn to_lark(text: &str) -> Result<String, String> {
    let tokens = Lexer::new(text).run()?;
    let mut rules: HashMap<String, usize> = HashMap::new();
    let mut out = String::new();
    for (i, (token, place)) in tokens.iter().enumerate() {
        let starts_rule = |at: usize| matches!(tokens.get(at), Some((Token::Assign, _)));
        match token {
            Token::Name(name) if starts_rule(i + 1) => {
                let count = rules.len();
                let number = *rules.entry(name.clone()).or_insert(count);
                let _ = write!(out, "\nrule_{number}: ");
            }
            _ if out.is_empty() => return Err(format!("{place}: found no rule, need `name ::=`")),
            Token::Name(name) => {
                let count = rules.len();
                let number = *rules.entry(name.clone()).or_insert(count);
                let _ = write!(out, "rule_{number} ");
            }
            Token::Assign => {
                let is_named = i > 0 && matches!(tokens[i - 1].0, Token::Name(_));
                if !is_named {
                    return Err(format!("{place}: found `::=`, need a name before it"));
                }
            }
            Token::Text(text) => {
                let _ = write!(out, "{text} ");
            }
            Token::Set(set) => {
                let _ = write!(out, "/{set}/ ");
            }
            Token::Mark(mark) => {
                if matches!(mark, '*' | '+' | '?') {
                    out.truncate(out.trim_end().len());
                }
                let _ = write!(out, "{mark} ");
            }
            Token::Count(count) => {
                out.truncate(out.trim_end().len());
                let _ = write!(out, "{count} ");
            }
        }
    }
    let root = rules
        .get("root")
        .ok_or("grammar has no rule `root`, need one to begin with")?;
    Ok(format!("start: rule_{root}\n{out}\n"))
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

type Placed = (Token, String);

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn run(mut self) -> Result<Vec<Placed>, String> {
        let mut tokens = Vec::new();
        while let Some(next) = self.peek() {
            let place = self.place();
            let token = match next {
                '#' => {
                    self.take_while(|c| c != '\n');
                    continue;
                }
                c if c.is_whitespace() => {
                    self.next();
                    continue;
                }
                '"' => Token::Text(self.literal()?),
                '[' => Token::Set(self.set()?),
                '{' => {
                    let inside = self.take_while(|c| c != '}');
                    self.next().ok_or(format!("{place}: found no `}}`"))?;
                    Token::Count(format!("{inside}}}"))
                }
                '.' => {
                    self.next();
                    Token::Set(r"(.|\n)".to_owned())
                }
                '|' | '(' | ')' | '*' | '+' | '?' => {
                    self.next();
                    Token::Mark(next)
                }
                ':' if self.text[self.at..].starts_with("::=") => {
                    self.at += 3;
                    Token::Assign
                }
                c if c.is_ascii_alphanumeric() || c == '_' => {
                    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
                    Token::Name(self.take_while(is_part).to_owned())
                }
                other => return Err(format!("{place}: found {other:?}, need an item or a rule")),
            };
            tokens.push((token, place));
        }
        Ok(tokens)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(&is_part) {
            self.next();
        }
        &self.text[start..self.at]
    }

    fn place(&self) -> String {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("grammar {line}:{column}")
    }

    /// `"text"` as a JSON string, which is how Lark writes it.
    fn literal(&mut self) -> Result<String, String> {
        let place = self.place();
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(serde_json::Value::String(text).to_string()),
                Some('\\') => text.push(self.escape()?),
                Some(c) => text.push(c),
                None => return Err(format!("{place}: found no closing quote")),
            }
        }
    }

    /// `[set]` as a regular expression: every character by its number, but for ranges.
    fn set(&mut self) -> Result<String, String> {
        let place = self.place();
        self.next();
        let mut out = "[".to_owned();
        if self.peek() == Some('^') {
            self.next();
            out.push('^');
        }
        loop {
            let c = match self.next() {
                Some(']') if out.len() > 1 && out != "[^" => return Ok(out + "]"),
                Some('-') => {
                    out.push('-');
                    continue;
                }
                Some('\\') => self.escape()?,
                Some(c) if c != ']' => c,
                _ => return Err(format!("{place}: found no characters and `]`")),
            };
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let place = self.place();
        let wrong = || format!("{place}: found an unknown escape after `\\`");
        let digits = match self.next().ok_or_else(wrong)? {
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            c @ ('"' | '\\' | '[' | ']' | '-' | '^' | '/') => return Ok(c),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return Err(wrong()),
        };
        let end = self.at + digits;
        let number = self.text.get(self.at..end).ok_or_else(wrong)?;
        let code = u32::from_str_radix(number, 16).map_err(|_| wrong())?;
        self.at = end;
        char::from_u32(code).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_sets_and_counts_are_translated() {
        let lark = to_lark(
            "root ::= \"a\\n\" digit{2,3} (x | [^\\]-])* # end\ndigit ::= [0-9]\nx ::= \"/\" root?",
        );
        let expected = "start: rule_0\n\n\
            rule_0: \"a\\n\" rule_1{2,3} ( rule_2 | /[^\\u{5d}-]/ )* \n\
            rule_1: /[\\u{30}-\\u{39}]/ \n\
            rule_2: \"/\" rule_0? \n";
        assert_eq!(lark.unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("a ::= \"x\"", "no rule `root`"),
            ("root ::= \"x", "1:10: found no closing quote"),
            ("root ::= [", "1:10: found no characters"),
            ("root ::= a\n  $", "2:3: found '$'"),
            ("::= \"x\"", "need `name ::=`"),
            ("root ::= \"\\q\"", "unknown escape"),
        ] {
            let error = to_lark(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn changed_grammars_are_translated_or_refused_and_nothing_else() {
        use rand_core::{RngCore, SeedableRng};
        let seed = "root ::= \"a\\n\" digit{2,3} (x | [^\\]ä-])* # end\ndigit ::= [0-9]\nx ::= \"/\" root?";
        let letters: Vec<char> = "\\\"[]{}()|*+?#:=-^.ux0ä\n a".chars().collect();
        let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(1);
        let mut draw = |most: usize| (random.next_u64() % most as u64) as usize;
        let mut translated = 0;
        for _ in 0..5000 {
            let mut text: Vec<char> = seed.chars().collect();
            for _ in 0..1 + draw(4) {
                let at = draw(text.len());
                match draw(3) {
                    0 if text.len() > 1 => drop(text.remove(at)),
                    1 => text.insert(at, letters[draw(letters.len())]),
                    _ => text.truncate(at.max(9)),
                }
            }
            let text: String = text.into_iter().collect();
            translated += usize::from(to_lark(&text).is_ok());
        }
        assert!(translated > 100, "{translated}");
    }
}
