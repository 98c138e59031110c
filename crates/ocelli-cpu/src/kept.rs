//! Writing a row of keys or values into the cache, in each way that it keeps them.

use ocelli_kernels::{KEPT_GROUP, Kept, Kernels, LANES};

use crate::memory::Number;

/// How a row of a head goes into 16 tokens' keys or values.
pub(crate) trait Write {
    /// What a cache holds.
    type Element: Number + Send;
    /// How it is kept.
    const KEPT: Kept;
    /// Writes a key as token `lane` of a panel.
    fn key(kernels: &dyn Kernels, x: &[f32], panel: &mut [Self::Element], lane: usize);
    /// Writes a value as token `token` of a page.
    fn value(kernels: &dyn Kernels, x: &[f32], page: &mut [Self::Element], token: usize);
}

/// IEEE singles.
pub(crate) struct Singles;
/// IEEE halves.
pub(crate) struct Halves;
/// Codes of 8 bits and scales; see [`Kept`].
pub(crate) struct Codes;

impl Write for Singles {
    type Element = f32;
    const KEPT: Kept = Kept::F32;

    fn key(_: &dyn Kernels, x: &[f32], panel: &mut [f32], lane: usize) {
        for (x, target) in x.iter().zip(panel[lane..].iter_mut().step_by(LANES)) {
            *target = *x;
        }
    }

    fn value(_: &dyn Kernels, x: &[f32], page: &mut [f32], token: usize) {
        let start = token * x.len().next_multiple_of(LANES);
        page[start..start + x.len()].copy_from_slice(x);
    }
}

impl Write for Halves {
    type Element = u16;
    const KEPT: Kept = Kept::F16;

    fn key(kernels: &dyn Kernels, x: &[f32], panel: &mut [u16], lane: usize) {
        let mut targets = panel[lane..].iter_mut().step_by(LANES);
        let mut rounded = [0; RUN];
        for x in x.chunks(RUN) {
            let rounded = &mut rounded[..x.len()];
            kernels.narrow(x, rounded);
            for (value, target) in rounded.iter().zip(targets.by_ref()) {
                *target = *value;
            }
        }
    }

    fn value(kernels: &dyn Kernels, x: &[f32], page: &mut [u16], token: usize) {
        let start = token * x.len().next_multiple_of(LANES);
        kernels.narrow(x, &mut page[start..start + x.len()]);
    }
}

impl Write for Codes {
    type Element = u16;
    const KEPT: Kept = Kept::Q8;

    fn key(kernels: &dyn Kernels, x: &[f32], panel: &mut [u16], lane: usize) {
        let (words, scales) = panel.split_at_mut(x.len() * LANES / 2);
        let targets = words.chunks_mut(KEPT_GROUP * LANES / 2);
        let scales = scales.iter_mut().skip(lane).step_by(LANES);
        let mut codes = [0; KEPT_GROUP];
        for ((x, target), scale) in x.chunks(KEPT_GROUP).zip(targets).zip(scales) {
            *scale = kernels.round_group(x, &mut codes[..x.len()]);
            let words = target[lane / 2..].iter_mut().step_by(LANES / 2);
            for (code, word) in codes[..x.len()].iter().zip(words) {
                put_code(word, lane, *code);
            }
        }
    }

    fn value(kernels: &dyn Kernels, x: &[f32], page: &mut [u16], token: usize) {
        let width = x.len().next_multiple_of(LANES);
        let size = Kept::Q8.value_run(x.len());
        let run = &mut page[token / LANES * size..][..size];
        let (words, scales) = run.split_at_mut(width * LANES / 2);
        let words = &mut words[token % LANES * width / 2..][..width / 2];
        let scales = scales.iter_mut().skip(token % LANES).step_by(LANES);
        let targets = words.chunks_mut(KEPT_GROUP / 2);
        for ((x, target), scale) in x.chunks(KEPT_GROUP).zip(targets).zip(scales) {
            let mut codes = [0; KEPT_GROUP];
            *scale = kernels.round_group(x, &mut codes[..x.len()]);
            for (pair, word) in codes.as_chunks::<2>().0.iter().zip(target) {
                *word = u16::from_ne_bytes(pair.map(|code| code as u8));
            }
        }
    }
}

/// Code number `at` of a run of words, which `word` holds.
fn put_code(word: &mut u16, at: usize, code: i8) {
    let [first, second] = word.to_ne_bytes();
    *word = u16::from_ne_bytes(match at % 2 {
        0 => [code as u8, second],
        _ => [first, code as u8],
    });
}

/// Elements of a key that are rounded before each goes to its place.
const RUN: usize = 64;
