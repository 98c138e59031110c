//! Quantisation against bytes made by the reference C code (`tools/quant/vectors.py`), and at the extremes.

use ocelli_quant::{TensorType, dequantize, is_quantizable, quantize, quantize_into};

/// Type, the block of [`regular`], the FNV-1a hash of the blocks of [`mixed`].
const EXPECTED: [(TensorType, &str, u64); 10] = [
    (
        TensorType::Q4_0,
        "4036e046acf258bd1379df358be046acf268",
        0x2f8b_9dcb_f596_fec9,
    ),
    (
        TensorType::Q4_1,
        "ab3640c2d0369bf257bd1369ce258ae0469cf258",
        0xc379_8957_a679_cab2,
    ),
    (
        TensorType::Q5_0,
        "4032a4a52d6dc07c38f3bf6b26e2ae5a15d18d49f4c0",
        0x8848_e26e_ffde_4d95,
    ),
    (
        TensorType::Q5_1,
        "743240c2a4a52d6db07b37e3af6a26d29d5905c18c48f4b0",
        0xdd93_6449_4c83_42df,
    ),
    (
        TensorType::Q8_0,
        "4d2681df3d9af856b41270cd2b89e745a2005ebb1977d53390ee4caa0866c3217fdc",
        0xb959_cfb4_5c09_46b7,
    ),
    (
        TensorType::Q2_K,
        "dedecddffedeffcedebcdeeedcefbeef68b1d66cb11b6c861bb1c66cb1d66cb21b6d861b71c628b1d76c\
         b61b6d861bb11b7d862b71c62cb1db6c861b718628b1db6cb51b6c861ba1c66cb1db6cb61b6c01309d32",
        0xaa57_487e_996d_000d,
    ),
    (
        TensorType::Q3_K,
        "86dc2bc6fd23d67923dc3986fc2bd6fda451fe045bae05fbae51fba459fe045b4827e28d7823de897722\
         dd8877e29d785df2b79c2db68b5de2f7485d22b7882dfd6297c82d528bf8225688fd2e578b3de2c7787d\
         d29bbc2d968b7de2d7787dd2b69ab69a653aa600303ff033dea7",
        0x610f_3c03_465a_0dd4,
    ),
    (
        TensorType::Q4_K,
        "de1e2c2afefffffcfffdfefecfdcfffea0156bc1278cd3489e045ab0167bc2378de349ae056ab1267cd2\
         389de459af15268ce248ad0459b0157bd1379ce348ae046ac0267bd2379df359be156ac1268c9df359be\
         157ac1268ce248ad0459b0157bd1379ce348ae046ac0267bd2379df3156ac1268cd2489df459b0157bc1\
         378ce348ae046ab0267bd2379de359ae156a",
        0x0698_0d43_d466_b7ee,
    ),
    (
        TensorType::Q5_K,
        "8e1a532afffdfdfdfffcfeffdfeffdcf326c9936cc9366c9b36499324c9926cc9366c9336c99364c9b66\
         cdb366d9336c702be7a35f1ad6824d09c5813cf8b46f2be7935e1ad6824d09c5703cf8a36f2b5e1ad591\
         4d09c4803cf8b36f2be6a25e1ad5914d09c4703cf7b36f2be6a25e1a3be8b36e2be6925e19c5814c08b4\
         703cf7a36f2ad6925d19c5814c08b4703be71bd7824e0ab5713de9a4602cd8935f1bc6824e0ab5713de9\
         a4601cd7935f1bc6",
        0x12cd_9d9e_0811_b005,
    ),
    (
        TensorType::Q6_K,
        "d158bf37be25ad048b047bf37ad159d0c941ea63eb74fb741d951ea72fc841c9bf35ad169b048df26be0\
         69d147cf38bd1a922c840d85ed77ff57d038b04aa22b67df58c139b22aa22b931c85fd76ee57ce5ad137\
         b31a902c830f86ec78ff55d1c841da62eb63fc840d951ea63fb840c9d129b30b931c74fe86de67ff47d1\
         29b118b1c66cb11b6c861b71c61cb1c76cb22453f9248ef9138ef4538d2452f9248ed4a209d47e09a37e\
         14a349d4ae09d77ec863be1463c9147ec923bec463bd1463807f897a867a84877f737d7a81877c897592",
        0x0659_4f65_c7dd_7603,
    ),
];

/// 256 values in steps of 1/16.
fn regular() -> Vec<f32> {
    (0..256)
        .map(|i| (37 * i % 101 - 50) as f32 / 16.0)
        .collect()
}

/// 64 * 256 values: signs, magnitudes that change every 16 elements, zero groups.
fn mixed() -> Vec<f32> {
    let mut state = 1u32;
    let value = |i: i32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let group = i / 16;
        let magnitude = if group % 23 == 0 {
            0.0
        } else {
            2f64.powi(group % 7 - 3)
        };
        ((f64::from(state >> 8) / f64::from(1 << 23) - 1.0) * magnitude) as f32
    };
    (0..64 * 256).map(value).collect()
}

fn fnv1a(bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325u64;
    bytes.iter().fold(start, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn quantized(ty: TensorType, values: &[f32]) -> Vec<u8> {
    let mut out = Vec::new();
    quantize(ty, values, &mut out).expect("whole blocks of a type that can be written");
    out
}

fn dequantized(ty: TensorType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / ty.block_bytes() * ty.block_elements()];
    dequantize(ty, bytes, &mut out).expect("whole blocks");
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn blocks_are_byte_for_byte_those_of_the_reference() {
    for (ty, block, hash) in EXPECTED {
        assert_eq!(
            hex(&quantized(ty, &regular()[..ty.block_elements()])),
            block,
            "{ty}"
        );
        assert_eq!(fnv1a(&quantized(ty, &mixed())), hash, "{ty}");
    }
}

#[test]
fn every_writable_type_is_tested_and_comes_back_close() {
    // The root mean square error of each type, in relation to that of the values.
    let most = [
        (TensorType::F32, 0.0),
        (TensorType::F16, 3e-4),
        (TensorType::BF16, 3e-3),
        (TensorType::Q8_0, 0.01),
        (TensorType::Q6_K, 0.02),
        (TensorType::Q5_K, 0.04),
        (TensorType::Q5_1, 0.04),
        (TensorType::Q5_0, 0.06),
        (TensorType::Q4_K, 0.08),
        (TensorType::Q4_1, 0.08),
        (TensorType::Q4_0, 0.1),
        (TensorType::Q3_K, 0.2),
        (TensorType::Q2_K, 0.4),
    ];
    assert_eq!(
        most.len(),
        TensorType::ALL
            .into_iter()
            .filter(|&ty| is_quantizable(ty))
            .count()
    );
    let values = regular();
    let square = |values: &[f32]| values.iter().map(|x| f64::from(x * x)).sum::<f64>();
    for (ty, most) in most {
        let back = dequantized(ty, &quantized(ty, &values));
        let error: Vec<f32> = values.iter().zip(&back).map(|(a, b)| a - b).collect();
        let error = (square(&error) / square(&values)).sqrt();
        assert!(error <= most, "{ty}: error {error}, need at most {most}");
    }
}

#[test]
fn zeroes_come_back_as_zeroes() {
    for ty in TensorType::ALL.into_iter().filter(|&ty| is_quantizable(ty)) {
        let back = dequantized(ty, &quantized(ty, &[0.0; 512]));
        assert!(back.iter().all(|&y| y == 0.0), "{ty}");
    }
}

#[test]
fn values_that_are_not_finite_or_extreme_do_not_panic() {
    let extremes = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
    ];
    for ty in TensorType::ALL.into_iter().filter(|&ty| is_quantizable(ty)) {
        for extreme in extremes {
            quantized(ty, &[extreme; 256]);
            let mut one = regular();
            one[77] = extreme;
            quantized(ty, &one);
            let alternating: Vec<f32> = (0..256)
                .map(|i| if i % 2 == 0 { extreme } else { -extreme })
                .collect();
            quantized(ty, &alternating);
        }
    }
}

#[test]
fn lengths_and_types_that_cannot_be_written_are_errors() {
    let mut out = vec![1, 2, 3];
    assert!(quantize(TensorType::Q4_K, &[0.0; 255], &mut out).is_err());
    assert!(quantize(TensorType::IQ4_XS, &[0.0; 256], &mut out).is_err());
    assert_eq!(out, [1, 2, 3]);
    assert!(quantize_into(TensorType::Q8_0, &[0.0; 32], &mut [0; 33]).is_err());
    quantize(TensorType::Q8_0, &[0.0; 32], &mut out).expect("one block");
    assert_eq!(out.len(), 37);
}
