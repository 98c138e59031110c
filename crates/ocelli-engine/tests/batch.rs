//! A request's tokens are the same alone, beside others, after a cancelled neighbour and with its
//! prompt from the cache.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use ocelli_engine::{ClientId, Generate, ImageCache, Output, SequenceId, Slices};
use rand_core::{RngCore, SeedableRng};
use rand_pcg::Pcg64Mcg;

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
fn prompts_cut_into_chunks_of_any_size_answer_as_whole_ones() {
    let bench = Bench::new(2);
    let expected = bench.alone();
    for rows in [1, 3, 7, 16, 33] {
        let mut engine = bench.engine(3);
        engine.set_step_rows(rows);
        let submit = |request| engine.submit(request).unwrap();
        let ids: Vec<_> = bench.requests().into_iter().map(submit).collect();
        let outcomes = finish(&mut engine);
        for (id, tokens) in ids.iter().zip(&expected) {
            assert_eq!(outcomes[id].tokens, *tokens, "{id:?}, steps of {rows} rows");
        }
    }
}

#[test]
fn pictures_encoded_in_pieces_of_any_size_are_what_they_are_whole() {
    let bench = Bench::new(2);
    let expected = bench.alone();
    // From one row a piece and one piece a slice on.
    for (time, piece) in [(0, 1), (0, 30_000), (0, u64::MAX), (1000, 1)] {
        let mut engine = bench.engine(3);
        let time = Duration::from_secs(time);
        engine.set_slices(Slices {
            time,
            piece,
            long_piece: piece,
        });
        let submit = |request| engine.submit(request).unwrap();
        let ids: Vec<_> = bench.requests().into_iter().map(submit).collect();
        let outcomes = finish(&mut engine);
        for (id, tokens) in ids.iter().zip(&expected) {
            assert_eq!(outcomes[id].tokens, *tokens, "{id:?}, pieces of {piece}");
        }
    }
}

#[test]
fn others_go_on_while_a_picture_is_in_the_middle_of_a_layer_and_it_can_be_given_up_there() {
    let bench = Bench::new(2);
    let expected = bench.alone();
    for given_up in [false, true] {
        let mut engine = bench.engine(2);
        engine.set_slices(Slices {
            time: Duration::ZERO,
            piece: 1,
            long_piece: 1,
        });
        let seeing = engine.submit(bench.requests().swap_remove(0)).unwrap();
        let reading = engine.submit(bench.requests().swap_remove(1)).unwrap();
        let mut outcomes = BTreeMap::new();
        let mut layers = 0;
        while !outcomes.contains_key(&reading) {
            for (id, output) in engine.step() {
                match output {
                    Output::Encoding { done, .. } => layers = done,
                    Output::Done(outcome) => drop(outcomes.insert(id, *outcome)),
                    _ => {}
                }
            }
        }
        assert_eq!(layers, 0, "the whole answer came before the first layer");
        assert_eq!(outcomes[&reading].tokens, expected[1]);
        if given_up {
            engine.cancel(seeing);
        } else {
            outcomes.append(&mut finish(&mut engine));
            assert_eq!(outcomes[&seeing].tokens, expected[0]);
        }
        let again = engine.submit(bench.requests().swap_remove(2)).unwrap();
        assert_eq!(finish(&mut engine)[&again].tokens, expected[2]);
    }
}

#[test]
fn pieces_are_long_until_somebody_generates() {
    /// Steps that an answer takes; whole operations of the picture are fewer.
    const STEPS: usize = 60;
    let bench = Bench::new(2);
    let expected = bench.alone().swap_remove(0);
    for comes in [false, true] {
        let mut engine = bench.engine(2);
        engine.set_slices(Slices {
            time: Duration::ZERO,
            piece: 1,
            long_piece: u64::MAX,
        });
        let seeing = engine.submit(bench.requests().swap_remove(0)).unwrap();
        engine.step();
        if comes {
            let reading = Generate {
                ignore_end: true,
                max_tokens: STEPS,
                ..bench.request("Hi", None)
            };
            engine.submit(reading).unwrap();
        }
        let mut is_encoded = false;
        for _ in 1..STEPS {
            for (_, output) in engine.step() {
                is_encoded |=
                    matches!(output, Output::Encoding { done, total, .. } if done == total);
            }
        }
        assert_eq!(is_encoded, !comes);
        assert_eq!(finish(&mut engine)[&seeing].tokens, expected);
    }
}

#[test]
fn a_small_picture_does_not_wait_for_the_end_of_a_large_one() {
    let bench = Bench::new(2);
    let (large, small) = (Some("wide.png"), Some("too_small.png"));
    let tokens = |name: Option<&str>| bench.picture(name.unwrap()).patches.grid.tokens();
    assert!(tokens(small) <= 20 && tokens(large) > 20, "a quarter of 80");
    let expected = [large, small].map(|image| {
        let request = bench.request("What is it?", image);
        bench.run(request).unwrap().tokens
    });
    let mut engine = bench.engine(2);
    engine.set_slices(Slices {
        time: Duration::ZERO,
        piece: 1,
        long_piece: 1,
    });
    let first = engine.submit(bench.request("What is it?", large)).unwrap();
    for _ in 0..3 {
        engine.step();
    }
    let second = engine.submit(bench.request("What is it?", small)).unwrap();
    let twin = engine.submit(bench.request("What is it?", large)).unwrap();
    let mut ready = Vec::new();
    let mut outcomes = BTreeMap::new();
    while !engine.is_idle() {
        for (id, output) in engine.step() {
            match output {
                Output::Encoding { done, total, .. } if done == total => ready.push(id),
                Output::Done(outcome) => drop(outcomes.insert(id, *outcome)),
                Output::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }
    // The twin's picture is not encoded again.
    assert_eq!(ready, [second, first]);
    assert_eq!(outcomes[&first].tokens, expected[0]);
    assert_eq!(outcomes[&second].tokens, expected[1]);
    assert_eq!(outcomes[&twin].tokens, expected[0]);
}

/// Requests come and go in any order, with chunks, shared prompts, small caches and answers of several
/// kinds: whoever is not cancelled answers as alone, and every page comes back.
#[test]
fn any_order_of_requests_and_cancellations_answers_as_alone_and_gives_every_page_back() {
    let bench = Bench::new(2);
    let expected = bench.alone();
    let requests = bench.requests();
    for seed in 0..12 {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut draw = |most: usize| (random.next_u64() % most as u64) as usize;
        let mut engine = bench.engine(1 + draw(4));
        engine.set_step_rows(1 + draw(40));
        let mut asked: BTreeMap<SequenceId, usize> = BTreeMap::new();
        let mut outcomes = BTreeMap::new();
        let mut steps = 0;
        while steps < 60 || !engine.is_idle() {
            steps += 1;
            assert!(steps < 20_000, "seed {seed}: no progress");
            if steps < 60 && draw(4) == 0 {
                let kind = draw(requests.len());
                let mut request = requests[kind].clone();
                request.client = ClientId(draw(3) as u64);
                let ids = engine.submit_answers(request, 1 + draw(2)).unwrap();
                asked.extend(ids.into_iter().map(|id| (id, kind)));
            }
            if steps < 60 && draw(8) == 0 {
                let gone = asked.keys().nth(draw(asked.len().max(1))).copied();
                if let Some(id) = gone {
                    engine.cancel(id);
                    asked.remove(&id);
                }
            }
            for (id, output) in engine.step() {
                match output {
                    Output::Done(outcome) => drop(outcomes.insert(id, *outcome)),
                    Output::Failed(error) => panic!("seed {seed}: {error}"),
                    _ => {}
                }
            }
        }
        for (id, kind) in asked {
            let tokens = &outcomes[&id].tokens;
            assert_eq!(*tokens, expected[kind], "seed {seed}: {id:?}");
        }
        let stats = engine.stats();
        assert_eq!(
            (stats.pages_in_use, stats.running, stats.waiting),
            (0, 0, 0)
        );
    }
}

#[test]
fn a_picture_that_was_seen_before_a_restart_is_not_encoded_again() {
    let bench = Bench::new(2);
    let folder = std::env::temp_dir().join(format!("ocelli-engine-disk-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    // An engine that goes away has written what it kept.
    let ask = |projector: u8| {
        let mut engine = bench.engine(2);
        let cache = ImageCache::open(&folder, 1 << 20, [projector; 32]).unwrap();
        engine.set_image_cache(cache);
        let request = bench.request("What is it?", Some("photo.png"));
        let id = engine.submit(request).unwrap();
        let outcome = finish(&mut engine).remove(&id).unwrap();
        (outcome.tokens, engine.stats().feature_misses_total)
    };
    let (first, encoded) = ask(1);
    assert_eq!(encoded, 1);
    assert_eq!(ask(1), (first.clone(), 0));
    assert_eq!(ask(2), (first.clone(), 1), "another projector");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "features") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[100] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    assert_eq!(ask(1), (first, 1), "a damaged entry is a miss");
    std::fs::remove_dir_all(&folder).unwrap();
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

/// Pages are 16 tokens; the last one, whose logits are wanted, is run for each.
#[test]
fn equal_requests_that_come_together_run_one_picture_and_one_prompt() {
    let bench = Bench::new(2);
    let request = bench.request("What is it?", Some("photo.png"));
    let expected = bench.run(request.clone()).unwrap().tokens;
    let tokens = request.prompt.tokens.len() as u64;
    for step_rows in [7, 512] {
        let mut engine = bench.engine(8);
        engine.set_step_rows(step_rows);
        for client in 0..8 {
            let request = Generate {
                client: ClientId(client),
                ..request.clone()
            };
            engine.submit(request).unwrap();
        }
        let (mut outcomes, mut told) = (Vec::new(), 0);
        while !engine.is_idle() {
            for (_, output) in engine.step() {
                match output {
                    Output::Done(outcome) => outcomes.push(outcome.tokens),
                    Output::Prefill { done, total } if done < total => told += 1,
                    Output::Failed(error) => panic!("{error}"),
                    _ => {}
                }
            }
        }
        assert_eq!(outcomes, vec![expected.clone(); 8]);
        // Those who wait hear of every step that fills pages of theirs.
        assert!(step_rows > 16 || told > 7, "{told}");
        let stats = engine.stats();
        assert_eq!(stats.feature_misses_total, 1);
        let run = stats.prompt_tokens_total - stats.cached_tokens_total;
        // Of a prompt that is there already only the last token is run.
        assert_eq!(run, tokens + 7);
        assert_eq!(stats.pages_in_use, 0);
    }
}

#[test]
fn requests_that_begin_alike_go_on_when_the_one_in_front_goes_away_or_turns_off() {
    let bench = Bench::new(2);
    let long = "A question that is long enough to fill some pages, and then it asks: ";
    let ask = |end: &str| bench.request(&format!("{long}{end}"), Some("photo.png"));
    let ends = ["what?", "what is there?", "why?", "what?"];
    let expected: Vec<_> = ends
        .iter()
        .map(|end| bench.run(ask(end)).unwrap())
        .collect();
    for steps in 0..12 {
        let mut engine = bench.engine(4);
        engine.set_step_rows(5);
        let first = engine.submit(ask("what?")).unwrap();
        let submit = |end: &&str| engine.submit(ask(end)).unwrap();
        let ids: Vec<_> = ends.iter().map(submit).collect();
        for _ in 0..steps {
            engine.step();
        }
        engine.cancel(first);
        let outcomes = finish(&mut engine);
        for (id, expected) in ids.iter().zip(&expected) {
            assert_eq!(outcomes[id].tokens, expected.tokens, "after {steps} steps");
        }
    }
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
