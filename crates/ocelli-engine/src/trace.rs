//! Running a request with every stage shown, for traces and verification.

use std::sync::Arc;

use ocelli_tensor::Stage;

use crate::vision::encode_probed;
use crate::{Engine, Error, Picture, Prompt, Sequence};

/// What [`Engine::trace`] gives beside the stages.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Every prompt token, pictures expanded.
    pub tokens: Vec<u32>,
    /// `(time, height, width)` of each.
    pub positions: Vec<[u32; 3]>,
    /// Of the last prompt token, `[vocabulary]`.
    pub logits: Vec<f32>,
    /// Greedy tokens, each with the logits that chose it.
    pub decoded: Vec<(u32, Vec<f32>)>,
}

impl Engine {
    /// Runs a prompt and `decode` greedy tokens from nothing, showing every stage of every picture and
    /// of the prompt to `see` (image index, or `None` for text stages). Gives the logits of the last
    /// prompt token and of each further token, and the tokens they chose.
    ///
    /// # Errors
    /// When the prompt does not fit or pictures meet a model without vision.
    pub fn trace(
        &mut self,
        prompt: Prompt,
        pictures: &[Picture],
        decode: usize,
        see: &mut dyn FnMut(Option<usize>, Stage<'_>),
    ) -> Result<Traced, Error> {
        self.check_size(&prompt)?;
        if prompt.tokens.len() + decode > self.settings.context {
            return Err(Error::Sampling(format!(
                "{} prompt tokens and {decode} decoded ones do not fit the context of {}",
                prompt.tokens.len(),
                self.settings.context
            )));
        }
        let model = Arc::clone(&self.model);
        self.pool.shrink(&mut self.sequence.pages, 0);
        self.sequence = Sequence::default();
        let mut features = Vec::new();
        for (image, picture) in pictures.iter().enumerate() {
            let (Some(vision), Some(memory)) = (&model.vision, &mut self.vision_memory) else {
                return Err(Error::NoVision {
                    model: model.name.clone(),
                });
            };
            let mut see_image = |stage: Stage<'_>| see(Some(image), stage);
            let backend = self.backend.as_ref();
            let made = encode_probed(vision.as_ref(), backend, memory, picture, &mut see_image);
            features.push(Some(Arc::new(made)));
        }
        self.sequence
            .restart(prompt, model.text.as_ref(), &mut self.pool);
        let total = self.sequence.prompt.tokens.len();
        let mut see_text = |stage: Stage<'_>| see(None, stage);
        let mut logits = Vec::new();
        while self.sequence.cached < total {
            logits = self.prefill_step(&features, Some(&mut see_text));
        }
        let mut traced = Traced {
            tokens: self.sequence.prompt.tokens.clone(),
            positions: self.sequence.positions.tokens.clone(),
            logits: logits.clone(),
            decoded: Vec::new(),
        };
        for index in 0..decode {
            let token = crate::most_likely(&logits[..logits.len().min(model.tokenizer.len())]);
            traced.decoded.push((token, logits));
            logits = if index + 1 < decode {
                self.decode_step(token, index)
            } else {
                Vec::new()
            };
        }
        Ok(traced)
    }
}
