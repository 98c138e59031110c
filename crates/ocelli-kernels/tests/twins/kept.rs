//! Keys and values in 8 bits: every set against the scalar twin, and the twin against what was rounded.

use crate::support::{
    all_sets, assert_close, assert_same, guarded, halves, random, score_stride, scores, vector_sets,
};
use ocelli_kernels::{
    Attention, Decode, Element, KEPT_GROUP, Kept, Kernels, KeyValues, LANES, Matrix, MatrixMut,
    PagedHead, Scalar, ValueRows, Workspace,
};

const DIMS: [usize; 9] = [1, 7, 12, 18, 64, 72, 80, 128, 300];

/// Puts a code in its place of 16 tokens' keys or values.
fn put_code(words: &mut [u16], at: usize, code: i8) {
    let mut bytes = words[at / 2].to_ne_bytes();
    bytes[at % 2] = code as u8;
    words[at / 2] = u16::from_ne_bytes(bytes);
}

/// Rounds `[tokens, dim]` to panels of keys, or to runs of values.
fn kept(x: &[f32], dim: usize, is_keys: bool) -> Vec<u16> {
    let width = if is_keys {
        dim
    } else {
        dim.next_multiple_of(LANES)
    };
    let size = Kept::Q8.key_panel(width);
    let tokens = x.len() / dim;
    let mut words = vec![0; tokens.div_ceil(LANES) * size];
    for (token, x) in x.chunks(dim).enumerate() {
        let words = &mut words[token / LANES * size..][..size];
        let t = token % LANES;
        for (group, x) in x.chunks(KEPT_GROUP).enumerate() {
            let mut codes = vec![0; x.len()];
            let scale = Scalar.round_group(x, &mut codes);
            for (d, code) in (group * KEPT_GROUP..).zip(codes) {
                let at = if is_keys {
                    d * LANES + t
                } else {
                    t * width + d
                };
                put_code(words, at, code);
                words[width * LANES / 2 + group * LANES + t] = scale;
            }
        }
    }
    words
}

#[test]
fn a_group_is_rounded_to_the_nearest_codes_on_every_set() {
    for kernels in all_sets() {
        for len in [0, 1, 8, 31, 32] {
            for (size, factor) in [1.0, 1e-3, 300.0].into_iter().enumerate() {
                let x: Vec<f32> = random((len + size) as u64, len)
                    .iter()
                    .map(|x| x * factor)
                    .collect();
                let mut codes = vec![0; len];
                let scale = kernels.round_group(&x, &mut codes);
                let mut wanted = vec![0; len];
                assert_eq!(scale, Scalar.round_group(&x, &mut wanted));
                assert_eq!(codes, wanted, "{}, {len} elements", kernels.name());
                let scale = widened(scale);
                let largest = x.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
                // Half a step of a normal half, or of those below 2^-14.
                let slack = largest * 5e-4 + 127.0 * 2.0_f32.powi(-25);
                assert!((scale * 127.0 - largest).abs() <= slack);
                for (x, code) in x.iter().zip(codes) {
                    let error = (x - f32::from(code) * scale).abs();
                    assert!(error <= 0.5 * scale + slack, "{x}: {code} x {scale}");
                }
            }
        }
    }
}

fn widened(half: u16) -> f32 {
    let mut out = [0.0];
    Scalar.widen(&[half], &mut out);
    out[0]
}

#[test]
fn what_is_not_finite_or_has_no_scale_is_seen_in_every_element_of_its_group() {
    for kernels in all_sets() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30] {
            let mut x = random(1, KEPT_GROUP);
            x[7] = bad;
            let mut codes = [0; KEPT_GROUP];
            let scale = widened(kernels.round_group(&x, &mut codes));
            for code in codes {
                assert!(
                    !(f32::from(code) * scale).is_finite(),
                    "{bad}: {code} x {scale}"
                );
            }
        }
    }
}

#[test]
fn scores_of_codes_are_those_of_the_twin_and_near_those_of_the_keys() {
    for kernels in vector_sets() {
        for (dim, rows, panels) in DIMS
            .iter()
            .flat_map(|d| [(*d, 1, 1), (*d, 2, 4), (*d, 5, 3), (*d, 12, 8)])
        {
            let queries = guarded(&random(1, rows * dim));
            let exact = random(2, panels * dim * LANES);
            let words = guarded(&kept(&exact, dim, true));
            let keys = Element::Q8(&words);
            let of_all = Matrix::new(&queries, rows, dim);
            let [found, wanted] = [&*kernels, &Scalar]
                .map(|kernels: &dyn Kernels| scores(kernels, of_all, keys, panels));
            let name = format!(
                "{}, dim {dim}, {rows} rows, {panels} panels",
                kernels.name()
            );
            assert_close(&name, &found, &wanted, 2e-6, (dim as f32).sqrt());
            for (row, query) in queries.chunks(dim).enumerate() {
                let scores = &wanted[row * score_stride(panels)..][..panels * LANES];
                for (score, key) in scores.iter().zip(exact.chunks(dim)) {
                    let exact: f32 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                    assert!(
                        (score - exact).abs() <= 0.012 * (dim as f32).sqrt(),
                        "{name}"
                    );
                }
            }
        }
    }
}

#[test]
fn weighted_sums_of_codes_are_those_of_the_twin_wherever_they_start() {
    for kernels in vector_sets() {
        for (width, rows, tokens) in [
            (16, 1, 1),
            (16, 3, 7),
            (32, 12, 64),
            (80, 6, 50),
            (128, 2, 64),
            (128, 13, 33),
            (160, 2, 20),
            (16, 2, 0),
        ] {
            for before in [0, 5, 15] {
                let weights = guarded(&random(1, rows * 128));
                let words = kept(&random(2, (before + tokens) * width), width, false);
                let words = guarded(&words);
                let [found, wanted] = [&*kernels, &Scalar].map(|kernels: &dyn Kernels| {
                    let mut sums = guarded(&random(3, rows * width));
                    let values = ValueRows {
                        values: Element::Q8(&words),
                        tokens,
                        stride: width,
                        before,
                        ahead: Element::Q8(&words),
                    };
                    kernels.weigh(Matrix::new(&weights, rows, 128), values, &mut sums);
                    sums.to_vec()
                });
                let name = format!(
                    "{}, width {width}, {rows} rows, {tokens} tokens behind {before}",
                    kernels.name()
                );
                assert_close(&name, &found, &wanted, 3e-6, 3.0);
            }
        }
    }
}

#[test]
fn codes_are_widened_as_the_twin_does() {
    for kernels in vector_sets() {
        for dim in DIMS {
            let panel = guarded(&kept(&random(1, LANES * dim), dim, true));
            let [found, wanted] = [&*kernels, &Scalar].map(|kernels: &dyn Kernels| {
                let mut out = guarded(&vec![f32::NAN; LANES * dim]);
                kernels.widen_keys(&panel, &mut out);
                out.to_vec()
            });
            assert_same(
                &format!("{}, keys of {dim}", kernels.name()),
                &found,
                &wanted,
            );
            let width = dim.next_multiple_of(LANES);
            let run = guarded(&kept(&random(2, LANES * dim), dim, false));
            for tokens in [0..16, 3..4, 15..16, 2..9] {
                let [found, wanted] = [&*kernels, &Scalar].map(|kernels: &dyn Kernels| {
                    let mut out = guarded(&vec![f32::NAN; tokens.len() * width]);
                    kernels.widen_values(&run, tokens.clone(), &mut out);
                    out.to_vec()
                });
                let name = format!("{}, values of {dim}, {tokens:?}", kernels.name());
                assert_same(&name, &found, &wanted);
            }
        }
    }
}

#[test]
fn a_cache_is_attended_to_with_the_same_bits_beside_other_rows_and_decoded_before_with_nearly_the_same()
 {
    // More than two steps of generated rows, and of prompts.
    let tokens = 600;
    let [keys, values] = [1, 2].map(|seed| random(seed, 640 * 80));
    // Of heads of 72, whose values are padded to 80.
    let codes =
        [(&keys, true), (&values, false)].map(|(x, is_keys)| kept(&x[..640 * 72], 72, is_keys));
    let numbers = [&keys, &values].map(|x| halves(x));
    let queries = random(3, 20 * 80);
    let caches = [
        ("bytes", 72, codes.each_ref().map(|x| Element::Q8(x))),
        ("halves", 80, numbers.each_ref().map(|x| Element::F16(x))),
        ("singles", 80, [&keys, &values].map(|x| Element::F32(x))),
    ];
    let sets = vector_sets();
    for (kernels, (cache, dim, [keys, values])) in sets
        .iter()
        .flat_map(|set| caches.iter().map(move |cache| (set, cache)))
    {
        let dim = *dim;
        let head = PagedHead {
            keys: *keys,
            values: *values,
            page: &|page| page,
            heads: 1,
            head: 0,
            page_tokens: LANES,
        };
        let run = |rows: usize, decode: Decode| {
            let mut out = vec![f32::NAN; rows * dim];
            let attention = Attention {
                queries: Matrix::new(&queries[..rows * dim], rows, dim),
                dim,
                scale: 0.5,
                keys_values: KeyValues::Paged(head),
                decode,
                visible: &|row| row..tokens,
            };
            let mut target = MatrixMut::new(&mut out, rows, dim);
            attention.run(&**kernels, &mut target, &mut Workspace::new());
            out
        };
        let name = format!("{}, {cache}", kernels.name());
        let [read, before] = [Decode::Reading, Decode::Before].map(|decode| run(20, decode));
        assert_close(&name, &read, &before, 2e-6, 1.0);
        for rows in [1, 2, 7] {
            let name = format!("{name}, {rows} rows");
            assert_same(&name, &run(rows, Decode::Reading), &read[..rows * dim]);
            assert_same(&name, &run(rows, Decode::Before), &before[..rows * dim]);
        }
    }
}
