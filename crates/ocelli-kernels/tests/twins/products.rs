//! Products of every set: unpacked weights bit for bit, products against the twin, rows against themselves.

use crate::support::{all_sets, assert_close, assert_same, guarded, random, vector_sets};
use ocelli_kernels::{
    Activation, CHUNK, Finish, Kernels, LANES, Matrix, MatrixMut, Operand, PanelFormat, Panels,
    Product, Scalar, Workspace,
};
use ocelli_quant::{TensorType, dequantize};

/// A type in a file, and how its weights are packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) ty: TensorType,
    pub(crate) format: PanelFormat,
}

impl From<TensorType> for Kind {
    fn from(ty: TensorType) -> Self {
        let format = PanelFormat::for_type(ty).expect("a runnable type");
        Self { ty, format }
    }
}

/// Numbers that are rounded to bytes when they are packed.
pub(crate) const BYTES: Kind = Kind {
    ty: TensorType::F32,
    format: PanelFormat::Bytes,
};

/// All types that can be run, and [`BYTES`].
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    TensorType::ALL
        .into_iter()
        .filter(|ty| PanelFormat::for_type(*ty).is_some())
        .map(Kind::from)
        .chain([BYTES])
}

/// What [`BYTES`] make of the values of rows.
fn rounded(values: &mut [f32], inputs: usize) {
    for values in values
        .chunks_mut(inputs)
        .flat_map(|row| row.chunks_mut(CHUNK))
    {
        let largest = values.iter().fold(0.0, |m: f32, value| m.max(value.abs()));
        for value in values {
            let byte = (*value * (127.0 / largest)).round_ties_even() as i32;
            *value = byte as f32 * (largest / 127.0);
        }
    }
}

/// Blocks with every kind of byte, all 0 and all 1 among them, and scales that are small halves.
fn blocks(ty: TensorType, rows: usize, columns: usize) -> Vec<u8> {
    let block_bytes = ty.block_bytes();
    let count = rows * columns / ty.block_elements();
    let mut bytes: Vec<u8> = random(u64::from(ty.gguf_id()), count * block_bytes)
        .iter()
        .map(|x| (x * 128.0) as i8 as u8)
        .collect();
    for (i, block) in bytes.chunks_exact_mut(block_bytes).enumerate() {
        match i % 5 {
            0 => block.fill(0xFF),
            1 => block.fill(0x80),
            2 => block.fill(0x00),
            _ => {}
        }
        for start in scales(ty).iter().copied() {
            let sign = if i % 7 == 3 { 0x80 } else { 0 };
            block[start..start + 2].copy_from_slice(&[i as u8, 0x24 | sign]);
        }
        if ty == TensorType::MXFP4 {
            block[0] = 120 + block[0] % 8;
        }
        if ty == TensorType::IQ1_M {
            // The half's nibbles, lowest first, are the upper ones of these bytes.
            for (at, nibble) in [(49, 0x00), (51, 0x00), (53, 0x40), (55, 0x20)] {
                block[at] = nibble | (block[at] & 0x0f);
            }
        }
    }
    bytes
}

/// Where halves stand in a block that must not be infinite.
fn scales(ty: TensorType) -> &'static [usize] {
    match ty {
        TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4_K | TensorType::Q5_K => &[0, 2],
        TensorType::Q2_K => &[80, 82],
        TensorType::Q3_K => &[108],
        TensorType::Q6_K => &[208],
        TensorType::MXFP4
        | TensorType::IQ1_M
        | TensorType::F32
        | TensorType::F16
        | TensorType::BF16 => &[],
        _ => &[0],
    }
}

/// A packed weight and the values it stands for.
pub(crate) struct Weight {
    pub(crate) format: PanelFormat,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    bytes: crate::support::Guarded<u8>,
    pub(crate) values: Vec<f32>,
}

impl Weight {
    pub(crate) fn new(kind: impl Into<Kind>, outputs: usize, inputs: usize) -> Self {
        let Kind { ty, format } = kind.into();
        let bytes = match ty {
            TensorType::F32 => random(4, outputs * inputs)
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect(),
            // Halves between 1 and 2, and upper halves of such singles.
            TensorType::F16 => (0..outputs * inputs)
                .flat_map(|i| [i as u8, 0x3C | (i as u8 % 4)])
                .collect(),
            TensorType::BF16 => (0..outputs * inputs)
                .flat_map(|i| [i as u8 / 2, 0xBF])
                .collect(),
            _ => blocks(ty, outputs, inputs),
        };
        let mut values = vec![0.0; outputs * inputs];
        dequantize(ty, &bytes, &mut values).expect("a runnable type");
        if format == PanelFormat::Bytes {
            rounded(&mut values, inputs);
        }
        let (row_bytes, panel_bytes) = (
            ty.row_bytes(inputs).expect("whole blocks"),
            format.panel_bytes(inputs).expect("whole blocks"),
        );
        let mut packed = guarded(&vec![7; outputs.div_ceil(LANES) * panel_bytes]);
        for (rows, panel) in bytes
            .chunks(LANES * row_bytes)
            .zip(packed.chunks_exact_mut(panel_bytes))
        {
            format.pack(rows, row_bytes, panel);
        }
        Self {
            format,
            outputs,
            inputs,
            bytes: packed,
            values,
        }
    }

    pub(crate) fn panels(&self) -> Panels<'_> {
        Panels::new(self.format, self.outputs, self.inputs, &self.bytes)
    }

    pub(crate) fn largest(&self) -> f32 {
        self.values.iter().fold(0.0, |m: f32, w| m.max(w.abs()))
    }
}

pub(crate) fn shapes(kind: Kind) -> Vec<(usize, usize)> {
    match kind.ty.block_elements() {
        1 => vec![(1, 1), (5, 3), (16, 16), (33, 255), (17, 300), (48, 520)],
        32 => vec![(1, 32), (17, 96), (40, 288), (48, 512)],
        _ => vec![(1, 256), (33, 512), (20, 768)],
    }
}

#[test]
fn unpacked_weights_have_the_bits_of_the_reference() {
    for (kernels, kind) in all_sets()
        .iter()
        .flat_map(|k| kinds().map(move |kind| (k, kind)))
    {
        for (outputs, inputs) in shapes(kind) {
            let weight = Weight::new(kind, outputs, inputs);
            let name = format!("{}, {kind:?} [{outputs}, {inputs}]", kernels.name());
            for (panel, start) in
                (0..outputs.div_ceil(LANES)).flat_map(|p| [(p, 0), (p, inputs / CHUNK * CHUNK)])
            {
                let chunk = start..(start + CHUNK).min(inputs);
                let mut found = guarded(&vec![f32::NAN; chunk.len() * LANES]);
                kernels.unpack(weight.panels(), panel, chunk.clone(), &mut found);
                for (i, found) in found.iter().enumerate() {
                    let (input, output) = (chunk.start + i / LANES, panel * LANES + i % LANES);
                    if output < outputs {
                        assert_same(&name, &[*found], &[weight.values[output * inputs + input]]);
                    }
                }
            }
            let mut row = guarded(&vec![f32::NAN; inputs]);
            weight
                .panels()
                .row(&**kernels, outputs - 1, &mut Workspace::new(), &mut row);
            assert_same(&name, &row, &weight.values[(outputs - 1) * inputs..]);
        }
    }
}

fn run(kernels: &dyn Kernels, weight: &Weight, x: &[f32], few: bool) -> Vec<f32> {
    let rows = x.len() / weight.inputs;
    let mut out = guarded(&vec![f32::NAN; rows * weight.outputs]);
    let product = Product {
        operand: Operand::F32,
        x: Matrix::new(x, rows, weight.inputs),
        weight: weight.panels(),
        bias: None,
        finish: Finish::Store,
        out: MatrixMut::new(&mut out, rows, weight.outputs),
    };
    let mut workspace = Workspace::new();
    if few {
        kernels.product_few(product, &mut workspace);
    } else {
        kernels.product(product, &mut workspace);
    }
    out.to_vec()
}

#[test]
fn products_are_those_of_the_twin_and_rows_stand_alone() {
    for (kernels, kind) in vector_sets()
        .iter()
        .flat_map(|k| kinds().map(move |kind| (k, kind)))
    {
        for (outputs, inputs) in shapes(kind) {
            let weight = Weight::new(kind, outputs, inputs);
            let x = guarded(&random(8, 13 * inputs));
            let terms = weight.largest() * (inputs as f32).sqrt();
            let wanted = run(&Scalar, &weight, &x, false);
            for few in [false, true] {
                let name = format!(
                    "{}, {kind:?} [{outputs}, {inputs}], few: {few}",
                    kernels.name()
                );
                let found = run(&**kernels, &weight, &x, few);
                assert_close(&name, &found, &wanted, 1e-5, terms);
                for rows in [0, 1, 2, 3, 5, 6, 7, 12] {
                    let part = guarded(&x[inputs..(1 + rows) * inputs]);
                    let part = run(&**kernels, &weight, &part, few);
                    assert_same(
                        &format!("{name}, {rows} rows"),
                        &part,
                        &found[outputs..(1 + rows) * outputs],
                    );
                }
            }
        }
    }
}

#[test]
fn vector_sets_give_the_same_bits() {
    let sets = vector_sets();
    for kind in kinds() {
        let weight = Weight::new(kind, 33, 512);
        let x = random(8, 5 * 512);
        for few in [false, true] {
            let all: Vec<_> = sets
                .iter()
                .map(|kernels| run(&**kernels, &weight, &x, few))
                .collect();
            for other in all.iter().skip(1) {
                assert_same(&format!("{kind:?}, few: {few}"), other, &all[0]);
            }
        }
    }
}

#[test]
fn every_finish_is_that_of_the_twin() {
    let weight = Weight::new(TensorType::F32, 21, 40);
    let (x, bias, start) = (random(1, 3 * 40), random(2, 21), random(3, 3 * 21));
    let finishes = [
        Finish::Store,
        Finish::Add,
        Finish::Multiply,
        Finish::Activate(Activation::GeluErf),
    ];
    for (kernels, finish) in vector_sets().iter().flat_map(|k| finishes.map(|f| (k, f))) {
        let [found, wanted] = [&**kernels, &Scalar].map(|kernels: &dyn Kernels| {
            let mut out = guarded(&start);
            let product = Product {
                operand: Operand::F32,
                x: Matrix::new(&x, 3, 40),
                weight: weight.panels(),
                bias: Some(&bias),
                finish,
                out: MatrixMut::new(&mut out, 3, 21),
            };
            kernels.product(product, &mut Workspace::new());
            out.to_vec()
        });
        assert_close(
            &format!("{}, {finish:?}", kernels.name()),
            &found,
            &wanted,
            1e-6,
            1.0,
        );
    }
}

#[test]
#[should_panic(expected = "inputs of a product")]
fn a_product_of_the_wrong_shape_panics_with_its_reason() {
    let weight = Weight::new(TensorType::F32, 16, 32);
    let mut out = vec![0.0; 16];
    let product = Product {
        operand: Operand::F32,
        x: Matrix::new(&[0.0; 31], 1, 31),
        weight: weight.panels(),
        bias: None,
        finish: Finish::Store,
        out: MatrixMut::new(&mut out, 1, 16),
    };
    Scalar.product(product, &mut Workspace::new());
}
