//! Pictures as requests bring them.

use std::sync::Arc;

use ocelli_image::{Grid, Patches};
use ocelli_models::ImageFeatures;

use crate::{ImageKey, ImageSlot};

/// A preprocessed picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its patches, shared by all copies; the grid alone where the features are known.
    pub patches: Arc<Patches>,
    /// Its features, if they are known: then it is not encoded.
    pub features: Option<Arc<ImageFeatures>>,
    /// Its content: pixels, preprocessing and projector.
    pub key: ImageKey,
}

impl Picture {
    /// A picture that has to be encoded.
    pub fn new(patches: Patches, key: ImageKey) -> Self {
        Self {
            patches: Arc::new(patches),
            features: None,
            key,
        }
    }

    /// A picture whose features are known.
    pub fn known(grid: Grid, key: ImageKey, features: Arc<ImageFeatures>) -> Self {
        let pixels = Vec::new();
        Self {
            patches: Arc::new(Patches { grid, pixels }),
            features: Some(features),
            key,
        }
    }

    /// What the prompt needs to know.
    pub fn slot(&self) -> ImageSlot {
        ImageSlot {
            grid: self.patches.grid,
            key: self.key,
        }
    }
}
