//! A request on its way: what it asked, what of it is done, and where its keys and values are.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use ocelli_models::{ImageFeatures, ImageRows, Positions, TextModel};

use crate::answer::Answer;
use crate::join::Pace;
use crate::keys::Keys;
use crate::table::{PageTable, Pools};
use crate::{Generate, ImageKey, PAGE_TOKENS, PageKey, Picture, Prompt, Timings};

/// All mutable state of one request.
pub(crate) struct Sequence {
    pub(crate) prompt: Prompt,
    pub(crate) pictures: Vec<Arc<Picture>>,
    /// Features of each picture, once it is encoded or found in the cache.
    pub(crate) features: Vec<Option<Arc<ImageFeatures>>>,
    /// Where each picture's features are kept.
    pub(crate) picture_keys: Vec<ImageKey>,
    /// Pictures that are being looked for on disk.
    pub(crate) on_disk: Vec<bool>,
    pub(crate) positions: Positions,
    pub(crate) table: PageTable,
    /// Content of each page that the prompt fills.
    keys: Vec<PageKey>,
    /// Tokens whose keys and values are in the pages.
    pub(crate) cached: usize,
    /// How many of them were there at the start.
    pub(crate) reused: usize,
    pub(crate) pace: Pace,
    pub(crate) answer: Answer,
    /// The token that was chosen last.
    pub(crate) last_token: u32,
    pub(crate) timings: Timings,
    /// When the present phase (encoding, prefill, decoding) began.
    pub(crate) since: Instant,
}

impl Sequence {
    pub(crate) fn new(
        request: Generate,
        answer: Answer,
        model: &dyn TextModel,
        keys: &Keys,
    ) -> Self {
        let (prompt, pictures, salt) = (request.prompt, request.pictures, request.salt);
        let picture_key = |picture: &Picture| keys.image(&picture.key, &salt);
        Self {
            positions: model.positions(&prompt.segments),
            keys: prompt.page_keys(PAGE_TOKENS, &keys.page_root(&salt)),
            picture_keys: pictures.iter().map(picture_key).collect(),
            on_disk: vec![false; pictures.len()],
            features: vec![None; pictures.len()],
            table: PageTable::default(),
            cached: 0,
            reused: 0,
            pace: Pace::Queued,
            last_token: 0,
            timings: Timings::default(),
            since: Instant::now(),
            prompt,
            pictures: pictures.into_iter().map(Arc::new).collect(),
            answer,
        }
    }

    /// Takes over pages that hold the beginning of the prompt already. The last token is always run,
    /// since its logits are wanted.
    pub(crate) fn reuse(&mut self, pools: &mut Pools) {
        assert_eq!(self.cached, self.reused, "nothing was run yet");
        self.table.give_back(pools);
        self.cached = self.table.reuse(pools, &self.keys[..self.most_reused()]);
        self.reused = self.cached;
    }

    /// Pages that can be taken over at most.
    fn most_reused(&self) -> usize {
        let most = (self.prompt.tokens.len() - 1) / PAGE_TOKENS;
        most.min(self.keys.len())
    }

    /// Content of the page that is run next, if it could be taken over.
    pub(crate) fn next_key(&self) -> Option<PageKey> {
        let keys = &self.keys[..self.most_reused()];
        keys.get(self.cached / PAGE_TOKENS).copied()
    }

    /// True when this sequence goes on by itself and its page number `page`, not yet full, will hold `key`.
    pub(crate) fn is_about_to_fill(&self, page: usize, key: &PageKey) -> bool {
        self.pace == Pace::Own
            && self.cached < (page + 1) * PAGE_TOKENS
            && self.keys.get(page) == Some(key)
    }

    /// Notes that tokens up to `cached` were run: others can share the prompt's pages that are full, and pages that no
    /// later token sees are given back.
    pub(crate) fn ran(&mut self, pools: &mut Pools, cached: usize) {
        self.cached = cached;
        self.table.ran(pools, &self.keys, cached);
    }

    /// The next picture that has to be encoded before the prompt can go on; none while it is being
    /// looked for on disk.
    pub(crate) fn next_picture(&self) -> Option<usize> {
        let open = |span: &&crate::ImageSpan| {
            span.tokens.end > self.cached && self.features[span.image].is_none()
        };
        let image = self.prompt.images.iter().find(open)?.image;
        (!self.on_disk[image]).then_some(image)
    }

    /// Prompt tokens that can be run: all before the first picture that is not encoded, none while another runs them.
    pub(crate) fn ready(&self) -> usize {
        if self.pace != Pace::Own {
            return self.cached;
        }
        let open = |span: &&crate::ImageSpan| {
            span.tokens.end > self.cached && self.features[span.image].is_none()
        };
        let first = self.prompt.images.iter().find(open);
        first.map_or(self.prompt.tokens.len(), |span| span.tokens.start)
    }

    /// The pictures' rows among the prompt's `tokens`, which begin at row `row` of a step.
    pub(crate) fn image_rows(&self, tokens: Range<usize>, row: usize) -> Vec<ImageRows<'_>> {
        let (start, end) = (tokens.start, tokens.end);
        let overlaps =
            |span: &&crate::ImageSpan| span.tokens.start < end && span.tokens.end > start;
        self.prompt
            .images
            .iter()
            .filter(overlaps)
            .filter_map(|span| {
                let features = self.features[span.image].as_deref()?;
                let first = span.tokens.start.max(start);
                let last = span.tokens.end.min(end);
                let offset = span.from.start + first - span.tokens.start;
                Some(ImageRows {
                    features,
                    from: offset..offset + last - first,
                    rows: row + first - start..row + last - start,
                })
            })
            .collect()
    }

    /// Position of the last chosen token on all axes.
    pub(crate) fn generated_position(&self) -> [u32; 3] {
        let before = self.answer.tokens.len().saturating_sub(1) as u32;
        [self.positions.next.saturating_add(before); 3]
    }

    /// Time since the phase began; the next phase begins now.
    pub(crate) fn lap(&mut self) -> std::time::Duration {
        let now = Instant::now();
        let lap = now.duration_since(self.since);
        self.since = now;
        lap
    }
}
