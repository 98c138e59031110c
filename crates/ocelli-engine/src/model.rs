//! A loaded model: never changed after loading.

use ocelli_models::{Join, TextModel, VisionModel};
use ocelli_text::Tokenizer;

use crate::Layout;

/// The parts of a model that requests share.
pub struct Model {
    /// Name for messages.
    pub name: String,
    /// The text decoder.
    pub text: Box<dyn TextModel>,
    /// The vision encoder, if a projector was given.
    pub vision: Option<Box<dyn VisionModel>>,
    /// What both agree on.
    pub join: Option<&'static Join>,
    /// The vocabulary.
    pub tokenizer: Tokenizer,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// The token that stands in the rows of a picture, if the model can see; behind the vocabulary where
    /// that has none.
    pub fn image_token(&self) -> Option<u32> {
        let own = self.tokenizer.token_id(self.join?.image_token);
        Some(own.unwrap_or(self.tokenizer.len() as u32))
    }

    /// How pictures are laid out in a prompt, if the model can see and its vocabulary has every mark.
    pub fn layout(&self) -> Option<Layout> {
        let join = self.join?;
        let marks = join.marks.iter();
        let ids = marks.map(|mark| self.tokenizer.token_id(mark));
        Some(Layout {
            join,
            marks: ids.collect::<Option<_>>()?,
        })
    }

    /// The token that stands for a video, if the model can see videos.
    pub fn video_token(&self) -> Option<u32> {
        self.tokenizer.token_id(self.join?.video?.token)
    }
}
