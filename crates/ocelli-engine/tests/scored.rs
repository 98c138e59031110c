//! How likely the tokens of a prompt were: the same as when each of them is the answer to those before it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use ocelli_engine::{
    Engine, Error, FinishReason, Generate, Outcome, Output, Prompt, PromptLogprobs, SCORED_ROWS,
    SequenceId,
};

use common::{Bench, finish};

/// Longer than what a step takes of it.
const LONG: &str = "One and two and three and four and five and six and seven and eight are many more words than one.";

/// A request whose prompt is scored, and that wants no answer.
fn scored(bench: &Bench, text: &str) -> Generate {
    Generate {
        prompt_logprobs: Some(2),
        max_tokens: 0,
        ..bench.request(text, None)
    }
}

/// Steps until nothing is left to do, and gives what was told of prompts and what ended.
fn run(
    engine: &mut Engine,
) -> (
    BTreeMap<SequenceId, PromptLogprobs>,
    BTreeMap<SequenceId, Outcome>,
) {
    let (mut scores, mut outcomes) = (BTreeMap::new(), BTreeMap::new());
    while !engine.is_idle() {
        for (id, output) in engine.step() {
            match output {
                Output::Scored(told) => {
                    assert!(scores.insert(id, told).is_none(), "told once");
                }
                Output::Text { .. } if !outcomes.contains_key(&id) => {}
                Output::Done(outcome) => drop(outcomes.insert(id, *outcome)),
                Output::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
    (scores, outcomes)
}

/// What is told of one prompt on a fresh engine.
fn alone(bench: &Bench, request: Generate) -> PromptLogprobs {
    let mut engine = bench.engine(1);
    let id = engine.submit(request).unwrap();
    run(&mut engine).0.remove(&id).unwrap()
}

/// How likely the last of these tokens is behind the others, as the probability of an answer.
fn as_an_answer(bench: &Bench, tokens: &[u32]) -> f32 {
    let (last, before) = tokens.split_last().unwrap();
    let prompt = Prompt::new(before, &[], &[], bench.model.layout().as_ref()).unwrap();
    let mut request = Generate::new(prompt, Vec::new(), 1);
    request.logprobs = Some(0);
    request.ignore_end = true;
    request.sampling.logit_bias = vec![(*last, 100.0)];
    let outcome = bench.run(request).unwrap();
    assert_eq!(outcome.logprobs[0].token, *last);
    outcome.logprobs[0].logprob
}

#[test]
fn each_token_of_a_prompt_is_as_likely_as_it_is_as_an_answer() {
    let bench = Bench::new(2);
    let request = scored(&bench, LONG);
    let tokens = request.prompt.tokens.clone();
    assert!(tokens.len() > 2 * SCORED_ROWS, "{}", tokens.len());
    let told = alone(&bench, request);
    let text = |token: u32| bench.model.tokenizer.token_bytes(token).unwrap();
    assert_eq!(told.first, text(tokens[0]).to_vec());
    let said: Vec<u32> = told.rest.iter().map(|score| score.token).collect();
    assert_eq!(said, tokens[1..]);
    let ends = bench.model.tokenizer.end_ids();
    for (at, score) in told.rest.iter().enumerate() {
        assert_eq!(score.alternatives.len(), 2);
        assert!(score.alternatives[0].logprob >= score.logprob);
        // An end is never reported as part of an answer.
        if !ends.contains(&score.token) && [0, 1, 30, 31, 32, 33, 63, 64].contains(&at) {
            assert_eq!(
                score.logprob,
                as_an_answer(&bench, &tokens[..at + 2]),
                "{at}"
            );
        }
    }
}

#[test]
fn a_prompt_is_scored_alike_beside_others_and_a_second_time() {
    let bench = Bench::new(2);
    let expected = alone(&bench, scored(&bench, LONG));
    let answers = bench.alone();
    let mut engine = bench.engine(4);
    let others: Vec<_> = bench
        .requests()
        .into_iter()
        .map(|r| engine.submit(r).unwrap())
        .collect();
    let twice = [0; 2].map(|_| engine.submit(scored(&bench, LONG)).unwrap());
    let (scores, outcomes) = run(&mut engine);
    for id in twice {
        assert_eq!(scores[&id], expected);
        let outcome = &outcomes[&id];
        assert_eq!(outcome.finish_reason, FinishReason::Length);
        assert_eq!((outcome.tokens.len(), outcome.cached_tokens), (0, 0));
    }
    let said: Vec<_> = others
        .iter()
        .map(|id| outcomes[id].tokens.clone())
        .collect();
    assert_eq!(said, answers);
    // Pages of the same prompt are there now, and still every row is run.
    let id = engine.submit(scored(&bench, LONG)).unwrap();
    assert_eq!(run(&mut engine).0[&id], expected);
}

#[test]
fn a_scored_prompt_is_answered_as_any_other() {
    let bench = Bench::new(1);
    let plain = bench.run(bench.request(LONG, None)).unwrap();
    let request = Generate {
        max_tokens: 12,
        ..scored(&bench, LONG)
    };
    let mut engine = bench.engine(1);
    let id = engine.submit(request).unwrap();
    assert_eq!(finish(&mut engine)[&id].tokens, plain.tokens);
}

#[test]
fn a_prompt_with_pictures_or_too_many_alternatives_is_refused() {
    let bench = Bench::new(1);
    let mut request = bench.request("What is it?", Some("photo.png"));
    request.prompt_logprobs = Some(0);
    let error = bench.run(request).unwrap_err();
    assert!(
        matches!(&error, Error::Sampling(what) if what.contains("found 1 pictures")),
        "{error}"
    );
    let mut request = bench.request("Hi", None);
    request.prompt_logprobs = Some(21);
    assert!(bench.run(request).is_err());
}
