//! How a camera was held: the EXIF orientation, read from metadata and undone.

use crate::RgbImage;
use crate::parallel;

/// The EXIF orientation (tag 0x0112): what must be done to the stored rows to see the picture upright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Orientation {
    /// 1: stored as shown.
    #[default]
    Upright = 1,
    /// 2: mirrored left to right.
    MirrorHorizontal = 2,
    /// 3: turned by half a turn.
    Rotate180 = 3,
    /// 4: mirrored top to bottom.
    MirrorVertical = 4,
    /// 5: mirrored along the diagonal from the top left.
    Transpose = 5,
    /// 6: must be turned a quarter clockwise.
    Rotate90 = 6,
    /// 7: mirrored along the diagonal from the top right.
    Transverse = 7,
    /// 8: must be turned a quarter counterclockwise.
    Rotate270 = 8,
}

impl Orientation {
    /// All eight, in the order of their EXIF numbers.
    pub const ALL: [Self; 8] = [
        Self::Upright,
        Self::MirrorHorizontal,
        Self::Rotate180,
        Self::MirrorVertical,
        Self::Transpose,
        Self::Rotate90,
        Self::Transverse,
        Self::Rotate270,
    ];

    /// The orientation with this EXIF number, 1 to 8.
    pub fn from_exif_value(value: u16) -> Option<Self> {
        let index = usize::from(value).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// Its EXIF number, 1 to 8.
    pub fn exif_value(self) -> u8 {
        self as u8
    }

    /// A lower-case name for records and messages, as in `rotate-90`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Upright => "upright",
            Self::MirrorHorizontal => "mirror-horizontal",
            Self::Rotate180 => "rotate-180",
            Self::MirrorVertical => "mirror-vertical",
            Self::Transpose => "transpose",
            Self::Rotate90 => "rotate-90",
            Self::Transverse => "transverse",
            Self::Rotate270 => "rotate-270",
        }
    }

    /// Whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        self.exif_value() >= 5
    }

    /// The picture as it should be seen.
    pub fn apply(self, image: RgbImage) -> RgbImage {
        match self {
            Self::Upright => image,
            Self::MirrorHorizontal => turn(&image, |x, y, w, _| (w - 1 - x, y), false),
            Self::Rotate180 => turn(&image, |x, y, w, h| (w - 1 - x, h - 1 - y), false),
            Self::MirrorVertical => turn(&image, |x, y, _, h| (x, h - 1 - y), false),
            Self::Transpose => turn(&image, |x, y, _, _| (y, x), true),
            Self::Rotate90 => turn(&image, |x, y, _, h| (y, h - 1 - x), true),
            Self::Transverse => turn(&image, |x, y, w, h| (w - 1 - y, h - 1 - x), true),
            Self::Rotate270 => turn(&image, |x, y, w, _| (w - 1 - y, x), true),
        }
    }

    /// The orientation inside an EXIF block (a TIFF header and its first directory).
    ///
    /// Anything that is not a well-formed tag with a value from 1 to 8 counts as no tag: a picture
    /// with spoilt metadata is still a picture. Only the first directory is looked at, so that
    /// cyclic directories cannot matter.
    pub fn from_exif(block: &[u8]) -> Option<Self> {
        let unprefixed = |block| <[u8]>::strip_prefix(block, b"Exif\0\0").unwrap_or(block);
        let block = unprefixed(unprefixed(block));
        let big_endian = match block.get(..4)? {
            b"MM\0*" => true,
            b"II*\0" => false,
            _ => return None,
        };
        let u16_at = |at: usize| -> Option<u16> {
            let bytes = [*block.get(at)?, *block.get(at.checked_add(1)?)?];
            Some(if big_endian {
                u16::from_be_bytes(bytes)
            } else {
                u16::from_le_bytes(bytes)
            })
        };
        let u32_at = |at: usize| -> Option<u32> {
            let (first, second) = (
                u32::from(u16_at(at)?),
                u32::from(u16_at(at.checked_add(2)?)?),
            );
            Some(if big_endian {
                first << 16 | second
            } else {
                second << 16 | first
            })
        };
        const ORIENTATION: u16 = 0x0112;
        let directory = u32_at(4)? as usize;
        let entries = usize::from(u16_at(directory)?);
        for entry in 0..entries {
            let at = directory.checked_add(2 + entry * 12)?;
            if u16_at(at)? == ORIENTATION {
                // Not all writers store it as the standard has it, one short: the first of any
                // whole numbers counts, as for the reference.
                let bytes = match u16_at(at + 2)? {
                    6 => 1,
                    3 | 8 => 2,
                    4 | 9 | 13 => 4,
                    _ => return None,
                };
                let at = match u32_at(at + 4)? as usize {
                    0 => return None,
                    count if count.saturating_mul(bytes) <= 4 => at + 8,
                    _ => u32_at(at + 8)? as usize,
                };
                let value = match bytes {
                    1 => u16::from(*block.get(at)?),
                    2 => u16_at(at)?,
                    _ => u16::try_from(u32_at(at)?).ok()?,
                };
                return Self::from_exif_value(value);
            }
        }
        None
    }

    /// The orientation that an XMP packet states, as an attribute or an element: what counts where
    /// there is no EXIF tag.
    ///
    /// The packet is searched as text, as the reference does it.
    pub fn from_xmp(packet: &[u8]) -> Option<Self> {
        const NAME: &[u8] = b"tiff:Orientation";
        let digit = packet
            .windows(NAME.len())
            .enumerate()
            .find_map(|(at, window)| {
                let rest = packet.get(at + NAME.len()..).filter(|_| window == NAME)?;
                let value = rest.strip_prefix(b"=\"").or(rest.strip_prefix(b">"))?;
                value.first().copied().filter(u8::is_ascii_digit)
            })?;
        Self::from_exif_value(u16::from(digit - b'0'))
    }
}

/// Builds the picture whose pixel (x, y) is the stored pixel `source(x, y, width, height)`,
/// where width and height are those of the stored picture.
fn turn(
    image: &RgbImage,
    source: impl Fn(usize, usize, usize, usize) -> (usize, usize) + Sync,
    swaps_sides: bool,
) -> RgbImage {
    let (width, height) = (image.width as usize, image.height as usize);
    let (new_width, new_height) = if swaps_sides {
        (height, width)
    } else {
        (width, height)
    };
    let mut pixels = vec![0; image.pixels.len()];
    parallel::for_each_chunk(&mut pixels, new_width * 3, |y, row| {
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let (from_x, from_y) = source(x, y, width, height);
            pixel.copy_from_slice(&image.pixels[(from_y * width + from_x) * 3..][..3]);
        }
    });
    RgbImage {
        width: new_width as u32,
        height: new_height as u32,
        pixels,
    }
}
