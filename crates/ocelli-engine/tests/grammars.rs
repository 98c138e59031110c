//! Answers that must have a form, from a model that knows nothing of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use ocelli_engine::{
    Error, FinishReason, Generate, Grammar, GrammarSource, Grammars, StopCause, Thinking,
};
use ocelli_text::{ToolCallParser, ToolCallPart};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use common::{Bench, finish};

fn compile(bench: &Bench, source: &GrammarSource) -> Result<Grammar, Error> {
    Grammars::new(Arc::clone(&bench.model)).compile(source)
}

fn problem(bench: &Bench, source: &GrammarSource) -> String {
    compile(bench, source).unwrap_err().to_string()
}

#[test]
fn answers_follow_a_schema_or_were_cut_off() {
    let bench = Bench::new(2);
    let schema = json!({
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "green"]},
            "count": {"type": "integer", "minimum": 1, "maximum": 20},
            "sure": {"type": "boolean"},
        },
        "required": ["colour", "count", "sure"],
        "additionalProperties": false,
    });
    let outcomes = bench.drawn(&GrammarSource::JsonSchema(schema));
    let mut complete = 0;
    for outcome in &outcomes {
        if outcome.finish_reason == FinishReason::Length {
            continue;
        }
        complete += 1;
        let value: Value = serde_json::from_str(&outcome.text).unwrap();
        let object = value.as_object().unwrap();
        assert_eq!(
            object.keys().collect::<Vec<_>>(),
            ["colour", "count", "sure"]
        );
        assert!(["red", "green"].contains(&value["colour"].as_str().unwrap()));
        assert!((1..=20).contains(&value["count"].as_u64().unwrap()));
        assert!(value["sure"].is_boolean());
    }
    assert!(
        complete >= 4,
        "{complete} of {} are complete",
        outcomes.len()
    );
}

#[test]
fn expressions_and_both_notations_of_grammars_are_followed() {
    let bench = Bench::new(2);
    let is_form = |text: &str| {
        let (word, digits) = text.split_once('-').unwrap();
        ["ab", "cd"].contains(&word) && digits.len() == 3 && digits.parse::<u32>().is_ok()
    };
    for source in [
        GrammarSource::Regex("(ab|cd)-[0-9]{3}".to_owned()),
        GrammarSource::Grammar("start: (\"ab\" | \"cd\") \"-\" /[0-9]{3}/".to_owned()),
        GrammarSource::Grammar(
            "root ::= word \"-\" digit{3} # a form\nword ::= \"ab\" | \"cd\"\ndigit ::= [0-9]"
                .to_owned(),
        ),
    ] {
        for outcome in bench.drawn(&source) {
            assert!(is_form(&outcome.text), "{source:?}: {:?}", outcome.text);
            assert_eq!(outcome.finish_reason, FinishReason::Stop);
        }
    }
}

#[test]
fn between_tokens_of_json_is_one_space_or_one_new_line_with_its_indentation() {
    let bench = Bench::new(2);
    let schema = json!({
        "type": "object",
        "properties": {"a": {"enum": [true, false]}, "b": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 3}},
        "required": ["a", "b"],
        "additionalProperties": false,
    });
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": schema.clone()}});
    let sources = [
        GrammarSource::JsonSchema(schema),
        GrammarSource::ToolCalls(vec![tool]),
    ];
    let mut spaces = 0;
    for outcome in sources.iter().flat_map(|source| bench.drawn(source)) {
        let mut lines = outcome.text.trim_end().split('\n');
        let first = lines.next().unwrap();
        let inner = lines.map(|line| line.trim_start_matches([' ', '\t']));
        for line in std::iter::once(first).chain(inner) {
            let is_plain = !line.is_empty() && !line.contains("  ") && !line.contains('\t');
            assert!(is_plain, "{:?}", outcome.text);
            spaces += line.matches(' ').count();
        }
    }
    assert!(spaces > 0, "the model writes white space where it may");
}

#[test]
fn any_object_is_json() {
    let bench = Bench::new(2);
    for outcome in bench.drawn(&GrammarSource::JsonObject) {
        assert!(
            outcome.text.trim_start().starts_with('{'),
            "{:?}",
            outcome.text
        );
        if outcome.finish_reason == FinishReason::Stop {
            // Values are looked at, not kept: JSON sets numbers no limit, what keeps them does.
            let members = serde_json::from_str::<HashMap<String, IgnoredAny>>(&outcome.text);
            assert!(members.is_ok(), "{members:?}: {}", outcome.text);
        }
    }
}

#[test]
fn an_answer_that_must_call_a_tool_calls_one_with_arguments_that_it_has() {
    let bench = Bench::new(2);
    let tool = |name: &str, parameters: Value| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
    let colour = json!({"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"], "additionalProperties": false});
    let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let tools = vec![tool("paint", colour), tool("stop", nothing)];
    let mut calls = 0;
    for outcome in bench.drawn(&GrammarSource::ToolCalls(tools.clone())) {
        let mut parser = ToolCallParser::new(&tools);
        let mut parts = parser.push(&outcome.text);
        if outcome.finish_reason == FinishReason::Stop {
            parts.extend(parser.finish());
        }
        for part in parts {
            let ToolCallPart::Call(call) = part else {
                panic!("{:?}", outcome.text)
            };
            calls += 1;
            match call.name.as_str() {
                "paint" => {
                    assert!(["red", "blue"].contains(&call.arguments["colour"].as_str().unwrap()))
                }
                name => assert_eq!((name, call.arguments), ("stop", json!({}))),
            }
        }
    }
    assert!(calls >= 4, "{calls} calls");
    assert!(problem(&bench, &GrammarSource::ToolCalls(vec![])).contains("tools is empty"));
    let nameless = GrammarSource::ToolCalls(vec![json!({"function": {}})]);
    assert!(problem(&bench, &nameless).contains("tools[0] has no name"));
}

#[test]
fn parameters_of_a_tool_may_refer_to_what_they_define() {
    let bench = Bench::new(2);
    let parameters = json!({"type": "object", "$defs": {"colour": {"enum": ["red", "blue"]}},
        "properties": {"colour": {"$ref": "#/$defs/colour"}}, "required": ["colour"]});
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
    for tools in [vec![tool("paint")], vec![tool("paint"), tool("wash")]] {
        let mut calls = 0;
        for outcome in bench.drawn(&GrammarSource::ToolCalls(tools.clone())) {
            for part in ToolCallParser::new(&tools).push(&outcome.text) {
                if let ToolCallPart::Call(call) = part {
                    calls += 1;
                    let colour = call.arguments["colour"].as_str().unwrap();
                    assert!(["red", "blue"].contains(&colour), "{colour}");
                    // It names no other parameters.
                    assert_eq!(call.arguments.as_object().unwrap().len(), 1);
                }
            }
        }
        assert!(calls > 0);
    }
}

#[test]
fn the_same_answer_comes_in_a_batch_and_from_a_grammar_that_was_used_before() {
    let bench = Bench::new(2);
    let grammars = Grammars::new(Arc::clone(&bench.model));
    let schema = json!({"type": "array", "items": {"type": "integer"}, "maxItems": 9});
    let source = GrammarSource::JsonSchema(schema);
    let request = |question: &str| Generate {
        grammar: Some(grammars.compile(&source).unwrap()),
        ..bench.request(question, None)
    };
    let expected = bench.run(request("How many?")).unwrap();
    let mut engine = bench.engine(3);
    let first = engine.submit(request("How many?")).unwrap();
    engine.submit(request("And now?")).unwrap();
    let second = engine.submit(request("How many?")).unwrap();
    let outcomes = finish(&mut engine);
    assert_eq!(outcomes[&first].tokens, expected.tokens);
    assert_eq!(outcomes[&second].tokens, expected.tokens);
}

#[test]
fn a_grammar_begins_behind_the_reasoning() {
    let bench = Bench::new(1);
    let source = GrammarSource::Regex("yes|no".to_owned());
    let grammar = compile(&bench, &source).unwrap();
    for end in ["<think>\n", ""] {
        let mut request = bench.request_ending("Hi", None, end);
        request.grammar = Some(grammar.clone());
        request.thinking = Thinking {
            separate: true,
            budget: Some(3),
        };
        request.max_tokens = 20;
        // Where the prompt opens no reasoning, the model may.
        if end.is_empty() {
            request.sampling.logit_bias = vec![(bench.token("<think>"), 100.0)];
        }
        let outcome = bench.run(request).unwrap();
        assert_eq!(outcome.reasoning_tokens, 3, "{end:?}");
        assert!(
            ["yes", "no"].contains(&outcome.text.as_str()),
            "{outcome:?}"
        );
        assert!(matches!(
            outcome.stopped,
            Some(StopCause::Grammar | StopCause::End(_))
        ));
    }
}

#[test]
fn a_grammar_ends_the_answer_even_where_ends_are_forbidden() {
    let bench = Bench::new(1);
    let source = GrammarSource::Regex("abc".to_owned());
    let request = Generate {
        grammar: Some(compile(&bench, &source).unwrap()),
        ignore_end: true,
        min_tokens: 10,
        ..bench.request("Hi", None)
    };
    let mut engine = bench.engine(1);
    let id = engine.submit(request).unwrap();
    let outcome = finish(&mut engine).remove(&id).unwrap();
    assert_eq!(outcome.text, "abc");
    assert_eq!(outcome.stopped, Some(StopCause::Grammar));
    let counted = engine.stats().generated_tokens_total;
    assert_eq!(counted, outcome.tokens.len() as u64, "the end is no token");
}

#[test]
fn a_bias_against_all_that_a_grammar_allows_is_a_dead_end_of_that_request() {
    let bench = Bench::new(1);
    let mut request = bench.request("Hi", None);
    request.grammar = Some(compile(&bench, &GrammarSource::Regex("Q".to_owned())).unwrap());
    request.sampling.logit_bias = vec![(bench.token("Q"), -100.0)];
    let error = bench.run(request).unwrap_err().to_string();
    assert!(error.contains("grammar_dead_end"), "{error}");
}

#[test]
fn what_cannot_be_enforced_is_refused_with_its_reason() {
    let bench = Bench::new(1);
    let values: Vec<u32> = (0..100_000).collect();
    for (source, expected) in [
        (
            GrammarSource::JsonSchema(json!(5)),
            "schema must be an object",
        ),
        (
            GrammarSource::JsonSchema(json!({"enum": values})),
            "limit 4096",
        ),
        (
            GrammarSource::JsonSchema(json!({"$ref": "https://example.org"})),
            "not fetched",
        ),
        (
            GrammarSource::JsonSchema(json!({"$ref": "#/$defs/none"})),
            "invalid_schema",
        ),
        (
            GrammarSource::JsonSchema(json!({"type": "integer", "minimum": 5, "maximum": 4})),
            "invalid_schema",
        ),
        (
            GrammarSource::JsonSchema(
                json!({"type": "object", "dependentSchemas": {}, "not": {}, "if": {}}),
            ),
            "invalid_schema",
        ),
        (GrammarSource::Regex("(".to_owned()), "invalid_schema"),
        (GrammarSource::Regex(String::new()), "regex is empty"),
        (GrammarSource::Regex("(".repeat(100_000)), "invalid_schema"),
        (GrammarSource::Regex("a".repeat(300_000)), "limit 262144"),
        (GrammarSource::Grammar(" ".to_owned()), "grammar is empty"),
        (
            GrammarSource::Grammar("start: missing".to_owned()),
            "missing",
        ),
        (
            GrammarSource::Grammar(format!("start: {}\"a\"", "(".repeat(100_000))),
            "invalid_schema",
        ),
        (
            GrammarSource::Grammar("root ::= other".to_owned()),
            "invalid_schema",
        ),
        (
            GrammarSource::Grammar("a ::= \"x\"".to_owned()),
            "no rule `root`",
        ),
    ] {
        let problem = problem(&bench, &source);
        assert!(problem.contains(expected), "{problem}");
        assert!(problem.len() < 400, "{problem}");
    }
}

#[test]
fn a_request_cannot_switch_enforcement_off() {
    let bench = Bench::new(1);
    let schema = json!({"type": "object", "not": {}, "x-guidance": {"lenient": true}});
    let problem = problem(&bench, &GrammarSource::JsonSchema(schema));
    assert!(problem.contains("invalid_schema"), "{problem}");
}

#[test]
fn an_expensive_grammar_costs_its_own_request_only() {
    let bench = Bench::new(1);
    let nested = "((((a{1,200}){1,200}){1,200}){1,200}){1,200}".to_owned();
    let ambiguous = "start: a\na: a a | \"Q\" | \"Q\" a | a \"Q\"".to_owned();
    let expected = bench.run(bench.request("Hi", None)).unwrap();
    for source in [
        GrammarSource::Regex(nested),
        GrammarSource::Grammar(ambiguous),
    ] {
        let mut engine = bench.engine(2);
        let bound = compile(&bench, &source).map(|grammar| Generate {
            grammar: Some(grammar),
            max_tokens: 100,
            ..bench.request("Hi", None)
        });
        // Refused at once, ended by its own bounds, or answered: the neighbour never notices.
        if let Ok(request) = bound {
            engine.submit(request).unwrap();
        }
        let id = engine.submit(bench.request("Hi", None)).unwrap();
        let outcomes = common::finish_all(&mut engine);
        assert_eq!(outcomes[&id].as_ref().unwrap().tokens, expected.tokens);
    }
}
