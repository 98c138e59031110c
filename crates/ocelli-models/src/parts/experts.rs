//! A mixture of gated MLPs: a router picks a few experts for each token, and only those are computed.

use ocelli_tensor::{Activation, Affine, Pass, Tensor, Use, Weight};

use crate::{Error, Scope};

/// Counts and widths of a mixture.
#[derive(Clone, Copy, Debug)]
pub struct ExpertSizes {
    /// Width of a token.
    pub hidden: usize,
    /// Width of an expert's middle.
    pub middle: usize,
    /// Experts there are.
    pub count: usize,
    /// Experts that a token goes through.
    pub used: usize,
}

#[derive(Debug)]
struct Expert {
    gate: Weight,
    up: Weight,
    down: Weight,
}

/// `sum over chosen e of w_e down_e(f(gate_e(x)) * up_e(x))`, with `w` the chosen part of
/// `softmax(router(x))`, made to add up to one.
#[derive(Debug)]
pub struct Experts {
    router: Weight,
    experts: Vec<Expert>,
    used: usize,
    activation: Activation,
}

/// A token that goes through an expert: its row and its weight.
type Visit = (usize, f32);

impl Experts {
    /// Reads `ffn_gate_inp` (`[hidden, count]`), `ffn_down_exps`, and `ffn_gate_exps` with `ffn_up_exps`
    /// or both in one as `ffn_gate_up_exps`.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn load(
        scope: &Scope<'_>,
        sizes: ExpertSizes,
        activation: Activation,
    ) -> Result<Self, Error> {
        let (hidden, middle) = (sizes.hidden, sizes.middle);
        let router = scope.at("ffn_gate_inp");
        let read = |name: &str, expert, rows, shape| {
            let place = (expert, sizes.count);
            scope.at(name).expert_rows("weight", place, rows, shape)
        };
        let is_fused = scope.has("ffn_gate_up_exps.weight");
        let load = |expert| {
            let (gate, up) = if is_fused {
                let (name, both) = ("ffn_gate_up_exps", (2 * middle, hidden));
                let up = read(name, expert, middle..2 * middle, both)?;
                (read(name, expert, 0..middle, both)?, up)
            } else {
                let one = (middle, hidden);
                let up = read("ffn_up_exps", expert, 0..middle, one)?;
                (read("ffn_gate_exps", expert, 0..middle, one)?, up)
            };
            let down = read("ffn_down_exps", expert, 0..hidden, (hidden, middle))?;
            Ok(Expert { gate, up, down })
        };
        Ok(Self {
            router: router.matrix("weight", sizes.count, hidden, Use::Product)?,
            experts: (0..sizes.count).map(load).collect::<Result<_, Error>>()?,
            used: sizes.used,
            activation,
        })
    }

    /// `out += experts(x)`, both `[rows, hidden]`.
    ///
    /// Experts follow each other in their own order, so a row's sum does not depend on other rows.
    pub fn add_to(&self, pass: &mut Pass<'_>, x: &Tensor, out: &Tensor) {
        for (expert, visits) in self.experts.iter().zip(self.route(pass, x)) {
            if visits.is_empty() {
                continue;
            }
            let mark = pass.mark();
            let rows: Vec<usize> = visits.iter().map(|(row, _)| *row).collect();
            let h = pass.gather(x, &rows);
            let [gate, up] = [&expert.gate, &expert.up].map(|weight| Affine { weight, bias: None });
            let middle = pass.gated_mlp(&h, gate, up, self.activation);
            let mixed = pass.linear(&middle, &expert.down, None, None);
            let weights: Vec<f32> = visits
                .iter()
                .flat_map(|(_, weight)| std::iter::repeat_n(*weight, mixed.columns()))
                .collect();
            let weights = pass.upload(&weights, mixed.columns(), mixed.prompt_rows());
            pass.multiply(&weights, &mixed);
            pass.scatter_add(&mixed, &rows, out);
            pass.release(mark);
        }
    }

    /// The tokens that each expert gets, in the order of their rows.
    fn route(&self, pass: &mut Pass<'_>, x: &Tensor) -> Vec<Vec<Visit>> {
        let mark = pass.mark();
        let logits = pass.linear(x, &self.router, None, None);
        let logits = pass.download(&logits);
        pass.release(mark);
        let mut visits = vec![Vec::new(); self.experts.len()];
        for (row, logits) in logits.chunks_exact(self.experts.len()).enumerate() {
            for (expert, weight) in choose(logits, self.used) {
                visits[expert].push((row, weight));
            }
        }
        visits
    }
}

/// The `used` most probable experts, with probabilities made to add up to one. Among equals the first
/// ones are taken.
fn choose(logits: &[f32], used: usize) -> Vec<(usize, f32)> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|l| (l - most).exp()).collect();
    let total: f32 = exponentials.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| exponentials[*b].total_cmp(&exponentials[*a]));
    order.truncate(used);
    let probability = |e: &usize| exponentials[*e] / total;
    let chosen: f32 = order.iter().map(probability).sum();
    order
        .iter()
        .map(|e| (*e, probability(e) / chosen))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_experts_share_a_weight_of_one() {
        let chosen = choose(&[0.0, 3.0, 1.0, 2.0], 2);
        assert_eq!([chosen[0].0, chosen[1].0], [1, 3]);
        let sum: f32 = chosen.iter().map(|(_, weight)| weight).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!((chosen[0].1 / chosen[1].1 - 1f32.exp()).abs() < 1e-5);
    }

    #[test]
    fn among_equals_the_first_experts_are_taken() {
        let chosen: Vec<usize> = choose(&[1.0; 5], 3).into_iter().map(|(e, _)| e).collect();
        assert_eq!(chosen, [0, 1, 2]);
    }

    #[test]
    fn logits_that_are_not_numbers_still_choose_as_many() {
        assert_eq!(choose(&[f32::NAN, 1.0, f32::INFINITY], 2).len(), 2);
    }
}
