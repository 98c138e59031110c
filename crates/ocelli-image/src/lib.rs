//! Pictures to patches, exactly as the reference does it.
//!
//! ```
//! use ocelli_image::{Budget, DecodeOptions, Grid, Normalization, decode, patchify, resize};
//!
//! # let file = ocelli_image::RgbImage::filled(40, 30, [200, 30, 30]).unwrap().to_png().unwrap();
//! let picture = decode(&file, &DecodeOptions::default())?;       // turned upright, alpha on white
//! let budget = Budget::from_tokens(32, 64, 4096)?;               // 32 = patch size 16 times merge 2
//! let grid = Grid::for_image(picture.image.width, picture.image.height, &budget, 16, 2)?;
//! let resized = resize(&picture.image, grid.w * 16, grid.h * 16); // bit-exact with torchvision
//! let patches = patchify(&[resized], 16, 2, 2, &Normalization::HALF);
//! assert_eq!(patches.pixels.len(), patches.grid.patches() * 3 * 2 * 16 * 16);
//! # Ok::<(), ocelli_image::Error>(())
//! ```
//!
//! The crate decodes PNG, JPEG, WebP, GIF and BMP ([`decode`], [`read`]), applies the
//! size rule of the Qwen families ([`Budget`], [`Grid`]), resamples ([`resize`]) and
//! cuts the result into the rows that an encoder reads ([`patchify`]). [`boxes`] brings
//! a model's coordinates back to the pixels the user knows; [`draw`] paints them. Of videos it opens
//! [`Animation`]s (GIF, WebP, APNG), and says which frames are looked at ([`VideoRule`]) and how large
//! ([`VideoBudget`]).
//!
//! Files are hostile: sizes are checked against [`Limits`] before anything is decoded,
//! a truncated file is an error and never half a picture, and no input panics.
#![forbid(unsafe_code)]

pub mod boxes;
mod crops;
mod decode;
pub mod draw;
mod edge;
mod error;
mod file;
mod font;
mod image;
mod orientation;
mod parallel;
mod patches;
mod resize;
mod size;
mod tiles;
mod video;

pub use crops::{Crop, pan_and_scan};
pub use decode::{
    Animation, DecodeOptions, Format, ImageHeader, Limits, MAX_ANIMATION_FRAMES,
    MAX_ANIMATION_PIXELS, Picture, decode, header, read, read_header,
};
pub use edge::{edge_resize, middle_square};
pub use error::Error;
pub use file::{read_bytes, write_bytes};
pub use image::RgbImage;
pub use orientation::Orientation;
pub use patches::{Normalization, Patches, patchify};
pub use resize::{Filter, resize, resize_with};
pub use size::{Budget, Grid, ImageRecord, MAX_ASPECT, MAX_IMAGE_TOKENS, smart_resize};
pub use tiles::{TileOrder, TileRule, Tiles};
pub use video::{VideoBudget, VideoRecord, VideoRule};
