//! Finding scale, minimum and codes of one group of elements.
//!
//! All three searches try scales near the obvious one and keep the best by a weighted error. The
//! order of operations is part of the result: sums run from the first element to the last and
//! products from left to right.

/// Groups whose largest magnitude is below this are all zero.
pub(super) const ZERO: f32 = 1e-15;

/// 1.5 * 2^23: a number that it is added to has no fraction bits left, so that the addition itself
/// rounds, and the low bits of the mantissa are the integer.
const WHOLE: f32 = 12_582_912.0;

/// The nearest integer, ties to even, in -2^22..2^22; anything else wraps, NaN gives 0.
pub(super) fn round_even(x: f32) -> i32 {
    ((x + WHOLE).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
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

/// Groups that are fitted side by side, a lane each: every lane does what one group alone would, in
/// the same order, so that the compiler can do all of them with one instruction.
pub(super) const LANES: usize = 8;

/// One number of each group.
pub(super) type Lanes = [f32; LANES];

/// `L` groups of `N` elements, one after the other, as `N` times one element of each.
pub(super) fn side_by_side<const N: usize, const L: usize>(groups: &[[f32; N]]) -> [[f32; L]; N] {
    std::array::from_fn(|j| std::array::from_fn(|k| groups[k][j]))
}

/// The codes of each group, one after the other.
pub(super) fn one_by_one<const N: usize, const L: usize>(codes: &[[f32; L]; N]) -> [[u8; N]; L] {
    // In the low bits of the mantissa the code stands as a whole number.
    let byte = |code: f32| (code + WHOLE).to_bits() as u8;
    std::array::from_fn(|k| std::array::from_fn(|j| byte(codes[j][k])))
}

/// One number of each group from one of another.
fn each<const L: usize>(f: impl Fn(usize) -> f32) -> [f32; L] {
    std::array::from_fn(f)
}

/// A yes or no of each group: all bits or none, as vectors have it.
type Mask<const L: usize> = [u32; L];

/// A yes or no of each group.
fn mask<const L: usize>(f: impl Fn(usize) -> bool) -> Mask<L> {
    std::array::from_fn(|k| if f(k) { u32::MAX } else { 0 })
}

/// Whether any group says yes.
fn any<const L: usize>(mask: &Mask<L>) -> bool {
    mask.iter().fold(0, |all, bits| all | bits) != 0
}

/// `a` where `take` says so, else `b`.
fn choose<const L: usize>(take: &Mask<L>, a: &[f32; L], b: &[f32; L]) -> [f32; L] {
    each(|k| f32::from_bits((a[k].to_bits() & take[k]) | (b[k].to_bits() & !take[k])))
}

/// Fits `x = scale * code - minimum` with codes in `0..=most` and `minimum >= 0`; returns scales
/// and minima, and the codes.
///
/// Each try scales by `(most + first + 0.1 t) / range`, takes the codes that follow, and solves the
/// weighted least squares for scale and offset. A better offset also moves the start of the tries
/// after it.
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
    let is_flat = mask(|k| high[k] == low[k]);
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
        let is_less: Mask<LANES> = mask(|k| new_error[k] < least[k]);
        let is_better = std::array::from_fn(|k| is_solved[k] & is_less[k]);
        if any(&is_better) {
            least = choose(&is_better, &new_error, &least);
            scale = choose(&is_better, &new_scale, &scale);
            low = choose(&is_better, &new_low, &low);
            for (code, tried) in codes.iter_mut().zip(&tried) {
                *code = choose(&is_better, tried, code);
            }
        }
    }
    codes
        .iter_mut()
        .for_each(|code| *code = choose(&is_flat, &[0.0; LANES], code));
    let scale = choose(&is_flat, &[0.0; LANES], &scale);
    let low = choose(&is_flat, &flat_low, &low);
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
        let difference: Lanes = each(|k| scale[k] * code[k] + low[k] - x[k]);
        error = match deviation {
            Deviation::Absolute => each(|k| error[k] + w[k] * difference[k].abs()),
            Deviation::Square => each(|k| error[k] + w[k] * (difference[k] * difference[k])),
        };
    }
    error
}

/// Scale and offset (at most 0) with the least weighted squares for given codes, and where there
/// are such: not where all codes are equal.
fn least_squares<const N: usize>(
    x: &[Lanes; N],
    weights: &[Lanes; N],
    codes: &[Lanes; N],
) -> (Lanes, Lanes, Mask<LANES>) {
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
    let determinant: Lanes = each(|k| sum_w[k] * sum_l2[k] - sum_l[k] * sum_l[k]);
    let scale: Lanes = each(|k| (sum_w[k] * sum_xl[k] - sum_x[k] * sum_l[k]) / determinant[k]);
    let low: Lanes = each(|k| (sum_l2[k] * sum_x[k] - sum_l[k] * sum_xl[k]) / determinant[k]);
    let is_above = mask(|k| low[k] > 0.0);
    (
        choose(&is_above, &each(|k| sum_xl[k] / sum_l2[k]), &scale),
        choose(&is_above, &zero, &low),
        // False for what is no number.
        mask(|k| determinant[k] > 0.0),
    )
}

/// Fits `x = scale * code` with codes in `-32..32`, stored plus 32; returns the scales and the
/// codes. Tries 19 scales around the one that gives the largest element the code -32.
pub(super) fn symmetric(x: &[Lanes; 16]) -> (Lanes, [Lanes; 16]) {
    const MOST: i32 = 32;
    let (largest, is_zero) = largest(x);
    let codes_at = |wanted: f32| -> [Lanes; 16] {
        let inverse: Lanes = each(|k| wanted / largest[k]);
        let code = |x: f32, inverse: f32| round_even(inverse * x).clamp(-MOST, MOST - 1) as f32;
        std::array::from_fn(|j| each(|k| code(x[j][k], inverse[k])))
    };
    let mut codes = codes_at(-(MOST as f32));
    let (sum_lx, sum_l2) = sums(x, &codes);
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
        let (sum_lx, sum_l2) = sums(x, &tried);
        let is_better = mask(|k| (sum_l2[k] > 0.0) & (sum_lx[k] * sum_lx[k] > best[k] * sum_l2[k]));
        if any(&is_better) {
            scale = choose(&is_better, &each(|k| sum_lx[k] / sum_l2[k]), &scale);
            best = choose(&is_better, &each(|k| scale[k] * sum_lx[k]), &best);
            for (code, tried) in codes.iter_mut().zip(&tried) {
                *code = choose(&is_better, tried, code);
            }
        }
    }
    for code in &mut codes {
        *code = choose(&is_zero, &[0.0; LANES], &each(|k| code[k] + MOST as f32));
    }
    (choose(&is_zero, &[0.0; LANES], &scale), codes)
}

/// The first element of the largest magnitude of each group, with its sign, and which groups are all zero.
fn largest<const L: usize>(x: &[[f32; L]; 16]) -> ([f32; L], Mask<L>) {
    let mut largest = [0f32; L];
    for x in x {
        let is_larger = mask(|k| x[k].abs() > largest[k].abs());
        largest = choose(&is_larger, x, &largest);
    }
    (largest, mask(|k| largest[k].abs() < ZERO))
}

/// Weighted sums of `x * code` and `code * code` of each group, with weights `x * x`.
fn sums<const L: usize>(x: &[[f32; L]; 16], codes: &[[f32; L]; 16]) -> ([f32; L], [f32; L]) {
    let (mut sum_lx, mut sum_l2) = ([0.0; L], [0.0; L]);
    for (x, l) in x.iter().zip(codes) {
        for k in 0..L {
            let w = x[k] * x[k];
            sum_lx[k] += w * x[k] * l[k];
            sum_l2[k] += w * l[k] * l[k];
        }
    }
    (sum_lx, sum_l2)
}

/// Fits `x = scale * code` with codes in `-4..4`, stored plus 4; returns the scales and the codes.
/// Starts from the scale that gives the largest element the code -4 and moves single codes as long
/// as that makes the fit better, five rounds at most. A group that nothing moved in stays as it is
/// in every later round, so that groups need not end together.
pub(super) fn refined<const L: usize>(x: &[[f32; L]; 16]) -> ([f32; L], [[f32; L]; 16]) {
    const MOST: i32 = 4;
    const ROUNDS: usize = 5;
    let nearest = |x: f32| round_even(x).clamp(-MOST, MOST - 1) as f32;
    let (largest, is_zero) = largest(x);
    let inverse: [f32; L] = each(|k| -(MOST as f32) / largest[k]);
    let mut codes: [[f32; L]; 16] =
        std::array::from_fn(|j| each(|k| nearest(inverse[k] * x[j][k])));
    let (mut sum_lx, mut sum_l2) = sums(x, &codes);
    for _ in 0..ROUNDS {
        let mut changed = false;
        for (x, code) in x.iter().zip(&mut codes) {
            // Both sums without the element; what its code should then be; both sums with that code.
            let w: [f32; L] = each(|k| x[k] * x[k]);
            let rest_lx: [f32; L] = each(|k| sum_lx[k] - w[k] * x[k] * code[k]);
            let rest_l2: [f32; L] = each(|k| sum_l2[k] - w[k] * code[k] * code[k]);
            let moved: [f32; L] = each(|k| nearest(x[k] * rest_l2[k] / rest_lx[k]));
            let new_lx: [f32; L] = each(|k| rest_lx[k] + w[k] * x[k] * moved[k]);
            let new_l2: [f32; L] = each(|k| rest_l2[k] + w[k] * moved[k] * moved[k]);
            let is_better = mask(|k| {
                (rest_lx[k] > 0.0)
                    & (moved[k] != code[k])
                    & (new_l2[k] > 0.0)
                    & (new_lx[k] * new_lx[k] * sum_l2[k] > sum_lx[k] * sum_lx[k] * new_l2[k])
            });
            if any(&is_better) {
                changed = true;
                *code = choose(&is_better, &moved, code);
                sum_lx = choose(&is_better, &new_lx, &sum_lx);
                sum_l2 = choose(&is_better, &new_l2, &sum_l2);
            }
        }
        if !changed {
            break;
        }
    }
    for code in &mut codes {
        *code = choose(&is_zero, &[0.0; L], &each(|k| code[k] + MOST as f32));
    }
    let has_scale = mask(|k| largest[k].abs() >= ZERO && sum_l2[k] > 0.0);
    (
        choose(&has_scale, &each(|k| sum_lx[k] / sum_l2[k]), &[0.0; L]),
        codes,
    )
}
