//! How the results of products are cut into tiles.

use ocelli_kernels::{LANES, MatrixMut, Operand, PanelFormat, Rates, Tiles};

use crate::rows::RowKind;

/// Multiplications below which waking threads costs more than it saves.
const SMALL: usize = 1 << 17;

/// Multiple of every register tile.
const WHOLE_ROWS: usize = 48;

/// Rows that a matrix unit takes together.
const TILE_ROWS: usize = 32;

/// Sums of a tile of generated rows at most.
const MOST_SUMS: usize = 6144;

/// Sizes of a tile of a prompt's product.
#[derive(Clone, Copy)]
pub(super) struct TileShape {
    /// Most rows.
    rows: usize,
    /// What their number is a multiple of, so that few are ragged.
    whole: usize,
    /// Most outputs.
    columns: usize,
}

impl TileShape {
    /// Rows, weights and sums of a chunk of inputs fit a second-level cache, which has 2 MB beside a
    /// matrix unit.
    pub(super) fn new(operand: Operand, format: PanelFormat, rates: Rates) -> Self {
        let tiles = rates.tiles;
        let (rows, columns) = match operand {
            Operand::F32 => (192, 128),
            // Rows and weights come from the third-level cache 12 times as often as registers would ask
            // for them: larger tiles read both less often. A step of the engine in one, so that weights
            // are unpacked once.
            Operand::Bf16 | Operand::Int8Chunks if tiles => (544, 256),
            // Weights are used as they are; few rows and their sums leave room for many of them in a
            // second-level cache.
            Operand::Bf16 if format == PanelFormat::BF16 => (144, 256),
            // The same with bytes; rows and outputs are as many as leave little to read twice.
            Operand::Int8Chunks if format == PanelFormat::Bytes => (384, 128),
            // A step of the engine in one tile, so that weights are unpacked once.
            Operand::Int8Groups => (576, 128),
            // Unpacking weights is paid for by many rows.
            _ => (768, 64),
        };
        let whole = if tiles && operand != Operand::F32 {
            TILE_ROWS
        } else {
            WHOLE_ROWS
        };
        Self {
            rows,
            whole,
            columns,
        }
    }
}

/// How results are cut into tiles: large enough to use a cache well and numerous enough to occupy
/// all threads.
pub(super) struct Cut {
    pub(super) kind: RowKind,
    pub(super) inputs: usize,
    /// Of all results that are computed side by side; of generated rows, of this one and those behind it.
    pub(super) columns: usize,
    pub(super) threads: usize,
}

impl Cut {
    /// Tiles of one result. The last one's get narrower, so that all threads end at about the same time.
    pub(super) fn tiles<'a>(
        &self,
        out: MatrixMut<'a>,
        shape: TileShape,
        is_last: bool,
    ) -> Tiles<'a> {
        let (rows, columns) = (out.rows(), self.columns.max(1));
        if rows * columns * self.inputs < SMALL {
            let width = out.columns().next_multiple_of(LANES).max(LANES);
            return Tiles::new(out, rows.max(1), width);
        }
        let (bands, height, mut width, least) = match self.kind {
            RowKind::Prompt => {
                // Bands of the same height: a low one costs as much unpacking as a high one, and is
                // an uneven share of the work.
                let bands = rows.div_ceil(shape.rows);
                let height = rows.div_ceil(bands).next_multiple_of(shape.whole);
                (bands, height, shape.columns, 2 * LANES)
            }
            RowKind::Generated => {
                // Weights that lie one behind the other are read faster, so a thread gets as many
                // as leave some for the others.
                let share = columns.div_ceil(2 * self.threads);
                let most = (MOST_SUMS / rows).max(LANES);
                (1, rows, whole_panels(share.min(most)), LANES)
            }
        };
        while width > LANES && bands * columns.div_ceil(width) < 2 * self.threads {
            width = whole_panels(width / 2);
        }
        let tiles = Tiles::new(out, height, width);
        if is_last {
            tiles.with_narrow_end(self.threads.div_ceil(bands), least)
        } else {
            tiles
        }
    }
}

/// As many columns as whole panels have, at least one panel.
fn whole_panels(columns: usize) -> usize {
    columns.next_multiple_of(LANES).max(LANES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_start_at_panels_whatever_the_sizes() {
        let mut values = vec![0.0; 64 * 6145];
        let format = PanelFormat::F32;
        for rows in 1..=64 {
            for columns in [1, 16, 17, 500, 1024, 4096, 6145] {
                for (kind, threads) in [
                    (RowKind::Prompt, 4),
                    (RowKind::Generated, 4),
                    (RowKind::Generated, 3),
                ] {
                    let out = MatrixMut::new(&mut values[..rows * columns], rows, columns);
                    let cut = Cut {
                        kind,
                        inputs: 2048,
                        columns,
                        threads,
                    };
                    let tiles = cut.tiles(
                        out,
                        TileShape::new(Operand::Int8Groups, format, Rates::default()),
                        true,
                    );
                    for across in tiles.across() {
                        assert!(
                            across.start.is_multiple_of(LANES),
                            "{rows} rows, {columns} columns, {threads} threads: {across:?}"
                        );
                    }
                }
            }
        }
    }
}
