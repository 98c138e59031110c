//! Which tools an answer calls: none of them, those the model wants, any, or one.

use std::collections::HashSet;

use ocelli::service::Ask;
use ocelli::{GrammarSource, ToolCall};
use serde_json::Value;

use crate::failure::Failure;
use crate::fields::{Fields, Kind};

/// Most tools of a request.
pub(crate) const TOOLS: usize = 128;

/// Reads `tools` in OpenAI's form, which templates know.
///
/// # Errors
/// When there are too many, or one has no name.
pub(crate) fn read(fields: &Fields<'_>) -> Result<Vec<Value>, Failure> {
    let tools = fields.list("tools")?.cloned().unwrap_or_default();
    if tools.len() > TOOLS {
        return Err(fields.wrong("tools", format_args!("must have at most {TOOLS} tools")));
    }
    for (index, tool) in tools.iter().enumerate() {
        let place = format!("tools[{index}]");
        if !tool["function"]["name"].is_string() {
            let place = format!("{place}.function.name");
            return Err(Failure::field(place, "missing, need a string"));
        }
        let tool = Fields::at(tool, &place)?;
        if tool.string("type")?.is_some_and(|kind| kind != "function") {
            return Err(tool.wrong("type", "must be function"));
        }
        if let Some(function) = tool.object("function")? {
            function.ignore(Kind::Text, &["description"])?;
            function.ignore(Kind::Flag, &["strict"])?;
        }
    }
    Ok(tools)
}

/// Ids of the calls of a conversation, to see that every result belongs to one.
#[derive(Debug, Default)]
pub(crate) struct CallIds {
    ids: HashSet<String>,
    /// A call came without one.
    has_nameless: bool,
}

impl CallIds {
    /// Takes in a call.
    pub(crate) fn made(&mut self, call: &ToolCall) {
        match &call.id {
            Some(id) => drop(self.ids.insert(id.clone())),
            None => self.has_nameless = true,
        }
    }

    /// Reads the id of the call that a result belongs to.
    ///
    /// # Errors
    /// When there was no such call.
    pub(crate) fn answered(
        &self,
        fields: &Fields<'_>,
        key: &str,
    ) -> Result<Option<String>, Failure> {
        let id = fields.string(key)?;
        match id {
            Some(id) if !self.has_nameless && !self.ids.contains(id) => {
                let id: String = id.escape_default().take(64).collect();
                let what = format!("'{id}' is the id of no call before it in this conversation");
                Err(fields.wrong(key, what))
            }
            id => Ok(id.map(str::to_owned)),
        }
    }
}

/// What a request says about its tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The answer calls none; the model does not see them.
    None,
    /// The model decides.
    Auto,
    /// At least one is called.
    Any,
    /// This one is called.
    One(String),
}

impl Choice {
    /// Puts that into a request whose tools are known. One that forces a call binds the form of the answer.
    ///
    /// # Errors
    /// What is wrong with the choice, to be said behind the field's name.
    pub(crate) fn put(&self, ask: &mut Ask) -> Result<(), &'static str> {
        let chosen: Vec<Value> = match self {
            Self::Auto => return Ok(()),
            Self::None => {
                ask.tools.clear();
                return Ok(());
            }
            Self::Any => ask.tools.clone(),
            Self::One(name) => ask.tools.iter().filter(|t| is(t, name)).cloned().collect(),
        };
        if chosen.is_empty() {
            return Err("names no tool of this request");
        }
        if ask.grammar.is_some() {
            return Err("cannot be forced together with a form of the answer");
        }
        ask.grammar = Some(GrammarSource::ToolCalls(chosen));
        Ok(())
    }
}

/// Leaves a request only the tools of these names.
///
/// # Errors
/// When one of them is no tool of the request.
pub(crate) fn allow(ask: &mut Ask, names: &[&str]) -> Result<(), &'static str> {
    let is_known = |name: &&str| ask.tools.iter().any(|tool| is(tool, name));
    if names.is_empty() || !names.iter().all(is_known) {
        return Err("names no tool of this request");
    }
    ask.tools
        .retain(|tool| names.iter().any(|name| is(tool, name)));
    Ok(())
}

fn is(tool: &Value, name: &str) -> bool {
    tool["function"]["name"] == name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask() -> Ask {
        let mut ask = Ask::chat(Vec::new());
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        ask.tools = vec![tool("look"), tool("count")];
        ask
    }

    #[test]
    fn a_choice_binds_the_answer_as_far_as_it_says() {
        for (choice, tools, forced) in [
            (Choice::Auto, 2, None),
            (Choice::None, 0, None),
            (Choice::Any, 2, Some(2)),
            (Choice::One("count".into()), 2, Some(1)),
        ] {
            let mut ask = ask();
            choice.put(&mut ask).unwrap();
            assert_eq!(ask.tools.len(), tools, "{choice:?}");
            let bound = ask.grammar.map(|grammar| match grammar {
                GrammarSource::ToolCalls(tools) => tools.len(),
                other => panic!("{other:?}"),
            });
            assert_eq!(bound, forced, "{choice:?}");
        }
        assert!(Choice::One("fly".into()).put(&mut ask()).is_err());
        assert!(Choice::Any.put(&mut Ask::chat(Vec::new())).is_err());
        let mut formed = ask();
        formed.grammar = Some(GrammarSource::JsonObject);
        assert!(Choice::Any.put(&mut formed).is_err());
    }

    #[test]
    fn only_allowed_tools_are_left() {
        let mut ask = ask();
        assert!(allow(&mut ask, &["look", "fly"]).is_err());
        assert!(allow(&mut ask, &[]).is_err());
        allow(&mut ask, &["look"]).unwrap();
        assert_eq!(ask.tools.len(), 1);
    }
}
