//! A request being decoded: its tokens, positions and pages.

use ocelli_models::{Positions, TextModel};
use ocelli_tensor::PageId;

use crate::{PagePool, Prompt};

/// All mutable state of one conversation.
#[derive(Debug, Default)]
pub struct Sequence {
    /// What was asked.
    pub(crate) prompt: Prompt,
    /// Position of each prompt token, and of the first generated one.
    pub(crate) positions: Positions,
    /// Pages of keys and values.
    pub(crate) pages: Vec<PageId>,
    /// Tokens whose keys and values are in the pages.
    pub(crate) cached: usize,
    /// How many of them came from the prompt, so that they are as if computed afresh.
    pub(crate) cached_prompt: usize,
}

impl Sequence {
    /// Goes on with another prompt, keeping what both begin with. At least the last token is computed
    /// again, since its logits are wanted.
    pub(crate) fn restart(&mut self, prompt: Prompt, model: &dyn TextModel, pool: &mut PagePool) {
        let common = self.prompt.common_prefix(&prompt);
        let last = prompt.tokens.len().saturating_sub(1);
        self.cached = common.min(self.cached_prompt).min(last);
        self.cached_prompt = self.cached;
        pool.shrink(&mut self.pages, self.cached);
        self.positions = model.positions(&prompt.segments);
        self.prompt = prompt;
    }

    /// Position of the generated token number `index` on all axes.
    pub(crate) fn generated_position(&self, index: usize) -> [u32; 3] {
        [self.positions.next.saturating_add(index as u32); 3]
    }
}
