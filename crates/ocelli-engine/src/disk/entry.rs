//! The file of one picture's features.
//!
//! ```text
//! magic    8 bytes  "OCELLIF2"
//! key     32 bytes  the entry's key again, so that a renamed file is no hit
//! grid    t h w merge, u32 each
//! tiles   rows columns lines line order, u32 each; order 0 for pictures without tiles
//! width   u32
//! rows    u64       elements
//! taps    u32       deepstack outputs, as many elements each
//! values  f32 each, rows first
//! sum     32 bytes  SHA-256 of everything before
//! ```
//!
//! All numbers are little endian.

use ocelli_image::{Grid, TileOrder, Tiles};
use ocelli_models::ImageFeatures;
use sha2::{Digest as _, Sha256};

use crate::ImageKey;

const MAGIC: &[u8; 8] = b"OCELLIF2";
const HEADER: usize = 8 + 32 + 16 + 20 + 4 + 8 + 4;
const ORDERS: [TileOrder; 3] = [TileOrder::Lines, TileOrder::Across, TileOrder::Apart];
const SUM: usize = 32;

/// Bytes of an entry.
pub(super) fn size(features: &ImageFeatures) -> usize {
    let values = features.rows.len() * (1 + features.deepstack.len());
    HEADER + values * size_of::<f32>() + SUM
}

/// The content of an entry's file. `None` for features of a shape that cannot be: outputs of different
/// sizes.
pub(super) fn encode(key: &ImageKey, features: &ImageFeatures) -> Option<Vec<u8>> {
    let rows = features.rows.len();
    if features.deepstack.iter().any(|tap| tap.len() != rows) {
        return None;
    }
    let mut bytes = Vec::with_capacity(size(features));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(key);
    let Grid {
        t,
        h,
        w,
        merge,
        tiles,
    } = features.grid;
    let sides = [t, h, w, merge].into_iter().chain(tile_numbers(tiles));
    for number in sides.chain([u32::try_from(features.width).ok()?]) {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&(rows as u64).to_le_bytes());
    let taps = u32::try_from(features.deepstack.len()).ok()?;
    bytes.extend_from_slice(&taps.to_le_bytes());
    for values in std::iter::once(&features.rows).chain(&features.deepstack) {
        values
            .iter()
            .for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    Some(bytes)
}

fn tile_numbers(tiles: Option<Tiles>) -> [u32; 5] {
    let Some(tiles) = tiles else { return [0; 5] };
    let order = ORDERS.iter().position(|order| *order == tiles.order);
    let order = order.map_or(0, |place| place as u32 + 1);
    [tiles.rows, tiles.columns, tiles.lines, tiles.line, order]
}

/// `None` for numbers that no grid has.
fn tiles([rows, columns, lines, line, order]: [u32; 5]) -> Option<Option<Tiles>> {
    let Some(place) = order.checked_sub(1) else {
        return Some(None);
    };
    let order = *ORDERS.get(place as usize)?;
    Some(Some(Tiles {
        rows,
        columns,
        lines,
        line,
        order,
    }))
}

/// Reads an entry; `None` unless every byte is as it was written.
pub(super) fn decode(key: &ImageKey, bytes: &[u8]) -> Option<ImageFeatures> {
    let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
    if Sha256::digest(content)[..] != *sum {
        return None;
    }
    let rest = content.strip_prefix(MAGIC)?.strip_prefix(key)?;
    let (header, values) = rest.split_at_checked(HEADER - 8 - 32)?;
    let number = |at: usize| {
        let bytes = header.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let grid = Grid {
        t: number(0)?,
        h: number(4)?,
        w: number(8)?,
        merge: number(12)?,
        tiles: tiles([
            number(16)?,
            number(20)?,
            number(24)?,
            number(28)?,
            number(32)?,
        ])?,
    };
    let width = number(36)? as usize;
    let rows = usize::try_from(u64::from_le_bytes(header[40..48].try_into().ok()?)).ok()?;
    let taps = number(48)? as usize;
    let count = rows.checked_mul(taps.checked_add(1)?)?;
    let is_whole = width > 0 && rows > 0 && rows.is_multiple_of(width);
    if !is_whole || values.len() != count.checked_mul(size_of::<f32>())? {
        return None;
    }
    let mut outputs = values.chunks_exact(rows * size_of::<f32>()).map(|output| {
        let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        output.chunks_exact(4).map(value).collect()
    });
    let features = ImageFeatures {
        grid,
        width,
        rows: outputs.next()?,
        deepstack: outputs.collect(),
    };
    features.is_finite().then_some(features)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features() -> ImageFeatures {
        let values = |start: u8| (start..start + 8).map(f32::from).collect();
        ImageFeatures {
            grid: Grid {
                t: 1,
                h: 4,
                w: 2,
                merge: 2,
                tiles: None,
            },
            width: 4,
            rows: values(0),
            deepstack: vec![values(10), values(20)],
        }
    }

    #[test]
    fn what_is_written_comes_back_and_its_size_is_known_before() {
        let bytes = encode(&[1; 32], &features()).unwrap();
        assert_eq!(bytes.len(), size(&features()));
        assert_eq!(decode(&[1; 32], &bytes), Some(features()));
        assert_eq!(decode(&[2; 32], &bytes), None, "another key");
    }

    #[test]
    fn tiles_of_every_order_come_back() {
        for order in ORDERS {
            let mut features = features();
            features.grid.tiles = Some(Tiles {
                rows: 2,
                columns: 3,
                lines: 4,
                line: 5,
                order,
            });
            let bytes = encode(&[1; 32], &features).unwrap();
            assert_eq!(decode(&[1; 32], &bytes), Some(features));
        }
        assert_eq!(tiles([0, 0, 0, 0, 4]), None);
    }

    #[test]
    fn a_changed_bit_or_a_cut_anywhere_is_a_miss() {
        let bytes = encode(&[1; 32], &features()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(decode(&[1; 32], &changed), None, "bit of byte {at}");
            assert_eq!(decode(&[1; 32], &bytes[..at]), None, "cut at {at}");
        }
    }
}
