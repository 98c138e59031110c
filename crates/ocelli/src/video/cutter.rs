//! Frames as they come to temporal patches of their final size.

use ocelli_engine::{ImageKey, Picture};
use ocelli_image::{Grid, RgbImage};
use sha2::{Digest as _, Sha256};

use super::Wrong;
use super::clips::Viewer;

/// A video that was cut.
pub(super) struct Cut {
    /// One for each temporal patch.
    pub(super) pictures: Vec<Picture>,
    /// Width and height of its frames.
    pub(super) size: (u32, u32),
    pub(super) grid: Grid,
}

/// Cuts frames as they come into temporal patches of their final size.
pub(super) struct Cutter<'a> {
    viewer: &'a Viewer<'a>,
    count: usize,
    seen: usize,
    /// Width and height of every frame, and the grid of the video: known with the first one.
    size: Option<((u32, u32), Grid)>,
    /// Frames of the temporal patch that is being filled.
    open: Vec<RgbImage>,
    pictures: Vec<Picture>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(viewer: &'a Viewer<'a>, count: usize) -> Self {
        Self {
            viewer,
            count,
            seen: 0,
            size: None,
            open: Vec::new(),
            pictures: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, frame: RgbImage) -> Result<(), Wrong> {
        let size = (frame.width, frame.height);
        self.seen += 1;
        let (first, grid) = match self.size {
            Some(known) => known,
            None => {
                let patch = self.viewer.vision.patch_size();
                let grid = self.viewer.budget.grid(self.count as u64, size, patch)?;
                *self.size.insert((size, grid))
            }
        };
        if size != first {
            return Err(Wrong::bad(format_args!(
                "frame {}: found {}x{}, need {}x{} as the first frame has it",
                self.seen, size.0, size.1, first.0, first.1
            )));
        }
        self.open.push(self.viewer.vision.fit(&frame, &grid));
        if self.open.len() == self.viewer.budget.moments as usize {
            self.cut();
        }
        Ok(())
    }

    /// Ends a temporal patch; where frames are missing, the last one stands in for them.
    fn cut(&mut self) {
        let patches = self.viewer.vision.patches(&self.open);
        let key = key(&self.open, &self.viewer.salt);
        self.pictures.push(Picture::new(patches, key));
        self.open.clear();
    }

    /// What was cut of so many frames.
    pub(super) fn finish(mut self, frames: usize) -> Result<Cut, Wrong> {
        if !self.open.is_empty() {
            self.cut();
        }
        match self.size {
            Some((size, grid)) if self.seen == frames => {
                let pictures = self.pictures;
                Ok(Cut {
                    pictures,
                    size,
                    grid,
                })
            }
            _ => Err(Wrong::bad(format_args!(
                "found {} frames, need {frames}",
                self.seen
            ))),
        }
    }
}

/// What a temporal patch's features depend on: its frames at the size at which they are seen. The label
/// keeps it apart from a still picture of the same pixels, which is another kind of place in a prompt.
fn key(frames: &[RgbImage], salt: &[u8; 32]) -> ImageKey {
    let mut hasher = Sha256::new();
    hasher.update(b"ocelli temporal patch features 1");
    hasher.update(b"salt");
    hasher.update(salt);
    hasher.update((frames.len() as u64).to_le_bytes());
    for frame in frames {
        hasher.update(frame.width.to_le_bytes());
        hasher.update(frame.height.to_le_bytes());
        hasher.update(&frame.pixels);
    }
    hasher.finalize().into()
}
