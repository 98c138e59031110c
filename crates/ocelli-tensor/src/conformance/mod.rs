//! What every backend must do, as functions that panic with the failing case.
//!
//! Each operation is compared with its formula in `f64`, and each row with itself beside 1, 2, 7
//! and 64 rows, bit for bit, for prompt rows and for generated rows. Run [`check_all`] for each
//! setting of a backend (threads, instruction sets), and [`same_bits`] for two settings that must
//! agree.

use crate::{Backend, Memory, Tensor};

mod attention;
mod moves;
mod pages;
mod products;
mod rows;
mod sequence;

pub use attention::{check_paged_attention, check_segment_attention};
pub use moves::check_moves;
pub use products::{check_embedding, check_fused, check_products};
pub use rows::check_row_operations;

/// Everything.
///
/// # Panics
/// When the backend breaks its contract.
pub fn check_all(backend: &dyn Backend) {
    check_all_within(backend, EXACT);
}

/// Everything, for a backend that rounds operands of products and of attention: their errors may be
/// as large as `tolerance`, relative to the terms of a sum. Rows must stand alone all the same.
///
/// # Panics
/// When the backend breaks its contract.
pub fn check_all_within(backend: &dyn Backend, tolerance: f64) {
    check_moves(backend);
    check_row_operations(backend);
    check_products(backend, tolerance);
    check_embedding(backend);
    check_fused(backend, tolerance);
    // Weights of attention are exponentials: errors of scores, which are larger than 1, multiply.
    let of_attention = if tolerance == EXACT {
        5e-6
    } else {
        3.0 * tolerance
    };
    check_segment_attention(backend, of_attention);
    check_paged_attention(backend, of_attention);
}

/// Errors of products in `f32`, relative to the terms of a sum.
pub const EXACT: f64 = 1e-5;

/// Checks that two settings of a backend, such as numbers of threads, give the same bits in
/// products, with an error of `tolerance`.
///
/// # Panics
/// When they differ.
pub fn same_bits(one: &dyn Backend, other: &dyn Backend, tolerance: f64) {
    products::same_bits(one, other, tolerance);
}

/// Rows in the largest runs.
const ROWS: usize = 64;

/// Rows beside which a row must not change.
const COUNTS: [usize; 3] = [1, 2, 7];

/// Random numbers of a fixed sequence.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// In -1..1.
    pub(crate) fn value(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }
}

/// Whether all rows of a run belong to prompts or are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Prompt,
    Generated,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Prompt, Self::Generated];

    pub(crate) fn prompt_rows(self, rows: usize) -> usize {
        match self {
            Self::Prompt => rows,
            Self::Generated => 0,
        }
    }
}

/// A backend with some memory.
pub(crate) struct Lab<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) memory: Memory,
}

impl<'a> Lab<'a> {
    pub(crate) fn new(backend: &'a dyn Backend) -> Self {
        Self::with_room(backend, 1 << 20)
    }

    pub(crate) fn with_room(backend: &'a dyn Backend, elements: usize) -> Self {
        Self {
            backend,
            memory: Memory::reserve(backend, elements),
        }
    }

    /// A tensor with these values.
    pub(crate) fn put(&mut self, values: &[f32], columns: usize, prompt_rows: usize) -> Tensor {
        let tensor = self
            .memory
            .take(values.len() / columns, columns, prompt_rows);
        self.backend.upload(self.memory.storage(), values, tensor);
        tensor
    }

    /// A tensor full of a value that must not survive.
    pub(crate) fn junk(&mut self, rows: usize, columns: usize, prompt_rows: usize) -> Tensor {
        self.put(&vec![-77.0; rows * columns], columns, prompt_rows)
    }

    pub(crate) fn get(&mut self, tensor: Tensor) -> Vec<f32> {
        let mut values = vec![f32::NAN; tensor.len()];
        self.backend
            .download(self.memory.storage(), tensor, &mut values);
        values
    }
}

/// An operation on rows, for [`check_rows`].
pub(crate) struct RowOperation<'a> {
    pub(crate) name: &'a str,
    /// Columns of the operand and of the result.
    pub(crate) columns: (usize, usize),
    /// Runs rows `first..` of the operand; their number and kind are those of the tensor.
    pub(crate) run: &'a dyn Fn(&mut Lab<'_>, Tensor, usize) -> Tensor,
    /// The result of one row, given its index and elements.
    pub(crate) reference: &'a dyn Fn(usize, &[f32]) -> Vec<f64>,
    /// Largest error relative to the largest element of a row, or to `terms` if that is larger.
    pub(crate) tolerance: f64,
    /// Size of the terms whose sum an element is; they may cancel.
    pub(crate) terms: f64,
}

/// Checks values against the reference and bits against other numbers of rows.
pub(crate) fn check_rows(backend: &dyn Backend, operation: &RowOperation<'_>) {
    let (columns, outputs) = operation.columns;
    let values = Random::new(columns as u64).values(ROWS * columns);
    for kind in Kind::ALL {
        let whole = run_rows(backend, operation, &values, 0, kind.prompt_rows(ROWS));
        for row in 0..ROWS {
            let wanted = (operation.reference)(row, &values[row * columns..][..columns]);
            let name = format!("{}, {kind:?}, row {row}", operation.name);
            assert_close(
                &name,
                &whole[row * outputs..][..outputs],
                &wanted,
                operation.tolerance,
                operation.terms,
            );
        }
        for (count, first) in COUNTS
            .into_iter()
            .flat_map(|count| [(count, 0), (count, 13)])
        {
            let part = &values[first * columns..(first + count) * columns];
            let part = run_rows(backend, operation, part, first, kind.prompt_rows(count));
            let name = format!("{}, {kind:?}, rows {first}+{count}", operation.name);
            assert_same(
                &name,
                &part,
                &whole[first * outputs..(first + count) * outputs],
            );
        }
    }
    check_mixed_kinds(backend, operation, &values);
}

/// Rows of both kinds in one tensor are what they are alone.
fn check_mixed_kinds(backend: &dyn Backend, operation: &RowOperation<'_>, values: &[f32]) {
    let (columns, outputs) = operation.columns;
    let mixed = run_rows(backend, operation, &values[..9 * columns], 0, 5);
    let prompt = run_rows(backend, operation, &values[..5 * columns], 0, 5);
    let generated = run_rows(backend, operation, &values[5 * columns..9 * columns], 5, 0);
    let name = format!("{}, both kinds", operation.name);
    assert_same(&name, &mixed[..5 * outputs], &prompt);
    assert_same(&name, &mixed[5 * outputs..], &generated);
}

fn run_rows(
    backend: &dyn Backend,
    operation: &RowOperation<'_>,
    values: &[f32],
    first: usize,
    prompt_rows: usize,
) -> Vec<f32> {
    let mut lab = Lab::new(backend);
    let x = lab.put(values, operation.columns.0, prompt_rows);
    let out = (operation.run)(&mut lab, x, first);
    assert_eq!(
        (out.rows(), out.columns()),
        (x.rows(), operation.columns.1),
        "{}",
        operation.name
    );
    lab.get(out)
}

/// Errors at most `tolerance` of the largest element wanted, or of `terms` if that is larger.
pub(crate) fn assert_close(name: &str, found: &[f32], wanted: &[f64], tolerance: f64, terms: f64) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    let largest = wanted.iter().fold(terms, |m, w| m.max(w.abs()));
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (f64::from(*found) - wanted).abs();
        assert!(
            error <= tolerance * largest,
            "{name}, element {i}: found {found}, wanted {wanted}"
        );
    }
}

/// The same bits.
pub(crate) fn assert_same(name: &str, found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert_eq!(
            found.to_bits(),
            wanted.to_bits(),
            "{name}, element {i}: found {found}, alone {wanted}"
        );
    }
}
