//! Pictures made from nothing, for measurements that must be the same everywhere: shapes, letters,
//! and a texture.

use ocelli_image::boxes::{Located, Region};
use ocelli_image::{Error, RgbImage, draw};

const WIDTH: u32 = 448;
const HEIGHT: u32 = 336;

/// What is looked at, with the names that reports use.
pub(super) fn pictures() -> Result<[(&'static str, RgbImage); 3], Error> {
    Ok([
        ("shapes", shapes()?),
        ("letters", letters()?),
        ("texture", texture()?),
    ])
}

/// Every pixel's colour by its place.
fn painted(colour: impl Fn(u32, u32) -> [u8; 3]) -> Result<RgbImage, Error> {
    let places = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
    let pixels = places.flat_map(|(x, y)| colour(x, y)).collect();
    RgbImage::new(WIDTH, HEIGHT, pixels)
}

/// A disc, a square and a bar before a sky that grows lighter downwards.
fn shapes() -> Result<RgbImage, Error> {
    painted(|x, y| {
        let from = |a: u32, b: u32| u64::from(a.abs_diff(b));
        let distance = from(x, 120).pow(2) + from(y, 130).pow(2);
        match () {
            () if distance < 70 * 70 => [210, 40, 40],
            () if (250..390).contains(&x) && (60..200).contains(&y) => [40, 70, 200],
            () if (40..410).contains(&x) && (250..290).contains(&y) => [240, 200, 40],
            () => {
                let light = (90 + y * 150 / HEIGHT) as u8;
                [light / 2, light - light / 4, light]
            }
        }
    })
}

/// Framed words on paper.
fn letters() -> Result<RgbImage, Error> {
    let mut page = RgbImage::filled(WIDTH, HEIGHT, [250, 248, 240])?;
    let words = [
        "INVOICE 2047",
        "total 318.50",
        "due in 14 days",
        "thank you",
    ];
    let lines = words.iter().enumerate().map(|(row, word)| {
        let top = 30.0 + 75.0 * row as f64;
        Located {
            label: Some((*word).to_owned()),
            region: Region::Box {
                left: 40.0,
                top,
                right: 400.0 - 60.0 * row as f64,
                bottom: top + 45.0,
            },
        }
    });
    draw::draw(&mut page, &lines.collect::<Vec<_>>());
    Ok(page)
}

/// Waves of many lengths and directions, as in grass or cloth.
fn texture() -> Result<RgbImage, Error> {
    painted(|x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        let wave = |across: f64, down: f64| (x * across + y * down).sin();
        let rough = wave(0.05, 0.09) + wave(0.31, -0.17) + 0.6 * wave(0.93, 0.71);
        let tint = wave(0.013, -0.021);
        let level = |base: f64, swing: f64| (base + 28.0 * rough + swing * tint) as u8;
        [level(110.0, 30.0), level(135.0, 10.0), level(90.0, -25.0)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_differ_and_are_never_flat() {
        let made = pictures().unwrap();
        for (name, picture) in &made {
            let first = picture.pixel(0, 0);
            let places = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y)));
            let changed = places.filter(|&(x, y)| picture.pixel(x, y) != first);
            assert!(changed.count() > 5_000, "{name}");
        }
        assert!(made[0].1 != made[1].1 && made[1].1 != made[2].1);
    }
}
