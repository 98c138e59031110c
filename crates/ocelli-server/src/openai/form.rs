//! What an answer must look like, which tokens it may end with, and what is told about each of its tokens.

use ocelli::service::{Ask, Calls};
use ocelli::{GrammarSource, TokenLogprob};
use serde_json::{Value, json};

use crate::UnknownFields;
use crate::failure::Failure;
use crate::fields::{Fields, Kind};
use crate::report;
use crate::tools::{self, Choice};

/// Reads all of that into a request.
pub(super) fn read(fields: &Fields<'_>, ask: &mut Ask) -> Result<(), Failure> {
    ask.grammar = grammar(fields)?;
    ask.logprobs = logprobs(fields)?;
    ends(fields, ask)?;
    ask.pan_and_scan = fields.bool("pan_and_scan")?.unwrap_or(false);
    ask.thinking.separate = true;
    let budget = fields.integer("thinking_budget", 0..=1 << 31)?;
    ask.thinking.budget = budget.map(|tokens| tokens as usize);
    effort(fields, "reasoning_effort", ask)
}

/// Reads how much the model is to think; only whether it does is ours to choose.
pub(super) fn effort(fields: &Fields<'_>, key: &str, ask: &mut Ask) -> Result<(), Failure> {
    match fields.string(key)? {
        Some("none") => {
            let thinks = "enable_thinking".to_owned();
            ask.arguments.insert(thinks, Value::Bool(false));
            Ok(())
        }
        Some("minimal" | "low" | "medium" | "high" | "xhigh") | None => Ok(()),
        Some(_) => Err(fields.wrong(key, "must be none, minimal, low, medium, high or xhigh")),
    }
}

/// Reads what may end an answer, beside stop strings.
pub(super) fn ends(fields: &Fields<'_>, ask: &mut Ask) -> Result<(), Failure> {
    ask.min_tokens = fields.integer("min_tokens", 0..=1 << 31)?.unwrap_or(0) as usize;
    ask.ignore_end = fields.bool("ignore_eos")?.unwrap_or(false);
    ask.stop_tokens = stop_tokens(fields)?;
    Ok(())
}

/// Most texts that an answer may be one of.
const CHOICES: usize = 4096;
/// Most alternatives of a token.
pub(super) const ALTERNATIVES: u64 = 20;

/// Reads `tool_choice`, once the tools are known: none of them, those the model wants, any, one, or
/// some of them.
pub(super) fn choose_tools(fields: &Fields<'_>, ask: &mut Ask) -> Result<(), Failure> {
    ask.calls = calls(fields)?;
    let Some(choice) = fields.get("tool_choice") else {
        return Ok(());
    };
    let wrong = |what| fields.wrong("tool_choice", what);
    let choice = match choice {
        Value::String(mode) => mode_of(mode),
        Value::Object(choice) if choice.get("type").is_some_and(|t| t == "allowed_tools") => {
            // Nested in chats, flat in responses.
            let allowed = choice.get("allowed_tools").unwrap_or(&Value::Null);
            let of = |key: &str| allowed.get(key).or(choice.get(key));
            let names = of("tools").and_then(Value::as_array).map(Vec::as_slice);
            let names: Option<Vec<&str>> = names.unwrap_or_default().iter().map(name_of).collect();
            tools::allow(ask, &names.unwrap_or_default()).map_err(wrong)?;
            of("mode").and_then(Value::as_str).and_then(mode_of)
        }
        value @ Value::Object(choice) => {
            if choice.get("type").is_some_and(|kind| kind != "function") {
                return Err(fields.wrong("tool_choice.type", "must be function or allowed_tools"));
            }
            let name = name_of(value);
            let name = name.ok_or_else(|| fields.wrong("tool_choice.function.name", "missing"))?;
            Some(Choice::One(name.to_owned()))
        }
        _ => None,
    };
    let need = "must be none, auto, required, a function or allowed_tools";
    choice.ok_or_else(|| wrong(need))?.put(ask).map_err(wrong)
}

/// Reads `parallel_tool_calls`.
fn calls(fields: &Fields<'_>) -> Result<Calls, Failure> {
    Ok(match fields.bool("parallel_tool_calls")? {
        Some(false) => Calls::One,
        Some(true) | None => Calls::Many,
    })
}

fn mode_of(mode: &str) -> Option<Choice> {
    match mode {
        "none" => Some(Choice::None),
        "auto" => Some(Choice::Auto),
        // The second is Mistral's word.
        "required" | "any" => Some(Choice::Any),
        _ => None,
    }
}

/// The name of a tool: nested in chats, flat in responses.
fn name_of(tool: &Value) -> Option<&str> {
    let nested = tool
        .get("function")
        .and_then(|function| function.get("name"));
    nested.or(tool.get("name")).and_then(Value::as_str)
}

fn stop_tokens(fields: &Fields<'_>) -> Result<Vec<u32>, Failure> {
    const MOST: usize = 16;
    let list = fields
        .list("stop_token_ids")?
        .map(Vec::as_slice)
        .unwrap_or_default();
    let wrong = || {
        fields.wrong(
            "stop_token_ids",
            format_args!("must be at most {MOST} token ids"),
        )
    };
    if list.len() > MOST {
        return Err(wrong());
    }
    let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
    list.iter()
        .map(|value| token(value).ok_or_else(wrong))
        .collect()
}

fn logprobs(fields: &Fields<'_>) -> Result<Option<usize>, Failure> {
    let is_wanted = fields.bool("logprobs")?.unwrap_or(false);
    let top = fields.integer("top_logprobs", 0..=ALTERNATIVES)?;
    if top.is_some_and(|top| top > 0) && !is_wanted {
        return Err(fields.wrong("top_logprobs", "is only allowed with logprobs: true"));
    }
    Ok(is_wanted.then_some(top.unwrap_or(0) as usize))
}

/// OpenAI's `response_format`, and what others call the same.
pub(super) fn grammar(fields: &Fields<'_>) -> Result<Option<GrammarSource>, Failure> {
    let mut found = Vec::new();
    if let Some(value) = fields.get("response_format") {
        found.extend(response_format(&Fields::at(value, "response_format")?)?);
    }
    let names = [
        "guided_json",
        "guided_regex",
        "guided_grammar",
        "guided_choice",
    ];
    found.extend(guided(fields, names)?);
    if let Some(inner) = fields.object("structured_outputs")? {
        found.extend(guided(&inner, ["json", "regex", "grammar", "choice"])?);
        // A form that is not known must not be left out.
        inner.warnings(UnknownFields::Refused)?;
    }
    // llama-server's words.
    if let Some(value) = fields.get("json_schema") {
        found.push(schema(value, "json_schema")?);
    }
    if let Some(text) = fields.string("grammar")?.filter(|text| !text.is_empty()) {
        found.push(GrammarSource::Grammar(text.to_owned()));
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(Failure::field(
            "response_format",
            "is given more than once in different words",
        )),
    }
}

/// A schema, as an object or as its text.
pub(super) fn schema(value: &Value, place: &str) -> Result<GrammarSource, Failure> {
    let wrong = || Failure {
        code: "invalid_schema",
        ..Failure::field(place, "schema must be an object")
    };
    let schema = match value {
        Value::String(text) => serde_json::from_str(text).map_err(|_| wrong())?,
        value => value.clone(),
    };
    match schema.is_object() {
        true => Ok(GrammarSource::JsonSchema(schema)),
        false => Err(wrong()),
    }
}

fn guided(fields: &Fields<'_>, names: [&str; 4]) -> Result<Vec<GrammarSource>, Failure> {
    let [json, regex, grammar, choice] = names;
    let mut found = Vec::new();
    if let Some(value) = fields.get(json) {
        found.push(schema(value, &fields.place(json))?);
    }
    if let Some(text) = fields.string(regex)? {
        found.push(GrammarSource::Regex(text.to_owned()));
    }
    if let Some(text) = fields.string(grammar)? {
        found.push(GrammarSource::Grammar(text.to_owned()));
    }
    if let Some(list) = fields.list(choice)? {
        let wrong = || fields.wrong(choice, format_args!("must be 1..{CHOICES} texts"));
        let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
        let texts = texts.ok_or_else(wrong)?;
        if texts.is_empty() || texts.len() > CHOICES || texts.contains(&"") {
            return Err(wrong());
        }
        // Lark writes strings as JSON does.
        let texts: Vec<String> = texts.iter().map(|text| json!(text).to_string()).collect();
        let grammar = format!("start: {}", texts.join(" | "));
        found.push(GrammarSource::Grammar(grammar));
    }
    Ok(found)
}

/// Reads `{"type": ...}`.
pub(super) fn response_format(fields: &Fields<'_>) -> Result<Option<GrammarSource>, Failure> {
    let text = |key: &str| {
        let text = fields.string(key)?;
        text.map(str::to_owned)
            .ok_or_else(|| fields.wrong(key, "missing, need a string"))
    };
    match fields.string("type")? {
        None => Err(fields.wrong("type", "missing, need text, json_object or json_schema")),
        Some("text") => Ok(None),
        Some("json_object") => match fields.get("schema") {
            Some(value) => schema(value, &fields.place("schema")).map(Some),
            None => Ok(Some(GrammarSource::JsonObject)),
        },
        Some("json_schema") => {
            // Nested in chats, flat in responses.
            let nested = fields.object("json_schema")?;
            let inner = nested.as_ref().unwrap_or(fields);
            inner.ignore(Kind::Text, &["name", "description"])?;
            inner.ignore(Kind::Flag, &["strict"])?;
            let value = inner.get("schema").unwrap_or(&Value::Null);
            schema(value, &fields.place("json_schema.schema")).map(Some)
        }
        Some("boxes") => Ok(Some(GrammarSource::Boxes)),
        Some("regex") => Ok(Some(GrammarSource::Regex(text("pattern")?))),
        Some("grammar") => Ok(Some(GrammarSource::Grammar(text("grammar")?))),
        Some(other) => {
            let other: String = other.escape_default().take(64).collect();
            let need = "need text, json_object, json_schema, boxes, regex or grammar";
            Err(fields.wrong("type", format_args!("'{other}' is unknown, {need}")))
        }
    }
}

/// Probabilities as chats have them.
pub(super) fn logprobs_of(tokens: &[TokenLogprob]) -> Value {
    let content: Vec<Value> = tokens.iter().map(report::token_logprob).collect();
    json!({"content": content, "refusal": null})
}
