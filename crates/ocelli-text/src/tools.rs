//! Tool calls in an answer's text, as it comes.
//!
//! Two forms between the marks `<tool_call>` and `</tool_call>` are known: Hermes' JSON (Qwen2.5,
//! Qwen3, Qwen3-VL)
//!
//! ```text
//! <tool_call>
//! {"name": "weather", "arguments": {"city": "Ulm"}}
//! </tool_call>
//! ```
//!
//! and the tags of Qwen3-Coder:
//!
//! ```text
//! <tool_call>
//! <function=weather>
//! <parameter=city>
//! Ulm
//! </parameter>
//! </function>
//! </tool_call>
//! ```
//!
//! What stands between the marks and is no call stays text: nothing of an answer is lost.

use serde_json::{Map, Value as Json};

use crate::message::ToolCall;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolCallPart {
    /// Text beside calls, without the white space next to them.
    Text(String),
    /// A whole call, without an id.
    Call(ToolCall),
}

/// Takes the calls out of one answer. The parts do not depend on how the text is divided.
#[derive(Debug, Clone)]
pub struct ToolCallParser {
    tools: Vec<Json>,
    /// Text whose meaning is not clear yet; inside a call all of it.
    held: String,
    is_inside: bool,
    /// Bytes of it in which no closing mark ends the call: what was unfinished once stays so.
    tried: usize,
    /// Nothing but white space since a call.
    is_behind_call: bool,
}

impl ToolCallParser {
    /// A parser for an answer that was asked with these tools (JSON schemas in OpenAI's form): they
    /// say which values between tags are text.
    pub fn new(tools: &[Json]) -> Self {
        Self {
            tools: tools.to_vec(),
            held: String::new(),
            is_inside: false,
            tried: 0,
            is_behind_call: false,
        }
    }

    /// Takes the next text and gives the parts that are clear now.
    pub fn push(&mut self, text: &str) -> Vec<ToolCallPart> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        while self.take_next(&mut parts) {}
        parts
    }

    /// Ends the answer. A call without its closing mark counts if it is whole.
    pub fn finish(&mut self) -> Vec<ToolCallPart> {
        let held = std::mem::take(&mut self.held);
        let mut parts = Vec::new();
        if !std::mem::take(&mut self.is_inside) {
            self.text(&held, &mut parts);
        } else if let Read::Call(call) = self.read(&held) {
            parts.push(ToolCallPart::Call(call));
        } else {
            self.text(&format!("{OPEN}{held}"), &mut parts);
        }
        parts
    }

    /// Takes one part from what is held; false when more text is needed.
    fn take_next(&mut self, parts: &mut Vec<ToolCallPart>) -> bool {
        if self.is_inside {
            return self.take_call(parts);
        }
        if let Some(at) = self.held.find(OPEN) {
            let before = self.held[..at].trim_end().to_owned();
            self.held.drain(..at + OPEN.len());
            self.text(&before, parts);
            self.is_inside = true;
            self.tried = 0;
            return true;
        }
        // White space and what may be the start of a mark wait.
        let start = (1..OPEN.len())
            .rev()
            .find(|&bytes| self.held.ends_with(&OPEN[..bytes]))
            .unwrap_or(0);
        let clear = self.held[..self.held.len() - start].trim_end().len();
        let text: String = self.held.drain(..clear).collect();
        self.text(&text, parts);
        false
    }

    fn take_call(&mut self, parts: &mut Vec<ToolCallPart>) -> bool {
        while let Some(found) = self.held[self.tried..].find(CLOSE) {
            let at = self.tried + found;
            match self.read(&self.held[..at]) {
                // A closing mark inside a string of JSON.
                Read::Unfinished => self.tried = at + CLOSE.len(),
                Read::Call(call) => {
                    parts.push(ToolCallPart::Call(call));
                    self.held.drain(..at + CLOSE.len());
                    self.is_inside = false;
                    self.is_behind_call = true;
                    return true;
                }
                Read::NoCall => {
                    let body: String = self.held.drain(..at + CLOSE.len()).collect();
                    self.is_inside = false;
                    self.text(&format!("{OPEN}{body}"), parts);
                    return true;
                }
            }
        }
        false
    }

    fn text(&mut self, text: &str, parts: &mut Vec<ToolCallPart>) {
        let text = match self.is_behind_call {
            true => text.trim_start(),
            false => text,
        };
        if text.is_empty() {
            return;
        }
        self.is_behind_call = false;
        match parts.last_mut() {
            Some(ToolCallPart::Text(last)) => last.push_str(text),
            _ => parts.push(ToolCallPart::Text(text.to_owned())),
        }
    }

    fn read(&self, body: &str) -> Read {
        let body = body.trim();
        if let Some(rest) = body.strip_prefix("<function=") {
            return self.read_tags(rest).map_or(Read::NoCall, Read::Call);
        }
        match serde_json::from_str(body) {
            Ok(json) => read_json(json).map_or(Read::NoCall, Read::Call),
            Err(error) if error.is_eof() => Read::Unfinished,
            Err(_) => Read::NoCall,
        }
    }

    /// `name>` parameters `</function>`.
    fn read_tags(&self, text: &str) -> Option<ToolCall> {
        let (name, rest) = text.split_once('>')?;
        let body = rest.trim_end().strip_suffix("</function>").unwrap_or(rest);
        let mut arguments = Map::new();
        let mut rest = body;
        while let Some((_, parameter)) = rest.split_once("<parameter=") {
            let (key, value) = parameter.split_once('>')?;
            let (value, behind) = value.split_once("</parameter>").unwrap_or((value, ""));
            let value = value.strip_prefix('\n').unwrap_or(value);
            let value = value.strip_suffix('\n').unwrap_or(value);
            arguments.insert(key.to_owned(), self.value(name, key, value));
            rest = behind;
        }
        Some(call(name.trim().to_owned(), Json::Object(arguments)))
    }

    /// Values between tags are JSON where the tool does not say that they are text.
    fn value(&self, tool: &str, parameter: &str, text: &str) -> Json {
        let described = self
            .tools
            .iter()
            .map(|tool| tool.get("function").unwrap_or(tool))
            .find(|function| function["name"] == tool)
            .map(|function| &function["parameters"]["properties"][parameter]["type"]);
        let as_text = || Json::String(text.to_owned());
        match described {
            Some(kind) if kind == "string" => as_text(),
            _ => serde_json::from_str(text).unwrap_or_else(|_| as_text()),
        }
    }
}

/// What stands between two marks.
enum Read {
    Call(ToolCall),
    /// JSON that goes on.
    Unfinished,
    NoCall,
}

fn call(name: String, arguments: Json) -> ToolCall {
    ToolCall {
        id: None,
        name,
        arguments,
    }
}

/// `{"name", "arguments"}`; arguments may be JSON in a string, or missing.
fn read_json(json: Json) -> Option<ToolCall> {
    let Json::Object(mut fields) = json else {
        return None;
    };
    let Some(Json::String(name)) = fields.remove("name") else {
        return None;
    };
    let arguments = fields
        .remove("arguments")
        .or_else(|| fields.remove("parameters"));
    let arguments = match arguments {
        None | Some(Json::Null) => Json::Object(Map::new()),
        Some(Json::String(text)) => match serde_json::from_str(&text) {
            Ok(object @ Json::Object(_)) => object,
            _ => Json::String(text),
        },
        Some(other) => other,
    };
    (!name.is_empty()).then(|| call(name, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(tools: &[Json], texts: &[&str]) -> Vec<ToolCallPart> {
        let mut parser = ToolCallParser::new(tools);
        let mut all: Vec<ToolCallPart> = Vec::new();
        let pushed = texts.iter().flat_map(|text| parser.push(text));
        let mut parts: Vec<ToolCallPart> = pushed.collect();
        parts.extend(parser.finish());
        for part in parts {
            match (all.last_mut(), part) {
                (Some(ToolCallPart::Text(last)), ToolCallPart::Text(text)) => last.push_str(&text),
                (_, part) => all.push(part),
            }
        }
        all
    }

    fn text(text: &str) -> ToolCallPart {
        ToolCallPart::Text(text.to_owned())
    }

    fn called(name: &str, arguments: Json) -> ToolCallPart {
        ToolCallPart::Call(call(name.to_owned(), arguments))
    }

    #[test]
    fn calls_and_the_text_around_them_come_apart_however_the_answer_is_divided() {
        let answer = "I look, näin.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Ulm </tool_call>\"}}\n\
            </tool_call>\n<tool_call>{\"name\": \"now\"}</tool_call>\nDone < 5";
        let expected = [
            text("I look, näin."),
            called("weather", json!({"city": "Ulm </tool_call>"})),
            called("now", json!({})),
            text("Done < 5"),
        ];
        assert_eq!(parse(&[], &[answer]), expected);
        let characters: Vec<String> = answer.chars().map(String::from).collect();
        for size in 1..6 {
            let chunks: Vec<String> = characters.chunks(size).map(|c| c.concat()).collect();
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            assert_eq!(parse(&[], &chunks), expected, "in parts of {size}");
        }
    }

    #[test]
    fn text_is_not_held_back_longer_than_it_may_be_a_mark() {
        let mut parser = ToolCallParser::new(&[]);
        assert_eq!(parser.push("a <b"), [text("a <b")]);
        assert_eq!(parser.push(" <tool"), []);
        assert_eq!(parser.push("box>"), [text(" <toolbox>")]);
    }

    #[test]
    fn tags_are_read_and_values_have_the_type_that_the_tool_says() {
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": {
            "type": "object", "properties": {"code": {"type": "string"}, "count": {"type": "integer"}}}}});
        let answer = "<tool_call>\n<function=f>\n<parameter=code>\n12\nif a < b:\n</parameter>\n<parameter=count>\n3\n\
            </parameter>\n<parameter=other>\nfree\n</parameter>\n</function>\n</tool_call>";
        let arguments = json!({"code": "12\nif a < b:", "count": 3, "other": "free"});
        assert_eq!(parse(&[tool], &[answer]), [called("f", arguments)]);
    }

    #[test]
    fn arguments_may_be_json_in_a_string_and_the_last_mark_may_be_missing() {
        let answer = "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}";
        assert_eq!(parse(&[], &[answer]), [called("f", json!({"a": 1}))]);
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for answer in [
            "<tool_call>\nnot json\n</tool_call> rest",
            "<tool_call>{\"name\": 5}</tool_call>",
            "<tool_call>[1]</tool_call>",
            "<tool_call>{\"name\": \"f\", \"argu",
            "plain",
        ] {
            assert_eq!(parse(&[], &[answer]), [text(answer)]);
        }
        assert_eq!(parse(&[], &[""]), []);
    }

    /// Each closing mark is looked at once: reading all of them again for each token would take minutes here.
    #[test]
    fn a_call_full_of_closing_marks_takes_no_time_to_speak_of() {
        let mut parser = ToolCallParser::new(&[]);
        let body: String = (0..4000).map(|n| format!("{CLOSE}{n}")).collect();
        let mut parts = parser.push("<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"");
        for mark in body.split_inclusive('>') {
            parts.extend(parser.push(mark));
        }
        assert_eq!(parts, []);
        parts = parser.push("\"}}</tool_call>");
        assert_eq!(parts, [called("f", json!({"a": body}))]);
    }

    /// Whatever a model writes: nothing panics, cuts do not matter, and text without marks comes back whole.
    #[test]
    fn changed_answers_give_the_same_parts_however_they_are_divided() {
        let seed = "Yes.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"é\"}}\n</tool_call>\n\
            <tool_call><function=g>\n<parameter=x>\n1\n</parameter>\n</function></tool_call> end";
        let mut state = 1_u64;
        let mut draw = |most: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize % most
        };
        for _ in 0..3000 {
            let mut letters: Vec<char> = seed.chars().collect();
            for _ in 0..1 + draw(5) {
                let at = draw(letters.len());
                match draw(3) {
                    0 if letters.len() > 1 => drop(letters.remove(at)),
                    1 => letters.insert(at, letters[draw(letters.len())]),
                    _ => letters.truncate(at.max(9)),
                }
            }
            let whole: String = letters.iter().collect();
            let size = 1 + draw(7);
            let chunks: Vec<String> = letters.chunks(size).map(|c| c.iter().collect()).collect();
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            let expected = parse(&[], &[&whole]);
            assert_eq!(
                parse(&[], &chunks),
                expected,
                "{whole:?} in parts of {size}"
            );
            if !whole.contains(OPEN) && !whole.is_empty() {
                assert_eq!(expected, [text(&whole)]);
            }
        }
    }
}
