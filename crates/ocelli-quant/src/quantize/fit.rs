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

/// Fits `x = scale * code - minimum` with codes in `0..=most` and `minimum >= 0`; returns scale and minimum.
///
/// Each try scales by `(most + first + 0.1 t) / range`, takes the codes that follow, and solves the weighted least squares
/// for scale and offset. A better offset also moves the start of the tries after it.
pub(super) fn with_minimum<const N: usize>(
    x: &[f32; N],
    weights: &[f32; N],
    search: Search,
    codes: &mut [u8; N],
) -> (f32, f32) {
    let mut low = x.iter().fold(x[0], |low, &x| if x < low { x } else { low });
    let high = x
        .iter()
        .fold(x[0], |high, &x| if x > high { x } else { high });
    low = if low > 0.0 { 0.0 } else { low };
    if high == low {
        *codes = [0; N];
        return (0.0, -low);
    }
    let most = search.most as f32;
    let codes_at = |inverse: f32, low: f32| {
        x.map(|x| round_even(inverse * (x - low)).clamp(0, search.most) as u8)
    };
    let error = |scale: f32, low: f32, codes: &[u8; N]| {
        let mut error = 0.0;
        for ((x, w), &code) in x.iter().zip(weights).zip(codes) {
            let difference = scale * f32::from(code) + low - x;
            error += w * match search.deviation {
                Deviation::Absolute => difference.abs(),
                Deviation::Square => difference * difference,
            };
        }
        error
    };
    let inverse = most / (high - low);
    let mut scale = 1.0 / inverse;
    *codes = codes_at(inverse, low);
    let mut least = error(scale, low, codes);
    for step in 0..=search.tries {
        let inverse = (search.first + 0.1 * step as f32 + most) / (high - low);
        let tried = codes_at(inverse, low);
        if let Some((new_scale, new_low)) = least_squares(x, weights, &tried) {
            let new_error = error(new_scale, new_low, &tried);
            if new_error < least {
                (*codes, least, scale, low) = (tried, new_error, new_scale, new_low);
            }
        }
    }
    (scale, -low)
}

/// Scale and offset (at most 0) with the least weighted squares for given codes; `None` when all codes are equal.
fn least_squares<const N: usize>(
    x: &[f32; N],
    weights: &[f32; N],
    codes: &[u8; N],
) -> Option<(f32, f32)> {
    let (mut sum_w, mut sum_x, mut sum_l, mut sum_l2, mut sum_xl) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for ((&x, &w), &code) in x.iter().zip(weights).zip(codes) {
        let l = f32::from(code);
        sum_w += w;
        sum_x += w * x;
        sum_l += w * l;
        sum_l2 += w * l * l;
        sum_xl += w * l * x;
    }
    let determinant = sum_w * sum_l2 - sum_l * sum_l;
    if determinant.is_nan() || determinant <= 0.0 {
        return None;
    }
    let scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    let low = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    Some(if low > 0.0 {
        (sum_xl / sum_l2, 0.0)
    } else {
        (scale, low)
    })
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

/// Fits `x = scale * code` with codes in `-32..32`, stored plus 32; returns the scale. Tries 19 scales around the one that
/// gives the largest element the code -32.
pub(super) fn symmetric(x: &[f32; 16], codes: &mut [u8; 16]) -> f32 {
    const MOST: i32 = 32;
    let Some(largest) = largest(x) else {
        *codes = [0; 16];
        return 0.0;
    };
    let codes_at = |inverse: f32| x.map(|x| round_even(inverse * x).clamp(-MOST, MOST - 1));
    let mut chosen = codes_at(-(MOST as f32) / largest);
    let (sum_lx, sum_l2) = sums(x, &chosen);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_lx / sum_l2 };
    let mut best = scale * sum_lx;
    for step in (-9..=9).filter(|&step| step != 0) {
        let tried = codes_at(-(MOST as f32 + 0.1 * step as f32) / largest);
        let (sum_lx, sum_l2) = sums(x, &tried);
        if sum_l2 > 0.0 && sum_lx * sum_lx > best * sum_l2 {
            chosen = tried;
            scale = sum_lx / sum_l2;
            best = scale * sum_lx;
        }
    }
    *codes = chosen.map(|code| (code + MOST) as u8);
    scale
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
