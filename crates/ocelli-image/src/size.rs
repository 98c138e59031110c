//! The size rule: how large a picture is shown to the encoder, and how many tokens that costs.
//!
//! [`Grid::for_image`] is the only place that turns a picture's size into a token count.

use crate::{Error, Orientation, Picture, Tiles};

/// Long side over short side beyond which a picture is refused.
pub const MAX_ASPECT: u32 = 200;

/// The most tokens one picture may be given, whatever a budget asks for.
pub const MAX_IMAGE_TOKENS: u32 = 65_536;

/// The least and most pixels a picture may have when it enters the encoder, in steps of `factor` a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Both sides are multiples of this: patch size times merge size. One token is `factor` x
    /// `factor` pixels.
    pub factor: u32,
    /// Smaller pictures are scaled up to at least this many pixels.
    pub min_pixels: u64,
    /// Larger pictures are scaled down to at most this many pixels.
    pub max_pixels: u64,
}

impl Budget {
    /// A budget in pixels, as preprocessor settings give it.
    ///
    /// # Errors
    /// [`Error::Budget`] if the factor is not in 1..=1024, if less than one token fits, if `min_pixels`
    /// exceeds `max_pixels`, or if `max_pixels` is over [`MAX_IMAGE_TOKENS`] tokens.
    pub fn new(factor: u32, min_pixels: u64, max_pixels: u64) -> Result<Self, Error> {
        if factor == 0 || factor > 1024 {
            return Err(Error::Budget(format!("factor {factor}, need 1 to 1024")));
        }
        let token = u64::from(factor) * u64::from(factor);
        if max_pixels < token {
            return Err(Error::Budget(format!(
                "at most {max_pixels} pixels, need at least {token} (one token)"
            )));
        }
        if max_pixels > token * u64::from(MAX_IMAGE_TOKENS) {
            return Err(Error::Budget(format!(
                "at most {} tokens, limit {MAX_IMAGE_TOKENS}",
                max_pixels / token
            )));
        }
        if min_pixels > max_pixels {
            return Err(Error::Budget(format!(
                "at least {min_pixels} pixels ({} tokens) exceeds at most {max_pixels} ({} tokens)",
                min_pixels / token,
                max_pixels / token
            )));
        }
        Ok(Self {
            factor,
            min_pixels,
            max_pixels,
        })
    }

    /// A budget in tokens of `factor` x `factor` pixels.
    ///
    /// # Errors
    /// As [`Budget::new`].
    pub fn from_tokens(factor: u32, min_tokens: u32, max_tokens: u32) -> Result<Self, Error> {
        let token = u64::from(factor) * u64::from(factor);
        Self::new(
            factor,
            u64::from(min_tokens) * token,
            u64::from(max_tokens) * token,
        )
    }

    /// The least number of tokens that this budget asks for, rounded up.
    pub fn min_tokens(&self) -> u64 {
        self.min_pixels
            .div_ceil(u64::from(self.factor) * u64::from(self.factor))
    }

    /// The most tokens that this budget allows.
    pub fn max_tokens(&self) -> u64 {
        self.max_pixels / (u64::from(self.factor) * u64::from(self.factor))
    }

    /// The most tokens that any picture can take under this budget: more than [`Budget::max_tokens`] for
    /// extreme shapes, since no side is less than one token and sides are rounded up when a picture grows.
    pub fn most_tokens(&self) -> u64 {
        let token = f64::from(self.factor) * f64::from(self.factor);
        let (least, most) = (
            self.min_pixels as f64 / token,
            self.max_pixels as f64 / token,
        );
        let aspect = f64::from(MAX_ASPECT);
        // A side below one token becomes one; the other is at most sqrt(aspect * most).
        let thin = (aspect * most).sqrt().floor();
        // (a + 1)(b + 1) for a * b = least and a / b = aspect, where a + b is largest.
        let grown = least + least.sqrt() * (aspect.sqrt() + 1.0 / aspect.sqrt()) + 1.0;
        // A side that rounds to nothing although no least size is asked for.
        let tiny = aspect / 2.0;
        most.floor().max(thin).max(grown.floor()).max(tiny) as u64
    }
}

/// The size (width, height) at which a picture enters the encoder: the nearest multiples of the factor,
/// scaled to the budget with the aspect ratio nearly kept.
///
/// Float64 arithmetic and rounding half to even as in the reference processor; half up would give
/// 720 rows at factor 32 another grid.
///
/// # Errors
/// [`Error::NoPixels`] if a side is zero, [`Error::Aspect`] if the sides differ by more than [`MAX_ASPECT`].
pub fn smart_resize(width: u32, height: u32, budget: &Budget) -> Result<(u32, u32), Error> {
    check_sides(width, height)?;
    let factor = f64::from(budget.factor);
    let (w, h) = (f64::from(width), f64::from(height));
    let rounded = |side: f64| (side / factor).round_ties_even() * factor;
    let (resized_w, resized_h) = (rounded(w), rounded(h));
    let (min_pixels, max_pixels) = (budget.min_pixels as f64, budget.max_pixels as f64);
    let (resized_w, resized_h) = if resized_w * resized_h > max_pixels {
        let shrink = (h * w / max_pixels).sqrt();
        let floored = |side: f64| ((side / shrink / factor).floor() * factor).max(factor);
        (floored(w), floored(h))
    } else if resized_w * resized_h < min_pixels {
        let grow = (min_pixels / (h * w)).sqrt();
        let ceiled = |side: f64| (side * grow / factor).ceil() * factor;
        (ceiled(w), ceiled(h))
    } else {
        (resized_w, resized_h)
    };
    // The reference lets a side of zero through when the budget has no lower bound.
    Ok((resized_w.max(factor) as u32, resized_h.max(factor) as u32))
}

/// Refuses sides that no size rule applies to.
pub(crate) fn check_sides(width: u32, height: u32) -> Result<(), Error> {
    if width == 0 || height == 0 {
        return Err(Error::NoPixels { width, height });
    }
    let (long, short) = (width.max(height), width.min(height));
    if u64::from(long) > u64::from(short) * u64::from(MAX_ASPECT) {
        return Err(Error::Aspect {
            ratio: long.div_ceil(short),
            limit: MAX_ASPECT,
        });
    }
    Ok(())
}

/// A picture's size in patches, and how many of them make a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Frames, or pairs of frames: 1 for a still picture.
    pub t: u32,
    /// Rows of patches.
    pub h: u32,
    /// Columns of patches.
    pub w: u32,
    /// `merge` x `merge` patches become one token.
    pub merge: u32,
    /// Of a picture that is seen whole and in tiles: how many there are, and which rows are kept. `t` then
    /// counts squares of `h` x `w` patches, the whole picture first.
    pub tiles: Option<Tiles>,
}

impl Grid {
    /// The grid of a still picture of this displayed size under a budget.
    ///
    /// # Errors
    /// Those of [`smart_resize`], and [`Error::Budget`] if the budget's factor is not `patch_size * merge`.
    pub fn for_image(
        width: u32,
        height: u32,
        budget: &Budget,
        patch_size: u32,
        merge: u32,
    ) -> Result<Self, Error> {
        let factor = patch_size.checked_mul(merge).filter(|&factor| factor != 0);
        if factor != Some(budget.factor) {
            return Err(Error::Budget(format!(
                "factor {}, need patch size {patch_size} times merge {merge}",
                budget.factor
            )));
        }
        let (resized_width, resized_height) = smart_resize(width, height, budget)?;
        Ok(Self {
            t: 1,
            h: resized_height / patch_size,
            w: resized_width / patch_size,
            merge,
            tiles: None,
        })
    }

    /// Number of patches, the encoder's input rows.
    pub fn patches(&self) -> usize {
        self.t as usize * self.h as usize * self.w as usize
    }

    /// Number of tokens, the encoder's output rows.
    pub fn tokens(&self) -> usize {
        match &self.tiles {
            None => self.t as usize * self.merged_h() as usize * self.merged_w() as usize,
            Some(tiles) => self.tile_tokens(tiles),
        }
    }

    /// Width and height in pixels at which a picture is seen: that of all its tiles together where it has any,
    /// with what they have beside it.
    pub fn pixels(&self, patch_size: u32) -> (u32, u32) {
        let (columns, rows) = match self.tiles {
            Some(tiles) if tiles.rows > 0 => (tiles.columns, tiles.rows),
            _ => (1, 1),
        };
        (columns * self.w * patch_size, rows * self.h * patch_size)
    }

    /// Rows of tokens.
    pub fn merged_h(&self) -> u32 {
        self.h / self.merge
    }

    /// Columns of tokens.
    pub fn merged_w(&self) -> u32 {
        self.w / self.merge
    }
}

/// What was done to a picture, for reports: every answer can say at which size its pictures were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageRecord {
    /// Displayed width, after the orientation was applied.
    pub width: u32,
    /// Displayed height, after the orientation was applied.
    pub height: u32,
    /// How the file stored it.
    pub orientation: Orientation,
    /// Width at which the encoder saw it.
    pub resized_width: u32,
    /// Height at which the encoder saw it.
    pub resized_height: u32,
    /// Its size in patches.
    pub grid: Grid,
    /// Tokens it takes in the prompt.
    pub tokens: usize,
}

impl ImageRecord {
    /// The record of a decoded picture that is shown as `grid` with patches of `patch_size` pixels.
    pub fn new(picture: &Picture, grid: Grid, patch_size: u32) -> Self {
        let (resized_width, resized_height) = grid.pixels(patch_size);
        Self {
            width: picture.image.width,
            height: picture.image.height,
            orientation: picture.orientation,
            resized_width,
            resized_height,
            grid,
            tokens: grid.tokens(),
        }
    }
}

impl std::fmt::Display for ImageRecord {
    /// As in `1920x1080 -> 1932x1092, 2691 tokens`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}x{} -> {}x{}, {} tokens",
            self.width, self.height, self.resized_width, self.resized_height, self.tokens
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_picture_takes_more_tokens_than_the_budget_says_any_can() {
        let sides = [
            1, 2, 9, 10, 15, 16, 17, 31, 33, 47, 48, 63, 100, 200, 333, 1000, 1999, 4097, 16_384,
        ];
        for factor in [28, 32] {
            for (least, most) in [
                (0, 1),
                (1, 1),
                (4, 24),
                (64, 64),
                (48, 64),
                (64, 4096),
                (4, 16_384),
            ] {
                let budget = Budget::from_tokens(factor, least, most).unwrap();
                let bound = budget.most_tokens();
                let mut found = 0;
                for (w, h) in sides
                    .iter()
                    .flat_map(|w| sides.iter().map(move |h| (*w, *h)))
                {
                    if let Ok((w, h)) = smart_resize(w, h, &budget) {
                        found = found.max(u64::from(w / factor) * u64::from(h / factor));
                    }
                }
                assert!(
                    found <= bound,
                    "{found} > {bound} for {least}..{most} of {factor}"
                );
                assert!(
                    bound <= 2 * found + 200,
                    "{bound} is far above {found} for {least}..{most}"
                );
            }
        }
    }
}
