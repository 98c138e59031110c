//! What a request can ask of the choice of tokens and of the end of its answer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use ocelli_engine::{
    Channel, FinishReason, Generate, Output, Repetition, Sampling, StopCause, Thinking,
    TokenLogprob,
};

use common::{Bench, finish};

/// A request that says one token over and over.
fn saying(bench: &Bench, token: u32) -> Generate {
    let mut request = bench.request("Hi", None);
    request.sampling.logit_bias = vec![(token, 100.0)];
    request
}

#[test]
fn each_token_has_its_probability_and_the_likeliest_others() {
    let bench = Bench::new(2);
    let mut request = bench.request("What is it?", Some("photo.png"));
    request.logprobs = Some(3);
    request.ignore_end = true;
    let plain = bench.run(Generate {
        logprobs: None,
        ..request.clone()
    });
    let outcome = bench.run(request).unwrap();
    assert_eq!(
        outcome.tokens,
        plain.unwrap().tokens,
        "looking changes nothing"
    );
    let said: Vec<u32> = outcome.logprobs.iter().map(|l| l.token).collect();
    assert_eq!(said, outcome.tokens);
    for TokenLogprob {
        token,
        logprob,
        alternatives,
        ..
    } in &outcome.logprobs
    {
        assert_eq!(alternatives.len(), 3);
        assert_eq!(
            (alternatives[0].token, alternatives[0].logprob),
            (*token, *logprob)
        );
        assert!(alternatives.is_sorted_by(|a, b| a.logprob >= b.logprob));
        let share: f32 = alternatives.iter().map(|a| a.logprob.exp()).sum();
        assert!(*logprob < 0.0 && share < 1.0);
    }
    let bytes: Vec<u8> = outcome
        .logprobs
        .iter()
        .flat_map(|l| l.bytes.clone())
        .collect();
    // Control tokens and fillers have bytes of their own that the text leaves out.
    assert!(bytes.len() >= outcome.text.len() || outcome.text.contains('\u{fffd}'));
}

#[test]
fn probabilities_are_those_of_the_model_whatever_the_bias() {
    let bench = Bench::new(1);
    let token = bench.token("Q");
    let mut request = saying(&bench, token);
    request.logprobs = Some(20);
    request.max_tokens = 1;
    let outcome = bench.run(request).unwrap();
    let logprob = &outcome.logprobs[0];
    assert_eq!(logprob.token, token);
    assert!(logprob.logprob < -0.1, "{}", logprob.logprob);
    assert!(logprob.logprob <= logprob.alternatives[0].logprob);
}

#[test]
fn streamed_texts_and_probabilities_add_up_to_the_outcome() {
    let bench = Bench::new(1);
    let mut request = bench.request("What is it?", Some("photo.png"));
    request.logprobs = Some(0);
    request.max_tokens = 40;
    request.stop = vec!["never said".to_owned()];
    let mut engine = bench.engine(1);
    engine.submit(request).unwrap();
    let (mut text, mut logprobs) = (String::new(), Vec::new());
    while !engine.is_idle() {
        for (_, output) in engine.step() {
            match output {
                Output::Text {
                    text: new,
                    logprobs: fresh,
                    channel: Channel::Answer,
                    ..
                } => {
                    text.push_str(&new);
                    logprobs.extend(fresh);
                }
                Output::Done(outcome) => {
                    assert_eq!(outcome.text, text);
                    assert_eq!(outcome.logprobs, logprobs);
                }
                Output::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
    assert!(!logprobs.is_empty());
}

#[test]
fn bias_forces_and_forbids() {
    let bench = Bench::new(1);
    let token = bench.token("Q");
    let outcome = bench.run(saying(&bench, token)).unwrap();
    assert_eq!(outcome.tokens, [token; 12]);
    assert_eq!(outcome.text, "Q".repeat(12));
    let mut request = bench.request("Hi", None);
    let first = bench.run(request.clone()).unwrap().tokens[0];
    request.sampling.logit_bias = vec![(first, -100.0)];
    assert!(!bench.run(request).unwrap().tokens.contains(&first));
}

#[test]
fn an_end_token_ends_unless_it_comes_too_early_or_is_ignored() {
    let bench = Bench::new(1);
    let end = bench.token("<|im_end|>");
    let outcome = bench.run(saying(&bench, end)).unwrap();
    assert_eq!(outcome.tokens, [end]);
    assert_eq!(outcome.stopped, Some(StopCause::End(end)));
    let late = bench.run(Generate {
        min_tokens: 5,
        ..saying(&bench, end)
    });
    let late = late.unwrap();
    assert_eq!(late.tokens.len(), 6, "the sixth token may end it");
    assert_eq!(late.finish_reason, FinishReason::Stop);
    let never = bench.run(Generate {
        ignore_end: true,
        ..saying(&bench, end)
    });
    let never = never.unwrap();
    assert_eq!(never.finish_reason, FinishReason::Length);
    assert_eq!(never.tokens.len(), 12);
    assert!(!never.tokens.contains(&end));
}

#[test]
fn stop_tokens_and_stop_strings_say_which_they_were() {
    let bench = Bench::new(1);
    let token = bench.token("Q");
    let stopped = bench.run(Generate {
        stop_tokens: vec![token],
        ..saying(&bench, token)
    });
    let stopped = stopped.unwrap();
    assert_eq!(stopped.stopped, Some(StopCause::Token(token)));
    assert_eq!(stopped.text, "", "it is not part of the text");
    let cut = bench.run(Generate {
        stop: vec!["xyz".to_owned(), "QQQ".to_owned()],
        ..saying(&bench, token)
    });
    let cut = cut.unwrap();
    assert_eq!(cut.stopped, Some(StopCause::Text(1)));
    assert_eq!((cut.text.as_str(), cut.tokens.len()), ("", 3));
}

#[test]
fn an_answer_that_goes_in_circles_ends_and_says_so() {
    let bench = Bench::new(1);
    let token = bench.token("Q");
    let rule = Repetition {
        longest: 4,
        times: 3,
        tokens: 9,
    };
    let request = Generate {
        repetition: Some(rule),
        ..saying(&bench, token)
    };
    let outcome = bench.run(request.clone()).unwrap();
    assert_eq!(outcome.finish_reason, FinishReason::Repetition);
    assert_eq!(outcome.tokens.len(), 9);
    let ignored = bench.run(Generate {
        ignore_end: true,
        ..request
    });
    assert_eq!(ignored.unwrap().finish_reason, FinishReason::Length);
}

#[test]
fn answers_to_one_prompt_share_its_pages_and_have_seeds_of_their_own() {
    let bench = Bench::new(2);
    let mut request = bench.request("What is it?", Some("photo.png"));
    request.sampling = Sampling {
        temperature: 1.5,
        seed: 3,
        ..Sampling::default()
    };
    let mut engine = bench.engine(4);
    let ids = engine.submit_answers(request.clone(), 4).unwrap();
    let outcomes = finish(&mut engine);
    assert_eq!(engine.stats().feature_misses_total, 1, "one encoding");
    for (index, id) in (0..).zip(&ids) {
        let mut alone = request.clone();
        alone.sampling.seed += index;
        assert_eq!(outcomes[id].tokens, bench.run(alone).unwrap().tokens);
        let cached = outcomes[id].cached_tokens;
        assert_eq!(cached > 0, index > 0, "answer {index}: {cached} cached");
    }
    assert_ne!(outcomes[&ids[0]].tokens, outcomes[&ids[1]].tokens);
    // Answers whose first one goes away run all the same.
    let ids = engine.submit_answers(request, 3).unwrap();
    engine.step();
    engine.cancel(ids[0]);
    engine.cancel(ids[1]);
    let left = finish(&mut engine);
    assert_eq!(left.keys().collect::<Vec<_>>(), [&ids[2]]);
    assert_eq!(engine.stats().pages_in_use, 0);
}

#[test]
fn answers_share_the_pixels_of_a_picture_and_let_go_of_them_once_it_is_encoded() {
    let bench = Bench::new(1);
    let mut request = bench.request("What is it?", Some("photo.png"));
    request.sampling.logit_bias = vec![(bench.token("Q"), 100.0)];
    let pixels = Arc::downgrade(&request.pictures[0].patches);
    let mut engine = bench.engine(3);
    let ids = engine.submit_answers(request, 3).unwrap();
    assert_eq!(pixels.strong_count(), 3, "one picture in memory, not three");
    let mut answering = BTreeSet::new();
    while answering.len() < ids.len() {
        for (id, output) in engine.step() {
            match output {
                Output::Text { .. } => drop(answering.insert(id)),
                Output::Done(_) | Output::Failed(_) => panic!("all answer at the same time"),
                _ => {}
            }
        }
    }
    assert_eq!(pixels.strong_count(), 0);
}

#[test]
fn answers_drawn_beside_others_are_those_drawn_alone() {
    let bench = Bench::new(2);
    let requests = || {
        (0..7).map(|index| {
            let mut request = bench.request(["Hi", "What is it?", "How many?"][index % 3], None);
            request.sampling = Sampling {
                temperature: [0.0, 0.7, 1.5][index % 3],
                top_p: [1.0, 0.9][index % 2],
                min_p: [0.0, 0.01][index / 4],
                top_k: [0, 20][index % 2],
                seed: index as u64,
                ..Sampling::default()
            };
            request.logprobs = (index % 2 == 0).then_some(2);
            request
        })
    };
    let mut engine = bench.engine(7);
    let submit = |request| engine.submit(request).unwrap();
    let ids: Vec<_> = requests().map(submit).collect();
    let outcomes = finish(&mut engine);
    for (id, request) in ids.iter().zip(requests()) {
        let alone = bench.run(request).unwrap();
        assert_eq!(outcomes[id].tokens, alone.tokens);
        assert_eq!(outcomes[id].logprobs, alone.logprobs);
    }
}

#[test]
fn values_out_of_range_and_unknown_tokens_are_refused() {
    let bench = Bench::new(1);
    let vocabulary = bench.model.tokenizer.len() as u32;
    let with = |change: &dyn Fn(&mut Generate)| {
        let mut request = bench.request("Hi", None);
        change(&mut request);
        bench.run(request).unwrap_err().to_string()
    };
    assert!(with(&|r| r.logprobs = Some(21)).contains("top_logprobs is 21"));
    assert!(with(&|r| r.stop_tokens = vec![vocabulary]).contains("not in the vocabulary"));
    let biased = |bias| move |r: &mut Generate| r.sampling.logit_bias = vec![(1, bias)];
    assert!(with(&biased(101.0)).contains("logit_bias of token 1"));
    assert!(with(&biased(f32::NAN)).contains("logit_bias of token 1"));
    let many = |r: &mut Generate| r.sampling.logit_bias = vec![(1, 0.0); 1025];
    assert!(with(&many).contains("1025 tokens"));
}

#[test]
fn reasoning_is_told_apart_and_kept_within_its_budget() {
    let bench = Bench::new(1);
    let (letter, end) = (bench.token("Q"), bench.token("</think>"));
    let mut request = bench.request_ending("Hi", None, "<think>\n");
    request.sampling.logit_bias = vec![(letter, 100.0)];
    request.stop = vec!["QQ".to_owned()];
    request.thinking = Thinking {
        separate: true,
        budget: Some(4),
    };
    let outcome = bench.run(request.clone()).unwrap();
    assert_eq!(outcome.reasoning, "QQQQ", "stop strings are for the answer");
    assert_eq!(outcome.reasoning_tokens, 4);
    assert_eq!(outcome.tokens[4], end);
    assert_eq!(outcome.stopped, Some(StopCause::Text(0)));
    assert_eq!(outcome.text, "");
    let none = bench.run(Generate {
        thinking: Thinking {
            separate: true,
            budget: Some(0),
        },
        stop: Vec::new(),
        ..request.clone()
    });
    let none = none.unwrap();
    assert_eq!((none.reasoning.as_str(), none.tokens[0]), ("", end));
    assert_eq!(none.text, "Q".repeat(11));
    // Not told apart, it stays where it was written.
    let plain = bench.run(Generate {
        thinking: Thinking {
            separate: false,
            budget: Some(4),
        },
        stop: Vec::new(),
        ..request
    });
    assert_eq!(plain.unwrap().text, "QQQQ</think>QQQQQQQ");
}

#[test]
fn a_mark_in_what_the_user_says_opens_no_reasoning() {
    let bench = Bench::new(1);
    let letter = bench.token("Q");
    let mut request = bench.request("Hi <think>", None);
    request.sampling.logit_bias = vec![(letter, 100.0)];
    request.thinking.separate = true;
    let outcome = bench.run(request).unwrap();
    assert_eq!(
        (outcome.text, outcome.reasoning_tokens),
        ("Q".repeat(12), 0)
    );
}
