//! GIF: the first frame, or all of them one after the other, on their canvas.
//!
//! The blocks are walked to the end first, so that a file cut inside one is known as such; a frame is
//! unpacked only when it is wanted.

use std::ops::ControlFlow;
use std::time::Duration;

use super::animation::{See, Survey, check_frames, shown_for};
use super::lzw::unpack;
use super::{DecodeOptions, Stated, Stored, check_size, working_bytes};
use crate::{Error, Format, RgbImage};

const FORMAT: Format = Format::Gif;
const TRUNCATED: Error = Error::Truncated { format: FORMAT };

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Stored, Error> {
    let file = File::walk(bytes, options)?;
    let (frame, control) = &file.frames[0];
    // Before the canvas takes memory: a short file can name a large one.
    let indices = frame.unpack(options)?;
    let mut image = file.canvas(options)?;
    frame.paint(&mut image, &indices, control.transparent)?;
    Ok(Stored {
        image,
        orientation: None,
    })
}

/// The size; no pixel is unpacked.
pub(super) fn stated(bytes: &[u8], options: &DecodeOptions) -> Result<Stated, Error> {
    let file = File::walk(bytes, options)?;
    Ok(Stated {
        width: file.width,
        height: file.height,
        orientation: None,
        // Indices of the frame beside the picture.
        working_bytes: working_bytes((file.width, file.height), 4),
    })
}

/// What is known of an animation before a frame is unpacked.
pub(super) fn survey(bytes: &[u8], options: &DecodeOptions) -> Result<Survey, Error> {
    let file = File::walk(bytes, options)?;
    let delay = |(_, control): &(Frame<'_>, Control)| {
        shown_for(Duration::from_millis(10 * u64::from(control.delay)))
    };
    Ok(Survey {
        width: file.width,
        height: file.height,
        delays: file.frames.iter().map(delay).collect(),
    })
}

/// Shows every frame as it is seen: on what earlier ones left.
pub(super) fn frames(bytes: &[u8], options: &DecodeOptions, see: See<'_>) -> Result<(), Error> {
    let file = File::walk(bytes, options)?;
    file.frames[0].0.unpack(options)?;
    let mut canvas = file.canvas(options)?;
    for (index, (frame, control)) in file.frames.iter().enumerate() {
        let before = (control.disposal == Control::PREVIOUS).then(|| canvas.clone());
        frame.paint(&mut canvas, &frame.unpack(options)?, control.transparent)?;
        if see(index, &canvas) == ControlFlow::Break(()) {
            return Ok(());
        }
        match before {
            Some(before) => canvas = before,
            None if control.disposal == Control::BACKGROUND => {
                frame.clear(&mut canvas, options.background);
            }
            None => {}
        }
    }
    Ok(())
}

/// A file whose blocks were walked to the end; it has one frame at least.
struct File<'a> {
    width: u32,
    height: u32,
    frames: Vec<(Frame<'a>, Control)>,
}

impl<'a> File<'a> {
    fn walk(bytes: &'a [u8], options: &DecodeOptions) -> Result<Self, Error> {
        let mut blocks = Blocks {
            rest: bytes.get(6..).ok_or(TRUNCATED)?,
        };
        let screen = blocks.take(7)?;
        let (mut width, mut height) = (word(screen, 0), word(screen, 2));
        // Some writers leave the canvas empty or smaller than its frame: the first frame counts then.
        if width != 0 && height != 0 {
            check_size(width, height, &options.limits)?;
        }
        let global = blocks.colour_table(screen[4])?;
        let mut control = Control::default();
        let mut frames = Vec::new();
        loop {
            // Not all writers end a file as they should. One that is cut inside a frame is cut.
            let introducer = match blocks.take(1) {
                Ok(byte) => byte[0],
                Err(_) if !frames.is_empty() => break,
                Err(truncated) => return Err(truncated),
            };
            match introducer {
                0x21 => {
                    if let Some(found) = blocks.extension()? {
                        control = found;
                    }
                }
                0x2c => {
                    let frame = Frame::parse(&mut blocks, global)?;
                    // A later frame may stick out of the picture, but not without end.
                    if frame.width != 0 && frame.height != 0 {
                        check_size(frame.width, frame.height, &options.limits)?;
                    }
                    if frames.is_empty() {
                        width = width.max(frame.x + frame.width);
                        height = height.max(frame.y + frame.height);
                        check_size(width, height, &options.limits)?;
                    }
                    frames.push((frame, std::mem::take(&mut control)));
                    check_frames(frames.len(), width, height)?;
                }
                0x3b => break,
                // Stray bytes between blocks are passed over, as the reference does.
                _ => {}
            }
        }
        if frames.is_empty() {
            return Err(corrupt("no picture in it"));
        }
        Ok(Self {
            width,
            height,
            frames,
        })
    }

    /// What the first frame is painted on. Where it does not cover the picture, this is seen: the
    /// background if the frame has a transparent colour, else its first colour, as the reference
    /// has it.
    fn canvas(&self, options: &DecodeOptions) -> Result<RgbImage, Error> {
        let (frame, control) = &self.frames[0];
        let first = frame.colours.first_chunk::<3>();
        let colour = match (control.transparent, first) {
            (None, Some(first)) => *first,
            _ => options.background,
        };
        RgbImage::filled(self.width, self.height, colour)
    }
}

/// The colours of a file that names none: its indices are taken for shades, as the reference has it.
static GREYS: [[u8; 3]; 256] = {
    let mut greys = [[0; 3]; 256];
    let mut index = 0;
    while index < 256 {
        greys[index] = [index as u8; 3];
        index += 1;
    }
    greys
};

/// How a frame is shown.
#[derive(Clone, Copy, Debug, Default)]
struct Control {
    transparent: Option<u8>,
    /// Hundredths of a second.
    delay: u16,
    /// What becomes of its place afterwards.
    disposal: u8,
}

impl Control {
    const BACKGROUND: u8 = 2;
    const PREVIOUS: u8 = 3;
}

pub(super) fn corrupt(what: &'static str) -> Error {
    Error::Corrupt {
        format: FORMAT,
        what,
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// What is left of the file.
struct Blocks<'a> {
    rest: &'a [u8],
}

impl<'a> Blocks<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The colour table that the packed `flags` announce: `[colours, 3]` bytes.
    fn colour_table(&mut self, flags: u8) -> Result<Option<&'a [u8]>, Error> {
        if flags & 0x80 == 0 {
            return Ok(None);
        }
        self.take(3 << ((flags & 7) + 1)).map(Some)
    }

    /// Skips an extension, and reads it if it is a graphic control.
    fn extension(&mut self) -> Result<Option<Control>, Error> {
        let label = self.take(1)?[0];
        let mut control = None;
        while let Some(block) = self.sub_block()? {
            if let (0xf9, [flags, low, high, index, ..]) = (label, block) {
                control = Some(Control {
                    transparent: (flags & 1 == 1).then_some(*index),
                    delay: u16::from_le_bytes([*low, *high]),
                    disposal: flags >> 2 & 7,
                });
            }
        }
        Ok(control)
    }

    /// The next sub-block, None at the terminator.
    fn sub_block(&mut self) -> Result<Option<&'a [u8]>, Error> {
        let length = usize::from(self.take(1)?[0]);
        if length == 0 {
            Ok(None)
        } else {
            self.take(length).map(Some)
        }
    }
}

/// A frame still packed.
struct Frame<'a> {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    interlaced: bool,
    colours: &'a [u8],
    code_bits: u8,
    data: Vec<&'a [u8]>,
}

impl<'a> Frame<'a> {
    fn parse(blocks: &mut Blocks<'a>, global: Option<&'a [u8]>) -> Result<Self, Error> {
        let head = blocks.take(9)?;
        let colours = blocks.colour_table(head[8])?.or(global);
        let colours = colours.unwrap_or(GREYS.as_flattened());
        let code_bits = blocks.take(1)?[0];
        let mut data = Vec::new();
        while let Some(block) = blocks.sub_block()? {
            data.push(block);
        }
        Ok(Self {
            x: word(head, 0),
            y: word(head, 2),
            width: word(head, 4),
            height: word(head, 6),
            interlaced: head[8] & 0x40 != 0,
            colours,
            code_bits,
            data,
        })
    }

    /// `[height, width]` colour indices, in the order of the file.
    fn unpack(&self, options: &DecodeOptions) -> Result<Vec<u8>, Error> {
        let count = self.width as usize * self.height as usize;
        options.check_time()?;
        unpack(&self.data, self.code_bits, count)
    }

    /// Draws the frame on its canvas; what sticks out is cut off.
    fn paint(
        &self,
        image: &mut RgbImage,
        indices: &[u8],
        transparent: Option<u8>,
    ) -> Result<(), Error> {
        let table = self.colours;
        let columns = self.columns(image);
        if columns == 0 {
            return Ok(());
        }
        let rows = indices
            .chunks_exact(self.width as usize)
            .zip(self.row_order());
        for (row, y) in rows {
            let Some(target) = self.target(image, y, columns) else {
                continue;
            };
            for (pixel, &index) in target.chunks_exact_mut(3).zip(row) {
                if Some(index) == transparent {
                    continue;
                }
                let at = usize::from(index) * 3;
                let colours = table.len() / 3;
                let colour = table.get(at..at + 3);
                pixel.copy_from_slice(colour.ok_or(Error::CorruptPalette {
                    format: FORMAT,
                    index,
                    colours,
                })?);
            }
        }
        Ok(())
    }

    /// Fills the frame's place.
    fn clear(&self, image: &mut RgbImage, background: [u8; 3]) {
        let columns = self.columns(image);
        for y in 0..self.height as usize {
            for pixel in self
                .target(image, y, columns)
                .unwrap_or_default()
                .chunks_exact_mut(3)
            {
                pixel.copy_from_slice(&background);
            }
        }
    }

    /// Columns of the frame that are on the canvas.
    fn columns(&self, image: &RgbImage) -> usize {
        self.width.min(image.width.saturating_sub(self.x)) as usize
    }

    /// The canvas under the frame's row `y`.
    fn target<'b>(
        &self,
        image: &'b mut RgbImage,
        y: usize,
        columns: usize,
    ) -> Option<&'b mut [u8]> {
        let y = self.y as usize + y;
        if y >= image.height as usize {
            return None;
        }
        let start = (y * image.width as usize + self.x as usize) * 3;
        image.pixels.get_mut(start..start + columns * 3)
    }

    /// The rows' places in the order in which the file has them.
    fn row_order(&self) -> Box<dyn Iterator<Item = usize>> {
        let height = self.height as usize;
        if !self.interlaced {
            return Box::new(0..height);
        }
        let passes = [(0, 8), (4, 8), (2, 4), (1, 2)];
        Box::new(
            passes
                .into_iter()
                .flat_map(move |(first, step)| (first..height).step_by(step)),
        )
    }
}
