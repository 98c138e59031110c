//! What an answer must look like, which tokens it may end with, and what is told about each of its tokens.

use ocelli::service::Ask;
use ocelli::{GrammarSource, TokenLogprob};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::fields::Fields;

/// Reads all of that into a request.
pub(super) fn read(fields: &Fields<'_>, ask: &mut Ask) -> Result<(), Failure> {
    ask.grammar = grammar(fields)?;
    ask.logprobs = logprobs(fields)?;
    ask.min_tokens = fields.max_tokens("min_tokens")?.unwrap_or(0);
    ask.ignore_end = fields.bool("ignore_eos")?.unwrap_or(false);
    ask.pan_and_scan = fields.bool("pan_and_scan")?.unwrap_or(false);
    ask.stop_tokens = stop_tokens(fields)?;
    ask.thinking.separate = true;
    let budget = fields.integer("thinking_budget", 0..=1 << 31)?;
    ask.thinking.budget = budget.map(|tokens| tokens as usize);
    match fields.string("reasoning_effort")? {
        Some("none") => {
            ask.arguments
                .insert("enable_thinking".to_owned(), Value::Bool(false));
        }
        Some("minimal" | "low" | "medium" | "high" | "xhigh") | None => {}
        Some(_) => {
            return Err(fields.wrong(
                "reasoning_effort",
                "must be none, minimal, low, medium or high",
            ));
        }
    }
    Ok(())
}

/// Reads `tool_choice`, once the tools are known: none of them, those the model wants, any, or one.
pub(super) fn choose_tools(fields: &Fields<'_>, ask: &mut Ask) -> Result<(), Failure> {
    let Some(choice) = fields.get("tool_choice") else {
        return Ok(());
    };
    let name = match choice {
        Value::String(text) if text == "auto" => return Ok(()),
        Value::String(text) if text == "none" => {
            ask.tools.clear();
            return Ok(());
        }
        Value::String(text) if text == "required" => None,
        // Nested in chats, flat in responses.
        Value::Object(choice) => {
            let nested = choice
                .get("function")
                .and_then(|function| function.get("name"));
            let name = nested.or(choice.get("name")).and_then(Value::as_str);
            Some(name.ok_or_else(|| fields.wrong("tool_choice.function.name", "missing"))?)
        }
        _ => return Err(fields.wrong("tool_choice", "must be none, auto, required or a function")),
    };
    let is_chosen = |tool: &&Value| name.is_none_or(|name| tool["function"]["name"] == name);
    let chosen: Vec<Value> = ask.tools.iter().filter(is_chosen).cloned().collect();
    if chosen.is_empty() {
        return Err(fields.wrong("tool_choice", "names no tool of this request"));
    }
    if ask.grammar.is_some() {
        return Err(fields.wrong(
            "tool_choice",
            "cannot be forced together with a form of the answer",
        ));
    }
    ask.grammar = Some(GrammarSource::ToolCalls(chosen));
    Ok(())
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
    let top = fields.integer("top_logprobs", 0..=20)?;
    if top.is_some_and(|top| top > 0) && !is_wanted {
        return Err(fields.wrong("top_logprobs", "is only allowed with logprobs: true"));
    }
    Ok(is_wanted.then_some(top.unwrap_or(0) as usize))
}

/// OpenAI's `response_format`, and what others call the same.
fn grammar(fields: &Fields<'_>) -> Result<Option<GrammarSource>, Failure> {
    let mut found = Vec::new();
    if let Some(value) = fields.get("response_format") {
        found.extend(response_format(&Fields::at(value, "response_format")?)?);
    }
    found.extend(guided(
        fields,
        ["guided_json", "guided_regex", "guided_grammar"],
    )?);
    if let Some(value) = fields.get("structured_outputs") {
        let inner = Fields::at(value, "structured_outputs")?;
        found.extend(guided(&inner, ["json", "regex", "grammar"])?);
    }
    if let Some(text) = fields.string("grammar")? {
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

fn guided(fields: &Fields<'_>, names: [&str; 3]) -> Result<Vec<GrammarSource>, Failure> {
    let [json, regex, grammar] = names;
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
            let nested = fields.get("json_schema").map(|value| &value["schema"]);
            let value = nested.or(fields.get("schema")).unwrap_or(&Value::Null);
            schema(value, &fields.place("json_schema.schema")).map(Some)
        }
        Some("regex") => Ok(Some(GrammarSource::Regex(text("pattern")?))),
        Some("grammar") => Ok(Some(GrammarSource::Grammar(text("grammar")?))),
        Some(other) => {
            let other: String = other.escape_default().take(64).collect();
            let need = "need text, json_object, json_schema, regex or grammar";
            Err(fields.wrong("type", format_args!("'{other}' is unknown, {need}")))
        }
    }
}

/// Probabilities as chats have them.
pub(super) fn logprobs_of(tokens: &[TokenLogprob]) -> Value {
    let one = |bytes: &[u8], logprob: f32| {
        json!({
            "token": String::from_utf8_lossy(bytes),
            "logprob": logprob.max(-9999.0),
            "bytes": bytes,
        })
    };
    let token = |token: &TokenLogprob| {
        let mut entry = one(&token.bytes, token.logprob);
        let others = token.alternatives.iter();
        entry["top_logprobs"] = others
            .map(|other| one(&other.bytes, other.logprob))
            .collect();
        entry
    };
    json!({"content": tokens.iter().map(token).collect::<Vec<_>>(), "refusal": null})
}
