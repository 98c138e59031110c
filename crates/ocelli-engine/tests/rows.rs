//! Prompts take over what others have in common with them to the row, not to the page.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use ocelli_engine::{Engine, Generate, Outcome};

use common::{Bench, finish_all};

fn run(engine: &mut Engine, request: Generate) -> Outcome {
    let id = engine.submit(request).unwrap();
    finish_all(engine).remove(&id).unwrap().unwrap()
}

/// Tokens that two prompts begin with, pictures being equal.
fn common(a: &Generate, b: &Generate) -> usize {
    let pairs = a.prompt.tokens.iter().zip(&b.prompt.tokens);
    pairs.take_while(|(a, b)| a == b).count()
}

#[test]
fn a_second_question_about_a_picture_computes_only_what_differs() {
    let bench = Bench::new(2);
    let picture = Some("photo.png");
    for chunk in [512, 7] {
        for (first, second) in [
            ("What is it?", "What is there?"),
            ("What is it?", "How many?"),
            ("x", "What is there, and what is it that is there?"),
            ("What is there, and what is it that is there?", "x"),
        ] {
            let mut engine = bench.engine(2);
            engine.set_step_rows(chunk);
            let (first, second) = (
                bench.request(first, picture),
                bench.request(second, picture),
            );
            let same = common(&first, &second);
            let expected = bench.run(second.clone()).unwrap();
            run(&mut engine, first);
            let outcome = run(&mut engine, second.clone());
            assert_eq!(outcome.cached_tokens, same);
            assert_eq!(outcome.tokens, expected.tokens);
            // Again: all but the last token is there.
            let again = run(&mut engine, second.clone());
            assert_eq!(again.cached_tokens, second.prompt.tokens.len() - 1);
            assert_eq!(again.tokens, expected.tokens);
            assert_eq!(engine.stats().pages_in_use, 0);
        }
    }
}

#[test]
fn rows_of_another_picture_are_not_taken_over() {
    let bench = Bench::new(1);
    let ask = |picture| bench.request("What is it?", Some(picture));
    let (a, b) = (ask("same_size_a.png"), ask("same_size_b.png"));
    assert_eq!(a.prompt.tokens, b.prompt.tokens);
    let expected = bench.run(b.clone()).unwrap();
    let mut engine = bench.engine(1);
    let begin = a.prompt.images[0].tokens.start;
    run(&mut engine, a);
    let outcome = run(&mut engine, b);
    assert_eq!(outcome.cached_tokens, begin, "the words before the picture");
    assert_eq!(outcome.tokens, expected.tokens);
}

#[test]
fn rows_of_another_salt_are_not_taken_over() {
    let bench = Bench::new(1);
    let mut engine = bench.engine(1);
    for salt in [1, 2] {
        let mut request = bench.request("Hi", None);
        request.salt = [salt; 32];
        assert_eq!(run(&mut engine, request.clone()).cached_tokens, 0);
        let all_but_one = request.prompt.tokens.len() - 1;
        assert_eq!(run(&mut engine, request).cached_tokens, all_but_one);
    }
}

#[test]
fn several_answers_run_their_prompt_once() {
    let bench = Bench::new(2);
    for (question, chunk) in [("What is it?", 512), ("What is it that is there?", 3)] {
        let request = bench.request(question, Some("photo.png"));
        let expected = bench.run(request.clone()).unwrap();
        let mut engine = bench.engine(8);
        engine.set_step_rows(chunk);
        let tokens = request.prompt.tokens.len() as u64;
        engine.submit_answers(request, 8).unwrap();
        let outcomes = finish_all(&mut engine);
        for outcome in outcomes.into_values() {
            assert_eq!(outcome.unwrap().tokens, expected.tokens);
        }
        let stats = engine.stats();
        let run = stats.prompt_tokens_total - stats.cached_tokens_total;
        assert_eq!(run, tokens + 7);
    }
}

#[test]
fn rows_of_an_answer_are_not_taken_for_rows_of_a_prompt() {
    let bench = Bench::new(1);
    let mut engine = bench.engine(1);
    let first = bench.request("Hi", None);
    let answer = run(&mut engine, first.clone()).tokens;
    // A prompt that goes on with what was answered: those rows were computed as generated ones.
    let mut longer = first.clone();
    longer.prompt.tokens.extend(&answer[..6]);
    longer.prompt.segments = vec![ocelli_models::Segment::Text(longer.prompt.tokens.len())];
    let expected = bench.run(longer.clone()).unwrap();
    let outcome = run(&mut engine, longer);
    assert_eq!(outcome.cached_tokens, first.prompt.tokens.len());
    assert_eq!(outcome.tokens, expected.tokens);
}
