//! Properties of the scheduler under any order of calls.

use std::collections::BTreeMap;

use rand_core::{RngCore, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;

const LIMITS: SchedulerLimits = SchedulerLimits {
    sequences: 4,
    step_rows: 16,
    prompt_rows_beside_generating: 6,
    pages: 20,
};

fn submission(id: u64, client: u64, prompt_tokens: usize, pages: usize) -> Submission {
    Submission {
        id: SequenceId(id),
        client: ClientId(client),
        prompt_tokens,
        pages,
    }
}

fn admit_all(scheduler: &mut Scheduler, prompt_tokens: usize) -> Vec<u64> {
    let mut admitted = Vec::new();
    while let Some(id) = scheduler.admit() {
        scheduler.set_progress(id, 0, prompt_tokens);
        admitted.push(id.0);
    }
    admitted
}

#[test]
fn clients_take_turns_however_many_requests_one_of_them_sends() {
    let mut scheduler = Scheduler::new(LIMITS);
    for id in 0..6 {
        assert!(scheduler.submit(submission(id, 0, 1, 1)));
    }
    assert!(scheduler.submit(submission(6, 1, 1, 1)));
    assert_eq!(admit_all(&mut scheduler, 1), [0, 6, 1, 2]);
}

#[test]
fn a_long_prompt_leaves_rows_to_a_short_one_and_none_are_wasted() {
    let mut scheduler = Scheduler::new(LIMITS);
    assert!(scheduler.submit(submission(0, 0, 100, 4)));
    assert!(scheduler.submit(submission(1, 1, 3, 1)));
    for (id, total) in [(0, 100), (1, 3)] {
        assert_eq!(scheduler.admit(), Some(SequenceId(id)));
        scheduler.set_progress(SequenceId(id), 0, total);
    }
    let plan = scheduler.plan();
    let rows: usize = plan.prompts.iter().map(|(_, r)| r.len()).sum();
    assert!(plan.prompts.contains(&(SequenceId(1), 0..3)), "{plan:?}");
    assert!(rows >= 11, "{plan:?}");
}

#[test]
fn prompts_take_few_rows_beside_those_who_generate() {
    let mut scheduler = Scheduler::new(LIMITS);
    assert!(scheduler.submit(submission(0, 0, 1, 1)));
    assert!(scheduler.submit(submission(1, 1, 100, 4)));
    admit_all(&mut scheduler, 1);
    scheduler.set_ready(SequenceId(1), 100);
    let plan = scheduler.plan();
    scheduler.advance(&plan);
    let plan = scheduler.plan();
    assert_eq!(plan.generating, [SequenceId(0)]);
    assert_eq!(plan.prompts[0].1.len(), 6);
    for (asked, rows) in [(3, 3), (100, 8)] {
        scheduler.set_prompt_rows_beside_generating(asked);
        assert_eq!(scheduler.plan().prompts[0].1.len(), rows);
    }
}

#[test]
fn steps_of_few_rows_let_nobody_stand_still() {
    let mut scheduler = Scheduler::new(LIMITS);
    for id in 0..4 {
        assert!(scheduler.submit(submission(id, id, 1 + 2 * (id / 3) as usize, 1)));
    }
    while let Some(id) = scheduler.admit() {
        scheduler.set_progress(id, 0, 1 + 2 * (id.0 / 3) as usize);
    }
    let plan = scheduler.plan();
    scheduler.advance(&plan);
    scheduler.set_progress(SequenceId(3), 0, 3);
    scheduler.set_step_rows(1);
    for done in 0..3 {
        let plan = scheduler.plan();
        assert_eq!(plan.generating.len(), 3, "each has its row: {plan:?}");
        assert_eq!(plan.prompts, [(SequenceId(3), done..done + 1)]);
        scheduler.advance(&plan);
    }
    assert_eq!(scheduler.plan().generating.len(), 4);
}

#[test]
fn no_more_sequences_run_than_a_step_has_rows() {
    let mut scheduler = Scheduler::new(SchedulerLimits {
        sequences: 40,
        pages: 40,
        ..LIMITS
    });
    for id in 0..40 {
        assert!(scheduler.submit(submission(id, id, 1, 1)));
    }
    assert_eq!(admit_all(&mut scheduler, 1).len(), LIMITS.step_rows);
    let plan = scheduler.plan();
    scheduler.advance(&plan);
    assert_eq!(scheduler.plan().generating.len(), LIMITS.step_rows);
}

#[test]
fn a_prompt_stops_before_a_picture_that_is_not_encoded() {
    let mut scheduler = Scheduler::new(LIMITS);
    assert!(scheduler.submit(submission(0, 0, 10, 1)));
    let id = scheduler.admit().unwrap();
    scheduler.set_progress(id, 0, 4);
    let plan = scheduler.plan();
    assert_eq!(plan.prompts, [(id, 0..4)]);
    scheduler.advance(&plan);
    assert!(scheduler.plan().is_empty());
    scheduler.set_ready(id, 10);
    assert_eq!(scheduler.plan().prompts, [(id, 4..10)]);
}

#[test]
fn what_never_fits_is_refused_and_what_waits_for_pages_is_not_overtaken() {
    let mut scheduler = Scheduler::new(LIMITS);
    assert!(!scheduler.submit(submission(9, 0, 1, 21)));
    assert!(scheduler.submit(submission(0, 0, 1, 15)));
    assert!(scheduler.submit(submission(1, 1, 1, 10)));
    assert!(scheduler.submit(submission(2, 2, 1, 1)));
    assert_eq!(admit_all(&mut scheduler, 1), [0]);
    assert!(scheduler.finish(SequenceId(0)));
    assert_eq!(admit_all(&mut scheduler, 1), [1, 2]);
}

#[test]
fn pictures_of_clients_are_encoded_in_turn_and_those_of_running_sequences_first() {
    let mut scheduler = Scheduler::new(LIMITS);
    for (id, client) in [(0, 5), (1, 5), (2, 5), (3, 1)] {
        assert!(scheduler.submit(submission(id, client, 1, 1)));
    }
    let all = |_| true;
    assert_eq!(scheduler.next_to_encode(&all), Some(SequenceId(3)));
    assert_eq!(scheduler.next_to_encode(&all), Some(SequenceId(0)));
    assert_eq!(scheduler.next_to_encode(&all), Some(SequenceId(3)));
    assert_eq!(scheduler.admit(), Some(SequenceId(0)));
    assert_eq!(scheduler.next_to_encode(&all), Some(SequenceId(0)));
    let but_first = |id| id != SequenceId(0);
    assert_eq!(scheduler.next_to_encode(&but_first), Some(SequenceId(3)));
    assert_eq!(scheduler.next_to_encode(&but_first), Some(SequenceId(1)));
    assert_eq!(scheduler.next_to_encode(&|_| false), None);
}

#[test]
fn a_step_takes_a_block_whole_or_ends_before_it() {
    let mut scheduler = Scheduler::new(LIMITS);
    assert!(scheduler.submit(submission(0, 0, 40, 4)));
    scheduler.keep_whole(SequenceId(0), vec![10..20, 22..30]);
    admit_all(&mut scheduler, 40);
    let mut ends = Vec::new();
    loop {
        let plan = scheduler.plan();
        scheduler.advance(&plan);
        match plan.prompts.first() {
            Some((_, tokens)) => ends.push(tokens.end),
            None => break,
        }
    }
    assert_eq!(ends, [10, 22, 38, 40]);
}

#[test]
fn a_block_runs_whole_in_steps_that_were_made_smaller_than_it() {
    let mut scheduler = Scheduler::new(LIMITS);
    assert!(scheduler.submit(submission(0, 0, 14, 4)));
    scheduler.keep_whole(SequenceId(0), std::iter::once(2..14).collect());
    scheduler.set_step_rows(2);
    admit_all(&mut scheduler, 14);
    for tokens in [0..2, 2..14] {
        let plan = scheduler.plan();
        assert_eq!(plan.prompts, [(SequenceId(0), tokens)]);
        scheduler.advance(&plan);
    }
}

#[test]
fn a_block_larger_than_what_prompts_get_beside_others_still_comes_in_its_turn() {
    let mut scheduler = Scheduler::new(LIMITS);
    for id in 0..3 {
        assert!(scheduler.submit(submission(id, id, 12, 4)));
        if id > 0 {
            scheduler.keep_whole(SequenceId(id), std::iter::once(1..12).collect());
        }
    }
    admit_all(&mut scheduler, 12);
    for _ in 0..12 {
        let plan = scheduler.plan();
        scheduler.advance(&plan);
    }
    assert_eq!(scheduler.plan().generating.len(), 3);
}

#[test]
fn a_prompt_that_was_found_in_the_cache_up_to_inside_a_block_takes_the_rest_of_it() {
    assert_eq!(whole_blocks(&[4..12, 12..16], 8, 2, 16), 4);
    assert_eq!(whole_blocks(&[4..12, 12..16], 8, 6, 16), 4);
    assert_eq!(whole_blocks(&[4..12, 12..16], 8, 2, 3), 0);
    assert_eq!(whole_blocks(&[4..12, 12..16], 0, 12, 12), 12);
}

/// Random submissions, steps, endings: every step keeps within its limits, tokens of each prompt run
/// once and in order, and every sequence comes to its end.
#[test]
fn any_order_of_calls_keeps_the_limits_and_starves_nobody() {
    for seed in 0..300 {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut draw = |most: u64| random.next_u64() % most;
        let mut scheduler = Scheduler::new(LIMITS);
        let mut prompts: BTreeMap<SequenceId, usize> = BTreeMap::new();
        let mut done: BTreeMap<SequenceId, usize> = BTreeMap::new();
        let mut blocks: BTreeMap<SequenceId, Range<usize>> = BTreeMap::new();
        let mut left = 40;
        let mut steps = 0;
        while left > 0 || scheduler.waiting() + scheduler.running() > 0 {
            steps += 1;
            assert!(steps < 4000, "seed {seed}: no progress");
            if left > 0 && draw(3) == 0 {
                left -= 1;
                let tokens = 1 + draw(60) as usize;
                let submission = submission(left, draw(4), tokens, 1 + draw(20) as usize);
                assert!(scheduler.submit(submission));
                prompts.insert(submission.id, tokens);
                let start = draw(20) as usize;
                let block = start..(start + 1 + draw(13) as usize).min(tokens);
                if block.start < block.end {
                    scheduler.keep_whole(submission.id, vec![block.clone()]);
                    blocks.insert(submission.id, block);
                }
            }
            while let Some(id) = scheduler.admit() {
                scheduler.set_progress(id, 0, prompts[&id]);
                done.insert(id, 0);
            }
            assert!(scheduler.running() <= LIMITS.sequences);
            let plan = scheduler.plan();
            let rows: usize = plan.prompts.iter().map(|(_, r)| r.len()).sum();
            assert!(rows + plan.generating.len() <= LIMITS.step_rows);
            for (id, tokens) in &plan.prompts {
                assert_eq!(done[id], tokens.start, "in order");
                let cut = |b: &Range<usize>| b.start < tokens.end && tokens.end < b.end;
                assert!(!blocks.get(id).is_some_and(cut), "{tokens:?} cuts a block");
                done.insert(*id, tokens.end);
            }
            scheduler.advance(&plan);
            for id in plan.generating {
                assert_eq!(
                    done[&id], prompts[&id],
                    "nobody generates before its prompt is done"
                );
                if draw(4) == 0 {
                    assert!(scheduler.finish(id));
                }
            }
            // A client goes away at any time.
            if draw(10) == 0
                && let Some(id) = prompts.keys().nth(draw(prompts.len() as u64 + 1) as usize)
            {
                scheduler.finish(*id);
            }
        }
        assert_eq!(scheduler.promised_pages, 0, "pages are conserved");
    }
}

#[test]
fn prompts_that_are_scored_take_few_rows_together_and_all_get_through() {
    let mut scheduler = Scheduler::new(SchedulerLimits {
        step_rows: 4 * SCORED_ROWS,
        prompt_rows_beside_generating: 2 * SCORED_ROWS,
        ..LIMITS
    });
    for (id, tokens) in [(0, 100), (1, 70), (2, 90)] {
        assert!(scheduler.submit(submission(id, id, tokens, 4)));
        assert_eq!(scheduler.admit(), Some(SequenceId(id)));
        scheduler.set_progress(SequenceId(id), 0, tokens);
    }
    scheduler.score(SequenceId(0));
    scheduler.score(SequenceId(2));
    let mut steps = 0;
    while scheduler.plan().generating.len() < 3 {
        let plan = scheduler.plan();
        let scored = plan.prompts.iter().filter(|(id, _)| id.0 != 1);
        let rows: usize = scored.map(|(_, tokens)| tokens.len()).sum();
        assert!(rows <= SCORED_ROWS, "{plan:?}");
        assert!(!plan.prompts.is_empty(), "no progress");
        if steps == 0 {
            // The other one takes what it may.
            assert!(
                plan.prompts
                    .iter()
                    .any(|(id, tokens)| id.0 == 1 && tokens.len() > SCORED_ROWS)
            );
        }
        scheduler.advance(&plan);
        steps += 1;
    }
    assert!(steps >= 190_usize.div_ceil(SCORED_ROWS), "{steps}");
}
