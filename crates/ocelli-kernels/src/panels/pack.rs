//! Rows of a file to panels.

use ocelli_quant::TensorType;

use super::coded::{self, PackBlock};
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
            Self::F16 | Self::BF16 => interleave::<2>(rows, row_bytes, panel),
            Self::Q4_0 => self.pack_coded(rows, row_bytes, panel, coded::pack_q4_0),
            Self::Q8_0 => self.pack_coded(rows, row_bytes, panel, coded::pack_q8_0),
            Self::Q4K => self.pack_coded(rows, row_bytes, panel, coded::pack_q4_k),
            Self::Q5K => self.pack_coded(rows, row_bytes, panel, coded::pack_q5_k),
            Self::Q6K => self.pack_coded(rows, row_bytes, panel, coded::pack_q6_k),
            Self::Blocks(_) => panel[..rows.len()].copy_from_slice(rows),
        }
    }

    /// Blocks of rows side by side.
    fn pack_coded(self, rows: &[u8], row_bytes: usize, panel: &mut [u8], pack: PackBlock) {
        let (Some(coding), false) = (self.coding(), row_bytes == 0) else {
            return;
        };
        let block_bytes = self.source_type().block_bytes();
        for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
            let targets = panel.chunks_exact_mut(coding.bytes);
            for (block, target) in row.chunks_exact(block_bytes).zip(targets) {
                pack(block, lane, target);
            }
        }
    }

    /// The file type that [`PanelFormat::pack`] expects.
    pub fn source_type(self) -> TensorType {
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::BF16 => TensorType::BF16,
            Self::Q4_0 => TensorType::Q4_0,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q4K => TensorType::Q4_K,
            Self::Q5K => TensorType::Q5_K,
            Self::Q6K => TensorType::Q6_K,
            Self::Blocks(ty) => ty,
        }
    }
}

/// `panel[i][lane] = rows[lane][i]` for elements of `SIZE` bytes.
fn interleave<const SIZE: usize>(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    if row_bytes == 0 {
        return;
    }
    for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
        let elements = row.as_chunks::<SIZE>().0;
        let targets = panel
            .as_chunks_mut::<SIZE>()
            .0
            .iter_mut()
            .skip(lane)
            .step_by(LANES);
        for (target, element) in targets.zip(elements) {
            *target = *element;
        }
    }
}
