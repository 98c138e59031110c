//! Finding scale, minimum and codes of one group of elements.
//!
//! All three searches try scales near the obvious one and keep the best by a weighted error. The order of operations is
//! part of the result: sums run from the first element to the last and products from left to right.

/// Groups whose largest magnitude is below this are all zero.
pub(super) const ZERO: f32 = 1e-15;

/// The nearest integer, ties to even, in -2^22..2^22; anything else wraps, NaN gives 0.
pub(super) fn round_even(x: f32) -> i32 {
    // Adding 1.5 * 2^23 leaves no fraction bits, so the addition itself rounds and the mantissa is the integer.
    ((x + 12_582_912.0).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// The first element of the largest magnitude, with its sign; `None` when all are zero.
fn largest(x: &[f32]) -> Option<f32> {
    let largest = x
        .iter()
        .fold(0f32, |most, &x| if x.abs() > most.abs() { x } else { most });
    (largest.abs() >= ZERO).then_some(largest)
}

/// What is summed up as the error of a fit, times the weight.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deviation {
    /// The magnitude of the difference.
    Absolute,
    /// The square of the difference.
    Square,
}

/// How [`with_minimum`] searches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    /// The largest code.
    pub(super) most: i32,
    /// What is added to `most` at the first try.
    pub(super) first: f32,
    /// Number of tries after the first; each adds 0.1.
    pub(super) tries: i32,
    /// The error to keep small.
    pub(super) deviation: Deviation,
}

/// Groups that are fitted side by side, a lane each: every lane does what one group alone would, in the same order, so
/// that the compiler can do all of them with one instruction.
pub(super) const LANES: usize = 8;

/// One number of each group.
pub(super) type Lanes = [f32; LANES];

/// Groups of `N` elements, one after the other, as `N` times one element of each.
pub(super) fn side_by_side<const N: usize>(groups: &[[f32; N]]) -> [Lanes; N] {
    std::array::from_fn(|j| std::array::from_fn(|k| groups[k][j]))
}

/// The codes of each group, one after the other.
pub(super) fn one_by_one<const N: usize>(codes: &[Lanes; N]) -> [[u8; N]; LANES] {
    std::array::from_fn(|k| std::array::from_fn(|j| codes[j][k] as u8))
}

/// One number of each group from one of another.
fn each(f: impl Fn(usize) -> f32) -> Lanes {
    std::array::from_fn(f)
}

/// `a` where `take` says so, else `b`.
fn choose(take: [bool; LANES], a: &Lanes, b: &Lanes) -> Lanes {
    each(|k| if take[k] { a[k] } else { b[k] })
}

/// Fits `x = scale * code - minimum` with codes in `0..=most` and `minimum >= 0`; returns scales and minima, and the codes.
///
/// Each try scales by `(most + first + 0.1 t) / range`, takes the codes that follow, and solves the weighted least squares
/// for scale and offset. A better offset also moves the start of the tries after it.
pub(super) fn with_minimum<const N: usize>(
    x: &[Lanes; N],
    weights: &[Lanes; N],
    search: Search,
) -> (Lanes, Lanes, [Lanes; N]) {
    let (mut low, mut high) = (x[0], x[0]);
    for x in x {
        low = each(|k| if x[k] < low[k] { x[k] } else { low[k] });
        high = each(|k| if x[k] > high[k] { x[k] } else { high[k] });
    }
    low = low.map(|low| if low > 0.0 { 0.0 } else { low });
    let is_flat: [bool; LANES] = std::array::from_fn(|k| high[k] == low[k]);
    let flat_low = low;
    let most = search.most as f32;
    let first = each(|k| most / (high[k] - low[k]));
    let mut scale = first.map(|inverse| 1.0 / inverse);
    let mut codes = codes_at(x, (&first, &low), search.most);
    let mut least = error(x, weights, (&scale, &low, &codes), search.deviation);
    for step in 0..=search.tries {
        let wanted = search.first + 0.1 * step as f32 + most;
        let inverse = each(|k| wanted / (high[k] - low[k]));
        let tried = codes_at(x, (&inverse, &low), search.most);
        let (new_scale, new_low, is_solved) = least_squares(x, weights, &tried);
        let new_error = error(x, weights, (&new_scale, &new_low, &tried), search.deviation);
        let is_better: [bool; LANES] =
            std::array::from_fn(|k| is_solved[k] && new_error[k] < least[k]);
        if is_better.contains(&true) {
            least = choose(is_better, &new_error, &least);
            scale = choose(is_better, &new_scale, &scale);
            low = choose(is_better, &new_low, &low);
            for (code, tried) in codes.iter_mut().zip(&tried) {
                *code = choose(is_better, tried, code);
            }
        }
    }
    codes
        .iter_mut()
        .for_each(|code| *code = choose(is_flat, &[0.0; LANES], code));
    let scale = choose(is_flat, &[0.0; LANES], &scale);
    let low = choose(is_flat, &flat_low, &low);
    (scale, low.map(|low| -low), codes)
}

/// The nearest codes for given inverse scales and offsets.
fn codes_at<const N: usize>(
    x: &[Lanes; N],
    (inverse, low): (&Lanes, &Lanes),
    most: i32,
) -> [Lanes; N] {
    std::array::from_fn(|j| {
        each(|k| round_even(inverse[k] * (x[j][k] - low[k])).clamp(0, most) as f32)
    })
}

/// The weighted deviations, summed from the first element to the last.
fn error<const N: usize>(
    x: &[Lanes; N],
    weights: &[Lanes; N],
    (scale, low, codes): (&Lanes, &Lanes, &[Lanes; N]),
    deviation: Deviation,
) -> Lanes {
    let mut error = [0.0; LANES];
    for ((x, w), code) in x.iter().zip(weights).zip(codes) {
        let difference = each(|k| scale[k] * code[k] + low[k] - x[k]);
        error = match deviation {
            Deviation::Absolute => each(|k| error[k] + w[k] * difference[k].abs()),
            Deviation::Square => each(|k| error[k] + w[k] * (difference[k] * difference[k])),
        };
    }
    error
}

/// Scale and offset (at most 0) with the least weighted squares for given codes, and where there are such: not where all
/// codes are equal.
fn least_squares<const N: usize>(
    x: &[Lanes; N],
    weights: &[Lanes; N],
    codes: &[Lanes; N],
) -> (Lanes, Lanes, [bool; LANES]) {
    let zero = [0.0; LANES];
    let (mut sum_w, mut sum_x, mut sum_l, mut sum_l2, mut sum_xl) = (zero, zero, zero, zero, zero);
    for ((x, w), l) in x.iter().zip(weights).zip(codes) {
        for k in 0..LANES {
            sum_w[k] += w[k];
            sum_x[k] += w[k] * x[k];
            sum_l[k] += w[k] * l[k];
            sum_l2[k] += w[k] * l[k] * l[k];
            sum_xl[k] += w[k] * l[k] * x[k];
        }
    }
    let determinant = each(|k| sum_w[k] * sum_l2[k] - sum_l[k] * sum_l[k]);
    let scale = each(|k| (sum_w[k] * sum_xl[k] - sum_x[k] * sum_l[k]) / determinant[k]);
    let low = each(|k| (sum_l2[k] * sum_x[k] - sum_l[k] * sum_xl[k]) / determinant[k]);
    let is_above: [bool; LANES] = low.map(|low| low > 0.0);
    (
        choose(is_above, &each(|k| sum_xl[k] / sum_l2[k]), &scale),
        choose(is_above, &zero, &low),
        // False for what is no number.
        determinant.map(|determinant| determinant > 0.0),
    )
}

/// Weighted sums of `x * code` and `code * code` with weights `x * x`.
fn sums(x: &[f32; 16], codes: &[i32; 16]) -> (f32, f32) {
    let (mut sum_lx, mut sum_l2) = (0.0, 0.0);
    for (&x, &code) in x.iter().zip(codes) {
        let (w, l) = (x * x, code as f32);
        sum_lx += w * x * l;
        sum_l2 += w * l * l;
    }
    (sum_lx, sum_l2)
}

/// Fits `x = scale * code` with codes in `-32..32`, stored plus 32; returns the scales and the codes. Tries 19 scales around
/// the one that gives the largest element the code -32.
pub(super) fn symmetric(x: &[Lanes; 16]) -> (Lanes, [Lanes; 16]) {
    const MOST: i32 = 32;
    let mut largest: Lanes = [0.0; LANES];
    for x in x {
        largest = each(|k| {
            if x[k].abs() > largest[k].abs() {
                x[k]
            } else {
                largest[k]
            }
        });
    }
    let is_zero = largest.map(|largest: f32| largest.abs() < ZERO);
    let codes_at = |wanted: f32| -> [Lanes; 16] {
        let inverse = each(|k| wanted / largest[k]);
        let code = |x: f32, inverse: f32| round_even(inverse * x).clamp(-MOST, MOST - 1) as f32;
        std::array::from_fn(|j| each(|k| code(x[j][k], inverse[k])))
    };
    let mut codes = codes_at(-(MOST as f32));
    let (sum_lx, sum_l2) = lane_sums(x, &codes);
    let mut scale = each(|k| {
        if sum_l2[k] == 0.0 {
            0.0
        } else {
            sum_lx[k] / sum_l2[k]
        }
    });
    let mut best = each(|k| scale[k] * sum_lx[k]);
    for step in (-9..=9).filter(|&step| step != 0) {
        let tried = codes_at(-(MOST as f32 + 0.1 * step as f32));
        let (sum_lx, sum_l2) = lane_sums(x, &tried);
        let is_better: [bool; LANES] =
            std::array::from_fn(|k| sum_l2[k] > 0.0 && sum_lx[k] * sum_lx[k] > best[k] * sum_l2[k]);
        if is_better.contains(&true) {
            scale = choose(is_better, &each(|k| sum_lx[k] / sum_l2[k]), &scale);
            best = choose(is_better, &each(|k| scale[k] * sum_lx[k]), &best);
            for (code, tried) in codes.iter_mut().zip(&tried) {
                *code = choose(is_better, tried, code);
            }
        }
    }
    for code in &mut codes {
        *code = each(|k| {
            if is_zero[k] {
                0.0
            } else {
                code[k] + MOST as f32
            }
        });
    }
    (choose(is_zero, &[0.0; LANES], &scale), codes)
}

/// [`sums`] of each group.
fn lane_sums(x: &[Lanes; 16], codes: &[Lanes; 16]) -> (Lanes, Lanes) {
    let (mut sum_lx, mut sum_l2) = ([0.0; LANES], [0.0; LANES]);
    for (x, l) in x.iter().zip(codes) {
        for k in 0..LANES {
            let w = x[k] * x[k];
            sum_lx[k] += w * x[k] * l[k];
            sum_l2[k] += w * l[k] * l[k];
        }
    }
    (sum_lx, sum_l2)
}

/// Fits `x = scale * code` with codes in `-4..4`, stored plus 4; returns the scale. Starts from the scale that gives the
/// largest element the code -4 and moves single codes as long as that makes the fit better, five rounds at most.
pub(super) fn refined(x: &[f32; 16], codes: &mut [u8; 16]) -> f32 {
    const MOST: i32 = 4;
    const ROUNDS: usize = 5;
    let Some(largest) = largest(x) else {
        *codes = [0; 16];
        return 0.0;
    };
    let inverse = -(MOST as f32) / largest;
    let mut chosen = x.map(|x| round_even(inverse * x).clamp(-MOST, MOST - 1));
    let (mut sum_lx, mut sum_l2) = sums(x, &chosen);
    for _ in 0..ROUNDS {
        let mut changed = false;
        for (&x, code) in x.iter().zip(&mut chosen) {
            let (w, l) = (x * x, *code as f32);
            let mut other_lx = sum_lx - w * x * l;
            if other_lx.is_nan() || other_lx <= 0.0 {
                continue;
            }
            let mut other_l2 = sum_l2 - w * l * l;
            let moved = round_even(x * other_l2 / other_lx).clamp(-MOST, MOST - 1);
            if moved == *code {
                continue;
            }
            let l = moved as f32;
            other_lx += w * x * l;
            other_l2 += w * l * l;
            if other_l2 > 0.0 && other_lx * other_lx * sum_l2 > sum_lx * sum_lx * other_l2 {
                (*code, sum_lx, sum_l2) = (moved, other_lx, other_l2);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    *codes = chosen.map(|code| (code + MOST) as u8);
    if sum_l2 > 0.0 { sum_lx / sum_l2 } else { 0.0 }
}
