//! Tokens by their probability, likeliest first, put in order only as far as they are looked at: an
//! answer's next token is nearly always among the first few of a hundred thousand.

/// See the module.
pub(crate) struct Ranked {
    /// Token and probability relative to the likeliest.
    candidates: Vec<(u32, f32)>,
    /// How many are in order.
    ordered: usize,
}

/// Candidates that are put in order first; then eight times as many, and so on.
const FIRST: usize = 64;

impl Ranked {
    /// `logits` are finite or `-inf`, not all of them the latter.
    pub(crate) fn new(logits: &[f32], temperature: f32) -> Self {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let relative = |logit: &f32| ((logit - most) / temperature).exp();
        Self {
            candidates: (0..).zip(logits.iter().map(relative)).collect(),
            ordered: 0,
        }
    }

    /// Sum over the first `count`.
    pub(crate) fn total(&mut self, count: usize) -> f64 {
        if count < self.candidates.len() {
            self.order(count);
        }
        let first = &self.candidates[..count];
        first.iter().map(|(_, p)| f64::from(*p)).sum()
    }

    /// Probability at a place, relative to the likeliest.
    pub(crate) fn get(&mut self, place: usize) -> f32 {
        self.order(place + 1);
        self.candidates[place].1
    }

    pub(crate) fn token(&mut self, place: usize) -> u32 {
        self.order(place + 1);
        self.candidates[place].0
    }

    /// Puts at least the first `count` in order.
    fn order(&mut self, count: usize) {
        let by_probability =
            |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        while self.ordered < count {
            let rest = &mut self.candidates[self.ordered..];
            let more = (self.ordered * 7).max(FIRST).min(rest.len());
            if more < rest.len() {
                rest.select_nth_unstable_by(more - 1, by_probability);
            }
            rest[..more].sort_unstable_by(by_probability);
            self.ordered += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::{RngCore, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    #[test]
    fn any_way_of_looking_sees_the_order_of_a_whole_sort() {
        for seed in 0..40 {
            let mut random = Pcg64Mcg::seed_from_u64(seed);
            let mut draw = |most: u64| (random.next_u64() % most) as usize;
            // Few values, so that many are alike, and some that never come.
            let logits: Vec<f32> = (0..1 + draw(2000))
                .map(|i| match (i, draw(9)) {
                    (1.., 0) => f32::NEG_INFINITY,
                    (_, value) => value as f32,
                })
                .collect();
            let mut sorted: Vec<usize> = (0..logits.len()).collect();
            sorted.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
            let mut ranked = Ranked::new(&logits, 0.7);
            for _ in 0..20 {
                let place = draw(logits.len() as u64);
                assert_eq!(ranked.token(place), sorted[place] as u32, "seed {seed}");
                let count = 1 + draw(logits.len() as u64);
                let first = sorted[..count].iter();
                let most = logits[sorted[0]];
                let sum: f64 = first
                    .map(|token| f64::from(((logits[*token] - most) / 0.7).exp()))
                    .sum();
                assert!((ranked.total(count) / sum - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_temperature_near_nothing_leaves_the_likeliest() {
        let mut ranked = Ranked::new(&[1.0, 30.0, 29.0, f32::NEG_INFINITY], 1e-38);
        assert_eq!((ranked.token(0), ranked.get(1)), (1, 0.0));
        assert_eq!(ranked.total(4), 1.0);
    }
}
