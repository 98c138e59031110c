//! Tiles beside what the reference's functions give. Pixels are held to it by the goldens.

use super::*;

const RELEASED: [(u32, u32); 5] = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)];

fn rule(order: TileOrder) -> TileRule {
    TileRule {
        side: 24,
        patch: 14,
        shapes: RELEASED.to_vec(),
        order,
    }
}

fn budget(least: u32, most: u32) -> Budget {
    Budget::from_tokens(14, least, most).unwrap()
}

fn grid(width: u32, height: u32) -> Grid {
    rule(TileOrder::Lines)
        .grid((width, height), &budget(577, 2928))
        .unwrap()
}

/// What the reference's functions give for the tiles of released models: size of the picture; rows and
/// columns of tiles, lines and patches of a line; size of the picture in the tiles.
const REFERENCE: [[u32; 8]; 19] = [
    [336, 336, 1, 2, 24, 24, 336, 336],
    [100, 100, 1, 2, 24, 24, 336, 336],
    [672, 336, 1, 2, 24, 48, 672, 336],
    [336, 672, 2, 1, 48, 24, 336, 672],
    [640, 480, 2, 2, 36, 48, 672, 504],
    [480, 640, 2, 2, 48, 36, 504, 672],
    [1920, 1080, 2, 2, 28, 48, 672, 378],
    [1080, 1920, 2, 2, 48, 28, 378, 672],
    [3000, 500, 1, 3, 12, 72, 1008, 168],
    [500, 3000, 3, 1, 72, 12, 168, 1008],
    [4000, 3000, 2, 2, 36, 48, 672, 505],
    [20, 4000, 3, 1, 72, 0, 6, 1008],
    [4000, 20, 1, 3, 0, 72, 1008, 6],
    [1000, 999, 2, 2, 48, 48, 672, 672],
    [333, 1000, 3, 1, 72, 24, 336, 1008],
    [1008, 336, 1, 3, 24, 72, 1008, 336],
    [675, 338, 2, 2, 24, 48, 672, 337],
    [1, 1, 1, 2, 24, 24, 336, 336],
    [37, 53, 1, 2, 24, 16, 235, 336],
];

#[test]
fn pictures_have_the_tiles_and_lines_of_the_reference() {
    for [width, height, rows, columns, lines, line, w, h] in REFERENCE {
        let got = grid(width, height).tiles.unwrap();
        let found = [got.rows, got.columns, got.lines, got.line];
        assert_eq!(found, [rows, columns, lines, line], "{width}x{height}");
        let canvas = (columns * 336, rows * 336);
        assert_eq!(inside((width, height), canvas), (w, h), "{width}x{height}");
    }
}

#[test]
fn a_picture_takes_its_squares_lines_and_their_ends_as_tokens() {
    let got = grid(640, 480);
    assert_eq!((got.t, got.patches()), (5, 5 * 576));
    assert_eq!(got.tokens(), 576 + 36 * 49);
    assert_eq!(got.pixels(14), (672, 672));
    // Every line is padding alone: the whole picture is left.
    assert_eq!(grid(4000, 20).tokens(), 576);
    assert_eq!(grid(20, 4000).tokens(), 576 + 72);
}

#[test]
fn the_list_of_rows_is_as_long_as_there_are_tokens_and_names_each_patch_once() {
    for order in [TileOrder::Lines, TileOrder::Across, TileOrder::Apart] {
        let rule = rule(order);
        for (least, most) in [(577, 2928), (577, 600), (2400, 2928)] {
            for [width, height, ..] in REFERENCE {
                let budget = budget(least, most);
                let grid = rule.grid((width, height), &budget).unwrap();
                assert!(grid.patches() <= rule.largest(&budget).patches());
                let rows = grid.rows();
                assert_eq!(rows.len(), grid.tokens(), "{width}x{height} {order:?}");
                assert!(rows[..576].iter().copied().eq((0..576).map(Some)));
                let mut patches: Vec<usize> = rows.into_iter().flatten().collect();
                patches.sort_unstable();
                patches.dedup();
                assert!(patches.iter().all(|patch| *patch < grid.patches()));
                let ends = grid.tokens() - patches.len();
                let tiles = grid.tiles.unwrap();
                let expected = match (order, tiles.rows) {
                    (TileOrder::Lines, 0) => 1,
                    (TileOrder::Lines, _) => tiles.lines as usize,
                    _ => 0,
                };
                assert_eq!(ends, expected);
            }
        }
    }
}

#[test]
fn lines_go_across_tiles_and_leave_the_same_padding_on_both_sides() {
    let rule = TileRule {
        side: 2,
        patch: 4,
        shapes: vec![(2, 2)],
        order: TileOrder::Lines,
    };
    let budget = Budget::from_tokens(4, 1, 100).unwrap();
    let rows = |rule: &TileRule| rule.grid((32, 16), &budget).unwrap().rows();
    let whole = [0, 1, 2, 3].map(Some);
    // Two of four lines: the lower one of the upper tiles, the upper one of the lower.
    let lines = [6, 7, 10, 11].map(Some).into_iter().chain([None]);
    let lines = lines.chain([12, 13, 16, 17].map(Some)).chain([None]);
    assert_eq!(
        rows(&rule),
        whole.into_iter().chain(lines).collect::<Vec<_>>()
    );
    let across = TileRule {
        order: TileOrder::Across,
        ..rule
    };
    let expected = [4, 5, 8, 9, 6, 7, 10, 11, 12, 13, 16, 17, 14, 15, 18, 19];
    assert_eq!(rows(&across)[4..], expected.map(Some));
}

#[test]
fn a_budget_takes_shapes_away_and_at_last_all_tiles() {
    let rule = rule(TileOrder::Lines);
    let shape = |least, most| {
        let grid = rule.grid((3000, 4000), &budget(least, most)).unwrap();
        let tiles = grid.tiles.unwrap();
        (tiles.rows, tiles.columns)
    };
    assert_eq!(shape(577, 2928), (2, 2));
    // Two tiles above each other take 576 + 48 * 25 = 1776 tokens at most, side by side 576 + 24 * 49.
    assert_eq!(shape(577, 2927), (2, 1));
    assert_eq!(shape(577, 1775), (1, 2));
    assert_eq!(shape(577, 1751), (0, 0));
    let small = |least| {
        let grid = rule.grid((100, 100), &budget(least, 2928)).unwrap();
        grid.t
    };
    assert_eq!((small(577), small(2000), small(2500)), (3, 4, 5));
    let whole = rule.grid((640, 480), &budget(577, 600)).unwrap();
    assert_eq!(
        (whole.t, whole.tokens(), whole.pixels(14)),
        (1, 577, (336, 336))
    );
    let error = rule.grid((640, 480), &budget(1, 576)).unwrap_err();
    assert!(error.to_string().contains("at most 576 tokens"), "{error}");
    assert!(error.to_string().contains("need 577"), "{error}");
}

#[test]
fn tiles_hold_the_picture_between_black_borders() {
    let rule = TileRule {
        side: 2,
        patch: 2,
        shapes: vec![(2, 2)],
        order: TileOrder::Lines,
    };
    // Twice as wide as high, and as wide as the tiles: nothing is resampled.
    let mut image = RgbImage::filled(8, 4, [0; 3]).unwrap();
    for (place, pixel) in image.pixels.chunks_exact_mut(3).enumerate() {
        pixel.fill(1 + place as u8);
    }
    let budget = Budget::from_tokens(2, 1, 100).unwrap();
    let grid = rule.grid((8, 4), &budget).unwrap();
    let squares = rule.squares(&image, &grid, Filter::Bicubic);
    assert_eq!(squares.len(), 5);
    let reds = |square: usize| {
        let pixels = squares[square].pixels.chunks_exact(3);
        pixels.map(|pixel| pixel[0]).collect::<Vec<u8>>()
    };
    assert_eq!(reds(1), [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 9, 10, 11, 12]);
    assert_eq!(
        reds(2),
        [0, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8, 13, 14, 15, 16]
    );
    assert_eq!(
        reds(3),
        [17, 18, 19, 20, 25, 26, 27, 28, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(reds(4)[..8], [21, 22, 23, 24, 29, 30, 31, 32]);
    assert!(!reds(0).contains(&0));
}

#[test]
fn a_thin_picture_leaves_tiles_black_on_either_side() {
    let rule = TileRule {
        side: 2,
        patch: 2,
        shapes: vec![(3, 3)],
        order: TileOrder::Lines,
    };
    let budget = Budget::from_tokens(2, 1, 100).unwrap();
    for (width, height, seen) in [(2, 60, [2, 5, 8]), (60, 2, [4, 5, 6])] {
        let image = RgbImage::filled(width, height, [200; 3]).unwrap();
        let grid = rule.grid((width, height), &budget).unwrap();
        let squares = rule.squares(&image, &grid, Filter::Bicubic);
        for (square, pixels) in squares.iter().enumerate().skip(1) {
            let is_black = pixels.pixels.iter().all(|sample| *sample == 0);
            assert_eq!(is_black, !seen.contains(&square), "{square}");
        }
    }
}

#[test]
fn empty_and_extreme_pictures_are_refused() {
    let rule = rule(TileOrder::Lines);
    assert!(rule.grid((0, 9), &budget(577, 2928)).is_err());
    assert!(rule.grid((201, 1), &budget(577, 2928)).is_err());
}

#[test]
fn parts_of_a_patch_are_cut_after_rounding_to_seven_places() {
    assert_eq!(cut(11.999_999_99), 12);
    assert_eq!(cut(11.999_999_9), 11);
    assert_eq!(cut(0.99), 0);
}
