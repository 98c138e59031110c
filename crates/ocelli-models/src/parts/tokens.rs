//! Tokens in, logits out: the embedding, the last norm and the output projection.

use ocelli_tensor::{Pass, Tensor, Use, Vector, Weight};

use super::RmsNorm;
use crate::{Error, Scope};

/// A tied embedding is held once.
#[derive(Debug)]
pub struct TokenTable {
    embedding: Weight,
    norm: RmsNorm,
    head: Option<Weight>,
    head_bias: Option<Vector>,
}

impl TokenTable {
    /// Reads `token_embd`, `output_norm` and, unless the embedding also serves as output, `output`.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn load(
        root: &Scope<'_>,
        (vocabulary, hidden): (usize, usize),
        eps: f32,
    ) -> Result<Self, Error> {
        let is_tied = !root.has("output.weight");
        let purpose = if is_tied { Use::Both } else { Use::Rows };
        Ok(Self {
            embedding: root.matrix("token_embd.weight", vocabulary, hidden, purpose)?,
            norm: RmsNorm::load(&root.at("output_norm"), hidden, eps)?,
            head: (!is_tied)
                .then(|| root.matrix("output.weight", vocabulary, hidden, Use::Product))
                .transpose()?,
            head_bias: root.optional_vector("output.bias", vocabulary)?,
        })
    }

    /// `[tokens, hidden]`, the first `prompt_rows` of prompt kind.
    pub fn embed(&self, pass: &mut Pass<'_>, tokens: &[u32], prompt_rows: usize) -> Tensor {
        pass.embed(&self.embedding, tokens, prompt_rows)
    }

    /// `[rows, hidden]` -> `[output_rows, vocabulary]`.
    pub fn logits(&self, pass: &mut Pass<'_>, x: &Tensor, output_rows: &[usize]) -> Tensor {
        let rows = pass.gather(x, output_rows);
        let h = self.norm.forward(pass, &rows);
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        pass.linear(&h, head, self.head_bias.as_ref(), None)
    }
}
