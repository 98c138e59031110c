//! Rotary positions: frequencies, the axis that turns each of them, and angles of rows.

use ocelli_image::Grid;
use ocelli_tensor::{Pass, Tensor};

use super::Angles;

/// How the frequencies of a head are shared among the axes time, height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AxisOfFrequency {
    /// Plain positions: every axis is the same.
    One,
    /// The first `sections[0]` frequencies turn with time, the next with height, the rest with width
    /// (Qwen2-VL, Qwen2.5-VL).
    Contiguous([usize; 3]),
    /// Every third frequency from 1 turns with height (the first `3 * sections[1]`), every third from 2
    /// with width (the first `3 * sections[2]`), all others with time (Qwen3-VL).
    Interleaved([usize; 3]),
}

impl AxisOfFrequency {
    fn axis(self, frequency: usize) -> usize {
        match self {
            Self::One => 0,
            Self::Contiguous([time, height, _]) => {
                usize::from(frequency >= time) + usize::from(frequency >= time + height)
            }
            Self::Interleaved(sections) => match frequency % 3 {
                axis @ (1 | 2) if frequency < 3 * sections[axis] => axis,
                _ => 0,
            },
        }
    }
}

/// How frequencies are stretched for contexts longer than a model was first trained for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All by one factor.
    Linear(f32),
    /// YaRN: slow frequencies by the factor, fast ones not, those between in part.
    Yarn {
        /// Wanted context over original context.
        factor: f32,
        /// Tokens that the model was first trained for.
        original_context: f32,
        /// Turns in the original context above which a frequency is kept.
        beta_fast: f32,
        /// Turns in the original context below which a frequency is stretched in full.
        beta_slow: f32,
        /// Factor on the usual magnitude of rotated queries and keys.
        attention: f32,
    },
}

/// Frequencies of a head: `theta^(-2 i / dim)`, each with its axis.
#[derive(Clone, Debug)]
pub struct Rotary {
    theta: f32,
    frequencies: Vec<(f32, usize)>,
    /// Cosines and sines are multiplied by this.
    magnitude: f32,
}

impl Rotary {
    /// `dim / 2` frequencies.
    pub fn new(dim: usize, theta: f32, axes: AxisOfFrequency) -> Self {
        let frequencies = inverse_frequencies(dim, theta)
            .enumerate()
            .map(|(i, frequency)| (frequency, axes.axis(i)))
            .collect();
        Self {
            theta,
            frequencies,
            magnitude: 1.0,
        }
    }

    /// Divides each frequency by its factor (Llama 3.1 and later keep them in the file).
    #[must_use]
    pub fn slowed(mut self, factors: &[f32]) -> Self {
        assert_eq!(
            factors.len(),
            self.frequencies.len(),
            "a factor a frequency"
        );
        for ((frequency, _), factor) in self.frequencies.iter_mut().zip(factors) {
            *frequency /= factor;
        }
        self
    }

    /// Stretches the frequencies.
    #[must_use]
    pub fn scaled(mut self, scaling: Scaling) -> Self {
        match scaling {
            Scaling::None => self,
            Scaling::Linear(factor) => {
                let factors = vec![factor; self.frequencies.len()];
                self.slowed(&factors)
            }
            Scaling::Yarn {
                factor,
                original_context,
                beta_fast,
                beta_slow,
                attention,
            } => {
                let dim = 2.0 * self.frequencies.len() as f64;
                let theta = f64::from(self.theta);
                // The index whose frequency makes so many turns in the original context. In double
                // precision as in the reference: what is rounded to a whole index may lie next to
                // one.
                let index = |turns: f32| {
                    let wave = f64::from(turns) * std::f64::consts::TAU;
                    dim * (f64::from(original_context) / wave).ln() / (2.0 * theta.ln())
                };
                let low = index(beta_fast).floor().max(0.0);
                let high = index(beta_slow).ceil().min(dim - 1.0);
                // Below 0 for contexts of less than a turn: nothing is stretched then, as in the reference.
                let span = if low == high { 0.001 } else { high - low };
                let powers = powers(2 * self.frequencies.len(), self.theta);
                for (i, ((frequency, _), power)) in
                    self.frequencies.iter_mut().zip(powers).enumerate()
                {
                    let ramp = (i as f32 - low as f32) / span as f32;
                    let kept = 1.0 - ramp.clamp(0.0, 1.0);
                    let stretched = 1.0 / (factor * power);
                    *frequency = stretched * (1.0 - kept) + *frequency * kept;
                }
                self.magnitude = attention * (0.1 * f64::from(factor).ln() + 1.0) as f32;
                self
            }
        }
    }

    /// Angles of rows at these positions: `[rows, dim]`, cosines then sines.
    pub fn angles(
        &self,
        pass: &mut Pass<'_>,
        positions: &[[u32; 3]],
        prompt_rows: usize,
    ) -> Tensor {
        self.stretched_angles(pass, positions, prompt_rows, |_| 1.0)
    }

    /// Angles that also make what they turn `length(position)` times as long.
    fn stretched_angles(
        &self,
        pass: &mut Pass<'_>,
        positions: &[[u32; 3]],
        prompt_rows: usize,
        length: impl Fn([u32; 3]) -> f32,
    ) -> Tensor {
        let half = self.frequencies.len();
        let mut values = vec![0.0; positions.len() * 2 * half];
        for (row, position) in values.chunks_exact_mut(2 * half).zip(positions) {
            let (cosines, sines) = row.split_at_mut(half);
            let magnitude = self.magnitude * length(*position);
            for (i, (frequency, axis)) in self.frequencies.iter().enumerate() {
                let (sine, cosine) = (position[*axis] as f32 * frequency).sin_cos();
                sines[i] = sine * magnitude;
                cosines[i] = cosine * magnitude;
            }
        }
        pass.upload(&values, 2 * half, prompt_rows)
    }
}

/// Longer queries far into a context, so that attention stays sharp among many keys: a factor of
/// `1 + beta ln(1 + floor(position / period))`. Source: HF `modeling_ministral3.py`,
/// `get_llama_4_attn_scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    /// How much.
    pub beta: f32,
    /// Positions to the first and between later steps.
    pub period: u32,
}

impl Temperature {
    fn factor(self, position: u32) -> f32 {
        1.0 + self.beta * ((1 + position / self.period) as f32).ln()
    }

    /// Angles of rows at plain positions: queries are turned and made longer, keys are turned.
    pub fn angles(
        self,
        pass: &mut Pass<'_>,
        rotary: &Rotary,
        positions: &[[u32; 3]],
        prompt_rows: usize,
    ) -> Angles {
        let keys = rotary.angles(pass, positions, prompt_rows);
        if positions.iter().all(|p| p[0] < self.period) {
            return Angles::Both(keys);
        }
        let length = |position: [u32; 3]| self.factor(position[0]);
        let queries = rotary.stretched_angles(pass, positions, prompt_rows, length);
        Angles::Each { queries, keys }
    }
}

/// `theta^(2 i / dim)` for `i < dim / 2`, rounded where the reference rounds.
fn powers(dim: usize, theta: f32) -> impl Iterator<Item = f32> {
    (0..dim / 2).map(move |i| {
        let exponent = (2 * i) as f32 / dim as f32;
        f64::from(theta).powf(f64::from(exponent)) as f32
    })
}

/// `theta^(-2 i / dim)` for `i < dim / 2`.
fn inverse_frequencies(dim: usize, theta: f32) -> impl Iterator<Item = f32> {
    powers(dim, theta).map(|power| 1.0 / power)
}

/// Angles of a picture's patches, in the order of the encoder (2 x 2 blocks): `[patches, dim]`.
///
/// The first half of the pairs turns with the patch row, the second half with the patch column, each
/// with the frequencies `10000^(-2 k / (dim / 2))`.
pub fn grid_angles(pass: &mut Pass<'_>, grid: &Grid, dim: usize) -> Tensor {
    let frequencies: Vec<f32> = inverse_frequencies(dim / 2, 10_000.0).collect();
    angles_of_axes(pass, grid, [&frequencies, &frequencies])
}

/// Like [`grid_angles`], but rows and columns share out the frequencies `theta^(-2 k / dim)`: rows have
/// the even ones, columns the odd ones (Pixtral).
pub fn interleaved_grid_angles(pass: &mut Pass<'_>, grid: &Grid, dim: usize, theta: f32) -> Tensor {
    let all: Vec<f32> = inverse_frequencies(dim, theta).collect();
    let every_second = |first: usize| all.iter().skip(first).step_by(2).copied();
    let [rows, columns] = [0, 1].map(|first| every_second(first).collect::<Vec<f32>>());
    angles_of_axes(pass, grid, [&rows, &columns])
}

/// Angles of patches whose row and column turn with `dim / 4` frequencies each: `[patches, dim]`.
fn angles_of_axes(pass: &mut Pass<'_>, grid: &Grid, axes: [&[f32]; 2]) -> Tensor {
    let quarter = axes[0].len();
    let half = 2 * quarter;
    // One sine and cosine per side position: a large picture has few of them.
    let table = |side: u32, frequencies: &[f32]| -> Vec<(f32, f32)> {
        (0..side)
            .flat_map(|p| frequencies.iter().map(move |f| (p as f32 * f).sin_cos()))
            .collect()
    };
    let tables = [table(grid.h, axes[0]), table(grid.w, axes[1])];
    let mut values = vec![0.0; grid.patches() * 2 * half];
    for (row, (y, x)) in values
        .chunks_exact_mut(2 * half)
        .zip(super::patch::block_order(grid))
    {
        let (cosines, sines) = row.split_at_mut(half);
        for ((offset, position), table) in [(0, y), (quarter, x)].into_iter().zip(&tables) {
            let turned = &table[position * quarter..(position + 1) * quarter];
            for (k, (sine, cosine)) in turned.iter().enumerate() {
                cosines[offset + k] = *cosine;
                sines[offset + k] = *sine;
            }
        }
    }
    pass.upload(&values, 2 * half, grid.patches())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaved_sections_follow_the_reference() {
        let axes = AxisOfFrequency::Interleaved([24, 20, 20]);
        let of = |axis| {
            (0..64)
                .filter(|&i| axes.axis(i) == axis)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(1), (1..60).step_by(3).collect::<Vec<_>>());
        assert_eq!(of(2), (2..60).step_by(3).collect::<Vec<_>>());
        assert_eq!(of(0).len(), 24);
        assert_eq!(of(0)[20..], [60, 61, 62, 63]);
    }

    #[test]
    fn contiguous_sections_follow_each_other() {
        let axes = AxisOfFrequency::Contiguous([16, 24, 24]);
        let of = |axis| {
            (0..64)
                .filter(|&i| axes.axis(i) == axis)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(0), (0..16).collect::<Vec<_>>());
        assert_eq!(of(1), (16..40).collect::<Vec<_>>());
        assert_eq!(of(2), (40..64).collect::<Vec<_>>());
    }

    #[test]
    fn yarn_frequencies_are_those_of_the_reference() {
        let yarn = |dim, theta, factor, original_context| {
            Rotary::new(dim, theta, AxisOfFrequency::One).scaled(Scaling::Yarn {
                factor,
                original_context,
                beta_fast: 32.0,
                beta_slow: 1.0,
                attention: 1.0,
            })
        };
        // HF `_compute_yarn_parameters`: every tenth frequency of Qwen2.5 at four times its context.
        let rotary = yarn(128, 1e6, 4.0, 32_768.0);
        let expected = [
            1.0,
            0.115_478_2,
            0.013_335_215,
            0.001_064_361,
            4.445_698_5e-5,
            5.133_812_5e-6,
            5.928_434_3e-7,
        ];
        for ((got, _), expected) in rotary.frequencies.iter().step_by(10).zip(expected) {
            assert!(
                (got / expected - 1.0).abs() < 1e-5,
                "{got}, need {expected}"
            );
        }
        assert!((rotary.magnitude - 1.138_629_4).abs() < 1e-6);

        let rotary = yarn(16, 5e6, 3.0, 262_144.0);
        let expected = [
            1.0,
            0.145_421_55,
            0.021_147_426,
            0.003_075_291_2,
            0.000_347_832_8,
            3.613_027e-5,
            3.152_472_1e-6,
            4.584_373_7e-7,
        ];
        for ((got, _), expected) in rotary.frequencies.iter().zip(expected) {
            assert!(
                (got / expected - 1.0).abs() < 1e-5,
                "{got}, need {expected}"
            );
        }
        assert!((rotary.magnitude - 1.109_861_2).abs() < 1e-6);

        // A context of less than one turn of the slowest frequencies: no index is left to stretch.
        let rotary = yarn(16, 10.0, 4.0, 1.0);
        let plain = Rotary::new(16, 10.0, AxisOfFrequency::One);
        assert_eq!(rotary.frequencies, plain.frequencies);
    }

    #[test]
    fn queries_grow_at_each_period_as_the_reference_says() {
        let temperature = Temperature {
            beta: 0.1,
            period: 16_384,
        };
        for (position, factor) in [
            (16_383, 1.0),
            (16_384, 1.069_31),
            (40_000, 1.109_86),
            (262_143, 1.277_26),
        ] {
            assert!(
                (temperature.factor(position) - factor).abs() < 1e-5,
                "{position}"
            );
        }
    }

    #[test]
    fn linear_scaling_slows_every_frequency() {
        let plain = Rotary::new(16, 1e4, AxisOfFrequency::One);
        let scaled = plain.clone().scaled(Scaling::Linear(4.0));
        for ((got, _), (whole, _)) in scaled.frequencies.iter().zip(&plain.frequencies) {
            assert_eq!(*got, whole / 4.0);
        }
    }
}
