//! What goes wrong in one request does not reach the others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use ocelli_engine::{Engine, Generate, Outcome, SequenceId};
use ocelli_tensor::Backend;

use common::faulty::{Fault, Faulty, Harm};
use common::{Bench, cpu, finish_all};

/// A bench on a backend that can be made to fail.
fn faulty() -> (Bench, Arc<Faulty>) {
    let backend = Arc::new(Faulty::new(cpu(2)));
    let shared: Arc<dyn Backend> = Arc::clone(&backend) as Arc<dyn Backend>;
    (Bench::on(shared), backend)
}

/// A sign that no answer has, whatever the arithmetic of this machine makes of the random model, and its
/// token.
fn unheard(bench: &Bench, answers: &[Vec<u32>]) -> (&'static str, u32) {
    ["~", "^", "#", "@", "%", "&", "+"]
        .into_iter()
        .map(|sign| (sign, bench.token(sign)))
        .find(|(_, token)| answers.iter().all(|answer| !answer.contains(token)))
        .unwrap()
}

/// Runs `bad` beside all requests of the bench: what became of it, and whether the others answered as
/// they do alone.
fn beside_others(
    bench: &Bench,
    engine: &mut Engine,
    bad: Generate,
    expected: &[Vec<u32>],
) -> Result<Outcome, ocelli_engine::Error> {
    let mut requests = bench.requests();
    requests.insert(2, bad);
    let submit = |request| engine.submit(request).unwrap();
    let mut ids: Vec<SequenceId> = requests.into_iter().map(submit).collect();
    let mut outcomes = finish_all(engine);
    let bad = ids.remove(2);
    for (id, tokens) in ids.iter().zip(expected) {
        assert_eq!(outcomes[id].as_ref().unwrap().tokens, *tokens);
    }
    outcomes.remove(&bad).unwrap()
}

#[test]
fn of_a_step_that_panics_only_the_request_that_panics_again_fails() {
    let (bench, backend) = faulty();
    let expected = bench.alone();
    let (sign, token) = unheard(&bench, &expected);
    let question = format!("Where is the {sign} sign?");
    for sequences in [2, 8] {
        let mut engine = bench.engine(sequences);
        backend.set(Some(Fault::Token(token, Harm::Panic)));
        let bad = bench.request(&question, None);
        let outcome = beside_others(&bench, &mut engine, bad, &expected);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("internal_error"), "{error}");
        assert_eq!(engine.stats().panics_total, 1);
        assert_eq!(engine.stats().pages_in_use, 0);
        // The engine is as it was: the same request runs when nothing is wrong.
        backend.set(None);
        let id = engine.submit(bench.request(&question, None)).unwrap();
        let outcome = finish_all(&mut engine).remove(&id).unwrap().unwrap();
        let alone = bench.run(bench.request(&question, None));
        assert_eq!(outcome.tokens, alone.unwrap().tokens);
    }
}

#[test]
fn a_request_that_panics_while_it_answers_leaves_the_others_alone() {
    let (bench, backend) = faulty();
    let expected = bench.alone();
    // A token that only the bad request's answer has: it is forced to say nothing else.
    let (_, token) = unheard(&bench, &expected);
    let mut bad = bench.request("Say it", None);
    bad.sampling.logit_bias = vec![(token, 100.0)];
    let mut engine = bench.engine(8);
    backend.set(Some(Fault::Token(token, Harm::Panic)));
    let outcome = beside_others(&bench, &mut engine, bad, &expected);
    assert!(outcome.unwrap_err().to_string().contains("internal_error"));
}

#[test]
fn numbers_that_are_not_finite_fail_their_request_with_the_layer_and_are_not_shared() {
    let (bench, backend) = faulty();
    let expected = bench.alone();
    let mut engine = bench.engine(8);
    let (sign, token) = unheard(&bench, &expected);
    let question = format!("Where is the {sign} sign in this rather long line?");
    backend.set(Some(Fault::Token(token, Harm::NotFinite)));
    let bad = bench.request(&question, None);
    let outcome = beside_others(&bench, &mut engine, bad, &expected);
    let error = outcome.unwrap_err().to_string();
    assert!(
        error.contains("numerical_error") && error.contains("text "),
        "{error}"
    );
    assert!(!error.contains("layer-stack"), "names the stage: {error}");
    backend.set(None);
    let id = engine.submit(bench.request(&question, None)).unwrap();
    let again = finish_all(&mut engine).remove(&id).unwrap().unwrap();
    let alone = bench.run(bench.request(&question, None)).unwrap();
    assert_eq!(
        again.tokens, alone.tokens,
        "nothing bad came from the cache"
    );
}

#[test]
fn a_request_that_only_rounding_spoils_goes_on_without_and_shares_nothing() {
    let (bench, backend) = faulty();
    let expected = bench.alone();
    let (sign, token) = unheard(&bench, &expected);
    let question = format!("Where is the {sign} sign in this rather long line of words and words?");
    let picture = Some("ragged.png");
    let engine = &mut bench.engine(8);
    // What comes with others, in the prompt's first chunk or behind a picture.
    backend.set(Some(Fault::RoundedToken(token)));
    for (repeats, rows) in [(1, 512), (2, 3)] {
        engine.set_step_rows(rows);
        let bad = bench.request(&question, picture);
        let outcome = beside_others(&bench, engine, bad, &expected).unwrap();
        assert!(!outcome.tokens.is_empty());
        assert_eq!(engine.stats().requests_repeated_total, repeats);
        assert_eq!(engine.stats().pages_in_use, 0);
    }
    // A token of an answer.
    let mut bad = bench.request("Say it", None);
    bad.sampling.logit_bias = vec![(token, 100.0)];
    let said = beside_others(&bench, engine, bad.clone(), &expected).unwrap();
    assert!(said.tokens.len() > 1 && said.tokens.iter().all(|t| *t == token));
    assert_eq!(engine.stats().requests_repeated_total, 3);
    // Others find nothing of that in the cache.
    backend.set(None);
    let id = engine.submit(bench.request(&question, picture)).unwrap();
    let again = finish_all(engine).remove(&id).unwrap().unwrap();
    let alone = bench.run(bench.request(&question, picture)).unwrap();
    assert_eq!(again.tokens, alone.tokens);
    assert_eq!(engine.stats().requests_repeated_total, 3);
}

#[test]
fn a_picture_whose_encoding_fails_fails_its_request_only() {
    let (bench, backend) = faulty();
    let expected = bench.alone();
    let bad = bench.request("Look", Some("ragged.png"));
    let patches = bad.pictures[0].patches.grid.patches();
    let others = bench.requests();
    let mut pictures = others.iter().flat_map(|request| &request.pictures);
    assert!(pictures.all(|picture| picture.patches.grid.patches() != patches));
    for (harm, expected_error) in [
        (Harm::Panic, "encoding image 1"),
        (Harm::NotFinite, "vision layer.0"),
    ] {
        backend.set(Some(Fault::Patches(patches, harm)));
        let mut engine = bench.engine(8);
        let outcome = beside_others(&bench, &mut engine, bad.clone(), &expected);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains(expected_error), "{error}");
    }
}

#[test]
fn a_picture_that_only_rounding_spoils_is_encoded_once_more_without_and_answered() {
    let (bench, backend) = faulty();
    let expected = bench.alone();
    let bad = bench.request("Look", Some("ragged.png"));
    let patches = bad.pictures[0].patches.grid.patches();
    backend.set(Some(Fault::Rounding(patches)));
    let mut engine = bench.engine(8);
    let outcome = beside_others(&bench, &mut engine, bad.clone(), &expected).unwrap();
    assert!(!outcome.tokens.is_empty());
    assert_eq!(engine.stats().encodings_repeated_total, 1);
    // Its features are kept as others are.
    let again = beside_others(&bench, &mut engine, bad.clone(), &expected).unwrap();
    assert_eq!(again.tokens, outcome.tokens);
    assert_eq!(engine.stats().encodings_repeated_total, 1);
    // What is bad without rounding too fails after the second time.
    backend.set(Some(Fault::Patches(patches, Harm::NotFinite)));
    let mut engine = bench.engine(8);
    let failed = beside_others(&bench, &mut engine, bad, &expected);
    assert!(failed.unwrap_err().to_string().contains("numerical_error"));
    assert_eq!(engine.stats().encodings_repeated_total, 1);
}
