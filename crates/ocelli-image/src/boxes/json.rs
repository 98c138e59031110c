//! Boxes and points in JSON, read from any text around and in it.
//!
//! Not a JSON parser: a model's answer may start with words, lack the closing fence or bracket, or stop in
//! the middle. This scanner walks over strings, numbers and brackets and keeps what it has seen of each
//! object; it cannot fail.

use super::{Corners, Written};

pub(super) fn parse(answer: &str) -> Vec<Written> {
    let mut scanner = Scanner {
        rest: answer,
        open: Vec::new(),
        found: Vec::new(),
        loose: Vec::new(),
        run: Vec::new(),
    };
    scanner.run();
    if scanner.found.is_empty() {
        return scanner.loose;
    }
    scanner.found
}

/// What the value after a key means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Box,
    Point,
    Label,
    Other,
}

impl Meaning {
    fn of(key: &str) -> Self {
        match key {
            "bbox_2d" | "bbox" | "box_2d" | "box" => Self::Box,
            "point_2d" | "point" | "points" => Self::Point,
            "label" | "text_content" | "text" | "name" | "category" => Self::Label,
            _ => Self::Other,
        }
    }
}

/// An object whose closing brace has not come yet.
struct Object {
    key: Meaning,
    label: Option<String>,
    /// Numbers of boxes and of points, in order.
    boxes: Vec<f64>,
    points: Vec<f64>,
}

struct Scanner<'a> {
    rest: &'a str,
    open: Vec<Object>,
    found: Vec<Written>,
    /// Bare lists of four numbers, used if there are no objects.
    loose: Vec<Written>,
    /// Numbers since the last bracket outside of objects.
    run: Vec<f64>,
}

/// Deeper nesting belongs to no answer; it would only take memory.
const MAX_DEPTH: usize = 64;

impl Scanner<'_> {
    fn run(&mut self) {
        while let Some(next) = self.rest.chars().next() {
            match next {
                '"' => self.string(),
                '0'..='9' | '-' => self.number(),
                _ => {
                    match next {
                        '{' => self.open(),
                        '}' => self.close(),
                        '[' | ']' if self.open.is_empty() => self.bare_list(next),
                        _ => {}
                    }
                    self.rest = &self.rest[next.len_utf8()..];
                }
            }
        }
        // The answer stopped here: what is complete in the open objects counts.
        while !self.open.is_empty() {
            self.close();
        }
    }

    fn open(&mut self) {
        if self.open.len() < MAX_DEPTH {
            let (boxes, points) = (Vec::new(), Vec::new());
            self.open.push(Object {
                key: Meaning::Other,
                label: None,
                boxes,
                points,
            });
        }
    }

    fn close(&mut self) {
        let Some(object) = self.open.pop() else {
            return;
        };
        let boxes = object.boxes.chunks_exact(4);
        let points = object.points.chunks_exact(2);
        for corners in boxes.chain(points).filter_map(Corners::from_numbers) {
            self.found.push(Written {
                label: object.label.clone(),
                corners,
            });
        }
    }

    fn bare_list(&mut self, bracket: char) {
        if bracket == ']' && self.run.len() == 4 {
            let corners = Corners::from_numbers(&self.run);
            self.loose.extend(corners.map(|corners| Written {
                label: None,
                corners,
            }));
        }
        self.run.clear();
    }

    /// A key if a colon follows, else a value.
    fn string(&mut self) {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        let mut end = None;
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    end = Some(at + 1);
                    break;
                }
                '\\' => {
                    if let Some((_, escaped)) = characters.next() {
                        unescape(escaped, &mut characters, &mut text);
                    }
                }
                _ => text.push(character),
            }
        }
        // A string without end is the last thing in an answer that was cut off.
        self.rest = end.map_or("", |end| &self.rest[end..]);
        let Some(object) = self.open.last_mut().filter(|_| end.is_some()) else {
            return;
        };
        if self.rest.trim_start().starts_with(':') {
            object.key = Meaning::of(&text);
        } else if object.key == Meaning::Label && object.label.is_none() {
            object.label = Some(text);
        }
    }

    fn number(&mut self) {
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
        let length = self
            .rest
            .find(|c: char| !is_part(c))
            .unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(length);
        self.rest = rest;
        let Ok(number) = number.parse::<f64>() else {
            return;
        };
        match self.open.last_mut() {
            // A number at the very end may lack digits.
            _ if rest.is_empty() => {}
            Some(object) if object.key == Meaning::Box => object.boxes.push(number),
            Some(object) if object.key == Meaning::Point => object.points.push(number),
            Some(_) => {}
            None => self.run.push(number),
        }
    }
}

/// What follows a backslash in a string.
fn unescape(escaped: char, rest: &mut impl Iterator<Item = (usize, char)>, text: &mut String) {
    match escaped {
        'n' => text.push('\n'),
        't' => text.push('\t'),
        'u' => {
            let digits: String = rest.take(4).map(|(_, digit)| digit).collect();
            let code = u32::from_str_radix(&digits, 16)
                .ok()
                .and_then(char::from_u32);
            text.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        'r' | 'b' | 'f' => {}
        other => text.push(other),
    }
}
