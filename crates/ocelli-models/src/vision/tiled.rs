//! What the metadata of LLaVA-1.6's projectors says about tiles. Those of LLaVA-1.5 say nothing.
//! `image_crop_resolution` and `image_split_resolution` are not read: released files state 224 in both, and
//! their tiles are 336 pixels wide.

use ocelli_image::{TileOrder, TileRule};

use super::square::SquareConfig;
use crate::config::Keys;
use crate::{Error, Scope};

/// The row that ends a line of patches, as the original checkpoints name it.
pub(super) const NEWLINE: &str = "model.image_newline";
/// Rows and columns of tiles of all released models, in the order of their configurations.
const RELEASED: [(u32, u32); 5] = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)];
/// Most shapes that a file may list; the longest list known has 36.
const MOST_SHAPES: usize = 256;
/// Most tiles of a picture; the limit of tokens comes first in all but the smallest encoders.
const MOST_TILES: u32 = 1024;

/// How pictures are cut, if they are.
pub(super) fn rule(
    keys: &Keys<'_>,
    root: &Scope<'_>,
    config: &SquareConfig,
) -> Result<Option<TileRule>, Error> {
    let has_newline = root.has(NEWLINE);
    let listed = keys
        .metadata()
        .u32_array(&keys.key("image_grid_pinpoints"))?;
    let ratio = keys.metadata().str(&keys.key("image_aspect_ratio"))?;
    match ratio {
        None if has_newline || listed.is_some() => {}
        Some("anyres") => {}
        // LLaVA-1.5 was trained with padded squares; its reference cuts the middle out all the same.
        _ if !has_newline => return Ok(None),
        found => {
            return Err(keys.invalid(format!(
                "image_aspect_ratio is '{}' in a projector with {NEWLINE}, need anyres",
                found.unwrap_or_default()
            )));
        }
    }
    let pixels = (config.side * config.patch) as u32;
    Ok(Some(TileRule {
        side: config.side as u32,
        patch: config.patch as u32,
        shapes: match listed {
            Some(listed) => shapes(keys, &listed, pixels)?,
            None => RELEASED.to_vec(),
        },
        order: order(keys, has_newline)?,
    }))
}

/// Pairs of height and width in pixels, one pair behind the other, as rows and columns of tiles.
fn shapes(keys: &Keys<'_>, listed: &[u32], tile: u32) -> Result<Vec<(u32, u32)>, Error> {
    let (pairs, rest) = listed.as_chunks::<2>();
    if pairs.is_empty() || pairs.len() > MOST_SHAPES || !rest.is_empty() {
        return Err(keys.invalid(format!(
            "image_grid_pinpoints has {} numbers, need pairs, 1 to {MOST_SHAPES} of them",
            listed.len()
        )));
    }
    let shape = |&[height, width]: &[u32; 2]| {
        let is_whole = |side: u32| side > 0 && side.is_multiple_of(tile);
        let tiles = u64::from(height / tile) * u64::from(width / tile);
        match is_whole(height) && is_whole(width) && tiles <= u64::from(MOST_TILES) {
            true => Ok((height / tile, width / tile)),
            false => Err(keys.invalid(format!(
                "image_grid_pinpoints has {height} x {width}, need multiples of {tile} (image_size) and at most {MOST_TILES} tiles"
            ))),
        }
    };
    pairs.iter().map(shape).collect()
}

fn order(keys: &Keys<'_>, has_newline: bool) -> Result<TileOrder, Error> {
    match keys.metadata().str(&keys.key("mm_patch_merge_type"))? {
        Some("spatial_unpad") => Ok(TileOrder::Lines),
        Some("spatial") => Ok(TileOrder::Across),
        Some("flat") => Ok(TileOrder::Apart),
        None if has_newline => Ok(TileOrder::Lines),
        None => Ok(TileOrder::Apart),
        Some(other) => Err(keys.invalid(format!(
            "mm_patch_merge_type is '{other}', need spatial_unpad, spatial or flat"
        ))),
    }
}
