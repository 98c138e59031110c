//! Guessing tokens ahead changes no answer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use ocelli_engine::{
    Engine, Event, FinishReason, Generate, GrammarSource, Grammars, Model, Outcome, Prompt,
    Sampling, Settings,
};
use ocelli_gguf::Gguf;
use ocelli_models::load_text;
use ocelli_tensor::{Backend, KvElement};
use ocelli_testkit::{Suite, suites};
use ocelli_text::{Tokenizer, Vocabulary};
use serde_json::json;

use common::faulty::{Fault, Faulty, Harm};
use common::{Bench, cpu, finish, finish_all};

/// Long answers, which say some things again.
fn long(request: Generate) -> Generate {
    Generate {
        max_tokens: 90,
        ignore_end: true,
        repetition: None,
        ..request
    }
}

/// Everything of an answer but its times and what was guessed.
fn said(outcome: Outcome) -> Outcome {
    Outcome {
        drafts: Default::default(),
        timings: Default::default(),
        cached_tokens: 0,
        ..outcome
    }
}

/// All requests in an engine that guesses so many tokens: the answers, and how many guesses came.
fn answers(mut engine: Engine, requests: &[Generate], most: usize) -> (Vec<Outcome>, usize) {
    engine.set_draft_tokens(most);
    let submit = |request: &Generate| engine.submit(request.clone()).unwrap();
    let ids: Vec<_> = requests.iter().map(submit).collect();
    let mut outcomes = finish(&mut engine);
    let stats = engine.stats();
    let outcomes: Vec<Outcome> = ids.iter().map(|id| outcomes.remove(id).unwrap()).collect();
    let sum = |count: fn(&Outcome) -> usize| outcomes.iter().map(count).sum::<usize>() as u64;
    assert_eq!(stats.draft_tokens_total, sum(|o| o.drafts.tokens));
    assert_eq!(
        stats.draft_tokens_accepted_total,
        sum(|o| o.drafts.accepted)
    );
    let accepted = sum(|o| o.drafts.accepted) as usize;
    (outcomes.into_iter().map(said).collect(), accepted)
}

/// Checks that guessing changes no answer and is right at least so often.
fn check(bench: &Bench, requests: &[Generate], least: usize, what: &str) {
    for sequences in [1, 3, 7] {
        let (expected, none) = answers(bench.engine(sequences), requests, 0);
        assert_eq!(none, 0);
        for most in [1, 8, 16] {
            let (found, accepted) = answers(bench.engine(sequences), requests, most);
            assert_eq!(found, expected, "{what}: {most} of {sequences}");
            assert!(accepted >= least, "{what}: {accepted} of {most} came");
        }
    }
}

#[test]
fn the_likeliest_answers_stay_what_they_are() {
    for threads in [1, 3] {
        let bench = Bench::new(threads);
        let requests: Vec<Generate> = bench.requests().into_iter().map(long).collect();
        check(&bench, &requests, 10, "likeliest");
    }
}

#[test]
fn drawn_answers_stay_what_they_are_with_penalties_probabilities_and_stops() {
    let bench = Bench::new(2);
    let mut requests = Vec::new();
    for (seed, request) in (0..).zip(bench.requests()) {
        let mut request = long(request);
        request.sampling = Sampling {
            temperature: 1.0,
            top_p: 0.9,
            // Few tokens, so that some come again.
            logit_bias: "abc"
                .chars()
                .map(|c| (bench.token(&c.to_string()), 60.0))
                .collect(),
            frequency_penalty: if seed % 2 == 0 { 0.0 } else { 0.02 },
            seed,
            ..Sampling::default()
        };
        request.logprobs = (seed % 3 == 0).then_some(2);
        requests.push(request);
    }
    check(&bench, &requests, 5, "drawn");
    // Strings and tokens of the answers themselves stop them.
    let (whole, _) = answers(bench.engine(1), &requests, 0);
    for (request, outcome) in requests.iter_mut().zip(whole) {
        let late = outcome.tokens[60];
        request.stop_tokens = vec![late];
        let text: String = outcome.text.chars().skip(30).take(3).collect();
        request.stop = vec![text];
        request.min_tokens = 9;
    }
    check(&bench, &requests, 0, "stopped");
}

#[test]
fn answers_of_a_form_stay_what_they_are() {
    let bench = Bench::new(2);
    let list = json!({
        "type": "array",
        "minItems": 4,
        "items": {
            "type": "object",
            "properties": {"label": {"enum": ["cat", "dog"]}, "box": {"enum": [10, 20]}},
            "required": ["label", "box"],
            "additionalProperties": false,
        },
    });
    let invoice = json!({
        "type": "object",
        "properties": {
            "invoice_number": {"type": "string", "maxLength": 6},
            "naïve_café": {"type": "integer", "minimum": -5, "maximum": 500},
            "currency": {"const": "EUR"},
            "lines": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        },
        "required": ["invoice_number", "naïve_café", "currency", "lines"],
    });
    let gbnf = "root ::= (\"- \" [a-z]+ \": the same words\\n\"){2,4}";
    let sources = [
        GrammarSource::JsonSchema(list),
        GrammarSource::JsonSchema(invoice),
        GrammarSource::Regex("(ab|abc)*d, naïve (x|y){3}!".to_owned()),
        GrammarSource::Grammar(gbnf.to_owned()),
    ];
    let grammars = Grammars::new(Arc::clone(&bench.model));
    let mut requests = Vec::new();
    for source in &sources {
        let grammar = grammars.compile(source).unwrap();
        for seed in 0..6 {
            let mut request = bench.requests().swap_remove(seed as usize);
            request.grammar = Some(grammar.clone());
            request.max_tokens = 90;
            request.repetition = None;
            request.sampling.seed = seed;
            request.sampling.temperature = if seed < 2 { 0.0 } else { 1.0 };
            requests.push(request);
        }
    }
    check(&bench, &requests, 60, "of a form");
}

#[test]
fn answers_with_control_tokens_stay_what_they_are() {
    let bench = Bench::of("qwen2vl", Arc::new(cpu(2)));
    let tool = json!({"type": "function", "function": {"name": "find_it", "parameters": {
        "type": "object",
        "properties": {"place": {"enum": ["here", "there"]}},
        "required": ["place"],
    }}});
    let lark = "start: (<|box_start|> \"the box\" <|box_end|>){3}";
    let sources = [
        GrammarSource::Boxes,
        GrammarSource::ToolCalls(vec![tool]),
        GrammarSource::Grammar(lark.to_owned()),
    ];
    let grammars = Grammars::new(Arc::clone(&bench.model));
    let mut requests = Vec::new();
    for source in &sources {
        let grammar = grammars.compile(source).unwrap();
        for seed in 0..8 {
            let mut request = bench.request("Where is it?", None);
            request.grammar = Some(grammar.clone());
            request.max_tokens = 90;
            request.repetition = None;
            request.sampling.seed = seed;
            request.sampling.temperature = 1.0;
            requests.push(request);
        }
    }
    check(&bench, &requests, 0, "with control tokens");
}

#[test]
fn every_text_model_answers_as_without_guesses_in_every_cache() {
    let backend: Arc<dyn Backend> = Arc::new(cpu(2));
    let mut accepted_by_all = 0;
    for name in suites() {
        let text = Gguf::open(&Suite::load(&name).text).unwrap();
        let vocabulary = Vocabulary::from_metadata(text.metadata()).unwrap();
        let model = Arc::new(Model {
            name: name.clone(),
            text: load_text(&text, backend.as_ref(), &|_| {}).unwrap(),
            vision: None,
            join: None,
            tokenizer: Tokenizer::new(vocabulary).unwrap(),
        });
        let ids: Vec<u32> = (0..60).map(|i| 20 + i % 23).collect();
        let prompt = Prompt::new(&ids, &[], &[], model.layout().as_ref()).unwrap();
        let requests = [long(Generate::new(prompt, Vec::new(), 1))];
        for kv_element in [KvElement::F16, KvElement::Q8] {
            let settings = Settings {
                context: 160,
                sequences: 1,
                cache_tokens: 160,
                kv_element,
                feature_bytes: 0,
                largest_picture: None,
            };
            let engine = || Engine::new(Arc::clone(&model), Arc::clone(&backend), settings);
            let (expected, _) = answers(engine().unwrap(), &requests, 0);
            let (found, accepted) = answers(engine().unwrap(), &requests, 8);
            assert_eq!(found, expected, "{name}, {kv_element:?}");
            accepted_by_all += accepted;
        }
    }
    assert!(accepted_by_all > 100, "{accepted_by_all}");
}

#[test]
fn a_step_with_guesses_that_panics_or_gives_no_numbers_costs_only_whose_token_it_is() {
    let backend = Arc::new(Faulty::new(cpu(2)));
    let shared: Arc<dyn Backend> = Arc::clone(&backend) as Arc<dyn Backend>;
    let bench = Bench::on(shared);
    let requests: Vec<Generate> = bench.requests().into_iter().map(long).collect();
    let (expected, _) = answers(bench.engine(3), &requests, 0);
    // A token that some answers have and others do not.
    let has = |token: &u32| expected.iter().filter(|o| o.tokens.contains(token)).count();
    let token = *expected
        .iter()
        .flat_map(|outcome| &outcome.tokens)
        .find(|token| (1..expected.len()).contains(&has(token)))
        .unwrap();
    for harm in [Harm::Panic, Harm::NotFinite] {
        backend.set(Some(Fault::Token(token, harm)));
        let mut results = Vec::new();
        for most in [0, 8] {
            let mut engine = bench.engine(3);
            engine.set_draft_tokens(most);
            let submit = |request: &Generate| engine.submit(request.clone()).unwrap();
            let ids: Vec<_> = requests.iter().map(submit).collect();
            let mut outcomes = finish_all(&mut engine);
            let all = ids.iter().map(|id| outcomes.remove(id).unwrap());
            results.push(all.map(|o| o.map(said).ok()).collect::<Vec<_>>());
        }
        assert_eq!(results[0], results[1], "{harm:?}");
        assert!(results[0].iter().any(Option::is_some), "{harm:?}");
        assert!(results[0].iter().any(Option::is_none), "{harm:?}");
        backend.set(None);
    }
}

#[test]
fn whoever_stops_an_answer_is_told_nothing_more_of_the_step() {
    let bench = Bench::new(2);
    let (mut ended, mut cancelled) = (0, 0);
    for tokens in [20, 40, 60] {
        for last in 1..=tokens {
            let mut engine = bench.engine(1);
            let request = Generate {
                max_tokens: tokens,
                ..long(bench.requests().swap_remove(1))
            };
            let mut told = 0;
            let outcome = engine.generate(request, &mut |event| {
                told += usize::from(matches!(event, Event::Text(_)));
                match told >= last {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            assert!(told <= last, "{told} of {last}");
            match outcome.unwrap().finish_reason {
                FinishReason::Cancelled => cancelled += 1,
                _ => ended += 1,
            }
        }
    }
    // Some ended in the step in which they were stopped.
    assert!(cancelled > 60 && ended > 3, "{cancelled}, {ended}");
}
