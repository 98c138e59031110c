//! Dequantisation against values made by libggml, and at the extremes of every field.

use ocelli_quant::{QuantError, TensorType, dequantize, is_dequantizable};

/// Where a type keeps its scale and its minimum or scale of minima.
struct Fields {
    ty: TensorType,
    scale: Option<usize>,
    min: Option<usize>,
}

const FIELDS: [Fields; 13] = [
    fields(TensorType::Q4_0, Some(0), None),
    fields(TensorType::Q4_1, Some(0), Some(2)),
    fields(TensorType::Q5_0, Some(0), None),
    fields(TensorType::Q5_1, Some(0), Some(2)),
    fields(TensorType::Q8_0, Some(0), None),
    fields(TensorType::Q2_K, Some(80), Some(82)),
    fields(TensorType::Q3_K, Some(108), None),
    fields(TensorType::Q4_K, Some(0), Some(2)),
    fields(TensorType::Q5_K, Some(0), Some(2)),
    fields(TensorType::Q6_K, Some(208), None),
    fields(TensorType::IQ4_NL, Some(0), None),
    fields(TensorType::IQ4_XS, Some(0), None),
    fields(TensorType::MXFP4, None, None),
];

const fn fields(ty: TensorType, scale: Option<usize>, min: Option<usize>) -> Fields {
    Fields { ty, scale, min }
}

/// Byte i is (73 i + 41) mod 256; the scale is 0.25, the minimum 0.0625, the exponent of MXFP4 126.
fn block(fields: &Fields) -> Vec<u8> {
    let mut block: Vec<u8> = (0..fields.ty.block_bytes())
        .map(|i| (73 * i + 41) as u8)
        .collect();
    if let Some(at) = fields.scale {
        block[at..at + 2].copy_from_slice(&[0x00, 0x34]);
    }
    if let Some(at) = fields.min {
        block[at..at + 2].copy_from_slice(&[0x00, 0x2c]);
    }
    if fields.ty == TensorType::MXFP4 {
        block[0] = 126;
    }
    block
}

fn values(ty: TensorType, block: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; ty.block_elements()];
    dequantize(ty, block, &mut out).expect("one block of a known type");
    out
}

/// Elements 0, 1, 15, 16, 31 and, of blocks of 256, 32, 100, 127, 128, 255; the sum; the sum of (e + 1) y(e).
/// Sums have six digits.
type Expected = (TensorType, &'static [f32], f64, f64);

const EXPECTED: [Expected; 13] = [
    (
        TensorType::Q4_0,
        &[0.75, -1.0, -1.5, 0.75, -2.0],
        -8.25,
        -199.75,
    ),
    (
        TensorType::Q4_1,
        &[3.3125, 1.5625, 1.0625, 1.0625, 2.3125],
        58.25,
        899.5,
    ),
    (
        TensorType::Q5_0,
        &[3.75, 2.0, -2.5, 3.25, 0.5],
        -11.25,
        -296.25,
    ),
    (
        TensorType::Q5_1,
        &[4.3125, 2.5625, 6.0625, 5.8125, 2.8125],
        127.25,
        2045.0,
    ),
    (
        TensorType::Q8_0,
        &[-17.25, 1.0, 0.5, 18.75, -27.5],
        -12.0,
        -172.0,
    ),
    (
        TensorType::Q2_K,
        &[
            2.125, 4.375, -0.125, 0.0625, -0.4375, 4.8125, 10.4375, 3.875, -0.1875, -0.4375,
        ],
        611.75,
        76262.0,
    ),
    (
        TensorType::Q3_K,
        &[-1.75, 3.5, 7.0, 0.5, -2.0, -13.5, -4.25, -24.0, 6.0, -6.0],
        58.5,
        8686.5,
    ),
    (
        TensorType::Q4_K,
        &[
            26.1875, 3.4375, -3.0625, 26.1875, -3.0625, 56.875, 149.25, 109.25, 45.6875, -1.4375,
        ],
        13772.0,
        1.88778e6,
    ),
    (
        TensorType::Q5_K,
        &[
            78.1875, 3.4375, -3.0625, 78.1875, -3.0625, 67.875, 169.25, 129.25, 129.6875, -1.4375,
        ],
        27952.0,
        3.77156e6,
    ),
    (
        TensorType::Q6_K,
        &[
            40.25, -11.5, 184.0, -87.5, -400.0, 276.75, -533.5, -12.0, -85.75, 72.0,
        ],
        -3711.0,
        -407032.0,
    ),
    (
        TensorType::IQ4_NL,
        &[9.5, -12.25, -20.75, 9.5, -31.75],
        -120.25,
        -3019.0,
    ),
    (
        TensorType::IQ4_XS,
        &[
            -754.0, 181.25, 7.25, -72.5, 275.5, -104.0, -78.75, -49.5, 442.0, -187.5,
        ],
        -1612.5,
        220763.0,
    ),
    (
        TensorType::MXFP4,
        &[0.5, -0.75, -0.25, 3.0, -0.75],
        6.25,
        156.5,
    ),
];

#[test]
fn blocks_have_the_values_that_libggml_gives() {
    for ((ty, expected, sum, weighted), fields) in EXPECTED.iter().zip(&FIELDS) {
        assert_eq!(*ty, fields.ty);
        let values = values(*ty, &block(fields));
        let places = [0, 1, 15, 16, 31, 32, 100, 127, 128, 255];
        for (&place, expected) in places.iter().zip(*expected) {
            assert_eq!(values[place], *expected, "{ty} element {place}");
        }
        let six_digits = |a: f64, b: f64| (a - b).abs() <= 5e-6 * b.abs();
        let found: f64 = values.iter().map(|&y| f64::from(y)).sum();
        assert!(six_digits(found, *sum), "{ty}: sum {found}, need {sum}");
        let found: f64 = (1..)
            .zip(&values)
            .map(|(n, &y)| f64::from(n) * f64::from(y))
            .sum();
        assert!(
            six_digits(found, *weighted),
            "{ty}: weighted sum {found}, need {weighted}"
        );
    }
}

#[test]
fn a_row_is_its_blocks_one_after_the_other() {
    for fields in &FIELDS {
        let (first, second) = (block(fields), vec![0u8; fields.ty.block_bytes()]);
        let row = [first.clone(), second.clone(), first.clone()].concat();
        let mut out = vec![f32::NAN; 3 * fields.ty.block_elements()];
        dequantize(fields.ty, &row, &mut out).unwrap();
        let need = [
            values(fields.ty, &first),
            values(fields.ty, &second),
            values(fields.ty, &first),
        ];
        assert_eq!(out, need.concat(), "{}", fields.ty);
    }
}

#[test]
fn zero_blocks_are_zero() {
    for fields in &FIELDS {
        let values = values(fields.ty, &vec![0; fields.ty.block_bytes()]);
        assert!(values.iter().all(|&y| y == 0.0), "{}", fields.ty);
    }
}

#[test]
fn any_scale_gives_values_without_panic() {
    // Largest, smallest subnormal, infinite, not a number, negative zero.
    for scale in [0x7bffu16, 0x0001, 0x7c00, 0xfc00, 0x7e00, 0x8000] {
        for fields in &FIELDS {
            for fill in [0x00, 0xff, 0x80, 0x7f] {
                let mut block = vec![fill; fields.ty.block_bytes()];
                for at in [fields.scale, fields.min].into_iter().flatten() {
                    block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
                let values = values(fields.ty, &block);
                if fields.scale.is_some() && matches!(scale, 0x7bff | 0x0001) {
                    assert!(values.iter().all(|y| y.is_finite()), "{}", fields.ty);
                }
            }
        }
    }
}

#[test]
fn mxfp4_scales_reach_from_subnormal_to_the_largest() {
    for e in 0..=255u8 {
        let mut block = [0x11; 17];
        block[0] = e;
        let need = 2f64.powi(i32::from(e) - 128) as f32;
        assert_eq!(values(TensorType::MXFP4, &block)[0], need, "e = {e}");
    }
}

#[test]
fn plain_numbers_are_converted_exactly() {
    let singles = [
        0.0f32,
        -0.0,
        1.5,
        f32::MIN_POSITIVE / 4.0,
        f32::MAX,
        f32::NEG_INFINITY,
    ];
    let bytes: Vec<u8> = singles.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut out = [f32::NAN; 6];
    dequantize(TensorType::F32, &bytes, &mut out).unwrap();
    assert_eq!(out.map(f32::to_bits), singles.map(f32::to_bits));

    let mut out = [f32::NAN; 4];
    dequantize(
        TensorType::F16,
        &[0x00, 0x3c, 0x01, 0x00, 0xff, 0x7b, 0x00, 0xfc],
        &mut out,
    )
    .unwrap();
    assert_eq!(out, [1.0, 2f32.powi(-24), 65504.0, f32::NEG_INFINITY]);

    let mut out = [f32::NAN; 2];
    dequantize(TensorType::BF16, &[0x80, 0x3f, 0x49, 0xc0], &mut out).unwrap();
    assert_eq!(out, [1.0, -3.140625]);
}

#[test]
fn wrong_lengths_and_types_without_reference_are_errors() {
    let mut out = [0.0; 32];
    for bytes in [0, 17, 19, 36] {
        let error = dequantize(TensorType::Q4_0, &vec![0; bytes], &mut out).unwrap_err();
        assert!(
            matches!(error, QuantError::WrongLength { elements: 32, .. }),
            "{error}"
        );
    }
    assert!(dequantize(TensorType::Q4_0, &[0; 18], &mut out[..31]).is_err());
    let error = dequantize(TensorType::I8, &[0; 32], &mut out).unwrap_err();
    assert_eq!(error.to_string(), "type I8 cannot be run by this engine");
    for ty in TensorType::ALL {
        let mut out = vec![0.0; ty.block_elements()];
        let done = dequantize(ty, &vec![0; ty.block_bytes()], &mut out).is_ok();
        assert_eq!(done, is_dequantizable(ty), "{ty}");
        assert!(
            done || !ty.is_runnable(),
            "{ty} cannot run without a reference"
        );
    }
}
