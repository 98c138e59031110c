//! Remembers the tokens of short pieces within one text, where most words come again and again.

use hashbrown::HashMap;

/// Longest piece that is remembered, in bytes.
const PIECE_BYTES: usize = 32;
/// Most pieces that are remembered.
const PIECES: usize = 1 << 15;

/// Tokens of pieces seen before.
#[derive(Default)]
pub(crate) struct PieceCache {
    places: HashMap<Box<str>, (u32, u32)>,
    ids: Vec<u32>,
}

impl PieceCache {
    /// Appends the tokens of `piece` to `ids`: remembered ones, or those that `encode` appends.
    pub(crate) fn encode(
        &mut self,
        piece: &str,
        ids: &mut Vec<u32>,
        encode: impl FnOnce(&mut Vec<u32>),
    ) {
        if piece.len() > PIECE_BYTES {
            encode(ids);
            return;
        }
        if let Some(&(start, count)) = self.places.get(piece) {
            ids.extend_from_slice(&self.ids[start as usize..][..count as usize]);
            return;
        }
        let before = ids.len();
        encode(ids);
        if self.places.len() < PIECES {
            // Both fit: at most 2^15 pieces of at most 32 bytes, and a piece has no more tokens than bytes.
            let place = (self.ids.len() as u32, (ids.len() - before) as u32);
            self.ids.extend_from_slice(&ids[before..]);
            self.places.insert(piece.into(), place);
        }
    }
}
