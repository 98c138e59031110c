//! A request's tokens are the same alone, beside others, after a cancelled neighbour and with its
//! prompt from the cache.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use ocelli_engine::Output;

use common::{Bench, finish};

#[test]
fn seven_requests_in_one_batch_answer_as_each_does_alone() {
    for threads in [1, 3] {
        let bench = Bench::new(threads);
        let expected = bench.alone();
        for sequences in [2, 7] {
            let mut engine = bench.engine(sequences);
            let submit = |request| engine.submit(request).unwrap();
            let ids: Vec<_> = bench.requests().into_iter().map(submit).collect();
            let outcomes = finish(&mut engine);
            for (id, tokens) in ids.iter().zip(&expected) {
                assert_eq!(outcomes[id].tokens, *tokens, "{id:?} of {sequences}");
            }
        }
    }
}

#[test]
fn a_neighbour_that_goes_away_at_any_step_changes_nothing() {
    let bench = Bench::new(2);
    let expected = bench.alone();
    for steps in 0..12 {
        let mut engine = bench.engine(3);
        let mut requests = bench.requests().into_iter();
        let kept = engine.submit(requests.next().unwrap()).unwrap();
        let gone = engine.submit(requests.nth(1).unwrap()).unwrap();
        let mut outcomes = BTreeMap::new();
        for _ in 0..steps {
            for (id, output) in engine.step() {
                if let Output::Done(outcome) = output {
                    outcomes.insert(id, *outcome);
                }
            }
        }
        engine.cancel(gone);
        outcomes.append(&mut finish(&mut engine));
        assert_eq!(outcomes[&kept].tokens, expected[0], "after {steps} steps");
    }
}

#[test]
fn a_prompt_from_the_cache_answers_as_a_fresh_one() {
    let bench = Bench::new(2);
    let expected = bench.alone();
    let mut engine = bench.engine(2);
    let mut reused = 0;
    for round in 0..3 {
        for (request, tokens) in bench.requests().into_iter().zip(&expected) {
            let id = engine.submit(request).unwrap();
            let outcome = finish(&mut engine).remove(&id).unwrap();
            assert_eq!(outcome.tokens, *tokens, "round {round}");
            reused += outcome.cached_tokens;
        }
    }
    assert!(reused > 0, "nothing came from the cache");
}

#[test]
fn requests_of_another_salt_share_nothing() {
    let bench = Bench::new(1);
    let mut engine = bench.engine(2);
    let mut ask = |salt| {
        let mut request = bench.request("What is it?", Some("photo.png"));
        request.salt = [salt; 32];
        let id = engine.submit(request).unwrap();
        finish(&mut engine).remove(&id).unwrap().cached_tokens
    };
    assert_eq!(ask(0), 0);
    assert!(ask(0) > 0);
    assert_eq!(ask(1), 0);
}

#[test]
fn an_answer_of_no_tokens_is_an_answer() {
    let bench = Bench::new(1);
    let mut engine = bench.engine(1);
    let mut request = bench.request("Hi", None);
    request.max_tokens = 0;
    let id = engine.submit(request).unwrap();
    assert!(finish(&mut engine).remove(&id).unwrap().tokens.is_empty());
}
