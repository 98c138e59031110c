//! Rows of a file to panels.

use ocelli_quant::TensorType;

use super::blocks;
use super::bytes;
use super::coded::Code;
use super::{LANES, PanelFormat};

impl PanelFormat {
    /// Packs up to 16 rows (`rows`, consecutive rows of `row_bytes` bytes as in a file) into one panel.
    ///
    /// Absent rows become zeros.
    ///
    /// # Panics
    /// When sizes do not fit each other.
    pub fn pack(self, rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
        assert!(rows.len() <= LANES * row_bytes, "at most 16 rows");
        panel.fill(0);
        match self {
            Self::F32 => interleave::<4>(rows, row_bytes, panel),
            Self::F16 => interleave::<2>(rows, row_bytes, panel),
            Self::BF16 => interleave_pairs(rows, row_bytes, panel),
            Self::Bytes => bytes::pack(rows, row_bytes, panel),
            Self::Coded(code) => pack_coded(code, rows, row_bytes, panel),
            Self::Blocks(_) => panel[..rows.len()].copy_from_slice(rows),
        }
    }

    /// The file type that [`PanelFormat::pack`] expects.
    pub fn source_type(self) -> TensorType {
        match self {
            Self::F32 | Self::Bytes => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::BF16 => TensorType::BF16,
            Self::Coded(code) => code.source_type(),
            Self::Blocks(ty) => ty,
        }
    }
}

/// Blocks of rows side by side, one block of all rows after the other: what is written then stays
/// in the nearest cache.
fn pack_coded(code: Code, rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    if row_bytes == 0 {
        return;
    }
    let block_bytes = code.source_type().block_bytes();
    let blocks = panel.chunks_exact_mut(code.coding().bytes);
    for (index, block) in blocks.take(row_bytes / block_bytes).enumerate() {
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            let from = &row[index * block_bytes..][..block_bytes];
            blocks::pack(code, from, lane, block);
        }
    }
}

/// Elements of each row that are written before those of the next row.
const RUN: usize = 32;

/// `panel[i][lane] = rows[lane][i]` for elements of `SIZE` bytes.
fn interleave<const SIZE: usize>(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    if row_bytes == 0 {
        return;
    }
    for (run, target) in panel.chunks_mut(RUN * SIZE * LANES).enumerate() {
        let target = target.as_chunks_mut::<SIZE>().0;
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            let elements = row.as_chunks::<SIZE>().0;
            let elements = elements.get(run * RUN..).unwrap_or_default();
            let lanes = target.as_chunks_mut::<LANES>().0;
            for (lanes, element) in lanes.iter_mut().zip(elements) {
                lanes[lane] = *element;
            }
        }
    }
}

/// `panel[i / 2][lane][i % 2] = rows[lane][i]` for elements of two bytes.
fn interleave_pairs(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    interleave::<4>(rows, row_bytes, panel);
    if row_bytes % 4 == 2 {
        let last = row_bytes / 4 * LANES * 4;
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            panel[last + 4 * lane..][..2].copy_from_slice(&row[row_bytes - 2..]);
        }
    }
}
