//! A loaded model: never changed after loading.

use ocelli_models::{Join, TextModel, VisionModel};
use ocelli_text::Tokenizer;

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
    /// The token that stands for a picture, if the model can see.
    pub fn image_token(&self) -> Option<u32> {
        self.tokenizer.token_id(self.join?.image_token)
    }
}
