//! From logits to a token.
//!
//! The order is that of HF's generation: penalties, temperature, top-k, top-p, min-p, then one draw.

use rand_core::{RngCore, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::Sampling;
use crate::ranked::Ranked;

/// Chooses the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    options: Sampling,
    random: Pcg64Mcg,
    /// Tokens of prompt and answer, for the repeat penalty.
    seen: Vec<u32>,
    generated: usize,
}

impl Sampler {
    /// A sampler for a sequence that starts with `prompt`.
    pub fn new(options: Sampling, prompt: &[u32]) -> Self {
        Self {
            random: Pcg64Mcg::seed_from_u64(options.seed),
            options,
            seen: prompt.to_vec(),
            generated: 0,
        }
    }

    /// True when the likeliest token is taken.
    pub(crate) fn is_greedy(&self) -> bool {
        self.options.temperature == 0.0
    }

    /// Adds the request's bias. -100 and 100 are as good as never and always.
    pub(crate) fn add_bias(&self, logits: &mut [f32]) {
        for (token, bias) in &self.options.logit_bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit = match *bias {
                    -100.0 => f32::NEG_INFINITY,
                    bias => *logit + bias,
                };
            }
        }
    }

    /// Chooses the next token; `logits` are changed on the way. Tokens from `vocabulary` on (padding
    /// rows of the embedding) are never chosen.
    pub fn sample(&mut self, logits: &mut [f32], vocabulary: usize) -> u32 {
        let count = logits.len().min(vocabulary);
        let logits = &mut logits[..count];
        self.penalise(logits);
        let token = match self.is_greedy() {
            true => most_likely(logits),
            false => self.draw(logits),
        };
        self.seen.push(token);
        self.generated += 1;
        token
    }

    fn penalise(&self, logits: &mut [f32]) {
        let options = &self.options;
        if options.repeat_penalty != 1.0 {
            let last = options.repeat_last.unwrap_or(self.seen.len());
            let mut recent = self.seen[self.seen.len().saturating_sub(last)..].to_vec();
            recent.sort_unstable();
            recent.dedup();
            for token in recent {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = if *logit > 0.0 {
                        *logit / options.repeat_penalty
                    } else {
                        *logit * options.repeat_penalty
                    };
                }
            }
        }
        if options.presence_penalty != 0.0 || options.frequency_penalty != 0.0 {
            let mut generated = self.seen[self.seen.len() - self.generated..].to_vec();
            generated.sort_unstable();
            for run in generated.chunk_by(|a, b| a == b) {
                if let Some(logit) = logits.get_mut(run[0] as usize) {
                    *logit -=
                        options.presence_penalty + options.frequency_penalty * run.len() as f32;
                }
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> u32 {
        let options = &self.options;
        let mut ranked = Ranked::new(logits, options.temperature);
        let keep = match options.top_k {
            0 => logits.len(),
            k => logits.len().min(k as usize),
        };
        let total = ranked.total(keep);
        // The first candidate always stays, so that something can be drawn.
        let within = match (options.top_p, options.min_p) {
            (1.0, 0.0) => keep,
            (top_p, min_p) => {
                let most = match top_p {
                    1.0 => f64::INFINITY,
                    top_p => f64::from(top_p) * total,
                };
                let (mut kept, mut count) = (0.0, 0);
                while count < keep {
                    let p = ranked.get(count);
                    if kept >= most || p < min_p {
                        break;
                    }
                    kept += f64::from(p);
                    count += 1;
                }
                count.max(1)
            }
        };
        let total = match within == keep {
            true => total,
            false => ranked.total(within),
        };
        let mut left = uniform(&mut self.random) * total;
        for place in 0..within {
            left -= f64::from(ranked.get(place));
            if left < 0.0 {
                return ranked.token(place);
            }
        }
        ranked.token(within - 1)
    }
}

/// The first of the largest logits.
pub fn most_likely(logits: &[f32]) -> u32 {
    // The largest of each run first: noting its place as well takes ten times as long.
    const RUN: usize = 256;
    let (mut found, mut best) = (0, f32::NEG_INFINITY);
    for (run, logits) in logits.chunks(RUN).enumerate() {
        let largest = largest(logits);
        if largest > best {
            (found, best) = (run * RUN, largest);
        }
    }
    let run = logits.iter().skip(found);
    let place = run.take(RUN).position(|logit| *logit == best);
    (found + place.unwrap_or(0)) as u32
}

/// The largest number, by lanes that do not wait for each other.
fn largest(numbers: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (runs, rest) = numbers.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for run in runs {
        lanes = std::array::from_fn(|lane| larger(lanes[lane], run[lane]));
    }
    let all = lanes.iter().chain(rest);
    all.fold(f32::NEG_INFINITY, |largest, number| {
        larger(largest, *number)
    })
}

/// A number in `0..1` with 53 random bits.
fn uniform(random: &mut Pcg64Mcg) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(options: Sampling, logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(options, &[]);
        (0..count)
            .map(|_| sampler.sample(&mut logits.to_vec(), logits.len()))
            .collect()
    }

    fn warm() -> Sampling {
        Sampling {
            temperature: 1.0,
            ..Sampling::default()
        }
    }

    #[test]
    fn the_default_takes_the_first_of_the_most_likely() {
        assert_eq!(draws(Sampling::default(), &[0.0, 2.0, 2.0], 2), [1, 1]);
    }

    #[test]
    fn the_first_of_the_largest_is_found_wherever_it_lies() {
        for len in [1, 15, 16, 17, 255, 256, 257, 511, 1000] {
            for first in 0..len {
                let mut logits: Vec<f32> = (0..len).map(|i| -1.0 - (i * 37 % 11) as f32).collect();
                logits[first] = -0.5;
                logits[(first + len) / 2] = -0.5;
                logits[len - 1] = -0.5;
                assert_eq!(most_likely(&logits), first as u32, "{first} of {len}");
            }
        }
        assert_eq!(most_likely(&[f32::NEG_INFINITY; 300]), 0);
        assert_eq!(most_likely(&[]), 0);
    }

    #[test]
    fn padding_rows_of_the_embedding_are_never_chosen() {
        let mut sampler = Sampler::new(Sampling::default(), &[]);
        assert_eq!(sampler.sample(&mut [0.0, 1.0, 9.0], 2), 1);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.0, (2.0_f32).ln(), (5.0_f32).ln()];
        let drawn = draws(warm(), &logits, 8000);
        let share = |t| drawn.iter().filter(|d| **d == t).count() as f64 / 8000.0;
        for (token, expected) in [(0, 0.125), (1, 0.25), (2, 0.625)] {
            assert!(
                (share(token) - expected).abs() < 0.02,
                "{token}: {}",
                share(token)
            );
        }
    }

    #[test]
    fn the_same_seed_repeats_and_another_differs() {
        let logits = [0.1, 0.2, 0.3, 0.4];
        let seeded = |seed| draws(Sampling { seed, ..warm() }, &logits, 32);
        assert_eq!(seeded(7), seeded(7));
        assert_ne!(seeded(7), seeded(8));
    }

    #[test]
    fn each_filter_keeps_only_the_likely_tokens() {
        let logits = [(1.0_f32).ln(), (2.0_f32).ln(), (7.0_f32).ln()];
        for (name, options) in [
            ("top_k", Sampling { top_k: 1, ..warm() }),
            (
                "top_p",
                Sampling {
                    top_p: 0.5,
                    ..warm()
                },
            ),
            (
                "min_p",
                Sampling {
                    min_p: 0.5,
                    ..warm()
                },
            ),
            (
                "top_p 0",
                Sampling {
                    top_p: 0.0,
                    ..warm()
                },
            ),
        ] {
            assert!(
                draws(options, &logits, 200).iter().all(|t| *t == 2),
                "{name}"
            );
        }
    }

    #[test]
    fn penalties_turn_the_choice_away_from_what_was_said() {
        let logits = [1.0, 0.9];
        let repeat = Sampling {
            repeat_penalty: 2.0,
            ..Sampling::default()
        };
        assert_eq!(draws(repeat.clone(), &logits, 2), [0, 1]);
        let mut after_prompt = Sampler::new(repeat, &[0]);
        assert_eq!(after_prompt.sample(&mut logits.to_vec(), 2), 1);
        let presence = Sampling {
            presence_penalty: 0.5,
            ..Sampling::default()
        };
        assert_eq!(draws(presence, &logits, 3), [0, 1, 0]);
        let frequency = Sampling {
            frequency_penalty: 0.08,
            ..Sampling::default()
        };
        assert_eq!(draws(frequency, &logits, 4), [0, 0, 1, 0]);
    }
}
