//! Running a request with every stage shown, for traces and verification.

use std::sync::Arc;

use ocelli_tensor::Stage;

use crate::scheduler::whole_blocks;
use crate::step::See;
use crate::{Engine, Error, Generate, Picture, Plan, Prompt, STEP_ROWS, SequenceId};

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
    /// of the prompt to `see` (image index, or `None` for text stages). Requests that run or wait are
    /// given up.
    ///
    /// # Errors
    /// When the prompt does not fit or pictures meet a model without vision.
    pub fn trace(
        &mut self,
        prompt: Prompt,
        pictures: Vec<Picture>,
        decode: usize,
        see: &mut dyn FnMut(Option<usize>, Stage<'_>),
    ) -> Result<Traced, Error> {
        self.check_size(&prompt)?;
        let total = prompt.tokens.len();
        if total + decode > self.settings.context {
            return Err(Error::Sampling(format!(
                "{total} prompt tokens and {decode} decoded ones do not fit the context of {}",
                self.settings.context
            )));
        }
        while let Some(id) = self.sequences.keys().next().copied() {
            self.cancel(id);
        }
        self.pools.clear();
        let mut features = Vec::new();
        for (image, picture) in pictures.iter().enumerate() {
            let mut see_image = |stage: Stage<'_>| see(Some(image), stage);
            let encoder = self.encoders.first_mut();
            let made = encoder.and_then(|e| e.encode_probed(picture, &mut see_image));
            let made = made.ok_or_else(|| Error::NoVision {
                model: self.model.name.clone(),
            })?;
            features.push(Arc::new(made));
        }
        let id = self.submit(Generate::new(prompt, pictures, decode))?;
        if let Some(sequence) = self.sequences.get_mut(&id) {
            for (image, features) in features.into_iter().enumerate() {
                sequence.set_features(image, features);
            }
        }
        let traced = self.trace_sequence(id, decode, &mut |stage| see(None, stage));
        self.cancel(id);
        Ok(traced)
    }

    fn trace_sequence(&mut self, id: SequenceId, decode: usize, see: See<'_>) -> Traced {
        let total = self.sequences[&id].prompt.tokens.len();
        let mut logits = Vec::new();
        let mut start = 0;
        while start < total {
            let count = STEP_ROWS.min(total - start);
            let blocks = &self.sequences[&id].prompt.blocks;
            let tokens = start..start + whole_blocks(blocks, start, count, STEP_ROWS);
            start = tokens.end;
            let plan = Plan {
                prompts: vec![(id, tokens.clone())],
                generating: Vec::new(),
            };
            logits = self.forward(&plan, Some(see));
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.ran(&mut self.pools, tokens.end);
            }
        }
        let mut traced = Traced {
            tokens: self.sequences[&id].prompt.tokens.clone(),
            positions: self.sequences[&id].positions.tokens.clone(),
            logits: logits.clone(),
            decoded: Vec::new(),
        };
        for index in 0..decode {
            let vocabulary = logits.len().min(self.model.tokenizer.len());
            let token = crate::most_likely(&logits[..vocabulary]);
            traced.decoded.push((token, std::mem::take(&mut logits)));
            if index + 1 == decode {
                break;
            }
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.last_token = token;
                sequence.answer.tokens.push(token);
            }
            let plan = Plan {
                prompts: Vec::new(),
                generating: vec![id],
            };
            logits = self.forward(&plan, None);
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.ran(&mut self.pools, sequence.cached + 1);
            }
        }
        traced
    }
}
