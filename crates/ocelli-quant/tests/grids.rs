//! Grid types against values made by the reference C code (`tools/quant/vectors.py`).

use ocelli_quant::{TensorType, dequantize};

/// Type; elements 0, 1, 15, 16, 31, 32, 100, 127, 128, 255 of the first block; the FNV-1a hash of
/// all values of [`random_blocks`] as bytes.
const EXPECTED: [(TensorType, [f32; 10], u64); 7] = [
    (
        TensorType::IQ1_S,
        [
            -0.03125, -0.03125, -0.03125, -0.28125, 0.21875, -0.46875, 3.28125, -0.46875, 0.34375,
            2.40625,
        ],
        0x4da4_6b27_252d_251b,
    ),
    (
        TensorType::IQ1_M,
        [
            4.21875, 0.46875, 0.46875, -0.15625, 1.09375, 3.65625, -0.65625, -0.15625, 0.21875,
            -1.53125,
        ],
        0x9928_1ba8_d76c_b4d7,
    ),
    (
        TensorType::IQ2_XXS,
        [
            5.25, -5.25, 16.40625, 5.25, 5.25, 2.75, 24.21875, 24.21875, 24.21875, -7.25,
        ],
        0x4010_c94e_b7f8_adf5,
    ),
    (
        TensorType::IQ2_XS,
        [
            1.25, -1.25, -1.25, -0.25, -0.78125, 3.75, -6.75, 19.53125, 7.03125, 7.75,
        ],
        0x9e12_c738_e998_4c29,
    ),
    (
        TensorType::IQ2_S,
        [
            -5.75, -5.75, -5.75, -5.75, -5.75, 6.75, -8.59375, -6.71875, 17.46875, -25.53125,
        ],
        0x474e_7bcd_c20a_50cb,
    ),
    (
        TensorType::IQ3_XXS,
        [
            56.25, -96.875, -18.75, 31.25, 43.75, 7.75, 4.75, -73.625, -14.25, 89.125,
        ],
        0x394d_be75_f69b_1bea,
    ),
    (
        TensorType::IQ3_S,
        [
            -40.25, -5.75, 5.75, 40.25, 17.25, 15.75, -5.25, 26.25, -21.75, 93.75,
        ],
        0x069d_0a1a_eac7_3f90,
    ),
];

/// 64 blocks of any bytes, with the scale 0.25.
fn random_blocks(ty: TensorType) -> Vec<u8> {
    let mut state = 1u32;
    let mut bytes: Vec<u8> = (0..64 * ty.block_bytes())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        if ty == TensorType::IQ1_M {
            for (at, nibble) in [(49, 0), (51, 0), (53, 4), (55, 3)] {
                block[at] = (block[at] & 15) | (nibble << 4);
            }
        } else {
            block[..2].copy_from_slice(&[0x00, 0x34]);
        }
    }
    bytes
}

#[test]
fn blocks_have_the_values_that_the_reference_gives() {
    for (ty, expected, need) in EXPECTED {
        let blocks = random_blocks(ty);
        let mut values = vec![f32::NAN; 64 * ty.block_elements()];
        dequantize(ty, &blocks, &mut values).expect("whole blocks");
        let found = [0, 1, 15, 16, 31, 32, 100, 127, 128, 255].map(|e| values[e]);
        assert_eq!(found, expected, "{ty}");
        let start = 0xcbf2_9ce4_8422_2325u64;
        let hash = values
            .iter()
            .flat_map(|y| y.to_le_bytes())
            .fold(start, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
        assert_eq!(hash, need, "{ty}: {hash:#x}");
    }
}

#[test]
fn any_bytes_give_values_without_panic() {
    for (ty, ..) in EXPECTED {
        for fill in 0..=255 {
            let mut values = vec![0.0; ty.block_elements()];
            dequantize(ty, &vec![fill; ty.block_bytes()], &mut values).expect("one block");
        }
    }
}
