//! Pictures that an encoder of squares sees twice: whole, and in tiles at up to its own size each, as
//! LLaVA-1.6 does.
//!
//! Source: HF `image_processing_llava_next.py`, `select_best_resolution` and `get_patch_output_size` of
//! `image_processing_utils.py`, `unpad_image` of `modeling_llava_next.py`. All arithmetic is in float64, as
//! there: the number of tokens depends on its last bits.

use crate::size::check_sides;
use crate::{Budget, Error, Filter, Grid, RgbImage, resize_with};

/// In which order the rows of tiles follow those of the whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TileOrder {
    /// Line by line across the tiles, without lines and columns that are padding alone; a row that no
    /// patch makes ends each line. What the reference does.
    Lines,
    /// Line by line across the tiles, padding too.
    Across,
    /// Tile by tile.
    Apart,
}

/// The tiles of a picture that is also seen whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tiles {
    /// Rows of tiles; none where the picture is only seen whole.
    pub rows: u32,
    /// Columns of tiles.
    pub columns: u32,
    /// Lines of patches, of all tiles together, that the picture fills.
    pub lines: u32,
    /// Patches of such a line that the picture fills.
    pub line: u32,
    /// How their rows are arranged.
    pub order: TileOrder,
}

impl Tiles {
    /// Rows of the encoder's output behind those of the whole picture, where a tile has `h` x `w` patches.
    fn tokens(&self, (h, w): (u32, u32)) -> usize {
        let count = |a: u32, b: u32| a as usize * b as usize;
        match self.order {
            TileOrder::Lines if self.rows == 0 => 1,
            TileOrder::Lines => count(self.lines, self.line + 1),
            TileOrder::Across | TileOrder::Apart => count(self.rows, self.columns) * count(h, w),
        }
    }
}

impl Grid {
    /// Tokens of a picture and its tiles, see [`Grid::tokens`].
    pub(crate) fn tile_tokens(&self, tiles: &Tiles) -> usize {
        self.h as usize * self.w as usize + tiles.tokens((self.h, self.w))
    }

    /// Which patch makes each row of the encoder's output, by its number among the patches of all tiles
    /// (the whole picture is the first); `None` is the end of a line.
    pub fn rows(&self) -> Vec<Option<usize>> {
        let (h, w) = (self.h as usize, self.w as usize);
        let whole = (0..h * w).map(Some);
        let Some(tiles) = self.tiles else {
            return (0..self.patches()).map(Some).collect();
        };
        let (rows, columns) = (tiles.rows as usize, tiles.columns as usize);
        let patch = |y: usize, x: usize| {
            let tile = 1 + y / h * columns + x / w;
            Some(tile * h * w + y % h * w + x % w)
        };
        let line = |y: usize, range: std::ops::Range<usize>| range.map(move |x| patch(y, x));
        match tiles.order {
            TileOrder::Apart => (0..self.patches()).map(Some).collect(),
            TileOrder::Across => {
                let lines = (0..rows * h).flat_map(|y| line(y, 0..columns * w));
                whole.chain(lines).collect()
            }
            TileOrder::Lines if rows == 0 => whole.chain([None]).collect(),
            TileOrder::Lines => {
                let (lines, length) = (tiles.lines as usize, tiles.line as usize);
                // What is kept lies in the middle.
                let (top, left) = ((rows * h - lines) / 2, (columns * w - length) / 2);
                let lines =
                    (top..top + lines).flat_map(|y| line(y, left..left + length).chain([None]));
                whole.chain(lines).collect()
            }
        }
    }
}

/// How an encoder cuts pictures into tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileRule {
    /// Patches of a tile on each side.
    pub side: u32,
    /// Pixels of a patch on each side.
    pub patch: u32,
    /// Rows and columns of tiles that pictures may have. Of those that suit a picture equally well, the
    /// first is taken.
    pub shapes: Vec<(u32, u32)>,
    /// How the rows are arranged.
    pub order: TileOrder,
}

impl TileRule {
    /// The grid of a picture that fills these tiles; none of them where it is only seen whole.
    fn filled(&self, (rows, columns): (u32, u32)) -> Grid {
        Grid {
            t: 1 + rows * columns,
            h: self.side,
            w: self.side,
            merge: 1,
            tiles: Some(Tiles {
                rows,
                columns,
                lines: rows * self.side,
                line: columns * self.side,
                order: self.order,
            }),
        }
    }

    /// Most tokens of any picture: what the family's own budget allows.
    pub fn most_tokens(&self) -> u64 {
        let tokens = |shape: &(u32, u32)| self.filled(*shape).tokens() as u64;
        self.shapes.iter().map(tokens).max().unwrap_or_default()
    }

    /// Tokens of a picture that is only seen whole.
    pub fn least_tokens(&self) -> u64 {
        self.filled((0, 0)).tokens() as u64
    }

    /// The shapes that a budget leaves: those within its most tokens and, where there are any, at least its
    /// fewest.
    fn allowed(&self, budget: &Budget) -> Vec<(u32, u32)> {
        let tokens = |shape: &&(u32, u32)| self.filled(**shape).tokens() as u64;
        let within = self.shapes.iter();
        let within: Vec<_> = within
            .filter(|s| tokens(s) <= budget.max_tokens())
            .collect();
        let is_enough = |shape: &&(u32, u32)| tokens(shape) >= budget.min_tokens();
        match within.iter().any(is_enough) {
            true => within.into_iter().filter(is_enough).copied().collect(),
            false => within.into_iter().copied().collect(),
        }
    }

    /// The grid with the most patches of any picture under a budget.
    pub fn largest(&self, budget: &Budget) -> Grid {
        let allowed = self.allowed(budget).into_iter();
        let largest = allowed.max_by_key(|(rows, columns)| rows * columns);
        self.filled(largest.unwrap_or((0, 0)))
    }

    /// The grid of a picture of this displayed size. Under a budget that has no room for tiles it is only
    /// seen whole.
    ///
    /// # Errors
    /// [`Error::NoPixels`] if a side is zero, [`Error::Aspect`] if the sides differ by more than
    /// [`crate::MAX_ASPECT`], [`Error::Budget`] if not even the whole picture fits the budget.
    pub fn grid(&self, (width, height): (u32, u32), budget: &Budget) -> Result<Grid, Error> {
        check_sides(width, height)?;
        if budget.factor != self.patch || budget.max_tokens() < self.least_tokens() {
            return Err(Error::Budget(format!(
                "at most {} tokens of {} pixels a side, need {} of {}: a picture is always seen whole",
                budget.max_tokens(),
                budget.factor,
                self.least_tokens(),
                self.patch
            )));
        }
        let allowed = self.allowed(budget);
        let Some(shape) = best(&allowed, self.side * self.patch, (width, height)) else {
            return Ok(self.filled((0, 0)));
        };
        let mut grid = self.filled(shape);
        if let (Some(tiles), TileOrder::Lines) = (&mut grid.tiles, self.order) {
            (tiles.lines, tiles.line) = without_padding((tiles.lines, tiles.line), (width, height));
        }
        Ok(grid)
    }

    /// The whole picture as one square, and behind it its tiles row by row: `grid.t` squares. Tiles keep
    /// the picture's shape between black borders; the first square does not.
    pub fn squares(&self, image: &RgbImage, grid: &Grid, filter: Filter) -> Vec<RgbImage> {
        let side = self.side * self.patch;
        let mut squares = vec![resize_with(image, side, side, filter)];
        let Some(tiles) = grid.tiles.filter(|tiles| tiles.rows > 0) else {
            return squares;
        };
        let canvas = (tiles.columns * side, tiles.rows * side);
        let (width, height) = inside((image.width, image.height), canvas);
        let fitted = resize_with(image, width, height, filter);
        let (left, top) = ((canvas.0 - width) / 2, (canvas.1 - height) / 2);
        for place in 0..tiles.rows * tiles.columns {
            let corner = (place % tiles.columns * side, place / tiles.columns * side);
            squares.push(window(&fitted, (left, top), corner, side));
        }
        squares
    }
}

/// Of the shapes the one in which most of the picture's pixels survive, and of these the one with the
/// least left over.
fn best(shapes: &[(u32, u32)], side: u32, (width, height): (u32, u32)) -> Option<(u32, u32)> {
    let (w, h) = (f64::from(width), f64::from(height));
    let mut found: Option<((u32, u32), (u64, u64))> = None;
    for &(rows, columns) in shapes {
        let (tiles_w, tiles_h) = (columns * side, rows * side);
        let scale = (f64::from(tiles_w) / w).min(f64::from(tiles_h) / h);
        let area = (w * scale) as u64 * (h * scale) as u64;
        let kept = area.min(u64::from(width) * u64::from(height));
        let left_over = u64::from(tiles_w) * u64::from(tiles_h) - kept;
        let is_better = found
            .is_none_or(|(_, (most, least))| kept > most || (kept == most && left_over < least));
        if is_better {
            found = Some(((rows, columns), (kept, left_over)));
        }
    }
    found.map(|(shape, _)| shape)
}

/// The size of a picture that fills a canvas in one direction and keeps its shape.
fn inside((width, height): (u32, u32), canvas: (u32, u32)) -> (u32, u32) {
    let (w, h) = (f64::from(width), f64::from(height));
    let (scale_w, scale_h) = (f64::from(canvas.0) / w, f64::from(canvas.1) / h);
    match scale_w < scale_h {
        true => (canvas.0, ((h * scale_w).ceil() as u32).min(canvas.1)),
        false => (((w * scale_h).ceil() as u32).min(canvas.0), canvas.1),
    }
}

/// Lines of patches, and patches of a line, that are not padding alone on both sides. The picture's shape is
/// measured anew here, so that very thin pictures can lose every line.
fn without_padding((lines, line): (u32, u32), (width, height): (u32, u32)) -> (u32, u32) {
    let (w, h) = (f64::from(width), f64::from(height));
    let (across, down) = (f64::from(line), f64::from(lines));
    // `all - 2 * ((all - filled) / 2)`: as much goes on either side.
    let kept = |all: u32, filled: f64| all - all.saturating_sub(cut(filled)) / 2 * 2;
    match w / h > across / down {
        true => (kept(lines, h * (across / w)), line),
        false => (lines, kept(line, w * (down / h))),
    }
}

/// The whole part of a number that is first rounded to seven places, so that 11.99999999 is 12.
fn cut(number: f64) -> u32 {
    // Formatting rounds the exact binary value half to even, as Python's `round` does.
    let rounded = format!("{number:.7}").parse();
    rounded.unwrap_or(number) as u32
}

/// The square at `corner` of a black canvas on which `picture` lies at `place`.
fn window(picture: &RgbImage, place: (u32, u32), corner: (u32, u32), side: u32) -> RgbImage {
    let mut pixels = vec![0; 3 * side as usize * side as usize];
    // Columns and lines of the canvas that square and picture share.
    let shared = |corner: u32, place: u32, length: u32| {
        let start = corner.max(place);
        start..(corner + side).min(place + length).max(start)
    };
    let columns = shared(corner.0, place.0, picture.width);
    let bytes = |from: u32, to: u32| 3 * from as usize..3 * to as usize;
    // A very thin picture lies beside whole tiles.
    let lines = match columns.is_empty() {
        true => 0..0,
        false => shared(corner.1, place.1, picture.height),
    };
    for y in lines {
        let from = bytes(columns.start - place.0, columns.end - place.0);
        let to = bytes(columns.start - corner.0, columns.end - corner.0);
        let line = &mut pixels[bytes(0, side).end * (y - corner.1) as usize..];
        line[to].copy_from_slice(&picture.row(y - place.1)[from]);
    }
    RgbImage {
        width: side,
        height: side,
        pixels,
    }
}

#[cfg(test)]
mod tests;
